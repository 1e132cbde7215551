//! `cargo lab test`: the rooms' kernel tests and the cases in machines, and beside them the host's own tests.

use std::num::NonZeroUsize;
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};

use bulkhead_types::chain;

use crate::count::Count;
use crate::longest::longest;
use crate::suite::Suite;
use crate::vm::{self, Ran};
use crate::{deps, host, machines, package, rooms};

/// Runs everything whose name contains `filter`, `side_by_side` machines at a time; whether all passed and at least one ran.
///
/// # Errors
/// When something that the tests need cannot be installed or built.
pub(crate) fn run(
    root: &Path,
    suites: &[Suite],
    filter: Option<&str>,
    side_by_side: Option<NonZeroUsize>,
) -> Result<bool, String> {
    deps::install(&[deps::BUILD, deps::MACHINES]).map_err(|e| chain(&e))?;
    let lab = root.join("target/lab");
    let (machines, host) = thread::scope(|scope| {
        let lab = &lab;
        // The archive's network and the build's processors have little in common: images are made beside the build. What a
        // filter leaves of the machines is known only after it.
        let images: Vec<_> = match filter {
            None => suites.iter().map(|suite| scope.spawn(move || vm::build(lab, *suite))).collect(),
            Some(_) => Vec::new(),
        };
        let kernel_tests = rooms::build(root).map_err(|e| chain(&e))?;
        let planned = machines::plan(suites, filter, &kernel_tests);
        if planned.is_empty() {
            return Ok((Ran::default(), host::run(filter).map_err(|e| chain(&e))?));
        }
        let package = package::build(root, &|line| println!("package: {line}")).map_err(|e| chain(&e))?;
        for image in images {
            joined(image)?.map_err(|e| chain(&e))?;
        }
        // A machine waits for something now and then; what is left of the processors is enough for the host's tests.
        let host = scope.spawn(|| host::run(filter));
        let machines = machines::run(root, lab, &package, &kernel_tests, planned, side_by_side)?;
        Ok::<_, String>((machines, joined(host)?.map_err(|e| chain(&e))?))
    })?;
    let mut count = host.count;
    count += machines.count;
    if count == Count::default() {
        println!("no test ran: check the filter, or build errors above");
    }
    let longest = longest(machines.took);
    if !longest.is_empty() {
        println!("\nthe longest in the machines:\n{}\n", longest.join("\n"));
    }
    println!("{} passed, {} failed", count.passed, count.failed);
    Ok(host.clean && count.failed == 0 && count.passed > 0)
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> Result<T, String> {
    thread.join().map_err(|_| "a thread of the lab panicked; its message stands above".to_owned())
}
