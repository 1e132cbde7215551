//! Domains: a server guest as a user of libvirt expects it.

use std::path::PathBuf;

use super::{Element, XmlError, identity, owned};
use crate::guest::definition::{Definition, DiskDefinition, NicDefinition};

/// What libvirt calls a KiB, the unit in which it writes every memory size.
const KIB: u64 = 1024;

/// The definition of a domain: serial console, no graphics, virtio devices, boot order by device, no autostart.
///
/// `uuid` is that of the domain it replaces; a new one gets its uuid from libvirt.
pub(crate) fn domain_xml(name: &str, definition: &Definition, uuid: Option<&str>) -> String {
    let mut kind = Element::text("type", "hvm");
    kind.attributes.extend(definition.machine.iter().map(|machine| ("machine".to_owned(), machine.clone())));
    let memory = |name, bytes: u64| Element::text(name, (bytes / KIB).to_string()).attr("unit", "KiB");
    let vcpu = Element::text("vcpu", definition.vcpus_max.to_string()).attr("placement", "static");
    let resource = |partition| Element::new("resource").child(Element::text("partition", partition));
    // Under emulation QEMU's default CPU is what runs everywhere; host-model means nothing there.
    let cpu = (definition.kind == "kvm").then(|| Element::new("cpu").attr("mode", "host-model"));
    Element::new("domain")
        .attr("type", &definition.kind)
        .children(identity(name, uuid))
        .child(memory("memory", definition.memory))
        .child(memory("currentMemory", definition.memory_now))
        .child(vcpu.attr("current", definition.vcpus_now.to_string()))
        .children(definition.partition.as_deref().map(resource))
        .child(Element::new("os").child(kind))
        .child(Element::new("features").child(Element::new("acpi")).child(Element::new("apic")))
        .children(cpu)
        .child(Element::new("clock").attr("offset", "utc"))
        .child(Element::text("on_poweroff", "destroy"))
        .child(Element::text("on_reboot", "restart"))
        .child(Element::text("on_crash", "restart"))
        .child(devices(definition))
        .to_xml()
}

fn devices(definition: &Definition) -> Element {
    let serial = Element::new("serial").attr("type", "pty").child(Element::new("target").attr("port", "0"));
    let target = Element::new("target").attr("type", "serial").attr("port", "0");
    let random = Element::text("backend", "/dev/urandom").attr("model", "random");
    Element::new("devices")
        .children(definition.disks.iter().map(disk))
        .children(definition.nics.iter().map(nic))
        .child(serial)
        .child(Element::new("console").attr("type", "pty").child(target))
        .child(Element::new("memballoon").attr("model", "virtio"))
        .child(Element::new("rng").attr("model", "virtio").child(random))
}

/// A file by its path and not `type='volume'`: the definition then holds whatever the pool is called, and starts whether
/// or not the pool does. The cache mode is QEMU's default: `none` needs O_DIRECT, which not every filesystem has.
fn disk(disk: &DiskDefinition) -> Element {
    let path = disk.path.as_ref().map(|path| path.display().to_string());
    let driver = Element::new("driver")
        .attr("name", "qemu")
        .attr("type", disk.format.as_deref().unwrap_or("raw"))
        .attr("discard", "unmap");
    Element::new("disk")
        .attr("type", "file")
        .attr("device", "disk")
        .child(driver)
        .children(path.map(|path| Element::new("source").attr("file", path)))
        .child(Element::new("target").attr("dev", &disk.target).attr("bus", "virtio"))
        .children(boot(disk.boot))
}

fn nic(nic: &NicDefinition) -> Element {
    let named = |name: &str, key: &str, value: &Option<String>| {
        value.as_ref().map(|value| Element::new(name).attr(key, value.as_str()))
    };
    Element::new("interface")
        .attr("type", "bridge")
        .children(named("mac", "address", &nic.mac))
        .children(named("source", "bridge", &nic.bridge))
        .children(named("target", "dev", &nic.tap))
        .child(Element::new("model").attr("type", "virtio"))
        .children(boot(nic.boot))
}

fn boot(order: Option<u32>) -> Option<Element> {
    order.map(|order| Element::new("boot").attr("order", order.to_string()))
}

/// Whether a domain is ours, and what of its definition we speak of.
pub(crate) fn read_domain(xml: &str) -> Result<(bool, Definition), XmlError> {
    let root = Element::parse(xml)?;
    let owned = owned(&root);
    Ok((owned, facets(&root)))
}

fn facets(root: &Element) -> Definition {
    let memory = |name| root.text_at(&[name]).and_then(|text| text.parse::<u64>().ok()).map(|kib| kib * KIB);
    let max = root.text_at(&["vcpu"]).and_then(|text| text.parse().ok()).unwrap_or_default();
    let now = root.at(&["vcpu"]).and_then(|vcpu| vcpu.get("current")).and_then(|text| text.parse().ok());
    let devices = root.at(&["devices"]).map(|devices| devices.children.as_slice()).unwrap_or_default();
    let named = |name: &'static str| devices.iter().filter(move |device| device.name == name);
    let most = memory("memory").unwrap_or_default();
    let definition = Definition {
        kind: root.get("type").unwrap_or_default().to_owned(),
        memory: most,
        memory_now: memory("currentMemory").unwrap_or(most),
        vcpus_now: now.unwrap_or(max),
        vcpus_max: max,
        machine: root.at(&["os", "type"]).and_then(|kind| kind.get("machine")).map(str::to_owned),
        partition: root.text_at(&["resource", "partition"]).map(str::to_owned),
        disks: named("disk").map(read_disk).collect(),
        nics: named("interface").map(read_nic).collect(),
        others: root.children.iter().filter_map(odd_element).chain(devices.iter().filter_map(odd_device)).collect(),
    };
    definition.sorted()
}

