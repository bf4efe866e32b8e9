//! Versions of tmux.

use std::fmt;

/// The oldest tmux we work with. 3.2 has `new-session -e`, `#{n:}` and `run-shell -d`; 3.2a is what
/// Debian 11 and Ubuntu 22.04 ship.
pub const OLDEST: Version = Version { major: 3, minor: 2, patch: 1 };

/// A version of tmux: `3.5a` is major 3, minor 5, patch 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The number before the dot.
    pub major: u32,
    /// The number behind the dot.
    pub minor: u32,
    /// The letter behind it: 0 for none, 1 for `a`.
    pub patch: u32,
}

impl Version {
    /// Reads what `tmux -V` prints (`tmux 3.5a`) or `#{version}` gives (`3.5a`, `next-3.8`,
    /// `openbsd-7.6`). Returns `None` when there is no version of tmux in it, as on OpenBSD.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.split_ascii_whitespace().last()?;
        let number = word.strip_prefix("next-").unwrap_or(word);
        let (major, rest) = number.split_once('.')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (minor, letter) = rest.split_at(digits);
        let patch = match letter.bytes().next() {
            Some(letter @ b'a'..=b'z') => u32::from(letter - b'a') + 1,
            _ => 0,
        };
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()?, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        match u8::try_from(self.patch) {
            Ok(patch @ 1..=26) => write!(f, "{}", char::from(b'a' + patch - 1)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_tmux_prints_them() {
        let cases = [
            ("tmux 3.2a", Some((3, 2, 1))),
            ("3.4", Some((3, 4, 0))),
            ("next-3.8", Some((3, 8, 0))),
            ("3.6-rc", Some((3, 6, 0))),
            ("tmux master", None),
            ("openbsd-7.6", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let got = Version::parse(text).map(|v| (v.major, v.minor, v.patch));
            assert_eq!(got, expected, "{text:?}");
        }
        assert_eq!(OLDEST.to_string(), "3.2a");
        assert!(Version::parse("3.2").unwrap() < OLDEST);
        assert!(Version::parse("3.10").unwrap() > OLDEST);
    }
}
