//! The newtypes that cross the rooms of Bulkhead: names, MACs and VLAN ids, and the words of a report.
//!
//! A leaf without logic: each type can only be made by a constructor that refuses what the kernel, libvirt or systemd
//! would refuse later, so that nobody downstream checks again.

mod known;
mod limit;
mod mac;
mod name;
mod report;
mod vlan;

pub use known::Known;
pub use limit::Limit;
pub use mac::{Mac, MacError};
pub use name::{GuestName, IfName, NameError, SegmentName};
pub use report::{Cancelled, Cause, Execute, Notice, Object, Outcome, Plan, Progress, Report, Step, chain};
pub use vlan::{VlanId, VlanIdError};
