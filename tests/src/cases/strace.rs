//! What the daemon asks of the kernel, by strace.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::inside::Lab;

const DEADLINE: Duration = Duration::from_secs(30);

/// strace on a running process and all its threads.
pub(super) struct Strace {
    child: Child,
    file: PathBuf,
}

impl Strace {
    /// Attaches, and returns when every thread is traced. `calls` are system calls, apart by commas.
    pub(super) fn attach(lab: &Lab, pid: u32, calls: &str) -> Result<Self, String> {
        let file = PathBuf::from(format!("/run/lab-strace-{pid}"));
        let child = Command::new("strace")
            .args(["-f", "-v", "-s", "2048", "-e", "signal=none", "-e", &format!("trace={calls}"), "-o"])
            .arg(&file)
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("strace: {error}"))?;
        let strace = Self { child, file };
        lab.wait("strace to attach", DEADLINE, || traced(pid))?;
        Ok(strace)
    }

    /// Detaches; one line a call, the thread's number first.
    pub(super) fn finish(mut self, lab: &Lab) -> Result<String, String> {
        // It detaches on SIGINT; killed, it would leave threads stopped.
        lab.run(&format!("kill -INT {}", self.child.id()))?;
        self.child.wait().map_err(|error| format!("strace: {error}"))?;
        fs::read_to_string(&self.file).map_err(|error| format!("{}: {error}", self.file.display()))
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // Ended already, unless the case failed before.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.file);
    }
}

fn traced(pid: u32) -> Result<(), String> {
    let tasks = format!("/proc/{pid}/task");
    for task in fs::read_dir(&tasks).map_err(|error| format!("{tasks}: {error}"))? {
        let path = task.map_err(|error| format!("{tasks}: {error}"))?.path().join("status");
        // A thread that has ended since needs no tracer.
        let Ok(status) = fs::read_to_string(&path) else { continue };
        if status.lines().any(|line| line.trim_end() == "TracerPid:\t0") {
            return Err(format!("{} has no tracer", path.display()));
        }
    }
    Ok(())
}
