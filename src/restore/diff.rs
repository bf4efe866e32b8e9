//! What happened between two states of a server, in words that people read.
//!
//! Within one life of a server things are the same if their ids are; across lives sessions are matched by their
//! names, windows by index and name, panes by their place. Titles, and names that follow the program, are not
//! compared: they change all the time. Values of variables are not told: they may be secret.

use std::collections::{BTreeSet, HashSet};

use serde::Serialize;

use crate::model::{
    ByteString, Dead, Options, Pane, Program, Scrollback, Server, Session, Window, WindowId, describe_counts,
    plural,
};
use crate::pane::what_runs;

use super::compare::comparable_layout;
use super::globals::{GlobalDifference, differing};

/// The longest value of an option that is told whole, in characters.
const VALUE_CHARS_MAX: usize = 60;

/// Something that is different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What kind of thing it happened to.
    pub thing: Thing,
    /// The session's name in the later state, or in the earlier if it is gone; empty for the server.
    pub session: String,
    /// Where it is, or where it was if it is gone: `web`, `web:2` or `web:2.1`; empty for the server.
    pub place: String,
    /// What happened.
    pub kind: Kind,
    /// What there was, if that can be told in one value.
    pub before: Option<String>,
    /// What there is.
    pub after: Option<String>,
    /// All of it as a sentence, without the session or pane it is about.
    pub words: String,
}

/// What something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "tmux's words")]
pub enum Thing {
    Server,
    Session,
    Window,
    Pane,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It is not there any more.
    Closed,
    /// It was not there before.
    New,
    /// It has another name.
    Renamed,
    /// It is at another index or in another session.
    Moved,
    /// The window is in a further session now.
    Linked,
    /// The window has another size.
    Resized,
    /// Its panes are arranged in another way.
    Layout,
    /// A pane fills the window, or does not any more.
    Zoom,
    /// Another window is the current one.
    Current,
    /// Another directory.
    Directory,
    /// Another program runs.
    Program,
    /// The program of a pane that remained has ended, or runs again.
    Ended,
    /// It is in another session group.
    Group,
    /// An option.
    Option,
    /// A variable of the session's environment.
    Variable,
    /// What is printed in it.
    Text,
    /// Paste buffers.
    Buffers,
    /// The server was started anew.
    Restarted,
    /// tmux itself.
    Version,
}

/// Returns what happened between two states, the server first and then session by session.
///
/// Without `contents` neither texts nor paste buffers are compared: a living server that was only looked at has
/// none.
pub fn diff(old: &Server, new: &Server, contents: bool) -> Vec<Change> {
    let mut diff = Diff { old, new, contents, told: HashSet::new(), changes: Vec::new() };
    diff.server();
    let same_life = diff.same_life();
    let by_id = |a: &Session, b: &Session| same_life && a.id == b.id;
    let by_name = |a: &Session, b: &Session| a.name == b.name;
    for (before, after) in matched(&old.sessions, &new.sessions, &[&by_id, &by_name]) {
        diff.session(before, after);
    }
    diff.changes
}

struct Diff<'a> {
    old: &'a Server,
    new: &'a Server,
    contents: bool,
    /// Windows that have been compared: one that is linked or shared is told once.
    told: HashSet<(Option<WindowId>, Option<WindowId>)>,
    changes: Vec<Change>,
}

/// Where something is, for its changes.
#[derive(Clone, Copy)]
struct At<'a> {
    thing: Thing,
    session: &'a str,
    place: &'a str,
}

impl<'a> Diff<'a> {
    fn same_life(&self) -> bool {
        self.old.id == self.new.id
    }

    fn add(&mut self, at: At<'_>, kind: Kind, values: [Option<String>; 2], words: String) {
        let [before, after] = values;
        let (session, place) = (at.session.to_owned(), at.place.to_owned());
        self.changes.push(Change { thing: at.thing, session, place, kind, before, after, words });
    }

