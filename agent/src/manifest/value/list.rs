//! Many values: lists, and tables whose keys are names.

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::{Refusal, Scalar};
use crate::manifest::location::{Located, Location};
use crate::manifest::problem::Problems;
use crate::manifest::read::{Node, Read, Table, wrong_kind, wrong_kind_for};

/// One value, or a list of values that differ. An element that could not be read is left out.
#[derive(Debug, Clone)]
pub(crate) struct List<T>(pub(crate) Vec<Located<T>>);

impl<T: Scalar + PartialEq> Read for List<T> {
    const WHAT: &'static str = <T as Scalar>::WHAT;
    const EXAMPLE: &'static str = <T as Scalar>::EXAMPLE;

    fn schema(_: &mut SchemaGenerator) -> Schema {
        let one = <T as Scalar>::json();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "uniqueItems": true }] })
    }

    fn read(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
        let mut list: Vec<Located<T>> = Vec::new();
        let Some(elements) = node.elements() else {
            return Some(Self(Located::<T>::read(node, problems).into_iter().collect()));
        };
        let mut empty = true;
        for element in elements {
            empty = false;
            let Some(at) = Located::<T>::read(&element, problems) else { continue };
            match list.iter().find(|earlier| earlier.value == at.value) {
                None => list.push(at),
                Some(earlier) => {
                    problems
                        .error(&at.location, format!("`{}` stands in the list already", at.location.key))
                        .label("again")
                        .also(&earlier.location, "first here")
                        .help("leave one of them out");
                }
            }
        }
        // An empty list would have to mean either nothing or anything, and nobody should have to guess which.
        if empty {
            problems
                .error(&node.location, format!("`{}` is an empty list", node.location.key))
                .help(format!("leave the key out, or write {}", <T as Scalar>::EXAMPLE));
        }
        Some(Self(list))
    }
}

/// `[[table]]` as often as it stands, in the order of the file.
#[derive(Debug, Clone)]
pub(crate) struct Many<T>(pub(crate) Vec<Located<T>>);

impl<T: Read> Read for Many<T> {
    const WHAT: &'static str = "a list of tables";
    const EXAMPLE: &'static str = "the header in two brackets, such as [[allow]], once for each";

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let one = T::schema(generator);
        json_schema!({ "type": "array", "items": one })
    }

    fn read(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
        if let DeValue::Table(_) = node.value {
            let key = &node.name.key;
            problems
                .error(&node.location, format!("`{key}` stands in single brackets, and there may be many"))
                .label("one of a list")
                .help(format!("write [[{key}]]"));
            return Some(Self(Located::read(node, problems).into_iter().collect()));
        }
        let Some(elements) = node.elements() else {
            wrong_kind::<Self>(node, problems);
            return None;
        };
        Some(Self(elements.filter_map(|node| Located::read(&node, problems)).collect()))
    }
}

/// Tables by their names, in the order of the files.
#[derive(Debug, Clone)]
pub(crate) struct Named<N, T>(pub(crate) Vec<Entry<N, T>>);

/// One table and its name.
#[derive(Debug, Clone)]
pub(crate) struct Entry<N, T> {
    /// The name.
    pub(crate) name: N,
    /// Where the name stands.
    pub(crate) location: Location,
    /// What is below it.
    pub(crate) table: T,
}

impl<N, T> Default for Named<N, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<N: Scalar + PartialEq, T> Named<N, T> {
    /// The table of that name.
    pub(crate) fn get(&self, name: &N) -> Option<&Entry<N, T>> {
        self.0.iter().find(|entry| entry.name == *name)
    }
}

impl<N: Scalar, T: Read + Table> Read for Named<N, T> {
    const WHAT: &'static str = "a table of names";
    const EXAMPLE: &'static str = T::HEADER;

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let (name, table) = (N::json(), T::schema(generator));
        json_schema!({ "type": "object", "propertyNames": name, "additionalProperties": table })
    }

    fn read(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
        let Some(entries) = node.entries() else {
            match (node.value, T::HEADER.strip_suffix(".NAME]")) {
                (DeValue::String(name), Some(header)) if N::text(name).is_ok() && !name.contains('.') => {
                    wrong_kind_for::<Self>(node, &format!("{header}.{name}]"), problems);
                }
                _ => wrong_kind::<Self>(node, problems),
            }
            return None;
        };
        let mut named = Vec::new();
        let mut misplaced = false;
        for (name, below) in entries {
            // A key of the tables below, without a name between: one word for all of them.
            if !matches!(below.value, DeValue::Table(_)) && T::keys().iter().any(|key| key.name == name) {
                if !std::mem::replace(&mut misplaced, true) {
                    nameless::<T>(node, &below, problems);
                }
                continue;
            }
            let node = below;
            let table = T::read(&node, problems);
            match (N::text(name), table) {
                (Ok(name), Some(table)) => named.push(Entry { name, location: node.name, table }),
                (Err(Refusal::Because(why, help)), _) => {
                    problems.error(&node.name, format!("the name of `{}` {why}", node.name.key)).help(help);
                }
                _ => {}
            }
        }
        Some(Self(named))
    }
}

fn nameless<T: Table>(node: &Node<'_>, below: &Node<'_>, problems: &mut Problems) {
    let name = T::HEADER.trim_end_matches(']').rsplit('.').next().unwrap_or("NAME");
    let what = if name == "NAME" { "a name".to_owned() } else { format!("the name of a {}", name.to_lowercase()) };
    problems
        .error(&below.name, format!("`{}` stands without {what} above it", below.name.key))
        .label(format!("a key of {}", T::HEADER))
        .help(format!("write [{}.{name}] above it, with {what} for {name}", node.name.key));
}
