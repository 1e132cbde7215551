//! What the daemon follows when it starts.

use std::path::Path;

use bulkhead_api::{ManifestInvalid, Problem};
use bulkhead_types::chain;

use super::Agent;
use super::generations::{self, Generation, Generations, Marker};
use super::load::{Files, Right, files, problem};
use crate::checksum::sha256;
use crate::manifest::{self, Desired, HostId, IdentityError, Source};

/// What to follow.
pub(super) enum Choice {
    /// Nothing, until somebody applies a manifest; the text says why, if it is news.
    Nothing(Option<String>),
    /// The files as they are.
    Files(Box<Right>),
    /// A generation.
    Generation(Box<Usable>),
}

/// A generation that can be followed.
pub(super) struct Usable {
    generation: Generation,
    desired: Desired,
    /// Why it and not what else should be followed, at length for the log; empty where it is what should be.
    why: String,
}

/// Why a generation cannot be followed.
enum Unusable {
    /// Its file is gone or damaged; what it wanted is not known.
    Lost(String),
    /// It is whole and declares nothing: an earlier version was told so.
    Nothing,
    /// It is whole and this version cannot follow it.
    Refused(String),
    /// It is whole, and without the host's identity nothing can be followed.
    Nameless(Problem),
}

/// Everything that the choice depends on.
pub(super) struct Start<'a> {
    pub(super) generations: &'a Generations,
    pub(super) manifest: &'a Path,
    pub(super) id: Result<HostId, IdentityError>,
    pub(super) takes: Takes<'a>,
}

/// Which files a boot takes up.
#[derive(Debug, Clone, Copy)]
pub(super) enum Takes<'a> {
    /// Those that are there: the daemon has just been started.
    Any,
    /// Those with the text of this checksum, which the daemon found when it was started, if it could be read: the host has been
    /// left as it is since, and what somebody writes meanwhile waits for `apply`.
    Found(Option<&'a str>),
}

/// Chooses what to follow: after a boot the files, or what was followed last if they cannot be applied; after a restart of the
/// daemon alone what was followed before, for only `apply` and a boot take up a changed file.
///
/// A generation that is lost falls back to what is known by its checksum to be the same text: the files or another generation.
/// An earlier manifest would not do: it shuts down guests that only the lost one declared, and lets pass what that one forbade.
///
/// # Errors
/// Something should be followed and cannot be; the problem says why and what to do. The host stays as it is.
pub(super) fn choose(start: &Start<'_>) -> Result<Choice, Problem> {
    match start.generations.of_this_boot().map_err(|error| paused(state(&error)))? {
        Marker::Nothing => Ok(Choice::Nothing(None)),
        Marker::Unset => start.boot(),
        Marker::Generation { number, sha256 } => start.resume(number, sha256.as_deref(), String::new()),
    }
}

