//! What a definition holds that leads past the walls around a guest, and what a person added that does not.
//!
//! The list is of what is positively within the walls; a device that this version does not know breaks them.

use super::Element;

/// What a device is to the walls.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Device {
    /// Ours, or one that libvirt adds to every guest by itself.
    Plain,
    /// A person's, within the walls.
    Added(String),
    /// A person's, past the walls.
    Breach(String),
}

/// An element beside the devices that leads past the walls: arguments handed to QEMU behind libvirt's back, and a process
/// without a label of its own.
pub(super) fn root_breach(element: &Element) -> Option<String> {
    let own_label = element.get("type").is_none_or(|kind| kind == "dynamic")
        && element.get("relabel") != Some("no")
        && element.at(&["baselabel"]).is_none();
    let breach = element.name.contains(':') || (element.name == "seclabel" && !own_label);
    breach.then(|| element.name.clone())
}

/// Judges a device. NICs and ordinary disks are compared with the manifest elsewhere.
pub(super) fn device(device: &Element) -> Device {
    let kind = device.get("type").unwrap_or_default();
    let model = device.get("model").unwrap_or_default();
    let words = || [device.name.as_str(), kind].join(" ").trim_end().to_owned();
    let added = || Device::Added(words());
    let breach = || Device::Breach(words());
    match (device.name.as_str(), kind) {
        ("interface" | "emulator" | "controller" | "memballoon" | "watchdog" | "panic", _) => Device::Plain,
        ("input", "mouse" | "keyboard") if device.get("bus") == Some("ps2") => Device::Plain,
        ("input", "passthrough" | "evdev") => breach(),
        ("audio", "none") => Device::Plain,
        ("disk", _) => disk(device),
        ("rng", _) if device.at(&["backend"]).and_then(|backend| backend.get("model")) == Some("egd") => {
            Device::Breach("rng egd".to_owned())
        }
        ("rng", _) | ("serial" | "console", "pty") => Device::Plain,
        ("serial" | "parallel" | "console" | "channel", _) => {
            // A socket that QEMU listens at is libvirt's own; one that it connects to is somebody else's.
            let connects = device.at(&["source"]).and_then(|source| source.get("mode")) == Some("connect");
            let within = matches!(kind, "pty" | "null" | "vc" | "file" | "spicevmc" | "spiceport" | "qemu-vdagent");
            let name = device.at(&["target"]).and_then(|target| target.get("name")).unwrap_or_default();
            let words = [&words(), name].join(" ").trim_end().to_owned();
            if within || (kind == "unix" && !connects) { Device::Added(words) } else { Device::Breach(words) }
        }
        ("redirdev", "spicevmc") => added(),
        ("smartcard", _) if device.get("mode") == Some("passthrough") && kind == "spicevmc" => added(),
        ("tpm", _) => {
            let backend = device.at(&["backend"]).and_then(|backend| backend.get("type")).unwrap_or_default();
            let words = format!("tpm {backend}").trim_end().to_owned();
            if backend == "emulator" { Device::Added(words) } else { Device::Breach(words) }
        }
        (
            "graphics" | "video" | "sound" | "audio" | "input" | "hub" | "redirfilter" | "lease" | "memory" | "iommu",
            _,
        )
        | ("pstore" | "crypto", _) => Device::Added([words().as_str(), model].join(" ").trim_end().to_owned()),
        _ => breach(),
    }
}

/// A disk. Whether the manifest names it is not asked here.
fn disk(disk: &Element) -> Device {
    let kind = disk.get("type").unwrap_or("file");
    let device = disk.get("device").unwrap_or("disk");
    let target = disk.at(&["target"]).and_then(|target| target.get("dev")).unwrap_or_default();
    let breach = |what: &str| Device::Breach(format!("disk {target} {what}"));
    match (kind, device) {
        // Its label lets every guest read and write it.
        _ if disk.at(&["shareable"]).is_some() => breach("shareable"),
        (_, "lun") => breach("lun"),
        // A directory is given to the guest as a FAT disk with all that is in it.
        ("nvme" | "vhostuser" | "vhostvdpa" | "dir", _) => breach(kind),
        ("file" | "block", _) => match hardware(disk) {
            Some(path) => breach(path),
            None => Device::Plain,
        },
        ("volume" | "network", _) => Device::Plain,
        _ => breach(kind),
    }
}

/// The device of the host that a disk is, if its path is not one of those that volume managers give what they cut for others to
/// use. Which of those the host itself uses is not looked at.
fn hardware(disk: &Element) -> Option<&str> {
    let source = disk.at(&["source"])?;
    let path = source.get("dev").or_else(|| source.get("file").filter(|path| path.starts_with("/dev/")))?;
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let cut = match parts[..] {
        // udev names whole disks by their numbers there, and RAID arrays by name.
        ["dev", "block" | "md", _] => false,
        // `/dev/mapper/NAME` and LVM's `/dev/GROUP/VOLUME`.
        ["dev", group, volume] => ![group, volume].iter().any(|part| matches!(*part, "." | "..")),
        ["dev", "zvol", _, ..] => !parts.contains(&".."),
        _ => false,
    };
    (!cut).then_some(path)
}

#[cfg(test)]
mod tests {
    use crate::guest::samples;
    use crate::guest::xml::{domain_xml, read_domain};

    /// What is said of the example with something added to it: what breaks a wall, and what does not.
    fn said(with: &str) -> (Vec<String>, Vec<String>) {
        let wanted = samples::definition();
        let xml = domain_xml("example", &wanted, None).unwrap().replace("<devices>", with);
        let found = read_domain(&xml).unwrap().definition;
        assert_eq!(wanted.differences(&found), Vec::<String>::new(), "{with}: no edit may take it away");
        (wanted.violations(&found), wanted.undeclared(&found))
    }

