//! tmux commands as argument vectors; the only place that knows how tmux splits them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::escape::format_literal;

/// One tmux command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    words: Vec<OsString>,
}

impl Command {
    /// Returns a command without arguments yet.
    pub fn new(name: &str) -> Self {
        Self { words: vec![name.into()] }
    }

    /// Adds a flag, a target or a format: text of ours.
    #[must_use]
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.words.push(word.as_ref().to_owned());
        self
    }

    /// Adds a flag and what is shown for it.
    #[must_use]
    pub fn flag(self, flag: &str, value: impl ToString) -> Self {
        self.arg(flag).arg(value.to_string())
    }

    /// Adds text of the user's in a place where tmux expands formats; tmux will see it literally.
    #[must_use]
    pub fn literal(mut self, text: &[u8]) -> Self {
        self.words.push(OsString::from_vec(format_literal(text)));
        self
    }

    /// Returns how many bytes its words take in an argument vector.
    pub fn bytes(&self) -> usize {
        self.words.iter().map(|word| word.len() + 1).sum()
    }

    /// Returns the command's name.
    pub fn name(&self) -> &str {
        self.words[0].to_str().unwrap_or_default()
    }
}

/// Returns the arguments for one `tmux` process that runs the commands one after the other.
///
/// In an argument vector tmux takes an argument `;` as the end of a command, and also a `;` at the end
/// of any argument, unless a backslash stands before it (`cmd_parse_from_arguments`, cmd-parse.y).
pub fn join(commands: &[Command]) -> Vec<OsString> {
    let mut words = Vec::new();
    for (at, command) in commands.iter().enumerate() {
        if at > 0 {
            words.push(OsString::from(";"));
        }
        words.extend(command.words.iter().map(|word| protect_semicolon(word)));
    }
    words
}

fn protect_semicolon(word: &OsStr) -> OsString {
    match word.as_bytes().split_last() {
        Some((b';', head)) => OsString::from_vec([head, b"\\;"].concat()),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_semicolons_separate() {
        let rename = Command::new("rename-window").literal(b"a;");
        let select = Command::new("select-window").flag("-t", "@1");
        let words = join(&[rename, select]);
        assert_eq!(words, ["rename-window", "a\\;", ";", "select-window", "-t", "@1"]);
    }
}
