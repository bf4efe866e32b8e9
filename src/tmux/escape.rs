//! Text on its way into tmux and out of it.
//!
//! tmux expands formats (`#{…}`, and `#(…)` which runs a shell command) in most names it is given, and
//! rewrites control characters in names it stores and in lines it prints. What the user called a
//! window must come through all that unchanged and unrun.

use super::version::Version;

/// Returns the text that tmux's format expansion turns into `literal`.
///
/// `##` is a single `#`, except that a run of hashes in front of `[` is left as it stands, because it
/// may be a style (`format_expand1` in format.c, the same from 3.2a to 3.8).
pub fn format_literal(literal: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(literal.len() + 8);
    let mut at = 0;
    while at < literal.len() {
        if literal[at] != b'#' {
            out.push(literal[at]);
            at += 1;
            continue;
        }
        let run = literal[at..].iter().take_while(|b| **b == b'#').count();
        let times = if literal.get(at + run) == Some(&b'[') { run } else { 2 * run };
        out.extend(std::iter::repeat_n(b'#', times));
        at += run;
    }
    out
}

/// Returns the text that tmux's vis(3) encoding turns into `stored`, as far as it was made by it.
///
/// tmux keeps the names of sessions, and of windows that were renamed, encoded: a tab is `\t`, a
/// backslash `\\`, and up to 3.4 `$HOME` is `\$HOME`. Given the encoded form it would encode it again.
pub fn unvis(stored: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(stored.len());
    let mut rest = stored;
    while let Some((byte, used)) = unvis_one(rest) {
        out.push(byte);
        rest = &rest[used..];
    }
    out
}

/// Decodes the first character of vis(3)-encoded text (`VIS_OCTAL | VIS_CSTYLE`): the byte, and how
/// many bytes it was written with.
fn unvis_one(text: &[u8]) -> Option<(u8, usize)> {
    let first = *text.first()?;
    if first != b'\\' {
        return Some((first, 1));
    }
    let octal = |b: &u8| (b'0'..=b'7').contains(b);
    let decoded = match text.get(1..) {
        Some([a @ b'0'..=b'3', b, c, ..]) if octal(b) && octal(c) => {
            return Some(((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), 4));
        }
        Some([b'\\', ..]) => b'\\',
        Some([quoted @ (b'$' | b'"' | b'`'), ..]) => *quoted,
        Some([b'n', ..]) => b'\n',
        Some([b't', ..]) => b'\t',
        Some([b'r', ..]) => b'\r',
        Some([b'a', ..]) => 7,
        Some([b'b', ..]) => 8,
        Some([b'v', ..]) => 11,
        Some([b'f', ..]) => 12,
        Some([b's', ..]) => b' ',
        Some([b'0', ..]) => 0,
        _ => return Some((b'\\', 1)),
    };
    Some((decoded, 2))
}

/// Returns what a server printed as other versions would have printed it: 3.4, and no other, writes `\$` for the
/// `$` of what looks like a variable.
pub(super) fn undo_3_4(output: &[u8], version: &str) -> Vec<u8> {
    let is_3_4 = Version::parse(version).is_some_and(|version| (version.major, version.minor) == (3, 4));
    if !is_3_4 {
        return output.to_vec();
    }
    let begins_name = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphabetic() || b"_{".contains(b));
    let mut out = Vec::with_capacity(output.len());
    for (at, byte) in output.iter().enumerate() {
        let added = *byte == b'\\' && output.get(at + 1) == Some(&b'$') && begins_name(output.get(at + 2));
        if !added {
            out.push(*byte);
        }
    }
    out
}

/// Returns whether servers of a version encode what they print (`VIS_NOSLASH`: control characters but tab and newline
/// as octal or as in C, backslashes as they are): 3.4 and 3.5.
pub(super) fn encodes(version: &str) -> bool {
    let version = Version::parse(version).map(|version| (version.major, version.minor));
    version.is_some_and(|version| ((3, 4)..(3, 6)).contains(&version))
}