impl Start<'_> {
    fn boot(&self) -> Result<Choice, Problem> {
        let (why, changed) = match self.files() {
            Files::Right(right) if self.takes(&right) => return self.take_up(right),
            Files::Right(_) => {
                ("the manifest was changed since this boot, and waits for `bulkhead apply`".to_owned(), true)
            }
            Files::Wrong(invalid) | Files::Nothing(invalid) => (cannot_be_applied(&invalid), false),
        };
        match self.last()? {
            Some((number, noted)) => self.resume(number, noted.as_deref(), why),
            None if changed => Err(paused(problem(self.manifest, &why))),
            None => Ok(Choice::Nothing(Some(why))),
        }
    }

    fn takes(&self, right: &Right) -> bool {
        match self.takes {
            Takes::Any => true,
            Takes::Found(found) => found.is_some_and(|found| sha256(&right.text) == found),
        }
    }

    /// The files, unless the text of one was lost and something that was applied with it: then what was followed last.
    fn take_up(&self, right: Box<Right>) -> Result<Choice, Problem> {
        let Some(file) = right.empty.first() else { return Ok(Choice::Files(right)) };
        let Some((number, noted)) = self.last()? else { return Ok(Choice::Files(right)) };
        if noted.as_ref().is_some_and(|noted| sha256(&right.text) == *noted) {
            return Ok(Choice::Files(right));
        }
        let lost = match self.usable(number, noted.as_deref()) {
            Ok(usable) => match right.loss(&usable.desired) {
                None => return Ok(Choice::Files(right)),
                Some(invalid) => {
                    return Ok(Choice::Generation(Box::new(Usable { why: cannot_be_applied(&invalid), ..usable })));
                }
            },
            Err(Unusable::Nothing) => return Ok(Choice::Files(right)),
            Err(Unusable::Lost(why) | Unusable::Refused(why)) => why,
            Err(Unusable::Nameless(problem)) => return Err(problem),
        };
        let why = format!("the file declares nothing, and what was applied from it is not known: {lost}");
        Err(paused(problem(file, &why)))
    }

    /// Goes on with a generation that was followed before, or with what is the same text.
    fn resume(&self, number: u64, noted: Option<&str>, why: String) -> Result<Choice, Problem> {
        let lost = match self.usable(number, noted) {
            Ok(usable) => return Ok(Choice::Generation(Box::new(Usable { why, ..usable }))),
            Err(Unusable::Nothing) => {
                return Ok(Choice::Nothing(Some(format!("generation {number} declares nothing"))));
            }
            Err(Unusable::Refused(why)) => return Err(paused(problem(&self.generations.file(number), &why))),
            Err(Unusable::Nameless(problem)) => return Err(problem),
            Err(Unusable::Lost(lost)) => lost,
        };
        match self.files() {
            Files::Right(right) if noted.is_some_and(|noted| sha256(&right.text) == noted) => Ok(Choice::Files(right)),
            _ => match noted.and_then(|noted| self.same_text(noted)) {
                Some(same) => Ok(Choice::Generation(Box::new(Usable { why: lost, ..same }))),
                None => Err(paused(problem(&self.generations.file(number), &lost))),
            },
        }
    }

    /// The newest generation that has the text with this checksum.
    fn same_text(&self, noted: &str) -> Option<Usable> {
        self.generations.numbers().ok()?.into_iter().find_map(|number| self.usable(number, Some(noted)).ok())
    }

    /// The generation that was followed last, with the checksum of its text; `None` where nothing was.
    fn last(&self) -> Result<Option<(u64, Option<String>)>, Problem> {
        match self.generations.last().map_err(|error| paused(state(&error)))? {
            Marker::Nothing => Ok(None),
            Marker::Generation { number, sha256 } => Ok(Some((number, sha256))),
            // An earlier version did not note it.
            Marker::Unset => {
                let newest = self.generations.numbers().map_err(|error| paused(state(&error)))?.first().copied();
                Ok(newest.map(|number| (number, None)))
            }
        }
    }

    fn files(&self) -> Files {
        files(self.manifest, &self.id, None)
    }

    /// The generation of this number, if it has the text of the noted checksum. An earlier version noted the number alone.
    fn usable(&self, number: u64, noted: Option<&str>) -> Result<Usable, Unusable> {
        let generation = self.generations.read(number).map_err(|error| Unusable::Lost(chain(&error)))?;
        if noted.is_some_and(|noted| generation.sha256() != noted) {
            let why = format!(
                "generation {number} is damaged or was replaced: its text does not have the checksum that was noted"
            );
            return Err(Unusable::Lost(why));
        }
        let source = Source { path: self.generations.file(number), text: generation.text.clone() };
        let manifest = match manifest::parse(&[source]) {
            // Without a checksum nobody can tell a damaged text from one that an earlier version took.
            Err(problems) if problems.has_syntax_errors() && !generation.vouched => {
                return Err(Unusable::Lost(format!("generation {number} is damaged: it is not TOML")));
            }
            Err(problems) => {
                let why = format!("generation {number} cannot be followed by this version:\n{problems}");
                return Err(Unusable::Refused(why));
            }
            Ok(manifest) if manifest.is_empty() && generation.vouched => return Err(Unusable::Nothing),
            Ok(manifest) if manifest.is_empty() => {
                return Err(Unusable::Lost(format!("generation {number} is damaged: it declares nothing")));
            }
            Ok(manifest) => manifest,
        };
        match &self.id {
            Ok(id) => Ok(Usable { generation, desired: manifest.lower(id), why: String::new() }),
            Err(error) => Err(Unusable::Nameless(problem(Path::new(HostId::PATH), &error.to_string()))),
        }
    }
}

