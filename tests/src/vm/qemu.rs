//! QEMU's command line.

use std::fs;
use std::path::Path;
use std::process::Command;

use bulkhead_packet::WORD;

use super::Image;
use crate::inside::TASK_WORD;

/// The emulator.
pub(super) const QEMU: &str = "qemu-system-x86_64";
/// Of util-linux, which every Debian has.
const SETPRIV: &str = "setpriv";
const MEMORY: &str = "2048";

/// What runs the machine's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// The processor.
    Kvm,
    /// QEMU, some ten times slower.
    Software,
}

/// KVM where it works. `/dev/kvm` alone says nothing: some machines have it and no virtualisation behind it that boots a
/// stock kernel, and their `/proc/cpuinfo` shows neither `vmx` nor `svm`.
pub(super) fn accelerator() -> Accelerator {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let able = flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    if able && fs::File::options().read(true).write(true).open("/dev/kvm").is_ok() {
        Accelerator::Kvm
    } else {
        Accelerator::Software
    }
}

/// The command that runs a machine for the task `task` of the payload, but for the second serial port's far end `lab`.
///
/// `words` go to the kernel's command line.
pub(super) fn command(image: &Image, payload: &Path, console: &Path, task: &str, words: &[&str]) -> Command {
    // However the lab ends, also by a signal that it cannot see, its machines end with it.
    let mut command = Command::new(SETPRIV);
    command.args(["--pdeathsig", "KILL", "--", QEMU]);
    // Where the snapshot of the disk grows: /tmp may be small.
    command.env("TMPDIR", image.folder());
    // One processor: with two, QEMU 7.2's emulation may go on with code that the kernel has patched on the other one, and the
    // kernel ends with `Oops: int3`.
    command.args(["-nodefaults", "-display", "none", "-no-reboot", "-smp", "1", "-m", MEMORY]);
    match accelerator() {
        Accelerator::Kvm => command.args(["-accel", "kvm", "-cpu", "host"]),
        Accelerator::Software => command.args(["-accel", "tcg", "-cpu", "max"]),
    };
    command.arg("-kernel").arg(image.kernel()).arg("-initrd").arg(image.initramfs());
    let mut line =
        format!("console=ttyS0 net.ifnames=0 quiet systemd.show_status=yes panic=-1 {WORD} {TASK_WORD}{task}");
    // On a busy machine the emulated TSC runs false, and a kernel that believes it has a clock twice too fast. There too the
    // one-shot timer of an idle kernel was seen to be lost, and the machine to halt for minutes: a periodic tick goes on.
    let emulated: &[&str] = match accelerator() {
        Accelerator::Kvm => &[],
        Accelerator::Software => &["tsc=unstable", "nohz=off", "highres=off"],
    };
    for word in emulated.iter().chain(words) {
        line.push(' ');
        line.push_str(word);
    }
    command.arg("-append").arg(line);
    for (file, mode) in [(image.disk().as_path(), "snapshot=on"), (payload, "readonly=on")] {
        command.arg("-drive").arg(format!("file={},if=virtio,format=raw,{mode}", escaped(file)));
    }
    // eth0 is nobody's; eth1, the trunk, and eth2, its far side, hang on one wire.
    for (hub, id) in [(0, "alone"), (1, "trunk"), (1, "far")] {
        command.arg("-netdev").arg(format!("hubport,hubid={hub},id={id}"));
        command.arg("-device").arg(format!("virtio-net-pci,netdev={id},romfile="));
    }
    command.arg("-object").arg("rng-random,filename=/dev/urandom,id=random");
    command.arg("-device").arg("virtio-rng-pci,rng=random");
    command.arg("-chardev").arg(format!("file,id=console,append=on,path={}", escaped(console)));
    command.args(["-serial", "chardev:console", "-serial", "chardev:lab"]);
    command
}

/// In an option of QEMU a comma is doubled.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
