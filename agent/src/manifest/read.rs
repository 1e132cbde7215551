//! Reads a parsed document into the wire types. Nothing stops at the first error: every value is read, whatever stands
//! beside it, and what could not be read is left out after a problem was noted.

use schemars::{Schema, SchemaGenerator};
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::location::{Located, Location};
use super::problem::Problems;
use super::spell::nearest;

/// A value of the document and where it stands.
pub(crate) struct Node<'a> {
    pub(crate) value: &'a DeValue<'a>,
    /// The value itself.
    pub(crate) location: Location,
    /// Its name: the key before `=` or in the header, which is where a person looks for a table.
    pub(crate) name: Location,
}

impl<'a> Node<'a> {
    fn of(value: &'a Spanned<DeValue<'a>>, name: Location) -> Self {
        Self { value: value.get_ref(), location: Location { span: value.span(), ..name.clone() }, name }
    }

    /// The elements of an array, each named by its number from 0; `None` if it is something else.
    pub(crate) fn elements(&self) -> Option<impl Iterator<Item = Node<'a>>> {
        let DeValue::Array(array) = self.value else { return None };
        let key = self.location.key.clone();
        let file = self.location.file;
        Some(array.iter().enumerate().map(move |(at, value)| {
            Node::of(value, Location { file, span: value.span(), key: format!("{key}[{at}]") })
        }))
    }

    /// The values of a table, in the order of the file; `None` if it is something else.
    pub(crate) fn entries(&self) -> Option<Vec<(&'a str, Node<'a>)>> {
        let DeValue::Table(table) = self.value else { return None };
        Some(in_order(table, &self.location))
    }
}

pub(crate) fn in_order<'a>(table: &'a DeTable<'a>, of: &Location) -> Vec<(&'a str, Node<'a>)> {
    // A value that TOML could not read is filled in by something that stands nowhere.
    let stands =
        |value: &Spanned<DeValue<'_>>| !value.span().is_empty() || !matches!(value.get_ref(), DeValue::Integer(_));
    let mut entries: Vec<_> = table
        .iter()
        .filter(|(_, value)| stands(value))
        .map(|(key, value)| (key.get_ref().as_ref(), Node::of(value, of.child(key.get_ref(), key.span()))))
        .collect();
    entries.sort_by_key(|(_, node)| node.name.span.start);
    entries
}

/// What can be read from a value of the document.
pub(crate) trait Read: Sized {
    /// What it is, after "is not": `a number from 1 to 4094`.
    const WHAT: &'static str;
    /// How it is written in TOML.
    const EXAMPLE: &'static str;

    /// The same, as a JSON Schema.
    fn schema(generator: &mut SchemaGenerator) -> Schema;
    /// Reads it; after `None` at least one problem was noted.
    fn read(node: &Node<'_>, problems: &mut Problems) -> Option<Self>;
}

impl<T: Read> Read for Located<T> {
    const WHAT: &'static str = T::WHAT;
    const EXAMPLE: &'static str = T::EXAMPLE;

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        T::schema(generator)
    }

    fn read(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
        T::read(node, problems).map(|value| Located { value, location: node.location.clone() })
    }
}

/// Notes that a value is of another kind than wanted.
pub(crate) fn wrong_kind<T: Read>(node: &Node<'_>, problems: &mut Problems) {
    wrong_kind_for::<T>(node, T::EXAMPLE, problems);
}

/// The same, where it is known what was meant.
pub(crate) fn wrong_kind_for<T: Read>(node: &Node<'_>, meant: &str, problems: &mut Problems) {
    let kind = match node.value {
        DeValue::String(_) => "a text in quotes",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    problems
        .error(&node.location, format!("`{}` is {kind}, not {}", node.location.key, T::WHAT))
        .label(format!("this is {kind}"))
        .help(format!("write {meant}"));
}

/// One key of a table, as the reader, the schema and the reference page know it.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) required: bool,
    /// How the key's value is written.
    pub(crate) example: &'static str,
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
}

/// A table of the manifest with keys known in advance, declared with [`table!`].
pub(crate) trait Table: Default {
    /// How messages call it: `[segment.NAME]`.
    const HEADER: &'static str;
    /// What it is for.
    const DOC: &'static str;
    /// Its keys, in the order of the reference page.
    fn keys() -> &'static [Key];
}

