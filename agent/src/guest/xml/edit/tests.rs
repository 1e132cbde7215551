//! The edit changes our facets and nothing else, in whatever definition, and changes nothing a second time.
#![allow(clippy::print_stdout)] // A run by hand tells what came through.

use std::path::Path;

use proptest::prelude::*;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::*;
use crate::guest::samples;
use crate::guest::xml::read_domain;

/// Definitions of our own writing, in the ways in which libvirt and people write them.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/domains");
/// A directory of more of them: other people's, which are no part of the project.
const MORE: &str = "BULKHEAD_TEST_DOMAINS";

/// What of an element is ours, by its path: the attributes, and whether its text is.
fn facets(path: &str) -> (&'static [&'static str], bool) {
    match path.strip_prefix("domain/").unwrap_or_default() {
        "memory" | "currentMemory" => (&["unit"], true),
        "vcpu" => (&["current"], true),
        "resource/partition" => (&[], true),
        "devices/disk" | "devices/disk/driver" | "devices/interface" => (&["type"], false),
        "devices/disk/source" => (&["file"], false),
        "devices/interface/mac" => (&["address"], false),
        "devices/interface/source" => (&["bridge", "network", "portgroup", "portid"], false),
        "devices/interface/target" => (&["dev"], false),
        _ => (&[], false),
    }
}

/// Where an edit may add an element.
const ADDED: [&str; 9] = [
    "domain/metadata",
    "domain/memory",
    "domain/currentMemory",
    "domain/vcpu",
    "domain/resource",
    "domain/devices",
    "domain/devices/disk",
    "domain/devices/interface",
    "domain/metadata/bulkhead:owned",
];

fn opened(start: &BytesStart<'_>, path: &str) -> String {
    let attributes = start.attributes().map(Result::unwrap);
    let theirs = attributes.filter(|attribute| !facets(path).0.contains(&attribute.key.as_ref()));
    theirs.map(|attribute| format!(" {}={}", attribute.key.as_ref(), attribute.value)).collect()
}

/// A definition as the list of what stands in it, with its path and without our facets.
fn theirs(xml: &str) -> Vec<(String, String)> {
    let mut reader = Reader::from_str(xml);
    let mut open: Vec<String> = Vec::new();
    let mut tokens = Vec::new();
    loop {
        let event = reader.read_event().unwrap();
        if let Event::Start(start) | Event::Empty(start) = &event {
            open.push(start.name().as_ref().to_owned());
            let path = open.join("/");
            tokens.push((path.clone(), format!("<{path}{}>", opened(start, &path))));
        }
        let path = open.join("/");
        match event {
            Event::Eof => return tokens,
            Event::End(_) | Event::Empty(_) => {
                tokens.push((path.clone(), format!("</{path}>")));
                open.pop();
            }
            Event::Start(_) => {}
            Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) if facets(&path).1 => {}
            Event::Text(text) if text.trim().is_empty() => {}
            other => tokens.push((path, format!("{other:?}"))),
        }
    }
}

/// Everything of the one is in the other, in its order, and what the other has beside is what an edit may add.
fn differs_in_facets_alone(before: &str, after: &str) {
    let (before, after) = (theirs(before), theirs(after));
    let mut rest = before.iter().peekable();
    for (path, token) in &after {
        if rest.next_if(|(_, wanted)| wanted == token).is_none() {
            let added = ADDED.iter().any(|added| path == added || path.starts_with(&format!("{added}/")));
            assert!(added, "{token} in place of {:?}", rest.peek());
        }
    }
    assert_eq!(rest.next(), None, "is lost or out of its order");
}

