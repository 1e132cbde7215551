//! Starts a machine, passes its lines on, and sees to it that it ends.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::qemu::{self, Accelerator, QEMU, accelerator};
use super::{Error, Image, Payload, at};
use crate::count::Count;
use crate::inside::{CONTROL, UP};
use crate::longest::Took;
use crate::progress::Progress;

/// From power on to the lab's first line: 15 to 30 s in software emulation on two idle cores.
const UP_DEADLINE: Duration = Duration::from_secs(300);
/// The longest that a test or case may be silent.
const SILENCE_DEADLINE: Duration = Duration::from_secs(600);
/// From the lab's last line to the end of QEMU.
const END_DEADLINE: Duration = Duration::from_secs(60);
/// Lines of the console that an error shows.
const TAIL_LINES: usize = 40;

/// Where the machine's second serial port goes, on which the lab speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Screen {
    /// Its lines are read and shown.
    Lines,
    /// It is the user's terminal, for a shell.
    Terminal,
}

/// A machine that runs; dropped, its QEMU is killed.
struct Machine {
    qemu: Child,
    console: PathBuf,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It has mostly ended by itself, and then neither has anything to do.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// One start of a machine.
pub(crate) struct Start<'a> {
    /// What it boots.
    pub(crate) image: &'a Image,
    /// What it is handed.
    pub(crate) payload: &'a Payload,
    /// What it is called, in the lab's output and on the console's file.
    pub(crate) name: &'a str,
    /// The task's name in the payload.
    pub(crate) task: &'a str,
    /// Words for the kernel's command line.
    pub(crate) words: &'a [&'a str],
}

/// What a machine did.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    /// How many tests ended how.
    pub(crate) count: Count,
    /// How long each of them took.
    pub(crate) took: Vec<Took>,
}

impl AddAssign for Ran {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.took.extend(other.took);
    }
}

/// Starts a machine, shows its lines, and returns what it did.
///
/// # Errors
/// When QEMU cannot be started, or the machine ends or hangs before its task is done.
pub(crate) fn boot(start: &Start<'_>, screen: Screen) -> Result<Ran, Error> {
    let Start { image, payload, name, task, words } = start;
    let label = format!("{} {name}", image.suite);
    let console = image.console(name);
    let mut command = qemu::command(image, payload.disk(), &console, task, words);
    // QEMU's own complaints and the console's lines tell one story; appending, neither overwrites the other.
    File::create(&console).map_err(at("make", &console))?;
    command.stderr(File::options().append(true).open(&console).map_err(at("open", &console))?);
    command.arg("-chardev").arg(match screen {
        Screen::Lines => "stdio,id=lab",
        Screen::Terminal => "stdio,id=lab,mux=on,signal=off",
    });
    if screen == Screen::Lines {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
    }
    println!(
        "{label}: booting ({})",
        match accelerator() {
            Accelerator::Kvm => "KVM",
            Accelerator::Software => "software emulation",
        }
    );
    let qemu = command.spawn().map_err(at("start", Path::new(QEMU)))?;
    let mut machine = Machine { qemu, console };
    match machine.qemu.stdout.take() {
        Some(stdout) => read_console(&mut machine, &lines(BufReader::new(stdout)), &label),
        None => {
            let progress = Progress::begin(label);
            progress.now("booting");
            wait_for_terminal(&mut machine, progress)
        }
    }
}

/// Waits for the end of a machine that has the user's terminal, with signs of life until it has spoken itself.
fn wait_for_terminal(machine: &mut Machine, progress: Progress) -> Result<Ran, Error> {
    let mut booting = Some(progress);
    loop {
        if machine.qemu.try_wait().map_err(at("wait for", Path::new(QEMU)))?.is_some() {
            return match booting {
                None => Ok(Ran::default()),
                Some(_) => Err(died(machine, "the machine ended before its task".to_owned())),
            };
        }
        if booting.is_some() && fs::read(&machine.console).is_ok_and(|text| contains(&text, UP.as_bytes())) {
            booting = None;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}

/// Reads lines on a thread of its own, so that silence can be noticed.
fn lines(stdout: impl BufRead + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in stdout.split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Shows the machine's lines until it has ended; each begins with the machine's name, since another one may speak beside it.
fn read_console(machine: &mut Machine, lines: &Receiver<String>, label: &str) -> Result<Ran, Error> {
    let (mut count, mut took) = (None, Vec::new());
    let mut deadline = UP_DEADLINE;
    let progress = Progress::begin(label);
    progress.now("booting");
    loop {
        let line = match lines.recv_timeout(deadline) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if count.is_some() => break,
            Err(RecvTimeoutError::Timeout) => {
                return Err(died(machine, format!("{label}: no line for {} s, given up", deadline.as_secs())));
            }
        };
        match control(&line) {
            None => progress.say(&format!("{label} | {line}")),
            Some(("up", _)) => {
                progress.mark("up");
                deadline = SILENCE_DEADLINE;
            }
            Some(("at", what)) => progress.now(what),
            Some(("took", what)) => took.extend(Took::read(what)),
            Some(("ended", counts)) => {
                count = parse(counts);
                progress.now("powering off");
                deadline = END_DEADLINE;
            }
            Some(_) => {}
        }
    }
    progress.mark("off");
    match count {
        Some(count) => Ok(Ran { count, took }),
        None => Err(died(machine, format!("{label}: the machine ended before its task"))),
    }
}

/// Verb and rest of a line that is for us.
fn control(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix(CONTROL)?;
    Some(rest.split_once(' ').unwrap_or((rest, "")))
}

/// `3 0`: passed and failed.
fn parse(counts: &str) -> Option<Count> {
    let (passed, failed) = counts.split_once(' ')?;
    Some(Count { passed: passed.parse().ok()?, failed: failed.parse().ok()? })
}

fn died(machine: &Machine, what: String) -> Error {
    let text = fs::read(&machine.console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    Error::Died { what, console: machine.console.clone(), tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_control_lines_are_kept_from_the_screen() {
        assert_eq!(control("::ended 3 1").and_then(|(_, counts)| parse(counts)), Some(Count { passed: 3, failed: 1 }));
        assert_eq!(control("::up"), Some(("up", "")));
        assert_eq!(control("test survival::foreign ... ok"), None);
    }
}
