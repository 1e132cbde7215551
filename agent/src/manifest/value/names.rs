//! Names: each kind takes what its holder (kernel, libvirt, systemd, a file system) takes literally.

use std::path::PathBuf;

use bulkhead_types::{GuestName, IfName, NameError, SegmentName};
use schemars::{Schema, json_schema};

use super::{Refusal, Scalar};

fn refusal(text: &str, error: &NameError, help: impl Into<String>) -> Refusal {
    Refusal::because(format!("is {text:?}, and that {error}"), help)
}

impl Scalar for IfName {
    const WHAT: &'static str = "the name of a network interface";
    const EXAMPLE: &'static str = "\"eth1\"";

    fn json() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,15}$" })
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let help =
            "an interface's name is 1 to 15 of letters, digits, `.`, `_` and `-`, and not `lo`, `all` or `default`";
        text.parse().map_err(|error| refusal(text, &error, help))
    }
}

const NAME_HELP: &str = "a name is 1 to 48 of `a` to `z`, `0` to `9` and `-`, with no `-` first or last";
const NAME_PATTERN: &str = "^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$";

impl Scalar for GuestName {
    const WHAT: &'static str = "the name of a guest";
    const EXAMPLE: &'static str = "\"web\"";

    fn json() -> Schema {
        json_schema!({ "type": "string", "pattern": NAME_PATTERN })
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        text.parse().map_err(|error| {
            let near: String = text.to_lowercase().chars().map(plain_letters).collect();
            let near = near.trim_matches('-');
            let help = near
                .parse::<GuestName>()
                .map_or_else(|_| NAME_HELP.to_owned(), |_| format!("write {near:?}: {NAME_HELP}"));
            refusal(text, &error, help)
        })
    }
}

impl Scalar for SegmentName {
    const WHAT: &'static str = "the name of a segment";
    const EXAMPLE: &'static str = "\"lan\"";

    fn json() -> Schema {
        GuestName::json()
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let name = GuestName::text(text)?;
        // Both names have one rule.
        Self::try_from(String::from(name)).map_err(|error| refusal(text, &error, NAME_HELP))
    }
}

/// How a letter is written in a name.
fn plain_letters(letter: char) -> String {
    match letter {
        'ä' => "ae".to_owned(),
        'ö' => "oe".to_owned(),
        'ü' => "ue".to_owned(),
        'ß' => "ss".to_owned(),
        _ if letter.is_ascii_alphanumeric() => letter.to_string(),
        _ => "-".to_owned(),
    }
}

/// The name of a pool: the same letters as a guest's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) String);

impl Scalar for Name {
    const WHAT: &'static str = "a name";
    const EXAMPLE: &'static str = "\"default\"";

    fn json() -> Schema {
        GuestName::json()
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        GuestName::text(text).map(|_| Self(text.to_owned()))
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// 1 to 64 characters that neither libvirt, XML nor a path reads as something else.
fn plain(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

const PLAIN_HELP: &str = "write 1 to 64 of letters, digits, `.`, `_` and `-`, beginning with a letter, a digit or `_`";
const PLAIN_PATTERN: &str = "^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$";

/// The name of a libvirt network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LibvirtName(pub(crate) String);

impl Scalar for LibvirtName {
    const WHAT: &'static str = "the name of a libvirt network";
    const EXAMPLE: &'static str = "\"LANBridge\"";

    fn json() -> Schema {
        json_schema!({ "type": "string", "pattern": PLAIN_PATTERN })
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        match text {
            "default" => Err(Refusal::because(
                "is \"default\", the name of libvirt's own NAT network",
                "write a name that no other network has, such as the segment's own",
            )),
            _ if plain(text) => Ok(Self(text.to_owned())),
            _ => Err(Refusal::because(
                format!("is {text:?}, which libvirt does not take as a network's name"),
                PLAIN_HELP,
            )),
        }
    }
}

/// The name of a volume: a file's name in the pool's directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Volume(pub(crate) String);

impl Scalar for Volume {
    const WHAT: &'static str = "the name of a volume";
    const EXAMPLE: &'static str = "\"web-vda.raw\"";

    fn json() -> Schema {
        json_schema!({ "type": "string", "pattern": PLAIN_PATTERN })
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        if plain(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Refusal::because(format!("is {text:?}, which is not a file's name in the pool"), PLAIN_HELP))
        }
    }
}

/// A virtio disk in a guest: `vda` to `vdz`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target(pub(crate) String);

impl Scalar for Target {
    const WHAT: &'static str = "the name of a virtio disk";
    const EXAMPLE: &'static str = "vda";

    fn json() -> Schema {
        json_schema!({ "type": "string", "pattern": "^vd[a-z]$" })
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        match text.as_bytes() {
            [b'v', b'd', b'a'..=b'z'] => Ok(Self(text.to_owned())),
            _ => Err(Refusal::because(
                format!("is {text:?}, and a disk is one of vda to vdz"),
                "write disk.vda for the first disk, disk.vdb for the second",
            )),
        }
    }
}

impl AsRef<str> for Target {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// An absolute directory without `.`, `..` or doubled slashes, so that equal directories are equal texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PoolPath(pub(crate) PathBuf);

/// A path from the root without its detours. Where a part is a symbolic link, `..` leads elsewhere, so that a person looks.
fn direct(relative: &str) -> PathBuf {
    let mut path = PathBuf::from("/");
    for part in relative.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." {
            path.pop();
        } else {
            path.push(part.replace(char::is_control, ""));
        }
    }
    path
}

impl Scalar for PoolPath {
    const WHAT: &'static str = "the path of a directory";
    const EXAMPLE: &'static str = "\"/var/lib/libvirt/images\"";

    fn json() -> Schema {
        json_schema!({ "type": "string", "pattern": "^/.*[^/]$", "examples": ["/var/lib/libvirt/images"] })
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let Some(relative) = text.strip_prefix('/') else {
            return Err(Refusal::because(
                format!("is {text:?}, which does not begin at the root"),
                "write the whole path, such as \"/var/lib/libvirt/images\"",
            ));
        };
        let relative = relative.strip_suffix('/').unwrap_or(relative);
        let part = relative.split('/').find(|part| matches!(*part, "" | "." | "..") || part.contains(char::is_control));
        match part {
            None => Ok(Self(PathBuf::from(format!("/{relative}")))),
            Some("") if relative.is_empty() => Err(Refusal::because(
                "is the root directory",
                "write a directory of its own for images, such as \"/var/lib/libvirt/images\"",
            )),
            Some(part) => Err(Refusal::because(
                format!("has {part:?} between its slashes"),
                format!("write {:?}, the directory itself: the path is compared with libvirt's", direct(relative)),
            )),
        }
    }
}
