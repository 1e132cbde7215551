//! What somebody may have meant who wrote something else.

/// No key or name is longer; whatever is was pasted, and comparing it costs time.
const LONGEST: usize = 64;

/// The candidate that differs least from the word, if it differs little enough to be meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let close = |candidate: &&str| distance(word, candidate) <= word.chars().count().max(3) / 3;
    candidates.into_iter().filter(close).min_by_key(|candidate| distance(word, candidate))
}

/// Insertions, deletions, replacements and swaps of neighbours that make one word of the other (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            row.push(if swap { best.min(rows[i - 2][j - 2] + 1) } else { best });
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let keys = ["trunk", "vlan", "host", "mtu"];
        assert_eq!(nearest("valn", keys), Some("vlan"));
        assert_eq!(nearest("trunks", keys), Some("trunk"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("", keys), None);
    }

    #[test]
    fn a_long_key_may_be_pasted_by_accident() {
        assert_eq!(nearest(&"x".repeat(10_000), ["vlan"]), None);
    }
}
