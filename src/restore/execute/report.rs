//! What became of a plan.

use crate::cause::in_words;
use crate::restore::plan::Plan;
use crate::tmux::TmuxError;

/// What became of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What became of each session, in the order of the plan.
    pub sessions: Vec<(String, Outcome)>,
    /// What is not as it was although the plan was carried out, by session; in words.
    pub notes: Vec<(String, String)>,
}

/// What became of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is there.
    Restored,
    /// It is there, but not all of it: what is missing, and why.
    Partly(Vec<String>),
    /// It is not there.
    Failed(String),
}

impl Report {
    /// How names have to be given depends on the version: without it nothing is made.
    pub(super) fn nothing_done(plan: &Plan, error: TmuxError) -> Self {
        let why = format!("cannot ask tmux for its version: {}", in_words(error));
        let steps = plan.steps.iter().map(|step| &step.session.name);
        let panes = plan.panes.iter().map(|step| &step.session);
        let respawns = plan.respawns.iter().map(|respawn| &respawn.session);
        let all = steps.chain(panes).chain(respawns);
        let sessions = all.map(|name| (name.clone(), Outcome::Failed(why.clone()))).collect();
        Self { sessions, notes: Vec::new() }
    }

    /// Returns whether everything came back.
    pub fn complete(&self) -> bool {
        self.sessions.iter().all(|(_, outcome)| *outcome == Outcome::Restored)
    }
}
