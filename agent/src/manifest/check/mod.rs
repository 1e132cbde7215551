//! What no single key can say: how the tables fit together. Every check runs, whatever the others found.

mod addresses;
mod allows;
mod claims;
mod guests;
mod host;
mod links;
mod pools;
mod reach;

use super::place::Place;
use super::problem::Problems;
use super::whole::Whole;

/// Checks the whole manifest; what is wrong is noted.
pub(crate) fn check(whole: &Whole, problems: &mut Problems) {
    if whole.makes_nothing() && problems.is_empty() {
        let start = Place { file: 0, span: 0..0, key: String::new() };
        problems
            .warning(&start, "the manifest declares nothing")
            .help("it is not applied; to remove what Bulkhead made, run bulkhead teardown");
    }
    links::check(whole, problems);
    host::check(whole, problems);
    pools::check(whole, problems);
    guests::check(whole, problems);
    addresses::check(whole, problems);
    allows::check(whole, problems);
}
