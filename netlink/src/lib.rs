//! Trunks, VLANs, bridges, ports, addresses and routes: observed, planned and applied over rtnetlink.
//!
//! The flow is the file list: [`Kernel::observe`] reads what the kernel has, [`plan()`] compares it with what the manifest
//! wants and says which writes are missing, [`Kernel::apply`] sends them, many in one send and each acknowledged, and
//! [`Watch`] tells when to look again. Links of ours are known by their group, addresses and routes by their protocol
//! number ([`model`]); nothing else is ever changed, but `IFF_UP` on a declared trunk, and `IFF_UP`, flags,
//! MTU, static FDB entry and `disable_ipv6` of a declared port on a bridge of ours.

mod applied;
mod apply;
mod error;
mod lookup;
pub mod model;
mod observe;
mod plan;
mod socket;
mod state;
mod step;
mod trunks;
mod watch;

pub use apply::Writes;
pub use error::{Error, Refused};
pub use plan::{Plan, plan};
pub use socket::Kernel;
pub use state::{LinkState, PortState, SegmentState, state};
pub use step::{Change, SegmentBridge, Step};
pub use watch::Watch;
