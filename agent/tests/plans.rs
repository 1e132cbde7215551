//! Plans in folders: what each manifest makes of an empty host, or of the one in `observed.toml`, as text that a reviewer reads.
//!
//! `UPDATE=1 cargo test -p bulkhead --test plans` writes the texts; the diff is the review.

#![allow(clippy::unwrap_used)] // a test may stop at the first surprise, in its functions too

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead::cli::plan::draw;
use bulkhead::manifest::{HostId, Manifest, parse, read};
use bulkhead::offline::{Observed, plan};
use bulkhead_policy::text;

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/plans");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

fn manifest(folder: &Path) -> Manifest {
    parse(&read(folder).unwrap()).map_err(|problems| problems.render(false)).unwrap()
}

/// Compares with the text in the folder, or writes it.
fn compare(file: &Path, found: &str, differ: &mut Vec<String>) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(file, found).unwrap();
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    if expected != found {
        differ.push(format!("{}\n--- expected\n{expected}--- found\n{found}", file.display()));
    }
}

fn host() -> HostId {
    "0123456789abcdef0123456789abcdef".parse().unwrap()
}

#[test]
fn every_manifest_is_planned_as_its_texts_say() {
    let mut differ = Vec::new();
    let folders = folders();
    for folder in &folders {
        let desired = manifest(folder).lower(&host());
        let file = folder.join("observed.toml");
        let observed = if file.exists() {
            Observed::read(&file, &desired, &host()).map_err(|error| error.to_string()).unwrap()
        } else {
            // What is observed changes nothing of the ruleset that is wanted.
            compare(&folder.join("ruleset.nft"), &text(&desired.policy), &mut differ);
            Observed::empty(&desired).unwrap()
        };
        compare(&folder.join("plan.txt"), &draw(&plan(&desired, observed), 80), &mut differ);
    }
    assert!(differ.is_empty(), "UPDATE=1 writes them anew; the diff is the review:\n{}", differ.join("\n"));
    assert!(folders.len() >= 13, "only {} folders were found", folders.len());
}

#[test]
fn what_is_planned_for_a_host_is_nothing_once_it_was_applied() {
    for folder in folders() {
        let desired = manifest(&folder).lower(&host());
        for ownable in [true, false] {
            let plan = plan(&desired, Observed::applied(&desired, &desired, ownable).unwrap());
            assert!(plan.steps.is_empty(), "{}\n{}", folder.display(), draw(&plan, 80));
        }
    }
}

#[test]
fn the_seed_that_is_planned_is_the_one_that_is_shipped() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    assert_eq!(text("tests/plans/seed/host.toml"), text("examples/seed.toml"));
    assert_eq!(text("tests/plans/two-guests/host.toml"), text("examples/two-guests.toml"));
}
