//! Names and addresses that nobody wrote: derived, so that they are the same at every boot.

use std::path::Path;

use bulkhead_types::{GuestName, IfName, Mac, SegmentName};

use crate::regular;

/// Which host this is: the 16 bytes of `/etc/machine-id`. They key a hash and never leave it, as machine-id(5) asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HostId([u8; 16]);

/// A text that is not a machine id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not a machine id of 32 hex digits")]
pub struct HostIdError;

/// Why the host's identity is not known.
#[derive(Debug, thiserror::Error)]
#[error("cannot take this host's identity from {path}: {why}. Write one: systemd-machine-id-setup", path = HostId::PATH)]
pub struct IdentityError {
    why: String,
}

impl HostId {
    /// Where systemd keeps the id.
    pub const PATH: &'static str = "/etc/machine-id";

    /// This host's identity.
    ///
    /// # Errors
    /// [`IdentityError`] says what is wrong with the file, and what writes it.
    pub fn of_this_host() -> Result<Self, IdentityError> {
        Self::from_file(Path::new(Self::PATH))
    }

    pub(crate) fn from_file(path: &Path) -> Result<Self, IdentityError> {
        let bytes = regular::read(path, MOST_BYTES).map_err(|error| IdentityError { why: error.to_string() })?;
        String::from_utf8_lossy(&bytes).parse().map_err(|error: HostIdError| IdentityError { why: error.to_string() })
    }
}

/// Enough for the 32 digits and their line's end, whatever stands there instead.
const MOST_BYTES: u64 = 4096;

impl std::str::FromStr for HostId {
    type Err = HostIdError;
    fn from_str(text: &str) -> Result<Self, HostIdError> {
        let digits = text.trim_end();
        // from_str_radix alone would take a sign.
        if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(HostIdError);
        }
        match u128::from_str_radix(digits, 16) {
            Ok(id) if id != 0 => Ok(Self(id.to_be_bytes())),
            _ => Err(HostIdError),
        }
    }
}

impl std::fmt::Debug for HostId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostId(..)")
    }
}

/// The key of what is the same on every host, so that a guest keeps its names and addresses when it moves.
const ANYWHERE: [u8; 16] = *b"bulkhead.nic.v1\0";

fn nic_hash(guest: &GuestName, segment: &SegmentName) -> u64 {
    // Neither name can hold a `/`, so no two pairs make one text.
    siphash(&ANYWHERE, format!("{guest}/{}", segment).as_bytes())
}

/// The tap of a guest's NIC: `bh-` and 12 hex digits of a hash of guest and segment, 15 bytes as the kernel allows.
pub(crate) fn tap(guest: &GuestName, segment: &SegmentName) -> Option<IfName> {
    format!("bh-{:012x}", nic_hash(guest, segment) >> 16).parse().ok()
}

/// The MAC of a guest's NIC: QEMU's prefix 52:54:00 and the first three bytes of the same hash.
pub(crate) fn nic_mac(guest: &GuestName, segment: &SegmentName) -> Mac {
    let [a, b, c, ..] = nic_hash(guest, segment).to_be_bytes();
    Mac::local([0x52, 0x54, 0x00, a, b, c])
}

/// The MAC of a bridge: locally administered, six bytes of a hash of host and bridge. Two hosts have a `br20` on the same
/// wire, so the host's identity belongs into it.
pub(crate) fn bridge_mac(host: &HostId, bridge: &IfName) -> Mac {
    let [a, b, c, d, e, f, ..] = siphash(&host.0, format!("bridge/{bridge}").as_bytes()).to_be_bytes();
    Mac::local([a, b, c, d, e, f])
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash whose value tells nothing of its key. The standard library's
/// hasher does not promise to stay the same; this one is fixed by its test vectors.
fn siphash(key: &[u8; 16], message: &[u8]) -> u64 {
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let (k0, k1) = (word(&key[..8]), word(&key[8..]));
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let blocks = message.chunks_exact(8);
    let last = word(blocks.remainder()) | (message.len() as u64) << 56;
    for block in blocks.map(word).chain([last]) {
        v[3] ^= block;
        rounds(&mut v, 2);
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    rounds(&mut v, 4);
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn rounds(v: &mut [u64; 4], count: usize) {
    for _ in 0..count {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_siphash_2_4_by_its_published_vectors() {
        let key: [u8; 16] = std::array::from_fn(|i| i as u8);
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(siphash(&key, &message), 0xa129_ca61_49be_45e5);
        assert_eq!(siphash(&key, &[]), 0x726f_db47_dd0e_0e31);
        assert_eq!(siphash(&key, &message[..8]), 0x93f5_f579_9a93_2462);
    }

    #[test]
    fn a_bridge_differs_between_hosts_and_a_nic_does_not() {
        let host = |text: &str| text.parse::<HostId>().unwrap();
        let bridge: IfName = "br20".parse().unwrap();
        let one = bridge_mac(&host("0123456789abcdef0123456789abcdef\n"), &bridge);
        let other = bridge_mac(&host("1123456789abcdef0123456789abcdef"), &bridge);
        assert_ne!(one, other);
        assert_eq!(one.octets()[0] & 3, 2, "locally administered, one station");
        let (guest, segment) = ("web".parse().unwrap(), "lan".parse().unwrap());
        assert_eq!(tap(&guest, &segment).unwrap().as_str().len(), 15);
        assert!(nic_mac(&guest, &segment).to_string().starts_with("52:54:00:"));
    }

    #[test]
    fn a_host_without_an_identity_is_told_how_to_make_one() {
        let file = std::env::temp_dir().join(format!("bulkhead-machine-id-{}", std::process::id()));
        let said = HostId::from_file(&file).unwrap_err().to_string();
        assert!(said.starts_with("cannot take this host's identity from /etc/machine-id: No such file"), "{said}");
        assert!(said.ends_with("Write one: systemd-machine-id-setup"), "{said}");
        std::fs::write(&file, "uninitialized\n").unwrap();
        let said = HostId::from_file(&file).unwrap_err().to_string();
        assert!(said.contains("it is not a machine id of 32 hex digits. Write one"), "{said}");
        std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
        assert!(HostId::from_file(&file).is_ok());
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn what_is_no_machine_id_is_refused() {
        for text in ["", "uninitialized", "00000000000000000000000000000000", "+123456789abcdef0123456789abcdef0"] {
            assert_eq!(text.parse::<HostId>(), Err(HostIdError), "{text:?}");
        }
    }
}