    #[test]
    fn a_way_past_the_walls_is_a_violation() {
        for (way, name) in [
            ("<devices><hostdev mode='subsystem' type='pci'/>", "hostdev pci"),
            ("<devices><filesystem type='mount'/>", "filesystem mount"),
            ("<devices><vsock model='virtio'/>", "vsock"),
            ("<devices><shmem name='s'/>", "shmem"),
            ("<devices><serial type='tcp'/>", "serial tcp"),
            ("<devices><channel type='unix'><source mode='connect' path='/run/x'/></channel>", "channel unix"),
            ("<devices><redirdev bus='usb' type='tcp'/>", "redirdev tcp"),
            ("<devices><tpm><backend type='passthrough'/></tpm>", "tpm passthrough"),
            ("<devices><rng model='virtio'><backend model='egd' type='tcp'/></rng>", "rng egd"),
            ("<devices><input type='evdev'/>", "input evdev"),
            ("<devices><disk type='block' device='lun'><target dev='sda'/></disk>", "disk sda lun"),
            ("<devices><disk type='file'><target dev='vdz'/><shareable/></disk>", "disk vdz shareable"),
            ("<devices><disk type='nvme'><target dev='vdz'/></disk>", "disk vdz nvme"),
            ("<devices><disk type='vhostuser'><target dev='vdz'/></disk>", "disk vdz vhostuser"),
            ("<devices><disk type='vhostvdpa'><target dev='vdz'/></disk>", "disk vdz vhostvdpa"),
            (
                "<devices><disk type='dir' device='floppy'><source dir='/root'/><target dev='fda'/></disk>",
                "disk fda dir",
            ),
            ("<devices><device-of-tomorrow/>", "device-of-tomorrow"),
            ("<qemu:commandline/><devices>", "qemu:commandline"),
            ("<seclabel type='none'/><devices>", "seclabel"),
            ("<seclabel type='dynamic' model='dac'><baselabel>root:root</baselabel></seclabel><devices>", "seclabel"),
            ("<devices><interface type='user'/>", "undeclared NIC none none of type user"),
            (
                "<devices><interface type='direct'><source dev='eth1' mode='bridge'/></interface>",
                "undeclared NIC none none of type direct",
            ),
            (
                "<devices><interface type='bridge'><mac address='52:54:00:0a:0b:0c'/><source bridge='br30'/></interface>",
                "undeclared NIC none 52:54:00:0a:0b:0c on br30",
            ),
        ] {
            assert_eq!(said(way).0, [name], "{way}");
        }
    }

    #[test]
    fn a_disk_of_the_host_is_a_violation_and_a_volume_that_was_cut_of_one_is_not() {
        let disk = |source: &str| {
            said(&format!("<devices><disk type='block'><source dev='{source}'/><target dev='vdz'/></disk>"))
        };
        for hardware in [
            "/dev/vda",
            "/dev/nvme0n1p2",
            "/dev/disk/by-id/wwn-0x5000",
            "/dev/block/8:0",
            "/dev/md/root",
            "/dev/vg/../sda",
            "/dev/./sda",
            "/dev/../dev/sda",
            "/dev/zvol/../sda",
        ] {
            assert_eq!(disk(hardware).0, [format!("disk vdz {hardware}")]);
        }
        for volume in ["/dev/vg0/web", "/dev/mapper/vg0-web", "/dev/zvol/tank/web"] {
            assert_eq!(disk(volume), (vec![], vec![format!("disk vdz {volume}")]));
        }
        let file = "<devices><disk type='file'><source file='/dev/sda'/><target dev='vdz'/></disk>";
        assert_eq!(said(file).0, ["disk vdz /dev/sda"]);
        let empty = "<devices><disk type='block' device='cdrom'><target dev='sda'/></disk>";
        assert_eq!(said(empty), (vec![], vec!["disk sda of type block".to_owned()]));
    }

    #[test]
    fn memory_that_can_be_shared_leads_nowhere_without_a_device_that_shares_it() {
        let memory = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking><devices>";
        assert_eq!(said(memory), (vec![], vec![]));
    }

    #[test]
    fn a_program_that_libvirt_would_not_run_by_itself_is_a_violation() {
        let mut wanted = samples::definition();
        wanted.emulators = ["/usr/bin/qemu-system-x86_64".to_owned()].into();
        let xml = domain_xml("example", &wanted, None).unwrap();
        for (program, violations) in
            [("/usr/bin/qemu-system-x86_64", vec![]), ("/usr/local/bin/q", vec!["emulator /usr/local/bin/q"])]
        {
            let with = xml.replace("<devices>", &format!("<devices><emulator>{program}</emulator>"));
            assert_eq!(wanted.violations(&read_domain(&with).unwrap().definition), violations);
        }
    }

    #[test]
    fn what_a_person_adds_within_the_walls_is_named_and_is_no_violation() {
        for (added, name) in [
            (
                "<devices><disk type='file' device='cdrom'><source file='/srv/a.iso'/><target dev='sda'/></disk>",
                "disk sda /srv/a.iso",
            ),
            (
                "<devices><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
                "channel unix org.qemu.guest_agent.0",
            ),
            ("<devices><graphics type='vnc' passwd='secret'/>", "graphics vnc"),
            ("<devices><tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>", "tpm emulator"),
            ("<devices><serial type='file'><source path='/var/log/c'/></serial>", "serial file"),
        ] {
            assert_eq!(said(added), (vec![], vec![name.to_owned()]), "{added}");
        }
    }
}
