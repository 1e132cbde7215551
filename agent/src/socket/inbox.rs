//! What a peer has sent, cut into calls: each byte is looked at once, and no call is longer than its bound.

use std::collections::VecDeque;

/// Calls that wait, and the beginning of one whose end has not come.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    calls: VecDeque<Vec<u8>>,
    partial: Vec<u8>,
    /// Bytes of the calls that wait.
    waiting: usize,
}

/// A call is longer than its bound.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Inbox {
    /// Takes what came in one read. `bound` is in bytes and without the NUL that ends a call.
    pub(super) fn push(&mut self, bytes: &[u8], bound: usize) -> Result<(), TooLong> {
        for part in bytes.split_inclusive(|byte| *byte == 0) {
            let (part, whole) = part.strip_suffix(&[0]).map_or((part, false), |part| (part, true));
            if self.partial.len() + part.len() > bound {
                return Err(TooLong);
            }
            self.partial.extend_from_slice(part);
            if whole {
                self.waiting += self.partial.len();
                self.calls.push_back(std::mem::take(&mut self.partial));
            }
        }
        Ok(())
    }

    /// The next whole call, without its NUL.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let call = self.calls.pop_front()?;
        self.waiting -= call.len();
        Some(call)
    }

    /// Whether a call has begun and not ended.
    pub(super) fn has_begun(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Whether as much waits as one call may be long: the peer has to wait before it is read on.
    pub(super) fn is_full(&self, bound: usize) -> bool {
        // Empty calls count too: each ends the connection, once it is looked at.
        self.waiting + self.partial.len() + self.calls.len() >= bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_come_out_whole_whatever_the_cuts() {
        let sent = b"one\0two\0\0three\0rest";
        for cut in 1..=sent.len() {
            let mut inbox = Inbox::default();
            sent.chunks(cut).for_each(|chunk| inbox.push(chunk, 5).unwrap());
            let calls: Vec<_> = std::iter::from_fn(|| inbox.next()).collect();
            assert_eq!(calls, [&b"one"[..], b"two", b"", b"three"], "in parts of {cut}");
            assert!(inbox.has_begun() && inbox.waiting == 0);
        }
    }

    #[test]
    fn a_call_that_is_too_long_is_noticed_before_its_end() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.push(b"12345", 5), Ok(()));
        assert_eq!(inbox.push(b"6", 5), Err(TooLong));
    }

    #[test]
    fn what_waits_is_bounded_also_where_it_is_many_empty_calls() {
        for part in [&b"\0"[..], b"1\0", b"123"] {
            let mut inbox = Inbox::default();
            let full = (0..100).find(|_| inbox.push(part, 300).is_err() || inbox.is_full(50));
            assert!(full.is_some(), "{part:?}");
        }
    }
}
