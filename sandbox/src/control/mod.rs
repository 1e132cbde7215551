//! The controls that bound a guest: the table, and a file for each that has all there is to know of it.
//!
//! Everything else goes through this table: what is set, read back, planned, printed and told. A new control is a file here and
//! its three words in the table; the compiler then asks what of the manifest it is made of.

mod cpu;
mod memory;
mod pids;

use std::fmt;
use std::ops::Index;

use bulkhead_types::{GuestName, Limit};
use cgroups_rs::{MaxValue, parse_max_value};
use serde::ser::{Serialize, SerializeMap, Serializer};
use zbus::{OwnedVariant, Variant};

/// Something that a cgroup bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// Guest RAM and QEMU's own together, in bytes.
    Memory,
    /// Microseconds of CPU time a second: 1 500 000 is one and a half CPUs.
    Cpu,
    /// Processes and threads.
    Pids,
}

/// What there is to know of a control.
struct Facts {
    /// The controller's name in `cgroup.controllers`; the manifest's key below `limits` is the same.
    name: &'static str,
    /// The property of a slice (systemd.resource-control(5)), as D-Bus has it.
    property: &'static str,
    /// The file in which the kernel shows it (Documentation/admin-guide/cgroup-v2.rst).
    file: &'static str,
    /// What its number is a multiple of, because kernel or systemd hold nothing finer.
    grain: u64,
    /// From the file's text; `None` when the text is something else.
    parse: fn(&str) -> Option<Limit>,
    /// To the property's value.
    to_bus: fn(Limit) -> Variant<'static>,
    /// From the property's value; `None` when that is of another type.
    parse_bus: fn(&OwnedVariant) -> Option<Limit>,
    /// As `systemctl set-property` takes it.
    assignment: fn(Limit) -> String,
    /// A number with its unit, for people.
    text: fn(u64) -> String,
    /// The words of `virsh` that lift what libvirt wrote into its own group; empty where libvirt writes nothing.
    lift: fn(&GuestName) -> Option<String>,
}

impl Control {
    /// Every control.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    const fn facts(self) -> &'static Facts {
        match self {
            Self::Memory => &memory::FACTS,
            Self::Cpu => &cpu::FACTS,
            Self::Pids => &pids::FACTS,
        }
    }

    /// Its name, the kernel's and the manifest's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// What its number is a multiple of.
    #[must_use]
    pub const fn grain(self) -> u64 {
        self.facts().grain
    }

    /// A number of it with its unit, for people.
    #[must_use]
    pub fn text(self, number: u64) -> String {
        (self.facts().text)(number)
    }

    pub(crate) const fn property(self) -> &'static str {
        self.facts().property
    }

    pub(crate) const fn file(self) -> &'static str {
        self.facts().file
    }

    pub(crate) fn parse(self, text: &str) -> Option<Limit> {
        (self.facts().parse)(text.trim_end())
    }

    pub(crate) fn to_bus(self, limit: Limit) -> Variant<'static> {
        (self.facts().to_bus)(limit)
    }

    pub(crate) fn parse_bus(self, value: &OwnedVariant) -> Option<Limit> {
        (self.facts().parse_bus)(value)
    }

    pub(crate) fn assignment(self, limit: Limit) -> String {
        (self.facts().assignment)(limit)
    }

    pub(crate) fn lift(self, guest: &GuestName) -> Option<String> {
        (self.facts().lift)(guest)
    }

    /// The limit as kernel and systemd can hold it: rounded down to a grain, never to nothing.
    #[must_use]
    pub fn rounded(self, limit: Limit) -> Limit {
        let grain = self.grain();
        match limit {
            Limit::At(number) => Limit::At((number - number % grain).max(grain)),
            Limit::Max => Limit::Max,
        }
    }
}

/// One thing for each control.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct PerControl<T>([T; Control::ALL.len()]);

impl<T> PerControl<T> {
    /// What `each` says of every control.
    pub fn from_fn(each: impl FnMut(Control) -> T) -> Self {
        Self(Control::ALL.map(each))
    }

    /// What `each` says of every control, or why it cannot say it of one.
    ///
    /// # Errors
    /// The first of `each`.
    pub fn try_from_fn<E>(mut each: impl FnMut(Control) -> Result<T, E>) -> Result<Self, E>
    where
        T: Default,
    {
        let mut all = Self::default();
        for (control, value) in Control::ALL.into_iter().zip(&mut all.0) {
            *value = each(control)?;
        }
        Ok(all)
    }

