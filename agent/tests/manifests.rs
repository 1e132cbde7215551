//! Manifests in folders: what each wrong one is told; what each right one is warned of and lowered to, in TOML, with every
//! value that a room is given.
//!
//! `UPDATE=1 cargo test -p bulkhead --test manifests` writes the expected texts; the diff is the review.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may stop at the first surprise, in its functions too

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead::manifest::{HostId, Level, Source, parse, read};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn folders(of: &str) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(root().join("tests/manifests").join(of)).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// The files of a manifest, called as they are within its folder.
fn sources(folder: &Path) -> Vec<Source> {
    let mut sources = read(folder).unwrap();
    for source in &mut sources {
        source.path = source.path.strip_prefix(folder).unwrap().to_owned();
    }
    sources
}

fn host() -> HostId {
    "0123456789abcdef0123456789abcdef".parse().unwrap()
}

/// Compares with the expected text, or writes it; says which folders differ.
fn compare(folder: &Path, found: &str, differ: &mut Vec<String>) {
    let file = folder.join("expected.txt");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, found).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    if expected != found {
        differ.push(format!("{}\n--- expected\n{expected}--- found\n{found}", folder.display()));
    }
}

#[test]
fn every_wrong_manifest_is_refused_with_its_expected_message() {
    let mut differ = Vec::new();
    let folders = folders("wrong");
    for folder in &folders {
        match parse(&sources(folder)) {
            Ok(_) => differ.push(format!("{}: not refused", folder.display())),
            Err(problems) => {
                assert!(problems.count(Level::Error) > 0);
                compare(folder, &problems.render(false), &mut differ);
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(folders.len() >= 25, "one folder for each kind of error: {}", folders.len());
}

#[test]
fn every_right_manifest_is_lowered_to_its_expected_text() {
    let mut differ = Vec::new();
    for folder in folders("right") {
        match parse(&sources(&folder)) {
            Err(problems) => differ.push(format!("{}\n{problems}", folder.display())),
            Ok(manifest) => {
                let lowered = toml::to_string(&manifest.lower(&host())).unwrap();
                compare(&folder, &(manifest.warnings().render(false) + &lowered), &mut differ);
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn every_example_is_right_without_a_warning() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let manifest = parse(&read(&path).unwrap()).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(manifest.warnings().is_empty(), "{}", manifest.warnings());
        count += 1;
    }
    assert!(count >= 2);
}

#[test]
fn every_manifest_in_the_readme_is_right_without_a_warning() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let blocks: Vec<&str> =
        readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    for text in &blocks {
        let source = Source { path: "README.md".into(), text: (*text).to_owned() };
        let manifest = parse(&[source]).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(manifest.warnings().is_empty(), "{}", manifest.warnings());
    }
    assert!(!blocks.is_empty());
}
