//! The manifest's files, and what is to be followed of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulkhead_api::{ManifestInvalid, Problem};
use bulkhead_policy::lockdown;
use bulkhead_types::chain;

use super::Agent;
use super::generations::{self, Generation};
use crate::manifest::{self, Desired, HostId, IdentityError, ReadError};
use crate::rooms::Name;
use crate::watch::{Reason, Wake};

/// Names of one kind that a sentence lists before it only counts.
const MOST_NAMES: usize = 8;

/// The manifest's files as they are now.
pub(super) enum Files {
    /// They can be applied.
    Right(Box<Right>),
    /// They cannot.
    Wrong(ManifestInvalid),
    /// There is no manifest, or one that declares nothing. It removes nothing: that is what a teardown is for.
    Nothing(ManifestInvalid),
}

/// A manifest that can be applied.
pub(super) struct Right {
    /// As one text.
    pub(super) text: String,
    /// What it wants of this host.
    pub(super) desired: Desired,
    /// Its files that declare nothing.
    pub(super) empty: Vec<PathBuf>,
}

impl Right {
    /// Why these files are not applied after that: one declares nothing, and something of what was applied is in none any more.
    /// As likely as not that file's text was lost, and a lost text removes nothing.
    pub(super) fn loss(&self, applied: &Desired) -> Option<ManifestInvalid> {
        let file = self.empty.first()?;
        let names = missing(applied, &self.desired);
        let message = format!(
            "{} declares nothing and no other file declares {names}, which would go, so the manifest is not applied. If its text \
             was lost, write it again; if they are to go, move a table of another file into it, or remove it if it is in host.d",
            file.display()
        );
        (!names.is_empty()).then(|| invalid(file, &message))
    }
}

/// Reads and checks the files. `applied` is what would go with a text that was lost.
pub(super) fn files(path: &Path, id: &Result<HostId, IdentityError>, applied: Option<&Desired>) -> Files {
    let sources = match manifest::read(path) {
        Ok(sources) => sources,
        Err(error @ ReadError::Absent(_)) => return Files::Nothing(invalid(path, &error.to_string())),
        Err(error) => return Files::Wrong(invalid(path, &error.to_string())),
    };
    match (manifest::parse(&sources), id) {
        (Err(problems), _) => Files::Wrong(ManifestInvalid::from(&problems)),
        (Ok(manifest), _) if manifest.is_empty() => Files::Nothing(invalid(path, &declares_nothing(applied))),
        (Ok(_), Err(error)) => Files::Wrong(invalid(Path::new(HostId::PATH), &error.to_string())),
        (Ok(manifest), Ok(id)) => {
            let empty = manifest.empty_files().map(Path::to_owned).collect();
            let right = Right { text: manifest.text(), desired: manifest.lower(id), empty };
            match applied.and_then(|applied| right.loss(applied)) {
                Some(invalid) => Files::Wrong(invalid),
                None => Files::Right(Box::new(right)),
            }
        }
    }
}

/// One error that is of a whole file.
pub(super) fn problem(file: &Path, message: &str) -> Problem {
    Problem { file: file.display().to_string(), line: 1, column: 1, message: message.to_owned(), help: Vec::new() }
}

fn invalid(file: &Path, message: &str) -> ManifestInvalid {
    ManifestInvalid { errors: vec![problem(file, message)], drawn: format!("error: {message}\n") }
}

fn declares_nothing(applied: Option<&Desired>) -> String {
    let stays = applied.map(|applied| missing(applied, &Desired::default())).filter(|names| !names.is_empty());
    let stays = stays.map(|names| format!(": {names} would go")).unwrap_or_default();
    format!(
        "the manifest declares nothing, so it is not applied{stays}. To remove what Bulkhead made, run bulkhead teardown"
    )
}

/// What one manifest has and another has not, by name; allows are counted.
fn missing(before: &Desired, after: &Desired) -> String {
    let kinds = names(before).into_iter().zip(names(after)).filter_map(|((kind, before), (_, after))| {
        let after: BTreeSet<&str> = after.into_iter().collect();
        let names: Vec<&str> = before.into_iter().filter(|name| !after.contains(name)).collect();
        let more = names.len().saturating_sub(MOST_NAMES);
        let shown = names.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(", ");
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        (!names.is_empty()).then(|| format!("{kind} {shown}{more}"))
    });
    let allows = before.policy.allows.iter().filter(|allow| !after.policy.allows.contains(allow)).count();
    let allows = (allows > 0).then(|| format!("{allows} allow{}", if allows == 1 { "" } else { "s" }));
    kinds.chain(allows).collect::<Vec<_>>().join(", ")
}

