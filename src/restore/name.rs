//! Names of sessions from one version of tmux to another.
//!
//! tmux stores a session's name encoded (vis(3)), each version a little differently: `$HOME` is stored as `\$HOME` up
//! to 3.4 and as it is since then. What was typed is the same for all.

use crate::tmux::escape::unvis;
use crate::tmux::version::Version;

/// Returns whether a server is of version 3.7 or newer, or of one that has no number and counts as new.
pub(super) fn is_3_7(version: &str) -> bool {
    Version::parse(version).is_none_or(|version| version >= Version { major: 3, minor: 7, patch: 0 })
}

/// Returns the name that a server of this version has to be given to call a session as it was called where its name
/// was stored so.
pub(super) fn typed(stored: &str, version: &str) -> Vec<u8> {
    let typed = unvis(stored.as_bytes());
    if is_3_7(version) { printable(&typed) } else { typed }
}

/// Returns a name without what tmux 3.7 and newer refuse in one (`check_name` in tmux.c).
pub(super) fn printable(name: &[u8]) -> Vec<u8> {
    let name = String::from_utf8_lossy(name);
    name.chars().map(|c| if c.is_control() { '_' } else { c }).collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_as_it_was_typed_and_as_the_version_takes_it() {
        let cases = [
            ("web", "3.7c", "web"),
            (r"\$HOME", "3.5a", "$HOME"),
            (r"a\\b", "3.7c", r"a\b"),
            (r"a\tb", "3.6", "a\tb"),
            (r"a\tb\033[m", "3.7", "a_b_[m"),
            (r"a\377", "next-3.8", "a\u{fffd}"),
        ];
        for (stored, version, expected) in cases {
            assert_eq!(typed(stored, version), expected.as_bytes(), "{stored} {version}");
        }
    }
}
