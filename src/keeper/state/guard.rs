//! Which states may become the head, the one that a restore starts from by itself.
//!
//! The worst complaint about every other tool is a good save that was replaced by an empty or a partial one. So
//! a state that has lost most of its sessions at once, or that a restore has not finished making, is saved
//! beside the head, not as the head, until one of these shows that it is what its user wants: everything is
//! there again, somebody asked for a snapshot, or it has stayed like that for [`TRUST_AFTER`].

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Aside, Generation, Server, Snapshot};
use crate::restore::plan::Plan;

use super::State;

/// How long a doubtful state must last before it is trusted. Long enough that somebody who was logged out or
/// whose machine went down notices; short enough that a day's work is not restored to what it was before.
const TRUST_AFTER: Duration = Duration::from_secs(15 * 60);

/// The fewest sessions that must go at once to be doubtful: that one goes, or two, is every day's work.
const LOST_MIN: usize = 3;

/// A doubtful state, and what it is measured by.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    /// How the states are saved that come now.
    pub(super) aside: Aside,
    since: Duration,
    /// What counts meanwhile.
    head: (Generation, Arc<Snapshot>),
    /// How many sessions are missing.
    missing: usize,
}

impl State {
    /// Doubts everything that is seen until a plan has been carried out.
    pub(super) fn guard_restore(&mut self, now: Duration, plan: &Plan) {
        let head = self.head.clone().filter(|(generation, _)| *generation == plan.generation);
        self.guard =
            head.map(|head| Guard { aside: Aside::Restoring, since: now, head, missing: plan.steps.len() });
    }

    /// Doubts a state that lost most of the sessions that were saved last, all between two looks.
    pub(super) fn guard_shrinking(&mut self, now: Duration, live: &Server) {
        let Some((saved, head)) = self.base().map(|(_, saved)| saved.clone()).zip(self.head.clone()) else {
            return;
        };
        let missing = missing_sessions(&saved.server, live);
        if self.guard.is_none() && missing >= LOST_MIN && 2 * missing > saved.server.sessions.len() {
            self.guard = Some(Guard { aside: Aside::Shrunk, since: now, head, missing });
        }
    }

    /// Ends the doubt if there is a reason to.
    pub(super) fn review_guard(&mut self, now: Duration, live: &Server, asked: bool) {
        let over = |guard: &mut Guard| {
            asked || now >= guard.since + TRUST_AFTER || reached(&guard.head.1.server, live)
        };
        self.guard.take_if(over);
    }

    /// Returns in words what is doubted, and what to do about it.
    pub(super) fn doubt_in_words(&self) -> Option<String> {
        let guard = self.guard.as_ref()?;
        let (generation, missing) = (guard.head.0, guard.missing);
        match guard.aside {
            Aside::Shrunk => Some(format!(
                "{missing} sessions ended at once, and nothing shows that you wanted that: snapshot {generation} \
                 still counts; to bring them back: keeperctl restore {generation}; if you closed them: \
                 keeperctl snapshot take"
            )),
            Aside::Restoring if !self.restoring => Some(format!(
                "not everything of snapshot {generation} is back, so that one still counts; what is missing: \
                 keeperctl snapshot diff {generation} now; if all is well: keeperctl snapshot take"
            )),
            Aside::Restoring | Aside::Imported => None,
        }
    }
}

fn missing_sessions(before: &Server, live: &Server) -> usize {
    before.sessions.iter().filter(|session| live.sessions.iter().all(|other| other.id != session.id)).count()
}

/// Returns whether a server has, under the same names, at least as much as another one had.
fn reached(wanted: &Server, live: &Server) -> bool {
    let panes =
        |windows: &[crate::model::Window]| windows.iter().map(|window| window.panes.len()).sum::<usize>();
    wanted.sessions.iter().all(|session| {
        live.sessions.iter().filter(|other| other.name == session.name).any(|other| {
            other.windows.len() >= session.windows.len() && panes(&other.windows) >= panes(&session.windows)
        })
    })
}
