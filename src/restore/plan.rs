//! What a restore would do: a saved state and the living server in, a plan out.
//!
//! Nothing that lives is ever touched. What is there already is skipped and said; planning again after a
//! plan was carried out yields an empty one.

use jiff::Timestamp;

use crate::model::{
    Aside, Buffer, Closed, Generation, Pane, PaneId, Server, Session, SessionId, Snapshot, Window, plural,
};
use crate::pane::what_runs;

use super::approved::Approved;
use super::foreign::believed;
use super::manner::Manner;
use super::name::typed;
use super::selection::{Wanted, check_name, wanted};

pub use super::selection::{Selection, SelectionError};
pub use lost::plan_lost;

mod lost;

/// What a restore does, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The generation it restores from.
    pub generation: Generation,
    /// When that was taken.
    pub taken_at: Timestamp,
    /// Whether it is a state of our own, and not from a file: only then does anything but shells start unasked.
    pub trusted: bool,
    /// What is made.
    pub steps: Vec<Step>,
    /// What windows that live get back.
    pub panes: Vec<PaneStep>,
    /// Panes that are there and whose programs start again.
    pub respawns: Vec<Respawn>,
    /// How panes come back.
    pub manner: Manner,
    /// What is left out.
    pub skips: Vec<Skip>,
    /// The paste buffers that are made if they are not there, the oldest first.
    pub buffers: Vec<Buffer>,
}

/// One session to be made, or to get windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The session as it shall be; for one that lives, only the windows that it gets.
    pub session: Session,
    /// What becomes of it.
    pub target: Target,
    /// What is not as it was, in words; empty when all is.
    pub note: String,
}

/// Panes that a window which lives has lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaneStep {
    /// The name of the session.
    pub session: String,
    /// The window as it was.
    pub window: Window,
    /// The places of the panes that are made, in the window as it was.
    pub missing: Vec<usize>,
    /// The places of those that live, with at least one.
    pub alive: Vec<(usize, PaneId)>,
    /// The layout that the window gets again; `None` when it has been changed since, or cannot be had.
    pub layout: Option<String>,
    /// The pane that fills the window now, and shall go on doing so.
    pub zoomed: Option<PaneId>,
}

/// A pane whose program ended and starts again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respawn {
    /// The name of the session.
    pub session: String,
    /// The pane as it was; it stayed (`remain-on-exit`).
    pub pane: Pane,
}

/// Where the windows of a step go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Into a session that is made for them.
    New,
    /// The session is made and shares the windows of this one of its group; it gets none of its own.
    Sharing(String),
    /// Into the session of this name, which lives. Nothing of it is touched.
    Living,
    /// Into a session that is made in place of this one, over which a keeper was killed. If somebody has been
    /// in that one by now, it stays and nothing is made.
    Replacing(SessionId),
}

/// One session, or one window of it, that is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// The name of the session.
    pub session: String,
    /// Why not.
    pub why: SkipReason,
}

/// Why something is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// A session of this name lives.
    Alive,
    /// The user had closed it.
    Closed,
    /// The session lives and has the window.
    WindowAlive {
        /// The index that the window had.
        window: u32,
        /// The index at which it is now.
        now: u32,
    },
    /// The session lives and has a window of the same name, with the same programs in the same directories.
    WindowAlike {
        /// The index that the window had.
        window: u32,
        /// The index of the one that is like it.
        now: u32,
    },
}

impl SkipReason {
    /// Returns the reason in words.
    pub fn sentence(self) -> String {
        match self {
            SkipReason::Alive => "a session of this name is there already".to_owned(),
            SkipReason::Closed => "you had closed it".to_owned(),
            SkipReason::WindowAlive { window, now } if window == now => {
                format!("window {window} is there already")
            }
            SkipReason::WindowAlive { window, now } => {
                format!("window {window} is there already, at index {now} now")
            }
            SkipReason::WindowAlike { window, now } => {
                format!("a window like {window} is there already, at index {now}")
            }
        }
    }
}

