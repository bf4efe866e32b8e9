//! The name that was probably meant by one that is not there.

/// How alike two names must be for one to be suggested for the other, from 0 to 1 (Jaro-Winkler).
const SIMILAR_ENOUGH: f64 = 0.75;

/// Returns what belongs to the name that is most like a word, if one is like it enough. Capitals do not matter.
pub fn nearest<'a, T>(word: &str, names: impl Iterator<Item = (&'a str, T)>) -> Option<T> {
    let word = word.to_lowercase();
    names
        .map(|(name, named)| (similarity(&word, &name.to_lowercase()), named))
        .filter(|(similarity, _)| *similarity >= SIMILAR_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, named)| named)
}

/// Jaro-Winkler makes little of a slip in a short word; one letter too much, too few, wrong or swapped is one.
fn similarity(word: &str, name: &str) -> f64 {
    let slip = word.chars().count() > 2 && strsim::osa_distance(word, name) == 1;
    strsim::jaro_winkler(word, name).max(if slip { 0.9 } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_mended_and_another_word_is_not() {
        let names = ["web", "agents", "Database"];
        let near = |word: &str| nearest(word, names.into_iter().map(|name| (name, name)));
        let cases = [
            ("wbe", Some("web")),
            ("WEB", Some("web")),
            ("agent", Some("agents")),
            ("databse", Some("Database")),
            ("x", None),
            ("", None),
        ];
        for (word, expected) in cases {
            assert_eq!(near(word), expected, "{word:?}");
        }
    }
}