/// Every disk and NIC that the manifest does not name is there as it was written.
fn keeps_the_devices_of_others(before: &str, after: &str, wanted: &Definition) {
    let document = Document::parse(before).unwrap();
    let Some(devices) = document.root.at(&["devices"]) else { return };
    let nics: Vec<_> = devices.children().filter(|child| child.name == "interface").collect();
    let found: Vec<_> = nics.iter().map(|nic| read_nic(nic)).collect();
    let declared = wanted.declared(&found);
    let nics = nics.into_iter().zip(&found).zip(declared).filter(|((_, found), declared)| match declared {
        Some(_) => !found.is_bridged(),
        None => !found.is_ours(),
    });
    let disks = devices.children().filter(|child| child.name == "disk");
    let disks = disks.filter(|disk| wanted.disk(&read_disk(disk).target).is_none());
    for device in nics.map(|((nic, _), _)| nic).chain(disks) {
        assert!(after.contains(&device.to_xml()), "{}", device.to_xml());
    }
}

fn holds_in(xml: &str, wanted: &Definition) {
    let name = Document::parse(xml).unwrap().root.text_at(&["name"]).unwrap_or_default();
    let once = domain_xml(&name, wanted, Some(xml)).unwrap();
    differs_in_facets_alone(xml, &once);
    keeps_the_devices_of_others(xml, &once, wanted);
    let read = read_domain(&once).unwrap();
    assert_eq!(wanted.differences(&read.definition), Vec::<String>::new(), "{once}");
    assert!(read.owned || name.is_empty());
    assert_eq!(domain_xml(&name, wanted, Some(&once)).unwrap(), once, "a second edit");
}

fn files(folder: &Path) -> Vec<(String, String)> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "xml"));
    files.sort();
    files.iter().map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap())).collect()
}

/// A guest that has the NICs of a definition, so that they are ours to set.
fn of_its_nics(xml: &str) -> Definition {
    let mut wanted = samples::definition();
    let found = read_domain(xml).unwrap().definition;
    let nics = found.nics.iter().filter(|nic| nic.is_bridged() && nic.mac.is_some());
    wanted.nics = nics.zip(1..).map(|(nic, n)| NicDefinition { mac: nic.mac.clone(), ..port(n) }).collect();
    wanted
}

fn port(number: usize) -> NicDefinition {
    NicDefinition {
        kind: "bridge".to_owned(),
        tap: Some(format!("bh-{number:012x}")),
        mac: Some(format!("52:54:00:00:10:{number:02x}")),
        bridge: Some("br20".to_owned()),
    }
}

#[test]
fn definitions_that_people_and_libvirt_write_differ_in_our_facets_alone() {
    let files = files(Path::new(CORPUS));
    assert!(files.len() >= 5, "{CORPUS}");
    for (path, xml) in files {
        println!("{path}");
        holds_in(&xml, &samples::definition());
        holds_in(&xml, &of_its_nics(&xml));
    }
}

/// Run by hand: `BULKHEAD_TEST_DOMAINS=DIRECTORY cargo test -p bulkhead definitions_of_others -- --nocapture`.
#[test]
fn definitions_of_others_differ_in_our_facets_alone_or_are_refused() {
    let Some(folder) = std::env::var_os(MORE) else { return };
    let (mut through, mut refused) = (0, 0);
    for (path, text) in files(Path::new(&folder)) {
        // Some hold several documents.
        for (number, xml) in text.replace("\n<domain", "\n\0<domain").split('\0').enumerate() {
            match read_domain(xml) {
                Ok(_) => {
                    println!("{path} {number}");
                    holds_in(xml, &samples::definition());
                    holds_in(xml, &of_its_nics(xml));
                    through += 1;
                }
                Err(error) => {
                    println!("{path} {number} {error}");
                    refused += 1;
                }
            }
        }
    }
    println!("{through} domains came through, {refused} texts are none");
    assert!(through > 0);
}

