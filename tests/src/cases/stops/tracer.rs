//! Runs the daemon under ptrace(2) and kills it where it is about to write.
//!
//! strace's own injection counts each thread's calls for itself and knows no reads from writes; here every thread's writes
//! are one sequence. A filter of seccomp(2) stops the daemon at the calls that may write and at no other.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::write;
use crate::cases::daemon::USER;

/// As the unit grants: an ordinary user and one capability. It waits for a line, so that it is traced before it begins.
const SCRIPT: &str = "read -r line; exec setpriv --reuid=\"$0\" --regid=\"$0\" --init-groups --inh-caps=-all,+net_admin \
                      --ambient-caps=-all,+net_admin --bounding-set=-all,+net_admin --no-new-privs \
                      --seccomp-filter=\"$1\" /usr/sbin/bulkheadd";
const WRITES: [i64; 9] = [
    libc::SYS_write,
    libc::SYS_sendto,
    libc::SYS_writev,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
];
const FILTER: &str = "/run/lab-traced.bpf";
const LOG: &str = "/run/lab-traced.log";
/// Longer than any message that is looked into; more of it is not read.
const LONGEST: usize = 1 << 20;

/// Where it is killed.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    /// Before its first write that is none of these. Not before one of a number: a first apply may have one more to make
    /// than another, by what the kernel does meanwhile.
    BeforeOther(BTreeSet<String>),
    /// Before its first write that begins with these words.
    Before(&'static str),
}

impl Stop {
    /// Whether the last of these writes is where it stops.
    pub(super) fn is_at(&self, writes: &[String]) -> bool {
        writes.last().is_some_and(|write| match self {
            Self::BeforeOther(known) => !known.contains(write),
            Self::Before(words) => write.starts_with(words),
        })
    }
}

/// A daemon that is traced.
pub(super) struct Traced {
    writes: Arc<Mutex<Vec<String>>>,
    process: Pid,
    thread: JoinHandle<Result<(), String>>,
}

impl Traced {
    /// Starts it.
    pub(super) fn start(at: &Stop) -> Result<Self, String> {
        let (writes, at) = (Arc::new(Mutex::new(Vec::new())), at.clone());
        let (told, (sender, receiver)) = (Arc::clone(&writes), std::sync::mpsc::channel());
        // A tracer is a thread: the one that starts the daemon sees its stops.
        let thread = std::thread::spawn(move || {
            let process = spawn()?;
            sender.send(process).map_err(|_| "nobody waits for the daemon".to_owned())?;
            trace(process, &at, &told).map_err(|error| format!("trace the daemon: {error}"))
        });
        match receiver.recv() {
            Ok(process) => Ok(Self { writes, process, thread }),
            Err(_) => Err(ended(thread).err().unwrap_or_default()),
        }
    }

    /// Whether it has ended.
    pub(super) fn ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// How many writes it has made or was about to make.
    pub(super) fn count(&self) -> usize {
        self.writes.lock().map_or(0, |writes| writes.len())
    }

    /// Kills it if it still runs; everything that it wrote or was about to write, in order.
    pub(super) fn finish(self) -> Result<Vec<String>, String> {
        if !self.thread.is_finished() {
            kill(self.process, Signal::SIGKILL).map_err(|error| format!("kill the daemon: {error}"))?;
        }
        ended(self.thread)?;
        let writes = self.writes.lock().map_err(|_| "the tracer ended by a panic".to_owned())?;
        Ok(writes.clone())
    }
}

fn ended(thread: JoinHandle<Result<(), String>>) -> Result<(), String> {
    thread.join().map_err(|_| "the tracer ended by a panic".to_owned())?
}

fn spawn() -> Result<Pid, String> {
    let failed = |error: std::io::Error| format!("start the daemon: {error}");
    let log = File::create(LOG).map_err(failed)?;
    std::fs::write(FILTER, filter()).map_err(failed)?;
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, USER, FILTER]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
    let mut child = command.spawn().map_err(failed)?;
    let process = Pid::from_raw(child.id().cast_signed());
    let options = Options::PTRACE_O_TRACESECCOMP
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(process, options).map_err(|error| format!("trace the daemon: {error}"))?;
    child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(b"go\n")).map_err(failed)?;
    Ok(process)
}

/// Stops at [`WRITES`] and lets every other call pass: instructions of classic BPF, as the kernel has them in memory.
fn filter() -> Vec<u8> {
    let instruction = |code: u32, then: usize, value: u32| {
        let [low, high] = (code as u16).to_ne_bytes();
        let [a, b, c, d] = value.to_ne_bytes();
        [low, high, then as u8, 0, a, b, c, d]
    };
    // The number of the call is the first word that the filter is shown.
    let number = instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0);
    // Each jumps over the others and over the first return.
    let equal = |(at, call): (usize, &i64)| {
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, WRITES.len() - at, *call as u32)
    };
    let ends = [libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_TRACE].map(|end| instruction(libc::BPF_RET, 0, end));
    let calls = WRITES.iter().enumerate().map(equal);
    std::iter::once(number).chain(calls).chain(ends).flatten().collect()
}

