//! Sizes with units.

use schemars::{Schema, json_schema};

use super::{Refusal, Scalar};

/// One mebibyte.
pub(crate) const MIB: u64 = 1 << 20;

const UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", MIB), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// A number of bytes, never 0, at most what a file can hold (2^63 - 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Scalar for Size {
    const WHAT: &'static str = "a size with a unit";
    const EXAMPLE: &'static str = "\"512 MiB\"";

    fn json() -> Schema {
        json_schema!({
            "type": "string",
            "description": "A whole number and a unit: KiB, MiB, GiB or TiB (1024 bytes, and so on).",
            "pattern": "^[0-9]+ ?(KiB|MiB|GiB|TiB)$",
            "examples": ["512 MiB", "20 GiB"],
        })
    }

    fn integer(number: i64) -> Result<Self, Refusal> {
        Err(unitless(u64::try_from(number).ok()))
    }

    fn float(number: f64) -> Result<Self, Refusal> {
        // What is negative or no number at all is 0 as an integer.
        Err(unitless(Some(number.ceil() as u64).filter(|_| number >= 1.0)))
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let digits = &text[..text.len() - unit.len()];
        let unit = unit.strip_prefix(' ').unwrap_or(unit);
        if digits.is_empty() {
            return Err(Refusal::because("is not a size", "write a whole number and a unit, such as \"512 MiB\""));
        }
        let Some((name, bytes)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
            return Err(no_unit(digits, unit));
        };
        let whole: Option<u64> = if digits.contains('.') { None } else { digits.parse().ok() };
        match whole.and_then(|number| number.checked_mul(bytes)) {
            Some(0) => Err(Refusal::because("is nothing", "write a size above 0, such as \"512 MiB\"")),
            Some(size) if i64::try_from(size).is_ok() => Ok(Self(size)),
            _ if digits.contains('.') => Err(Refusal::because("has a fraction", fraction(digits, name, bytes))),
            _ => Err(Refusal::because(
                "is more than a file can hold",
                "write a size that there is room for, such as \"20 GiB\"",
            )),
        }
    }
}

/// From here on a number without a unit is taken for KiB, as libvirt writes them: 64 GiB as MiB.
const LIKELY_KIB: u64 = 1 << 16;
/// From here on it is taken for bytes: 64 MiB, and 64 GiB as KiB.
const LIKELY_BYTES: u64 = 1 << 26;

/// A number alone, with what it probably means.
fn unitless(number: Option<u64>) -> Refusal {
    let help = match number {
        None | Some(0) => "write a whole number and a unit, such as \"512 MiB\"".to_owned(),
        Some(number) => {
            let (bytes, unit) = match number {
                ..LIKELY_KIB => (number * MIB, "MiB"),
                LIKELY_KIB..LIKELY_BYTES => (number << 10, "KiB"),
                _ => (number, "bytes"),
            };
            let size = show(bytes.div_ceil(MIB).saturating_mul(MIB));
            format!("write \"{size}\", if {number} is in {unit}: sizes carry units, KiB, MiB, GiB or TiB")
        }
    };
    Refusal::because("has no unit", help)
}

fn no_unit(digits: &str, unit: &str) -> Refusal {
    if unit.is_empty() {
        return unitless(digits.parse().ok());
    }
    let first = unit.chars().next().map(|c| c.to_ascii_uppercase());
    let meant = UNITS.iter().map(|(name, _)| *name).find(|name| name.chars().next() == first).unwrap_or("MiB");
    Refusal::because(
        format!("has the unit {unit:?}, which is none of KiB, MiB, GiB, TiB"),
        format!("write \"{digits} {meant}\" (units of 1024: 1 MiB = 1048576 bytes)"),
    )
}

/// What a fraction is in the next smaller unit: "1.5 GiB" is "1536 MiB".
fn fraction(digits: &str, name: &str, bytes: u64) -> String {
    let smaller = UNITS.iter().rev().find(|(_, size)| *size < bytes);
    match (smaller, digits.parse::<f64>()) {
        (Some((unit, _)), Ok(number)) if number < 1e9 => {
            format!("write \"{} {unit}\": sizes are whole numbers", (number * 1024.0).ceil())
        }
        _ => format!("write a whole number of {name}"),
    }
}

/// A size in the largest unit that divides it.
pub(crate) fn show(bytes: u64) -> String {
    let unit = UNITS.iter().rev().find(|(_, size)| bytes != 0 && bytes.is_multiple_of(*size));
    unit.map_or_else(|| format!("{bytes} bytes"), |(name, size)| format!("{} {name}", bytes / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<u64, (String, String)> {
        Size::text(text).map(|size| size.0).map_err(|refusal| match refusal {
            Refusal::Kind => (String::new(), String::new()),
            Refusal::Because(why, help) => (why, help),
        })
    }

    #[test]
    fn a_size_is_a_whole_number_of_binary_units() {
        assert_eq!(read("512 MiB"), Ok(512 << 20));
        assert_eq!(read("20GiB"), Ok(20 << 30));
        assert_eq!(show(664 << 20), "664 MiB");
        assert_eq!(show(20 << 30), "20 GiB");
    }

    #[test]
    fn a_decimal_unit_is_refused_with_the_binary_one_to_write() {
        let (why, help) = read("512 MB").unwrap_err();
        assert_eq!(why, "has the unit \"MB\", which is none of KiB, MiB, GiB, TiB");
        assert!(help.starts_with("write \"512 MiB\""), "{help}");
        assert!(read("2G").unwrap_err().1.starts_with("write \"2 GiB\""));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "MiB",
            "-5 MiB",
            "5",
            "0 MiB",
            "1.5 GiB",
            "99999999999999999999 TiB",
            "9000000 TiB",
            "5  MiB",
            "5 mib",
            "1.2.3 GiB",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert_eq!(read("1.5 GiB").unwrap_err().1, "write \"1536 MiB\": sizes are whole numbers");
    }
}
