//! A server that lives and cannot be reached, because the path of its socket is gone.

use std::time::Duration;

use crate::diagnosis::losses::whole;
use crate::model::evidence::Fact;
use crate::model::incident::Subject;

use super::super::action::Action;
use super::State;

/// How often a server is told to make its socket again. It takes it milliseconds; where it cannot, telling it more
/// often does not help.
const SIGNAL_EVERY: Duration = Duration::from_secs(60);

impl State {
    pub(super) fn saw_orphan(&mut self, now: Duration, pid: u32) -> Vec<Action> {
        self.problem = Some(format!(
            "a tmux server (pid {pid}) lives, but the path of its socket is gone; bring it back with: kill -USR1 {pid}"
        ));
        let mut actions = self.refuse_asked("the tmux server cannot be reached");
        if self.signalled_at.is_none_or(|at| now >= at + SIGNAL_EVERY) {
            self.signalled_at = Some(now);
            let server = self.known_server(pid);
            if let Some(server) = server.filter(|server| self.orphaned.as_ref() != Some(&server.server)) {
                self.orphaned = Some(server.server.clone());
                self.note_unreachable(now, server, Fact::SocketGone { pid });
            }
            actions.push(Action::BringBackSocket { pid });
        }
        actions
    }

    /// Returns the server of a process as something that has happened to it: as it was seen last, or saved last.
    pub(super) fn known_server(&self, pid: u32) -> Option<Subject> {
        let live = self.live.as_ref().map(|live| &live.server);
        let saved = self.latest.as_ref().map(|(_, saved)| &saved.server);
        live.into_iter().chain(saved).find(|server| server.id.pid == pid).map(whole)
    }

    pub(super) fn signalled(&mut self, result: Result<(), String>) -> Vec<Action> {
        match result {
            Ok(()) => self.look(),
            Err(why) => {
                self.problem = Some(format!("a tmux server lives, and cannot be reached: {why}"));
                Vec::new()
            }
        }
    }
}
