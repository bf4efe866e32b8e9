//! How things stand, for people.

use jiff::Timestamp;

use crate::model::Generation;

use super::{Phase, State};

/// How things stand, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// One word: `watching`, `restoring`, …
    pub state: &'static str,
    /// The server that is watched.
    pub server: Option<u32>,
    /// Sessions, windows, panes in it.
    pub counts: (usize, usize, usize),
    /// The newest generation and when it was taken.
    pub head: Option<(Generation, Timestamp)>,
    /// What is wrong, if anything.
    pub problem: Option<String>,
    /// What the last drill found wrong. The keeper does its work all the same.
    pub notice: Option<String>,
}

impl State {
    pub(super) fn summary(&self) -> Summary {
        let live = self.live.as_ref();
        Summary {
            state: match self.phase {
                Phase::Seeking => "looking for a server",
                Phase::Founding => "starting a server",
                Phase::Restoring => "restoring",
                Phase::Watching => "watching",
                Phase::Ended(_) => "server ended",
                Phase::Finishing(..) => "taking a last snapshot",
                Phase::Frozen(_) => "stopped for shutdown",
            },
            server: live.map(|live| live.server.id.pid),
            counts: live.map(|live| live.server.counts()).unwrap_or_default(),
            head: self.head.as_ref().map(|(generation, head)| (*generation, head.taken_at)),
            problem: [
                &self.problem,
                &self.save_problem,
                &self.restore_waits,
                &self.restore_problem,
                &self.record_problem,
            ]
            .into_iter()
            .flatten()
            .next()
            .cloned()
            .or_else(|| self.doubt_in_words()),
            notice: self.drills.notice(),
        }
    }
}
