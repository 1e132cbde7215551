//! The manifest: TOML files read, checked, and lowered to what each room wants.
//!
//! [`read()`] takes the files from the disk, [`parse`] reads and checks them, notes everything that is wrong at once and
//! resolves what is right to a [`model::Model`], and [`Manifest::lower`] makes of that one `Desired` a room. The keys stand in
//! `wire`, each declared once; [`schema()`] says them to other tools.

mod access;
mod check;
mod document;
mod generation;
mod identity;
mod location;
mod lower;
pub mod model;
mod problem;
mod read;
mod render;
mod resolve;
mod schema;
mod source;
mod spell;
mod stray;
mod syntax;
mod tables;
mod value;
mod wire;

use std::path::Path;

pub use access::Obstacle;
use location::Location;
use model::Model;

pub use identity::{HostId, HostIdError, IdentityError};
pub use lower::{Desired, Dns};
pub use problem::{Level, Problem, Problems};
pub use schema::schema;
pub use source::{DEFAULT_PATH, ReadError, Source, obstacles, read};

/// A manifest without errors.
#[derive(Debug, Clone)]
pub struct Manifest {
    model: Model,
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
        self.model.makes_nothing()
    }

    /// Those of its files that declare nothing, in their order.
    pub fn empty_files(&self) -> impl Iterator<Item = &Path> {
        self.warnings.sources.iter().filter(|source| source.is_empty()).map(|source| source.path.as_path())
    }

    /// The manifest resolved.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What each room wants. The host's identity makes the addresses of its bridges its own.
    #[must_use]
    pub fn lower(&self, host: &HostId) -> Desired {
        lower::lower(&self.model, host)
    }
}

/// Reads and checks the files as one manifest.
///
/// # Errors
/// [`Problems`] holds everything that is wrong, in the order of the files, with the warnings among it.
pub fn parse(sources: &[Source]) -> Result<Manifest, Problems> {
    let mut problems = Problems::new(sources);
    let tables = document::tables(sources, &mut problems);
    check::check(&tables, &mut problems);
    let model = if problems.count(Level::Error) > 0 { None } else { resolved(&tables, &mut problems) };
    problems.prune();
    match model {
        Some(model) => Ok(Manifest { model, warnings: problems }),
        None => Err(problems),
    }
}

/// The model of tables without an error; after `None` a problem was noted.
fn resolved(tables: &tables::Tables, problems: &mut Problems) -> Option<Model> {
    let model = resolve::resolve(tables);
    match &model {
        None => {
            problems
                .error(&Location::start(), "something that is required is missing, and no check named it")
                .help("this is a fault of this version of Bulkhead: report it with the manifest");
        }
        Some(model) if model.makes_nothing() => {
            problems
                .warning(&Location::start(), "the manifest declares nothing")
                .help("it is not applied; to remove what Bulkhead made, run bulkhead teardown");
        }
        Some(_) => warn_of_empty_files(problems),
    }
    model
}

/// A file beside others that declares nothing is right, and may be one whose text was lost.
fn warn_of_empty_files(problems: &mut Problems) {
    let empty = problems.sources.iter().enumerate().filter(|(_, source)| source.is_empty()).map(|(file, _)| file);
    for file in empty.collect::<Vec<_>>() {
        let location = Location { file, ..Location::start() };
        problems.warning(&location, "this file declares nothing").help(
            "if its text was lost, write it again; else move a table of another file into it, or remove it if it is in host.d: \
             as it is, nothing that was applied is removed",
        );
    }
}
