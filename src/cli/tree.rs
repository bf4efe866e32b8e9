//! Draws sessions, windows and panes as a tree that fits the terminal.

use std::collections::HashMap;

use crate::model::{Dead, Pane, Server, Session, Window, WindowId, plural};
use crate::pane::what_runs;

use super::output::{BAD, DIM, DOUBT, NAME, columns, fit, pad, printable, styled};

/// Where the column of programs begins.
const HEAD_COLUMNS: usize = 22;

/// The widest a window's name gets.
const NAME_COLUMNS_MAX: usize = 14;

/// The widest the column of programs gets.
const PROGRAM_COLUMNS_MAX: usize = 48;

/// The window option whose value matters to whoever types.
const SYNCHRONISED: &str = "synchronize-panes";

/// What is known of a living server beyond what is saved; nothing when a saved one is drawn.
pub struct Marks<'a> {
    /// How many clients are attached to a session.
    pub clients: &'a dyn Fn(&Session) -> u32,
    /// Whether a pane waits for Enter.
    pub waits: &'a dyn Fn(&Pane) -> bool,
    /// The home directory, shown as `~`.
    pub home: Option<&'a str>,
}

/// Returns the tree, a line per session, window and pane. Windows with one pane take one line, and a window that
/// is in several sessions is drawn in the first of them.
pub fn draw(server: &Server, marks: &Marks<'_>, width: usize) -> String {
    let mut tree = Tree { marks, width, drawn: HashMap::new(), out: String::new() };
    for session in &server.sessions {
        tree.session(session);
    }
    tree.out
}

struct Tree<'a> {
    marks: &'a Marks<'a>,
    width: usize,
    /// Where a window has been drawn.
    drawn: HashMap<WindowId, String>,
    out: String,
}

impl Tree<'_> {
    fn session(&mut self, session: &Session) {
        self.out.push_str(&session_line(session, self.marks, self.width));
        for (at, window) in session.windows.iter().enumerate() {
            let (branch, trunk) =
                if at + 1 == session.windows.len() { ("└─", "  ") } else { ("├─", "│ ") };
            let flags = window_flags(session, window);
            let name = printable(&window.name);
            let title = format!("{branch} {} {}{flags}", window.index, fit(&name, NAME_COLUMNS_MAX));
            let place = format!("{}:{}", session.name, window.index);
            match self.drawn.get(&window.id) {
                Some(drawn) => {
                    let drawn = printable(&format!("the same window as {drawn}"));
                    let room = self.width.saturating_sub(HEAD_COLUMNS + 1);
                    let title = pad(&title, HEAD_COLUMNS);
                    self.out.push_str(&format!("{title} {}\n", styled(DIM, fit(&drawn, room))));
                }
                None => self.window(&title, trunk, window),
            }
            self.drawn.entry(window.id).or_insert(place);
        }
    }

    fn window(&mut self, title: &str, trunk: &str, window: &Window) {
        let extras = window_extras(window);
        if let [pane] = &window.panes[..] {
            self.out.push_str(&pane_line(title, pane, extras, self.marks, self.width));
            return;
        }
        let room = self.width.saturating_sub(HEAD_COLUMNS + 1);
        match extras.is_empty() {
            true => self.out.push_str(&format!("{title}\n")),
            false => {
                let title = pad(title, HEAD_COLUMNS);
                self.out.push_str(&format!("{title} {}\n", styled(DIM, fit(&extras.join(", "), room))));
            }
        }
        for (at, pane) in window.panes.iter().enumerate() {
            let branch = if at + 1 == window.panes.len() { "└─" } else { "├─" };
            let mark = if at == window.active_pane { "*" } else { " " };
            let head = format!("{trunk} {branch} {}{mark}", pane.index);
            self.out.push_str(&pane_line(&head, pane, Vec::new(), self.marks, self.width));
        }
    }
}

fn session_line(session: &Session, marks: &Marks<'_>, width: usize) -> String {
    let mut extras = match (marks.clients)(session) {
        0 => Vec::new(),
        1 => vec!["attached".to_owned()],
        n => vec![format!("attached {n} times")],
    };
    extras.extend(session.group.as_ref().map(|group| format!("group {}", printable(group))));
    extras.extend(counted(session.options.len(), "option"));
    extras.extend(counted(session.environment.len(), "variable"));
    let extras = if extras.is_empty() { String::new() } else { format!(" ({})", extras.join(", ")) };
    let extras = fit(&extras, width / 2);
    let name = fit(&printable(&session.name), width.saturating_sub(columns(&extras)));
    format!("{}{}\n", styled(NAME, name), styled(DIM, extras))
}

/// What a window has that most have not. How it is split is seen, and that it is zoomed says its flag.
fn window_extras(window: &Window) -> Vec<String> {
    let synchronised = window.options.get(SYNCHRONISED).is_some_and(|value| value.as_bytes() == b"on");
    // A name given by hand switches `automatic-rename` off, so most windows have that.
    let told = [SYNCHRONISED, "automatic-rename"];
    let others = window.options.keys().filter(|name| !told.contains(&name.as_str())).count();
    let synchronised = synchronised.then(|| "panes synchronised".to_owned());
    synchronised.into_iter().chain(counted(others, "option")).collect()
}

