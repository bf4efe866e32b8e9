//! What of a server has changed, and what kind of change that is.

use std::time::Duration;

use crate::model::{GlobalOptions, Program, Scrollback, Server};
use crate::tmux::observe::OutputMark;

/// A pane whose window printed something, but perhaps another pane in it, is read again this late.
const DOUBTFUL_OUTPUT: Duration = Duration::from_secs(30);

/// Returns whether a pane has printed since its text was read. `activity` is the whole window's, and in
/// seconds, so that alone is believed only now and then.
pub(super) fn has_printed(read: OutputMark, since_read: Duration, mark: OutputMark) -> bool {
    let moved = (read.history, read.cursor) != (mark.history, mark.cursor);
    moved || (read.activity != mark.activity && since_read >= DOUBTFUL_OUTPUT)
}

/// Returns whether a server has less than it had: a session, a window or a pane.
pub(super) fn lacks(before: &Server, after: &Server) -> bool {
    before.sessions.iter().any(|session| {
        let Some(now) = after.sessions.iter().find(|other| other.id == session.id) else {
            return true;
        };
        session.windows.iter().any(|window| {
            let Some(now) = now.windows.iter().find(|other| other.id == window.id) else {
                return true;
            };
            window.panes.iter().any(|pane| now.panes.iter().all(|other| other.id != pane.id))
        })
    })
}

/// Returns a server without what changes by itself: only what a person arranged.
pub(super) fn structure(server: &Server) -> Server {
    let mut server = details(server);
    server.globals = GlobalOptions::default();
    for session in &mut server.sessions {
        session.options.clear();
        session.environment.clear();
    }
    for window in server.sessions.iter_mut().flat_map(|session| &mut session.windows) {
        window.options.clear();
        if window.automatic_rename {
            window.name.clear();
        }
        for pane in &mut window.panes {
            pane.title.clear();
            pane.options.clear();
            pane.program = Program::Unknown;
            pane.directory = Default::default();
            pane.start = None;
        }
    }
    server
}

/// Returns a server without the texts, those of paste buffers among them.
pub(super) fn details(server: &Server) -> Server {
    let mut server = server.clone();
    server.panes_mut().for_each(|pane| pane.scrollback = Scrollback::default());
    server.buffers.clear();
    server
}