/// The names of what a manifest declares, by kind.
fn names(desired: &Desired) -> [(&'static str, Vec<&str>); 3] {
    let segments = desired.netlink.segments.iter().map(|segment| segment.name.as_str());
    let pools = desired.guest.pools.iter().map(|pool| pool.name.as_str());
    let guests = desired.guest.guests.iter().map(|guest| guest.name.as_str());
    [("segment", segments.collect()), ("pool", pools.collect()), ("guest", guests.collect())]
}

impl Agent {
    /// Reads and checks the files.
    pub(super) fn files(&self) -> Files {
        let followed = self.reconciler.manifest();
        files(&self.manifest, &HostId::of_this_host(), followed)
    }

    /// Looks whether the files are what is followed, and tells.
    pub(super) fn look_at_files(&mut self) {
        let followed = self.generation.as_ref().map(|generation| generation.text.as_str());
        let (pending, errors) = match self.files() {
            Files::Right(right) => (followed != Some(right.text.as_str()), Vec::new()),
            Files::Wrong(invalid) => (true, invalid.errors),
            // Nothing is followed and nothing is there to be followed: nobody waits for anything.
            Files::Nothing(_) if followed.is_none() => (false, Vec::new()),
            Files::Nothing(invalid) => (true, invalid.errors),
        };
        let news = errors.into_iter().filter(|error| Some(error) != self.trouble.as_ref());
        let troubles = self.trouble.iter().chain(&self.unnoted).cloned();
        self.publisher.files(pending, troubles.chain(news).collect());
    }

    /// Follows these files from now on. What the next boot needs is on the disk before anything is changed. Returns the rooms
    /// that are to make something else than before.
    pub(super) fn follow(&mut self, right: Right) -> Result<BTreeSet<Name>, generations::Error> {
        let generation = self.generations.keep(&right.text)?;
        self.follow_generation(generation, right.desired)
    }

    /// Follows a generation that wants this, once it is noted.
    pub(super) fn follow_generation(
        &mut self,
        generation: Generation,
        desired: Desired,
    ) -> Result<BTreeSet<Name>, generations::Error> {
        self.generations.lockdown(Some(&lockdown::text(&desired.policy)))?;
        self.generations.mark(Some(&generation))?;
        self.unnoted = None;
        Ok(self.set_followed(generation, desired))
    }

    /// Goes on with a generation that was followed before, also where it cannot be noted: that is tried again with every look.
    pub(super) fn resume(&mut self, generation: Generation, desired: Desired) {
        let noted = self.note(&generation, &desired);
        self.set_followed(generation, desired);
        self.keep_unnoted(noted);
    }

    /// Notes again what is followed.
    pub(super) fn note_again(&mut self) {
        if let (Some(generation), Some(desired)) = (&self.generation, self.reconciler.manifest()) {
            let noted = self.note(generation, desired);
            self.keep_unnoted(noted);
        }
    }

    fn keep_unnoted(&mut self, noted: Result<(), generations::Error>) {
        let unnoted = noted.err().map(|error| {
            let message = format!(
                "{}; what was followed before is followed all the same, and this is tried again: make room on the disk, or make \
                 it writable",
                chain(&error)
            );
            problem(error.path(), &message)
        });
        if let Some(unnoted) = unnoted.as_ref().filter(|unnoted| self.unnoted.as_ref() != Some(unnoted)) {
            tracing::error!("{}: {}", unnoted.file, unnoted.message);
        }
        self.unnoted = unnoted;
    }

    /// Writes what the next boot and the next start of the daemon need of it, each also where the other cannot be written.
    fn note(&self, generation: &Generation, desired: &Desired) -> Result<(), generations::Error> {
        let closed = self.generations.lockdown(Some(&lockdown::text(&desired.policy)));
        let marked = self.generations.mark(Some(generation));
        closed.and(marked)
    }

    fn set_followed(&mut self, generation: Generation, desired: Desired) -> BTreeSet<Name> {
        let news = self.reconciler.follow(Some(Arc::new(desired)), Wake::now(Reason::Request));
        self.publisher.follows(Some(&generation));
        self.publisher.host(&self.reconciler);
        self.generation = Some(generation);
        self.trouble = None;
        news
    }
}
