//! Which files are the manifest, and what the command that checks them says and exits with.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may stop at the first surprise, in its functions too

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bulkhead::cli::{check, schema};
use bulkhead::manifest::{ReadError, read};
use clap::Parser;

/// A directory that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bulkhead-manifest-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("host.d")).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        fs::write(self.0.join(name), text).unwrap();
        self
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_host_comes_first_and_its_parts_by_name() {
    let folder = Folder::new("order");
    folder.write("host.toml", "").write("other.toml", "").write("host.d/20-b.toml", "").write("host.d/100-a.toml", "");
    folder.write("host.d/30-c.toml~", "").write("host.d/.hidden.toml", "").write("host.d/README", "");
    let paths = read(&folder.0).unwrap().into_iter().map(|s| s.path.strip_prefix(&folder.0).unwrap().to_owned());
    assert_eq!(paths.collect::<Vec<_>>(), ["host.toml", "host.d/100-a.toml", "host.d/20-b.toml"].map(PathBuf::from));
}

#[test]
fn a_file_below_the_working_directory_is_called_as_people_call_it_there() {
    assert_eq!(read(Path::new("./Cargo.toml")).unwrap()[0].path, Path::new("Cargo.toml"));
}

#[test]
fn a_file_that_is_absent_too_large_or_not_utf8_is_named() {
    let folder = Folder::new("unread");
    assert!(matches!(read(&folder.0).unwrap_err(), ReadError::Absent(path) if path.ends_with("host.toml")));
    assert!(matches!(read(Path::new("/nonexistent/manifest")).unwrap_err(), ReadError::Absent(_)));
    folder.write("host.toml", b"[trunk.eth1]\n# caf\xe9\n");
    assert!(matches!(read(&folder.0).unwrap_err(), ReadError::Encoding { offset: 18, .. }));
    folder.write("host.toml", vec![b'#'; (4 << 20) + 1]);
    assert!(matches!(read(&folder.0).unwrap_err(), ReadError::TooLarge(_)));
    fs::create_dir(folder.0.join("host.d/10.toml")).unwrap();
    folder.write("host.toml", "");
    assert!(matches!(read(&folder.0).unwrap_err(), ReadError::Kind { path, .. } if path.ends_with("10.toml")));
}

#[test]
fn what_is_no_regular_file_is_refused_at_once_and_unread() {
    let folder = Folder::new("kinds");
    folder.write("host.toml", "");
    let part = folder.0.join("host.d/10.toml");
    let said = || {
        let said = read(&folder.0).unwrap_err().to_string();
        fs::remove_file(&part).unwrap();
        said.strip_prefix(&format!("cannot read the manifest {}: ", part.display())).unwrap().to_owned()
    };
    let regular = "and only a regular file is read. Remove it, or write a file in its place";
    nix::unistd::mkfifo(&part, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(said(), format!("it is a FIFO, {regular}"));
    let _socket = std::os::unix::net::UnixListener::bind(&part).unwrap();
    assert_eq!(said(), format!("it is a socket, {regular}"));
    for device in ["/dev/zero", "/dev/null", "/dev/tty"] {
        symlink(device, &part).unwrap();
        assert_eq!(said(), format!("it is a device, {regular}"));
    }
    symlink("10.toml", &part).unwrap();
    assert!(said().starts_with("Too many levels of symbolic links"));
    symlink("20.toml", &part).unwrap();
    assert_eq!(said(), "it is a link to 20.toml, which does not exist. Remove it, or write that file");
}

#[derive(clap::Parser)]
enum Command {
    Check(check::Args),
    Schema(schema::Args),
}

/// What a command writes, and its exit status.
fn run(arguments: &[&str], json: bool) -> (String, String) {
    let mut out = Vec::new();
    let status = match Command::parse_from(["bulkhead"].iter().chain(arguments)) {
        Command::Check(args) => check::run(&args, json, &mut out, false).unwrap(),
        Command::Schema(args) => schema::run(&args, json, &mut out, false).unwrap(),
    };
    (String::from_utf8(out).unwrap(), format!("{status:?}"))
}

fn status(code: u8) -> String {
    format!("{:?}", std::process::ExitCode::from(code))
}

#[test]
fn check_exits_by_what_it_found_and_counts_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = |path: &str| root.join(path).display().to_string();
    let (said, code) = run(&["check", &path("examples/seed.toml")], false);
    assert_eq!((said.as_str(), code), (&*format!("{}: nothing is wrong\n", path("examples/seed.toml")), status(0)));
    let (said, code) = run(&["check", &path("tests/manifests/right/warnings")], false);
    assert!(said.ends_with(": no error, 9 warnings\n"), "{said}");
    assert_eq!(code, status(0));
    let (said, code) = run(&["check", &path("tests/manifests/wrong/pids-limit")], false);
    assert!(said.ends_with(": 1 error, 1 warning\n"), "{said}");
    assert_eq!(code, status(1));
    let both = [path("examples/seed.toml"), path("tests/manifests/wrong/pids-limit")];
    let (said, code) = run(&["check", &both[0], &both[1]], false);
    assert!(said.starts_with(&format!("{}: nothing is wrong\n", both[0])), "{said}");
    assert!(said.ends_with(&format!("{}: 1 error, 1 warning\n", both[1])), "each is a manifest of its own: {said}");
    assert_eq!(code, status(1), "the worst of them");
    let (said, code) = run(&["check", "/nonexistent"], false);
    assert!(said.starts_with("error: cannot read the manifest /nonexistent: it does not exist"), "{said}");
    assert_eq!(code, status(2));
}

#[test]
fn check_warns_of_a_file_that_declares_nothing_beside_others() {
    let folder = Folder::new("emptied");
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/seed.toml");
    folder.write("host.toml", fs::read(seed).unwrap()).write("host.d/10.toml", "# lost\n");
    let directory = folder.0.display().to_string();
    let (said, code) = run(&["check", &directory], false);
    assert!(said.starts_with("warning: this file declares nothing\n"), "{said}");
    assert!(said.contains("host.d/10.toml:1:1") && said.ends_with(": no error, 1 warning\n"), "{said}");
    assert_eq!(code, status(0));
    folder.write("host.d/10.toml", "[trunk.eth2]\n");
    assert!(!run(&["check", &directory], false).0.contains("this file declares nothing"));
}

#[test]
fn check_and_schema_speak_json() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let wrong = root.join("tests/manifests/wrong/mac-clash").display().to_string();
    let said: serde_json::Value = serde_json::from_str(&run(&["check", &wrong], true).0).unwrap();
    assert_eq!((said["errors"].as_u64(), said["warnings"].as_u64()), (Some(2), Some(0)));
    assert_eq!(said["problems"][0]["line"], 13);
    let said: serde_json::Value = serde_json::from_str(&run(&["check", "/nonexistent"], true).0).unwrap();
    assert!(said["error"].is_string());
    let said: serde_json::Value = serde_json::from_str(&run(&["schema"], true).0).unwrap();
    assert_eq!(said["title"], "Bulkhead manifest");
}
