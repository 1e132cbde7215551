//! Every applied manifest, by number, and which of them is followed.
//!
//! `/var/lib/bulkhead/generations/N.toml` outlives a boot, and so do two files beside it: `lockdown.nft`, which the early boot
//! loads, and `intent/generation`, which names what `apply` or `teardown` said last: no generation can tell that it was torn
//! down. `/run/bulkhead/generation` says the same and outlives the daemon alone: a daemon that was killed goes on with what was
//! applied, and only a boot (or `apply`) takes up what the files say by then.
//!
//! Every file is written beside its place and renamed into it, so that a crash leaves the old one or the new one. What
//! damages a file all the same is known by the checksum in its first line.

mod sealed;

use std::path::{Path, PathBuf};
use std::{fs, io};

use bulkhead_api::microseconds;

use crate::checksum::sha256;
use crate::regular::MOST_BYTES;
use crate::{atomic, regular};
use sealed::Damage;

/// Where the state stands.
#[derive(Debug, Clone)]
pub(crate) struct Directories {
    /// Outlives a boot: `/var/lib/bulkhead`.
    pub(crate) state: PathBuf,
    /// Outlives the daemon: `/run/bulkhead`.
    pub(crate) runtime: PathBuf,
}

impl Default for Directories {
    fn default() -> Self {
        Self { state: "/var/lib/bulkhead".into(), runtime: "/run/bulkhead".into() }
    }
}

/// Why the state cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub(crate) struct Error {
    /// What was tried, as a verb.
    action: &'static str,
    /// On which file or directory.
    path: PathBuf,
    /// Why not.
    source: FileError,
}

/// Why a file cannot be read or written.
#[derive(Debug, thiserror::Error)]
enum FileError {
    /// The system's answer.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not what was written.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// It is to name a generation, and does not.
    #[error("it is damaged: it does not say which generation is followed")]
    Marker,
    /// Something else stands there.
    #[error(transparent)]
    Kind(#[from] regular::Error),
    /// No number is left for the next generation.
    #[error("there is no higher number. Bulkhead does not count so far: move this file to another directory")]
    Number,
}

impl Error {
    /// The file or directory.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl From<atomic::Error> for Error {
    fn from(error: atomic::Error) -> Self {
        let atomic::Error { action, path, source } = error;
        Self { action, path, source: source.into() }
    }
}

fn failed<E: Into<FileError>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |error| Error { action, path, source: error.into() }
}

/// One applied manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Generation {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// The manifest, as one text.
    pub(crate) text: String,
    /// Whether its file's checksum vouches for the text; files of earlier versions have none.
    pub(crate) vouched: bool,
    /// When it was written, in microseconds since 1970; `None` where the file system does not say.
    pub(crate) applied_at_us: Option<u64>,
}

impl Generation {
    /// SHA-256 of the text in hex: `tail -n +2 FILE | sha256sum`, as the first line of the file has it.
    #[must_use]
    pub(crate) fn sha256(&self) -> String {
        sha256(&self.text)
    }
}

/// What is followed, as it was noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Marker {
    /// Nobody has noted anything: since the boot, or ever.
    Unset,
    /// Nothing: there was no manifest, or it was torn down.
    Nothing,
    /// A generation.
    Generation {
        /// Its number.
        number: u64,
        /// SHA-256 of its text; earlier versions did not note it.
        sha256: Option<String>,
    },
}

/// Notes of what is followed that are on the disk and not yet in their places.
#[derive(Debug)]
pub(crate) struct Notes {
    /// Each file, and where it is to be: the next boot's before this one's.
    files: Vec<(PathBuf, PathBuf)>,
}

impl Notes {
    /// Puts them into their places, which needs no more room.
    ///
    /// # Errors
    /// A file cannot be renamed.
    pub(crate) fn place(self) -> Result<(), Error> {
        self.files.iter().try_for_each(|(beside, path)| Ok(atomic::rename(beside, path)?))
    }
}

/// The generations of this host.
#[derive(Debug)]
pub(crate) struct Generations {
    directories: Directories,
}

impl Generations {
    /// The generations in these directories; the one for the state is made by the service's unit.
    #[must_use]
    pub(crate) fn new(directories: Directories) -> Self {
        Self { directories }
    }

    /// What this boot follows.
    ///
    /// # Errors
    /// The file is there and cannot be read, or names nothing.
    pub(crate) fn of_this_boot(&self) -> Result<Marker, Error> {
        read_marker(&self.marker_of_this_boot())
    }

    /// What was followed last, in this boot or an earlier one.
    ///
    /// # Errors
    /// The file is there and cannot be read, or names nothing.
    pub(crate) fn last(&self) -> Result<Marker, Error> {
        read_marker(&self.lasting_marker())
    }

