//! Writes results to standard output: text for people, JSON for programs.

use std::io::{self, Write};

use anstyle::{AnsiColor, Color, Style};
use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::error::CliError;

/// Good.
pub const GOOD: Style = colour(AnsiColor::Green);
/// Bad.
pub const BAD: Style = colour(AnsiColor::Red).bold();
/// Doubtful.
pub const DOUBT: Style = colour(AnsiColor::Yellow);
/// Names of things.
pub const NAME: Style = Style::new().bold();
/// What matters less.
pub const DIM: Style = Style::new().dimmed();

/// The width that is assumed when there is no terminal.
const WIDTH: usize = 80;

const fn colour(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(colour)))
}

/// Returns the text in a style; `anstream` takes the style out again where it is not wanted.
pub fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints text. That nobody reads any more is not an error.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = anstream::stdout().lock();
    ignore_closed_pipe(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Prints words for the person at the terminal, beside the data.
pub fn note(text: &str) {
    let mut out = anstream::stderr().lock();
    // There is nowhere left to say that this failed.
    let _ = writeln!(out, "{text}");
}

/// Prints a document; its first key names its shape and the version of that.
pub fn print_json(schema: &'static str, body: impl Serialize) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Document<T> {
        schema: &'static str,
        #[serde(flatten)]
        body: T,
    }
    let mut text = serde_json::to_string_pretty(&Document { schema, body })?;
    text.push('\n');
    let mut out = io::stdout().lock();
    ignore_closed_pipe(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

fn ignore_closed_pipe(result: io::Result<()>) -> Result<(), CliError> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Returns the columns there are to write in: those of the terminal, or where there is none what `COLUMNS` says.
pub fn width() -> usize {
    let terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    let asked = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal.or_else(asked).unwrap_or(WIDTH).max(20)
}

/// Returns how many columns a text takes.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// Returns the text cut to so many columns, with an ellipsis where something is missing.
pub fn fit(text: &str, columns_max: usize) -> String {
    if columns(text) <= columns_max {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if used + width + 1 > columns_max {
            break;
        }
        used += width;
        kept.push(c);
    }
    kept.push('…');
    kept
}

/// Returns the text with spaces behind it up to so many columns.
pub fn pad(text: &str, columns_min: usize) -> String {
    format!("{text}{}", " ".repeat(columns_min.saturating_sub(columns(text))))
}

/// Returns the text broken into lines of at most so many columns, between words.
pub fn wrap(text: &str, columns_max: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.len() - 1;
        let used = columns(&lines[line]);
        if used > 0 && used + 1 + columns(word) > columns_max {
            lines.push(word.to_owned());
        } else {
            if used > 0 {
                lines[line].push(' ');
            }
            lines[line].push_str(word);
        }
    }
    lines
}

/// Returns text behind a head that takes `indent` columns, wrapped, with further lines indented as much.
pub fn paragraph(head: &str, indent: usize, text: &str) -> String {
    let lines = wrap(text, width().saturating_sub(indent));
    format!("{head}{}\n", lines.join(&format!("\n{}", " ".repeat(indent))))
}

/// Returns a text without what a terminal would obey.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Returns a span of time as people say it: `12 s`, `3 min`, `2 h`, `5 days`.
pub fn ago(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..=99 => format!("{s} s"),
        s @ 100..=5999 => format!("{} min", s / 60),
        s @ 6000..=172_799 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_padded_by_columns() {
        assert_eq!(fit("short", 5), "short");
        assert_eq!(fit("longer", 5), "long…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(pad("日", 4), "日  ");
    }

    #[test]
    fn words_are_wrapped_and_long_ones_stand_alone() {
        assert_eq!(wrap("a bc def", 5), ["a bc", "def"]);
        assert_eq!(wrap("/a/very/long/path x", 5), ["/a/very/long/path", "x"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn spans_are_said_in_one_unit() {
        let cases = [(-5, "0 s"), (99, "99 s"), (100, "1 min"), (6000, "1 h"), (172_800, "2 days")];
        for (seconds, expected) in cases {
            assert_eq!(ago(seconds), expected);
        }
    }
}
