//! The agent of Bulkhead: sequences the rooms and knows nothing of kernels.

pub mod guest;
