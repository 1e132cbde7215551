//! Domains: the edit that sets our facets in a definition and leaves the rest as it came.
//!
//! A definition made anew is the same edit on [`MINIMAL`].

use super::domain::{KIB, memory_decided_by, read_disk, read_nic, size, vcpus_decided_by};
use super::tree::Document;
use super::{Element, XmlError, set_mark};
use crate::guest::definition::{Definition, DiskDefinition, NicDefinition};

/// A server guest as a user of libvirt expects it, without anything that the manifest says: a serial console, no graphics,
/// a balloon, random numbers. Its UUID and its addresses come from libvirt.
const MINIMAL: &str = "<domain>
  <name/>
  <memory/>
  <currentMemory/>
  <vcpu placement='static'/>
  <os>
    <type>hvm</type>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>restart</on_crash>
  <devices>
    <serial type='pty'>
      <target port='0'/>
    </serial>
    <console type='pty'>
      <target type='serial' port='0'/>
    </console>
    <memballoon model='virtio'/>
    <rng model='virtio'>
      <backend model='random'>/dev/urandom</backend>
    </rng>
  </devices>
</domain>
";

/// The definition of a domain: the one that it has with our facets set, or a new one.
///
/// # Errors
/// `current` is no XML, or not of a domain.
pub(crate) fn domain_xml(name: &str, wanted: &Definition, current: Option<&str>) -> Result<String, XmlError> {
    let mut document = Document::parse_as(current.unwrap_or(MINIMAL), "domain")?;
    let root = &mut document.root;
    if current.is_none() {
        begin(root, name, wanted);
    }
    set_mark(root, name);
    if memory_decided_by(root).is_none() {
        for (element, bytes) in [("memory", wanted.memory), ("currentMemory", wanted.memory_now)] {
            root.change(element, &["memory", "metadata", "uuid", "name"], |memory| set_size(memory, bytes));
        }
    }
    if vcpus_decided_by(root).is_none() {
        root.change("vcpu", &["currentMemory"], |vcpu| set_vcpus(vcpu, wanted.vcpus_now, wanted.vcpus_max));
    }
    if let Some(partition) = &wanted.partition {
        root.change("resource", &["vcpu"], |resource| {
            resource.change("partition", &[], |element| element.set_text(partition));
        });
    }
    // A device's own place in the boot order and a list for all of them exclude each other.
    let listed = root.at(&["os", "boot"]).is_some();
    root.change("devices", &[], |devices| {
        set_disks(devices, &wanted.disks, listed);
        set_nics(devices, wanted, listed);
    });
    Ok(document.to_xml())
}

/// What only a new definition is told: a domain keeps its type and its virtual hardware for life.
fn begin(root: &mut Element, name: &str, wanted: &Definition) {
    root.set("type", &wanted.kind);
    root.change("name", &[], |element| element.set_text(name));
    root.change("os", &[], |os| {
        os.change("type", &[], |kind| {
            if let Some(machine) = &wanted.machine {
                kind.set("machine", machine);
            }
        });
    });
    // Under emulation QEMU's default CPU is what runs everywhere; host-model means nothing there.
    if wanted.kind == "kvm" {
        root.change("cpu", &["features"], |cpu| cpu.set("mode", "host-model"));
    }
}

fn set_size(element: &mut Element, bytes: u64) {
    if size(element) != Some(bytes) {
        element.set("unit", "KiB");
        element.set_text(&(bytes / KIB).to_string());
    }
}

fn set_vcpus(vcpu: &mut Element, now: u32, max: u32) {
    vcpu.set_text(&max.to_string());
    // libvirt leaves out a number of CPUs at the start that says nothing.
    if now != max || vcpu.get("current").is_some() {
        vcpu.set("current", &now.to_string());
    }
}

fn set_disks(devices: &mut Element, wanted: &[DiskDefinition], listed: bool) {
    for disk in wanted {
        let target = |element: &&mut Element| element.name == "disk" && read_disk(element).target == disk.target;
        if let Some(element) = devices.children_mut().find(target) {
            set_disk(element, disk);
            continue;
        }
        let mut element = new_disk(&disk.target);
        set_disk(&mut element, disk);
        devices.insert(element.with(boot(devices, listed)), &["disk", "emulator"]);
    }
}

/// A file by its path and not `type='volume'`: the definition then holds whatever the pool is called, and starts whether
/// or not the pool does. The cache mode is QEMU's default: `none` needs O_DIRECT, which not every filesystem has.
fn new_disk(target: &str) -> Element {
    let driver = Element::new("driver").attr("name", "qemu").attr("type", "raw").attr("discard", "unmap");
    let target = Element::new("target").attr("dev", target).attr("bus", "virtio");
    Element::new("disk").attr("type", "file").attr("device", "disk").with([driver, target])
}

fn set_disk(element: &mut Element, disk: &DiskDefinition) {
    element.set("type", "file");
    if let Some(format) = &disk.format {
        element.change("driver", &[], |driver| driver.set("type", format));
    }
    if let Some(path) = &disk.path {
        element.change("source", &["driver"], |source| source.set("file", &path.to_string_lossy()));
    }
}

fn set_nics(devices: &mut Element, wanted: &Definition, listed: bool) {
    let found: Vec<_> = devices.children().filter(|child| child.name == "interface").map(read_nic).collect();
    let declared = wanted.declared(&found);
    let elements = devices.children_mut().filter(|child| child.name == "interface");
    for ((element, found), declared) in elements.zip(&found).zip(&declared) {
        if let Some(nic) = declared.filter(|_| found.is_bridged()) {
            if found.kind != nic.kind {
                // What a libvirt network says of its port means nothing on a bridge.
                element.retain(|child| child.name != "virtualport");
                element.change("source", &["mac"], |source| source.unset_all_but("bridge"));
            }
            set_nic(element, nic);
        }
    }
    // A port with a name of ours is ours, and goes when it leaves the manifest.
    let mut gone = found.iter().zip(&declared).map(|(found, declared)| declared.is_none() && found.is_ours());
    devices.retain(|child| child.name != "interface" || !gone.next().unwrap_or(false));
    for nic in wanted.nics.iter().filter(|nic| !declared.contains(&Some(nic))) {
        let mut element = Element::new("interface").with([Element::new("model").attr("type", "virtio")]);
        set_nic(&mut element, nic);
        devices.insert(element.with(boot(devices, listed)), &["interface", "disk", "emulator"]);
    }
}

fn set_nic(element: &mut Element, nic: &NicDefinition) {
    element.set("type", &nic.kind);
    for (child, key, value, behind) in [
        ("mac", "address", &nic.mac, &[][..]),
        ("source", "bridge", &nic.bridge, &["mac"]),
        ("target", "dev", &nic.tap, &["source", "mac"]),
    ] {
        if let Some(value) = value {
            element.change(child, behind, |child| child.set(key, value));
        }
    }
}

/// The next place in the boot order, for a device that is added where devices have such places.
fn boot(devices: &Element, listed: bool) -> Option<Element> {
    let taken = devices.children().filter_map(|device| device.at(&["boot"])?.get("order")?.parse::<u32>().ok());
    let next = taken.max().unwrap_or(0).saturating_add(1).to_string();
    (!listed).then(|| Element::new("boot").attr("order", &next))
}

#[cfg(test)]
mod tests;
