//! The end of the machine, or our own: a last look, a last save, and then nothing any more.

use std::time::Duration;

use crate::model::Reason;

use super::super::action::Action;
use super::{Doubt, Phase, State, Then};

/// How long the last look and the last save may take before we end without them.
const FINISH_MAX: Duration = Duration::from_secs(8);

/// How much longer a restore may take that is under way when we are stopped: half a session would count as
/// alive at the next start. `TimeoutStopSec=` of the unit leaves this time.
const RESTORE_MAX: Duration = Duration::from_secs(45);

impl State {
    /// Returns how long to wait for the end of what is under way.
    pub(super) fn patience(&self, then: Then, deadline: Duration) -> Duration {
        match then {
            Then::Exit if self.restoring => deadline + RESTORE_MAX,
            Then::Exit | Then::Freeze => deadline,
        }
    }

    /// The restore that we waited for has ended: now there is time for the last snapshot.
    pub(super) fn finish_after_restore(&mut self, now: Duration, then: Then) -> Vec<Action> {
        self.phase = Phase::Finishing(then, now + FINISH_MAX);
        self.last_look(now)
    }

    pub(super) fn shutdown_begins(&mut self, now: Duration, held: bool) -> Vec<Action> {
        match self.phase {
            Phase::Finishing(..) | Phase::Frozen(_) => vec![Action::ReleaseShutdown],
            _ => {
                self.trust_last_look = held;
                self.phase = Phase::Finishing(Then::Freeze, now + FINISH_MAX);
                self.last_look(now)
            }
        }
    }

    pub(super) fn thaw(&mut self) -> Vec<Action> {
        match self.phase {
            Phase::Frozen(_) | Phase::Finishing(Then::Freeze, _) => {
                self.phase = Phase::Seeking;
                self.last_saving = false;
                [vec![Action::HoldShutdown], self.look()].concat()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn terminate(&mut self, now: Duration) -> Vec<Action> {
        match self.phase {
            Phase::Frozen(_) => vec![Action::Exit],
            Phase::Finishing(_, deadline) => {
                self.phase = Phase::Finishing(Then::Exit, deadline);
                Vec::new()
            }
            _ => {
                self.phase = Phase::Finishing(Then::Exit, now + FINISH_MAX);
                self.ask(Doubt::Terminate)
            }
        }
    }

    pub(super) fn last_look(&mut self, now: Duration) -> Vec<Action> {
        if self.live.is_none() {
            return self.finish_now(now);
        }
        if self.restoring || self.saving.is_some() {
            // Its end brings us back here: half a restore must not be saved.
            return Vec::new();
        }
        self.look()
    }

    /// Saves what the last look saw, unless something is gone that may have gone down already, or has not
    /// come back yet.
    pub(super) fn last_save(&mut self, now: Duration) -> Vec<Action> {
        if self.doubt.is_some() || self.saving.is_some() || self.restoring {
            // The end of each of them brings us back here.
            return Vec::new();
        }
        let Some(live) = self.live.clone() else {
            return self.finish_now(now);
        };
        let shrunk = self.has_shrunk(&live);
        let lacking = self.base().is_none() && (self.restore_problem.is_some() || !self.trust_last_look);
        let unknown = self.reconciled.as_ref() != Some(&live.server.id);
        let empty = live.server.sessions.is_empty();
        if empty || unknown || lacking || (shrunk && !self.trust_last_look) {
            return self.finish_now(now);
        }
        self.guard_shrinking(now, &live.server);
        self.review_guard(now, &live, false);
        self.last_saving = true;
        self.save(now, Reason::Stopping, &live)
    }

    pub(super) fn finish_now(&mut self, now: Duration) -> Vec<Action> {
        match self.phase {
            Phase::Finishing(then, _) => self.finish(now, then),
            _ => Vec::new(),
        }
    }

    pub(super) fn finish(&mut self, now: Duration, then: Then) -> Vec<Action> {
        match then {
            Then::Exit => vec![Action::Exit],
            Then::Freeze => [self.freeze(now), vec![Action::ReleaseShutdown]].concat(),
        }
    }

    pub(super) fn freeze(&mut self, now: Duration) -> Vec<Action> {
        self.phase = Phase::Frozen(now);
        [self.refuse_wish("everything is going down"), self.refuse_wanted("everything is going down")]
            .concat()
    }
}
