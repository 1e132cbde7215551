//! One interface: what is sent through it, and everything that is seen on it.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

use crate::ethernet::{Frame, Tag};
use crate::{Error, guard, sys};

/// Longer than any frame of the lab's links.
const LONGEST: usize = 9216;

/// Sends frames through one interface, as they are.
#[derive(Debug)]
pub struct Sender {
    interface: String,
    socket: OwnedFd,
}

impl Sender {
    /// Opens an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// This is not the lab, there is no such interface, or the privilege is missing.
    pub fn open(interface: &str) -> Result<Self, Error> {
        let socket = open(interface, sys::Shows::Nothing)?;
        Ok(Self { interface: interface.to_owned(), socket })
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The interface is down or gone, or the frame is longer than its MTU allows.
    pub fn send(&self, frame: &Frame) -> Result<(), Error> {
        self.send_bytes(&frame.bytes())
    }

    pub(crate) fn send_bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        sys::send(self.socket.as_fd(), bytes).map_err(Error::call("send a frame through", &self.interface))
    }
}

/// Which frames a capture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Those that arrive.
    Arriving,
    /// Those that leave through the interface too.
    Both,
}

/// A frame that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// When it was read.
    pub at: SystemTime,
    /// Whether it left through the interface instead of arriving on it.
    pub outgoing: bool,
    /// The frame as it was on the wire, with all its tags.
    pub frame: Frame,
}

/// What is seen on one interface from the opening on.
#[derive(Debug)]
pub struct Capture {
    interface: String,
    socket: OwnedFd,
}

impl Capture {
    /// Opens an interface of the calling thread's namespace: everything on its wire, whomever it is for.
    ///
    /// # Errors
    /// This is not the lab, there is no such interface, or the privilege is missing.
    pub fn open(interface: &str, direction: Direction) -> Result<Self, Error> {
        Self::new(interface, sys::Shows::Everything, direction)
    }

    /// Opens an interface of the calling thread's namespace: only what it takes anyway. A bridge that is made to take all
    /// hands its host frames that are for others; this shows what the host receives, and changes nothing.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn received(interface: &str) -> Result<Self, Error> {
        Self::new(interface, sys::Shows::Taken, Direction::Arriving)
    }

    fn new(interface: &str, shows: sys::Shows, direction: Direction) -> Result<Self, Error> {
        let socket = open(interface, shows)?;
        if direction == Direction::Arriving {
            sys::ignore_outgoing(socket.as_fd()).map_err(Error::call("capture only what arrives on", interface))?;
        }
        Ok(Self { interface: interface.to_owned(), socket })
    }

    /// The next frame, waited for until the deadline.
    ///
    /// # Errors
    /// The interface went down or away.
    pub fn next(&self, deadline: Instant) -> Result<Option<Captured>, Error> {
        let mut buffer = [0; LONGEST];
        loop {
            match sys::receive(self.socket.as_fd(), &mut buffer).map_err(self.failed("read a frame of"))? {
                Some(seen) => {
                    let Some(mut frame) = Frame::parse(&buffer[..seen.length.min(LONGEST)]) else { continue };
                    if let Some((ether_type, control)) = seen.tag {
                        frame = frame.tagged(Tag { ether_type, control });
                    }
                    return Ok(Some(Captured { at: SystemTime::now(), outgoing: seen.outgoing, frame }));
                }
                None => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    sys::wait(self.socket.as_fd(), left).map_err(self.failed("wait for a frame of"))?;
                }
            }
        }
    }

    /// Every frame that comes within a time.
    ///
    /// # Errors
    /// The interface went down or away.
    pub fn during(&self, time: Duration) -> Result<Vec<Captured>, Error> {
        let deadline = Instant::now() + time;
        let mut seen = Vec::new();
        while let Some(captured) = self.next(deadline)? {
            seen.push(captured);
        }
        Ok(seen)
    }

    /// The first frame that `wanted` accepts, waited for until the deadline.
    ///
    /// # Errors
    /// The interface went down or away.
    pub fn first(&self, deadline: Instant, wanted: impl Fn(&Frame) -> bool) -> Result<Option<Captured>, Error> {
        while let Some(captured) = self.next(deadline)? {
            if wanted(&captured.frame) {
                return Ok(Some(captured));
            }
        }
        Ok(None)
    }

    /// How many frames came faster than they were read and were lost since the last question.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn lost(&self) -> Result<u64, Error> {
        sys::lost(self.socket.as_fd()).map_err(self.failed("ask for the losses of a capture on"))
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        Error::call(operation, &self.interface)
    }
}

fn open(interface: &str, shows: sys::Shows) -> Result<OwnedFd, Error> {
    guard::permitted()?;
    sys::index(interface)
        .and_then(|index| sys::open(index, shows))
        .map_err(Error::call("open a packet socket on", interface))
}
