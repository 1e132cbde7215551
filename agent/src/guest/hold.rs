//! What keeps a guest from starting.

use std::fmt;

use bulkhead_types::IfName;

/// What keeps a guest from starting: something that it needs of an earlier room does not stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// What does not stand, in words and in the plural; `None` where the lack says it.
    pub what: Option<&'static str>,
    /// In which way.
    pub lack: Lack,
}

/// In which way something does not stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// Nobody has looked yet, perhaps because the policy cannot be read, for the reason given.
    Unseen(Option<String>),
    /// It could not be read.
    Unread(String),
    /// It waits for what no step of ours brings; the text says for what.
    Waits(String),
    /// A step is still to be done.
    Left {
        /// Which one.
        step: String,
        /// Why it failed, if it did.
        refused: Option<String>,
    },
    /// A link that is there is not up.
    Down(IfName),
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.what, &self.lack) {
            (None, lack) => write!(f, "{lack}"),
            (Some(what), lack @ (Lack::Unseen(_) | Lack::Unread(_))) => write!(f, "{what}: {lack}"),
            (Some(what), lack) => write!(f, "{what} do not hold: {lack}"),
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unseen(None) => f.write_str("the policy does not stand yet"),
            Self::Unseen(Some(why)) | Self::Unread(why) => write!(f, "is not known: {why}"),
            Self::Waits(text) => f.write_str(text),
            Self::Left { refused: Some(why), .. } => f.write_str(why),
            Self::Left { step, refused: None } => write!(f, "`{step}` is still to be done"),
            Self::Down(link) => write!(f, "{link} is not up"),
        }
    }
}