#[test]
fn a_definition_that_is_as_the_manifest_says_comes_back_to_the_byte() {
    let wanted = samples::definition();
    let xml = domain_xml("example", &wanted, None).unwrap();
    assert_eq!(domain_xml("example", &wanted, Some(&xml)).unwrap(), xml);
    let theirs = xml.replace("<devices>", "<devices ><!-- mine --><watchdog  model=\"itco\"/>").replace('\'', "\"");
    assert_eq!(domain_xml("example", &wanted, Some(&theirs)).unwrap(), theirs);
}

#[test]
fn a_port_of_ours_that_left_the_manifest_goes_and_another_nic_stays() {
    let mut wanted = samples::definition();
    wanted.nics.push(port(7));
    let theirs = "<devices><interface type='user'><mac address='52:54:00:99:99:99'/></interface>";
    let xml = domain_xml("example", &wanted, None).unwrap().replace("<devices>", theirs);
    wanted.nics.pop();
    let after = domain_xml("example", &wanted, Some(&xml)).unwrap();
    let found = read_domain(&after).unwrap().definition;
    assert_eq!(found.nics.iter().map(|nic| nic.kind.as_str()).collect::<Vec<_>>(), ["user", "bridge"]);
    assert!(after.contains(theirs.strip_prefix("<devices>").unwrap()));
}

#[test]
fn a_nic_of_ours_that_was_put_on_a_libvirt_network_is_put_back_and_one_that_was_put_past_the_bridge_is_not() {
    let wanted = samples::definition();
    let xml = domain_xml("example", &wanted, None).unwrap();
    for (there, mended) in [
        ("type='network'><source network='default' portgroup='a'/>", true),
        ("type='direct'><source dev='eth1' mode='bridge'/>", false),
        ("type='user'>", false),
    ] {
        let moved = xml.replace("type='bridge'>", there).replace("<source bridge='br20'/>", "");
        let after = domain_xml("example", &wanted, Some(&moved)).unwrap();
        let found = read_domain(&after).unwrap().definition;
        assert_eq!((found.nics == wanted.nics, wanted.violations(&found).is_empty()), (mended, mended), "{after}");
    }
}

#[test]
fn the_host_cpu_is_asked_for_only_where_it_runs_the_guest() {
    let emulated = samples::definition();
    assert!(!domain_xml("example", &emulated, None).unwrap().contains("host-model"));
    let accelerated = Definition { kind: "kvm".to_owned(), ..emulated };
    assert!(domain_xml("example", &accelerated, None).unwrap().contains("<cpu mode='host-model'/>"));
}

#[test]
fn devices_of_a_new_definition_boot_in_the_order_of_the_manifest() {
    let mut wanted = samples::definition();
    wanted.disks.push(DiskDefinition { target: "vdb".to_owned(), ..wanted.disks[0].clone() });
    let xml = domain_xml("example", &wanted, None).unwrap();
    let orders: Vec<_> = xml.split("<boot order='").skip(1).map(|rest| &rest[..1]).collect();
    assert_eq!(orders, ["1", "2", "3"]);
    let listed = xml.replace("<boot order='3'/>", "").replace("<type", "<boot dev='hd'/><type");
    wanted.nics.push(port(7));
    assert_eq!(domain_xml("example", &wanted, Some(&listed)).unwrap().matches("<boot order").count(), 2);
}

/// Elements of libvirt's and of nobody's, within each other as nobody would write them.
fn any_element() -> impl Strategy<Value = String> {
    const NAMES: [&str; 14] = [
        "memory",
        "currentMemory",
        "vcpu",
        "resource",
        "partition",
        "metadata",
        "os",
        "boot",
        "cpu",
        "numa",
        "x:y",
        "qemu:commandline",
        "description",
        "vcpus",
    ];
    let attributes =
        prop::sample::select(vec!["", " unit='MiB'", " a=\"'\"", " current = '3'", " xmlns:x='u'", " type='file'"]);
    let text = prop::sample::select(vec!["", "1", "&amp;", "<![CDATA[<]]>", "<!-- c -->", "\n  ", "<?p i?>", " 512 "]);
    let name = prop::sample::select(NAMES.to_vec());
    let leaf = (name.clone(), attributes.clone(), text.clone()).prop_map(|(name, attributes, text)| match text {
        "" => format!("<{name}{attributes}/>"),
        text => format!("<{name}{attributes}>{text}</{name}>"),
    });
    leaf.prop_recursive(3, 12, 4, move |inner| {
        (name.clone(), attributes.clone(), prop::collection::vec((inner, text.clone()), 0..4)).prop_map(
            |(name, attributes, inner)| {
                let inner: String = inner.into_iter().flat_map(|(element, text)| [element, text.to_owned()]).collect();
                format!("<{name}{attributes}>{inner}</{name}>")
            },
        )
    })
}

