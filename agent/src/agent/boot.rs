//! What the daemon follows when it starts.

use bulkhead_api::ManifestInvalid;

use super::Agent;
use super::load::Files;
use crate::generations::{Error, Followed, Generation};

impl Agent {
    /// Chooses what to follow: after a boot the files, or the last generation if they cannot be applied; after a restart of the
    /// daemon alone what was followed before, for only `apply` and a boot take up a changed file.
    ///
    /// # Errors
    /// The state cannot be read or written.
    pub(crate) fn start(&mut self) -> Result<(), Error> {
        match self.generations.followed()? {
            Followed::Number(number) => match self.generations.read(number) {
                Ok(generation) => self.again(generation),
                Err(error) if error.is_absent() => {
                    tracing::warn!("generation {number}, which this boot follows, is gone; starting as after a boot");
                    self.boot()
                }
                Err(error) => Err(error),
            },
            Followed::Nothing => Ok(()),
            Followed::Fresh => self.boot(),
        }
    }

    fn boot(&mut self) -> Result<(), Error> {
        let invalid = match self.files() {
            Files::Right(manifest) => return self.follow(&manifest),
            Files::Wrong(invalid) | Files::Absent(invalid) => invalid,
        };
        match self.generations.newest()? {
            Some(generation) => {
                let number = generation.number;
                tracing::error!(
                    "the manifest cannot be applied, so generation {number} is followed:\n{}",
                    invalid.drawn
                );
                self.again(generation)
            }
            None => {
                tracing::warn!("nothing is followed until `bulkhead apply`: {}", invalid.drawn.trim_end());
                self.generations.follow(None)
            }
        }
    }

    fn again(&mut self, generation: Generation) -> Result<(), Error> {
        match self.parse(&generation) {
            Ok(manifest) => self.follow_generation(generation, &manifest),
            Err(ManifestInvalid { drawn, .. }) => {
                let number = generation.number;
                tracing::error!("generation {number} cannot be followed by this version:\n{drawn}");
                Ok(())
            }
        }
    }
}
