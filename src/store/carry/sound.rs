//! What must be true of a snapshot that somebody else made. Those of our own are so because tmux is.

use std::collections::HashSet;

use crate::model::{Pane, Session, Snapshot, Window};

/// The most windows and panes in one of them together; tmux itself gets slow long before.
const PANES_MAX: usize = 100_000;

/// The largest index that tmux gives a window.
const INDEX_MAX: u32 = i32::MAX.unsigned_abs();

/// Says in words what is wrong, if anything.
pub(super) fn check(snapshot: &Snapshot) -> Result<(), String> {
    let server = &snapshot.server;
    if server.sessions.is_empty() {
        return Err("it holds no session".to_owned());
    }
    // Each place in which something is seen counts: what is said to be linked takes its time too.
    let sessions = server.sessions.len();
    let windows: usize = server.sessions.iter().map(|session| session.windows.len()).sum();
    let panes = server.panes().count();
    if sessions + windows + panes > PANES_MAX {
        return Err(format!("it holds {sessions} sessions, {windows} windows and {panes} panes"));
    }
    let mut names = HashSet::new();
    for session in &server.sessions {
        if session.name.is_empty() || session.name.contains('\0') || !names.insert(session.name.as_str()) {
            return Err(format!("a session is called {:?}, which it cannot be", session.name));
        }
        check_session(session).map_err(|why| format!("session {:?} {why}", session.name))?;
    }
    Ok(())
}

/// The most pieces that the text of a pane is in; 50,000 lines are in less than 1,600.
const PIECES_MAX: usize = 10_000;

/// Says in words if a text is longer than any of ours.
pub(super) fn check_texts(snapshot: &Snapshot) -> Result<(), String> {
    let pieces = |(_, _, pane): (&Session, &Window, &Pane)| pane.scrollback.chunks.len();
    match snapshot.server.panes().map(pieces).max() {
        Some(most) if most > PIECES_MAX => Err(format!("a pane in it has a text of {most} pieces")),
        _ => Ok(()),
    }
}

fn check_session(session: &Session) -> Result<(), String> {
    let mut indexes = HashSet::new();
    for window in &session.windows {
        if !indexes.insert(window.index) {
            return Err(format!("has two windows {}", window.index));
        }
        if window.index > INDEX_MAX {
            return Err(format!("has a window {}, which it cannot have", window.index));
        }
        check_window(window).map_err(|why| format!("has a window {} that {why}", window.index))?;
    }
    if !indexes.contains(&session.active_window) {
        return Err("has no current window".to_owned());
    }
    if !session.last_window.is_none_or(|last| indexes.contains(&last)) {
        return Err("has no last window".to_owned());
    }
    Ok(())
}

fn check_window(window: &Window) -> Result<(), &'static str> {
    let is_there = |pane: usize| pane < window.panes.len();
    if !is_there(window.active_pane) || !window.last_pane.is_none_or(is_there) {
        return Err("has no current pane");
    }
    if window.width == 0 || window.height == 0 {
        return Err("has no size");
    }
    Ok(())
}
