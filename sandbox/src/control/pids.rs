//! `pids.max`.

use super::{Facts, number, number_from_bus, number_to_bus};

pub(super) const FACTS: Facts = Facts {
    name: "pids",
    property: "TasksMax",
    file: "pids.max",
    grain: 1,
    parse: number,
    to_bus: number_to_bus,
    parse_bus: number_from_bus,
    assignment: |limit| limit.at().map_or_else(|| "TasksMax=infinity".to_owned(), |n| format!("TasksMax={n}")),
    text: |number| format!("{number} tasks"),
    lift: |_| None,
};
