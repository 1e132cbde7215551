//! The command `bulkhead`, one file a command.

pub mod check;
pub mod schema;
