//! What the keeper knows, and what it decides. Pure: no I/O, and time comes in as a number.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::entry::Happening;
use crate::model::{Generation, PaneId, Reason, ServerId, Snapshot};
use crate::restore::limit::Starts;
use crate::restore::plan::Skip;
use crate::restore::restart::Restart;
use crate::systemd::placement::Placement;
use crate::tmux::observe::Observation;

use super::action::Action;
use super::event::{Ending, Event, Look, Token};

mod children;
mod deaths;
mod drill;
mod end;
mod founding;
mod greet;
mod guard;
mod kills;
mod mismatch;
mod orphan;
mod request;
mod restore;
mod returns;
mod save;
mod shutdown;
mod summary;
mod texts;
mod tombstones;
mod verdict;

pub use deaths::Death;
use deaths::Deaths;
use drill::Drills;
use greet::Greet;
use guard::Guard;
use kills::Kills;
use request::Wish;
use returns::Returns;
pub use summary::Summary;
use texts::KnownText;
use tombstones::Tombstones;
use verdict::Fates;
pub use verdict::Past;

/// How long something must be gone before it counts as closed by the user. When a machine goes down,
/// panes, server and keeper end within this time of each other, and that must not look like intent.
const SETTLE: Duration = Duration::from_secs(2);

/// How long a server that nobody saw end may be gone before it counts as lost. The client that waits for
/// its end needs up to [`GOODBYE_MAX`](super::worker) to say how it ended.
const VANISHED_MAX: Duration = Duration::from_secs(8);

/// How long a server that ended waits for the verdict. Whoever is asked answers within a few seconds, or never.
const VERDICT_MAX: Duration = Duration::from_secs(10);

/// How often a keeper that has stopped for a shutdown asks whether there still is one.
const FROZEN_ASK_EVERY: Duration = Duration::from_secs(30);

/// What of the settings matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Whether to start a server where there is none.
    pub found: bool,
    /// Whether to restore unasked.
    pub restore: bool,
    /// Shortest time between two snapshots of what only prints.
    pub output_interval: Duration,
    /// Whether texts are kept.
    pub scrollback: bool,
    /// Time between two drills that nobody asked for; `None` for none.
    pub drill_every: Option<Duration>,
    /// What is started again, and how often.
    pub restart: Restart,
    /// After how long nothing of a saved state starts without being asked; `None` for never.
    pub still_yours: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Seeking,
    Founding,
    Restoring,
    Watching,
    /// The server ended at this time, and it is found out why.
    Ended(Duration),
    /// A last look and a last save, then this; given up at this time.
    Finishing(Then, Duration),
    /// Everything goes down; the last time that was asked.
    Frozen(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Exit,
    Freeze,
}

/// What a question about going down is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// The server was lost.
    Lost,
    /// The server ended in an orderly way.
    Ended,
    /// Sessions, windows or panes are gone.
    Shrunk,
    /// We are told to end.
    Terminate,
    /// We stopped for a shutdown; is there still one?
    Frozen,
}

/// Everything that the keeper knows.
#[derive(Debug)]
pub struct State {
    policy: Policy,
    phase: Phase,
    /// What a restore starts from by itself.
    head: Option<(Generation, Arc<Snapshot>)>,
    /// What was saved last: the head, or a state that is kept beside it.
    latest: Option<(Generation, Arc<Snapshot>)>,
    /// Set while what is seen must not become the head.
    guard: Option<Guard>,
    live: Option<Arc<Observation>>,
    /// The server for which it has been decided what was lost.
    reconciled: Option<ServerId>,
    /// The server whose end was what the user wanted.
    closed: Option<ServerId>,
    /// The texts of the living server's panes that are in the store.
    texts: HashMap<PaneId, KnownText>,
    looking: bool,
    /// Whether the last look began after it was known that it had to be close.
    closely: bool,
    founding: bool,
    /// The server whose state is being saved.
    saving: Option<ServerId>,
    /// Whether a plan is being carried out; true until its report is in, whatever happens meanwhile.
    restoring: bool,
    /// Whether only parts of sessions come back with it.
    restoring_parts: bool,
    /// Whether the save that is under way is the last one.
    last_saving: bool,
    doubt: Option<Doubt>,
    /// The sessions that are back, or were there when a restore began, and are in no save of this server yet.
    unsaved: Vec<String>,
    /// Since when something that the head has, or that was restored, is gone.
    shrunk_since: Option<Duration>,
    /// When a save last covered what only prints.
    output_saved_at: Option<Duration>,
    /// A look of which nothing was to be saved, with the generation that was the newest then, and when.
    at_rest: Option<(Arc<Observation>, Option<Generation>, Duration)>,
    /// Since when looks find no server although none was seen to end.
    vanished_since: Option<Duration>,
    /// Since when it is found out why the server ended that an earlier keeper watched.
    unjudged_since: Option<Duration>,
    /// What was started, and how often.
    starts: Starts,
    /// Whether it was told that servers end too often.
    limit_told: bool,
    /// When a server was last told to make its socket again.
    signalled_at: Option<Duration>,
    /// The server of which it has been told that its socket is gone, until it can be reached again.
    orphaned: Option<ServerId>,
    /// The server of which it has been told that it cannot be talked to.
    mismatched: Option<ServerId>,
    /// A save that must happen whether or not anything changed, and who waits for it.
    wanted: Option<(Reason, Option<Token>)>,
    /// Who waits for the save that is under way.
    saving_for: Option<Token>,
    /// A restore that was asked for.
    wish: Option<Wish>,
    /// Who waits for the restore that is under way, and what it leaves out.
    restoring_for: Option<(Token, Vec<Skip>)>,
    /// Whether what is gone at the last look is gone because the user closed it.
    trust_last_look: bool,
    drills: Drills,
    deaths: Deaths,
    greet: Greet,
    kills: Kills,
    fates: Fates,
    returns: Returns,
    tombstones: Tombstones,
    /// How the server ended that ended last.
    ending: Ending,
    /// Why a restore waits.
    restore_waits: Option<String>,
    problem: Option<String>,
    save_problem: Option<String>,
    record_problem: Option<String>,
    restore_problem: Option<String>,
    published: Summary,
}

