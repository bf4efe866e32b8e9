//! Errors as one sentence.

/// Returns an error with everything that led to it, outermost first: `cannot write F: No space left on
/// device`.
pub fn in_words(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}