fn any_device() -> impl Strategy<Value = String> {
    let disk = (prop::sample::select(vec!["vda", "vdb", "sda"]), any::<bool>(), any::<bool>());
    let disk = disk.prop_map(|(target, driver, source)| {
        let driver = if driver { "<driver name='qemu' type='raw' cache=\"none\"/>" } else { "" };
        let source = if source { "<source file='/x'><seclabel/></source>" } else { "" };
        format!("<disk type='file' device='disk'>{driver}{source}<target dev='{target}' bus='sata'/></disk>")
    });
    let kind = prop::sample::select(vec!["bridge", "network", "user", "direct"]);
    let mac = prop::sample::select(vec!["", "52:54:00:00:00:01", "52:54:00:0A:0B:0C"]);
    let tap = prop::sample::select(vec!["", "vnet7", "bh-0123456789ab"]);
    let nic = (kind, mac, tap).prop_map(|(kind, mac, tap)| {
        let mac = if mac.is_empty() { String::new() } else { format!("<mac address='{mac}'/>") };
        let tap = if tap.is_empty() { String::new() } else { format!("<target dev=\"{tap}\"/>") };
        format!("<interface type='{kind}'>{mac}<source bridge='br9'/>{tap}</interface>")
    });
    prop_oneof![disk, nic, any_element()]
}

fn any_xml() -> impl Strategy<Value = String> {
    let devices = prop::option::of(prop::collection::vec(any_device(), 0..5));
    let others = || prop::collection::vec(any_element(), 0..5);
    (others(), devices, others()).prop_map(|(before, devices, after)| {
        let devices = devices.map(|devices| format!("<devices>\n  {}</devices>", devices.join("\n  ")));
        let (before, after) = (before.concat(), after.concat());
        format!(
            "<!-- a -->\n<domain type='kvm'>\n  <name>example</name>{before}{}{after}</domain>",
            devices.unwrap_or_default()
        )
    })
}

proptest! {
    #[test]
    fn any_definition_differs_in_our_facets_alone(xml in any_xml(), desired in samples::any_desired()) {
        let example = samples::definition();
        let found = read_domain(&xml).unwrap().definition.nics;
        let gone = found.iter().zip(example.declared(&found)).any(|(nic, declared)| nic.is_ours() && declared.is_none());
        // A second port with a name of ours goes, as another test shows.
        prop_assume!(!gone);
        holds_in(&xml, &example);
        for guest in &desired.guests {
            let mut wanted = Definition::of(guest, &desired.pools, &samples::host());
            wanted.nics.splice(..0, example.nics.clone());
            holds_in(&xml, &wanted);
        }
    }

    #[test]
    fn every_guest_of_a_manifest_is_read_back_as_it_was_written(desired in samples::any_desired()) {
        for guest in &desired.guests {
            let wanted = Definition::of(guest, &desired.pools, &samples::host());
            let xml = domain_xml(guest.name.as_str(), &wanted, None).unwrap();
            let read = read_domain(&xml).unwrap();
            prop_assert!(read.owned);
            prop_assert_eq!(wanted.differences(&read.definition), Vec::<String>::new());
            prop_assert_eq!(&read.definition, &wanted);
        }
    }
}
