//! The manifest: TOML files read, checked, and lowered to what each room wants.
//!
//! [`read()`] takes the files from the disk, [`parse`] reads and checks them and notes everything that is wrong at once,
//! [`Manifest::lower`] makes of it one `Desired` a room. The keys stand in `wire`, each declared once; [`schema()`] says them
//! to other tools.

mod access;
mod check;
mod document;
mod generation;
mod identity;
mod lower;
mod place;
mod problem;
mod read;
mod render;
mod schema;
mod source;
mod spell;
mod value;
mod whole;
mod wire;

pub use access::Obstacle;
pub use identity::{HostId, HostIdError, IdentityError};
pub use lower::{Desired, Dns};
pub use problem::{Level, Problem, Problems};
pub use schema::schema;
pub use source::{DEFAULT_PATH, ReadError, Source, obstacles, read};

/// A manifest without errors.
#[derive(Debug, Clone)]
pub struct Manifest {
    whole: whole::Whole,
    warnings: Problems,
}

impl Manifest {
    /// What is right and probably not what was meant.
    #[must_use]
    pub fn warnings(&self) -> &Problems {
        &self.warnings
    }

    /// The manifest as one TOML text that means the same, comments and file names aside: what a generation keeps.
    #[must_use]
    pub fn text(&self) -> String {
        generation::one_text(&self.warnings.sources)
    }

    /// Whether nothing at all would be made of it: an empty file, one of comments, or one whose end was lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.whole.makes_nothing()
    }

    /// What each room wants. The host's identity makes the addresses of its bridges its own.
    #[must_use]
    pub fn lower(&self, host: &HostId) -> Desired {
        lower::lower(&self.whole, host)
    }
}

/// Reads and checks the files as one manifest.
///
/// # Errors
/// [`Problems`] holds everything that is wrong, in the order of the files, with the warnings among it.
pub fn parse(sources: &[Source]) -> Result<Manifest, Problems> {
    let mut problems = Problems::new(sources);
    let whole = document::whole(sources, &mut problems);
    check::check(&whole, &mut problems);
    problems.settle();
    if problems.count(Level::Error) > 0 { Err(problems) } else { Ok(Manifest { whole, warnings: problems }) }
}