    /// Notes what is followed from now on: first for the next boot, then for this one. A daemon that is killed between the two
    /// goes on with what it followed, and a boot with what was asked for.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn mark(&self, generation: Option<&Generation>) -> Result<(), Error> {
        self.notes(generation)?.place()
    }

    /// Writes what [`Self::mark`] notes, and leaves it beside its places for [`Notes::place`].
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn notes(&self, generation: Option<&Generation>) -> Result<Notes, Error> {
        let some = |generation: &Generation| format!("{} {}\n", generation.number, generation.sha256());
        let text = generation.map_or_else(|| "none\n".to_owned(), some);
        let directory = self.directories.state.join("intent");
        fs::create_dir_all(&directory).map_err(failed("make", &directory))?;
        let mut files = Vec::new();
        for path in [self.lasting_marker(), self.marker_of_this_boot()] {
            if !says(&path, &text) {
                files.push((atomic::write_beside(&path, &text)?, path));
            }
        }
        Ok(Notes { files })
    }

    /// The numbers of all generations, the newest first. A name that is not as [`Self::file`] writes it, such as `007.toml`, is
    /// none of ours.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub(crate) fn numbers(&self) -> Result<Vec<u64>, Error> {
        let directory = self.directory();
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("list", &directory))?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed("list", &directory))?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".toml")?.parse::<u64>().ok());
            numbers.extend(number.filter(|number| name.to_str() == Some(&file_name(*number))));
        }
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        Ok(numbers)
    }

    /// The generation of this number.
    ///
    /// # Errors
    /// Its file cannot be read, or is not the one that was written.
    pub(crate) fn read(&self, number: u64) -> Result<Generation, Error> {
        let path = self.file(number);
        let bytes = regular::read(&path, MOST_BYTES).map_err(failed("read", &path))?;
        let (text, vouched) = sealed::open(bytes).map_err(failed("read", &path))?;
        let written = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
        Ok(Generation { number, text, vouched, applied_at_us: written.map(microseconds) })
    }

    /// Keeps a manifest that is about to be applied: as the newest generation if that has the same text, else as a new one.
    ///
    /// # Errors
    /// The directory cannot be read, the file cannot be written, or no number is left for it.
    pub(crate) fn keep(&self, text: &str) -> Result<Generation, Error> {
        let newest = self.numbers()?.first().copied();
        // One that is damaged is not overwritten: a person may want to look at it.
        match newest.map(|number| self.read(number)) {
            Some(Ok(newest)) if newest.text == text && newest.vouched => return Ok(newest),
            _ => {}
        }
        let number = match newest {
            Some(newest) => {
                let none = || failed("count on from", &self.file(newest))(FileError::Number);
                newest.checked_add(1).ok_or_else(none)?
            }
            None => 1,
        };
        let directory = self.directory();
        fs::create_dir_all(&directory).map_err(failed("make", &directory))?;
        atomic::create(&self.file(number), &sealed::seal(text))?;
        self.read(number)
    }

    /// Writes what the next boot loads before the daemon runs; `None` leaves it nothing to load.
    ///
    /// # Errors
    /// The file cannot be written or removed.
    pub(crate) fn lockdown(&self, text: Option<&str>) -> Result<(), Error> {
        let path = self.directories.state.join("lockdown.nft");
        let Some(text) = text else {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed.map_err(failed("remove", &path)),
            };
        };
        // One that says it already is left alone, so that it needs no room on a full disk.
        if says(&path, text) { Ok(()) } else { Ok(atomic::replace(&path, text)?) }
    }

    fn directory(&self) -> PathBuf {
        self.directories.state.join("generations")
    }

    /// Where the generation of this number is.
    #[must_use]
    pub(crate) fn file(&self, number: u64) -> PathBuf {
        self.directory().join(file_name(number))
    }

    fn marker_of_this_boot(&self) -> PathBuf {
        self.directories.runtime.join("generation")
    }

    fn lasting_marker(&self) -> PathBuf {
        self.directories.state.join("intent/generation")
    }
}

