//! What the daemon follows when it starts.

use std::path::Path;

use bulkhead_api::Problem;
use bulkhead_types::chain;

use super::Agent;
use super::load::{Files, Right, files, problem};
use crate::generations::{self, Generation, Generations, Marker, sha256};
use crate::manifest::{self, Desired, HostId, IdentityError, Source};

/// What to follow.
pub(super) enum Choice {
    /// Nothing, until somebody applies a manifest; the text says why, if it is news.
    Nothing(Option<String>),
    /// The files as they are.
    Files(Box<Right>),
    /// A generation.
    Generation(Box<Kept>),
}

/// A generation that can be followed.
pub(super) struct Kept {
    generation: Generation,
    desired: Desired,
    /// Why it and not what should be followed.
    instead: Option<Problem>,
    /// The same at length, for the log.
    drawn: String,
}

/// Why a generation cannot be followed.
enum Unusable {
    /// Its file is gone or damaged, so another one has to do.
    Lost(String),
    /// It declares nothing: its text is gone, or an earlier version was told so.
    Empty(String),
    /// It is whole and this version cannot follow it. What it wants stands, so an earlier one would take something away.
    Refused(Problem),
}

/// Everything that the choice depends on.
struct Start<'a> {
    generations: &'a Generations,
    manifest: &'a Path,
    id: Result<HostId, IdentityError>,
}

/// Chooses what to follow: after a boot the files, or the last generation if they cannot be applied; after a restart of the
/// daemon alone what was followed before, for only `apply` and a boot take up a changed file. What is lost falls back to the
/// generation before it.
///
/// # Errors
/// Something should be followed and cannot be; the problem says why and what to do. The host stays as it is.
pub(super) fn choose(
    generations: &Generations,
    manifest: &Path,
    id: Result<HostId, IdentityError>,
) -> Result<Choice, Problem> {
    let start = Start { generations, manifest, id };
    match generations.marker().map_err(|error| state(&error))? {
        Marker::Nothing => Ok(Choice::Nothing(None)),
        Marker::Unset => start.boot(),
        Marker::Generation { number, sha256 } => start.restart(number, sha256.as_deref()),
    }
}

impl Start<'_> {
    fn boot(&self) -> Result<Choice, Problem> {
        let files = files(self.manifest, &self.id, None);
        let drawn = match &files {
            Files::Wrong(invalid) | Files::Nothing(invalid) => invalid.drawn.trim_end(),
            Files::Right(_) => "",
        };
        match files {
            Files::Right(right) => Ok(Choice::Files(right)),
            _ => self.newest(u64::MAX, &files, format!("the manifest cannot be applied:\n{drawn}"), None),
        }
    }

    fn restart(&self, number: u64, noted: Option<&str>) -> Result<Choice, Problem> {
        let why = match self.usable(number) {
            Ok((generation, desired)) => return Ok(kept(generation, desired, None, String::new())),
            Err(Unusable::Refused(problem)) => return Err(problem),
            Err(Unusable::Lost(why) | Unusable::Empty(why)) => why,
        };
        match files(self.manifest, &self.id, None) {
            // The files are still what was applied: nothing is lost.
            Files::Right(right) if noted.is_some_and(|noted| sha256(&right.text) == noted) => Ok(Choice::Files(right)),
            files => self.newest(number.saturating_add(1), &files, why, None),
        }
    }

    /// The newest generation below this number that can be followed.
    fn newest(&self, below: u64, files: &Files, drawn: String, lost: Option<Problem>) -> Result<Choice, Problem> {
        let numbers = self.generations.numbers().map_err(|error| state(&error))?;
        let mut lost = lost;
        // A number that is noted and has no file any more is lost too.
        let first = below.checked_sub(1).filter(|number| below != u64::MAX && !numbers.contains(number));
        for number in first.into_iter().chain(numbers.into_iter().filter(|number| *number < below)) {
            match self.usable(number) {
                Ok((generation, desired)) => {
                    let instead = lost.map(|lost| instead(lost, number));
                    return Ok(kept(generation, desired, instead, drawn));
                }
                Err(Unusable::Refused(problem)) => return Err(problem),
                // An earlier version was told to remove everything, and the files say so still.
                Err(Unusable::Empty(_)) if lost.is_none() && matches!(files, Files::Nothing(_)) => {
                    return Ok(Choice::Nothing(Some(drawn)));
                }
                Err(Unusable::Lost(why) | Unusable::Empty(why)) => {
                    lost.get_or_insert_with(|| self.problem(number, &why));
                }
            }
        }
        match lost {
            None => Ok(Choice::Nothing(Some(drawn))),
            Some(lost) => {
                let message = format!("{}; no earlier one can be followed. Run bulkhead apply", lost.message);
                Err(Problem { message, ..lost })
            }
        }
    }

    fn usable(&self, number: u64) -> Result<(Generation, Desired), Unusable> {
        let generation = self.generations.read(number).map_err(|error| Unusable::Lost(chain(&error)))?;
        let source = Source { path: self.generations.file(number), text: generation.text.clone() };
        let manifest = match manifest::parse(&[source]) {
            // Without a checksum nobody can tell a damaged text from one that an earlier version took.
            Err(problems) if problems.has_syntax_errors() && !generation.vouched => {
                return Err(Unusable::Lost(format!("generation {number} is damaged: it is not TOML")));
            }
            Err(problems) => {
                let why = format!("generation {number} cannot be followed by this version:\n{problems}");
                return Err(Unusable::Refused(self.problem(number, &why)));
            }
            Ok(manifest) if manifest.is_empty() => {
                return Err(Unusable::Empty(format!("generation {number} is damaged: it declares nothing")));
            }
            Ok(manifest) => manifest,
        };
        match &self.id {
            Ok(id) => Ok((generation, manifest.lower(id))),
            Err(error) => Err(Unusable::Refused(problem(Path::new(HostId::PATH), &error.to_string()))),
        }
    }

    fn problem(&self, number: u64, why: &str) -> Problem {
        problem(&self.generations.file(number), why)
    }
}

