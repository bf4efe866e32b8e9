//! Starting a server where there is none.

use std::time::Duration;

use super::super::action::Action;
use super::{Phase, State};

/// How many servers may be started within [`FOUNDINGS_WITHIN`]; a server that keeps ending has a reason.
const FOUNDINGS_MAX: usize = 5;
/// See [`FOUNDINGS_MAX`].
const FOUNDINGS_WITHIN: Duration = Duration::from_secs(60);

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
        self.foundings.retain(|at| now < *at + FOUNDINGS_WITHIN);
        if self.foundings.len() >= FOUNDINGS_MAX {
            // When none could be started, why not says more.
            self.problem.get_or_insert_with(|| {
                format!(
                    "tmux servers ended {FOUNDINGS_MAX} times within {} s; waiting before the next is started",
                    FOUNDINGS_WITHIN.as_secs()
                )
            });
            return Vec::new();
        }
        self.foundings.push_back(now);
        self.phase = Phase::Founding;
        self.founding = true;
        vec![Action::Found]
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