    /// The same, with another value for one control.
    #[must_use]
    pub fn with(mut self, control: Control, value: T) -> Self {
        self.0[control as usize] = value;
        self
    }

    /// Every control with what there is for it.
    pub fn iter(&self) -> impl Iterator<Item = (Control, &T)> {
        Control::ALL.into_iter().zip(&self.0)
    }
}

impl<T> Index<Control> for PerControl<T> {
    type Output = T;
    fn index(&self, control: Control) -> &T {
        // `ALL` is in the order of the enum; a test compares.
        &self.0[control as usize]
    }
}

impl<T: fmt::Debug> fmt::Debug for PerControl<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(control, value)| (control.name(), value))).finish()
    }
}

impl<T: Serialize> Serialize for PerControl<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (control, value) in self.iter() {
            map.serialize_entry(control.name(), value)?;
        }
        map.end()
    }
}

/// `max` or a number.
fn number(text: &str) -> Option<Limit> {
    match parse_max_value(text).ok()? {
        MaxValue::Max => Some(Limit::Max),
        MaxValue::Value(number) => u64::try_from(number).ok().map(Limit::At),
    }
}

/// "infinity" on the bus.
const INFINITY: u64 = u64::MAX;

fn number_to_bus(limit: Limit) -> Variant<'static> {
    limit.at().unwrap_or(INFINITY).into()
}

fn number_from_bus(value: &OwnedVariant) -> Option<Limit> {
    let number = u64::try_from(value).ok()?;
    Some(if number == INFINITY { Limit::Max } else { Limit::At(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_is_found_under_itself() {
        for (index, control) in Control::ALL.into_iter().enumerate() {
            assert_eq!(control as usize, index, "{}", control.name());
        }
        assert_eq!(PerControl::from_fn(Control::name)[Control::Pids], "pids");
    }

    #[test]
    fn a_limit_is_rounded_down_to_a_grain_and_never_to_nothing() {
        assert_eq!(Control::Memory.rounded(Limit::At(805_306_369)), Limit::At(805_306_368));
        assert_eq!(Control::Cpu.rounded(Limit::At(1_259_999)), Limit::At(1_250_000));
        assert_eq!(Control::Cpu.rounded(Limit::At(1)), Limit::At(10_000));
        assert_eq!(Control::Pids.rounded(Limit::At(0)), Limit::At(1));
        for control in Control::ALL {
            assert_eq!(control.rounded(Limit::Max), Limit::Max);
        }
    }

    #[test]
    fn a_limit_comes_back_from_the_bus() {
        for control in Control::ALL {
            for limit in [Limit::Max, Limit::At(420_000)] {
                let value = OwnedVariant::try_from(control.to_bus(limit)).unwrap();
                assert_eq!(control.parse_bus(&value), Some(limit), "{}", control.name());
            }
            let text = OwnedVariant::try_from(Variant::from("many")).unwrap();
            assert_eq!(control.parse_bus(&text), None);
        }
    }

    #[test]
    fn the_kernel_s_files_become_limits_and_anything_else_does_not() {
        assert_eq!(Control::Memory.parse("805306368\n"), Some(Limit::At(805_306_368)));
        assert_eq!(Control::Memory.parse("max\n"), Some(Limit::Max));
        assert_eq!(Control::Cpu.parse("150000 100000\n"), Some(Limit::At(1_500_000)));
        assert_eq!(Control::Cpu.parse("max 100000\n"), Some(Limit::Max));
        assert_eq!(Control::Pids.parse("256\n"), Some(Limit::At(256)));
        for (control, text) in [
            (Control::Memory, ""),
            (Control::Memory, "-1\n"),
            (Control::Cpu, "150000\n"),
            (Control::Cpu, "150000 0\n"),
            (Control::Cpu, "150000 100000 7\n"),
            (Control::Pids, "many\n"),
        ] {
            assert_eq!(control.parse(text), None, "{} {text:?}", control.name());
        }
    }

    #[test]
    fn a_number_is_told_with_its_unit() {
        assert_eq!(Control::Memory.text(768 << 20), "768 MiB");
        assert_eq!(Control::Memory.text(2 << 30), "2 GiB");
        assert_eq!(Control::Memory.text((1 << 20) + 4096), "1028 KiB");
        assert_eq!(Control::Cpu.text(1_000_000), "1 CPU");
        assert_eq!(Control::Cpu.text(1_250_000), "1.25 CPU");
        assert_eq!(Control::Pids.text(256), "256 tasks");
    }
}