fn pane_extras(pane: &Pane) -> Vec<String> {
    let marked = pane.marked.then(|| "marked".to_owned());
    let lines = usize::try_from(pane.scrollback.lines).unwrap_or(usize::MAX);
    marked.into_iter().chain(counted(pane.options.len(), "option")).chain(counted(lines, "line")).collect()
}

/// `3 options`, or nothing for none.
fn counted(n: usize, noun: &str) -> Option<String> {
    (n > 0).then(|| plural(n, noun))
}

fn ended(dead: Dead) -> String {
    match dead {
        Dead::Exited(status) => format!("ended with {status}: "),
        Dead::Killed(0) => "killed by a signal: ".to_owned(),
        Dead::Killed(signal) => format!("killed by signal {signal}: "),
    }
}

/// tmux's own letters (tmux(1), STATUS LINE): `*` current, `-` last, `Z` zoomed.
fn window_flags(session: &Session, window: &Window) -> String {
    let mut flags = String::new();
    if session.active_window == window.index {
        flags.push('*');
    }
    if session.last_window == Some(window.index) {
        flags.push('-');
    }
    if window.zoomed {
        flags.push('Z');
    }
    flags
}

fn pane_line(head: &str, pane: &Pane, mut extras: Vec<String>, marks: &Marks<'_>, width: usize) -> String {
    let head = pad(head, HEAD_COLUMNS);
    let waits = if (marks.waits)(pane) { "waits for Enter: " } else { "" };
    let ended = pane.dead.map(ended).unwrap_or_default();
    let mut place = printable(&shorten_home(&pane.directory.to_string(), marks.home));
    extras.extend(pane_extras(pane));
    if !extras.is_empty() {
        place.push_str(&format!(" ({})", extras.join(", ")));
    }
    let room = width.saturating_sub(columns(&head) + 2);
    let program = printable(&format!("{waits}{ended}{}", what_runs(&pane.program)));
    let program_room = room.saturating_sub(columns(&place).min(room / 2) + 1).min(PROGRAM_COLUMNS_MAX);
    let program = pad(&fit(&program, program_room.max(8)), PROGRAM_COLUMNS_MAX.min(room / 2));
    let left = room.saturating_sub(columns(&program) + 1);
    let program = match (ended.is_empty(), waits.is_empty()) {
        (false, _) => styled(BAD, program),
        (true, false) => styled(DOUBT, program),
        (true, true) => program,
    };
    format!("{head} {program} {}\n", styled(DIM, fit(&place, left)))
}

fn shorten_home(path: &str, home: Option<&str>) -> String {
    match home.and_then(|home| path.strip_prefix(home)) {
        Some("") => "~".to_owned(),
        Some(rest) if rest.starts_with('/') => format!("~{rest}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Scrollback, sample};

    #[test]
    fn what_is_special_is_told_and_nothing_else() {
        let mut server = sample::server(1, &["web", "view"]);
        let web = &mut server.sessions[0];
        web.group = Some("web".to_owned());
        web.options.insert("status".to_owned(), "off".into());
        let mut split = sample::window(5, 1, vec![sample::pane(5, 0), sample::pane(6, 1)]);
        split.zoomed = true;
        split.options.insert(SYNCHRONISED.to_owned(), "on".into());
        split.options.insert("@x".to_owned(), "y".into());
        split.panes[0].marked = true;
        split.panes[0].scrollback = Scrollback { lines: 120, chunks: Vec::new() };
        split.panes[1].dead = Some(Dead::Exited(2));
        let link = Window { index: 4, ..split.clone() };
        web.windows.push(split);
        server.sessions[1].windows.push(link);
        let marks = Marks { clients: &|_| 0, waits: &|_| false, home: Some("/home/ann") };
        let drawn = draw(&server, &marks, 80);
        let plain = anstream::adapter::strip_str(&drawn).to_string();
        let lines: Vec<&str> = plain.lines().map(str::trim_end).collect();
        let expected = [
            "web (group web, 1 option)",
            "├─ 0 window 0*         bash                         ~/src",
            "└─ 1 window 5Z         panes synchronised, 1 option",
            "   ├─ 0*               bash                         ~/src (marked, 120 lines)",
            "   └─ 1                ended with 2: bash           ~/src",
            "view",
            "├─ 0 window 1*         bash                         ~/src",
            "└─ 4 window 5Z         the same window as web:1",
        ];
        assert_eq!(lines, expected);
        for width in [20, 40, 79] {
            let drawn = draw(&server, &marks, width);
            let plain = anstream::adapter::strip_str(&drawn).to_string();
            let widest = plain.lines().map(|line| columns(line.trim_end())).max();
            assert!(width < 40 || widest <= Some(width), "{width}: {plain}");
        }
    }
}
