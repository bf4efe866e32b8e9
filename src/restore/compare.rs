//! Compares what was saved with what is there, field by field.
//!
//! Ids and process ids differ after every restore and are not compared; panes are matched by their place
//! in the window.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;

use crate::model::{
    Buffer, ByteString, Options, Pane, Process, Program, Server, Session, Window, WindowId, plural,
};
use crate::tmux::layout::Layout;

use super::held_back;
use super::name::typed;

/// The result of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// How many fields were compared.
    pub fields: usize,
    /// Those that differ.
    pub differences: Vec<Difference>,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where: `web`, `web:2` or `web:2.1`.
    pub place: String,
    /// Which field.
    pub field: String,
    /// What was saved.
    pub saved: String,
    /// What is there.
    pub found: String,
}

impl Comparison {
    /// Returns how much is right, in percent rounded down: 100 means that nothing differs.
    pub fn score(&self) -> usize {
        let right = self.fields.saturating_sub(self.differences.len());
        (100 * right).checked_div(self.fields).unwrap_or(100)
    }

    fn check<T: PartialEq + Debug>(&mut self, place: &str, field: &str, saved: &T, found: &T) {
        self.fields += 1;
        if saved != found {
            self.differ(place, field, format!("{saved:?}"), format!("{found:?}"));
        }
    }

    /// Compares what has names: each name is a field, and that there is no other is one more.
    fn check_each<T: PartialEq + Debug>(
        &mut self,
        place: &str,
        kind: &str,
        saved: &BTreeMap<String, T>,
        found: &BTreeMap<String, T>,
    ) {
        let names: BTreeSet<&String> =
            saved.keys().chain(found.keys()).filter(|name| !held_back(name)).collect();
        self.fields += 1 + names.iter().filter(|name| saved.contains_key(**name)).count();
        for name in names {
            let (before, after) = (saved.get(name), found.get(name));
            if before != after {
                let show =
                    |value: Option<&T>| value.map_or("not set".to_owned(), |value| format!("{value:?}"));
                self.differ(place, &format!("{kind} {name}"), show(before), show(after));
            }
        }
    }

    fn differ(&mut self, place: &str, field: &str, saved: String, found: String) {
        self.differences.push(Difference { place: place.to_owned(), field: field.to_owned(), saved, found });
    }

    fn missing(&mut self, place: &str, what: &str, fields: usize) {
        self.fields += fields;
        for _ in 0..fields {
            self.differ(place, what, "there".into(), "missing".into());
        }
    }

    /// Counts the text of a pane, of which only some lines could be read.
    pub fn lost_text(&mut self, place: &str, lines_saved: u64, readable: &[u8]) {
        self.fields += 1;
        self.differ(place, "lost text", plural_lines(lines_saved), lines_of(readable));
    }

    /// Compares the text of a pane. It is no field of a server, so whoever has it calls this.
    pub fn text(&mut self, place: &str, saved: &[u8], found: &[u8]) {
        self.fields += 1;
        if saved != found {
            self.differ(place, "text", lines_of(saved), lines_of(found));
        }
    }
}

fn lines_of(text: &[u8]) -> String {
    plural_lines(text.split_inclusive(|b| *b == b'\n').count() as u64)
}

fn plural_lines(lines: u64) -> String {
    plural(usize::try_from(lines).unwrap_or(usize::MAX), "line")
}

/// Fields that a session or a window has besides what is in it, and a pane has.
const SESSION_FIELDS: usize = 6;
const WINDOW_FIELDS: usize = 8;
const PANE_FIELDS: usize = 6;

/// Compares the sessions of a saved server with those of a living one. Sessions that are only in the
/// living one do not matter: they are the user's.
pub fn compare(saved: &Server, found: &Server) -> Comparison {
    let mut comparison = Comparison::default();
    let mut links = HashMap::new();
    for session in &saved.sessions {
        let name = typed(&session.name, &found.version);
        match found.sessions.iter().find(|other| typed(&other.name, &found.version) == name) {
            Some(other) => compare_session(&mut comparison, &mut links, session, other),
            None => comparison.missing(&session.name, "session", fields_of(session)),
        }
    }
    for buffer in &saved.buffers {
        let place = format!("buffer {}", buffer.name);
        // Those of tmux's own names get others; which one it is shows in the content.
        let same = |other: &&Buffer| match Buffer::is_automatic(&buffer.name) {
            true => Buffer::is_automatic(&other.name) && other.content == buffer.content,
            false => other.name == buffer.name,
        };
        match found.buffers.iter().find(same) {
            Some(other) => comparison.check(&place, "content", &buffer.content, &other.content),
            None => comparison.missing(&place, "buffer", 1),
        }
    }
    comparison
}

fn fields_of(session: &Session) -> usize {
    let own = SESSION_FIELDS + settable(&session.options) + session.environment.len();
    own + session.windows.iter().map(fields_of_window).sum::<usize>()
}

