//! Runs kernel tests and cases, and prints each by name as it ends.

use std::io::{self, BufRead, BufReader, PipeReader};
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_packet::run_until;

use super::{CONTROL, Lab, PAYLOAD, Room};
use crate::cases::{CASES, Case};
use crate::count::Count;
use crate::longest::Took;
use crate::suite::Suite;

/// How long a room's tests may say nothing before it is shown what runs; well below what the host's program waits.
const SILENCE: Duration = Duration::from_secs(200);
/// Lines of the daemon's log under a failed case.
const LOG_LINES: usize = 20;

/// Runs the rooms' kernel tests, then the cases of these names.
pub(super) fn run(suite: Suite, rooms: &[Room], cases: &[String]) -> Count {
    let mut count = Count::default();
    for room in rooms {
        println!("{CONTROL}at kernel tests of {}", room.name);
        println!("kernel tests of {} on {}", room.name, suite);
        match kernel_tests(suite, room) {
            Ok(ran) => count += ran,
            Err(error) => {
                println!("kernel tests of {} on {}: {error}", room.name, suite);
                count.failed += 1;
            }
        }
    }
    let lab = Lab::new(suite);
    for case in CASES.iter().filter(|case| cases.iter().any(|name| name == case.name)) {
        println!("{CONTROL}at case {}", case.number);
        if shown(case, &lab) {
            count.passed += 1;
        } else {
            count.failed += 1;
        }
    }
    count
}

/// Runs one room's test program and passes its lines on. The tests run one after the other, as on one processor they do
/// anyway: what lies between two lines is then the time of a test.
fn kernel_tests(suite: Suite, room: &Room) -> io::Result<Count> {
    let mut command = Command::new(Path::new(PAYLOAD).join(Room::program_of(&room.name)));
    command.args(["--test-threads=1", "--exact"]).args(&room.tests);
    let (reader, writer) = io::pipe()?;
    let errors = writer.try_clone()?;
    let mut child = command.stdin(Stdio::null()).stdout(writer).stderr(errors).spawn()?;
    // The command holds the writing ends: the reader would never see the end.
    drop(command);
    let (mut count, mut began) = (Count::default(), Instant::now());
    for line in lines(reader) {
        let line = line?;
        count.add_line(&line);
        println!("{line}");
        if let Some((name, _)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
            took(&format!("{}::kernel::{name} on {suite}", room.name), began.elapsed());
            began = Instant::now();
        }
    }
    let ended = child.wait()?;
    if !ended.success() && count.failed == 0 {
        return Err(io::Error::other(format!("its program ended with {ended}")));
    }
    Ok(count)
}

/// The lines as they come. While none comes for long, what the machine is at is shown: a test that hangs says nothing else.
fn lines(reader: PipeReader) -> impl Iterator<Item = io::Result<String>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).lines() {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    iter::from_fn(move || {
        loop {
            match receiver.recv_timeout(SILENCE) {
                Ok(line) => return Some(line),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => show_what_runs(),
            }
        }
    })
}

fn show_what_runs() {
    println!("no line for {} s; what runs, and what systemd waits for:", SILENCE.as_secs());
    let processes = ["ps", "-e", "--forest", "-o", "pid,etime,stat,wchan:20,args"];
    for line in [&processes[..], &["systemctl", "list-jobs", "--no-pager"]] {
        let mut command = Command::new(line[0]);
        let shown = run_until(command.args(&line[1..]), Duration::from_secs(30));
        // Threads of the kernel have no arguments, and say nothing.
        let of_users = |line: &&str| !line.ends_with(']');
        shown.iter().flat_map(|ended| ended.stdout.lines()).filter(of_users).for_each(|line| println!("    {line}"));
    }
}

/// Tells the host's program how long something took.
fn took(title: &str, time: Duration) {
    println!("{CONTROL}took {}", Took { time, title: title.to_owned() }.written());
}

/// Runs a case and prints how it ended, what it measured, and on failure the reason; whether it went well.
fn shown(case: &Case, lab: &Lab) -> bool {
    let began = Instant::now();
    let ended = catch_unwind(AssertUnwindSafe(|| (case.run)(lab)))
        .unwrap_or_else(|_| Err("the case itself panicked; its message stands in the machine's journal".to_owned()));
    let time = began.elapsed();
    // The next case begins where this one ends.
    let left = lab.as_found().map_err(|error| format!("what the case left behind: {error}"));
    let ended = match (ended, left) {
        (Err(reason), Err(left)) => Err(format!("{reason}\n{left}")),
        (ended, left) => ended.and(left),
    };
    let word = if ended.is_ok() { "ok" } else { "FAILED" };
    let title = case.title(lab.suite());
    println!("{title} ... {word} ({:.1} s)", time.as_secs_f64());
    took(&title, time);
    for line in lab.take_measured() {
        println!("    {line}");
    }
    if let Err(reason) = &ended {
        let log = lab.journal(LOG_LINES);
        for line in reason.lines().chain(["the daemon's log:"]).chain(log.lines()) {
            println!("    {line}");
        }
    }
    ended.is_ok()
}
