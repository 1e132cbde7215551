//! What no single key can say: how the tables fit together. Every check runs, whatever the others found.

mod addresses;
mod allows;
mod claims;
mod guests;
mod host;
mod links;
mod pools;
mod reach;

use super::problem::Problems;
use super::tables::Tables;

/// Checks the whole manifest; what is wrong is noted.
pub(crate) fn check(tables: &Tables, problems: &mut Problems) {
    links::check(tables, problems);
    host::check(tables, problems);
    pools::check(tables, problems);
    guests::check(tables, problems);
    addresses::check(tables, problems);
    allows::check(tables, problems);
}
