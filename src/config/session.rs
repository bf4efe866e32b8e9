//! What is set for some sessions only, by patterns of their names.

use std::collections::BTreeMap;

use globset::{Glob, GlobMatcher};

use super::fragment::SessionFragment;

/// What holds for one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionSettings {
    /// Whether text is kept.
    pub scrollback: bool,
}

/// The patterns, and what is set for the sessions that they match.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    /// The shortest pattern first: a longer one says more exactly what is meant, and counts more.
    rules: Vec<(String, GlobMatcher, SessionFragment)>,
}

impl Sessions {
    /// Reads the patterns. The error names the one that is none.
    pub(super) fn check(fragments: BTreeMap<String, SessionFragment>) -> Result<Self, String> {
        let mut rules = Vec::new();
        for (pattern, fragment) in fragments {
            let glob = Glob::new(&pattern)
                .map_err(|error| format!("session.{pattern:?} must be a pattern: {}", error.kind()))?;
            rules.push((pattern, glob.compile_matcher(), fragment));
        }
        rules.sort_by_key(|(pattern, _, _)| pattern.chars().count());
        Ok(Self { rules })
    }

    /// Returns what holds for a session of this name.
    pub fn of(&self, name: &str) -> SessionSettings {
        let mut settings = SessionSettings { scrollback: true };
        for (_, _, fragment) in self.rules.iter().filter(|(_, matcher, _)| matcher.is_match(name)) {
            settings.scrollback = fragment.scrollback.unwrap_or(settings.scrollback);
        }
        settings
    }
}

impl PartialEq for Sessions {
    fn eq(&self, other: &Self) -> bool {
        let written = |sessions: &Self| -> Vec<(String, SessionFragment)> {
            sessions.rules.iter().map(|(pattern, _, fragment)| (pattern.clone(), fragment.clone())).collect()
        };
        written(self) == written(other)
    }
}

impl Eq for Sessions {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pattern_that_matches_counts() {
        let rule = |pattern: &str, scrollback| (pattern.to_owned(), SessionFragment { scrollback });
        let rules = [
            rule("secret*", Some(false)),
            rule("*", None),
            rule("secret-not", Some(true)),
            rule("{bank,pay}?", Some(false)),
        ];
        let sessions = Sessions::check(rules.into()).unwrap();
        let cases = [
            ("web", true),
            ("secret", false),
            ("secrets/of #S", false),
            ("secret-not", true),
            ("bank1", false),
            ("bank", true),
        ];
        for (name, kept) in cases {
            assert_eq!(sessions.of(name).scrollback, kept, "{name}");
        }
        let error = Sessions::check([rule("a[", None)].into()).unwrap_err();
        assert!(error.starts_with("session.\"a[\" must be a pattern: "), "{error}");
    }
}
