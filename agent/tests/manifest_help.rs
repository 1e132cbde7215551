//! What a message says to write, written: the problem must be gone then.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may stop at the first surprise, in its functions too

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead::manifest::{Problems, Source, parse, read};
use serde_json::Value;

/// Words that a person has to replace.
const PLACEHOLDERS: [&str; 4] = ["NAME", "SEGMENT", "TARGET", "..."];

fn problems(sources: &[Source]) -> Vec<Value> {
    let found = parse(sources).map_or_else(|problems| problems, |manifest| manifest.warnings().clone());
    let list: fn(&Problems) -> Value = |problems| serde_json::to_value(problems).unwrap();
    list(&found).as_array().unwrap().clone()
}

/// What the first help of a problem has instead of how much of the line, if that can be done by a machine: a value instead of
/// a value, a header instead of a line, or a line instead of one that is not TOML.
fn instead(problem: &Value) -> Option<(bool, String)> {
    let help = problem["help"][0].as_str()?.strip_prefix("write ")?;
    let text = problem["text"].as_str()?;
    if PLACEHOLDERS.iter().any(|word| help.contains(word)) {
        return None;
    }
    if help.starts_with('[') {
        return help.ends_with(']').then(|| (true, help.to_owned()));
    }
    if problem["message"].as_str()?.starts_with("this is not TOML") {
        return help.split_once(" = ").filter(|(key, _)| !key.contains(' ')).map(|_| (true, help.to_owned()));
    }
    let value = help.strip_prefix('"')?.split_once('"')?.0;
    let is_value = text.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit());
    is_value.then(|| (false, format!("\"{value}\"")))
}

/// The sources with the help applied.
fn applied(sources: &[Source], problem: &Value) -> Option<Vec<Source>> {
    let (whole_line, written) = instead(problem)?;
    let mut sources = sources.to_vec();
    let source = sources.iter_mut().find(|source| source.path == Path::new(problem["file"].as_str().unwrap()))?;
    let number = usize::try_from(problem["line"].as_u64()?).ok()? - 1;
    let start: usize = source.text.split_inclusive('\n').take(number).map(str::len).sum();
    let line = source.text[start..].lines().next()?.to_owned();
    let column = usize::try_from(problem["column"].as_u64()?).ok()? - 1;
    let at = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    let range =
        if whole_line { start..start + line.len() } else { start + at..start + at + problem["text"].as_str()?.len() };
    source.text.replace_range(range, &written);
    Some(sources)
}

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/manifests");
    let folders = ["wrong", "right"].map(|kind| fs::read_dir(root.join(kind)).unwrap());
    folders.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn what_the_help_says_is_right_when_it_is_written() {
    let mut tried = 0;
    let mut failed = String::new();
    for folder in folders() {
        let sources = read(&folder).unwrap();
        for problem in problems(&sources) {
            let Some(after) = applied(&sources, &problem) else { continue };
            tried += 1;
            // What is missing elsewhere, and warnings, are found once this is mended.
            let other = |other: &Value| {
                let message = other["message"].as_str().unwrap();
                let missing = message.ends_with("is not declared") || message.contains(" has no `");
                other["level"] == "warning" || missing
            };
            let same = |still: &&Value| {
                !other(still) && ["file", "line", "column"].iter().all(|key| still[key] == problem[key])
            };
            if let Some(still) = problems(&after).iter().find(same) {
                failed += &format!(
                    "{}\n  {}\n  help: {}\n  then: {}\n",
                    problem["file"], problem["message"], problem["help"][0], still["message"]
                );
            }
        }
    }
    assert!(failed.is_empty(), "{failed}");
    assert!(tried >= 30, "{tried} helps can be tried");
}
