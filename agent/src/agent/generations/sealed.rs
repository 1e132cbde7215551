//! A generation's text with its checksum in the first line, so that one that was cut short or written over is known.

use crate::checksum::sha256;

/// How the first line begins. A comment: the file is a manifest all the same.
const SEAL: &str = "# sha256 of the lines below: ";

/// Why a file is not the generation that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    /// Its bytes are no text.
    #[error("it is damaged: its bytes are not UTF-8")]
    Encoding,
    /// Its text is not the one that was written.
    #[error("it is damaged: its text does not have the checksum of its first line")]
    Checksum,
}

/// The file of a text.
pub(super) fn seal(text: &str) -> String {
    format!("{SEAL}{}\n{text}", sha256(text))
}

/// The text of a file, and whether a checksum vouches for it: the files of earlier versions have none.
pub(super) fn open(bytes: Vec<u8>) -> Result<(String, bool), Damage> {
    let file = String::from_utf8(bytes).map_err(|_| Damage::Encoding)?;
    let Some(rest) = file.strip_prefix(SEAL) else { return Ok((file, false)) };
    match rest.split_once('\n') {
        Some((sum, text)) if sum == sha256(text) => Ok((text.to_owned(), true)),
        _ => Err(Damage::Checksum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_text_comes_back_and_each_shorter_or_other_one_is_known() {
        let text = "[trunk.eth1]\n\n[segment.lan]\ntrunk = \"eth1\"\nvlan = 20\n";
        let file = seal(text);
        assert_eq!(open(file.clone().into_bytes()), Ok((text.to_owned(), true)));
        let cut = (0..file.len()).map(|end| file.as_bytes()[..end].to_vec());
        let flipped = (0..file.len()).map(|at| {
            let mut bytes = file.clone().into_bytes();
            bytes[at] ^= 1;
            bytes
        });
        for (bytes, at) in cut.zip(0..).chain(flipped.zip(0..)) {
            match open(bytes) {
                Err(damage) => assert_eq!(damage, Damage::Checksum, "byte {at}"),
                // It looks like one of an earlier version, and is not the text of the checksum that was noted.
                Ok((other, vouched)) => {
                    assert!(at < SEAL.len() && !vouched, "byte {at}");
                    assert_ne!(sha256(&other), sha256(text), "byte {at}");
                }
            }
        }
        assert_eq!(open(vec![0xff, 0xfe, 0x00]), Err(Damage::Encoding));
    }

    #[test]
    fn a_text_of_an_earlier_version_is_read_without_a_checksum() {
        assert_eq!(open(b"[trunk.eth1]\n".to_vec()), Ok(("[trunk.eth1]\n".to_owned(), false)));
    }

    #[test]
    fn a_generation_that_was_copied_as_a_manifest_is_sealed_once_more() {
        let copy = seal("a = 1\n");
        assert_eq!(open(seal(&copy).into_bytes()), Ok((copy, true)));
    }
}
