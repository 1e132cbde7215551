//! `cargo lab test`: the host's own tests, then the rooms' kernel tests and the cases in each machine.

use std::path::Path;
use std::thread::{self, ScopedJoinHandle};

use bulkhead_types::chain;

use crate::cases::CASES;
use crate::count::Count;
use crate::longest::longest;
use crate::suite::Suite;
use crate::vm::{self, Image};
use crate::{deps, host, machines, package, rooms};

/// Runs everything whose name contains `filter`; whether all passed and at least one ran.
///
/// # Errors
/// When something that the tests need cannot be installed or built.
pub(crate) fn run(root: &Path, suites: &[Suite], filter: Option<&str>) -> Result<bool, String> {
    deps::install(&[deps::BUILD, deps::MACHINES]).map_err(|e| chain(&e))?;
    let lab = root.join("target/lab");
    thread::scope(|scope| {
        // The archive's network and the build's processors have little in common: images are made beside the host's tests.
        let early = surely_needed(suites, filter);
        let images = scope.spawn({
            let lab = &lab;
            move || early.iter().map(|suite| vm::build(lab, *suite)).collect::<Result<Vec<_>, _>>()
        });
        let ran = host::run(filter).map_err(|e| chain(&e))?;
        let kernel_tests = rooms::build(root).map_err(|e| chain(&e))?;
        let planned = machines::plan(suites, filter, &kernel_tests);
        let (mut count, mut took) = (ran.count, Vec::new());
        if !planned.is_empty() {
            let package = package::build(root, &|line| println!("package: {line}")).map_err(|e| chain(&e))?;
            joined(images)?;
            let ran = machines::run(root, &lab, &package, &kernel_tests, planned)?;
            count += ran.count;
            took = ran.took;
        }
        if count == Count::default() {
            println!("no test ran: check the filter, or build errors above");
        }
        let longest = longest(took);
        if !longest.is_empty() {
            println!("\nthe longest in the machines:\n{}\n", longest.join("\n"));
        }
        println!("{} passed, {} failed", count.passed, count.failed);
        Ok(ran.clean && count.failed == 0 && count.passed > 0)
    })
}

/// The releases of which it is known before anything is built that a machine will run.
fn surely_needed(suites: &[Suite], filter: Option<&str>) -> Vec<Suite> {
    let matches = |suite: &Suite| {
        filter.is_none_or(|text| CASES.iter().any(|case| case.on.contains(suite) && case.title(*suite).contains(text)))
    };
    suites.iter().copied().filter(matches).collect()
}

fn joined(images: ScopedJoinHandle<'_, Result<Vec<Image>, vm::Error>>) -> Result<Vec<Image>, String> {
    match images.join() {
        Ok(made) => made.map_err(|e| chain(&e)),
        Err(_) => Err("the thread that makes the images panicked; its message stands above".to_owned()),
    }
}
