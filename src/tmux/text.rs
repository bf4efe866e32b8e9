//! The form in which text of panes is kept: lines that stand for themselves.
//!
//! `capture-pane -e` says what changes from cell to cell, also across the ends of lines, so a line of it
//! means something only behind all the lines before it. Here every line begins with nothing set and ends
//! with nothing set. So pieces that were read one by one are together the same bytes as one long reading, a
//! text can be cut at any line, and equal lines are equal bytes wherever they stand.

use std::fmt::Write as _;

/// A colour as SGR has it (ECMA-48; 256 and direct colours as in xterm's control sequences).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Colour {
    #[default]
    Default,
    /// One of the 16 named ones.
    Named(u8),
    Indexed(u8),
    Direct(u8, u8, u8),
}

/// The attributes that are switched by a number alone, by that number.
const SWITCHES: [u8; 8] = [1, 2, 3, 5, 7, 8, 9, 53];

/// How a cell looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Look {
    /// A bit for each of [`SWITCHES`].
    switches: u8,
    /// The shape of the line below, 1 to 5; 0 for none.
    underline: u8,
    foreground: Colour,
    background: Colour,
    line_colour: Colour,
}

/// Everything that holds for the cells that follow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Manner {
    look: Look,
    /// Whether letters stand for line drawing (between SO and SI).
    drawing: bool,
    /// The link that is open: what stands behind `OSC 8 ;`.
    link: Vec<u8>,
}

impl Manner {
    fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// Makes lines that stand for themselves out of what `capture-pane -e -J` prints.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    /// What holds at this place of the text that is read.
    reading: Manner,
    /// What holds at the end of `line`.
    written: Manner,
    /// The line that has no end yet.
    line: Vec<u8>,
    /// Plain spaces behind it, which count only if something follows.
    spaces: usize,
}

impl Lines {
    /// Takes in a piece of text that was read by itself: it begins with nothing set, and perhaps in the
    /// middle of a line. Each line that ends in it is handed on without its newline.
    pub fn feed(&mut self, mut text: &[u8], mut end_line: impl FnMut(Vec<u8>)) {
        self.reading = Manner::default();
        while let Some((first, rest)) = text.split_first() {
            text = match first {
                b'\n' => {
                    end_line(self.end_line());
                    rest
                }
                0x1b => self.escape(text),
                0x0e | 0x0f => {
                    self.reading.drawing = *first == 0x0e;
                    rest
                }
                b' ' if self.reading.is_plain() => {
                    self.spaces += 1;
                    rest
                }
                // No cell of tmux's holds one: whoever wrote it meant it for a terminal.
                first if is_control(*first) => rest,
                _ => {
                    let end = text[1..].iter().position(|byte| is_control(*byte) || *byte == b' ');
                    let (run, rest) = text.split_at(end.map_or(text.len(), |end| end + 1));
                    self.write(run);
                    rest
                }
            };
        }
    }

    /// Returns whether a line has begun that has not ended.
    pub fn is_open(&self) -> bool {
        !self.line.is_empty() || self.spaces > 0
    }

    /// Ends the line and returns it.
    pub fn end_line(&mut self) -> Vec<u8> {
        self.change_to(&Manner::default());
        self.spaces = 0;
        std::mem::take(&mut self.line)
    }

    fn write(&mut self, run: &[u8]) {
        if self.spaces > 0 {
            self.change_to(&Manner::default());
            self.line.resize(self.line.len() + std::mem::take(&mut self.spaces), b' ');
        }
        if self.written != self.reading {
            let reading = self.reading.clone();
            self.change_to(&reading);
        }
        self.line.extend_from_slice(run);
    }

    /// Writes what leads from what holds to what shall hold; the same two give the same bytes each time.
    fn change_to(&mut self, next: &Manner) {
        if self.written == *next {
            return;
        }
        if self.written.link != next.link {
            self.line.extend([b"\x1b]8;", link_or_none(&next.link), b"\x1b\\"].concat());
        }
        if self.written.drawing != next.drawing {
            self.line.push(if next.drawing { 0x0e } else { 0x0f });
        }
        if self.written.look != next.look {
            let reset = self.written.look != Look::default();
            self.line.extend(sgr(reset, &next.look).into_bytes());
        }
        self.written = next.clone();
    }

