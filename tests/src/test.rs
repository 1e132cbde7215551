//! `cargo lab test`: the host's own tests, then the rooms' kernel tests and the cases in each machine.

use std::path::{Path, PathBuf};
use std::thread::{self, ScopedJoinHandle};

use bulkhead_types::chain;

use crate::cases::{Boot, CASES};
use crate::count::Count;
use crate::inside::{Purpose, Room, Task};
use crate::rooms::KernelTests;
use crate::suite::Suite;
use crate::vm::{self, Image, Payload, Screen};
use crate::{deps, host, package, rooms};

/// The rooms' kernel tests have a machine without the daemon, which would mend what they change.
const ROOMS: Boot = Boot { name: "rooms", words: &["systemd.mask=bulkheadd.service", "systemd.mask=bulkheadd.socket"] };

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
        let boots = plan(suites, filter, &kernel_tests);
        let mut count = ran.count;
        if !boots.is_empty() {
            let package = package::build(root, &|line| println!("package: {line}")).map_err(|e| chain(&e))?;
            joined(images)?;
            count += machines(root, &lab, &package, &kernel_tests, boots)?;
        }
        if count == Count::default() {
            println!("no test ran: check the filter, or build errors above");
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

/// One boot of a machine, and what is to be done in it.
struct Planned {
    boot: &'static Boot,
    suite: Suite,
    rooms: Vec<Room>,
    cases: Vec<String>,
}

/// Which boots, in which order, and what each is for.
fn plan(suites: &[Suite], filter: Option<&str>, kernel_tests: &[KernelTests]) -> Vec<Planned> {
    let mut boots: Vec<Planned> = Vec::new();
    let chosen = |title: &str| filter.is_none_or(|text| title.contains(text));
    for &suite in suites {
        let rooms: Vec<_> = kernel_tests.iter().filter_map(|tests| tests.select(suite, filter)).collect();
        if !rooms.is_empty() {
            boots.push(Planned { boot: &ROOMS, suite, rooms, cases: Vec::new() });
        }
        for case in CASES.iter().filter(|case| case.on.contains(&suite) && chosen(&case.title(suite))) {
            let name = case.name.to_owned();
            let same = |planned: &&mut Planned| planned.boot.name == case.boot.name && planned.suite == suite;
            match boots.iter_mut().find(same) {
                Some(planned) => planned.cases.push(name),
                None => boots.push(Planned { boot: case.boot, suite, rooms: Vec::new(), cases: vec![name] }),
            }
        }
    }
    boots
}

/// Runs the boots one after the other. A machine that dies is a failure, and no reason not to try the next.
fn machines(
    root: &Path,
    lab: &Path,
    package: &Path,
    kernel_tests: &[KernelTests],
    boots: Vec<Planned>,
) -> Result<Count, String> {
    let programs: Vec<(String, PathBuf)> = kernel_tests.iter().map(KernelTests::file).collect();
    let payload = Payload::stage(root, lab, package, &programs).map_err(|e| chain(&e))?;
    let mut count = Count::default();
    for Planned { boot, suite, rooms, cases } in boots {
        let image = vm::build(lab, suite).map_err(|e| chain(&e))?;
        let task = Task { suite, purpose: Purpose::Tests { rooms, cases } };
        match vm::boot(&image, &payload, &task, boot.name, boot.words, Screen::Lines) {
            Ok(ran) => count += ran,
            Err(error) => {
                println!("{}", chain(&error));
                count.failed += 1;
            }
        }
    }
    Ok(count)
}
