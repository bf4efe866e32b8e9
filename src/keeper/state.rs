//! What the keeper knows, and what it decides. Pure: no I/O, and time comes in as a number.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Closed, Generation, PaneId, Reason, Scrollback, ServerId, Snapshot};
use crate::restore::execute::{Outcome, Report};
use crate::restore::plan::{self, Plan, Selection, Skip};
use crate::tmux::observe::{Observation, OutputMark};

use super::action::{Action, Capture, SaveJob};
use super::changes::{details, has_printed, lacks, structure};
use super::event::{Answer, Asked, Ending, Event, Look, Saved, Token};

/// How long something must be gone before it counts as closed by the user. When a machine goes down,
/// panes, server and keeper end within this time of each other, and that must not look like intent.
const SETTLE: Duration = Duration::from_secs(2);

/// How many panes are read for one save: each costs the server up to 9 ms, in which nobody can type.
const CAPTURES_MAX: usize = 16;

/// How many servers may be started within [`FOUNDINGS_WITHIN`]; a server that keeps ending has a reason.
const FOUNDINGS_MAX: usize = 5;
/// See [`FOUNDINGS_MAX`].
const FOUNDINGS_WITHIN: Duration = Duration::from_secs(60);

/// How long the last look and the last save may take before we end without them.
const FINISH_MAX: Duration = Duration::from_secs(8);

/// How often a keeper that has stopped for a shutdown asks whether there still is one.
const FROZEN_ASK_EVERY: Duration = Duration::from_secs(30);

/// What of the settings matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether to start a server where there is none.
    pub found: bool,
    /// Whether to restore unasked.
    pub restore: bool,
    /// Shortest time between two snapshots of what only prints.
    pub output_interval: Duration,
    /// Whether texts are kept.
    pub scrollback: bool,
}

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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Seeking,
    Founding,
    Restoring,
    Watching,
    /// The server ended in an orderly way at this time.
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
    head: Option<(Generation, Arc<Snapshot>)>,
    live: Option<Arc<Observation>>,
    /// The server for which it has been decided what was lost.
    reconciled: Option<ServerId>,
    /// The server whose end was what the user wanted.
    closed: Option<ServerId>,
    /// The texts of the living server's panes that are in the store.
    texts: HashMap<PaneId, KnownText>,
    looking: bool,
    saving: bool,
    /// Whether a plan is being carried out; true until its report is in, whatever happens meanwhile.
    restoring: bool,
    /// Whether the save that is under way is the last one.
    last_saving: bool,
    doubt: Option<Doubt>,
    /// Since when something that the head has is gone.
    shrunk_since: Option<Duration>,
    /// When a save last covered what only prints.
    output_saved_at: Option<Duration>,
    /// Looks in a row that found no server although none was seen to end.
    vanished: u32,
    foundings: VecDeque<Duration>,
    /// A save that must happen whether or not anything changed, and who waits for it.
    wanted: Option<(Reason, Option<Token>)>,
    /// Who waits for the save that is under way.
    saving_for: Option<Token>,
    /// Who waits for the restore that is under way, and what it leaves out.
    restoring_for: Option<(Token, Vec<Skip>)>,
    /// Whether what is gone at the last look is gone because the user closed it.
    trust_last_look: bool,
    /// What was wrong at the last look.
    problem: Option<String>,
    /// Why the last save failed; stays until one succeeds.
    save_problem: Option<String>,
    /// What the last restore could not bring back.
    restore_problem: Option<String>,
    published: Summary,
}

#[derive(Debug, Clone)]
struct KnownText {
    mark: OutputMark,
    read_at: Duration,
    scrollback: Scrollback,
}

