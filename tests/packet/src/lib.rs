//! Frames, and what sends, sees and counts them; the network namespaces that stand in for guests; and programs with a deadline.
//! For tests alone: the lab's cases and the rooms' kernel tests.
//!
//! The formats (`ethernet`, `arp`, `ip`, `transport`, `neighbour`, `dhcp`) are pure: a value becomes bytes and bytes a
//! value, so that a case can say exactly what is on the wire, wrong frames included. The rest acts on the kernel and
//! refuses to, anywhere but in a virtual machine of the lab (`guard`).

#![allow(clippy::disallowed_methods, reason = "tests run other programs; the product does not")]

pub mod arp;
mod checksum;
mod deadline;
pub mod dhcp;
mod error;
pub mod ethernet;
mod exchange;
mod flood;
mod guard;
pub mod ip;
pub mod lease;
mod namespace;
pub mod neighbour;
mod program;
mod show;
mod sys;
mod tally;
pub mod transport;
mod wire;

pub use deadline::{Ended, run_until};
pub use error::Error;
pub use ethernet::{Ether, Frame, Tag};
pub use exchange::{Answer, TcpServer, UdpServer, tcp, udp};
pub use flood::{Flood, send_counted};
pub use guard::{WORD, permitted};
pub use namespace::{Namespace, sysctl};
pub use program::run;
pub use show::line;
pub use tally::{Marker, Seen, Tally, unknown};
pub use wire::{Capture, Captured, Direction, Sender};
