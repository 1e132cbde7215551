//! Why limits or capabilities could not be read or set.

use std::path::PathBuf;
use std::time::Duration;

/// What failed, on what, and what to do about it. The cause is the source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection to the system bus.
    #[error("connect to the system bus; is dbus.service running?")]
    Bus(#[source] zbus::Error),
    /// systemd refused or did not understand a call.
    #[error("ask systemd for {call} of {unit}")]
    Call {
        /// The method of `org.freedesktop.systemd1`.
        call: &'static str,
        /// The unit, or the pattern of units.
        unit: String,
        /// systemd's answer.
        source: zbus::Error,
    },
    /// polkit said no to a call.
    #[error(
        "systemd does not let this user do {call} on {unit}: is the polkit rule 50-bulkhead.rules installed, and does \
         bulkheadd run as the user bulkhead?"
    )]
    Denied {
        /// The method of `org.freedesktop.systemd1`.
        call: &'static str,
        /// The unit.
        unit: String,
        /// systemd's answer.
        source: zbus::Error,
    },
    /// systemd took the job and could not do it.
    #[error("the job of {unit} ended as {result:?}; `systemctl status {unit}` says why")]
    Job {
        /// The unit.
        unit: String,
        /// systemd's word for it, such as `failed` or `dependency`.
        result: String,
    },
    /// The job did not end.
    #[error("the job of {unit} has not ended after {} s; `systemctl list-jobs` shows what it waits for", after.as_secs())]
    Slow {
        /// The unit.
        unit: String,
        /// How long was waited.
        after: Duration,
    },
    /// The controllers are on cgroup v1, where a slice bounds nothing of this.
    #[error("/sys/fs/cgroup is not the unified hierarchy: boot without systemd.unified_cgroup_hierarchy=0")]
    NotUnified,
    /// A limit in cgroupfs is something else than the kernel's documentation says.
    #[error("{} is no limit: {text:?}", path.display())]
    Limit {
        /// The file, such as `memory.max` of a group.
        path: PathBuf,
        /// What it says.
        text: String,
    },
    /// More groups than the machines of one guest have.
    #[error("{} has more than {most} groups with processes, and one guest's machine has one", group.display())]
    Crowded {
        /// The slice's directory.
        group: PathBuf,
        /// How many are read.
        most: usize,
    },
    /// A file of the kernel could not be read.
    #[error("read {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file of the kernel says something else than the kernel's documentation.
    #[error("{} has no line {line:?}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// The line that is missing, or its beginning.
        line: &'static str,
    },
    /// A capability could not be read or dropped.
    #[error("{action} {set} capabilities")]
    Capabilities {
        /// Reading, dropping or setting, as a verb.
        action: &'static str,
        /// The set.
        set: &'static str,
        /// The kernel's answer.
        source: caps::errors::CapsError,
    },
    /// Started without what it needs.
    #[error(
        "not permitted: this process lacks {missing}; start it through its unit (systemctl start bulkheadd), which grants it"
    )]
    NotPermitted {
        /// Their names.
        missing: String,
    },
    /// A thread has more or less than it should.
    #[error("thread {thread} has {set} = {found:016x}, and REQUIRED is {required:016x}")]
    NotRequired {
        /// Its id.
        thread: String,
        /// The line of its `/proc` status.
        set: &'static str,
        /// What it has, a bit for each capability.
        found: u64,
        /// What it should have.
        required: u64,
    },
}

impl Error {
    /// Whether it is about the way to systemd, so that every other question would end like this one.
    pub(crate) fn is_of_the_bus(&self) -> bool {
        use zbus::fdo::Error as Fdo;
        match self {
            Self::Bus(_) | Self::Call { source: zbus::Error::InputOutput(_), .. } => true,
            Self::Call { source: zbus::Error::FDO(error), .. } => matches!(
                **error,
                Fdo::NoReply(_)
                    | Fdo::Timeout(_)
                    | Fdo::TimedOut(_)
                    | Fdo::Disconnected(_)
                    | Fdo::NoServer(_)
                    | Fdo::ServiceUnknown(_)
                    | Fdo::NameHasNoOwner(_)
            ),
            _ => false,
        }
    }
}