impl State {
    /// Returns the state of a keeper that has just started, with the newest good generation.
    pub fn new(policy: Policy, head: Option<(Generation, Arc<Snapshot>)>) -> Self {
        Self {
            policy,
            phase: Phase::Seeking,
            latest: head.clone(),
            head,
            guard: None,
            live: None,
            reconciled: None,
            closed: None,
            texts: HashMap::new(),
            looking: false,
            closely: false,
            founding: false,
            saving: None,
            restoring: false,
            restoring_parts: false,
            last_saving: false,
            doubt: None,
            unsaved: Vec::new(),
            shrunk_since: None,
            output_saved_at: None,
            at_rest: None,
            vanished_since: None,
            unjudged_since: None,
            starts: Starts::default(),
            limit_told: false,
            signalled_at: None,
            orphaned: None,
            mismatched: None,
            wanted: None,
            saving_for: None,
            wish: None,
            restoring_for: None,
            trust_last_look: false,
            drills: Drills::default(),
            deaths: Deaths::default(),
            greet: Greet::default(),
            kills: Kills::default(),
            fates: Fates::default(),
            returns: Returns::default(),
            tombstones: Tombstones::default(),
            ending: Ending::Lost,
            restore_waits: None,
            problem: None,
            save_problem: None,
            record_problem: None,
            restore_problem: None,
            published: Summary::default(),
        }
    }

