//! A rule as a value, written in nft's words by `Display`; [`crate::wire`] makes JSON of it.

mod field;

use std::fmt;

use ipnet::IpNet;

pub(crate) use self::field::*;

/// What a field is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Word(String),
    Number(u32),
    Range(u16, u16),
    Net(IpNet),
    /// As many words as there are fields.
    Words(Vec<String>),
}

/// The right side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Right {
    Is(Value),
    Exists,
    /// An anonymous set.
    Among(Vec<Value>),
    /// A named set.
    In(&'static str),
    /// Any of these bits, in the order of the bits.
    Bits(&'static [&'static str]),
}

/// Where the packet goes from here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Ends this base chain, not the others of the hook.
    Accept,
    Drop,
    Jump(String),
    Goto(String),
}

/// One expression of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    Match(Vec<Field>, Right),
    /// An IPv4 packet that is a part of one: more follow, or some came before (RFC 791, 3.1).
    Ipv4Fragment,
    /// Counts in a named counter.
    Count(String),
    Verdict(Verdict),
    /// A verdict out of a named map, or none.
    Lookup(Vec<Field>, &'static str),
    /// A chain out of an anonymous map, or none.
    Choose(Field, &'static [(&'static str, &'static str)]),
    /// The conntrack zone by the bridge.
    Zone(Vec<(String, u16)>),
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rule(pub(crate) Vec<Statement>);

impl Rule {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn with(mut self, statement: Statement) -> Self {
        self.0.push(statement);
        self
    }

    pub(crate) fn is(self, field: Field, word: &str) -> Self {
        self.with(Statement::Match(vec![field], Right::Is(Value::Word(word.to_owned()))))
    }

    pub(crate) fn number(self, field: Field, number: u32) -> Self {
        self.with(Statement::Match(vec![field], Right::Is(Value::Number(number))))
    }

    pub(crate) fn protocol(self, protocol: Protocol) -> Self {
        self.number(L4PROTO, protocol.number())
    }

    /// One of the words; a set of one would be listed as that one.
    pub(crate) fn one_of(self, field: Field, words: &[&str]) -> Self {
        let values = words.iter().map(|word| Value::Word((*word).to_owned())).collect();
        self.values(field, values)
    }

    pub(crate) fn values(self, field: Field, mut values: Vec<Value>) -> Self {
        let right = if values.len() == 1 { Right::Is(values.remove(0)) } else { Right::Among(values) };
        self.with(Statement::Match(vec![field], right))
    }

    pub(crate) fn bits(self, field: Field, bits: &'static [&'static str]) -> Self {
        self.with(Statement::Match(vec![field], Right::Bits(bits)))
    }

    pub(crate) fn within(self, fields: &[Field], set: &'static str) -> Self {
        self.with(Statement::Match(fields.to_vec(), Right::In(set)))
    }

    pub(crate) fn among(self, fields: &[Field], rows: Vec<Vec<String>>) -> Self {
        let values = rows.into_iter().map(Value::Words).collect();
        self.with(Statement::Match(fields.to_vec(), Right::Among(values)))
    }

    /// Conntrack puts fragments together after `arriving`; what still is one behind it stays one.
    pub(crate) fn ipv6_fragment(self) -> Self {
        self.with(Statement::Match(vec![Field::Fragment], Right::Exists))
    }

    pub(crate) fn ipv4_fragment(self) -> Self {
        self.with(Statement::Ipv4Fragment)
    }

    pub(crate) fn net(self, field: Field, net: IpNet) -> Self {
        self.with(Statement::Match(vec![field], Right::Is(Value::Net(net))))
    }

    pub(crate) fn udp(self, source: u32, destination: u32) -> Self {
        self.number(Field::Payload(Header::Udp, "sport"), source).number(UDP_DPORT, destination)
    }

    pub(crate) fn lookup(fields: &[Field], map: &'static str) -> Self {
        Self::new().then_lookup(fields, map)
    }

    pub(crate) fn then_lookup(self, fields: &[Field], map: &'static str) -> Self {
        self.with(Statement::Lookup(fields.to_vec(), map))
    }

    pub(crate) fn choose(field: Field, cases: &'static [(&'static str, &'static str)]) -> Self {
        Self::new().with(Statement::Choose(field, cases))
    }

    pub(crate) fn zone(self, zones: Vec<(String, u16)>) -> Self {
        self.with(Statement::Zone(zones))
    }

    pub(crate) fn count(self, counter: &str) -> Self {
        self.with(Statement::Count(counter.to_owned()))
    }

    pub(crate) fn accept(self) -> Self {
        self.with(Statement::Verdict(Verdict::Accept))
    }

    /// Comes back where the chain decides nothing.
    pub(crate) fn jump(self, chain: &str) -> Self {
        self.with(Statement::Verdict(Verdict::Jump(chain.to_owned())))
    }

    pub(crate) fn goto(self, chain: &str) -> Self {
        self.with(Statement::Verdict(Verdict::Goto(chain.to_owned())))
    }

    /// Counts and drops.
    pub(crate) fn drop(self, counter: &str) -> Self {
        self.count(counter).with(Statement::Verdict(Verdict::Drop))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Number(number) => number.fmt(f),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::Net(net) => net.fmt(f),
            Self::Words(words) => f.write_str(&words.join(" . ")),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Match(left, right) => {
                write!(f, "{} ", list(left, " . "))?;
                match right {
                    Right::Is(value) => value.fmt(f),
                    Right::Exists => f.write_str("exists"),
                    Right::Among(values) => write!(f, "{{ {} }}", list(values, ", ")),
                    Right::In(set) => write!(f, "@{set}"),
                    Right::Bits(bits) => f.write_str(&bits.join(",")),
                }
            }
            Self::Ipv4Fragment => write!(f, "ip frag-off & {FRAGMENT_BITS:#x} != 0"),
            Self::Count(counter) => write!(f, "counter name {counter}"),
            Self::Verdict(verdict) => verdict.fmt(f),
            Self::Lookup(key, map) => write!(f, "{} vmap @{map}", list(key, " . ")),
            Self::Choose(key, cases) => {
                let cases: Vec<String> = cases.iter().map(|(value, chain)| format!("{value} : goto {chain}")).collect();
                write!(f, "{key} vmap {{ {} }}", cases.join(", "))
            }
            Self::Zone(zones) => {
                let zones: Vec<String> = zones.iter().map(|(bridge, zone)| format!("{bridge} : {zone}")).collect();
                write!(f, "ct zone set meta ibrname map {{ {} }}", zones.join(", "))
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&list(&self.0, " "))
    }
}

/// Values side by side.
pub(crate) fn list<T: ToString>(values: &[T], between: &str) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}
