//! What holds for any manifest: reading never panics, nothing is lost, and the same text means the same.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may stop at the first surprise, in its functions too

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bulkhead::manifest::{Desired, HostId, Level, Source, parse, read};
use proptest::prelude::*;

const EXAMPLES: [&str; 2] = [include_str!("../../examples/seed.toml"), include_str!("../../examples/two-guests.toml")];

/// Pieces that TOML or the manifest reads as something.
const PIECES: [&str; 24] = [
    "\"",
    "'",
    "[",
    "]",
    "[[",
    "{",
    "}",
    "=",
    ",",
    ".",
    "\n",
    "#",
    "0",
    "-1",
    "9e99",
    "nan",
    "1979-05-27",
    "é",
    "\u{1}",
    "\r",
    "[guest.example]\n",
    "\"\"\"",
    "from = \"host\"\n",
    "allow = 1\n",
];

fn host() -> HostId {
    "0123456789abcdef0123456789abcdef".parse().unwrap()
}

fn sources(texts: &[&str]) -> Vec<Source> {
    let path = |at: usize| PathBuf::from(format!("{at}.toml"));
    texts.iter().enumerate().map(|(at, text)| Source { path: path(at), text: (*text).to_owned() }).collect()
}

/// Reads and says everything that can be said of it.
fn exercise(texts: &[&str]) {
    match parse(&sources(texts)) {
        Ok(manifest) => {
            let desired = manifest.lower(&host());
            let again = parse(&sources(&[&manifest.text()])).unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(again.lower(&host()), desired);
        }
        Err(problems) => {
            assert!(problems.count(Level::Error) > 0);
            let _ = (problems.render(false), problems.render(true), serde_json::to_string(&problems).unwrap());
        }
    }
}

fn mutated() -> impl Strategy<Value = String> {
    let edit = (0..1000usize, 0..40usize, prop::sample::select(&PIECES[..]), any::<bool>());
    (prop::sample::select(&EXAMPLES[..]), prop::collection::vec(edit, 1..6)).prop_map(|(text, edits)| {
        let mut text: Vec<char> = text.chars().collect();
        for (at, cut, piece, insert) in edits {
            let at = at * text.len() / 1000;
            let end = (at + cut).min(text.len());
            text.splice(at..end, if insert { piece.chars().collect() } else { Vec::new() });
        }
        text.into_iter().collect()
    })
}

/// A manifest that is right, as one text a file: trunks, segments with or without the host, guests, allows.
fn right() -> impl Strategy<Value = Vec<String>> {
    let segments = prop::collection::vec((0..3usize, any::<bool>()), 1..8);
    let guests =
        prop::collection::vec((prop::collection::btree_set(0..8usize, 1..4), 1..64u64, 1..9u32, any::<bool>()), 0..8);
    (segments, guests).prop_map(|(segments, guests)| {
        let mut links = "trunk = { eth0 = {}, eth1 = {}, eth2 = {} }\n".to_owned();
        for (at, (trunk, host)) in segments.iter().enumerate() {
            let host = if *host { format!("host.address = \"10.0.{at}.1/24\"\n") } else { String::new() };
            links += &format!("[segment.s{at}]\ntrunk = \"eth{trunk}\"\nvlan = {}\n{host}", 100 + at);
        }
        let mut files = vec![links];
        for (at, (nics, memory, cpus, start)) in guests.iter().enumerate() {
            let mut text =
                format!("guest.g{at} = {{ memory = \"{memory} MiB\", vcpus = {cpus}, start = {start}, nic = {{ ");
            let nics: BTreeSet<usize> = nics.iter().map(|nic| nic % segments.len()).collect();
            let list: Vec<String> =
                nics.iter().map(|nic| format!("s{nic}.address = \"10.0.{nic}.{}\"", 10 + at)).collect();
            text += &format!("{} }} }}\n", list.join(", "));
            for nic in &nics {
                text += &format!(
                    "[[allow]]\nfrom = \"guest.g{at}\"\nto = [\"outside.s{nic}\", \"segment.s{nic}\"]\nicmp = true\n"
                );
            }
            files.push(text);
        }
        files
    })
}

fn lower(files: &[String]) -> Desired {
    let texts: Vec<&str> = files.iter().map(String::as_str).collect();
    parse(&sources(&texts)).unwrap_or_else(|problems| panic!("{problems}")).lower(&host())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_text_is_read_or_refused_and_never_panics(text in "\\PC{0,200}") {
        exercise(&[&text]);
    }

    #[test]
    fn a_damaged_manifest_is_read_or_refused_and_never_panics(text in mutated(), second in mutated()) {
        exercise(&[&text]);
        exercise(&[&text, &second]);
    }

    #[test]
    fn nothing_of_a_right_manifest_is_lost_and_everything_derived_is_unique(files in right()) {
        let desired = lower(&files);
        prop_assert_eq!(&desired, &lower(&files));
        let count = |word: &str| files.iter().map(|text| text.matches(word).count()).sum::<usize>();
        prop_assert_eq!(desired.netlink.segments.len(), count("[segment.s"));
        prop_assert_eq!(desired.policy.bridges.len(), count("[segment.s"));
        prop_assert_eq!(desired.guest.guests.len(), count("guest.g") - count("from = \"guest.g"));
        prop_assert_eq!(desired.sandbox.guests.len(), desired.guest.guests.len());
        prop_assert_eq!(desired.policy.allows.len(), 2 * count("[[allow]]"));
        prop_assert_eq!(desired.policy.nics.len(), count("[[allow]]"));
        prop_assert_eq!(desired.netlink.ports.len(), desired.policy.nics.len());
        let macs: BTreeSet<_> = desired.policy.bridges.iter().map(|b| b.mac).chain(desired.policy.nics.iter().map(|n| n.mac)).collect();
        prop_assert_eq!(macs.len(), desired.policy.bridges.len() + desired.policy.nics.len());
    }

    #[test]
    fn many_files_as_one_text_mean_the_same(files in right()) {
        let texts: Vec<&str> = files.iter().map(String::as_str).collect();
        let manifest = parse(&sources(&texts)).unwrap_or_else(|problems| panic!("{problems}"));
        prop_assert_eq!(lower(&[manifest.text()]), manifest.lower(&host()));
    }
}

#[test]
fn no_file_at_all_is_a_manifest_of_nothing() {
    let manifest = parse(&[]).unwrap();
    assert!(manifest.warnings().render(false).starts_with("warning: the manifest declares nothing"));
    assert_eq!(manifest.lower(&host()), Desired::default());
}

#[test]
fn a_problem_is_also_told_as_json() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/manifests/wrong/mac-clash");
    let problems = parse(&read(&folder).unwrap()).unwrap_err();
    let json = serde_json::to_value(&problems).unwrap();
    let first = &json[0];
    assert_eq!(first["level"], "error");
    assert!(first["file"].as_str().unwrap().ends_with("mac-clash/host.toml"), "{first}");
    assert_eq!((first["line"].as_u64(), first["column"].as_u64()), (Some(13), Some(46)));
    assert_eq!(first["key"], "guest.db.nic.lan.mac");
    assert_eq!(first["text"], "\"52:54:00:12:34:56\"");
    assert_eq!(first["message"], "guest.web.nic.lan and guest.db.nic.lan have the same MAC 52:54:00:12:34:56");
    assert_eq!(first["also"][0]["line"], 9);
    assert_eq!(first["help"][0], "leave it out: then it is derived");
}