fn instead(lost: Problem, number: u64) -> Problem {
    let message =
        format!("{}; generation {number} is followed instead. To follow the files, run bulkhead apply", lost.message);
    Problem { message, ..lost }
}

fn kept(generation: Generation, desired: Desired, instead: Option<Problem>, drawn: String) -> Choice {
    Choice::Generation(Box::new(Kept { generation, desired, instead, drawn }))
}

fn state(error: &generations::Error) -> Problem {
    problem(error.path(), &chain(error))
}

impl Agent {
    /// Follows what is to be followed. Where that cannot be, the host stays as it is, requests are served, and status says
    /// what to do; the next look tries again.
    pub(crate) fn start(&mut self) {
        let trouble = choose(&self.generations, &self.manifest, HostId::of_this_host())
            .and_then(|choice| self.take(choice))
            .unwrap_or_else(Some);
        if let Some(trouble) = trouble.as_ref().filter(|trouble| self.trouble.as_ref() != Some(trouble)) {
            tracing::error!("{}: {}", trouble.file, trouble.message);
        }
        self.trouble = trouble;
    }

    /// The problem that is left, if one is.
    fn take(&mut self, choice: Choice) -> Result<Option<Problem>, Problem> {
        match choice {
            Choice::Nothing(None) => Ok(None),
            Choice::Nothing(Some(why)) => {
                tracing::warn!("nothing is followed until `bulkhead apply`: {why}");
                self.generations.mark(None).map(|()| None).map_err(|error| state(&error))
            }
            Choice::Files(right) => match self.follow(*right) {
                Ok(_) => Ok(None),
                // A full disk: what was applied before needs no room.
                Err(error) => {
                    let id = HostId::of_this_host();
                    let start = Start { generations: &self.generations, manifest: &self.manifest, id };
                    let files = files(&self.manifest, &start.id, None);
                    let choice = start.newest(u64::MAX, &files, chain(&error), Some(state(&error)))?;
                    self.take(choice)
                }
            },
            Choice::Generation(kept) => {
                let Kept { generation, desired, instead, drawn } = *kept;
                if !drawn.is_empty() {
                    tracing::error!("generation {} is followed: {drawn}", generation.number);
                }
                self.follow_generation(generation, desired).map(|_| instead).map_err(|error| state(&error))
            }
        }
    }
}

#[cfg(test)]
mod tests;