/// Plans to bring back what of a generation is not alive.
pub fn plan(
    generation: Generation,
    saved: &Snapshot,
    live: Option<&Server>,
    selection: &Selection,
) -> Result<Plan, SelectionError> {
    let wanted = wanted(generation, saved, selection)?;
    check_name(&wanted, live, selection)?;
    let mut plan = Plan::empty(generation, saved);
    for wanted in &wanted {
        let session = wanted.session;
        match (&selection.rename, living(session, saved, live)) {
            (Some(name), _) => plan.steps.push(renamed(wanted, name)),
            (None, Some(living)) if !wanted.windows.is_empty() => {
                add_windows(&mut plan, wanted, living, same_life(saved, live));
            }
            (None, Some(living)) if living.group.is_none() && was_left_unfinished(living) => {
                let target = Target::Replacing(living.id);
                plan.steps.push(Step { session: session.clone(), target, note: String::new() });
            }
            (None, Some(_)) => plan.skip(session, SkipReason::Alive),
            (None, None) if same_life(saved, live) && !selection.by_hand => {
                plan.skip(session, SkipReason::Closed);
            }
            (None, None) if !wanted.windows.is_empty() => plan.steps.push(narrowed(wanted)),
            (None, None) => {
                let target = group_peer(session, &plan.steps, live).map_or(Target::New, Target::Sharing);
                plan.steps.push(Step { session: session.clone(), target, note: String::new() });
            }
        }
    }
    plan.note_what_is_apart(saved);
    if live.is_some_and(|live| live.panes().any(|(_, _, pane)| pane.marked)) {
        plan.leave_the_mark();
    }
    if !plan.trusted {
        plan.believe_little();
    } else if selection.is_everything() {
        plan.buffers.clone_from(&saved.server.buffers);
    }
    Ok(plan)
}

/// Returns whether a keeper was killed while it made this session.
fn was_left_unfinished(living: &Session) -> bool {
    living.options.contains_key(super::execute::MARK)
}

fn same_life(saved: &Snapshot, live: Option<&Server>) -> bool {
    live.is_some_and(|live| live.id == saved.server.id)
}

/// Finds a saved session among the living. Within one life of a server the id says more than the name: the
/// session may have been renamed.
fn living<'a>(session: &Session, saved: &Snapshot, live: Option<&'a Server>) -> Option<&'a Session> {
    let sessions = || live.into_iter().flat_map(|server| &server.sessions);
    let by_id = sessions().find(|other| same_life(saved, live) && other.id == session.id);
    by_id.or_else(|| {
        let version = live.map_or("", |server| server.version.as_str());
        let name = typed(&session.name, version);
        sessions().find(|other| typed(&other.name, version) == name)
    })
}

/// Returns a session of the same group that is alive or will have been made by then.
fn group_peer(session: &Session, steps: &[Step], live: Option<&Server>) -> Option<String> {
    let group = session.group.as_ref()?;
    let planned = steps.iter().map(|step| &step.session);
    let alive = live.into_iter().flat_map(|server| &server.sessions);
    planned.chain(alive).find(|other| other.group.as_ref() == Some(group)).map(|peer| peer.name.clone())
}

/// Makes a session under another name. It leaves its group, in which the session of its old name is or may
/// come back: what is done in one of a group's windows is done in all.
fn renamed(wanted: &Wanted<'_>, name: &str) -> Step {
    let mut step = narrowed(wanted);
    let mut notes = vec![format!("it was {}", wanted.session.name)];
    notes.extend(Some(std::mem::take(&mut step.note)).filter(|note| !note.is_empty()));
    step.session.name = name.to_owned();
    step.note = notes.join("; ");
    step
}

/// Makes a session that has only some of its windows, or all. It belongs to no group, because it would share
/// all windows of that.
fn narrowed(wanted: &Wanted<'_>) -> Step {
    let mut session = wanted.session.clone();
    let mut notes = Vec::new();
    if !wanted.windows.is_empty() && wanted.windows.len() < session.windows.len() {
        session.windows = wanted.windows.iter().map(|window| (*window).clone()).collect();
        let there = |index: &u32| session.windows.iter().any(|window| window.index == *index);
        session.last_window = session.last_window.filter(there);
        if !there(&session.active_window) {
            session.active_window = session.windows[0].index;
        }
        session.last_window = session.last_window.filter(|last| *last != session.active_window);
        let windows: Vec<String> = wanted.windows.iter().map(|window| called(window)).collect();
        notes.push(format!("only {}", windows.join(" and ")));
    }
    if let Some(group) = session.group.take() {
        notes.push(apart(&group));
    }
    Step { session, target: Target::New, note: notes.join("; ") }
}

