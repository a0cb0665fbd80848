//! Which known name somebody may have meant.

/// The name that is most like the wanted one, if any is like it: a third of its characters may be wrong, and
/// one of a short name. Of equals, the first in the alphabet.
///
/// Case does not count.
pub(super) fn closest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = letters(wanted);
    let limit = (wanted.len() / 3).max(1);
    let near = known.filter_map(|name| {
        let letters = letters(name);
        // The lengths alone say that it takes more, and comparing costs the product of them.
        if letters.len().abs_diff(wanted.len()) > limit {
            return None;
        }
        let distance = distance(&wanted, &letters);
        (distance <= limit).then_some((distance, name))
    });
    near.min().map(|(_, name)| name)
}

fn letters(name: &str) -> Vec<char> {
    name.chars().flat_map(char::to_lowercase).collect()
}

/// How many characters have to be put in, taken out, replaced, or swapped with their neighbour to turn one into
/// the other (optimal string alignment distance).
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, have) in from.iter().enumerate() {
        let mut this = Vec::with_capacity(to.len() + 1);
        this.push(row + 1);
        for (column, want) in to.iter().enumerate() {
            let replaced = last[column] + usize::from(have != want);
            let mut best = replaced.min(last[column + 1] + 1).min(this[column] + 1);
            if row > 0 && column > 0 && *have == to[column - 1] && from[row - 1] == *want {
                best = best.min(before[column - 1] + 1);
            }
            this.push(best);
        }
        before = std::mem::replace(&mut last, this);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("cache", "cache", 0),
            ("cache", "cahce", 1),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
            ("db", "web", 2),
            ("grün", "grun", 1),
        ] {
            assert_eq!(
                distance(&letters(from), &letters(to)),
                expected,
                "{from} {to}"
            );
        }
    }

    #[test]
    fn only_what_is_like_it_is_a_hint() {
        let known = || ["web", "db", "cache", "worker-10", "worker-11"].into_iter();
        for (wanted, expected) in [
            ("cahce", Some("cache")),
            ("DB", Some("db")),
            ("worker-12", Some("worker-10")),
            ("wbe", Some("web")),
            ("redis", None),
            ("", None),
        ] {
            assert_eq!(closest(wanted, known()), expected, "{wanted}");
        }
        assert_eq!(closest("any", std::iter::empty()), None);
    }
}
