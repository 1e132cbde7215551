//! Every applied manifest, by number, and which of them this boot follows.
//!
//! `/var/lib/bulkhead/generations/N.toml` is the only state that outlives a boot; beside it stands `lockdown.nft`, which the
//! early boot loads. `/run/bulkhead/generation` outlives the daemon alone: a daemon that was killed goes on with what was
//! applied, and only a boot (or `apply`) takes up what the files say by then.
//!
//! Every file is written beside its place and renamed into it, so that a crash leaves the old one or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// Where the state stands.
#[derive(Debug, Clone)]
pub struct Places {
    /// Outlives a boot: `/var/lib/bulkhead`.
    pub state: PathBuf,
    /// Outlives the daemon: `/run/bulkhead`.
    pub runtime: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { state: "/var/lib/bulkhead".into(), runtime: "/run/bulkhead".into() }
    }
}

/// Why the state cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct Error {
    /// What was tried, as a verb.
    action: &'static str,
    /// On which file or directory.
    path: PathBuf,
    /// The system's answer.
    source: io::Error,
}

impl Error {
    /// Whether the file is not there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error { action, path, source }
}

/// One applied manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Its number, from 1.
    pub number: u64,
    /// The manifest, as one text.
    pub text: String,
    /// When it was written, in microseconds since 1970; `None` where the file system does not say.
    pub applied_at_us: Option<u64>,
}

impl Generation {
    /// SHA-256 of the text in hex, as `sha256sum` of the file says it.
    #[must_use]
    pub fn sha256(&self) -> String {
        Sha256::digest(self.text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What this boot has followed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// Nobody has said anything since the boot.
    Fresh,
    /// Nothing: there was no manifest, or it was torn down.
    Nothing,
    /// The generation of this number.
    Number(u64),
}

/// The generations of this host.
#[derive(Debug)]
pub struct Generations {
    places: Places,
}

impl Generations {
    /// The generations at these places; the state directory is made by the service's unit.
    #[must_use]
    pub fn new(places: Places) -> Self {
        Self { places }
    }

    /// What this boot follows. A file that cannot be understood counts as nobody's word.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn followed(&self) -> Result<Followed, Error> {
        let path = self.marker();
        match fs::read_to_string(&path) {
            Ok(text) if text.trim() == "none" => Ok(Followed::Nothing),
            Ok(text) => Ok(text.trim().parse().map_or(Followed::Fresh, Followed::Number)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Followed::Fresh),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// Notes what this boot follows from now on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn follow(&self, number: Option<u64>) -> Result<(), Error> {
        let text = number.map_or_else(|| "none\n".to_owned(), |number| format!("{number}\n"));
        replace(&self.marker(), &text)
    }

    /// The newest generation; `None` before the first apply.
    ///
    /// # Errors
    /// The directory or the newest file cannot be read.
    pub fn newest(&self) -> Result<Option<Generation>, Error> {
        let directory = self.directory();
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(failed("list", &directory))?,
        };
        let mut newest = None;
        for entry in entries {
            let name = entry.map_err(failed("list", &directory))?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".toml")?.parse::<u64>().ok());
            newest = newest.max(number);
        }
        newest.map(|number| self.read(number)).transpose()
    }

    /// The generation of this number.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn read(&self, number: u64) -> Result<Generation, Error> {
        let path = self.file(number);
        let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
        let written = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
        let applied_at_us = written.map(microseconds);
        Ok(Generation { number, text, applied_at_us })
    }

    /// Keeps a manifest that is about to be applied: as the newest generation if that has the same text, else as a new one.
    ///
    /// # Errors
    /// The directory cannot be read or the file cannot be written.
    pub fn keep(&self, text: &str) -> Result<Generation, Error> {
        let newest = self.newest()?;
        let number = match newest {
            Some(newest) if newest.text == text => return Ok(newest),
            Some(newest) => newest.number + 1,
            None => 1,
        };
        let directory = self.directory();
        fs::create_dir_all(&directory).map_err(failed("make", &directory))?;
        replace(&self.file(number), text)?;
        self.read(number)
    }

    /// Writes what the next boot loads before the daemon runs; `None` leaves it nothing to load.
    ///
    /// # Errors
    /// The file cannot be written or removed.
    pub fn lockdown(&self, text: Option<&str>) -> Result<(), Error> {
        let path = self.places.state.join("lockdown.nft");
        match (text, fs::read_to_string(&path)) {
            (Some(text), Ok(old)) if text == old => Ok(()),
            (Some(text), _) => replace(&path, text),
            (None, Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            (None, _) => fs::remove_file(&path).map_err(failed("remove", &path)),
        }
    }

    fn directory(&self) -> PathBuf {
        self.places.state.join("generations")
    }

    fn file(&self, number: u64) -> PathBuf {
        self.directory().join(format!("{number}.toml"))
    }

    fn marker(&self) -> PathBuf {
        self.places.runtime.join("generation")
    }
}

