//! The machine of a user is never touched: whatever acts on a network asks here first.

use std::sync::OnceLock;

use crate::Error;

/// The word on the kernel's command line that only the lab's virtual machines have.
pub const WORD: &str = "bulkhead.lab=1";

/// Whether this is a virtual machine of the lab.
///
/// # Errors
/// It is not.
pub fn permitted() -> Result<(), Error> {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    // What cannot be read permits nothing.
    let here = PERMITTED.get_or_init(|| std::fs::read_to_string("/proc/cmdline").is_ok_and(|text| names_lab(&text)));
    if *here { Ok(()) } else { Err(Error::Elsewhere(WORD)) }
}

fn names_lab(command_line: &str) -> bool {
    command_line.split_ascii_whitespace().any(|word| word == WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_word_makes_a_laboratory() {
        assert!(names_lab("quiet bulkhead.lab=1 net.ifnames=0\n"));
        for text in ["", "quiet", "bulkhead.lab=10", "xbulkhead.lab=1", "bulkhead.lab=0"] {
            assert!(!names_lab(text), "{text:?}");
        }
    }
}
