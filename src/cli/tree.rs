//! Draws sessions, windows and panes as a tree that fits the terminal.

use crate::model::{Pane, Server, Session, Window};
use crate::pane::what_runs;

use super::output::{DIM, DOUBT, NAME, columns, fit, pad, printable, styled};

/// Where the column of programs begins.
const HEAD_COLUMNS: usize = 22;

/// The widest a window's name gets.
const NAME_COLUMNS_MAX: usize = 14;

/// The widest the column of programs gets.
const PROGRAM_COLUMNS_MAX: usize = 48;

/// What is known of a living server beyond what is saved; nothing when a saved one is drawn.
pub struct Marks<'a> {
    /// How many clients are attached to a session.
    pub clients: &'a dyn Fn(&Session) -> u32,
    /// Whether a pane waits for Enter.
    pub waits: &'a dyn Fn(&Pane) -> bool,
    /// The home directory, shown as `~`.
    pub home: Option<&'a str>,
}

/// Returns the tree, a line per session, window and pane. Windows with one pane take one line.
pub fn draw(server: &Server, marks: &Marks<'_>, width: usize) -> String {
    let mut out = String::new();
    for session in &server.sessions {
        out.push_str(&session_line(session, marks, width));
        let last = session.windows.len() - 1;
        for (at, window) in session.windows.iter().enumerate() {
            draw_window(&mut out, session, window, at == last, marks, width);
        }
    }
    out
}

fn session_line(session: &Session, marks: &Marks<'_>, width: usize) -> String {
    let clients = match (marks.clients)(session) {
        0 => String::new(),
        1 => " (attached)".to_owned(),
        n => format!(" (attached {n} times)"),
    };
    let name = fit(&printable(&session.name), width.saturating_sub(columns(&clients)));
    format!("{}{}\n", styled(NAME, name), styled(DIM, clients))
}

fn draw_window(
    out: &mut String,
    session: &Session,
    window: &Window,
    last: bool,
    marks: &Marks<'_>,
    width: usize,
) {
    let (branch, trunk) = if last { ("└─", "  ") } else { ("├─", "│ ") };
    let flags = window_flags(session, window);
    let name = printable(&window.name);
    let title = format!("{branch} {} {}{flags}", window.index, fit(&name, NAME_COLUMNS_MAX));
    match &window.panes[..] {
        [pane] => out.push_str(&pane_line(&title, pane, marks, width)),
        panes => {
            out.push_str(&format!("{title}\n"));
            for (at, pane) in panes.iter().enumerate() {
                let branch = if at + 1 == panes.len() { "└─" } else { "├─" };
                let mark = if at == window.active_pane { "*" } else { " " };
                let head = format!("{trunk} {branch} {}{mark}", pane.index);
                out.push_str(&pane_line(&head, pane, marks, width));
            }
        }
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

fn pane_line(head: &str, pane: &Pane, marks: &Marks<'_>, width: usize) -> String {
    let head = pad(head, HEAD_COLUMNS);
    let waits = if (marks.waits)(pane) { "waits for Enter: " } else { "" };
    let place = printable(&shorten_home(&pane.directory.to_string(), marks.home));
    let room = width.saturating_sub(columns(&head) + 2);
    let program = printable(&format!("{waits}{}", what_runs(&pane.program)));
    let program_room = room.saturating_sub(columns(&place).min(room / 2) + 1).min(PROGRAM_COLUMNS_MAX);
    let program = pad(&fit(&program, program_room.max(8)), PROGRAM_COLUMNS_MAX.min(room / 2));
    let left = room.saturating_sub(columns(&program) + 1);
    let program = if waits.is_empty() { program } else { styled(DOUBT, program) };
    format!("{head} {program} {}\n", styled(DIM, fit(&place, left)))
}

fn shorten_home(path: &str, home: Option<&str>) -> String {
    match home.and_then(|home| path.strip_prefix(home)) {
        Some("") => "~".to_owned(),
        Some(rest) if rest.starts_with('/') => format!("~{rest}"),
        _ => path.to_owned(),
    }
}
