//! Why a command did not do what it was asked: in a sentence, with what to do, and as an exit status.

use std::fmt;
use std::io;
use std::process::ExitCode;

use bulkhead_api::client::Error;
use bulkhead_api::{ADMIN_GROUP, ApplyFailed, INTERFACE, ManifestInvalid, OBSERVE_GROUP, Why};
use serde_json::{Value, json};

use super::words;

/// The host or the manifest is not as it should be.
pub(super) const NOT_SO: u8 = 1;
/// Wrong usage, or a file or the terminal failed.
pub(super) const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;
const NOT_PERMITTED: u8 = 4;
const ENDED: u8 = 5;

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The daemon did not answer, or answered with an error.
    Daemon(Error),
    /// The manifest has errors.
    Manifest(Box<ManifestInvalid>),
    /// Used in a way that does not work; the text says which way does.
    Usage(String),
    /// Standard output failed.
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Daemon(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    pub(super) fn exit(&self) -> ExitCode {
        let code = match self {
            Self::Daemon(Error::Unreachable(..) | Error::Broken(_)) => UNREACHABLE,
            Self::Daemon(Error::NotPermitted(_)) => NOT_PERMITTED,
            Self::Daemon(Error::Ended(_)) => ENDED,
            Self::Daemon(Error::Refused { error, .. }) => match own(error) {
                Some("PermissionDenied") => NOT_PERMITTED,
                Some("Busy") => UNREACHABLE,
                Some("ManifestInvalid" | "ApplyFailed") => NOT_SO,
                _ => USAGE,
            },
            Self::Manifest(_) => NOT_SO,
            Self::Daemon(Error::Reply(_)) | Self::Usage(_) | Self::Output(_) => USAGE,
        };
        ExitCode::from(code)
    }

    /// The daemon's own words, for `--json`.
    pub(super) fn as_json(&self) -> Option<Value> {
        match self {
            Self::Daemon(Error::Refused { error, parameters }) => {
                Some(json!({ "error": error, "parameters": parameters }))
            }
            Self::Manifest(invalid) => {
                Some(json!({ "error": format!("{INTERFACE}.ManifestInvalid"), "parameters": invalid }))
            }
            _ => None,
        }
    }
}

/// The name of an error of our own interface.
fn own(error: &str) -> Option<&str> {
    error.strip_prefix(INTERFACE)?.strip_prefix('.')
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon(error) => daemon(f, error),
            Self::Manifest(invalid) => manifest(f, invalid),
            Self::Usage(text) => f.write_str(text),
            Self::Output(error) => write!(f, "write the output: {error}"),
        }
    }
}

fn daemon(f: &mut fmt::Formatter<'_>, error: &Error) -> fmt::Result {
    match error {
        Error::Unreachable(path, error) => write!(
            f,
            "cannot reach the daemon at {}: {error}\n  is it running? systemctl status bulkheadd.service bulkheadd.socket",
            path.display()
        ),
        Error::NotPermitted(path) => write!(
            f,
            "the daemon at {} does not serve you\n  it serves root and members of group {ADMIN_GROUP}, and to look only, \
             members of group {OBSERVE_GROUP}\n  use sudo, or join one: sudo usermod -aG {OBSERVE_GROUP} YOU, and log in \
             again",
            path.display()
        ),
        Error::Refused { error, parameters } => refused(f, error, parameters),
        Error::Reply(why) => write!(
            f,
            "the daemon answered what this command does not understand: {why}\n  are both of one version? bulkhead \
             --version; systemctl restart bulkheadd"
        ),
        Error::Ended(path) => write!(
            f,
            "the daemon at {} ended the connection before it had answered: what was asked may be done, in part or not at \
             all\n  how the host is: bulkhead status\n  why it ended: systemctl status bulkheadd.service bulkheadd.socket; \
             journalctl -u bulkheadd",
            path.display()
        ),
        Error::Broken(error) => write!(f, "the daemon did not answer: {error}\n  see journalctl -u bulkheadd"),
    }
}

fn manifest(f: &mut fmt::Formatter<'_>, invalid: &ManifestInvalid) -> fmt::Result {
    let errors = words::count(invalid.errors.len(), "error");
    write!(f, "the manifest has {errors}; nothing was changed\n{}", invalid.drawn.trim_end())
}

fn refused(f: &mut fmt::Formatter<'_>, error: &str, parameters: &Value) -> fmt::Result {
    let why = words::typed::<Why>(parameters).map(|w| w.why);
    match (own(error), why) {
        (Some("ManifestInvalid"), _) => match words::typed::<ManifestInvalid>(parameters) {
            Ok(invalid) => manifest(f, &invalid),
            Err(_) => f.write_str("the manifest has errors; nothing was changed. See bulkhead check"),
        },
        (Some("ApplyFailed"), _) => match words::typed::<ApplyFailed>(parameters) {
            Ok(failed) => f.write_str(&failed.why),
            Err(_) => f.write_str("the host is not as the manifest says. See bulkhead status"),
        },
        (Some("PermissionDenied"), Ok(why)) => write!(f, "{why}\n  use sudo, or join group {ADMIN_GROUP}"),
        (Some("Busy"), Ok(why)) => write!(f, "the daemon is busy: {why}"),
        _ => write!(f, "the daemon refused: {} {}", words::clean(error), words::clean(&parameters.to_string())),
    }
}
