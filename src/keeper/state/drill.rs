//! When the keeper drills by itself, to prove that a restore would bring back what is saved.
//!
//! What is known of earlier drills comes from a record that outlives the keeper and that a person's drill changes
//! too; it is read again now and then.

use std::time::Duration;

use super::super::action::Action;
use super::super::event::Proven;
use super::{Phase, State};

/// How often the record is read.
const REVIEW_EVERY: Duration = Duration::from_secs(10 * 60);

/// How long the keeper must have run before it drills: after a boot others have more to do.
const QUIET: Duration = Duration::from_secs(15);

/// The same after an upgrade, which is often not over when the keeper starts anew.
const QUIET_AFTER_UPGRADE: Duration = Duration::from_secs(3 * 60);

/// The same where none was ever held: what is saved of the first minutes is no proof of much.
const QUIET_AT_FIRST: Duration = Duration::from_secs(10 * 60);

/// How long after a drill that found something wrong, or could not be held, the next one comes.
const RETRY: Duration = Duration::from_secs(24 * 3600);

/// What is known of drills.
#[derive(Debug, Default)]
pub(super) struct Drills {
    /// What the record said, and when it was read.
    known: Option<(Duration, Proven)>,
    asked_at: Option<Duration>,
    /// When the keeper last drilled, in this life.
    held_at: Option<Duration>,
    running: bool,
}

impl State {
    /// Decides whether a drill is held now.
    pub(super) fn consider_drill(&mut self, now: Duration) -> Vec<Action> {
        let Some(every) = self.policy.drill_every else {
            return Vec::new();
        };
        let busy = self.saving.is_some() || self.restoring || self.doubt.is_some() || self.wanted.is_some();
        if self.phase != Phase::Watching || busy || self.drills.running || !self.has_something_saved() {
            return Vec::new();
        }
        if self.drills.asked_at.is_none_or(|at| now >= at + REVIEW_EVERY) {
            self.drills.asked_at = Some(now);
            return vec![Action::ReviewDrills];
        }
        if !self.drills.due(now, every) {
            return Vec::new();
        }
        self.drills.running = true;
        self.drills.held_at = Some(now);
        vec![Action::Drill]
    }

    fn has_something_saved(&self) -> bool {
        self.head.as_ref().is_some_and(|(_, head)| head.closed.is_none())
    }

    pub(super) fn reviewed(&mut self, now: Duration, proven: Proven) {
        // One that was read before a drill ended knows nothing of it.
        if !self.drills.running {
            self.drills.known = Some((now, proven));
        }
    }

    pub(super) fn drilled(&mut self, now: Duration, proven: Proven) {
        self.drills.running = false;
        self.drills.asked_at = Some(now);
        self.drills.known = Some((now, proven));
    }
}

impl Drills {
    /// Returns whether a drill is being held.
    #[cfg(test)]
    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    /// Returns in words what the last drill found wrong.
    pub(super) fn notice(&self) -> Option<String> {
        self.known.as_ref().and_then(|(_, proven)| proven.notice.clone())
    }

    fn due(&self, now: Duration, every: Duration) -> bool {
        let Some((read_at, proven)) = &self.known else {
            return false;
        };
        let (quiet, rest) = match proven.age {
            None => (QUIET_AT_FIRST, Duration::ZERO),
            Some(_) if !proven.same_versions => (QUIET_AFTER_UPGRADE, Duration::ZERO),
            Some(_) if proven.notice.is_none() => (QUIET, every),
            Some(_) => (QUIET, RETRY),
        };
        let age = proven.age.map(|age| age + now.saturating_sub(*read_at));
        // Whatever the record says, which perhaps could not be written.
        let between = if proven.notice.is_none() { every.min(RETRY) } else { RETRY };
        let rested = self.held_at.is_none_or(|at| now >= at + between);
        now >= quiet && age.is_none_or(|age| age >= rest) && rested
    }
}