fn cannot_be_applied(invalid: &ManifestInvalid) -> String {
    format!("the manifest cannot be applied:\n{}", invalid.drawn.trim_end())
}

/// Says that nothing is followed because of this, and what to do.
fn paused(problem: Problem) -> Problem {
    let message = problem.message.trim_end();
    let message = format!(
        "{message}. Until this is mended the host stays as it is, and nothing is repaired. bulkhead plan shows what the files \
         would change, bulkhead apply applies them"
    );
    Problem { message, ..problem }
}

fn state(error: &generations::Error) -> Problem {
    problem(error.path(), &chain(error))
}

impl Agent {
    /// Follows what is to be followed. Where that cannot be, the host stays as it is, requests are served, and status says
    /// what to do; the next look tries again.
    pub(crate) fn start(&mut self) {
        let sources = manifest::read(&self.manifest).ok();
        let found = sources.and_then(|sources| manifest::parse(&sources).ok());
        self.found = found.map(|manifest| sha256(&manifest.text()));
        let choice = choose(&self.start_from(Takes::Any));
        self.take_or_pause(choice);
    }

    /// Tries again, since nothing could be followed: the state may be readable by now. Files that were changed meanwhile are not
    /// taken up.
    pub(super) fn start_again(&mut self) {
        let choice = choose(&self.start_from(Takes::Found(self.found.as_deref())));
        self.take_or_pause(choice);
    }

    fn start_from<'a>(&'a self, takes: Takes<'a>) -> Start<'a> {
        Start { generations: &self.generations, manifest: &self.manifest, id: HostId::of_this_host(), takes }
    }

    fn take_or_pause(&mut self, choice: Result<Choice, Problem>) {
        let trouble = choice.and_then(|choice| self.take(choice)).unwrap_or_else(Some);
        if let Some(trouble) = trouble.as_ref().filter(|trouble| self.trouble.as_ref() != Some(trouble)) {
            tracing::error!("{}: {}", trouble.file, trouble.message);
        }
        self.trouble = trouble;
    }

    /// The problem that is left, if one is.
    fn take(&mut self, choice: Choice) -> Result<Option<Problem>, Problem> {
        match choice {
            Choice::Nothing(why) => {
                let noted = match why {
                    Some(why) => {
                        tracing::warn!("nothing is followed until `bulkhead apply`: {why}");
                        self.generations.mark(None)
                    }
                    None => Ok(()),
                };
                noted.and_then(|()| self.unlock()).map(|()| None).map_err(|error| state(&error))
            }
            Choice::Files(right) => match self.follow(*right) {
                Ok(_) => Ok(None),
                Err(error) => self.without_room(&error).map(Some),
            },
            Choice::Generation(usable) => {
                let Usable { generation, desired, why } = *usable;
                if !why.is_empty() {
                    tracing::error!("generation {} is followed: {why}", generation.number);
                }
                self.resume(generation, desired);
                Ok(None)
            }
        }
    }

    /// Leaves the next boot nothing to close where nothing is followed: a teardown may have been cut off before it did so. An
    /// apply that was cut off has noted for the next boot what it closes.
    fn unlock(&self) -> Result<(), generations::Error> {
        match self.generations.last() {
            Ok(Marker::Nothing) => self.generations.lockdown(None),
            _ => Ok(()),
        }
    }

    /// Follows what was followed last where the files cannot be kept: on a full disk that needs no room. Returns what is to be
    /// said of it.
    fn without_room(&mut self, error: &generations::Error) -> Result<Problem, Problem> {
        let start = self.start_from(Takes::Any);
        let last = start.last()?.and_then(|(number, noted)| start.usable(number, noted.as_deref()).ok());
        let Some(Usable { generation, desired, .. }) = last else { return Err(paused(state(error))) };
        let message = format!(
            "{}; generation {} is followed instead. To follow the files, run bulkhead apply",
            chain(error),
            generation.number
        );
        self.resume(generation, desired);
        Ok(Problem { message, ..state(error) })
    }
}

#[cfg(test)]
mod tests;