    /// Takes in what happened at `now` (time since some fixed moment) and returns what to do about it.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = match event {
            Event::Tick => self.tick(now),
            Event::Looked(look) => self.looked(now, look),
            Event::ServerEnded(id, ending) => self.server_ended(now, &id, ending),
            Event::GoingDown(answer) => self.going_down(now, answer),
            Event::ShutdownBegins { held } => self.shutdown_begins(now, held),
            Event::ShutdownCancelled => self.thaw(),
            Event::Sighted(sighting) => {
                self.kills.sighted(now, &sighting);
                self.deaths.sighted(now, sighting);
                Vec::new()
            }
            Event::Inquired(inquiries, found) => self.inquired(now, inquiries, found),
            Event::Recorded(incidents, result) => self.recorded(now, incidents, result),
            Event::Greeted(somebody) => {
                self.greet.greeted(somebody);
                Vec::new()
            }
            Event::Happened(what) => vec![Action::Note(what)],
            Event::RestoreWaits(why) => {
                self.restore_waits = why.filter(|_| self.restoring);
                Vec::new()
            }
            Event::Signalled(result) => self.signalled(result),
            Event::Founded(result) => self.founded(result),
            Event::Saved(result) => self.saved(now, result),
            Event::Restored(generation, report) => self.restored(now, generation, report),
            Event::Asked(token, asked) => self.asked(token, asked),
            Event::Reviewed(proven) => {
                self.reviewed(now, proven);
                Vec::new()
            }
            Event::Drilled(proven) => {
                self.drilled(now, proven);
                Vec::new()
            }
            Event::Terminate => self.terminate(now),
        };
        let summary = self.summary();
        if summary != self.published {
            self.published = summary.clone();
            actions.push(Action::Publish(summary));
        }
        actions
    }

    // ── time ──

    fn tick(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = self.inquire(now);
        actions.extend(self.kills.due(now).into_iter().map(Action::Note));
        actions.extend(self.tick_phase(now));
        actions
    }

    fn tick_phase(&mut self, now: Duration) -> Vec<Action> {
        match self.phase {
            Phase::Seeking | Phase::Watching => [self.consider_drill(now), self.look()].concat(),
            Phase::Ended(since) if now >= since + SETTLE && self.saving.is_none() => {
                let known = self.is_judged() || now >= since + VERDICT_MAX;
                if known { self.ask(Doubt::Ended) } else { Vec::new() }
            }
            Phase::Finishing(then, deadline) if now >= self.patience(then, deadline) => {
                self.finish(now, then)
            }
            Phase::Frozen(asked) if now >= asked + FROZEN_ASK_EVERY => {
                self.phase = Phase::Frozen(now);
                self.ask(Doubt::Frozen)
            }
            _ => Vec::new(),
        }
    }

    fn look(&mut self) -> Vec<Action> {
        if self.looking || self.doubt.is_some() {
            return Vec::new();
        }
        self.looking = true;
        // What somebody asked for, and what is looked at last, is to be as it is now.
        let asked = self.wanted.is_some() || self.wish.is_some();
        let closely = asked || matches!(self.phase, Phase::Finishing(..));
        self.closely = closely;
        vec![Action::Look { closely }]
    }

    // ── looks ──

    fn looked(&mut self, now: Duration, look: Look) -> Vec<Action> {
        self.looking = false;
        match look {
            Look::Server(observation) => self.saw_server(now, observation),
            _ if matches!(self.phase, Phase::Finishing(..)) => self.finish_now(now),
            Look::NoServer => [self.refuse_wish("there is no tmux server"), self.saw_nothing(now)].concat(),
            Look::Orphan { pid } => self.saw_orphan(now, pid),
            Look::Mismatch { pid, said } => self.saw_mismatch(now, pid, said),
            Look::Failed(why) => {
                let actions = self.refuse_asked(&why);
                self.problem = Some(why);
                actions
            }
        }
    }

    fn saw_server(&mut self, now: Duration, observation: Arc<Observation>) -> Vec<Action> {
        let id = observation.server.id.clone();
        if self.has_predecessor(&id) {
            // What becomes of the old one's sessions depends on how it ended, and that is not known yet.
            return self.saw_nothing(now);
        }
        self.problem = None;
        self.orphaned = None;
        self.vanished_since = None;
        let mut actions = Vec::new();
        match self.live.clone().filter(|live| live.server.id == id) {
            // Nothing has happened since.
            Some(before) if Arc::ptr_eq(&before, &observation) => {}
            Some(before) => {
                self.note_losses(now, &before, &observation);
                actions.extend(self.remember(&observation));
            }
            None => {
                self.deaths.saw_first(&observation.server);
                self.note_losses_unseen(now, &observation);
                actions.extend(self.remember(&observation));
                self.texts.clear();
                self.shrunk_since = None;
                self.adopt_saved_texts(&observation);
                actions.push(Action::AwaitEnd(id.clone()));
                actions.push(Action::Note(found(&observation)));
            }
        }
        self.live = Some(observation.clone());
        if self.phase == Phase::Watching {
            actions.extend(self.greet(now, &observation));
        }
        actions.extend(match self.phase {
            // A restore into a server that is gone has not given up yet; the next look decides.
            Phase::Seeking | Phase::Watching if self.restoring => Vec::new(),
            Phase::Seeking | Phase::Watching if self.reconciled.as_ref() != Some(&id) => {
                // What is being saved may be newer than what would be restored, and the machine may be
                // going down; the next look decides.
                let unsure = self.saving.is_some() || self.doubt.is_some() || self.awaits_verdict(now, &id);
                if unsure { Vec::new() } else { self.reconcile(now, id) }
            }
            Phase::Seeking | Phase::Watching => {
                self.phase = Phase::Watching;
                match self.consider_wish().or_else(|| self.consider_returns(now)) {
                    Some(actions) => actions,
                    None => self.consider_save(now),
                }
            }
            Phase::Finishing(..) => self.last_save(now),
            _ => Vec::new(),
        });
        actions
    }

    /// Returns whether another server is watched and its end has still to be told, or believed.
    fn has_predecessor(&self, id: &ServerId) -> bool {
        let watching = matches!(self.phase, Phase::Watching | Phase::Restoring | Phase::Ended(_));
        (watching || self.doubt.is_some()) && self.live.as_ref().is_some_and(|live| live.server.id != *id)
    }

    fn saw_nothing(&mut self, now: Duration) -> Vec<Action> {
        self.deaths.saw_none();
        match self.phase {
            Phase::Seeking => {
                self.live = None;
                [self.refuse_wanted("there is no tmux server"), self.consider_founding(now)].concat()
            }
            Phase::Watching => {
                // The client that waits for the end says how it ended, and will do so in a moment. If it
                // does not, nobody knows, and what is not known to be closed is lost.
                let since = *self.vanished_since.get_or_insert(now);
                if now < since + VANISHED_MAX { Vec::new() } else { self.ask(Doubt::Lost) }
            }
            _ => Vec::new(),
        }
    }
}

/// Returns a server that is seen for the first time as something that happened.
fn found(seen: &Observation) -> Happening {
    let server = seen.server.id.clone();
    let unit =
        seen.cgroups.get(&server.pid).and_then(|cgroup| Placement::of(cgroup).unit().map(str::to_owned));
    Happening::ServerFound { server, unit }
}

#[cfg(test)]
mod tests;