fn apart(group: &str) -> String {
    format!("with windows of its own, outside the group {group}")
}

fn called(window: &Window) -> String {
    format!("window {} {:?}", window.index, window.name)
}

/// Adds windows to a session that lives: each at the index that it had, or at the next one that is free and
/// was no other window's.
fn add_windows(plan: &mut Plan, wanted: &Wanted<'_>, living: &Session, same_life: bool) {
    let mut taken: Vec<u32> = living.windows.iter().map(|window| window.index).collect();
    let mut added = Vec::new();
    let mut notes = Vec::new();
    for window in &wanted.windows {
        if let Some(why) = window_skip_reason(window, wanted.session, living, same_life) {
            plan.skip(living, why);
            continue;
        }
        let of_another = |index: &u32| wanted.session.windows.iter().any(|other| other.index == *index);
        let may_be = |index: &u32| !taken.contains(index) && (*index == window.index || !of_another(index));
        let free = (window.index..=u32::MAX).find(may_be).unwrap_or(window.index);
        notes.push(match free == window.index {
            true => called(window),
            false => format!("{} as window {free}, because {} is taken", called(window), window.index),
        });
        taken.push(free);
        added.push(Window { index: free, ..(*window).clone() });
    }
    if added.is_empty() {
        return;
    }
    if let Some(group) = &living.group {
        notes.push(format!("also for the other sessions of the group {group}"));
    }
    let session = Session {
        id: living.id,
        name: living.name.clone(),
        group: living.group.clone(),
        windows: added,
        ..wanted.session.clone()
    };
    plan.steps.push(Step { session, target: Target::Living, note: notes.join("; ") });
}

/// A window is there when its id is. After a restore it has another one; then one counts that looks the same
/// and is where a restore would have put it: at its index, or at one that the saved session did not use.
fn window_skip_reason(
    window: &Window,
    saved: &Session,
    living: &Session,
    same_life: bool,
) -> Option<SkipReason> {
    let of_saved = |other: &Window| saved.windows.iter().any(|one| one.id == other.id);
    if let Some(same) = living.windows.iter().find(|other| same_life && other.id == window.id) {
        return Some(SkipReason::WindowAlive { window: window.index, now: same.index });
    }
    let may_be = |other: &&Window| {
        let elsewhere = !saved.windows.iter().any(|one| one.index == other.index);
        (other.index == window.index || elsewhere) && !(same_life && of_saved(other))
    };
    let alike = living.windows.iter().filter(may_be).find(|other| looks_like(window, other))?;
    Some(SkipReason::WindowAlike { window: window.index, now: alike.index })
}

fn looks_like(saved: &Window, other: &Window) -> bool {
    let panes = saved.panes.iter().zip(&other.panes);
    let same = |(one, other): (&crate::model::Pane, &crate::model::Pane)| {
        one.directory == other.directory && what_runs(&one.program) == what_runs(&other.program)
    };
    (saved.automatic_rename || saved.name == other.name)
        && saved.panes.len() == other.panes.len()
        && panes.into_iter().all(same)
}

impl Step {
    /// Returns what is made, counted, and what is not as it was.
    pub fn in_words(&self) -> String {
        let panes = self.session.windows.iter().map(|window| window.panes.len()).sum();
        let made = match &self.target {
            Target::New | Target::Replacing(_) => {
                format!("{}, {}", plural(self.session.windows.len(), "window"), plural(panes, "pane"))
            }
            Target::Sharing(peer) => format!("sharing the windows of {peer}"),
            Target::Living => return format!("adds {}", self.note),
        };
        if self.note.is_empty() { made } else { format!("{made}; {}", self.note) }
    }
}

impl Plan {
    fn skip(&mut self, session: &Session, why: SkipReason) {
        self.skips.push(Skip { session: session.name.clone(), why });
    }

    /// Says of what was shared by sessions that do not come back together that it is shared no more.
    fn note_what_is_apart(&mut self, saved: &Snapshot) {
        let notes: Vec<String> = self.steps.iter().map(|step| self.apart_in(step, saved)).collect();
        for (step, note) in self.steps.iter_mut().zip(notes) {
            let words = [std::mem::take(&mut step.note), note];
            step.note = words.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join("; ");
        }
    }

