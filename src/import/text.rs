//! Text of panes that comes from a file and will be shown by a terminal.

use crate::tmux::text::canonical;

/// The most bytes of one pane's text that are kept, counted from its end.
const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Returns a text as [`crate::tmux::capture::capture`] would have read it, the newest 16 MiB of it: colours
/// (`ESC [ … m`), the change to line-drawing characters and back, and lines. Every other control sequence is left
/// out, because the terminal would obey it; what is no UTF-8 is replaced.
pub(super) fn clean(text: &[u8]) -> Vec<u8> {
    let kept = &text[text.len().saturating_sub(TEXT_BYTES_MAX)..];
    let kept = if kept.len() == text.len() {
        kept
    } else {
        kept.iter().position(|byte| *byte == b'\n').map_or(kept, |end| &kept[end + 1..])
    };
    let text = String::from_utf8_lossy(kept);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(c) = rest.chars().next() {
        if let Some(colour) = colour(rest) {
            out.extend(&rest.as_bytes()[..colour]);
            rest = &rest[colour..];
            continue;
        }
        rest = if c == '\x1b' { behind_sequence(rest) } else { &rest[c.len_utf8()..] };
        match c {
            '\n' | '\x0e' | '\x0f' => out.push(c as u8),
            '\t' => out.push(b' '),
            c if c.is_control() => {}
            c => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    canonical(&out)
}

/// Returns the length of a change of colour at the beginning of a text.
fn colour(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';' && c != ':')?;
    (parameters.as_bytes()[end] == b'm').then_some(2 + end + 1)
}

/// Returns what follows the control sequence or the string that a text begins with (ECMA-48, 5.3 to 5.6).
fn behind_sequence(text: &str) -> &str {
    let inner = &text[1..];
    let end = match inner.as_bytes().first() {
        Some(b'[') => inner[1..].find(|c: char| !(' '..='?').contains(&c)).map(|end| (1 + end, true)),
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            return match inner.find(['\x07', '\x1b', '\n']) {
                Some(end) if inner.as_bytes()[end] == b'\x07' => &inner[end + 1..],
                Some(end) if inner[end..].starts_with("\x1b\\") => &inner[end + 2..],
                Some(end) => &inner[end..],
                None => "",
            };
        }
        Some(b' '..=b'/') => inner.find(|c: char| !(' '..='/').contains(&c)).map(|end| (end, true)),
        Some(b'0'..=b'~') => Some((0, true)),
        _ => Some((0, false)),
    };
    match end {
        Some((end, true)) if inner[end..].starts_with(|c: char| ('0'..='~').contains(&c)) => {
            &inner[end + 1..]
        }
        Some((end, _)) => &inner[end..],
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn colours_stay_and_everything_else_that_a_terminal_obeys_goes() {
        let cases: [(&str, &str); 10] = [
            ("a\x1b[31mred\x1b[39m b\n", "a\x1b[31mred\x1b[0m b\n"),
            ("\x1b]0;title\x07x\n", "x\n"),
            ("\x1b]2;title\x1b\\x\n", "x\n"),
            ("\x1bP$q\x1b\\x\n", "x\n"),
            ("\x1b[2J\x1b[?1049hx\x1b[3;4Hy\n", "xy\n"),
            ("\x1bcx\x1b(0y\n", "xy\n"),
            ("x\x07\x08\r\ny\n", "x\ny\n"),
            ("\x1b]never ends\nnext\n", "\nnext\n"),
            ("\u{9b}2J\u{90}x\n", "2Jx\n"),
            ("\x0eqqq\x0f\n", "\x0eqqq\x0f\n"),
        ];
        for (text, expected) in cases {
            assert_eq!(String::from_utf8_lossy(&clean(text.as_bytes())), expected, "{text:?}");
        }
        assert_eq!(clean(b"\xff\n"), "\u{fffd}\n".as_bytes());
    }

    #[test]
    fn of_a_very_long_text_the_end_is_kept() {
        let long = b"0123456789abcde\n".repeat(TEXT_BYTES_MAX / 16 + 10);
        let kept = clean(&long);
        assert!(kept.len() <= TEXT_BYTES_MAX && kept.starts_with(b"0123"));
    }

    proptest! {
        #[test]
        fn nothing_is_left_that_a_terminal_obeys(text in "([\\x1b\\[\\]P;:m0-9a-c\\x07\\\\\n \u{9b}é]|\\PC){0,80}") {
            let once = clean(text.as_bytes());
            let text = str::from_utf8(&once).unwrap();
            let mut rest = text;
            while let Some(at) = rest.find('\x1b') {
                prop_assert!(colour(&rest[at..]).is_some(), "{text:?}");
                rest = &rest[at + 1..];
            }
            prop_assert!(!text.contains(|c: char| c.is_control() && !"\n\x1b\x0e\x0f".contains(c)));
            prop_assert_eq!(clean(&once), once);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            clean(&bytes);
        }
    }
}
