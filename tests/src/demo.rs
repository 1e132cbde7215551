//! `cargo lab demo`: Bulkhead at work in a Debian 13 machine.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use bulkhead_types::chain;

use crate::inside::{Purpose, Size, Task};
use crate::suite::Suite;
use crate::vm::{self, Payload, Screen, Start};
use crate::{deps, package};

const SUITE: Suite = Suite::Debian13;
/// What the machine and its task are called.
const NAME: &str = "demo";

/// Installs, builds and boots what is needed, and shows it; whether everything shown was as it should be.
///
/// # Errors
/// When something of that fails.
pub(crate) fn run(root: &Path, shell: bool) -> Result<bool, String> {
    deps::install(&[deps::BUILD, deps::MACHINES]).map_err(|e| chain(&e))?;
    let lab = root.join("target/lab");
    let (image, package) = thread::scope(|scope| {
        // The archive's network and the build's processors have little in common.
        let image = scope.spawn(|| vm::build(&lab, SUITE));
        let package = package::build(root, &|line| println!("package: {line}")).map_err(|e| chain(&e));
        let image = image.join().map_err(|_| "the thread that makes the image panicked".to_owned());
        (image, package)
    });
    let image = image?.map_err(|e| chain(&e))?;
    let screen = if shell { Screen::Terminal } else { Screen::Lines };
    let task = Task { suite: SUITE, purpose: Purpose::Demo { shell: shell.then(terminal_size) } };
    let payload = Payload::write(root, &lab, &package?, &[], &[(NAME, &task)]).map_err(|e| chain(&e))?;
    if shell {
        println!("at the end you get a shell in the machine; `exit` powers it off, and so does Ctrl-A X at any time");
    }
    let start = Start { image: &image, payload: &payload, name: NAME, task: NAME, words: &[] };
    let ran = vm::boot(&start, screen).map_err(|e| chain(&e))?;
    Ok(ran.count.failed == 0)
}

/// The size of the terminal that the user sits at; a serial port knows none.
fn terminal_size() -> Size {
    let asked = Command::new("stty").arg("size").stdin(Stdio::inherit()).stderr(Stdio::null()).output();
    let text = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    parse(&text).unwrap_or(Size { rows: 24, columns: 80 })
}

fn parse(text: &str) -> Option<Size> {
    let (rows, columns) = text.trim().split_once(' ')?;
    Some(Size { rows: rows.parse().ok()?, columns: columns.parse().ok()? })
}
