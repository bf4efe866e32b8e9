//! The name that was probably meant by one that is not there.

/// How alike two names must be for one to be suggested for the other, from 0 to 1 (Jaro-Winkler).
const SIMILAR_ENOUGH: f64 = 0.75;

/// Returns what belongs to the name that is most like a word, if one is like it enough. Capitals do not matter.
pub fn nearest<'a, T>(word: &str, names: impl Iterator<Item = (&'a str, T)>) -> Option<T> {
    let word = word.to_lowercase();
    names
        .map(|(name, named)| (strsim::jaro_winkler(&word, &name.to_lowercase()), named))
        .filter(|(similarity, _)| *similarity >= SIMILAR_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, named)| named)
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
