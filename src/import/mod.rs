//! Snapshots out of the files of other tools.
//!
//! ```text
//! bytes of a file ─► resurrect, tmuxp, tmuxinator, zellij, tmux_backup ─► Draft ─► assemble ─► Snapshot
//! ```
//!
//! All of it is pure: bytes in, values out. Nothing in a file is interpreted: no format, no shell, no template, no
//! YAML tag. What a file asks to be executed while it is loaded (hooks, scripts, plugins) is left out and said, and
//! so are variables and the options that no restore sets from a file; the programs of panes come back as all programs
//! do, waiting for Enter. Sizes are bounded everywhere.

use crate::model::{ByteString, Options};
use crate::tmux::arrange::{Area, MainSizes, Named};

mod archive;
mod assemble;
mod command;
pub mod resurrect;
mod text;
pub mod tmux_backup;
pub mod tmuxinator;
pub mod tmuxp;
mod yaml;
pub mod zellij;

pub use assemble::{Assembled, Source, Surroundings, assemble};

/// The most bytes of a file in which people write.
const TEXT_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most panes of one window.
const PANES_MAX: usize = 500;

/// The most windows of one session, and sessions of one import.
const PLACES_MAX: usize = 2000;

/// What is wrong with a file, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct Flaw {
    /// The line it is in, counted from 1, if it is in one.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl Flaw {
    fn at(line: usize, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { line: Some(line), what: what.into(), hint: hint.into() }
    }

    fn whole(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { line: None, what: what.into(), hint: hint.into() }
    }
}

/// What a file holds, before it is made into a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// Its sessions.
    pub sessions: Vec<DraftSession>,
    /// What was left out or is not exact, in sentences.
    pub notes: Vec<String>,
}

impl Draft {
    /// Adds a note unless it is there already.
    fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) && self.notes.len() < PLACES_MAX {
            self.notes.push(note);
        }
    }
}

/// A session in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DraftSession {
    /// Its name.
    pub name: String,
    /// Its directory; that of its first pane if the file does not tell.
    pub directory: Option<ByteString>,
    /// Its group; sessions of one group have the same windows.
    pub group: Option<String>,
    /// Its windows.
    pub windows: Vec<DraftWindow>,
    /// The place of the current window in `windows`.
    pub active: usize,
    /// The place of the window that was current before.
    pub last: Option<usize>,
    /// Its own options.
    pub options: Options,
}

/// A window in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DraftWindow {
    /// What tells it from other windows, where one window can be in several sessions.
    pub key: Option<String>,
    /// Its index; behind the one before it if the file does not tell.
    pub index: Option<u32>,
    /// Its name; tmux names it after its program if the file does not.
    pub name: Option<String>,
    /// Whether tmux renames it although it has a name.
    pub automatic_rename: bool,
    /// How its panes are arranged.
    pub shape: Shape,
    /// Whether the active pane fills it.
    pub zoomed: bool,
    /// Its panes.
    pub panes: Vec<DraftPane>,
    /// The place of the active pane in `panes`.
    pub active: usize,
    /// Its own options.
    pub options: Options,
}

/// How the panes of a window are arranged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// As this `window_layout` says.
    Saved(String),
    /// In one of tmux's own ways.
    Named(Named, MainSizes),
    /// As this tree says.
    Tree(Area),
}

impl Shape {
    /// Reads a layout as people name it.
    fn read(layout: &yaml::Node, main: MainSizes) -> Result<Self, Flaw> {
        let text = layout.text().unwrap_or_default();
        match text.parse() {
            Ok(named) => Ok(Shape::Named(named, main)),
            Err(()) if text.contains(',') => Ok(Shape::Saved(text.to_owned())),
            Err(()) => {
                let hint = "write one of tmux's layouts, such as tiled, or the text of #{window_layout}";
                Err(Flaw::at(layout.line, format!("tmux has no layout {text:?}"), hint))
            }
        }
    }
}

impl Default for Shape {
    fn default() -> Self {
        Shape::Named(Named::Tiled, MainSizes::default())
    }
}

/// A pane in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DraftPane {
    /// Its index as the file has it.
    pub index: Option<u32>,
    /// Its title; the host's name, as in every new pane, if the file does not tell.
    pub title: Option<String>,
    /// Its directory.
    pub directory: ByteString,
    /// What ran in it.
    pub runs: Runs,
    /// What was printed in it.
    pub text: Vec<u8>,
}

/// What runs in a pane of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Runs {
    /// The user's shell, waiting.
    #[default]
    Shell,
    /// Another shell by its name, waiting.
    OtherShell(String),
    /// A program with these arguments, in the shell.
    Words(Vec<String>),
    /// Lines as they are typed into a shell, in the shell.
    Lines(Vec<String>),
    /// A program with these arguments, without a shell.
    Instead(Vec<String>),
}

/// What a parser has to know besides the bytes of a file.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    /// The user's home directory.
    pub home: &'a str,
    /// The directory that paths in the file begin at.
    pub directory: &'a str,
    /// What a session is called that has no name in the file.
    pub name: &'a str,
    /// The program that opens files.
    pub editor: &'a str,
}

impl Reader<'_> {
    /// Returns the directory that a text means: `~` and `$HOME` at its beginning are the home directory, and what
    /// does not begin at the root begins at `base`. Nothing else in it is replaced.
    fn directory(&self, written: &str, base: &str) -> ByteString {
        let rest = ["~", "$HOME", "${HOME}"]
            .iter()
            .find_map(|home| written.strip_prefix(home))
            .filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let path = match rest {
            Some(rest) => format!("{}{rest}", self.home),
            None if written.starts_with('/') => written.to_owned(),
            None => format!("{base}/{written}"),
        };
        ByteString::from(tidy_path(&path).as_str())
    }
}

/// Returns a path without `.`, `..`, empty parts and a slash at its end. It is not looked up.
fn tidy_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Returns the text of a file that people write.
fn as_text<'a>(bytes: &'a [u8], whose: &str) -> Result<&'a str, Flaw> {
    if bytes.len() > TEXT_FILE_BYTES_MAX {
        let what = format!("it has {} bytes, and a file of {whose} has a few thousand", bytes.len());
        return Err(Flaw::whole(what, format!("name the file that {whose} reads or writes")));
    }
    str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Flaw::at(line, "it is not UTF-8 text", format!("name the file that {whose} reads or writes"))
    })
}

/// Returns a name without what cannot be in one.
fn clean_name(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '_' } else { c }).collect()
}

/// Returns the name that tmux gives a session which is to be called so: colons and full stops are what targets
/// are made of, and a backslash is stored as two (`session_check_name` in session.c).
fn session_name(name: &str) -> String {
    clean_name(name).replace([':', '.'], "_").replace('\\', "\\\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_begin_at_home_at_the_root_or_at_the_base() {
        let reader = Reader { home: "/home/ann", directory: "/x", name: "n", editor: "vi" };
        let cases = [
            ("~", "/home/ann"),
            ("~/src/", "/home/ann/src"),
            ("${HOME}/a b", "/home/ann/a b"),
            ("/etc//./x/..", "/etc"),
            ("./lib", "/base/lib"),
            ("../../..", "/"),
            ("$HOMER", "/base/$HOMER"),
            ("~bob", "/base/~bob"),
            ("$(touch x)", "/base/$(touch x)"),
        ];
        for (written, expected) in cases {
            assert_eq!(reader.directory(written, "/base"), ByteString::from(expected), "{written}");
        }
    }
}
