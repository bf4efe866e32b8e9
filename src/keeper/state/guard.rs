//! Which states may become the head, the one that a restore starts from by itself.
//!
//! The worst complaint about every other tool is a good save that was replaced by an empty or a partial one. So
//! a state that has lost most of what it had at once, or that lacks something which the head of an earlier server
//! has, is saved beside the head, not as the head, until one of these shows that it is what its user wants:
//! everything is there again, somebody asked for a snapshot, it has stayed like that for [`TRUST_AFTER`] since
//! somebody attached, or for [`TRUST_UNSEEN_AFTER`].

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Aside, Generation, Reason, Server, Session, Snapshot};
use crate::tmux::observe::Observation;

use super::State;

/// How long a doubtful state must last before it is trusted, since somebody attached to it. Long enough to notice;
/// short enough that a day's work is not restored to what it was before.
const TRUST_AFTER: Duration = Duration::from_secs(15 * 60);

/// The same where nobody attaches: programs may work in it that nobody looks at, and their work counts too.
const TRUST_UNSEEN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The fewest sessions, or windows of one session, that must go at once to be doubtful: that one goes, or two, is
/// every day's work.
const LOST_MIN: usize = 3;

/// A doubtful state, and what it is measured by.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    /// How the states are saved that come now.
    pub(super) aside: Aside,
    since: Duration,
    /// Since when somebody has been attached, at some time.
    attended_since: Option<Duration>,
    /// What counts meanwhile.
    head: (Generation, Arc<Snapshot>),
    /// What ended at once, in words; empty where that is not the reason.
    lost: String,
}

impl Guard {
    fn new(aside: Aside, now: Duration, head: (Generation, Arc<Snapshot>), lost: String) -> Self {
        Self { aside, since: now, attended_since: None, head, lost }
    }

    /// Returns whether the doubt is over.
    fn is_over(&mut self, now: Duration, live: &Observation) -> bool {
        if live.attached.values().any(|clients| *clients > 0) {
            self.attended_since.get_or_insert(now);
        }
        let lasted = now >= self.since + TRUST_UNSEEN_AFTER
            || self.attended_since.is_some_and(|since| now >= since + TRUST_AFTER);
        // That there is nothing shows nothing, however long it lasts.
        lasted && !live.server.sessions.is_empty() || reached(&self.head.1.server, &live.server)
    }
}

impl State {
    /// Doubts a server that lacks something of the head, which shows an earlier one, whether or not that is restored
    /// now.
    pub(super) fn guard_predecessor(&mut self, now: Duration) {
        let live = self.live.as_ref();
        self.guard = self.head.clone().zip(live).and_then(|(head, live)| {
            let saved = &head.1;
            let intended = saved.closed.is_some() || self.closed.as_ref() == Some(&saved.server.id);
            let same = saved.server.id == live.server.id || reached(&saved.server, &live.server);
            (!intended && !same).then(|| Guard::new(Aside::Restoring, now, head, String::new()))
        });
    }

    /// Doubts a state that lost most of what was saved last, all between two looks.
    pub(super) fn guard_shrinking(&mut self, now: Duration, live: &Server) {
        let Some((saved, head)) = self.base().map(|(_, saved)| saved.clone()).zip(self.head.clone()) else {
            return;
        };
        if self.guard.is_none()
            && let Some(lost) = lost_at_once(&saved.server, live)
        {
            self.guard = Some(Guard::new(Aside::Shrunk, now, head, lost));
        }
    }

    /// Ends the doubt if there is a reason to.
    pub(super) fn review_guard(&mut self, now: Duration, live: &Observation, asked: bool) {
        self.guard.take_if(|guard| guard.is_over(now, live) || asked);
    }

    /// Returns whether a server that ended in an orderly way may have ended because what was left of it died as the
    /// rest had before. One that lives on without sessions (`exit-empty off`) was told to end.
    pub(super) fn ended_with_the_rest(&self) -> bool {
        let shrunk = self.guard.as_ref().is_some_and(|guard| guard.aside == Aside::Shrunk);
        let needs_sessions =
            |live: &Server| live.globals.server.get("exit-empty").is_some_and(|on| *on == "on".into());
        shrunk && self.live.as_ref().is_some_and(|live| needs_sessions(&live.server))
    }

    /// Returns whether what a restore has made was not looked at yet.
    fn has_just_restored(&self) -> bool {
        matches!(self.wanted, Some((Reason::Restored, _)))
    }

    /// Returns in words what is doubted, and what to do about it.
    pub(super) fn doubt_in_words(&self) -> Option<String> {
        let guard = self.guard.as_ref()?;
        let (generation, lost) = (guard.head.0, &guard.lost);
        match guard.aside {
            Aside::Shrunk => Some(format!(
                "{lost} ended at once, and nothing shows that you wanted that: snapshot {generation} still counts; \
                 to bring them back: keeperctl restore {generation}; if you closed them: keeperctl snapshot take"
            )),
            Aside::Restoring if !self.restoring && !self.has_just_restored() => Some(format!(
                "not everything of snapshot {generation} is back, so that one still counts; what is missing: \
                 keeperctl snapshot diff {generation} now; if all is well: keeperctl snapshot take"
            )),
            Aside::Restoring | Aside::Imported => None,
        }
    }
}

/// Returns in words what went, if that is most of the sessions, or most of the windows of a session that lives on.
fn lost_at_once(before: &Server, live: &Server) -> Option<String> {
    let most = |lost: usize, all: usize| lost >= LOST_MIN && 2 * lost > all;
    let now = |session: &Session| live.sessions.iter().find(|other| other.id == session.id);
    let gone = before.sessions.iter().filter(|session| now(session).is_none()).count();
    if most(gone, before.sessions.len()) {
        return Some(format!("{gone} sessions"));
    }
    before.sessions.iter().find_map(|session| {
        let now = now(session)?;
        let lives = |id| now.windows.iter().any(|other| other.id == id);
        let gone = session.windows.iter().filter(|window| !lives(window.id)).count();
        most(gone, session.windows.len()).then(|| format!("{gone} windows of session {}", now.name))
    })
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
