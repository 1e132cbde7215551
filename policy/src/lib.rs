//! Who may talk to whom: the nftables ruleset, observed, planned and applied through libnftables.
//!
//! The flow is the file list: [`Ruleset::observe`] lists our tables, [`plan()`] compares them with what the manifest
//! wants and says which commands are missing, [`Ruleset::apply`] commits them as one transaction, and [`Watch`] tells when to
//! look again. What is ours is known by the name of its table ([`model::TABLE`]); no other table is ever read or changed.
//! [`lockdown`] writes the file that closes the bridges before the daemon runs.

mod applied;
mod apply;
pub mod counters;
mod error;
mod hash;
pub mod lockdown;
pub mod model;
mod nfnetlink;
mod observe;
mod plan;
mod rule;
mod rules;
mod ruleset;
mod step;
mod sys;
mod table;
mod text;
mod watch;
mod wire;
mod zones;

pub use counters::counter;
pub use error::Error;
pub use plan::{Plan, plan};
pub use ruleset::Ruleset;
pub use step::Step;
pub use text::text;
pub use watch::Watch;
