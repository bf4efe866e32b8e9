//! Lines of our own on the terminal of a pane.

use std::io::{self, Write};

/// Prints a line, dim so that it stands apart from what programs wrote.
pub(super) fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "\x1b[2m{line}\x1b[0m");
    let _ = out.flush();
}
