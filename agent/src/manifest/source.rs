//! The manifest's files, as they stand on disk.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::access::{self, Access, Obstacle, Reader};
use crate::regular;

/// Where the manifest lives unless somebody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/bulkhead";

/// More than a thousand guests fit into it; a bigger file is a mistake, and reading it would be the damage.
const MOST_BYTES: u64 = 4 << 20;

/// One file of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it was read from; only shown.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl Source {
    /// Whether it declares nothing: it is empty, or has nothing but blanks and comments.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        table.get_ref().is_empty() && errors.is_empty()
    }
}

/// Why the manifest's files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The directory has no `host.toml`, or the path does not exist at all.
    #[error("cannot read the manifest {0}: it does not exist. Write it, or name another file")]
    Absent(PathBuf),
    /// A link that leads nowhere.
    #[error(
        "cannot read the manifest {path}: it is a link to {target}, which does not exist. Remove it, or write that file"
    )]
    Dangling {
        /// The link.
        path: PathBuf,
        /// What it names.
        target: PathBuf,
    },
    /// Something that is no file, and may never end or never answer.
    #[error(
        "cannot read the manifest {path}: it is {kind}, and only a regular file is read. Remove it, or write a file in its place"
    )]
    Kind {
        /// Where it stands.
        path: PathBuf,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// A mode keeps this process from it.
    #[error("cannot read the manifest {path}: {obstacle}")]
    Permission {
        /// The file or directory of the manifest.
        path: PathBuf,
        /// What is closed, and the command that opens it.
        obstacle: Box<Obstacle>,
    },
    /// The kernel refused.
    #[error("cannot read the manifest {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Some bytes are not UTF-8, which is all that TOML allows.
    #[error("cannot read the manifest {path}: byte {offset} is not UTF-8. Save the file as UTF-8")]
    Encoding {
        /// The file.
        path: PathBuf,
        /// Offset of the first such byte, from 0.
        offset: usize,
    },
    /// Larger than anybody's manifest.
    #[error("cannot read the manifest {0}: it is larger than {max} MiB", max = MOST_BYTES >> 20)]
    TooLarge(PathBuf),
}

/// Reads one file, or of a directory `host.toml` and then `host.d/*.toml` in the byte order of their names.
///
/// Files whose name begins with a dot are left out: editors leave such behind.
///
/// # Errors
/// [`ReadError`] names the file that is absent, unreadable, no file, too large or not UTF-8.
pub fn read(path: &Path) -> Result<Vec<Source>, ReadError> {
    files(path)?.iter().map(|path| read_file(path)).collect()
}

/// What keeps the user of this name from the manifest, by the modes of its files and directories. Nothing where there is no
/// such user, and nothing of what this process cannot look at itself.
#[must_use]
pub fn obstacles(path: &Path, user: &str) -> Vec<Obstacle> {
    let (Some(reader), Ok(files)) = (Reader::named(user), files(path)) else { return Vec::new() };
    let parts = path.join("host.d");
    let wanted = files.iter().map(|file| (file, Access::Read)).chain(parts.is_dir().then_some((&parts, Access::List)));
    let mut found: Vec<Obstacle> = wanted.filter_map(|(path, access)| reader.obstacle(path, access)).collect();
    found.dedup();
    found
}

/// The files of a manifest that is a directory, or the one file that it is.
fn files(path: &Path) -> Result<Vec<PathBuf>, ReadError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = vec![path.join("host.toml")];
    files.extend(parts(&path.join("host.d"))?);
    Ok(files)
}

fn parts(directory: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let failed = |error| refused(directory, Access::List, error);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension() == Some(OsStr::new("toml")) && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_file(path: &Path) -> Result<Source, ReadError> {
    let bytes = regular::read(path, MOST_BYTES).map_err(|error| match error {
        regular::Error::Kind(kind) => ReadError::Kind { path: path.to_owned(), kind },
        regular::Error::TooLarge(_) => ReadError::TooLarge(path.to_owned()),
        regular::Error::Io(error) => refused(path, Access::Read, error),
    })?;
    // `--manifest .` is said of files as people call them there.
    let path = path.strip_prefix(".").unwrap_or(path);
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { path: path.to_owned(), text }),
        Err(error) => Err(ReadError::Encoding { path: path.to_owned(), offset: error.utf8_error().valid_up_to() }),
    }
}

fn refused(path: &Path, access: Access, source: io::Error) -> ReadError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => match fs::read_link(&path) {
            Ok(target) => ReadError::Dangling { path, target },
            Err(_) => ReadError::Absent(path),
        },
        io::ErrorKind::PermissionDenied => match access::of_this_process(&path, access) {
            Some(obstacle) => ReadError::Permission { path, obstacle: Box::new(obstacle) },
            None => ReadError::Io { path, source },
        },
        _ => ReadError::Io { path, source },
    }
}
