//! What a restore would do: a saved state and the living server in, a plan out.
//!
//! Nothing that lives is ever touched. What is there already is skipped and said; planning again after a
//! plan was carried out yields an empty one.

use jiff::Timestamp;

use crate::model::{Closed, Generation, Pane, Server, Session, Snapshot, Window};

use super::approved::Approved;

/// What to restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these sessions; empty for all.
    pub sessions: Vec<String>,
    /// Whether a person asked. Then also what they had closed comes back.
    pub by_hand: bool,
}

/// What a restore does, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The generation it restores from.
    pub generation: Generation,
    /// When that was taken.
    pub taken_at: Timestamp,
    /// What is made.
    pub steps: Vec<Step>,
    /// What is left out.
    pub skips: Vec<Skip>,
}

/// One session to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The session as it was.
    pub session: Session,
    /// The session of the same group whose windows it shares; then it gets none of its own.
    pub shares_windows_of: Option<String>,
}

/// One session that is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// Its name.
    pub session: String,
    /// Why not.
    pub why: SkipReason,
}

/// Why a session is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// A session of this name lives.
    Alive,
    /// The user had closed it.
    Closed,
}

impl SkipReason {
    /// Returns the reason in words.
    pub fn sentence(self) -> &'static str {
        match self {
            SkipReason::Alive => "a session of this name is there already",
            SkipReason::Closed => "you had closed it",
        }
    }
}

/// A session that was asked for and is not in the generation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("snapshot {generation} holds no session {wanted:?}; it holds: {}", known.join(", "))]
pub struct UnknownSession {
    generation: Generation,
    wanted: String,
    known: Vec<String>,
}

/// Plans to bring back what of a generation is not alive.
pub fn plan(
    generation: Generation,
    saved: &Snapshot,
    live: Option<&Server>,
    selection: &Selection,
) -> Result<Plan, UnknownSession> {
    check_names(generation, saved, selection)?;
    let mut plan = Plan { generation, taken_at: saved.taken_at, steps: Vec::new(), skips: Vec::new() };
    let wanted = |name: &String| selection.sessions.is_empty() || selection.sessions.contains(name);
    for session in saved.server.sessions.iter().filter(|session| wanted(&session.name)) {
        match skip_reason(session, saved, live, selection) {
            Some(why) => plan.skips.push(Skip { session: session.name.clone(), why }),
            None => {
                let shares_windows_of = group_peer(session, &plan.steps, live);
                plan.steps.push(Step { session: session.clone(), shares_windows_of });
            }
        }
    }
    Ok(plan)
}

fn check_names(
    generation: Generation,
    saved: &Snapshot,
    selection: &Selection,
) -> Result<(), UnknownSession> {
    let known = || saved.server.sessions.iter().map(|session| session.name.clone());
    match selection.sessions.iter().find(|wanted| !known().any(|name| name == **wanted)) {
        Some(wanted) => Err(UnknownSession { generation, wanted: wanted.clone(), known: known().collect() }),
        None => Ok(()),
    }
}

fn skip_reason(
    session: &Session,
    saved: &Snapshot,
    live: Option<&Server>,
    selection: &Selection,
) -> Option<SkipReason> {
    let live = live?;
    // Within one life of a server the id says more than the name: the session may have been renamed.
    let same_life = live.id == saved.server.id;
    let alive = |other: &Session| other.name == session.name || (same_life && other.id == session.id);
    if live.sessions.iter().any(alive) {
        return Some(SkipReason::Alive);
    }
    (same_life && !selection.by_hand).then_some(SkipReason::Closed)
}

/// Returns a session of the same group that is alive or will have been made by then.
fn group_peer(session: &Session, steps: &[Step], live: Option<&Server>) -> Option<String> {
    let group = session.group.as_ref()?;
    let planned = steps.iter().map(|step| &step.session);
    let alive = live.into_iter().flat_map(|server| &server.sessions);
    planned.chain(alive).find(|other| other.group.as_ref() == Some(group)).map(|peer| peer.name.clone())
}

impl Plan {
    /// Returns whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns the programs besides shells that panes will have: those that start by themselves, and those that
    /// will wait for Enter.
    pub fn programs(&self, approved: &Approved) -> Programs {
        let own = self.steps.iter().filter(|step| step.shares_windows_of.is_none());
        let windows = own.flat_map(|step| step.session.windows.iter().map(|window| (&step.session, window)));
        let panes =
            windows.flat_map(|(session, window)| window.panes.iter().map(move |p| (session, window, p)));
        let mut programs = Programs::default();
        for (session, window, pane) in panes.filter(|(.., pane)| pane.program.asks_before_start()) {
            let runs = approved.covers(&pane.program);
            let list = if runs { &mut programs.running } else { &mut programs.waiting };
            list.push(Started::of(session, window, pane));
        }
        programs
    }
}

/// The programs besides shells that the panes of a plan will have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Programs {
    /// What starts by itself, because all of it is approved.
    pub running: Vec<Started>,
    /// What waits for Enter.
    pub waiting: Vec<Started>,
}

/// What a pane will have besides shells.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Started {
    /// In which session.
    pub session: String,
    /// Where, as tmux targets are written.
    pub place: String,
    /// The program, as a person would type it; with those in the background behind it.
    pub command: String,
}

impl Started {
    fn of(session: &Session, window: &Window, pane: &Pane) -> Self {
        let jobs: Vec<String> = pane.program.to_be_started().map(crate::pane::pipeline).collect();
        Self {
            session: session.name.clone(),
            place: format!("{}:{}.{}", session.name, window.index, pane.index),
            command: jobs.join("; "),
        }
    }
}

/// Returns the generation's sessions without those that the user had closed, for a restore that nobody
/// asked for.
pub fn plan_unasked(generation: Generation, saved: &Snapshot, live: Option<&Server>) -> Plan {
    let nothing = Plan { generation, taken_at: saved.taken_at, steps: Vec::new(), skips: Vec::new() };
    match saved.closed {
        Some(Closed::LastSession | Closed::Server) => nothing,
        None => plan(generation, saved, live, &Selection::default()).unwrap_or(nothing),
    }
}

#[cfg(test)]
mod tests;
