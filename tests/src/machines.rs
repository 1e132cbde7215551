//! Which machines a run starts, and in which order; one more of them run side by side than there are processors.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bulkhead_types::chain;

use crate::cases::{Boot, CASES};
use crate::inside::{Purpose, Room, Task};
use crate::rooms::KernelTests;
use crate::suite::Suite;
use crate::vm::{self, Image, Payload, Ran, Screen, Start};

/// The rooms' kernel tests have a machine without the daemon, which would mend what they change, and without libvirtd, which
/// would ask QEMU for its abilities for half a minute.
const ROOMS: Boot = Boot {
    name: "rooms",
    words: &[
        "systemd.mask=bulkheadd.service",
        "systemd.mask=bulkheadd.socket",
        "systemd.mask=libvirtd.service",
        "systemd.mask=libvirtd.socket",
        "systemd.mask=libvirtd-ro.socket",
        "systemd.mask=libvirtd-admin.socket",
    ],
    seconds: 400,
};
/// Those that start guests take as long as all others, and have a machine of their own.
const GUESTS: Boot =
    Boot { name: "guests", words: &["systemd.mask=bulkheadd.service", "systemd.mask=bulkheadd.socket"], seconds: 500 };
/// Machines beyond one for each processor: a machine often waits for a timer, and a processor that idles meanwhile is time lost.
const SPARE: usize = 1;
/// Unless somebody asks for more: each machine has 2 GiB of memory, however many processors there are.
const MOST: usize = 4;

/// One machine, and what is to be done in it.
pub(crate) struct Planned {
    boot: &'static Boot,
    task: Task,
    /// Of the task, in the payload.
    name: String,
}

impl Planned {
    fn new(boot: &'static Boot, suite: Suite, rooms: Vec<Room>, cases: Vec<String>) -> Self {
        let task = Task { suite, purpose: Purpose::Tests { rooms, cases } };
        Self { boot, task, name: format!("{suite}-{}", boot.name) }
    }
}

/// The machines for everything whose title contains `filter`, the longest first: they end together when nothing long begins
/// late.
pub(crate) fn plan(suites: &[Suite], filter: Option<&str>, kernel_tests: &[KernelTests]) -> Vec<Planned> {
    let mut all = Vec::new();
    let chosen = |title: &str| filter.is_none_or(|text| title.contains(text));
    for &suite in suites {
        for boot in [&ROOMS, &GUESTS] {
            let here = kernel_tests.iter().filter(|tests| tests.starts_guests() == (boot.name == GUESTS.name));
            let rooms: Vec<_> = here.filter_map(|tests| tests.select(suite, filter)).collect();
            if !rooms.is_empty() {
                all.push(Planned::new(boot, suite, rooms, Vec::new()));
            }
        }
        let mut boots: Vec<(&'static Boot, Vec<String>)> = Vec::new();
        for case in CASES.iter().filter(|case| case.on.contains(&suite) && chosen(&case.title(suite))) {
            let name = case.name.to_owned();
            match boots.iter_mut().find(|(boot, _)| boot.name == case.boot.name) {
                Some((_, cases)) => cases.push(name),
                None => boots.push((case.boot, vec![name])),
            }
        }
        all.extend(boots.into_iter().map(|(boot, cases)| Planned::new(boot, suite, Vec::new(), cases)));
    }
    all.sort_by_key(|planned| Reverse(planned.boot.seconds));
    all
}

/// Runs the machines, `side_by_side` at a time or one more than there are processors. One that dies is a failed test, and no
/// reason not to try the next.
///
/// # Errors
/// When an image or the payload cannot be made.
pub(crate) fn run(
    root: &Path,
    lab: &Path,
    package: &Path,
    kernel_tests: &[KernelTests],
    planned: Vec<Planned>,
    side_by_side: Option<NonZeroUsize>,
) -> Result<Ran, String> {
    let programs: Vec<(String, PathBuf)> = kernel_tests.iter().map(KernelTests::file).collect();
    let tasks: Vec<(&str, &Task)> = planned.iter().map(|one| (one.name.as_str(), &one.task)).collect();
    let payload = Payload::write(root, lab, package, &programs, &tasks).map_err(|e| chain(&e))?;
    let imaged = |one: Planned| vm::build(lab, one.task.suite).map(|image| (one, image)).map_err(|e| chain(&e));
    let queue = planned.into_iter().map(imaged).collect::<Result<VecDeque<_>, _>>()?;
    let usual = || (thread::available_parallelism().map_or(1, usize::from) + SPARE).min(MOST);
    let workers = side_by_side.map_or_else(usual, usize::from).min(queue.len());
    let queue = Mutex::new(queue);
    // The lock is not held while a machine runs.
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || {
        let mut all = Ran::default();
        while let Some((planned, image)) = next() {
            all += one(&planned, &image, &payload);
        }
        all
    };
    Ok(thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut all = Ran::default();
        for worker in workers {
            match worker.join() {
                Ok(ran) => all += ran,
                // Its message stands above.
                Err(_) => all.count.failed += 1,
            }
        }
        all
    }))
}

fn one(planned: &Planned, image: &Image, payload: &Payload) -> Ran {
    let Planned { boot, name: task, .. } = planned;
    let start = Start { image, payload, name: boot.name, task, words: boot.words };
    vm::boot(&start, Screen::Lines).unwrap_or_else(|error| {
        println!("{}", chain(&error));
        let mut ran = Ran::default();
        ran.count.failed += 1;
        ran
    })
}
