//! The names of a guest's units, and back: the ownership predicate of this room.
//!
//! systemd nests slices at every `-`, so a `-` of a guest's name is escaped as `\x2d` (systemd.unit(5), "String escaping for
//! inclusion in unit names"). Everything else that a guest's name may hold stands for itself.

use bulkhead_types::GuestName;

const SLICE: (&str, &str) = ("machine-bulkhead-", ".slice");
const KEEPER: (&str, &str) = ("bulkhead-slice@", ".service");
const ESCAPED_DASH: &str = "\\x2d";

/// The slice that bounds a guest, such as `machine-bulkhead-web.slice`.
#[must_use]
pub fn slice(guest: &GuestName) -> String {
    named(SLICE, guest)
}

/// The service that keeps a guest's slice while the guest does not run, such as `bulkhead-slice@web.service`.
#[must_use]
pub fn keeper(guest: &GuestName) -> String {
    named(KEEPER, guest)
}

/// What `<resource><partition>` of the guest's domain says: libvirt makes the name of [`slice()`] of it, by turning `/` into `-`
/// and escaping `-` (its `virSystemdMakeSliceName`).
#[must_use]
pub fn partition(guest: &GuestName) -> String {
    format!("/machine/bulkhead/{guest}")
}

/// The guest of a slice, if the slice is one of ours: `None` for any name that [`slice()`] makes of no guest, such as one that
/// nests deeper.
#[must_use]
pub fn guest_of_slice(unit: &str) -> Option<GuestName> {
    guest(SLICE, unit)
}

/// The guest of a keeper, if it is one of ours.
#[must_use]
pub fn guest_of_keeper(unit: &str) -> Option<GuestName> {
    guest(KEEPER, unit)
}

fn named((prefix, suffix): (&str, &str), guest: &GuestName) -> String {
    format!("{prefix}{}{suffix}", guest.as_str().replace('-', ESCAPED_DASH))
}

fn guest((prefix, suffix): (&str, &str), unit: &str) -> Option<GuestName> {
    let escaped = unit.strip_prefix(prefix)?.strip_suffix(suffix)?;
    if escaped.contains('-') { None } else { escaped.replace(ESCAPED_DASH, "-").parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> GuestName {
        text.parse().unwrap()
    }

    #[test]
    fn a_dash_is_escaped_as_systemd_escape_and_libvirt_do() {
        // `systemd-escape web-1` prints web\x2d1, `systemd-escape a--b` prints a\x2d\x2db.
        assert_eq!(slice(&name("web")), "machine-bulkhead-web.slice");
        assert_eq!(slice(&name("web-1")), r"machine-bulkhead-web\x2d1.slice");
        assert_eq!(keeper(&name("a--b")), r"bulkhead-slice@a\x2d\x2db.service");
        assert_eq!(partition(&name("web-1")), "/machine/bulkhead/web-1");
    }

    #[test]
    fn a_name_that_we_would_not_make_is_not_ours() {
        for unit in [
            "machine.slice",
            "machine-bulkhead.slice",
            "machine-bulkhead-.slice",
            "machine-bulkhead-a-b.slice",
            r"machine-bulkhead-a\x2fb.slice",
            r"machine-bulkhead-\x2da.slice",
            "machine-bulkhead-Web.slice",
            "machine-bulkhead-web.service",
            r"machine-qemu\x2d1\x2dweb.scope",
        ] {
            assert_eq!(guest_of_slice(unit), None, "{unit}");
        }
        assert_eq!(guest_of_keeper("bulkhead-slice@.service"), None);
    }

    proptest::proptest! {
        #[test]
        fn a_name_comes_back_from_its_units(text in "[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?") {
            let guest = name(&text);
            proptest::prop_assert_eq!(guest_of_slice(&slice(&guest)), Some(guest.clone()));
            proptest::prop_assert_eq!(guest_of_keeper(&keeper(&guest)), Some(guest.clone()));
            // A unit's name is at most 255 bytes (UNIT_NAME_MAX).
            proptest::prop_assert!(slice(&guest).len() < 256);
        }
    }
}