    /// Adds a change of a value, if it is one.
    fn value(&mut self, at: At<'_>, kind: Kind, label: &str, before: String, after: String) {
        if before != after {
            let words = format!("{label}{before} → {after}");
            self.add(at, kind, [Some(before), Some(after)], words);
        }
    }

    fn server(&mut self) {
        let at = At { thing: Thing::Server, session: "", place: "" };
        let (old, new) = (self.old, self.new);
        if !self.same_life() {
            self.add(at, Kind::Restarted, [None, None], "another one: it was started in between".to_owned());
        }
        self.value(at, Kind::Version, "tmux ", old.version.clone(), new.version.clone());
        for GlobalDifference { option, was, is, .. } in differing(old, new) {
            self.option(at, "", &option, was.as_ref(), is.as_ref());
        }
        if self.contents && old.buffers != new.buffers {
            let count = |server: &Server| plural(server.buffers.len(), "paste buffer");
            let words = match (count(old), count(new)) {
                (before, after) if before == after => format!("{after}, changed"),
                (before, after) => format!("{before} → {after}"),
            };
            let values = [old, new].map(|server| Some(server.buffers.len().to_string()));
            self.add(at, Kind::Buffers, values, words);
        }
    }

    fn session(&mut self, before: Option<&'a Session>, after: Option<&'a Session>) {
        let name = after.or(before).map_or("", |session| session.name.as_str());
        let at = At { thing: Thing::Session, session: name, place: name };
        match (before, after) {
            (Some(old), Some(new)) => self.kept_session(at, old, new),
            (Some(old), None) => self.add(at, Kind::Closed, [None, None], format!("closed ({})", size(old))),
            (None, Some(new)) => self.add(at, Kind::New, [None, None], format!("new ({})", size(new))),
            (None, None) => {}
        }
    }

    fn kept_session(&mut self, at: At<'_>, old: &'a Session, new: &'a Session) {
        if old.name != new.name {
            let values = [Some(old.name.clone()), Some(new.name.clone())];
            self.add(at, Kind::Renamed, values, format!("was called {}", old.name));
        }
        let group = |session: &Session| session.group.clone().unwrap_or_else(|| "none".to_owned());
        self.value(at, Kind::Group, "group ", group(old), group(new));
        let directory = |session: &Session| session.directory.to_string();
        self.value(at, Kind::Directory, "directory of new windows ", directory(old), directory(new));
        self.options(at, "", &old.options, &new.options);
        self.variables(at, old, new);
        let begin = self.changes.len();
        let pairs = matched_windows(old, new, self.same_life() && old.id == new.id);
        for (before, after) in &pairs {
            self.window(at.session, *before, *after);
        }
        self.tell_one_size(at, begin, pairs.iter().filter(|pair| matches!(pair, (Some(_), Some(_)))).count());
        self.current_window(at, old, new, &pairs);
    }

    fn variables(&mut self, at: At<'_>, old: &Session, new: &Session) {
        let names: BTreeSet<&String> = old.environment.keys().chain(new.environment.keys()).collect();
        for name in names {
            let what = match (old.environment.get(name), new.environment.get(name)) {
                (before, after) if before == after => continue,
                (None, _) => "set",
                (_, None) => "unset",
                _ => "changed",
            };
            self.add(at, Kind::Variable, [None, None], format!("variable {name} {what}"));
        }
    }

