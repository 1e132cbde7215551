//! The life of domains, pools and networks: observed, planned and applied through libvirt, which is called here and
//! nowhere else.

mod apply;
mod definition;
mod dm_crypt;
mod error;
mod hold;
pub mod model;
mod observe;
mod patience;
mod plan;
#[cfg(test)]
mod samples;
mod step;
mod sys;
#[cfg(test)]
mod tests;
mod thread;
mod watch;
mod xml;

pub use error::Error;
pub use hold::{Hold, Lack};
pub use plan::{Admission, Plan, plan};
pub use step::Step;
pub use thread::{Libvirt, SYSTEM};
pub use watch::Watch;
pub use xml::XmlError;
