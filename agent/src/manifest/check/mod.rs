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
use super::whole::Whole;

pub(crate) use links::zone;

/// Checks the whole manifest; what is wrong is noted.
pub(crate) fn check(whole: &Whole, problems: &mut Problems) {
    links::check(whole, problems);
    host::check(whole, problems);
    pools::check(whole, problems);
    guests::check(whole, problems);
    addresses::check(whole, problems);
    allows::check(whole, problems);
}