    fn options(&mut self, at: At<'_>, label: &str, old: &Options, new: &Options) {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names.into_iter().filter(|name| old.get(*name) != new.get(*name)) {
            self.option(at, label, name, old.get(name), new.get(name));
        }
    }

    fn option(
        &mut self,
        at: At<'_>,
        label: &str,
        name: &str,
        old: Option<&ByteString>,
        new: Option<&ByteString>,
    ) {
        let [before, after] = [old, new].map(|value| value.map(|value| cut(&value.to_string())));
        let words = match (&before, &after) {
            (Some(before), Some(after)) => format!("{label}option {name} {before} → {after}"),
            (None, Some(after)) => format!("{label}option {name} set to {after}"),
            (_, None) => format!("{label}option {name} unset"),
        };
        self.add(at, Kind::Option, [before, after], words);
    }

    /// A terminal of another size resizes all windows of a session: that is one thing.
    fn tell_one_size(&mut self, at: At<'_>, begin: usize, windows: usize) {
        let own = || self.changes[begin..].iter().filter(|change| change.kind == Kind::Resized);
        let Some(first) = own().next().cloned() else { return };
        let same = own().filter(|change| (&change.before, &change.after) == (&first.before, &first.after));
        if windows < 2 || same.count() < windows {
            return;
        }
        let rest: Vec<Change> = self.changes.drain(begin..).collect();
        let words = format!(
            "all windows resized {} → {}",
            first.before.as_deref().unwrap_or("?"),
            first.after.as_deref().unwrap_or("?")
        );
        self.add(at, Kind::Resized, [first.before.clone(), first.after.clone()], words);
        self.changes.extend(rest.into_iter().filter(|change| change.kind != Kind::Resized));
    }

    fn current_window(&mut self, at: At<'_>, old: &Session, new: &Session, pairs: &[Pair<'_, Window>]) {
        let current = |session: &Session| {
            session.windows.iter().find(|window| window.index == session.active_window).cloned()
        };
        let (Some(before), Some(after)) = (current(old), current(new)) else { return };
        let same = pairs.iter().any(
            |pair| matches!(pair, (Some(a), Some(b)) if a.index == before.index && b.index == after.index),
        );
        if !same {
            self.value(at, Kind::Current, "current window ", label(&before), label(&after));
        }
    }

    fn window(&mut self, session: &str, before: Option<&'a Window>, after: Option<&'a Window>) {
        let place = |window: &Window| format!("{session}:{}", window.index);
        match (before, after) {
            (Some(old), Some(new)) => self.kept_window(session, &place(new), old, new),
            (Some(old), None) => self.gone_window(session, &place(old), old),
            (None, Some(new)) => self.new_window(session, &place(new), new),
            (None, None) => {}
        }
    }

    fn gone_window(&mut self, session: &str, place: &str, old: &'a Window) {
        let at = At { thing: Thing::Window, session, place };
        let now = self.same_life().then(|| find(self.new, old.id)).flatten();
        let Some((of, new)) = now else {
            if self.told.insert((Some(old.id), None)) {
                let words = format!("window {} closed ({})", label(old), contents(old));
                self.add(at, Kind::Closed, [Some(label(old)), None], words);
            }
            return;
        };
        let to = format!("{}:{}", of.name, new.index);
        let was_there = self
            .old
            .sessions
            .iter()
            .any(|other| other.id == of.id && other.windows.iter().any(|window| window.id == old.id));
        let what = if was_there { "unlinked, it is still" } else { "moved to" };
        self.add(at, Kind::Moved, [None, Some(to.clone())], format!("window {} {what} {to}", label(old)));
        self.inside_window(&of.name, &to, old, new);
    }

    fn new_window(&mut self, session: &str, place: &str, new: &'a Window) {
        let at = At { thing: Thing::Window, session, place };
        let before = self.same_life().then(|| find(self.old, new.id)).flatten();
        let Some((of, old)) = before else {
            if self.told.insert((None, Some(new.id))) {
                let words = format!("window {} new ({})", label(new), contents(new));
                self.add(at, Kind::New, [None, Some(label(new))], words);
            }
            return;
        };
        // One that has moved is told where it was.
        let still_there = self
            .new
            .sessions
            .iter()
            .any(|other| other.id == of.id && other.windows.iter().any(|window| window.id == new.id));
        if still_there {
            let from = format!("{}:{}", of.name, old.index);
            let words = format!("window {} linked from {from}", label(new));
            self.add(at, Kind::Linked, [Some(from), None], words);
        }
    }

    fn kept_window(&mut self, session: &str, place: &str, old: &Window, new: &Window) {
        if old.index != new.index {
            let at = At { thing: Thing::Window, session, place };
            let values = [old, new].map(|window| Some(window.index.to_string()));
            let words = format!("window {} moved to index {}", label(old), new.index);
            self.add(at, Kind::Moved, values, words);
        }
        self.inside_window(session, place, old, new);
    }

    fn inside_window(&mut self, session: &str, place: &str, old: &Window, new: &Window) {
        let at = At { thing: Thing::Window, session, place };
        let called = format!("window {}", label(new));
        if !self.told.insert((Some(old.id), Some(new.id))) {
            return;
        }
        if old.name != new.name && !(old.automatic_rename && new.automatic_rename) {
            let values = [Some(old.name.clone()), Some(new.name.clone())];
            let words = format!("window {} renamed {:?} → {:?}", new.index, old.name, new.name);
            self.add(at, Kind::Renamed, values, words);
        }
        self.shape(at, &called, old, new);
        self.options(at, &format!("{called} "), &old.options, &new.options);
        let by_id = self.same_life() && old.id == new.id;
        for (before, after) in matched_panes(old, new, by_id) {
            let index = after.or(before).map_or(0, |pane| pane.index);
            let place = format!("{session}:{}.{index}", new.index);
            let at = At { thing: Thing::Pane, session, place: &place };
            self.pane(at, before, after);
        }
    }

    fn shape(&mut self, at: At<'_>, called: &str, old: &Window, new: &Window) {
        let size = |window: &Window| format!("{}x{}", window.width, window.height);
        if size(old) != size(new) {
            self.value(at, Kind::Resized, &format!("{called} resized "), size(old), size(new));
        } else if old.panes.len() == new.panes.len() && comparable_layout(old) != comparable_layout(new) {
            self.add(at, Kind::Layout, [None, None], format!("{called} has another layout"));
        }
        if old.zoomed != new.zoomed {
            let words = if new.zoomed { "is zoomed" } else { "is not zoomed any more" };
            self.add(at, Kind::Zoom, [None, None], format!("{called} {words}"));
        }
    }

    fn pane(&mut self, at: At<'_>, before: Option<&Pane>, after: Option<&Pane>) {
        match (before, after) {
            (Some(old), Some(new)) => self.kept_pane(at, old, new),
            (Some(old), None) => {
                let program = told_program(&old.program);
                self.add(at, Kind::Closed, [Some(program.clone()), None], format!("closed ({program})"));
            }
            (None, Some(new)) => {
                let program = told_program(&new.program);
                self.add(at, Kind::New, [None, Some(program.clone())], format!("new ({program})"));
            }
            (None, None) => {}
        }
    }

    fn kept_pane(&mut self, at: At<'_>, old: &Pane, new: &Pane) {
        self.value(at, Kind::Program, "", told_program(&old.program), told_program(&new.program));
        if old.dead != new.dead {
            let words = new.dead.map_or_else(|| "runs again".to_owned(), how_ended);
            self.add(at, Kind::Ended, [old.dead.map(how_ended), new.dead.map(how_ended)], words);
        }
        let directory = |pane: &Pane| pane.directory.to_string();
        self.value(at, Kind::Directory, "directory ", directory(old), directory(new));
        self.options(at, "", &old.options, &new.options);
        if self.contents
            && let Some(words) = text_change(&old.scrollback, &new.scrollback)
        {
            let lines = [old, new].map(|pane| Some(pane.scrollback.lines.to_string()));
            self.add(at, Kind::Text, lines, words);
        }
    }
}

