//! Covers what looks like a credential before a text is written anywhere: each of its characters is replaced,
//! so that the line stays as wide as it was, and what it was is said in its place.
//!
//! It is the visible text of a line that is looked at, and the targets of links: colours in the middle of a
//! token do not hide it. This cannot find every secret, and says so in the manual: what has no form of its own
//! looks like any other word.

mod rules;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

pub use rules::{RULES, Rule};

/// How many lines of a private key are covered before it is taken for something else: RSA keys of 16,384 bits
/// have 200.
const KEY_LINES_MAX: u32 = 300;

/// The fewest letters in a line of a private key, but the last.
const KEY_LINE_MIN: usize = 16;

struct Patterns {
    /// Whether there is anything at all: nearly always not.
    any: RegexSet,
    each: Vec<Regex>,
    key_edge: Regex,
}

/// `None` only if a pattern of ours is wrong, which a test excludes.
static PATTERNS: LazyLock<Option<Patterns>> = LazyLock::new(|| {
    // Credentials are ASCII, and that is faster.
    let one = |pattern: &str| RegexBuilder::new(pattern).unicode(false).build().ok();
    let patterns = RULES.iter().map(|rule| rule.pattern);
    Some(Patterns {
        any: RegexSetBuilder::new(patterns.clone().chain([KEY_EDGE])).unicode(false).build().ok()?,
        each: patterns.map(one).collect::<Option<_>>()?,
        key_edge: one(KEY_EDGE)?,
    })
});

/// The first and the last line of a private key in text (RFC 7468; OpenPGP: RFC 9580).
const KEY_EDGE: &str = r"-----(?:(BEGIN)|END) [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----\s*$";

/// Covers credentials line by line; a private key has many lines.
#[derive(Debug, Clone)]
pub struct Redactor {
    on: bool,
    /// Lines of a private key that may still come.
    key_lines: u32,
}

impl Redactor {
    /// Returns a redactor, or one that leaves everything as it is.
    pub fn new(on: bool) -> Self {
        Self { on, key_lines: 0 }
    }

    /// Adds a line and a newline to a text. The line must stand for itself (`tmux::text`).
    pub fn push(&mut self, line: &[u8], text: &mut Vec<u8>) {
        let line = match PATTERNS.as_ref().filter(|_| self.on) {
            Some(patterns) => self.covered(patterns, line, text),
            None => Cow::Borrowed(line),
        };
        text.extend_from_slice(&line);
        text.push(b'\n');
    }

    fn covered<'a>(&mut self, patterns: &Patterns, line: &'a [u8], above: &mut Vec<u8>) -> Cow<'a, [u8]> {
        let shown = Shown::of(line);
        if self.key_lines > 0 {
            self.key_lines -= 1;
            if is_key_line(&shown.text) {
                let all = 0..shown.text.len();
                return Cow::Owned(shown.cover(line, &[(all, "private key")]));
            }
            self.key_lines = 0;
        }
        if !patterns.any.is_match(&shown.text) {
            return Cow::Borrowed(line);
        }
        if let Some(edge) = patterns.key_edge.captures(&shown.text) {
            match edge.get(1) {
                Some(_) => self.key_lines = KEY_LINES_MAX,
                None => cover_key_above(above),
            }
            return Cow::Borrowed(line);
        }
        let found = find(patterns, &shown.text);
        if found.is_empty() { Cow::Borrowed(line) } else { Cow::Owned(shown.cover(line, &found)) }
    }
}

/// Returns a whole text with its credentials covered, or as it is if that is switched off.
pub fn redacted(text: &[u8], on: bool) -> Vec<u8> {
    let mut redactor = Redactor::new(on);
    let mut covered = Vec::with_capacity(text.len() + 1);
    text.split(|byte| *byte == b'\n').for_each(|line| redactor.push(line, &mut covered));
    // The last line has not ended.
    covered.pop();
    covered
}

/// Returns whether a line can be one of a private key: letters of base64, a header of an encrypted one, or nothing.
fn is_key_line(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    text.is_empty() || text.iter().all(base64) || text.windows(2).take(20).any(|two| two == b": ")
}

/// Covers the lines of a key whose first line has scrolled away.
fn cover_key_above(text: &mut Vec<u8>) {
    let Some(above) = text.strip_suffix(b"\n") else { return };
    let lines = above.rsplit(|byte| *byte == b'\n');
    let mut begin = text.len();
    for (at, line) in lines.take(KEY_LINES_MAX as usize + 1).enumerate() {
        // The last line of a key may be short.
        let long = at == 0 || line.trim_ascii().len() >= KEY_LINE_MIN;
        if !long || !is_key_line(&Shown::of(line).text) {
            break;
        }
        begin -= line.len() + 1;
    }
    for line in text.split_off(begin).split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let shown = Shown::of(line);
        let all = 0..shown.text.len();
        text.extend(shown.cover(line, &[(all, "private key")]));
        text.push(b'\n');
    }
}

