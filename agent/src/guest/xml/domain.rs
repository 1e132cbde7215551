//! Domains: what is read of a definition.

use std::path::PathBuf;

use super::walls::{Device, device, root_breach};
use super::{Element, XmlError, noted_away, owned};
use crate::guest::definition::{Definition, DiskDefinition, NicDefinition};
use crate::guest::model::Away;

/// What libvirt calls a KiB, the unit in which it writes every memory size.
pub(super) const KIB: u64 = 1024;

/// What is read of a domain.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DomainRead {
    /// Whether it is ours.
    pub(crate) owned: bool,
    /// What of its definition we speak of.
    pub(crate) definition: Definition,
    /// Where it went, as we noted it.
    pub(crate) away: Option<Away>,
    /// Whether a reboot ends it, as an installer has it.
    pub(crate) ends_at_reboot: bool,
    /// Of each disk that is a file, by its target: the images that it is made of, the uppermost first. Only libvirt's
    /// definition of a running domain has them, and only where the chain's end is known.
    pub(crate) chains: Vec<(String, Vec<PathBuf>)>,
    /// The disks of which a block job makes a copy.
    pub(crate) mirrored: Vec<String>,
}

/// Reads a domain.
pub(crate) fn read_domain(xml: &str) -> Result<DomainRead, XmlError> {
    let root = Element::parse_as(xml, "domain")?;
    let disks = || devices(&root).filter(|device| device.name == "disk");
    let target = |disk: &Element| attribute(disk, "target", "dev").unwrap_or_default();
    Ok(DomainRead {
        owned: owned(&root),
        away: noted_away(&root),
        definition: facets(&root),
        ends_at_reboot: root.text_at(&["on_reboot"]).as_deref() == Some("destroy"),
        chains: disks().filter_map(|disk| Some((target(disk), chain(disk)?))).collect(),
        mirrored: disks().filter(|disk| disk.at(&["mirror"]).is_some()).map(target).collect(),
    })
}

fn devices(root: &Element) -> impl Iterator<Item = &Element> {
    root.children().filter(|child| child.name == "devices").flat_map(Element::children)
}

fn facets(root: &Element) -> Definition {
    let max = root.text_at(&["vcpu"]).and_then(|text| text.parse().ok()).unwrap_or_default();
    let now = root.at(&["vcpu"]).and_then(|vcpu| vcpu.get("current")).and_then(|text| text.parse().ok());
    let memory = root.at(&["memory"]).and_then(size).unwrap_or_default();
    let named = |name: &'static str| devices(root).filter(move |device| device.name == name);
    let mut definition = Definition {
        kind: root.get("type").unwrap_or_default().to_owned(),
        machine: root.at(&["os", "type"]).and_then(|kind| kind.get("machine")).map(str::to_owned),
        memory,
        memory_now: root.at(&["currentMemory"]).and_then(size).unwrap_or(memory),
        vcpus_now: now.unwrap_or(max),
        vcpus_max: max,
        memory_decided_by: memory_decided_by(root),
        vcpus_decided_by: vcpus_decided_by(root),
        partition: root.text_at(&["resource", "partition"]),
        emulators: named("emulator").map(|emulator| emulator.content().trim().to_owned()).collect(),
        disks: named("disk").map(read_disk).collect(),
        nics: named("interface").map(read_nic).collect(),
        breaches: root.children().filter_map(root_breach).collect(),
        ..Definition::default()
    };
    for element in devices(root) {
        match device(element) {
            Device::Plain => {}
            Device::Added(words) => _ = definition.added.insert(words),
            Device::Breach(words) => _ = definition.breaches.insert(words),
        }
    }
    definition
}

/// What decides the memory beside `<memory>`: libvirt adds up NUMA cells and memory devices, and writes their sum into it.
pub(super) fn memory_decided_by(root: &Element) -> Option<&'static str> {
    let modules = devices(root).any(|device| device.name == "memory");
    match root.at(&["cpu", "numa", "cell"]) {
        Some(_) => Some("NUMA cells"),
        None if modules => Some("memory modules"),
        None => None,
    }
}

/// What decides the CPUs beside `<vcpu>`: a topology must multiply to them, and a list says which of them are there.
pub(super) fn vcpus_decided_by(root: &Element) -> Option<&'static str> {
    let ways: [(&[&str], _); 3] =
        [(&["cpu", "topology"], "topology"), (&["cpu", "numa"], "NUMA layout"), (&["vcpus"], "list of vcpus")];
    ways.into_iter().find(|(path, _)| root.at(path).is_some()).map(|(_, words)| words)
}

/// A size in libvirt's units (`virScaleInteger`), in bytes.
pub(super) fn size(element: &Element) -> Option<u64> {
    let number: u64 = element.content().trim().parse().ok()?;
    let unit = element.get("unit").unwrap_or("KiB").to_ascii_lowercase();
    let (prefix, base) = match unit.as_str() {
        "b" | "byte" | "bytes" => return Some(number),
        unit => match (unit.strip_suffix("ib"), unit.strip_suffix('b')) {
            (Some(prefix), _) => (prefix.to_owned(), 1024_u64),
            (None, Some(prefix)) => (prefix.to_owned(), 1000),
            (None, None) => (unit.to_owned(), 1024),
        },
    };
    let power = ["k", "m", "g", "t", "p", "e"].iter().position(|known| *known == prefix)?;
    number.checked_mul(base.checked_pow(u32::try_from(power + 1).ok()?)?)
}