type Pair<'a, T> = (Option<&'a T>, Option<&'a T>);

/// Says whether two things are the same one.
type Rule<'a, T> = &'a dyn Fn(&T, &T) -> bool;

/// Pairs old things with new ones: by the first rule that fits, each once. The old ones come in their order, then
/// those that are new.
fn matched<'a, T>(old: &'a [T], new: &'a [T], rules: &[Rule<'_, T>]) -> Vec<Pair<'a, T>> {
    let mut partner: Vec<Option<usize>> = vec![None; old.len()];
    for rule in rules {
        for (at, one) in old.iter().enumerate() {
            if partner[at].is_none() {
                let free = |place: &usize| !partner.contains(&Some(*place));
                partner[at] = (0..new.len()).filter(free).find(|place| rule(one, &new[*place]));
            }
        }
    }
    let kept = old.iter().zip(&partner).map(|(one, place)| (Some(one), place.map(|place| &new[place])));
    let made = (0..new.len()).filter(|place| !partner.contains(&Some(*place)));
    kept.chain(made.map(|place| (None, Some(&new[place])))).collect()
}

fn matched_windows<'a>(old: &'a Session, new: &'a Session, by_id: bool) -> Vec<Pair<'a, Window>> {
    let same = |a: &Window, b: &Window| a.id == b.id;
    let alike = |a: &Window, b: &Window| a.index == b.index && a.name == b.name;
    let by_name = |a: &Window, b: &Window| a.name == b.name && !(a.automatic_rename || b.automatic_rename);
    let by_index = |a: &Window, b: &Window| a.index == b.index;
    match by_id {
        // Linked twice into one session it is there twice.
        true => matched(&old.windows, &new.windows, &[&|a, b| same(a, b) && a.index == b.index, &same]),
        false => matched(&old.windows, &new.windows, &[&alike, &by_name, &by_index]),
    }
}