/// Returns where credentials are in a text, in order, and what they are.
fn find(patterns: &Patterns, text: &[u8]) -> Vec<(Range<usize>, &'static str)> {
    let mut found = Taken::default();
    for index in patterns.any.matches(text).into_iter().filter(|index| *index < RULES.len()) {
        let (rule, pattern) = (&RULES[index], &patterns.each[index]);
        for captures in pattern.captures_iter(text) {
            let Some(secret) = captures.get(captures.len() - 1).or_else(|| captures.get(0)) else { continue };
            if !(rule.doubtful && is_harmless(secret.as_bytes())) {
                found.take(secret.range(), rule.name);
            }
        }
    }
    found.0.into_iter().map(|(start, (end, name))| (start..end, name)).collect()
}

/// Parts of a text that do not overlap, by where they begin: where each ends, and what it is.
#[derive(Default)]
struct Taken(BTreeMap<usize, (usize, &'static str)>);

impl Taken {
    /// Takes as much of a part as is free.
    fn take(&mut self, part: Range<usize>, name: &'static str) {
        let mut free = Vec::new();
        let mut end = part.end;
        for (taken, (taken_end, _)) in self.0.range(..part.end).rev() {
            if *taken_end <= part.start {
                break;
            }
            free.push((*taken_end, end));
            end = *taken;
        }
        free.push((part.start, end));
        self.0.extend(free.into_iter().filter(|(from, to)| from < to).map(|(from, to)| (from, (to, name))));
    }
}

/// Returns whether a value is only a number or a word, or was covered before.
fn is_harmless(value: &[u8]) -> bool {
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    let word = digits == 0 && value.iter().all(|byte| byte.is_ascii_lowercase() || b"_.-".contains(byte));
    digits == value.len() || word && value.len() < 12 || value.iter().all(|byte| *byte == b'*')
}

/// What a line shows, and the targets of its links.
struct Shown<'a> {
    text: Cow<'a, [u8]>,
}

impl<'a> Shown<'a> {
    fn of(line: &'a [u8]) -> Self {
        if !line.iter().any(|byte| matches!(byte, 0x1b | 0x0e | 0x0f)) {
            return Self { text: Cow::Borrowed(line) };
        }
        let mut text = Vec::with_capacity(line.len());
        for part in parts(line) {
            match part {
                Some(range) => text.extend_from_slice(&line[range]),
                None => text.push(BETWEEN),
            }
        }
        Self { text: Cow::Owned(text) }
    }

    /// Returns the place in the line of each byte of the text.
    fn places(&self, line: &[u8]) -> Vec<usize> {
        match &self.text {
            Cow::Borrowed(_) => (0..line.len()).collect(),
            Cow::Owned(_) => {
                parts(line).into_iter().flat_map(|part| part.unwrap_or(usize::MAX - 1..usize::MAX)).collect()
            }
        }
    }

    /// Returns the line with other characters in these places.
    fn cover(&self, line: &[u8], found: &[(Range<usize>, &'static str)]) -> Vec<u8> {
        let places = self.places(line);
        // What becomes of each byte: itself, another one, or nothing.
        let mut bytes: Vec<Option<u8>> = line.iter().copied().map(Some).collect();
        for (range, name) in found {
            let begins = |at: &usize| (self.text[*at] as i8) >= -0x40 && self.text[*at] != BETWEEN;
            let width = range.clone().filter(begins).count();
            let mut filler = filler(name, width).into_iter();
            for at in range.clone() {
                if let Some(byte) = places.get(at).and_then(|place| bytes.get_mut(*place)) {
                    *byte = if begins(&at) { filler.next() } else { None };
                }
            }
        }
        bytes.into_iter().flatten().collect()
    }
}

/// Stands between what is seen and the targets of links, so that they do not run together: it is in no
/// credential.
const BETWEEN: u8 = b'\n';

/// Returns where in a line what it shows is, and then, each behind a `None`, the targets of its links.
fn parts(line: &[u8]) -> Vec<Option<Range<usize>>> {
    let (mut shown, mut targets) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < line.len() {
        at = match &line[at..] {
            [0x1b, b'[', rest @ ..] => {
                at + 3 + rest.iter().position(u8::is_ascii_alphabetic).unwrap_or(rest.len())
            }
            [0x1b, b']', rest @ ..] => {
                let length = rest.iter().position(|byte| *byte == 0x1b).unwrap_or(rest.len());
                targets.extend([None, Some(at + 2..at + 2 + length)]);
                at + 4 + length
            }
            [0x0e | 0x0f | 0x1b, ..] => at + 1,
            rest => {
                let end = rest.iter().position(|byte| matches!(byte, 0x1b | 0x0e | 0x0f));
                let end = at + end.unwrap_or(rest.len());
                shown.push(Some(at..end));
                end
            }
        };
    }
    shown.extend(targets);
    shown
}

/// Returns so many characters that say what was there, if there is room for it.
fn filler(name: &str, width: usize) -> Vec<u8> {
    let words = [format!("[redacted {name}]"), "[redacted]".to_owned(), String::new()];
    let word = words.into_iter().find(|word| word.len() <= width).unwrap_or_default();
    let mut filler = word.into_bytes();
    filler.resize(width, b'*');
    filler
}

#[cfg(test)]
mod tests;