    /// Reads an escape sequence and returns what follows. One that tmux does not write is no sequence any
    /// more: it loses its escape, so that no terminal takes it for one.
    fn escape<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        match text {
            [_, b'[', rest @ ..] => {
                let end = rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'));
                if let Some((parameters, [b'm', rest @ ..])) = end.map(|end| rest.split_at(end)) {
                    apply(&mut self.reading.look, parameters);
                    return rest;
                }
            }
            [_, b']', b'8', b';', rest @ ..] => {
                let end = rest.iter().position(u8::is_ascii_control);
                if let Some((link, [0x1b, b'\\', rest @ ..])) = end.map(|end| rest.split_at(end)) {
                    self.reading.link = if link == b";" { Vec::new() } else { link.to_vec() };
                    return rest;
                }
            }
            _ => {}
        }
        &text[1..]
    }
}

/// Returns whether a byte is a control character and not a tab, which a cell can hold (from 3.5 on).
fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

fn link_or_none(link: &[u8]) -> &[u8] {
    if link.is_empty() { b";" } else { link }
}

/// Returns a text in lines that stand for themselves, each with a newline, and without the empty lines at
/// its end, where the screen was not used yet.
pub fn canonical(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut lines = Lines::default();
    lines.feed(text, |line| push_line(&mut out, &line));
    if lines.is_open() {
        push_line(&mut out, &lines.end_line());
    }
    trim_empty_lines(&mut out);
    out
}

/// Adds a line and its newline.
pub fn push_line(text: &mut Vec<u8>, line: &[u8]) {
    text.extend_from_slice(line);
    text.push(b'\n');
}

/// Removes the empty lines at the end of a text, in which every line ends in a newline.
pub fn trim_empty_lines(text: &mut Vec<u8>) {
    let used = text.iter().rposition(|byte| *byte != b'\n').map_or(0, |at| at + 2);
    text.truncate(used);
}

/// Returns the sequence that sets a look, behind a reset where one is needed.
fn sgr(reset: bool, look: &Look) -> String {
    let mut codes = if reset { ";0".to_owned() } else { String::new() };
    // Writing to a string does not fail.
    for (bit, code) in SWITCHES.iter().enumerate() {
        if look.switches & (1 << bit) != 0 {
            let _ = write!(codes, ";{code}");
        }
    }
    match look.underline {
        0 => {}
        1 => codes.push_str(";4"),
        shape => {
            let _ = write!(codes, ";4:{shape}");
        }
    }
    for (colour, base) in [(look.foreground, 30u8), (look.background, 40), (look.line_colour, 50)] {
        let _ = match colour {
            Colour::Default => Ok(()),
            Colour::Named(n @ 0..8) => write!(codes, ";{}", base + n),
            Colour::Named(n) => write!(codes, ";{}", base + 60 + n - 8),
            Colour::Indexed(n) => write!(codes, ";{};5;{n}", base + 8),
            Colour::Direct(r, g, b) => write!(codes, ";{};2;{r};{g};{b}", base + 8),
        };
    }
    format!("\x1b[{}m", codes.trim_start_matches(';'))
}

/// Applies the parameters of one SGR sequence.
fn apply(look: &mut Look, parameters: &[u8]) {
    let mut codes = parameters.split(|byte| *byte == b';');
    while let Some(code) = codes.next() {
        if let Some(colon) = code.iter().position(|byte| *byte == b':') {
            apply_shape(look, number(&code[..colon]), number(&code[colon + 1..]));
            continue;
        }
        match number(code) {
            0 => *look = Look::default(),
            4 => look.underline = 1,
            21 => look.underline = 2,
            22 => switch_off(look, &[1, 2]),
            23 => switch_off(look, &[3]),
            24 => look.underline = 0,
            25 => switch_off(look, &[5]),
            27 => switch_off(look, &[7]),
            28 => switch_off(look, &[8]),
            29 => switch_off(look, &[9]),
            55 => switch_off(look, &[53]),
            n @ 30..=37 => look.foreground = Colour::Named(n - 30),
            n @ 90..=97 => look.foreground = Colour::Named(n - 90 + 8),
            n @ 40..=47 => look.background = Colour::Named(n - 40),
            n @ 100..=107 => look.background = Colour::Named(n - 100 + 8),
            39 => look.foreground = Colour::Default,
            49 => look.background = Colour::Default,
            59 => look.line_colour = Colour::Default,
            38 => look.foreground = colour(&mut codes),
            48 => look.background = colour(&mut codes),
            58 => look.line_colour = colour(&mut codes),
            n => {
                if let Some(bit) = SWITCHES.iter().position(|code| *code == n) {
                    look.switches |= 1 << bit;
                }
            }
        }
    }
}

/// tmux writes the shape of an underline as `4:3`, and by the same code overline (53) as `5:3`
/// (`grid_string_cells_code`, grid.c, 3.2a to 3.7), which no terminal takes for it.
fn apply_shape(look: &mut Look, kind: u8, shape: u8) {
    match (kind, shape) {
        (4, 0..=5) => look.underline = shape,
        (5, 3) => look.switches |= 1 << 7,
        _ => {}
    }
}

