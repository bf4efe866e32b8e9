//! What of a living server was lost, and how it comes back to where it was.

use std::collections::HashSet;

use super::{
    Generation, PaneStep, Plan, Server, Session, SkipReason, Snapshot, Step, Target, Wanted, Window,
    add_windows, group_peer, narrowed, typed,
};
use crate::model::PaneId;
use crate::restore::remains::window_with;

/// Plans to bring panes back into the server that lost them: whole sessions and windows where nothing is left of
/// them, else into the windows that they were in. What its user closed meanwhile stays closed.
pub fn plan_lost(generation: Generation, saved: &Snapshot, live: &Server, lost: &[PaneId]) -> Plan {
    let alive: HashSet<PaneId> = live.panes().map(|(.., pane)| pane.id).collect();
    let lost: HashSet<PaneId> = lost.iter().copied().filter(|pane| !alive.contains(pane)).collect();
    let mut lacking = Lacking { plan: Plan::empty(generation, saved), live, lost, done: HashSet::new() };
    for session in &saved.server.sessions {
        let windows: Vec<Window> = session.windows.iter().filter_map(|window| lacking.of(window)).collect();
        match live.sessions.iter().find(|other| other.id == session.id) {
            _ if windows.is_empty() => {}
            Some(living) => lacking.complete(session, &windows, living),
            None => lacking.remake(session, windows),
        }
    }
    let mut plan = lacking.plan;
    if live.panes().any(|(_, _, pane)| pane.marked) {
        plan.leave_the_mark();
    }
    plan
}

struct Lacking<'a> {
    plan: Plan,
    live: &'a Server,
    lost: HashSet<PaneId>,
    /// Windows that are taken care of, and in which session or group: all sessions of a group get them at once.
    done: HashSet<(String, crate::model::WindowId)>,
}

impl Lacking<'_> {
    /// Returns what was lost of a window.
    fn of(&self, window: &Window) -> Option<Window> {
        window_with(window, |pane| self.lost.contains(&pane))
    }

    /// Makes a session that is gone.
    fn remake(&mut self, session: &Session, windows: Vec<Window>) {
        let version = self.live.version.as_str();
        let name = typed(&session.name, version);
        if self.live.sessions.iter().any(|other| typed(&other.name, version) == name) {
            self.plan.skip(session, SkipReason::Alive);
            return;
        }
        let step = match group_peer(session, &self.plan.steps, Some(self.live)) {
            Some(peer) => {
                Step { session: session.clone(), target: Target::Sharing(peer), note: String::new() }
            }
            None if windows.len() == session.windows.len() => {
                let session = Session { windows, ..session.clone() };
                Step { session, target: Target::New, note: String::new() }
            }
            None => narrowed(&Wanted { session, windows: windows.iter().collect() }),
        };
        self.plan.steps.push(step);
    }

    /// Gives a session that lives what it has lost.
    fn complete(&mut self, session: &Session, windows: &[Window], living: &Session) {
        let place = living.group.clone().unwrap_or_else(|| living.name.clone());
        let mut gone = Vec::new();
        for window in windows {
            let mut all = self.live.sessions.iter().flat_map(|session| &session.windows);
            let survivor = all.find(|other| other.id == window.id);
            // One that lives is there once, wherever it is linked to.
            let within = if survivor.is_some() { String::new() } else { place.clone() };
            if !self.done.insert((within, window.id)) {
                continue;
            }
            match survivor {
                Some(survivor) => {
                    let whole = session.windows.iter().find(|other| other.id == window.id).unwrap_or(window);
                    self.plan.panes.push(pane_step(living, whole, survivor, &self.lost));
                }
                None => gone.push(window),
            }
        }
        add_windows(&mut self.plan, &Wanted { session, windows: gone }, living, true);
    }
}

fn pane_step(session: &Session, saved: &Window, survivor: &Window, lost: &HashSet<PaneId>) -> PaneStep {
    let places = |wanted: &dyn Fn(PaneId) -> bool| -> Vec<(usize, PaneId)> {
        let all = saved.panes.iter().enumerate().map(|(at, pane)| (at, pane.id));
        all.filter(|(_, pane)| wanted(*pane)).collect()
    };
    let alive = places(&|pane| survivor.panes.iter().any(|other| other.id == pane));
    let missing = places(&|pane| lost.contains(&pane));
    let order: Vec<PaneId> = alive.iter().map(|(_, pane)| *pane).collect();
    let now: Vec<PaneId> = survivor.panes.iter().map(|pane| pane.id).collect();
    let floats = saved.layout.contains('<') || survivor.layout.contains('<');
    let unchanged = order == now && alive.len() + missing.len() == saved.panes.len() && !floats;
    let active = survivor.panes.get(survivor.active_pane);
    PaneStep {
        session: session.name.clone(),
        window: saved.clone(),
        missing: missing.into_iter().map(|(at, _)| at).collect(),
        alive,
        layout: unchanged.then(|| saved.layout.clone()),
        zoomed: active.filter(|_| survivor.zoomed).map(|pane| pane.id),
    }
}
