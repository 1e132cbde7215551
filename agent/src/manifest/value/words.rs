//! Values out of a short list of words, and the mode of a directory.

use schemars::{Schema, json_schema};

use super::{Refusal, Scalar};
use crate::manifest::model::{DefaultNetwork, Format};
use crate::manifest::spell::nearest;

fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Refusal> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let all: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    let help = match nearest(text, words.iter().map(|(word, _)| *word)) {
        Some(word) => format!("write {word:?}; possible are {}", all.join(", ")),
        None => format!("write one of {}", all.join(", ")),
    };
    Err(Refusal::because(format!("is {text:?}, which is none of {}", all.join(", ")), help))
}

impl Scalar for Format {
    const WHAT: &'static str = "the name of an image format";
    const EXAMPLE: &'static str = "\"raw\" or \"qcow2\"";

    fn json() -> Schema {
        json_schema!({ "enum": ["raw", "qcow2"] })
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        word(text, &[("raw", Format::Raw), ("qcow2", Format::Qcow2)])
    }
}

impl Scalar for DefaultNetwork {
    const WHAT: &'static str = "\"absent\" or \"keep\"";
    const EXAMPLE: &'static str = "\"absent\" or \"keep\"";

    fn json() -> Schema {
        json_schema!({ "enum": ["absent", "keep"] })
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        word(text, &[("absent", Self::Absent), ("keep", Self::Keep)])
    }
}

/// The permission bits of a directory, at most `0o7777`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);

impl Scalar for Mode {
    const WHAT: &'static str = "a mode in quotes";
    const EXAMPLE: &'static str = "\"0711\"";

    fn json() -> Schema {
        json_schema!({
            "type": "string",
            "description": "Permission bits in octal digits, as chmod takes them.",
            "pattern": "^[0-7]{3,4}$",
            "examples": ["0711"],
        })
    }

    fn integer(_: i64) -> Result<Self, Refusal> {
        Err(Refusal::because("is a number, and the digits of a mode are octal", "write it in quotes, such as \"0711\""))
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let digits = text.len() == 3 || text.len() == 4;
        match u32::from_str_radix(text, 8) {
            Ok(mode) if digits && !text.starts_with('+') => Ok(Self(mode)),
            _ => Err(Refusal::because(
                format!("is {text:?}, which is not three or four octal digits"),
                "write \"0711\": its owner may do all, others may only pass through",
            )),
        }
    }
}
