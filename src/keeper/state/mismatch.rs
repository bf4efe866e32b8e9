//! A server that lives and cannot be talked to, because tmux was replaced by another version meanwhile.

use std::time::Duration;

use crate::diagnosis::losses::whole;
use crate::model::evidence::Fact;

use super::super::action::Action;
use super::State;

impl State {
    /// The server goes on, and so does every client that is attached: only new ones are refused. Nothing that the
    /// keeper could do is better than what its user can: attach with the old program, or end it.
    pub(super) fn saw_mismatch(&mut self, now: Duration, pid: Option<u32>, said: String) -> Vec<Action> {
        let process = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
        self.problem = Some(format!(
            "the tmux server{process} is of another version than tmux: {said}; sessions are not saved until one of them is replaced: keeperctl why"
        ));
        // Who is watched has not ended: that is told by the client that waits for it.
        let watched = || self.live.as_ref().map(|live| whole(&live.server));
        let server = pid.and_then(|pid| self.known_server(pid)).or_else(watched);
        if let Some(server) = server.filter(|server| self.mismatched.as_ref() != Some(&server.server)) {
            self.mismatched = Some(server.server.clone());
            self.note_unreachable(now, server, Fact::VersionMismatch { said });
        }
        self.refuse_asked("the tmux server is of another version")
    }
}