/// Microseconds since 1970; a clock before that is 0.
#[must_use]
pub fn microseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Replaces a file as a whole: written beside it, brought to the disk, renamed, and the rename brought to the disk.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Error> {
    let beside = path.with_extension("new");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(failed("write", &beside))?;
    fs::rename(&beside, path).map_err(failed("rename into", path))?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("sync", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this test's own, removed at its end.
    struct Ground(PathBuf);

    impl Ground {
        fn new(name: &str) -> (Self, Generations) {
            let root = std::env::temp_dir().join(format!("bulkhead-{name}-{}", std::process::id()));
            let (state, runtime) = (root.join("state"), root.join("run"));
            fs::create_dir_all(&runtime).unwrap();
            fs::create_dir_all(&state).unwrap();
            (Self(root), Generations::new(Places { state, runtime }))
        }
    }

    impl Drop for Ground {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_same_text_is_the_same_generation_and_another_is_the_next() {
        let (_ground, generations) = Ground::new("generations");
        assert_eq!(generations.newest().unwrap(), None);
        assert_eq!(generations.keep("a = 1\n").unwrap().number, 1);
        assert_eq!(generations.keep("a = 1\n").unwrap().number, 1);
        assert_eq!(generations.keep("a = 2\n").unwrap().number, 2);
        assert_eq!(generations.keep("a = 1\n").unwrap().number, 3, "an older text is applied anew");
        assert_eq!(generations.newest().unwrap().unwrap().text, "a = 1\n");
        for number in 4..12 {
            assert_eq!(generations.keep(&format!("a = {number}\n")).unwrap().number, number);
        }
        assert_eq!(generations.newest().unwrap().unwrap().number, 11, "numbers are no texts");
    }

    #[test]
    fn a_file_that_a_crash_left_half_written_counts_for_nothing() {
        let (ground, generations) = Ground::new("half");
        generations.keep("a = 1\n").unwrap();
        fs::write(ground.0.join("state/generations/2.new"), "a =").unwrap();
        assert_eq!(generations.newest().unwrap().unwrap().number, 1);
        assert_eq!(generations.keep("a = 2\n").unwrap().text, "a = 2\n");
    }

    #[test]
    fn a_boot_is_fresh_until_somebody_says_what_it_follows() {
        let (ground, generations) = Ground::new("followed");
        assert_eq!(generations.followed().unwrap(), Followed::Fresh);
        generations.follow(Some(7)).unwrap();
        assert_eq!(generations.followed().unwrap(), Followed::Number(7));
        generations.follow(None).unwrap();
        assert_eq!(generations.followed().unwrap(), Followed::Nothing);
        fs::write(ground.0.join("run/generation"), "seven").unwrap();
        assert_eq!(generations.followed().unwrap(), Followed::Fresh);
    }

    #[test]
    fn the_lockdown_comes_and_goes() {
        let (ground, generations) = Ground::new("lockdown");
        generations.lockdown(None).unwrap();
        generations.lockdown(Some("table bridge x {}\n")).unwrap();
        let path = ground.0.join("state/lockdown.nft");
        assert_eq!(fs::read_to_string(&path).unwrap(), "table bridge x {}\n");
        generations.lockdown(None).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn the_hash_is_the_one_of_sha256sum() {
        let generation = Generation { number: 1, text: String::new(), applied_at_us: None };
        assert_eq!(generation.sha256(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
