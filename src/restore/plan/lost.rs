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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;

    /// `web` with the windows 0, of two panes, and 3; `twin` shares them; `api`.
    fn server() -> Server {
        let mut server = sample::server(1, &["web", "twin", "api"]);
        server.sessions[0].windows = vec![
            sample::window(10, 0, vec![sample::pane(10, 0), sample::pane(11, 1)]),
            sample::window(12, 3, vec![sample::pane(12, 0)]),
        ];
        server.sessions[1].windows = server.sessions[0].windows.clone();
        server.sessions[..2].iter_mut().for_each(|session| session.group = Some("web".into()));
        server
    }

    /// Returns the server without some panes, and what their return would do.
    fn told(gone: &[u32], lost: &[u32], change: impl Fn(&mut Server)) -> String {
        let mut live = crate::restore::remains::server_with(&server(), |pane| !gone.contains(&pane.0));
        change(&mut live);
        let lost: Vec<PaneId> = lost.iter().copied().map(PaneId).collect();
        let plan = plan_lost(7, &sample::snapshot(server()), &live, &lost);
        let indexes = |step: &Step| {
            let all = step.session.windows.iter().map(|window| window.index.to_string());
            all.collect::<Vec<_>>().join("+")
        };
        let steps = plan.steps.iter().map(|step| match &step.target {
            Target::Sharing(peer) => format!("make {} like {peer}", step.session.name),
            Target::Living => format!("add {} to {}", indexes(step), step.session.name),
            _ => format!("make {} of {}", step.session.name, indexes(step)),
        });
        let panes = plan.panes.iter().map(|step| {
            let whole = if step.layout.is_some() { "" } else { " somehow" };
            format!("put {:?} into {}:{}{whole}", step.missing, step.session, step.window.index)
        });
        let skips = plan.skips.iter().map(|skip| format!("skip {}", skip.session));
        steps.chain(panes).chain(skips).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn each_thing_returns_once_and_to_its_place() {
        let same = |_: &mut Server| {};
        let cases: [(&[u32], &[u32], &str); 9] = [
            (&[], &[], ""),
            (&[], &[11], ""),
            (&[11], &[11], "put [1] into web:0"),
            (&[10, 11], &[10, 11], "add 0 to web"),
            (&[10, 11], &[11], "add 0 to web"),
            (&[11, 12], &[11, 12], "add 3 to web, put [1] into web:0"),
            (&[10, 11, 12], &[10, 11, 12], "make web of 0+3, make twin like web"),
            (&[2], &[2], "make api of 0"),
            (&[2, 12], &[12], "add 3 to web"),
        ];
        for (gone, lost, expected) in cases {
            assert_eq!(told(gone, lost, same), expected, "{gone:?} {lost:?}");
        }
    }

    #[test]
    fn what_was_changed_since_is_left_as_it_is() {
        let turned = |live: &mut Server| live.sessions[0].windows[0].panes.push(sample::pane(20, 2));
        assert_eq!(told(&[11], &[11], turned), "put [1] into web:0 somehow");
        let renewed = |live: &mut Server| live.sessions.push(sample::session(20, "api"));
        assert_eq!(told(&[2], &[2], renewed), "skip api");
        // A window of the group was closed by its user, and then memory ran out.
        assert_eq!(told(&[10, 11, 12], &[10, 11], |_| {}), "make web of 0, make twin of 0");
    }
}
