//! The manifest's files, as they stand on disk.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

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

/// Why the manifest's files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The directory has no `host.toml`, or the path does not exist at all.
    #[error("cannot read the manifest {0}: it does not exist. Write it, or name another with --manifest PATH")]
    Absent(PathBuf),
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
/// [`ReadError`] names the file that is absent, unreadable, too large or not UTF-8.
pub fn read(path: &Path) -> Result<Vec<Source>, ReadError> {
    if !path.is_dir() {
        return Ok(vec![read_file(path)?]);
    }
    let mut sources = vec![read_file(&path.join("host.toml"))?];
    for path in parts(&path.join("host.d"))? {
        sources.push(read_file(&path)?);
    }
    Ok(sources)
}

fn parts(directory: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let failed = |source| ReadError::Io { path: directory.to_owned(), source };
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
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ReadError::Absent(path.to_owned()),
        _ => ReadError::Io { path: path.to_owned(), source },
    };
    let mut bytes = Vec::new();
    // One more byte than allowed tells a file that is too large from one that just fits, whatever its size says.
    fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(ReadError::TooLarge(path.to_owned()));
    }
    // `--manifest .` is said of files as people call them there.
    let path = path.strip_prefix(".").unwrap_or(path);
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { path: path.to_owned(), text }),
        Err(error) => Err(ReadError::Encoding { path: path.to_owned(), offset: error.utf8_error().valid_up_to() }),
    }
}
