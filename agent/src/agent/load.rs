//! The manifest's files, and what is to be followed of them.

use bulkhead_api::{ManifestInvalid, Problem};
use bulkhead_policy::lockdown;

use super::{Agent, Followed};
use crate::generations::{self, Generation};
use crate::manifest::{self, Manifest, ReadError, Source};

/// The manifest's files as they are now.
pub(super) enum Files {
    /// They can be applied.
    Right(Box<Manifest>),
    /// They cannot.
    Wrong(ManifestInvalid),
    /// There is no manifest.
    Absent(ManifestInvalid),
}

impl Agent {
    /// Reads and checks the files.
    pub(super) fn files(&self) -> Files {
        let sources = match manifest::read(&self.manifest) {
            Ok(sources) => sources,
            Err(error @ ReadError::Absent(_)) => return Files::Absent(self.unreadable(&error)),
            Err(error) => return Files::Wrong(self.unreadable(&error)),
        };
        match manifest::parse(&sources) {
            Ok(manifest) => Files::Right(Box::new(manifest)),
            Err(problems) => Files::Wrong(ManifestInvalid::from(&problems)),
        }
    }

    /// Looks whether the files are what is followed, and tells.
    pub(super) fn look_at_files(&mut self) {
        let followed = self.followed.as_ref().map(|followed| followed.generation.text.as_str());
        let (pending, errors) = match self.files() {
            Files::Right(manifest) => (followed != Some(manifest.text().as_str()), Vec::new()),
            Files::Wrong(invalid) => (true, invalid.errors),
            // Nothing is followed and nothing is there to be followed: nobody waits for anything.
            Files::Absent(_) if followed.is_none() => (false, Vec::new()),
            Files::Absent(invalid) => (true, invalid.errors),
        };
        self.told.files(pending, errors);
    }

    /// Follows this manifest from now on. What the next boot needs is on the disk before anything is changed.
    pub(super) fn follow(&mut self, manifest: &Manifest) -> Result<(), generations::Error> {
        let generation = self.generations.keep(&manifest.text())?;
        self.follow_generation(generation, manifest)
    }

    /// Follows a generation whose text was parsed as this manifest.
    pub(super) fn follow_generation(
        &mut self,
        generation: Generation,
        manifest: &Manifest,
    ) -> Result<(), generations::Error> {
        let desired = manifest.lower(&self.id);
        self.generations.lockdown(Some(&lockdown::text(&desired.policy)))?;
        self.generations.follow(Some(generation.number))?;
        self.told.follows(Some(&generation));
        self.followed = Some(Followed { generation, desired });
        Ok(())
    }

    /// The manifest of a generation; an earlier version may have taken what this one refuses.
    pub(super) fn parse(&self, generation: &Generation) -> Result<Manifest, ManifestInvalid> {
        let path = format!("generation {}", generation.number).into();
        let source = Source { path, text: generation.text.clone() };
        manifest::parse(&[source]).map_err(|problems| ManifestInvalid::from(&problems))
    }

    fn unreadable(&self, error: &ReadError) -> ManifestInvalid {
        let file = self.manifest.display().to_string();
        let problem = Problem { file, line: 1, column: 1, message: error.to_string(), help: Vec::new() };
        ManifestInvalid { errors: vec![problem], drawn: format!("error: {error}\n") }
    }
}
