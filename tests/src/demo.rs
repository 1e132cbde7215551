//! `cargo lab demo`: Bulkhead at work in a Debian 13 machine.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use bulkhead_types::chain;

use crate::inside::{Purpose, Size, Task};
use crate::suite::Suite;
use crate::vm::{self, Payload, Screen};
use crate::{deps, package};

const SUITE: Suite = Suite::Debian13;

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
    let payload = Payload::stage(root, &lab, &package?, &[]).map_err(|e| chain(&e))?;
    let screen = if shell { Screen::Terminal } else { Screen::Lines };
    let task = Task { suite: SUITE, purpose: Purpose::Demo { shell: shell.then(terminal_size) } };
    if shell {
        println!("at the end you get a shell in the machine; `exit` powers it off, and so does Ctrl-A X at any time");
    }
    let count = vm::boot(&image, &payload, &task, "demo", &[], screen).map_err(|e| chain(&e))?;
    Ok(count.failed == 0)
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
