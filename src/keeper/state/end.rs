//! Ends: of the server, or of parts of it. Whether they are what the user wanted is decided here.

use std::time::Duration;

use crate::model::{Closed, Reason, ServerId};

use super::super::action::Action;
use super::super::event::Ending;
use super::{Doubt, Phase, State};

impl State {
    pub(super) fn server_ended(&mut self, now: Duration, id: &ServerId, ending: Ending) -> Vec<Action> {
        if self.live.as_ref().is_none_or(|live| live.server.id != *id) {
            return Vec::new();
        }
        match self.phase {
            Phase::Finishing(..) => return self.finish_now(now),
            Phase::Frozen(_) | Phase::Founding => return Vec::new(),
            Phase::Seeking | Phase::Restoring | Phase::Watching | Phase::Ended(_) => {}
        }
        self.note_server_end(now, ending);
        self.ending = ending;
        if ending == Ending::Orderly || self.is_starved(now, ending) {
            self.phase = Phase::Ended(now);
            return Vec::new();
        }
        self.ask(Doubt::Lost)
    }

    /// Asks whether everything is going down, before something that is gone is believed to be closed or
    /// something is started again.
    pub(super) fn ask(&mut self, doubt: Doubt) -> Vec<Action> {
        if self.doubt.is_some() {
            return Vec::new();
        }
        self.doubt = Some(doubt);
        vec![Action::AskGoingDown]
    }

    pub(super) fn going_down(&mut self, now: Duration, yes: bool) -> Vec<Action> {
        let Some(doubt) = self.doubt.take() else {
            return Vec::new();
        };
        if let Phase::Finishing(..) = self.phase {
            self.trust_last_look = !yes;
            return self.last_look(now);
        }
        match (doubt, yes) {
            (_, true) => self.freeze(now),
            (Doubt::Frozen, false) => self.thaw(),
            // Asked before something happened that says more than the answer does.
            (_, false) if matches!(self.phase, Phase::Frozen(_)) => Vec::new(),
            (Doubt::Lost, false) if matches!(self.phase, Phase::Ended(_)) => Vec::new(),
            (Doubt::Lost, false) if self.comes_back(now, Ending::Lost) => self.seek_again(),
            (Doubt::Ended, false) if self.comes_back(now, self.ending) => self.seek_again(),
            (Doubt::Lost | Doubt::Ended, false) => {
                let actions = self.save_closed(Closed::Server);
                [actions, self.seek_again()].concat()
            }
            (Doubt::Shrunk, false) => self.accept_shrinking(now),
            (Doubt::Terminate, false) => Vec::new(),
        }
    }

    fn seek_again(&mut self) -> Vec<Action> {
        self.live = None;
        self.guard = None;
        self.unsaved.clear();
        self.vanished_since = None;
        self.shrunk_since = None;
        self.phase = Phase::Seeking;
        [self.refuse_wish("the tmux server ended"), self.refuse_wanted("the tmux server ended"), self.look()]
            .concat()
    }

    fn accept_shrinking(&mut self, now: Duration) -> Vec<Action> {
        self.shrunk_since = None;
        self.unsaved.clear();
        let Some(live) = self.live.clone().filter(|_| self.phase == Phase::Watching && self.saving.is_none())
        else {
            return Vec::new();
        };
        // What was asked for meanwhile is to be as it was then, and takes a look of its own.
        let wanted = self.wanted.filter(|_| self.closely);
        let asked = wanted.is_some_and(|(reason, _)| reason == Reason::Asked);
        self.guard_shrinking(now, &live.server);
        self.review_guard(now, &live, asked);
        if live.server.sessions.is_empty() {
            return if self.guard.is_none() { self.save_closed(Closed::LastSession) } else { Vec::new() };
        }
        self.wanted.take_if(|_| wanted.is_some());
        let (reason, token) = wanted.unwrap_or((Reason::Changed, None));
        self.saving_for = token;
        self.save(now, reason, &live)
    }
}