fn matched_panes<'a>(old: &'a Window, new: &'a Window, by_id: bool) -> Vec<Pair<'a, Pane>> {
    if by_id {
        return matched(&old.panes, &new.panes, &[&|a, b| a.id == b.id]);
    }
    let places = old.panes.len().max(new.panes.len());
    (0..places).map(|at| (old.panes.get(at), new.panes.get(at))).collect()
}

fn find(server: &Server, id: WindowId) -> Option<(&Session, &Window)> {
    let windows = server.sessions.iter().flat_map(|one| one.windows.iter().map(move |window| (one, window)));
    windows.into_iter().find(|(_, window)| window.id == id)
}

fn size(session: &Session) -> String {
    let panes: usize = session.windows.iter().map(|window| window.panes.len()).sum();
    describe_counts((1, session.windows.len(), panes)).trim_start_matches("1 session, ").to_owned()
}

/// Returns `2 "logs"`.
fn label(window: &Window) -> String {
    format!("{} {:?}", window.index, window.name)
}

fn contents(window: &Window) -> String {
    let programs: Vec<String> = window.panes.iter().map(|pane| told_program(&pane.program)).collect();
    format!("{}: {}", plural(programs.len(), "pane"), programs.join(", "))
}

/// Returns what runs, and how many jobs run or wait in the background.
fn told_program(program: &Program) -> String {
    match program {
        Program::Shell { background, .. } if !background.is_empty() => {
            format!("{} (and {} in the background)", what_runs(program), plural(background.len(), "job"))
        }
        _ => what_runs(program),
    }
}

fn how_ended(dead: Dead) -> String {
    match dead {
        Dead::Exited(status) => format!("ended with status {status}"),
        Dead::Killed(0) => "killed by a signal".to_owned(),
        Dead::Killed(signal) => format!("killed by signal {signal}"),
    }
}

fn text_change(old: &Scrollback, new: &Scrollback) -> Option<String> {
    if old == new {
        return None;
    }
    let lines = |n: u64| plural(usize::try_from(n).unwrap_or(usize::MAX), "line");
    Some(match old.lines.cmp(&new.lines) {
        std::cmp::Ordering::Less => format!("{} more", lines(new.lines - old.lines)),
        std::cmp::Ordering::Greater => format!("{} less", lines(old.lines - new.lines)),
        std::cmp::Ordering::Equal => "other text".to_owned(),
    })
}

/// Returns a value as it is told in a sentence: not too long, and never nothing.
pub(super) fn cut(value: &str) -> String {
    match value.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None if value.is_empty() => "\"\"".to_owned(),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests;
