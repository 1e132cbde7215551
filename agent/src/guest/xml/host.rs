//! What libvirt can run.

use super::{Element, XmlError};
use crate::guest::model::Host;

/// Domain types in the order in which we want them.
const KINDS: [&str; 2] = ["kvm", "qemu"];
/// QEMU's modern PC; where libvirt offers none (not a PC), its own default is right.
const MACHINE: &str = "q35";

/// Reads `virsh capabilities`: the best domain type for the host's own architecture, and whether that has our machine.
pub(crate) fn read_host(xml: &str) -> Result<Host, XmlError> {
    let root = Element::parse_as(xml, "capabilities")?;
    let emulators = root.children().flat_map(programs).collect();
    let host = root.text_at(&["host", "cpu", "arch"]);
    let hvm = |guest: &&Element| guest.name == "guest" && guest.text_at(&["os_type"]).as_deref() == Some("hvm");
    let full = root.children().filter(hvm);
    let mut arches: Vec<_> = full.filter_map(|guest| guest.at(&["arch"])).collect();
    // A driver that lists no architecture of the host (libvirt's test driver) still says what it can run.
    if arches.iter().any(|arch| arch.get("name") == host.as_deref()) {
        arches.retain(|arch| arch.get("name") == host.as_deref());
    }
    let named = |name: &'static str| arches.iter().flat_map(|arch| arch.children()).filter(move |e| e.name == name);
    let offered: Vec<_> = named("domain").filter_map(|domain| domain.get("type")).collect();
    let kind = KINDS.into_iter().find(|kind| offered.contains(kind)).or(offered.first().copied()).unwrap_or("qemu");
    let machine = named("machine").any(|machine| machine.content().trim() == MACHINE).then(|| MACHINE.to_owned());
    Ok(Host { kind: kind.to_owned(), machine, emulators })
}

/// The programs that a kind of guests is run with: one for its architecture, or one for a domain type of that.
fn programs(guest: &Element) -> Vec<String> {
    let arches = guest.children().filter(|child| child.name == "arch");
    let elements = arches.flat_map(|arch| std::iter::once(arch).chain(arch.children().filter(|e| e.name == "domain")));
    elements.filter_map(|element| element.text_at(&["emulator"])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities(kinds: &str) -> String {
        format!(
            "<capabilities><host><cpu><arch>x86_64</arch></cpu></host>
             <guest><os_type>hvm</os_type><arch name='i686'><machine>pc</machine><domain type='kvm'/></arch></guest>
             <guest><os_type>hvm</os_type><arch name='x86_64'><emulator>/usr/bin/qemu-system-x86_64</emulator><machine maxCpus='255'>q35</machine>{kinds}</arch></guest>
             </capabilities>"
        )
    }

    #[test]
    fn kvm_is_taken_where_the_hosts_own_architecture_offers_it() {
        let both = read_host(&capabilities("<domain type='qemu'/><domain type='kvm'/>")).unwrap();
        let emulators = ["/usr/bin/qemu-system-x86_64".to_owned()].into();
        assert_eq!(both, Host { kind: "kvm".to_owned(), machine: Some("q35".to_owned()), emulators });
        assert!(both.accelerated());
        let emulated = read_host(&capabilities("<domain type='qemu'/>")).unwrap();
        assert_eq!(emulated.kind, "qemu");
        assert!(!emulated.accelerated());
    }
}