impl State {
    /// Returns the state of a keeper that has just started, with the newest good generation.
    pub fn new(policy: Policy, head: Option<(Generation, Arc<Snapshot>)>) -> Self {
        Self {
            policy,
            phase: Phase::Seeking,
            head,
            live: None,
            reconciled: None,
            closed: None,
            texts: HashMap::new(),
            looking: false,
            saving: false,
            restoring: false,
            last_saving: false,
            doubt: None,
            shrunk_since: None,
            output_saved_at: None,
            vanished: 0,
            foundings: VecDeque::new(),
            wanted: None,
            saving_for: None,
            restoring_for: None,
            trust_last_look: false,
            problem: None,
            save_problem: None,
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
            Event::Founded(result) => self.founded(result),
            Event::Saved(result) => self.saved(now, result),
            Event::Restored(generation, report) => self.restored(now, generation, report),
            Event::Asked(token, asked) => self.asked(token, asked),
            Event::Terminate => self.terminate(now),
        };
        let summary = self.summary();
        if summary != self.published {
            self.published = summary.clone();
            actions.push(Action::Publish(summary));
        }
        actions
    }

    fn summary(&self) -> Summary {
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
            problem: [&self.problem, &self.save_problem, &self.restore_problem]
                .into_iter()
                .flatten()
                .next()
                .cloned(),
        }
    }

    // ── time ──

    fn tick(&mut self, now: Duration) -> Vec<Action> {
        match self.phase {
            Phase::Seeking | Phase::Watching => self.look(),
            Phase::Ended(since) if now >= since + SETTLE && !self.saving => self.ask(Doubt::Ended),
            Phase::Finishing(then, deadline) if now >= deadline => self.finish(now, then),
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
        vec![Action::Look]
    }

    // ── looks ──

    fn looked(&mut self, now: Duration, look: Look) -> Vec<Action> {
        self.looking = false;
        match look {
            Look::Server(observation) => self.saw_server(now, observation),
            _ if matches!(self.phase, Phase::Finishing(..)) => self.finish_now(now),
            Look::NoServer => self.saw_nothing(now),
            Look::Orphan { pid } => {
                self.problem = Some(format!(
                    "a tmux server (pid {pid}) lives, but the path of its socket is gone; bring it back with: kill -USR1 {pid}"
                ));
                Vec::new()
            }
            Look::Failed(why) => {
                self.problem = Some(why);
                Vec::new()
            }
        }
    }

    fn saw_server(&mut self, now: Duration, observation: Arc<Observation>) -> Vec<Action> {
        self.problem = None;
        self.vanished = 0;
        let id = observation.server.id.clone();
        let mut actions = Vec::new();
        let known = self.live.as_ref().is_some_and(|live| live.server.id == id);
        if !known {
            self.texts.clear();
            self.shrunk_since = None;
            self.adopt_saved_texts(&observation);
            actions.push(Action::AwaitEnd(id.clone()));
        }
        self.live = Some(observation);
        actions.extend(match self.phase {
            // A restore into a server that is gone has not given up yet; the next look decides.
            Phase::Seeking | Phase::Watching if self.restoring => Vec::new(),
            Phase::Seeking | Phase::Watching if self.reconciled.as_ref() != Some(&id) => {
                self.reconcile(now, id)
            }
            Phase::Seeking | Phase::Watching => {
                self.phase = Phase::Watching;
                self.consider_save(now)
            }
            Phase::Finishing(..) => self.last_save(now),
            _ => Vec::new(),
        });
        actions
    }

    /// After a restart of the keeper the texts of the same server need not all be read again at once:
    /// they are taken as they were saved, marked as never read.
    fn adopt_saved_texts(&mut self, observation: &Observation) {
        let Some((_, head)) = self.head.as_ref().filter(|(_, head)| head.server.id == observation.server.id)
        else {
            return;
        };
        for (_, _, pane) in head.server.panes() {
            let text = KnownText {
                mark: OutputMark::default(),
                read_at: Duration::ZERO,
                scrollback: pane.scrollback.clone(),
            };
            self.texts.insert(pane.id, text);
        }
    }

    fn saw_nothing(&mut self, now: Duration) -> Vec<Action> {
        match self.phase {
            Phase::Seeking => {
                self.live = None;
                self.consider_founding(now)
            }
            Phase::Watching => {
                // The client that waits for the end says how it ended, and will do so in a moment. If it
                // does not, nobody knows, and what is not known to be closed is lost.
                self.vanished += 1;
                if self.vanished < 3 { Vec::new() } else { self.ask(Doubt::Lost) }
            }
            _ => Vec::new(),
        }
    }

    fn consider_founding(&mut self, now: Duration) -> Vec<Action> {
        if !self.policy.found {
            self.problem =
                Some("no tmux server is running, and tmux.found is false in config.toml".to_owned());
            return Vec::new();
        }
        self.foundings.retain(|at| now < *at + FOUNDINGS_WITHIN);
        if self.foundings.len() >= FOUNDINGS_MAX {
            self.problem = Some(format!(
                "tmux servers ended {FOUNDINGS_MAX} times within {} s; waiting before the next is started",
                FOUNDINGS_WITHIN.as_secs()
            ));
            return Vec::new();
        }
        self.foundings.push_back(now);
        self.phase = Phase::Founding;
        vec![Action::Found]
    }

    fn founded(&mut self, result: Result<(), String>) -> Vec<Action> {
        if self.phase != Phase::Founding {
            return Vec::new();
        }
        self.phase = Phase::Seeking;
        match result {
            Ok(()) => self.look(),
            Err(why) => {
                self.problem = Some(why);
                Vec::new()
            }
        }
    }

    // ── restoring ──

    /// Decides what a server that was not known yet lacks.
    fn reconcile(&mut self, now: Duration, id: ServerId) -> Vec<Action> {
        self.reconciled = Some(id);
        let live = self.live.as_ref().map(|live| &live.server);
        let plan = match &self.head {
            Some((generation, head))
                if self.policy.restore && self.closed.as_ref() != Some(&head.server.id) =>
            {
                plan::plan_unasked(*generation, head, live)
            }
            _ => {
                self.phase = Phase::Watching;
                return self.consider_save(now);
            }
        };
        if plan.is_empty() {
            self.phase = Phase::Watching;
            return self.consider_save(now);
        }
        self.start_restore(plan)
    }

    fn start_restore(&mut self, plan: Plan) -> Vec<Action> {
        self.phase = Phase::Restoring;
        self.restoring = true;
        vec![Action::Restore(plan)]
    }

    fn restored(&mut self, now: Duration, generation: Generation, report: Report) -> Vec<Action> {
        self.restoring = false;
        self.restore_problem = (!report.complete()).then(|| {
            let names: Vec<&str> = report
                .sessions
                .iter()
                .filter(|(_, outcome)| *outcome != Outcome::Restored)
                .map(|(name, _)| name.as_str())
                .collect();
            format!(
                "not all of snapshot {generation} came back: {}; try: keeperctl restore {generation}",
                names.join(", ")
            )
        });
        let mut actions = Vec::new();
        if let Some((token, skips)) = self.restoring_for.take() {
            actions.push(Action::Reply(token, Answer::Restored(report, skips)));
        }
        match self.phase {
            Phase::Restoring => {
                self.phase = Phase::Watching;
                self.wanted.get_or_insert((Reason::Restored, None));
                actions.extend(self.look());
            }
            Phase::Finishing(..) => actions.extend(self.last_look(now)),
            _ => {}
        }
        actions
    }

    // ── saving ──

    /// The head, if it shows this life of the server.
    fn base(&self) -> Option<&(Generation, Arc<Snapshot>)> {
        let live = self.live.as_ref()?;
        self.head.as_ref().filter(|(_, head)| head.server.id == live.server.id)
    }

    fn consider_save(&mut self, now: Duration) -> Vec<Action> {
        let Some(live) = self.live.clone() else {
            return Vec::new();
        };
        if self.saving || self.doubt.is_some() {
            return Vec::new();
        }
        let saved = self.base().map(|(_, head)| head.clone());
        let shrunk =
            saved.as_ref().is_some_and(|head| head.closed.is_none() && lacks(&head.server, &live.server));
        if shrunk {
            let since = *self.shrunk_since.get_or_insert(now);
            return if now >= since + SETTLE { self.ask(Doubt::Shrunk) } else { Vec::new() };
        }
        self.shrunk_since = None;
        if live.server.sessions.is_empty() {
            return self.nothing_to_save();
        }
        match self.reason_to_save(now, saved.as_deref(), &live) {
            Some(reason) => self.save(now, reason, &live),
            None => Vec::new(),
        }
    }

    fn nothing_to_save(&mut self) -> Vec<Action> {
        match self.wanted.take() {
            Some((_, Some(token))) => {
                let why = "the tmux server has no sessions, so there is nothing to save".to_owned();
                vec![Action::Reply(token, Answer::Refused(why))]
            }
            _ => Vec::new(),
        }
    }

    fn reason_to_save(
        &mut self,
        now: Duration,
        saved: Option<&Snapshot>,
        live: &Observation,
    ) -> Option<Reason> {
        if let Some((reason, token)) = self.wanted.take() {
            self.saving_for = token;
            return Some(reason);
        }
        let Some(saved) = saved.filter(|saved| saved.closed.is_none()) else {
            return Some(Reason::Changed);
        };
        if structure(&saved.server) != structure(&live.server) {
            return Some(Reason::Changed);
        }
        let rested = self.output_saved_at.is_none_or(|at| now >= at + self.policy.output_interval);
        let details = || details(&saved.server) != details(&live.server);
        if rested && details() {
            return Some(Reason::Changed);
        }
        let unread = live.server.panes().any(|(_, _, pane)| self.never_read(live, pane.id));
        let printed = || !self.captures(now, live).is_empty();
        (unread || rested && printed()).then_some(Reason::Output)
    }

    fn never_read(&self, live: &Observation, pane: PaneId) -> bool {
        self.policy.scrollback
            && live.vitals.get(&pane).is_some_and(|vitals| !vitals.waiting)
            && !self.texts.contains_key(&pane)
    }

    /// Returns the panes whose text is to be read now, those first that were read longest ago.
    fn captures(&self, now: Duration, live: &Observation) -> Vec<Capture> {
        if !self.policy.scrollback {
            return Vec::new();
        }
        let mut due: Vec<(Option<Duration>, Capture)> = live
            .vitals
            .iter()
            .filter(|(_, vitals)| !vitals.waiting)
            .filter_map(|(pane, vitals)| {
                let known = self.texts.get(pane);
                let capture = Capture { pane: *pane, alternate: vitals.alternate, mark: vitals.output };
                known
                    .is_none_or(|known| {
                        has_printed(known.mark, now.saturating_sub(known.read_at), vitals.output)
                    })
                    .then_some((known.map(|known| known.read_at), capture))
            })
            .collect();
        due.sort_by_key(|(read_at, capture)| (*read_at, capture.pane));
        due.into_iter().take(CAPTURES_MAX).map(|(_, capture)| capture).collect()
    }

    fn save(&mut self, now: Duration, reason: Reason, live: &Observation) -> Vec<Action> {
        let mut server = live.server.clone();
        for pane in server.panes_mut() {
            let waiting = live.vitals.get(&pane.id).is_some_and(|vitals| vitals.waiting);
            if let Some(known) = self.texts.get(&pane.id).filter(|_| !waiting) {
                pane.scrollback = known.scrollback.clone();
            }
        }
        let capture = self.captures(now, live);
        self.texts.retain(|pane, _| live.vitals.contains_key(pane));
        self.saving = true;
        self.output_saved_at = Some(now);
        let previous = self.base().cloned();
        vec![Action::Save(SaveJob { reason, server, capture, closed: None, previous })]
    }

    /// Records that the user closed everything, so that nothing comes back unasked.
    fn save_closed(&mut self, closed: Closed) -> Vec<Action> {
        // Only what was seen alive in this server can have been closed in it.
        let Some((_, head)) = self.base().filter(|(_, head)| head.closed.is_none()) else {
            return Vec::new();
        };
        let mut server = head.server.clone();
        server.sessions.clear();
        // Remembered here too: the file may come too late for the next server, or fail.
        self.closed = Some(server.id.clone());
        self.saving = true;
        let job = SaveJob {
            reason: Reason::Closed,
            server,
            capture: Vec::new(),
            closed: Some(closed),
            previous: None,
        };
        vec![Action::Save(job)]
    }

    fn saved(&mut self, now: Duration, result: Result<Saved, String>) -> Vec<Action> {
        self.saving = false;
        let waiting = self.saving_for.take();
        let answer = match result {
            Ok(saved) => {
                self.learn_texts(now, &saved);
                self.head = saved.head.or_else(|| self.head.take());
                self.save_problem = None;
                match &self.head {
                    Some((generation, _)) => Answer::Snapshot(*generation),
                    None => Answer::Refused("nothing was saved".to_owned()),
                }
            }
            Err(why) => {
                self.save_problem = Some(format!("the last snapshot failed: {why}"));
                Answer::Refused(why)
            }
        };
        let mut actions: Vec<Action> =
            waiting.map(|token| Action::Reply(token, answer)).into_iter().collect();
        if matches!(self.phase, Phase::Finishing(..)) {
            actions.extend(if self.last_saving { self.finish_now(now) } else { self.last_look(now) });
        }
        actions
    }

    fn learn_texts(&mut self, now: Duration, saved: &Saved) {
        for text in &saved.texts {
            let known = KnownText { mark: text.mark, read_at: now, scrollback: text.scrollback.clone() };
            self.texts.insert(text.pane, known);
        }
    }

    // ── ends ──

    fn server_ended(&mut self, now: Duration, id: &ServerId, ending: Ending) -> Vec<Action> {
        if self.live.as_ref().is_none_or(|live| live.server.id != *id) {
            return Vec::new();
        }
        match self.phase {
            Phase::Finishing(..) => return self.finish_now(now),
            Phase::Frozen(_) | Phase::Founding => return Vec::new(),
            Phase::Seeking | Phase::Restoring | Phase::Watching | Phase::Ended(_) => {}
        }
        match ending {
            Ending::Orderly => {
                self.phase = Phase::Ended(now);
                Vec::new()
            }
            Ending::Lost => self.ask(Doubt::Lost),
        }
    }

    /// Asks whether everything is going down, before something that is gone is believed to be closed or
    /// something is started again.
    fn ask(&mut self, doubt: Doubt) -> Vec<Action> {
        if self.doubt.is_some() {
            return Vec::new();
        }
        self.doubt = Some(doubt);
        vec![Action::AskGoingDown]
    }

    fn going_down(&mut self, now: Duration, yes: bool) -> Vec<Action> {
        let Some(doubt) = self.doubt.take() else {
            return Vec::new();
        };
        if let Phase::Finishing(..) = self.phase {
            self.trust_last_look = !yes;
            return self.last_look(now);
        }
        match (doubt, yes) {
            (Doubt::Frozen, false) => self.thaw(),
            (_, true) => {
                self.phase = Phase::Frozen(now);
                Vec::new()
            }
            (Doubt::Lost, false) => self.seek_again(),
            (Doubt::Ended, false) => {
                let actions = self.save_closed(Closed::Server);
                [actions, self.seek_again()].concat()
            }
            (Doubt::Shrunk, false) => self.accept_shrinking(now),
            (Doubt::Terminate, false) => Vec::new(),
        }
    }

    fn seek_again(&mut self) -> Vec<Action> {
        self.live = None;
        self.vanished = 0;
        self.shrunk_since = None;
        self.phase = Phase::Seeking;
        let asked = self.wanted.take().and_then(|(_, token)| token);
        let why = "the tmux server ended".to_owned();
        let reply = asked.map(|token| Action::Reply(token, Answer::Refused(why)));
        reply.into_iter().chain(self.look()).collect()
    }

    fn accept_shrinking(&mut self, now: Duration) -> Vec<Action> {
        self.shrunk_since = None;
        let Some(live) = self.live.clone().filter(|_| self.phase == Phase::Watching && !self.saving) else {
            return Vec::new();
        };
        if live.server.sessions.is_empty() {
            return self.save_closed(Closed::LastSession);
        }
        let (reason, token) = self.wanted.take().unwrap_or((Reason::Changed, None));
        self.saving_for = token;
        self.save(now, reason, &live)
    }

    fn shutdown_begins(&mut self, now: Duration, held: bool) -> Vec<Action> {
        match self.phase {
            Phase::Finishing(..) | Phase::Frozen(_) => vec![Action::ReleaseShutdown],
            _ => {
                self.trust_last_look = held;
                self.phase = Phase::Finishing(Then::Freeze, now + FINISH_MAX);
                self.last_look(now)
            }
        }
    }

    fn thaw(&mut self) -> Vec<Action> {
        match self.phase {
            Phase::Frozen(_) | Phase::Finishing(Then::Freeze, _) => {
                self.phase = Phase::Seeking;
                self.last_saving = false;
                [vec![Action::HoldShutdown], self.look()].concat()
            }
            _ => Vec::new(),
        }
    }

    fn terminate(&mut self, now: Duration) -> Vec<Action> {
        match self.phase {
            Phase::Frozen(_) => vec![Action::Exit],
            Phase::Finishing(_, deadline) => {
                self.phase = Phase::Finishing(Then::Exit, deadline);
                Vec::new()
            }
            _ => {
                self.phase = Phase::Finishing(Then::Exit, now + FINISH_MAX);
                self.ask(Doubt::Terminate)
            }
        }
    }

    fn last_look(&mut self, now: Duration) -> Vec<Action> {
        if self.live.is_none() {
            return self.finish_now(now);
        }
        if self.restoring || self.saving {
            // Its end brings us back here: half a restore must not be saved.
            return Vec::new();
        }
        self.look()
    }

    /// Saves what the last look saw, unless something is gone that may have gone down already.
    fn last_save(&mut self, now: Duration) -> Vec<Action> {
        if self.doubt.is_some() || self.saving || self.restoring {
            // The end of each of them brings us back here.
            return Vec::new();
        }
        let Some(live) = self.live.clone() else {
            return self.finish_now(now);
        };
        let saved = self.base().map(|(_, head)| head.clone());
        let shrunk = saved.as_ref().is_some_and(|head| lacks(&head.server, &live.server));
        if live.server.sessions.is_empty() || (shrunk && !self.trust_last_look) {
            return self.finish_now(now);
        }
        self.last_saving = true;
        self.save(now, Reason::Stopping, &live)
    }

    fn finish_now(&mut self, now: Duration) -> Vec<Action> {
        match self.phase {
            Phase::Finishing(then, _) => self.finish(now, then),
            _ => Vec::new(),
        }
    }

    fn finish(&mut self, now: Duration, then: Then) -> Vec<Action> {
        match then {
            Then::Exit => vec![Action::Exit],
            Then::Freeze => {
                self.phase = Phase::Frozen(now);
                vec![Action::ReleaseShutdown]
            }
        }
    }

    // ── requests ──

    fn asked(&mut self, token: Token, asked: Asked) -> Vec<Action> {
        if self.phase != Phase::Watching || self.doubt.is_some() {
            let why = format!("the keeper is {}; try again in a moment", self.summary().state);
            return vec![Action::Reply(token, Answer::Refused(why))];
        }
        match asked {
            Asked::Snapshot => self.asked_for_snapshot(token),
            Asked::Restore { generation, snapshot, selection } => {
                self.asked_to_restore(token, generation, &snapshot, &selection)
            }
        }
    }

    fn asked_for_snapshot(&mut self, token: Token) -> Vec<Action> {
        match self.wanted.replace((Reason::Asked, Some(token))) {
            Some((_, Some(earlier))) => {
                let why = "another snapshot was asked for at the same time".to_owned();
                [vec![Action::Reply(earlier, Answer::Refused(why))], self.look()].concat()
            }
            _ => self.look(),
        }
    }

    fn asked_to_restore(
        &mut self,
        token: Token,
        generation: Generation,
        snapshot: &Snapshot,
        selection: &Selection,
    ) -> Vec<Action> {
        let live = self.live.as_ref().map(|live| &live.server);
        match plan::plan(generation, snapshot, live, selection) {
            Err(unknown) => vec![Action::Reply(token, Answer::Unknown(unknown))],
            Ok(plan) if plan.is_empty() => {
                vec![Action::Reply(token, Answer::Restored(Report::default(), plan.skips))]
            }
            Ok(plan) => {
                self.restoring_for = Some((token, plan.skips.clone()));
                self.start_restore(plan)
            }
        }
    }
}