fn read_marker(path: &Path) -> Result<Marker, Error> {
    let bytes = match regular::read(path, MOST_BYTES) {
        Err(regular::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(Marker::Unset),
        bytes => bytes.map_err(failed("read", path))?,
    };
    str::from_utf8(&bytes).ok().and_then(marker).ok_or_else(|| failed("read", path)(FileError::Marker))
}

/// What a note says; `None` where it is not whole: its one line has its end, and its checksum all 64 digits.
fn marker(text: &str) -> Option<Marker> {
    let line = text.strip_suffix('\n')?;
    if line == "none" {
        return Some(Marker::Nothing);
    }
    let (number, sha256) = match line.split_once(' ') {
        Some((number, sha256)) => (number, Some(sha256.to_owned())),
        None => (line, None),
    };
    let whole = |sum: &String| sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = number.parse().ok()?;
    sha256.as_ref().is_none_or(whole).then_some(Marker::Generation { number, sha256 })
}

fn file_name(number: u64) -> String {
    format!("{number}.toml")
}

/// Whether a file says just this. What is no regular file says nothing.
fn says(path: &Path, text: &str) -> bool {
    regular::read(path, text.len() as u64).is_ok_and(|bytes| bytes == text.as_bytes())
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
            (Self(root), Generations::new(Directories { state, runtime }))
        }
    }

    impl Drop for Ground {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn newest(generations: &Generations) -> Generation {
        generations.read(generations.numbers().unwrap()[0]).unwrap()
    }

    #[test]
    fn the_same_text_is_the_same_generation_and_another_is_the_next() {
        let (_ground, generations) = Ground::new("generations");
        assert!(generations.numbers().unwrap().is_empty());
        assert_eq!(generations.keep("a = 1\n").unwrap().number, 1);
        assert_eq!(generations.keep("a = 1\n").unwrap().number, 1);
        assert_eq!(generations.keep("a = 2\n").unwrap().number, 2);
        assert_eq!(generations.keep("a = 1\n").unwrap().number, 3, "an older text is applied anew");
        assert_eq!(newest(&generations).text, "a = 1\n");
        for number in 4..12 {
            assert_eq!(generations.keep(&format!("a = {number}\n")).unwrap().number, number);
        }
        assert_eq!(newest(&generations).number, 11, "numbers are no texts");
    }

    #[test]
    fn a_file_that_a_crash_left_half_written_counts_for_nothing() {
        let (ground, generations) = Ground::new("half");
        generations.keep("a = 1\n").unwrap();
        fs::write(ground.0.join("state/generations/2.new"), "a =").unwrap();
        assert_eq!(newest(&generations).number, 1);
        assert_eq!(generations.keep("a = 2\n").unwrap().text, "a = 2\n");
    }

    #[test]
    fn a_damaged_generation_is_known_and_never_overwritten() {
        let (ground, generations) = Ground::new("damaged");
        generations.keep("a = 1\n").unwrap();
        let file = ground.0.join("state/generations/1.toml");
        let whole = fs::read_to_string(&file).unwrap();
        fs::write(&file, whole.strip_suffix(" = 1\n").unwrap()).unwrap();
        let said = bulkhead_types::chain(&generations.read(1).unwrap_err());
        assert!(
            said.ends_with("generations/1.toml: it is damaged: its text does not have the checksum of its first line"),
            "{said}"
        );
        assert_eq!(generations.keep("a = 1\n").unwrap().number, 2);
    }

    #[test]
    fn a_generation_of_an_earlier_version_is_read_and_kept_anew_with_a_checksum() {
        let (ground, generations) = Ground::new("earlier");
        fs::create_dir_all(ground.0.join("state/generations")).unwrap();
        fs::write(ground.0.join("state/generations/4.toml"), "a = 1\n").unwrap();
        let earlier = generations.read(4).unwrap();
        assert_eq!((earlier.text.as_str(), earlier.vouched), ("a = 1\n", false));
        let kept = generations.keep("a = 1\n").unwrap();
        assert_eq!((kept.number, kept.vouched), (5, true));
    }

    #[test]
    fn what_is_followed_is_noted_for_this_boot_and_for_the_next() {
        let (ground, generations) = Ground::new("followed");
        let markers = || (generations.of_this_boot().unwrap(), generations.last().unwrap());
        assert_eq!(markers(), (Marker::Unset, Marker::Unset));
        let generation = generations.keep("a = 1\n").unwrap();
        generations.mark(Some(&generation)).unwrap();
        let noted = Marker::Generation { number: 1, sha256: Some(sha256("a = 1\n")) };
        assert_eq!(markers(), (noted.clone(), noted.clone()));
        fs::remove_file(ground.0.join("run/generation")).unwrap();
        assert_eq!(markers(), (Marker::Unset, noted), "after a boot");
        generations.mark(None).unwrap();
        assert_eq!(markers(), (Marker::Nothing, Marker::Nothing));
        fs::write(ground.0.join("run/generation"), "7\n").unwrap();
        assert_eq!(generations.of_this_boot().unwrap(), Marker::Generation { number: 7, sha256: None });
    }

    #[test]
    fn a_note_that_names_nothing_is_damaged_and_says_so() {
        let (ground, generations) = Ground::new("note");
        generations.mark(None).unwrap();
        let note = ground.0.join("state/intent/generation");
        let damaged = |text: &str| {
            fs::write(&note, text).unwrap();
            let said = bulkhead_types::chain(&generations.last().unwrap_err());
            assert!(said.ends_with("it is damaged: it does not say which generation is followed"), "{text}: {said}");
        };
        let sum = sha256("a = 1\n");
        let long = format!("12 {sum}0\n");
        for text in ["seven\n", "\0\0\0", "12 \n", "12 0\n", "none\nnone\n", "12\n12\n", &long, &long.replace('e', "g")]
        {
            damaged(text);
        }
        for whole in ["none\n", "12\n", &format!("12 {sum}\n")] {
            fs::write(&note, whole).unwrap();
            assert!(generations.last().is_ok(), "{whole}");
            (0..whole.len()).for_each(|end| damaged(&whole[..end]));
        }
    }

    /// Runs something that must not wait for whoever opens the other end of a FIFO.
    fn at_once(name: &str, run: impl FnOnce(&Ground, &Generations) + Send + 'static) {
        let (ground, generations) = Ground::new(name);
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            run(&ground, &generations);
            let _ = done.send(());
        });
        ended.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits for nobody, and ends well");
    }

    fn fifo(path: &Path) {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }

    #[test]
    fn a_fifo_in_the_place_of_any_file_is_replaced_without_waiting_for_it() {
        at_once("fifo", |ground, generations| {
            let root = &ground.0;
            fs::create_dir_all(root.join("state/generations")).unwrap();
            fs::create_dir_all(root.join("state/intent")).unwrap();
            let files = ["state/lockdown", "state/generations/1", "state/intent/generation", "run/generation"];
            for file in files {
                fifo(&root.join(file).with_extension("new"));
            }
            for file in ["state/lockdown.nft", "state/intent/generation", "run/generation"] {
                fifo(&root.join(file));
            }
            assert!(generations.of_this_boot().is_err() && generations.last().is_err());
            generations.lockdown(Some("table bridge x {}\n")).unwrap();
            assert_eq!(fs::read_to_string(root.join("state/lockdown.nft")).unwrap(), "table bridge x {}\n");
            let kept = generations.keep("a = 1\n").unwrap();
            generations.mark(Some(&kept)).unwrap();
            assert_eq!(generations.of_this_boot().unwrap(), generations.last().unwrap());
            assert!(matches!(generations.last().unwrap(), Marker::Generation { number: 1, .. }));
            assert!(files.iter().all(|file| !root.join(file).with_extension("new").exists()));
        });
    }

    #[test]
    fn a_link_beside_a_file_leads_no_write_to_where_it_points() {
        let (ground, generations) = Ground::new("link");
        let other = ground.0.join("other");
        fs::write(&other, "mine\n").unwrap();
        std::os::unix::fs::symlink(&other, ground.0.join("state/lockdown.new")).unwrap();
        generations.lockdown(Some("table bridge x {}\n")).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "mine\n");
        assert!(fs::symlink_metadata(ground.0.join("state/lockdown.nft")).unwrap().is_file());
    }

    #[test]
    fn the_highest_number_is_followed_by_none_and_what_to_do_about_it_is_said() {
        let (ground, generations) = Ground::new("highest");
        let directory = ground.0.join("state/generations");
        generations.keep("a = 1\n").unwrap();
        let highest = directory.join("18446744073709551615.toml");
        fs::write(&highest, "a = 2\n").unwrap();
        let said = bulkhead_types::chain(&generations.keep("a = 3\n").unwrap_err());
        assert!(said.contains("18446744073709551615.toml: there is no higher number"), "{said}");
        assert!(said.ends_with("move this file to another directory"), "{said}");
        fs::rename(&highest, ground.0.join("moved")).unwrap();
        assert_eq!(generations.keep("a = 3\n").unwrap().number, 2);
    }

    #[test]
    fn a_name_that_is_written_otherwise_is_no_generation() {
        let (ground, generations) = Ground::new("names");
        generations.keep("a = 1\n").unwrap();
        for name in ["007.toml", "+5.toml", "01.toml", "8.toml.toml", "9.new", "-1.toml", "18446744073709551616.toml"] {
            fs::write(ground.0.join("state/generations").join(name), "a = 2\n").unwrap();
        }
        assert_eq!(generations.numbers().unwrap(), [1]);
        assert_eq!(generations.keep("a = 3\n").unwrap().number, 2);
    }

    #[test]
    fn notes_are_on_the_disk_before_they_are_placed_and_change_nothing_until_then() {
        let (ground, generations) = Ground::new("notes");
        let generation = generations.keep("a = 1\n").unwrap();
        generations.mark(Some(&generation)).unwrap();
        let followed = generations.last().unwrap();
        let notes = generations.notes(None).unwrap();
        assert_eq!((generations.of_this_boot().unwrap(), generations.last().unwrap()), (followed.clone(), followed));
        assert_eq!(fs::read_to_string(ground.0.join("state/intent/generation.new")).unwrap(), "none\n");
        notes.place().unwrap();
        assert_eq!(
            (generations.of_this_boot().unwrap(), generations.last().unwrap()),
            (Marker::Nothing, Marker::Nothing)
        );
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
}