/// Declares a table once: the struct that the reader fills, and the keys that reader, schema and reference page share.
/// Each field holds what could be read; `required` keys that are not there were noted as problems.
macro_rules! table {
    (
        $(#[doc = $doc:literal])+
        $header:literal $name:ident {
            $( $(#[doc = $about:literal])+ $need:ident $key:literal = $field:ident: $type:ty, )*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Default)]
        pub(crate) struct $name {
            $( $(#[doc = $about])+ pub(crate) $field: Option<$crate::manifest::location::Located<$type>>, )*
        }

        impl $crate::manifest::read::Table for $name {
            const HEADER: &'static str = $header;
            const DOC: &'static str = concat!($($doc, "\n"),+);
            fn keys() -> &'static [$crate::manifest::read::Key] {
                const KEYS: &[$crate::manifest::read::Key] = &[$( $crate::manifest::read::Key {
                    name: $key,
                    doc: concat!($($about, "\n"),+),
                    required: $crate::manifest::read::need!($need),
                    example: <$type as $crate::manifest::read::Read>::EXAMPLE,
                    schema: <$type as $crate::manifest::read::Read>::schema,
                } ),*];
                KEYS
            }
        }

        impl $crate::manifest::read::Read for $name {
            const WHAT: &'static str = "a table";
            const EXAMPLE: &'static str = concat!("{ ... } with the keys of ", $header);
            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                generator.subschema_for::<Self>()
            }
            fn read(
                node: &$crate::manifest::read::Node<'_>,
                problems: &mut $crate::manifest::problem::Problems,
            ) -> Option<Self> {
                #[allow(unused_mut)] // a table without keys has nothing to fill
                let mut read = Self::default();
                let Some(entries) = node.entries() else {
                    return $crate::manifest::read::not_a_table(node, problems).or(Some(read));
                };
                for (key, node) in &entries {
                    match *key {
                        $( $key => read.$field = $crate::manifest::read::Read::read(node, problems), )*
                        _ => $crate::manifest::read::unknown::<Self>(key, node, problems),
                    }
                }
                $crate::manifest::read::missing::<Self>(&entries, node, problems);
                Some(read)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::manifest::schema::of_table::<Self>(generator)
            }
        }
    };
}

macro_rules! need {
    (required) => {
        true
    };
    (optional) => {
        false
    };
}

pub(crate) use {need, table};

/// Notes that something else stands where a table belongs. A list of tables is read by its first, so that what is wrong
/// below it is said as well.
pub(crate) fn not_a_table<T: Read + Table>(node: &Node<'_>, problems: &mut Problems) -> Option<T> {
    let mut elements = node.elements().into_iter().flatten();
    let Some(first) = elements.next().filter(|first| matches!(first.value, DeValue::Table(_))) else {
        wrong_kind::<T>(node, problems);
        return None;
    };
    let key = &node.name.key;
    problems
        .error(&node.location, format!("`{key}` stands in two brackets, which begin a list"))
        .label("this is a list")
        .help(format!("write [{key}]"));
    for again in elements {
        problems
            .error(&again.location, format!("`{key}` is declared twice"))
            .label("again")
            .also(&node.location, "first here")
            .help("put its keys below the first header, and leave this one out");
    }
    T::read(&Node { value: first.value, location: node.location.clone(), name: node.name.clone() }, problems)
}

/// The key that is meant by one that other tools have, and what to write.
fn meant<T: Table>(key: &str) -> Option<(&'static str, &'static str)> {
    let words: &[(&[&str], &str, &str)] = match T::HEADER {
        "[[allow]]" => &[
            (
                &["proto", "protocol", "port", "ports", "dport"],
                "tcp",
                "write the protocol as the key and its ports as the value: tcp = 443, or udp = 53",
            ),
            (&["src", "source"], "from", "write `from`"),
            (&["dst", "dest", "destination"], "to", "write `to`"),
        ],
        "[segment.NAME]" => &[
            (&["id", "tag", "vid"], "vlan", "write `vlan`"),
            (
                &["address", "gateway", "dns", "metric"],
                "host",
                "write it in `host`: host = { address = [\"10.13.37.30/24\"] }",
            ),
        ],
        "[segment.NAME.host]" => {
            &[(&["ip", "ips"], "address", "write `address`"), (&["nameserver", "nameservers"], "dns", "write `dns`")]
        }
        "[guest.NAME]" => &[
            (&["ram"], "memory", "write `memory`"),
            (&["cpu", "cpus"], "vcpus", "write `vcpus`"),
            (
                &["address", "network", "interface"],
                "nic",
                "write it in a NIC: nic.SEGMENT = { address = [\"10.13.37.40\"] }",
            ),
        ],
        "[guest.NAME.nic.SEGMENT]" => &[(&["ip", "ips"], "address", "write `address`")],
        _ => &[],
    };
    words.iter().find(|(words, ..)| words.contains(&key)).map(|(_, key, help)| (*key, *help))
}

pub(crate) fn unknown<T: Table>(key: &str, node: &Node<'_>, problems: &mut Problems) {
    let names: Vec<&str> = T::keys().iter().map(|key| key.name).collect();
    let problem = problems.error(&node.name, format!("`{}` is not a key of {}", node.name.key, T::HEADER));
    match (meant::<T>(key), nearest(key, names.iter().copied())) {
        (Some((_, help)), _) => problem.label("unknown key").help(help),
        (None, Some(name)) => problem.label("unknown key").help(format!("write `{name}`, if that is what is meant")),
        (None, None) => problem.label("unknown key"),
    };
    if names.is_empty() {
        // An interface's name may have a dot, which TOML reads as a step down.
        match (node.value, node.name.key.split_once('.')) {
            (DeValue::Table(_), Some((kind, name))) => {
                problem.label("a name with a dot stands in quotes").help(format!("write [{kind}.{name:?}]"))
            }
            _ => problem.help(format!("leave it out: {} has no keys", T::HEADER)),
        };
    } else {
        problem.help(format!("the keys of {} are {}", T::HEADER, names.join(", ")));
    }
}

pub(crate) fn missing<T: Table>(entries: &[(&str, Node<'_>)], node: &Node<'_>, problems: &mut Problems) {
    let names = || T::keys().iter().map(|key| key.name);
    // A slip in a key was noted with the key that is meant; that this one is missing needs no second word.
    let meant: Vec<_> = entries
        .iter()
        .filter(|(name, _)| !names().any(|key| key == *name))
        .filter_map(|(name, _)| meant::<T>(name).map(|(key, _)| key).or_else(|| nearest(name, names())))
        .collect();
    let there = |name: &str| meant.contains(&name) || entries.iter().any(|(entry, _)| *entry == name);
    for key in T::keys().iter().filter(|key| key.required && !there(key.name)) {
        problems
            .absent(&node.name, format!("`{}` has no `{}`", node.name.key, key.name))
            .label(format!("`{}` is missing", key.name))
            .help(format!("write {} = {}", key.name, key.example));
    }
}