pub(super) fn read_disk(disk: &Element) -> DiskDefinition {
    let kind = disk.get("type").unwrap_or("file");
    let source = |of: &str, key| attribute(disk, "source", key).filter(|_| kind == of);
    DiskDefinition {
        target: attribute(disk, "target", "dev").unwrap_or_default(),
        kind: kind.to_owned(),
        path: source("file", "file").map(PathBuf::from),
        device: source("block", "dev").map(PathBuf::from),
        volume: source("volume", "pool").zip(source("volume", "volume")),
        shared: ["readonly", "shareable"].iter().any(|word| disk.at(&[word]).is_some())
            || disk.get("device") == Some("cdrom"),
        format: attribute(disk, "driver", "type"),
    }
}

pub(super) fn read_nic(nic: &Element) -> NicDefinition {
    let kind = nic.get("type").unwrap_or_default();
    NicDefinition {
        kind: kind.to_owned(),
        tap: attribute(nic, "target", "dev"),
        mac: attribute(nic, "mac", "address"),
        bridge: attribute(nic, "source", "bridge").filter(|_| kind == "bridge"),
    }
}

/// The images of a disk, down to the one that has nothing below it; `None` where libvirt does not say them all.
fn chain(disk: &Element) -> Option<Vec<PathBuf>> {
    let mut images = vec![read_disk(disk).path?];
    let mut below = disk.at(&["backingStore"])?;
    // The last image has an empty element below it.
    while let Some(source) = below.at(&["source"]) {
        let path = ["file", "dev", "name"].into_iter().find_map(|key| source.get(key))?;
        images.push(path.into());
        below = below.at(&["backingStore"])?;
    }
    Some(images)
}

fn attribute(element: &Element, child: &str, key: &str) -> Option<String> {
    element.at(&[child])?.get(key).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::samples;
    use crate::guest::xml::domain_xml;

    fn example() -> String {
        domain_xml("example", &samples::definition(), None).unwrap()
    }

    #[test]
    fn a_written_domain_is_ours_and_what_libvirt_adds_changes_nothing() {
        let richer = example().replace(
            "<devices>",
            "<devices><emulator>/usr/bin/qemu</emulator><controller type='usb'/><input type='mouse' bus='ps2'/>
             <audio id='1' type='none'/><watchdog model='itco' action='reset'/>",
        );
        let read = read_domain(&richer).unwrap();
        assert!(read.owned);
        let wanted = samples::definition();
        assert_eq!(wanted.differences(&read.definition), Vec::<String>::new());
        assert_eq!(wanted.violations(&read.definition), Vec::<String>::new());
        assert_eq!(wanted.undeclared(&read.definition), Vec::<String>::new());
    }

    #[test]
    fn a_size_is_read_in_every_unit_of_libvirt() {
        for (text, bytes) in [
            ("<memory>4</memory>", Some(4096)),
            ("<memory unit='b'>4</memory>", Some(4)),
            ("<memory unit='KB'>4</memory>", Some(4000)),
            ("<memory unit='G'>1</memory>", Some(1 << 30)),
            ("<memory unit='MiB'> 2 </memory>", Some(2 << 20)),
            ("<memory unit='EiB'>9999</memory>", None),
            ("<memory unit='pages'>1</memory>", None),
        ] {
            assert_eq!(size(&Element::parse(text).unwrap()), bytes, "{text}");
        }
    }

    #[test]
    fn of_a_disk_is_read_what_it_is_on_and_whether_others_may_have_it_too() {
        let target = || DiskDefinition { target: "vdb".to_owned(), ..DiskDefinition::default() };
        for (disk, read) in [
            (
                "<disk type='file'><source file='/p/a' dev='/dev/sda'/>",
                DiskDefinition { kind: "file".to_owned(), path: Some("/p/a".into()), ..target() },
            ),
            (
                "<disk type='block'><source dev='/dev/vg/a'/><readonly/>",
                DiskDefinition { kind: "block".to_owned(), device: Some("/dev/vg/a".into()), shared: true, ..target() },
            ),
            (
                "<disk type='volume'><source pool='p' volume='a'/><shareable/>",
                DiskDefinition {
                    kind: "volume".to_owned(),
                    volume: Some(("p".to_owned(), "a".to_owned())),
                    shared: true,
                    ..target()
                },
            ),
            ("<disk type='file' device='cdrom'>", DiskDefinition { kind: "file".to_owned(), shared: true, ..target() }),
        ] {
            let xml = format!("{disk}<target dev='vdb'/></disk>");
            assert_eq!(read_disk(&Element::parse(&xml).unwrap()), read, "{xml}");
        }
    }

    #[test]
    fn the_images_of_a_running_disk_are_read_down_to_the_last_or_not_at_all() {
        let disk = "<disk type='file'><source file='/p/s1'/><backingStore type='file'><format type='raw'/>\
                    <source file='/p/base'/>END</backingStore><target dev='vda'/></disk>";
        let read = |end: &str| chain(&Element::parse(&disk.replace("END", end)).unwrap());
        assert_eq!(read("<backingStore/>"), Some(vec!["/p/s1".into(), "/p/base".into()]));
        assert_eq!(read(""), None);
    }
}
