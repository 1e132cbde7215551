//! How a room stands.

use std::fmt;
use std::sync::Arc;

use bulkhead_types::Notice;

/// How a room stood at the end of its last look.
#[derive(Debug, Default)]
pub(crate) enum State<O, S> {
    /// Nobody has looked yet.
    #[default]
    Unseen,
    /// It could not be read. What was read last is kept for those who must go by something: it may be so no more.
    Unread(Unread, Option<Arc<O>>),
    /// It was read, and nothing was written: what a write would be for.
    Planned(View<O>, Vec<S>),
    /// Nothing is left to write.
    Verified(View<O>),
    /// What is left after every step was tried.
    Incomplete(View<O>, Vec<RemainingStep<S>>),
}

/// What was read, and what the plan says to people of it.
#[derive(Debug)]
pub(crate) struct View<O> {
    /// What there is.
    pub(crate) observed: Arc<O>,
    /// What no step mends.
    pub(crate) notices: Arc<[Notice]>,
}

/// A step that is still to be done.
#[derive(Debug, Clone)]
pub(crate) struct RemainingStep<S> {
    pub(crate) step: S,
    /// Why it failed, if it was tried; else an earlier one of its object did.
    pub(crate) refused: Option<String>,
}

/// Why a room could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unread {
    /// No answer came in time.
    Late(String),
    /// The other side is not there; it comes by itself.
    Absent(String),
    /// It was refused, or what came cannot be understood.
    Refused(String),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Late(why) | Self::Absent(why) | Self::Refused(why)) = self;
        f.write_str(why)
    }
}

impl<O, S> State<O, S> {
    /// What was read by the last look; `None` where it could not be read.
    pub(crate) fn observed(&self) -> Option<&O> {
        self.view().map(|view| &*view.observed)
    }

    /// What was read last, by whichever look.
    pub(crate) fn last_known(&self) -> Option<&Arc<O>> {
        match self {
            Self::Unread(_, last) => last.as_ref(),
            state => state.view().map(|view| &view.observed),
        }
    }

    /// Read, and nothing is left to write.
    pub(crate) fn verified(&self) -> bool {
        matches!(self, Self::Verified(_))
    }

    /// What no step mends.
    pub(crate) fn notices(&self) -> &[Notice] {
        self.view().map(|view| &*view.notices).unwrap_or_default()
    }

    /// What is left of the writes that were tried.
    pub(crate) fn remaining(&self) -> &[RemainingStep<S>] {
        if let Self::Incomplete(_, left) = self { left } else { &[] }
    }

    /// Why it could not be read.
    pub(crate) fn unread(&self) -> Option<&Unread> {
        if let Self::Unread(why, _) = self { Some(why) } else { None }
    }

    fn view(&self) -> Option<&View<O>> {
        match self {
            Self::Unseen | Self::Unread(..) => None,
            Self::Planned(view, _) | Self::Verified(view) | Self::Incomplete(view, _) => Some(view),
        }
    }
}

impl<O, S: Clone> Clone for State<O, S> {
    fn clone(&self) -> Self {
        match self {
            Self::Unseen => Self::Unseen,
            Self::Unread(why, last) => Self::Unread(why.clone(), last.clone()),
            Self::Planned(view, steps) => Self::Planned(view.clone(), steps.clone()),
            Self::Verified(view) => Self::Verified(view.clone()),
            Self::Incomplete(view, left) => Self::Incomplete(view.clone(), left.clone()),
        }
    }
}

impl<O> Clone for View<O> {
    fn clone(&self) -> Self {
        Self { observed: Arc::clone(&self.observed), notices: Arc::clone(&self.notices) }
    }
}
