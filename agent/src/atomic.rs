//! Writes a file as a whole: beside its place, brought to the disk, and renamed into it. A crash leaves the old one or the new one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct Error {
    /// What was tried, as a verb.
    pub(crate) action: &'static str,
    /// On which file or directory.
    pub(crate) path: PathBuf,
    /// The system's answer.
    pub(crate) source: io::Error,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error { action, path, source }
}

/// Replaces a file, or what else stands in its place.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Error> {
    rename(&write_beside(path, text)?, path)
}

/// Writes a file that is not there yet: one that is there after all is an error, and stays as it is.
pub(crate) fn create(path: &Path, text: &str) -> Result<(), Error> {
    let beside = write_beside(path, text)?;
    // Unlike a rename, a link never replaces anything.
    let linked = fs::hard_link(&beside, path).map_err(failed("make", path));
    fs::remove_file(&beside).map_err(failed("remove", &beside))?;
    linked?;
    bring_to_disk(path)
}

/// Writes a file beside its place and brings it to the disk. What stands there, whatever it is, was left by a crash or by
/// somebody else: it is removed and never opened.
pub(crate) fn write_beside(path: &Path, text: &str) -> Result<PathBuf, Error> {
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &beside)(error)),
        _ => {}
    }
    let write = || {
        let mut file = File::create_new(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(failed("write", &beside))?;
    Ok(beside)
}

/// Puts a file that was written beside its place into it, and brings the rename to the disk.
pub(crate) fn rename(beside: &Path, path: &Path) -> Result<(), Error> {
    fs::rename(beside, path).map_err(failed("rename into", path))?;
    bring_to_disk(path)
}

/// Brings to the disk that a file has this name.
fn bring_to_disk(path: &Path) -> Result<(), Error> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("sync", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_never_takes_the_place_of_another() {
        let path = std::env::temp_dir().join(format!("bulkhead-place-{}.toml", std::process::id()));
        fs::write(&path, "mine\n").unwrap();
        let made = create(&path, "ours\n");
        let kept = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(made.is_err());
        assert_eq!(kept, "mine\n");
        assert!(!path.with_extension("new").exists());
    }
}