/// Splits `length` bytes of a value off a line that tmux printed, and returns the value and what
/// follows it. `ends` tells whether what follows can stand behind the value.
///
/// Where tmux encodes what it prints, a value can take more bytes than it has, and a backslash in it can look like
/// the beginning of an encoded character. So both readings are tried, first the one that goes with the version.
pub(super) fn split_printed(
    line: &[u8],
    length: usize,
    encoded: bool,
    ends: impl Fn(&[u8]) -> bool,
) -> Option<(Vec<u8>, &[u8])> {
    let [first, second] = if encoded { [split_encoded, split_plain] } else { [split_plain, split_encoded] };
    let try_one = |split: Split| split(line, length).filter(|(_, rest)| ends(rest));
    try_one(first).or_else(|| try_one(second))
}

type Split = fn(&[u8], usize) -> Option<(Vec<u8>, &[u8])>;

fn split_plain(line: &[u8], length: usize) -> Option<(Vec<u8>, &[u8])> {
    line.split_at_checked(length).map(|(value, rest)| (value.to_vec(), rest))
}

fn split_encoded(line: &[u8], length: usize) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut rest = line;
    while value.len() < length {
        let (byte, used) = match rest {
            // What is never written for a control character is itself.
            [b'\\', b'\\' | b's' | b't' | b'n' | b'$' | b'"' | b'`', ..] => (b'\\', 1),
            _ => unvis_one(rest)?,
        };
        value.push(byte);
        rest = &rest[used..];
    }
    Some((value, rest))
}

/// Reads a value that a server of some version printed behind its length (`#{n:name}:#{name}`) and to the end
/// of the line.
pub fn counted(printed: &[u8], version: &str) -> Option<Vec<u8>> {
    let printed = &undo_3_4(printed, version);
    let colon = printed.iter().position(|byte| *byte == b':')?;
    let length = str::from_utf8(&printed[..colon]).ok()?.parse().ok()?;
    let value = split_printed(&printed[colon + 1..], length, encodes(version), <[u8]>::is_empty);
    value.map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_double_except_before_a_bracket() {
        let cases = [
            ("plain", "plain"),
            ("#", "##"),
            ("a##", "a####"),
            ("#(touch x)", "##(touch x)"),
            ("#{pid}", "##{pid}"),
            ("#[fg=red]", "#[fg=red]"),
            ("##[x] #S", "##[x] ##S"),
        ];
        for (literal, expected) in cases {
            assert_eq!(format_literal(literal.as_bytes()), expected.as_bytes(), "{literal}");
        }
    }

    #[test]
    fn vis_is_undone() {
        let cases: [(&[u8], &[u8]); 8] = [
            (b"plain", b"plain"),
            (br"a\\b", br"a\b"),
            (br"a\tb\n", b"a\tb\n"),
            (br"\$HOME", b"$HOME"),
            (br"\033[m", b"\x1b[m"),
            (br"\377", b"\xff"),
            (br"tail\", br"tail\"),
            (br"\q", br"\q"),
        ];
        for (stored, expected) in cases {
            assert_eq!(unvis(stored), expected, "{}", String::from_utf8_lossy(stored));
        }
    }

    #[test]
    fn a_value_is_found_by_its_length_printed_plain_or_encoded() {
        let tab = |rest: &[u8]| rest.first() == Some(&b'\t');
        let cases: [(&[u8], usize, &[u8]); 6] = [
            (b"a\tb\trest", 3, b"a\tb"),
            (b"a\tb", 1, b"a"),
            (b"x\\033y\trest", 3, b"x\x1by"),
            (b"\\s\\033y\trest", 4, b"\\s\x1by"),
            (b"a\\b\trest", 3, br"a\b"),
            (b"\\t\\n\\a\trest", 5, b"\\t\\n\x07"),
        ];
        for (line, length, expected) in cases {
            for encoded in [false, true] {
                let (value, _) = split_printed(line, length, encoded, tab).unwrap();
                assert_eq!(value, expected, "{}", String::from_utf8_lossy(line));
            }
        }
        assert!(split_printed(b"abc", 9, false, tab).is_none());
        // Both readings end well; the version says which is right.
        let both = b"d\\033a\tbc\trest";
        let read = |encoded| split_printed(both, 6, encoded, tab).unwrap().0;
        assert_eq!((read(false).as_slice(), read(true).as_slice()), (&br"d\033a"[..], &b"d\x1ba\tbc"[..]));
    }

    #[test]
    fn some_versions_encode_what_they_print() {
        for (version, expected) in
            [("3.3a", false), ("3.4", true), ("3.5a", true), ("3.6", false), ("3.7c", false), ("", false)]
        {
            assert_eq!(encodes(version), expected, "{version}");
        }
    }
}
