//! Starts a machine, passes its lines on, and sees to it that it ends.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::ended::Ended;
use super::{Error, Image, Payload, at};
use crate::count::Count;
use crate::inside::{CONTROL, Task, UP, WORD};
use crate::progress::Progress;

/// From power on to the lab's first line: 15 to 30 s in software emulation on two idle cores.
const UP_DEADLINE: Duration = Duration::from_secs(300);
/// The longest that a test or case may be silent.
const SILENCE_DEADLINE: Duration = Duration::from_secs(600);
/// From the lab's last line to the end of QEMU.
const END_DEADLINE: Duration = Duration::from_secs(60);
/// How often a machine is started that QEMU itself fells; each goes on where the one before it was.
const TRIES: u32 = 5;
/// Lines of the console that an error shows.
const TAIL_LINES: usize = 40;
const QEMU: &str = "qemu-system-x86_64";
const MEMORY: &str = "2048";

/// What runs the machine's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// The processor.
    Kvm,
    /// QEMU, some ten times slower.
    Software,
}

/// KVM where it works. `/dev/kvm` alone says nothing: some machines have it and no virtualisation behind it that boots a
/// stock kernel, and their `/proc/cpuinfo` shows neither `vmx` nor `svm`.
pub(crate) fn accelerator() -> Accelerator {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let able = flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    if able && File::options().read(true).write(true).open("/dev/kvm").is_ok() {
        Accelerator::Kvm
    } else {
        Accelerator::Software
    }
}

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

/// Starts a machine for `task`, shows its lines, and returns how many tests ended how. When QEMU itself fells it, another one
/// does the rest.
///
/// `name` is what this boot is called; `words` go to the kernel's command line.
///
/// # Errors
/// When QEMU cannot be started, or the machine ends or hangs before its task is done.
pub(crate) fn boot(
    image: &Image,
    payload: &Payload,
    task: &Task,
    name: &str,
    words: &[&str],
    screen: Screen,
) -> Result<Count, Error> {
    let (mut tries, mut left, mut count) = (0, task.clone(), Count::default());
    loop {
        tries += 1;
        let mut ended = Ended::default();
        let died = match once(image, payload, &left, name, words, screen, &mut ended) {
            Ok(last) => {
                count += last;
                return Ok(count);
            }
            Err(error) => error,
        };
        let place = match &died {
            Error::Died { console, .. } if tries < TRIES => emulator_erred(console),
            _ => None,
        };
        let Some(place) = place else { return Err(died) };
        println!("{} {name}: QEMU ran code that the kernel had replaced ({place}); on with the rest", image.suite);
        left = ended.left(&left);
        count += ended.count;
    }
}

/// Where the kernel met a breakpoint that it had already taken away: on two processors QEMU 7.2's emulation may keep code
/// that the kernel patched, and a real processor does not.
fn emulator_erred(console: &Path) -> Option<String> {
    if accelerator() == Accelerator::Kvm {
        return None;
    }
    let text = String::from_utf8_lossy(&fs::read(console).ok()?).into_owned();
    let (_, after) = text.split_once("Oops: int3")?;
    let place = after.lines().find_map(|line| line.split_once("RIP: "));
    Some(place.map_or("the console does not say where", |(_, place)| place.trim()).to_owned())
}

fn once(
    image: &Image,
    payload: &Payload,
    task: &Task,
    name: &str,
    words: &[&str],
    screen: Screen,
    ended: &mut Ended,
) -> Result<Count, Error> {
    let label = format!("{} {name}", image.suite);
    let console = image.console(name);
    let disk = payload.write(task)?;
    let mut command = qemu(image, disk, &console, words);
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
        Some(stdout) => follow(&mut machine, lines(BufReader::new(stdout)), &label, ended),
        None => {
            let progress = Progress::begin(label);
            progress.now("booting");
            wait_for_terminal(&mut machine, progress)
        }
    }
}

/// Waits for the end of a machine that has the user's terminal, with signs of life until it has spoken itself.
fn wait_for_terminal(machine: &mut Machine, progress: Progress) -> Result<Count, Error> {
    let mut booting = Some(progress);
    loop {
        if machine.qemu.try_wait().map_err(at("wait for", Path::new(QEMU)))?.is_some() {
            return match booting {
                None => Ok(Count::default()),
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

/// QEMU's command line, but for the second serial port's far end `lab`.
fn qemu(image: &Image, payload: &Path, console: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(QEMU);
    // Where the snapshot of the disk grows: /tmp may be small.
    command.env("TMPDIR", image.folder());
    command.args(["-nodefaults", "-display", "none", "-no-reboot", "-smp", "2", "-m", MEMORY]);
    match accelerator() {
        Accelerator::Kvm => command.args(["-accel", "kvm", "-cpu", "host"]),
        Accelerator::Software => command.args(["-accel", "tcg,thread=multi", "-cpu", "max"]),
    };
    command.arg("-kernel").arg(image.kernel()).arg("-initrd").arg(image.initramfs());
    let mut line = format!("console=ttyS0 net.ifnames=0 quiet systemd.show_status=yes panic=-1 {WORD}");
    // On a busy machine the emulated TSC runs false. A kernel that finds out later patches its code in the middle of the
    // boot; one that believes it has a clock twice too fast. lab-keys.service tells of the other patches.
    let emulated: &[&str] = match accelerator() {
        Accelerator::Kvm => &[],
        Accelerator::Software => &["tsc=unstable", "bulkhead.keys=1"],
    };
    for word in emulated.iter().chain(words) {
        line.push(' ');
        line.push_str(word);
    }
    command.arg("-append").arg(line);
    for (file, mode) in [(image.disk().as_path(), "snapshot=on"), (payload, "readonly=on")] {
        command.arg("-drive").arg(format!("file={},if=virtio,format=raw,{mode}", escaped(file)));
    }
    // eth0 is nobody's; eth1, the trunk, and eth2, its far side, hang on one wire.
    for (hub, id) in [(0, "alone"), (1, "trunk"), (1, "far")] {
        command.arg("-netdev").arg(format!("hubport,hubid={hub},id={id}"));
        command.arg("-device").arg(format!("virtio-net-pci,netdev={id},romfile="));
    }
    command.arg("-object").arg("rng-random,filename=/dev/urandom,id=random");
    command.arg("-device").arg("virtio-rng-pci,rng=random");
    command.arg("-chardev").arg(format!("file,id=console,append=on,path={}", escaped(console)));
    command.args(["-serial", "chardev:console", "-serial", "chardev:lab"]);
    command
}

/// In an option of QEMU a comma is doubled.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
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

/// Shows the machine's lines until it has ended.
fn follow(machine: &mut Machine, lines: Receiver<String>, label: &str, ended: &mut Ended) -> Result<Count, Error> {
    let mut count = None;
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
            None => {
                ended.note(&line);
                progress.say(&line);
            }
            Some(("up", _)) => {
                progress.mark("up");
                deadline = SILENCE_DEADLINE;
            }
            Some(("at", what)) => progress.now(what),
            Some(("ended", counts)) => {
                count = parse(counts);
                progress.now("powering off");
                deadline = END_DEADLINE;
            }
            Some(_) => {}
        }
    }
    match count {
        Some(count) => Ok(count),
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