fn fields_of_window(window: &Window) -> usize {
    WINDOW_FIELDS + settable(&window.options) + window.panes.iter().map(fields_of_pane).sum::<usize>()
}

fn fields_of_pane(pane: &Pane) -> usize {
    PANE_FIELDS + settable(&pane.options)
}

fn settable(options: &Options) -> usize {
    options.keys().filter(|name| !held_back(name)).count()
}

type Links = HashMap<WindowId, WindowId>;

fn compare_session(to: &mut Comparison, links: &mut Links, saved: &Session, found: &Session) {
    let place = &saved.name;
    to.check(place, "directory", &saved.directory, &found.directory);
    to.check(place, "group", &saved.group, &found.group);
    to.check_each(place, "option", &saved.options, &found.options);
    to.check_each(place, "variable", &saved.environment, &found.environment);
    to.check(place, "active window", &saved.active_window, &found.active_window);
    if saved.group.is_some() && saved.last_window.is_none() {
        // A session that joins a group starts at the first window, and nothing makes tmux forget that.
        to.fields += 1;
    } else {
        to.check(place, "last window", &saved.last_window, &found.last_window);
    }
    for window in &saved.windows {
        let place = format!("{place}:{}", window.index);
        match found.windows.iter().find(|other| other.index == window.index) {
            Some(other) => compare_window(to, links, &place, window, other),
            None => to.missing(&place, "window", fields_of_window(window)),
        }
    }
    let known = |index: u32| saved.windows.iter().any(|window| window.index == index);
    for further in found.windows.iter().filter(|window| !known(window.index)) {
        to.fields += 1;
        to.differ(&format!("{place}:{}", further.index), "window", "missing".into(), "there".into());
    }
}

fn compare_window(to: &mut Comparison, links: &mut Links, place: &str, saved: &Window, found: &Window) {
    let linked_to = *links.entry(saved.id).or_insert(found.id);
    to.check(place, "link", &linked_to, &found.id);
    if saved.automatic_rename && found.automatic_rename {
        // The name follows the program, from one second to the next.
        to.fields += 1;
    } else {
        to.check(place, "name", &saved.name, &found.name);
    }
    to.check(place, "automatic-rename", &saved.automatic_rename, &found.automatic_rename);
    to.check(place, "layout", &comparable_layout(saved), &comparable_layout(found));
    to.check(place, "zoom", &saved.zoomed, &found.zoomed);
    to.check_each(place, "option", &saved.options, &found.options);
    to.check(place, "active pane", &saved.active_pane, &found.active_pane);
    to.check(place, "last pane", &saved.last_pane, &found.last_pane);
    for (at, pane) in saved.panes.iter().enumerate() {
        let place = format!("{place}.{}", pane.index);
        match found.panes.get(at) {
            Some(other) => compare_pane(to, &place, pane, other),
            None => to.missing(&place, "pane", fields_of_pane(pane)),
        }
    }
}

/// A layout names panes by their ids, which change; sizes and places do not.
pub(super) fn comparable_layout(window: &Window) -> String {
    let panes: Vec<u32> = window.panes.iter().map(|pane| pane.id.0).collect();
    Layout::parse(&window.layout)
        .map_or_else(|_| window.layout.clone(), |layout| layout.normalised(&panes).render())
}

fn compare_pane(to: &mut Comparison, place: &str, saved: &Pane, found: &Pane) {
    to.check(place, "title", &saved.title, &found.title);
    to.check(place, "directory", &saved.directory, &found.directory);
    to.check_each(place, "option", &saved.options, &found.options);
    to.check(place, "mark", &saved.marked, &found.marked);
    to.check(place, "end", &saved.dead, &found.dead);
    to.check(place, "program", &essence(&saved.program), &essence(&found.program));
}

/// What of a program must be the same: which executables with which arguments, in which jobs. That the
/// directory of a foreground job is its shell's is not worth a difference, and a stopped job is named, not
/// started.
fn essence(program: &Program) -> Vec<Vec<(&ByteString, &[ByteString])>> {
    let own = match program {
        Program::Shell { shell, nested, .. } => std::iter::once(shell).chain(nested).collect(),
        Program::Command { .. } | Program::Unknown => Vec::new(),
    };
    let job: Vec<&Process> = match program {
        Program::Shell { job, .. } => job.iter().collect(),
        Program::Command { process } => vec![process],
        Program::Unknown => Vec::new(),
    };
    let background = match program {
        Program::Shell { background, .. } => background.as_slice(),
        _ => &[],
    };
    let background = background.iter().filter(|job| !job.stopped).map(|job| job.processes.iter().collect());
    [own, job].into_iter().chain(background).map(all_words).collect()
}

fn all_words(processes: Vec<&Process>) -> Vec<(&ByteString, &[ByteString])> {
    processes.into_iter().map(|process| (&process.exe, process.argv.as_slice())).collect()
}

#[cfg(test)]
mod tests;
