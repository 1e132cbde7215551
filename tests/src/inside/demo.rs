//! Shows Bulkhead at work: what a visitor sees of `cargo lab demo`.

use std::process::Command;
use std::time::Duration;

use super::{CONTROL, Lab, Size, brief};
use crate::cases::scenes;
use crate::count::Count;
use crate::suite::Suite;

/// From boot to a host that is as the manifest says, guests included: QEMU in software emulation within another.
const READY_DEADLINE: Duration = Duration::from_secs(300);
/// The daemon answers at once; software emulation is slow.
const STATUS: Duration = Duration::from_secs(60);

/// A scene: its heading, and what shows it.
type Scene = (&'static str, fn(&Lab) -> Result<(), String>);

const SCENES: &[Scene] = &[
    ("From the start of the daemon to a network that is ready", time_to_ready),
    ("bulkhead status", status),
    ("bulkhead map: who may talk to whom", map),
    (
        "The guest example asks for its address: its frames on the far side of the trunk",
        scenes::a_guest_takes_its_lease,
    ),
    ("A guest sends with a false source address", scenes::a_lie_is_dropped_and_counted),
];

/// Shows every scene; `read` by the host's program, or by a person.
pub(super) fn run(suite: Suite, read: bool) -> Count {
    let lab = Lab::new(suite);
    let mut count = Count::default();
    for (heading, show) in SCENES {
        if read {
            println!("{CONTROL}at {heading}");
        }
        println!("\n== {heading}");
        let ended = show(&lab);
        lab.take_measured().iter().for_each(|line| println!("{line}"));
        match ended {
            Ok(()) => count.passed += 1,
            Err(reason) => {
                println!("this did not go as it should: {reason}");
                count.failed += 1;
            }
        }
    }
    count
}

/// Shows every scene on the terminal, and leaves the user at a shell.
pub(super) fn with_shell(suite: Suite, size: Size) -> Result<bool, String> {
    let Size { rows, columns } = size;
    Command::new("stty")
        .args(["rows", &rows.to_string(), "columns", &columns.to_string()])
        .status()
        .map_err(|error| format!("stty: {error}"))?;
    let count = run(suite, false);
    println!(
        "\nYou are root in the machine: eth1 is the trunk, eth2 its far side, the manifest /etc/bulkhead/host.toml."
    );
    println!("`exit` powers it off, and so does Ctrl-A X.\n");
    Command::new("bash").arg("--login").status().map_err(|error| format!("bash: {error}"))?;
    Ok(count.failed == 0)
}

fn time_to_ready(lab: &Lab) -> Result<(), String> {
    let (status, _) = lab.wait("everything to be ready", READY_DEADLINE, || {
        let status = lab.status()?;
        let done = status.phases.iter().all(|phase| phase.since_start_us.is_some());
        if status.ready && done { Ok(status) } else { Err(brief(&status)) }
    })?;
    for phase in &status.phases {
        let seconds = |time: Option<u64>| Duration::from_micros(time.unwrap_or_default()).as_secs_f64();
        let (start, boot) = (seconds(phase.since_start_us), seconds(phase.since_boot_us));
        let name = phase.phase.as_str();
        println!("{name:>8} {start:7.3} s after the daemon's start, {boot:6.2} s after the kernel's");
    }
    Ok(())
}

fn status(lab: &Lab) -> Result<(), String> {
    // Its exit status is 1, since the seed's encrypted mount is missing here.
    print!("{}", lab.attempt(&["bulkhead", "status"], STATUS)?.stdout);
    Ok(())
}

fn map(lab: &Lab) -> Result<(), String> {
    print!("{}", lab.run("bulkhead map")?);
    Ok(())
}