/// Lets it run from write to write, until it has ended.
fn trace(process: Pid, at: &Stop, writes: &Mutex<Vec<String>>) -> Result<(), Errno> {
    // Only of this thread: other children of the lab are others' to wait for.
    let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    loop {
        let (thread, signal) = match waitpid(None, Some(flags)) {
            Ok(WaitStatus::Exited(ended, _) | WaitStatus::Signaled(ended, _, _)) if ended == process => return Ok(()),
            Ok(WaitStatus::PtraceEvent(thread, _, event)) => {
                if event == Event::PTRACE_EVENT_SECCOMP as i32
                    && let Some(write) = entered(thread)
                    && let Ok(mut writes) = writes.lock()
                {
                    let name = numbered(&write, &writes);
                    writes.push(name);
                    if at.is_at(&writes) {
                        // The call that it has entered is not made any more.
                        kill(process, Signal::SIGKILL)?;
                    }
                }
                (thread, None)
            }
            Ok(WaitStatus::Stopped(thread, signal)) => (thread, Some(signal)),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(Errno::ECHILD) => return Ok(()),
            Err(error) => return Err(error),
        };
        match ptrace::cont(thread, signal) {
            // It was killed meanwhile; its end is still to be waited for.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A write's name among those before it: the second of a kind says so.
fn numbered(write: &str, before: &[String]) -> String {
    let names = (2..).map(|number| format!("{write} ({number})"));
    let free = |name: &String| !before.contains(name);
    std::iter::once(write.to_owned()).chain(names).find(free).unwrap_or_default()
}

/// The write that a thread is about to make, if the call that it has entered is one.
fn entered(thread: Pid) -> Option<String> {
    let registers = ptrace::getregs(thread).ok()?;
    let call = registers.orig_rax.cast_signed();
    let memory = Memory(File::open(format!("/proc/{thread}/mem")).ok()?);
    let bytes = match call {
        libc::SYS_write | libc::SYS_sendto => memory.bytes(registers.rsi, registers.rdx)?,
        libc::SYS_writev => memory.vectors(registers.rsi, registers.rdx)?,
        libc::SYS_sendmsg | libc::SYS_sendmmsg => {
            // struct msghdr: name, its length, the vectors, their number.
            let (vectors, number) = (memory.word(registers.rsi + 16)?, memory.word(registers.rsi + 24)?);
            memory.vectors(vectors, number)?
        }
        libc::SYS_rename => return memory.text(registers.rsi).map(|path| format!("rename {path}")),
        libc::SYS_linkat => return memory.text(registers.r10).map(|path| format!("link {path}")),
        _ => return memory.text(registers.r10).map(|path| format!("rename {path}")),
    };
    let descriptor = std::fs::read_link(format!("/proc/{thread}/fd/{}", registers.rdi)).ok()?;
    write::said(&descriptor.to_string_lossy(), &bytes)
}

/// The memory of a stopped thread.
struct Memory(File);

impl Memory {
    fn bytes(&self, at: u64, length: u64) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length).ok()?.min(LONGEST)];
        self.0.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
    }

    fn word(&self, at: u64) -> Option<u64> {
        self.bytes(at, 8)?.try_into().ok().map(u64::from_ne_bytes)
    }

    /// struct iovec: where, and how much.
    fn vectors(&self, at: u64, number: u64) -> Option<Vec<u8>> {
        let vector = |index: u64| self.bytes(self.word(at + 16 * index)?, self.word(at + 16 * index + 8)?);
        (0..number).map(vector).collect::<Option<Vec<_>>>().map(|parts| parts.concat())
    }

    fn text(&self, at: u64) -> Option<String> {
        let mut bytes = [0; 256];
        // A path at the end of a page has less behind it.
        let length = self.0.read_at(&mut bytes, at).ok()?;
        let text = bytes[..length].split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_stops_at_each_write_and_lets_others_pass() {
        let program: Vec<[u8; 8]> = filter().chunks(8).map(|bytes| bytes.try_into().unwrap()).collect();
        let value = |at: usize| u32::from_ne_bytes(program[at][4..].try_into().unwrap());
        let ends = |call: i64| {
            let compared = 1..program.len() - 2;
            let jump = compared.clone().find(|at| i64::from(value(*at)) == call);
            value(jump.map_or(compared.end, |at| at + 1 + usize::from(program[at][2])))
        };
        assert!(WRITES.iter().all(|call| ends(*call) == libc::SECCOMP_RET_TRACE));
        assert_eq!(ends(libc::SYS_recvmsg), libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn it_stops_before_the_second_of_a_kind_too() {
        let mut writes = Vec::new();
        for write in ["sysctl a", "rename b", "sysctl a"] {
            writes.push(numbered(write, &writes));
        }
        assert_eq!(writes, ["sysctl a", "rename b", "sysctl a (2)"]);
        let stop = Stop::BeforeOther(writes[..2].iter().cloned().collect());
        assert_eq!([1, 2, 3].map(|count| stop.is_at(&writes[..count])), [false, false, true]);
        assert!(!stop.is_at(&[]));
    }
}
