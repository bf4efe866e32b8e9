//! Parts of a living server that come back: at once, or after a pause.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Generation, Pane, PaneId, Server, ServerId, Snapshot};
use crate::restore::manner::Manner;
use crate::restore::plan::{Plan, Respawn, plan_lost};

use crate::tmux::observe::Observation;

use super::super::action::Action;
use super::State;

/// How many wait at most; of more, `why` says how to bring them back.
const RETURNS_MAX: usize = 256;

/// Panes that come back.
#[derive(Debug, Clone)]
pub(super) struct Return {
    /// When.
    pub(super) due: Duration,
    /// Into which server.
    pub(super) server: ServerId,
    /// The state that has them.
    pub(super) from: (Generation, Arc<Snapshot>),
    /// Which.
    pub(super) panes: Vec<PaneId>,
    /// How.
    pub(super) manner: Manner,
}

/// What comes back, and when.
#[derive(Debug, Default)]
pub(super) struct Returns {
    waiting: Vec<Return>,
    /// For panes that stayed when their program ended, the state that last had it running.
    running: HashMap<(ServerId, PaneId), (Generation, Arc<Snapshot>)>,
}

impl Returns {
    /// Returns whether there was room for one more.
    pub(super) fn add(&mut self, one: Return) -> bool {
        let room = self.waiting.len() < RETURNS_MAX;
        for pane in one.panes.iter().filter(|_| room) {
            self.running.insert((one.server.clone(), *pane), one.from.clone());
        }
        self.waiting.extend(room.then_some(one));
        room
    }

    /// Returns the state from which panes come back: one that had one of them alive.
    pub(super) fn source(
        &self,
        server: &ServerId,
        saved: Option<(Generation, Arc<Snapshot>)>,
        panes: &[PaneId],
    ) -> Option<(Generation, Arc<Snapshot>)> {
        let lives = |saved: &Snapshot| {
            saved.server.panes().any(|(.., pane)| pane.dead.is_none() && panes.contains(&pane.id))
        };
        let earlier = || panes.iter().find_map(|pane| self.running.get(&(server.clone(), *pane)).cloned());
        saved.filter(|(_, saved)| lives(saved)).or_else(earlier)
    }

    /// Takes those that are due into a server and come from the same state. Those of other servers are past.
    fn take_due(&mut self, now: Duration, live: &Server) -> Vec<Return> {
        self.waiting.retain(|one| one.server == live.id);
        let waits = |pane: &PaneId| self.waiting.iter().any(|one| one.panes.contains(pane));
        let stays = |pane: &PaneId| live.panes().any(|(.., other)| other.id == *pane);
        self.running.retain(|(of, pane), _| *of == live.id && (stays(pane) || waits(pane)));
        let Some(first) = self.waiting.iter().find(|one| now >= one.due).map(|one| one.from.0) else {
            return Vec::new();
        };
        let taken = |one: &mut Return| now >= one.due && one.from.0 == first;
        self.waiting.extract_if(.., taken).collect()
    }
}

impl State {
    /// Returns what to do about parts of the living server that are to come back now, if there are any.
    pub(super) fn consider_returns(&mut self, now: Duration) -> Option<Vec<Action>> {
        let live = self.live.clone()?;
        if self.saving.is_some() || self.doubt.is_some() {
            return None;
        }
        let due = self.returns.take_due(now, &live.server);
        let (generation, saved) = due.first()?.from.clone();
        let panes: Vec<PaneId> = due.iter().flat_map(|one| one.panes.iter().copied()).collect();
        let mut manner = Manner::unasked();
        due.into_iter().for_each(|one| manner.extend(one.manner));
        let mut plan = plan_lost(generation, &saved, &live.server, &panes);
        plan.respawns = respawns(&live, &saved.server, &panes);
        // One that ends at once, before anybody looks, has ended once more.
        if !plan.respawns.is_empty() {
            self.live = Some(Arc::new(with_running(&live, &plan.respawns)));
        }
        let plan: Plan = plan.in_manner(manner);
        (!plan.is_empty()).then(|| self.start_restore(plan))
    }
}

/// Returns a server as it will be when programs run again.
fn with_running(live: &Observation, respawns: &[Respawn]) -> Observation {
    let mut live = live.clone();
    for again in respawns {
        live.vitals.entry(again.pane.id).and_modify(|vitals| vitals.dead = false);
    }
    for pane in live.server.panes_mut() {
        if let Some(again) = respawns.iter().find(|one| one.pane.id == pane.id) {
            (pane.dead, pane.program) = (None, again.pane.program.clone());
        }
    }
    live
}

fn has_ended(live: &Observation, pane: &Pane) -> bool {
    pane.dead.is_some() || live.vitals.get(&pane.id).is_some_and(|vitals| vitals.dead)
}

/// Returns which of some panes are still there, with a program that has ended; how it did, tmux misses at times.
fn respawns(live: &Observation, saved: &Server, panes: &[PaneId]) -> Vec<Respawn> {
    let mut found: Vec<Respawn> = Vec::new();
    for (session, _, pane) in
        live.server.panes().filter(|(.., pane)| has_ended(live, pane) && panes.contains(&pane.id))
    {
        let was = saved.panes().find(|(.., was)| was.id == pane.id && was.dead.is_none());
        if let Some((.., was)) = was.filter(|_| !found.iter().any(|one| one.pane.id == pane.id)) {
            found.push(Respawn { session: session.name.clone(), pane: was.clone() });
        }
    }
    found
}
