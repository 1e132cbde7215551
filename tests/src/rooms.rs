//! The rooms' kernel tests, `ROOM/tests/kernel`: built here, run in a machine, since they write to the kernel.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::inside::Room;
use crate::program::{self, output};
use crate::progress::Progress;
use crate::suite::Suite;

/// The room whose tests start guests, which takes as long as the tests of all other rooms: once is enough, since the cases
/// start guests on every release.
const GUESTS: &str = "agent";

/// A room's test program.
pub(crate) struct KernelTests {
    /// The room's name: `netlink`.
    room: String,
    /// The program.
    program: PathBuf,
    /// Its tests.
    names: Vec<String>,
}

/// The lines of cargo's messages that matter.
#[derive(Deserialize)]
struct Message {
    manifest_path: Option<PathBuf>,
    executable: Option<PathBuf>,
}

/// Builds them all.
///
/// # Errors
/// When cargo fails, or a program cannot list its tests.
pub(crate) fn build(root: &Path) -> Result<Vec<KernelTests>, program::Error> {
    let progress = Progress::begin("building the kernel tests");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["test", "--workspace", "--locked", "--test", "kernel", "--no-run"]);
    // Emulated machines take their time for a debug build, and the package's build has made most of this one.
    command.arg("--release");
    command.arg("--message-format=json-render-diagnostics");
    let text = output(&mut command, &|line| progress.now(line))?;
    let mut rooms = Vec::new();
    for (room, program) in programs(&text) {
        let listed = output(Command::new(&program).arg("--list"), &|_| ())?;
        let names = listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
        rooms.push(KernelTests { room, program, names });
    }
    progress.mark("built");
    Ok(rooms)
}

/// Room and program of each test program that cargo's messages name.
fn programs(messages: &str) -> Vec<(String, PathBuf)> {
    let of = |line: &str| {
        // Messages of other kinds have other fields.
        let message: Message = serde_json::from_str(line).ok()?;
        let room = message.manifest_path?.parent()?.file_name()?.to_str()?.to_owned();
        Some((room, message.executable?))
    };
    let mut found: Vec<_> = messages.lines().filter_map(of).filter(|(_, program)| is_kernel(program)).collect();
    found.sort();
    found
}

/// Whether the program is a test target `kernel`, by cargo's way to name it: the package's own programs are built too.
fn is_kernel(program: &Path) -> bool {
    program.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("kernel-"))
}

impl KernelTests {
    /// The name of its program in the payload, and the program.
    pub(crate) fn file(&self) -> (String, PathBuf) {
        (Room::program_of(&self.room), self.program.clone())
    }

    /// Whether it starts guests.
    pub(crate) fn starts_guests(&self) -> bool {
        self.room == GUESTS
    }

    /// What a machine of a release is to run of them; `None` when that is nothing.
    pub(crate) fn select(&self, suite: Suite, filter: Option<&str>) -> Option<Room> {
        if self.starts_guests() && suite != Suite::Debian13 {
            return None;
        }
        let whole = |name: &String| format!("{}::kernel::{name}", self.room);
        let tests: Vec<String> =
            self.names.iter().filter(|name| filter.is_none_or(|text| whole(name).contains(text))).cloned().collect();
        if tests.is_empty() {
            return None;
        }
        Some(Room { name: self.room.clone(), tests })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn netlink() -> KernelTests {
        let names = ["drift::a_deleted_vlan_is_back", "ports::mtu_follows"].map(str::to_owned).to_vec();
        KernelTests { room: "netlink".to_owned(), program: PathBuf::new(), names }
    }

    #[test]
    fn programs_are_found_in_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","manifest_path":"/r/netlink/Cargo.toml","executable":"/t/kernel-1a"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/r/agent/Cargo.toml","executable":"/t/bulkhead"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/r/types/Cargo.toml","executable":null}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(programs(messages), [("netlink".to_owned(), PathBuf::from("/t/kernel-1a"))]);
    }

    #[test]
    fn a_filter_looks_at_room_target_and_test() {
        let select = |filter| netlink().select(Suite::Debian12, filter);
        assert_eq!(select(None).unwrap().tests, netlink().names);
        assert_eq!(select(Some("netlink::kernel")).unwrap().tests, netlink().names);
        assert_eq!(select(Some("kernel::ports")).unwrap().tests, ["ports::mtu_follows"]);
        assert_eq!(select(Some("sandbox")), None);
    }
}