    fn apart_in(&self, step: &Step, saved: &Snapshot) -> String {
        if let Target::Sharing(_) = step.target {
            return String::new();
        }
        // One that gets another name is no other.
        let comes = |session: &Session| self.steps.iter().any(|step| step.session.id == session.id);
        let left = || saved.server.sessions.iter().filter(|session| !comes(session));
        let group = step.session.group.as_ref().filter(|_| step.target == Target::New);
        let alone = |group: &&String| {
            self.steps.iter().filter(|step| step.session.group.as_ref() == Some(*group)).count() == 1
        };
        if let Some(group) = group.filter(alone)
            && left().any(|session| session.group.as_ref() == Some(group))
        {
            return apart(group);
        }
        let links = step.session.windows.iter().filter_map(|window| {
            let holds = |session: &&Session| session.windows.iter().any(|other| other.id == window.id);
            let other = left().find(holds)?;
            Some(format!("window {} of its own, not linked to {} any more", window.index, other.name))
        });
        links.collect::<Vec<_>>().join("; ")
    }

    /// A server has one marked pane at most; marking another would take the user's mark away.
    fn leave_the_mark(&mut self) {
        let windows = self.steps.iter_mut().flat_map(|step| &mut step.session.windows);
        windows.flat_map(|window| &mut window.panes).for_each(|pane| pane.marked = false);
    }

    fn empty(generation: Generation, saved: &Snapshot) -> Self {
        let trusted = saved.aside != Some(Aside::Imported);
        let taken_at = saved.taken_at;
        Self {
            generation,
            taken_at,
            trusted,
            steps: Vec::new(),
            panes: Vec::new(),
            respawns: Vec::new(),
            manner: Manner::default(),
            skips: Vec::new(),
            buffers: Vec::new(),
        }
    }

    fn believe_little(&mut self) {
        for step in &mut self.steps {
            let (session, left_out) = believed(&step.session);
            step.session = session;
            let notes = [std::mem::take(&mut step.note), left_out];
            step.note = notes.into_iter().filter(|note| !note.is_empty()).collect::<Vec<_>>().join("; ");
        }
    }

    /// Returns the plan carried out in a manner: what took most memory comes last, as far as that goes. A session that
    /// shares windows follows the one that has them.
    #[must_use]
    pub fn in_manner(mut self, manner: Manner) -> Self {
        let heavy = |window: &Window| window.panes.iter().any(|pane| manner.last.contains(&pane.id));
        let last: Vec<String> = self
            .steps
            .iter()
            .filter(|step| step.session.windows.iter().any(heavy))
            .map(|step| step.session.name.clone())
            .collect();
        let comes_last = |step: &Step| match &step.target {
            Target::Sharing(peer) => last.contains(peer),
            _ => last.contains(&step.session.name),
        };
        self.steps.sort_by_key(comes_last);
        for step in &mut self.steps {
            step.session.windows.sort_by_key(heavy);
        }
        self.panes.sort_by_key(|step| heavy(&step.window));
        self.manner = manner;
        self
    }

    /// Returns whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.panes.is_empty() && self.respawns.is_empty()
    }

    /// Returns the programs besides shells that panes will have: those that start by themselves, and those that
    /// will wait for Enter.
    pub fn programs(&self, approved: &Approved) -> Programs {
        let own = self.steps.iter().filter(|step| !matches!(step.target, Target::Sharing(_)));
        let windows = own.flat_map(|step| step.session.windows.iter().map(|window| (&step.session, window)));
        let panes =
            windows.flat_map(|(session, window)| window.panes.iter().map(move |p| (session, window, p)));
        let mut programs = Programs::default();
        for (session, window, pane) in panes.filter(|(.., pane)| pane.program.asks_before_start()) {
            let runs = self.trusted && approved.covers(&pane.program);
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
    let nothing = Plan::empty(generation, saved);
    match saved.closed {
        Some(Closed::LastSession | Closed::Server) => nothing,
        None => plan(generation, saved, live, &Selection::default()).unwrap_or(nothing),
    }
}

#[cfg(test)]
mod tests;