fn read_disk(disk: &Element) -> DiskDefinition {
    let file = disk.get("type") == Some("file");
    DiskDefinition {
        target: attribute(disk, "target", "dev").unwrap_or_default(),
        path: attribute(disk, "source", "file").filter(|_| file).map(PathBuf::from),
        format: attribute(disk, "driver", "type"),
        boot: attribute(disk, "boot", "order").and_then(|order| order.parse().ok()),
    }
}

fn read_nic(nic: &Element) -> NicDefinition {
    let on_bridge = nic.get("type") == Some("bridge");
    NicDefinition {
        tap: attribute(nic, "target", "dev"),
        mac: attribute(nic, "mac", "address"),
        bridge: attribute(nic, "source", "bridge").filter(|_| on_bridge),
        boot: attribute(nic, "boot", "order").and_then(|order| order.parse().ok()),
    }
}

fn attribute(element: &Element, child: &str, key: &str) -> Option<String> {
    element.at(&[child])?.get(key).map(str::to_owned)
}

/// An element beside the devices that lets a guest out: arguments handed to QEMU behind libvirt's back, and a guest's
/// process without its own label.
fn odd_element(element: &Element) -> Option<String> {
    let confined = element.get("type").is_none_or(|kind| kind == "dynamic") && element.get("relabel") != Some("no");
    let odd = element.name.contains(':') || (element.name == "seclabel" && !confined);
    odd.then(|| element.name.clone())
}

/// A device that is neither ours, nor one that libvirt adds by itself, nor one that stays within the guest.
fn odd_device(device: &Element) -> Option<String> {
    let kind = device.get("type");
    let harmless = match device.name.as_str() {
        "interface" | "emulator" | "controller" | "input" | "audio" | "watchdog" | "memballoon" | "rng" | "panic" => {
            true
        }
        "disk" => {
            let shared = device.at(&["shareable"]).is_some();
            device.get("device").is_none_or(|device| device == "disk") && !shared
        }
        "serial" | "console" => kind == Some("pty"),
        "channel" => kind == Some("unix"),
        _ => false,
    };
    let words = [Some(device.name.as_str()), kind.or(device.get("device"))];
    (!harmless).then(|| words.into_iter().flatten().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::guest::model::Host;
    use crate::guest::samples;

    #[test]
    fn a_written_domain_is_ours_and_what_libvirt_adds_changes_nothing() {
        let definition = samples::definition();
        let xml = domain_xml("example", &definition, Some("6695eb01-f6a4-8304-79aa-97f2502e193f"));
        let richer = xml.replace(
            "<devices>",
            "<devices><emulator>/usr/bin/qemu</emulator><controller type='usb'/><input type='mouse' bus='ps2'/>
             <audio id='1' type='none'/><watchdog model='itco' action='reset'/>",
        );
        assert_eq!(read_domain(&richer).unwrap(), (true, definition));
    }

    #[test]
    fn a_way_out_of_the_guest_is_seen_as_undeclared() {
        let definition = samples::definition();
        let xml = domain_xml("example", &definition, None);
        for (way, name) in [
            ("<devices><hostdev mode='subsystem' type='pci'/>", "undeclared hostdev pci"),
            ("<devices><filesystem type='mount'/>", "undeclared filesystem mount"),
            ("<devices><serial type='file'/>", "undeclared serial file"),
            ("<devices><disk type='file' device='cdrom'/>", "undeclared disk file"),
            ("<qemu:commandline/><devices>", "undeclared qemu:commandline"),
            ("<seclabel type='none'/><devices>", "undeclared seclabel"),
        ] {
            let (_, found) = read_domain(&xml.replace("<devices>", way)).unwrap();
            assert!(definition.differences(&found).iter().any(|word| word == name), "{way}");
        }
    }

    #[test]
    fn a_nic_on_a_libvirt_network_is_on_no_bridge_of_ours() {
        let xml = domain_xml("example", &samples::definition(), None);
        let moved = xml.replace("<interface type=\"bridge\">", "<interface type='network'>");
        assert_eq!(read_domain(&moved).unwrap().1.nics[0].bridge, None);
    }

    #[test]
    fn the_host_cpu_is_asked_for_only_where_it_runs_the_guest() {
        let emulated = samples::definition();
        assert!(!domain_xml("example", &emulated, None).contains("host-model"));
        let accelerated = Definition { kind: "kvm".to_owned(), ..emulated };
        assert!(domain_xml("example", &accelerated, None).contains("<cpu mode=\"host-model\"/>"));
    }

    proptest! {
        #[test]
        fn every_guest_of_a_manifest_is_read_back_as_it_was_written(desired in samples::any_desired()) {
            let host = Host { kind: "qemu".to_owned(), machine: Some("q35".to_owned()) };
            for guest in &desired.guests {
                let definition = Definition::of(guest, &desired.pools, &host);
                let read = read_domain(&domain_xml(guest.name.as_str(), &definition, None)).unwrap();
                prop_assert_eq!(read, (true, definition));
            }
        }
    }
}