fn switch_off(look: &mut Look, codes: &[u8]) {
    for (bit, code) in SWITCHES.iter().enumerate() {
        if codes.contains(code) {
            look.switches &= !(1 << bit);
        }
    }
}

/// Reads the rest of a colour: `5;N` or `2;R;G;B`.
fn colour<'a>(codes: &mut impl Iterator<Item = &'a [u8]>) -> Colour {
    let mut next = || codes.next().map_or(0, number);
    match next() {
        5 => Colour::Indexed(next()),
        2 => Colour::Direct(next(), next(), next()),
        _ => Colour::Default,
    }
}

/// An empty parameter is 0, as in ECMA-48; one that is too large counts as the largest.
fn number(digits: &[u8]) -> u8 {
    digits
        .iter()
        .filter(|byte| byte.is_ascii_digit())
        .fold(0, |n: u8, digit| n.saturating_mul(10).saturating_add(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_line_stands_for_itself() {
        let cases = [
            ("", ""),
            ("\n\n\n", ""),
            ("a  \n\nb\n\n  \n", "a\n\nb\n"),
            ("no newline", "no newline\n"),
            ("\x07a\r\x08b\x7f\x05\tc\x0b\x0c\n", "ab\tc\n"),
            ("\x1b[31mred\nstill\x1b[39m plain\n", "\x1b[31mred\x1b[0m\n\x1b[31mstill\x1b[0m plain\n"),
            ("\x1b[31mred\n\x1b[0m\n\n", "\x1b[31mred\x1b[0m\n"),
            ("\x1b[44m bar \x1b[0m  \n", "\x1b[44m bar \x1b[0m\n"),
            ("a \x1b[1m b\n", "a \x1b[1m b\x1b[0m\n"),
            ("\x1b[1m\x1b[31mx\x1b[0m\x1b[39my", "\x1b[1;31mx\x1b[0my\n"),
            ("\x1b[1;4:3;38;5;200;48;2;1;2;3mx", "\x1b[1;4:3;38;5;200;48;2;1;2;3mx\x1b[0m\n"),
            ("\x1b[5:3mover\x1b[97;101m!", "\x1b[53mover\x1b[0;53;97;101m!\x1b[0m\n"),
            ("\x0elqk\x0f ok\n\x0elqk\n", "\x0elqk\x0f ok\n\x0elqk\x0f\n"),
            (
                "\x1b]8;id=1;http://a\x1b\\link\n\x1b]8;;\x1b\\no",
                "\x1b]8;id=1;http://a\x1b\\link\x1b]8;;\x1b\\\nno\n",
            ),
        ];
        for (text, expected) in cases {
            let made = canonical(text.as_bytes());
            assert_eq!(String::from_utf8_lossy(&made), expected, "{text:?}");
        }
    }

    #[test]
    fn a_line_that_was_read_in_two_pieces_is_one() {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        lines.feed(b"\x1b[31mfirst half, ", |line| out.push(line));
        assert!(out.is_empty() && lines.is_open());
        lines.feed(b"\x1b[31mred\x1b[39m and\nnext\n", |line| out.push(line));
        assert_eq!(out, [b"\x1b[31mfirst half, red\x1b[0m and".as_slice(), b"next"]);
        assert!(!lines.is_open());
    }

    fn text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            3 => "[ab ]{0,4}",
            2 => Just("\n".to_owned()),
            3 => prop::sample::select(vec![
                "\x1b[0m", "\x1b[m", "\x1b[1m", "\x1b[22m", "\x1b[31;44m", "\x1b[39m", "\x1b[4:3m", "\x1b[58;5;9m",
                "\x1b[0;7m", "\x1b[38;2;1;2;3m", "\x0e", "\x0f", "\x1b]8;;u\x1b\\", "\x1b]8;;\x1b\\", "\x1b", "\x1b[",
            ]).prop_map(str::to_owned),
        ];
        proptest::collection::vec(part, 0..30).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn doing_it_twice_changes_nothing(text in text()) {
            let once = canonical(text.as_bytes());
            prop_assert_eq!(canonical(&once), once);
        }

        #[test]
        fn each_line_alone_is_what_it_is_among_others(text in text()) {
            let whole = canonical(text.as_bytes());
            for line in whole.split_inclusive(|byte| *byte == b'\n') {
                let alone = canonical(line);
                prop_assert!(alone == line || line == b"\n", "{:?}", String::from_utf8_lossy(line));
            }
        }

        #[test]
        fn nothing_makes_it_panic(noise in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = canonical(&noise);
        }
    }
}
