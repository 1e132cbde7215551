//! The agent of Bulkhead: sequences the rooms and knows nothing of kernels.

pub mod cli;
pub mod guest;
pub mod manifest;
pub mod socket;
pub mod status;
