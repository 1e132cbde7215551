//! What somebody else did with a guest: moved it, saved it to a file, kept its memory.

use super::*;
use crate::guest::model::{Away, Occupied};

#[test]
fn a_guest_that_moved_away_or_was_saved_to_a_file_is_not_started() {
    for (occupied, text) in [
        (Occupied::Away(Away::Migrated), "Held: is left alone: it moved to another host"),
        (Occupied::Away(Away::Saved), "Held: is left alone: its memory was saved to a file; `virsh restore FILE`"),
        (
            Occupied::Unknown("no".to_owned()),
            "Unknown: is left alone: whether libvirt is at work on it is not known: no",
        ),
    ] {
        let away = occupied.away();
        let plan = off(|domain| domain.occupied = Some(occupied));
        let noted = away.map(|away| format!("metadata example ({})", away.as_str()));
        assert_eq!(words(&plan), Vec::from_iter(noted));
        assert!(texts(&plan).contains(text), "{}", texts(&plan));
    }
    let here_again = off(|domain| domain.noted_away = Some(Away::Migrated));
    assert_eq!(words(&here_again), ["metadata example (here again)", "start example"]);
}

#[test]
fn saved_memory_goes_on_before_its_definition_changes_and_only_within_the_walls() {
    let saved = samples::definition();
    let resumed = off(|domain| {
        domain.definition.memory *= 2;
        domain.saved = Some(Ok(saved.clone()));
    });
    assert_eq!(words(&resumed), ["start example"]);
    let elsewhere = off(|domain| {
        let mut saved = saved;
        saved.nics[0].bridge = Some("virbr0".to_owned());
        domain.saved = Some(Ok(saved));
    });
    assert!(elsewhere.is_empty());
    assert!(texts(&elsewhere).contains("is in its saved memory, which `virsh managedsave-remove example` gives up"));
}
