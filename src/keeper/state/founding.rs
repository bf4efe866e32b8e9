//! Starting a server where there is none.

use std::time::Duration;

use crate::diagnosis::losses::whole;
use crate::model::evidence::Fact;
use crate::model::incident::Subject;

use super::super::action::Action;
use super::{Phase, State};

/// Under which name starts of servers are counted.
const SERVER: &str = "server";

impl State {
    pub(super) fn consider_founding(&mut self, now: Duration) -> Vec<Action> {
        if self.founding || self.restoring || self.doubt.is_some() {
            // The end of each of them is followed by another look.
            return Vec::new();
        }
        if !self.policy.found {
            self.problem = Some(
                "no tmux server is running, and tmux.found is false in config.toml; start one: tmux"
                    .to_owned(),
            );
            return Vec::new();
        }
        let limit = self.policy.restart.limit;
        if !self.starts.start(now, SERVER, limit) {
            self.say_limit(now);
            return Vec::new();
        }
        self.limit_told = false;
        self.phase = Phase::Founding;
        self.founding = true;
        vec![Action::Found]
    }

    /// Says, once, that servers end too often. The next is started when the interval is over.
    fn say_limit(&mut self, now: Duration) {
        let limit = self.policy.restart.limit;
        let (starts, within_secs) = (limit.burst, limit.interval.as_secs());
        // When none could be started, why not says more.
        self.problem.get_or_insert_with(|| {
            format!(
                "tmux servers ended {starts} times within {within_secs} s; waiting before the next is started"
            )
        });
        if !std::mem::replace(&mut self.limit_told, true)
            && let Some((_, saved)) = &self.latest
        {
            let subject = Subject { panes: Vec::new(), ..whole(&saved.server) };
            self.note_unreachable(now, subject, Fact::StartLimitHit { starts, within_secs });
        }
    }

    pub(super) fn founded(&mut self, result: Result<(), String>) -> Vec<Action> {
        self.founding = false;
        if self.phase != Phase::Founding {
            return Vec::new();
        }
        self.phase = Phase::Seeking;
        match result {
            Ok(()) => self.look(),
            Err(why) => {
                self.problem = Some(why);
                Vec::new()
            }
        }
    }
}
