//! A world in which anything may happen at any time: sessions are opened and closed, servers are killed,
//! machines go down, answers come late, stale or not at all. Whatever is done is checked as it is done.

use super::*;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::keeper::event::Inquiry;
use crate::model::incident::{Cause, Incident, SubjectKind};
use crate::restore::plan::Plan;
use jiff::Timestamp;

/// The most foundings in any window of [`FOUNDINGS_WITHIN`], written down once more on purpose.
const FOUNDINGS_MAX: usize = 5;
const FOUNDINGS_WITHIN: Duration = Duration::from_secs(60);

/// How long it takes at most until it is told how a server ended.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// How long it may take until all is well once nothing bad happens any more.
const CALM_SECS: u32 = 200;

/// What happens.
#[derive(Debug, Clone)]
enum Stimulus {
    /// So many tenths of a second pass.
    Pass(u8),
    /// A task of the keeper's ends well; a look may tell what was there when it began.
    Finish { which: u8, stale: bool },
    /// A task of the keeper's fails.
    Fail(u8),
    /// The user opens a session, and a server if there is none.
    Open,
    /// The user closes a session.
    Close(u8),
    /// The user ends the server in an orderly way.
    CloseServer,
    /// Something is printed in every pane.
    Print,
    /// The server is killed.
    KillServer,
    /// The machine begins to go down; whether logind says so, and whether it waits for us.
    GoDown(Option<bool>),
    /// Going down, the machine ends a session, or the server.
    EndWithMachine { server: bool },
    /// The shutdown is called off.
    CallOff,
    /// The machine has gone down and starts again.
    Reboot,
    /// The keeper is told to end.
    Terminate,
    /// The keeper starts anew, wherever it was.
    Restart,
    /// Somebody asks for a snapshot.
    AskForSnapshot,
    /// Somebody asks for a restore of a generation.
    AskForRestore(u8),
}

/// What the keeper waits for.
#[derive(Debug)]
enum Task {
    /// What was there when the look began.
    Look(Look),
    AwaitEnd(ServerId),
    /// Whether it was known to go down already when the question was asked.
    AskGoingDown(bool),
    Found,
    Save(SaveJob),
    Restore(Plan),
    ReviewDrills,
    Drill,
    Inquire(Vec<Death>),
}

impl Task {
    /// Returns whether two tasks are of a kind of which one at a time is enough.
    fn is_like(&self, other: &Task) -> bool {
        let kinds = std::mem::discriminant(self) == std::mem::discriminant(other);
        match (self, other) {
            (Task::AwaitEnd(one), Task::AwaitEnd(another)) => one == another,
            _ => kinds,
        }
    }
}

/// How far the keeper has been told that everything ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    /// A shutdown began or it was told to end; this many last snapshots were taken.
    Ending(usize),
    /// It goes down.
    Down,
}

struct World {
    state: State,
    policy: Policy,
    now: Duration,
    tasks: Vec<Task>,
    server: Option<Server>,
    /// The lives of servers so far, and how and when each but the last has ended.
    lives: u32,
    ended: BTreeMap<u32, (Ending, Duration)>,
    /// The number of the next session in this life, and of the next one in this world.
    next_id: u32,
    next_name: u32,
    printed: u64,
    store: Vec<(Generation, Arc<Snapshot>)>,
    /// Whether the machine goes down, whether that waits for us, and whether something has ended already.
    down: bool,
    held: bool,
    past_return: bool,
    exited: bool,
    terminating: bool,
    known: Known,
    foundings: Vec<Duration>,
    next_token: Token,
    unanswered: BTreeSet<Token>,
    /// What was restored without being asked for.
    unasked: Vec<String>,
    asked_to_restore: bool,
    /// The panes and servers whose deaths this keeper has written down.
    recorded: BTreeSet<(u32, Option<PaneId>)>,
}

/// Returns what is found out about deaths where nobody knows anything.
fn found_out(deaths: Vec<Death>) -> Event {
    let nothing = |death| Inquiry {
        death,
        noticed: Timestamp::UNIX_EPOCH,
        evidence: Vec::new(),
        gaps: Vec::new(),
        memory_watched: false,
    };
    Event::Inquired(deaths.into_iter().map(nothing).collect(), Vec::new())
}

impl World {
    fn new(policy: Policy) -> Self {
        Self {
            state: State::new(policy.clone(), None),
            policy,
            now: Duration::ZERO,
            tasks: Vec::new(),
            server: None,
            lives: 0,
            ended: BTreeMap::new(),
            next_id: 0,
            next_name: 0,
            printed: 0,
            store: Vec::new(),
            down: false,
            held: false,
            past_return: false,
            exited: false,
            terminating: false,
            known: Known::Nothing,
            foundings: Vec::new(),
            next_token: 0,
            unanswered: BTreeSet::new(),
            unasked: Vec::new(),
            recorded: BTreeSet::new(),
            asked_to_restore: false,
        }
    }

    // ── what happens ──

    fn happen(&mut self, stimulus: &Stimulus) {
        match stimulus {
            Stimulus::Pass(tenths) => {
                self.now += Duration::from_millis(100 * u64::from(*tenths));
                self.finish_overdue();
                self.tell(Event::Tick);
            }
            Stimulus::Finish { which, stale } => self.finish_one(*which, *stale),
            Stimulus::Fail(which) => self.fail_one(*which),
            Stimulus::Open if self.past_return => {}
            Stimulus::Open => self.open(),
            Stimulus::Close(which) => self.close(*which),
            Stimulus::CloseServer => self.end_server(Ending::Orderly),
            Stimulus::Print => self.printed += 1,
            Stimulus::KillServer => self.end_server(Ending::Lost),
            Stimulus::GoDown(said) => self.go_down(*said),
            Stimulus::EndWithMachine { server } if self.down && !self.held => {
                self.past_return = true;
                if *server {
                    self.end_server(Ending::Orderly);
                } else if let Some(running) = &mut self.server {
                    running.sessions.truncate(running.sessions.len().saturating_sub(1));
                }
            }
            Stimulus::EndWithMachine { .. } => {}
            Stimulus::CallOff if self.down && !self.past_return => {
                self.down = false;
                self.held = false;
                self.tell(Event::ShutdownCancelled);
            }
            Stimulus::CallOff => {}
            Stimulus::Reboot => {
                self.end_server(Ending::Lost);
                (self.down, self.held, self.past_return) = (false, false, false);
                self.restart();
            }
            Stimulus::Terminate => self.tell(Event::Terminate),
            Stimulus::Restart => self.restart(),
            Stimulus::AskForSnapshot => self.ask(Asked::Snapshot),
            Stimulus::AskForRestore(which) if !self.store.is_empty() => {
                let (generation, snapshot) = self.store[usize::from(*which) % self.store.len()].clone();
                let selection = Selection { by_hand: true, ..Selection::default() };
                self.ask(Asked::Restore { generation, snapshot, selection });
            }
            Stimulus::AskForRestore(_) => {}
        }
    }

    fn open(&mut self) {
        let name = format!("session {}", self.next_name);
        self.next_name += 1;
        self.start_server();
        self.add_session(&name);
    }

    fn add_session(&mut self, name: &str) {
        let session = sample::session(self.next_id, name);
        self.next_id += 1;
        self.server.iter_mut().for_each(|server| server.sessions.push(session.clone()));
    }

    fn start_server(&mut self) {
        if self.server.is_none() {
            self.lives += 1;
            self.next_id = 0;
            self.server = Some(sample::server(self.lives, &[]));
        }
    }

    fn close(&mut self, which: u8) {
        if let Some(server) = self.server.as_mut().filter(|server| !server.sessions.is_empty()) {
            server.sessions.remove(usize::from(which) % server.sessions.len());
        }
    }

    fn end_server(&mut self, ending: Ending) {
        if let Some(server) = self.server.take() {
            self.ended.insert(server.id.pid, (ending, self.now));
        }
    }

    fn go_down(&mut self, said: Option<bool>) {
        // A keeper that was told that it alone is to end believes so for the moment it takes.
        if self.down || self.terminating && !self.exited {
            return;
        }
        self.down = true;
        if let Some(held) = said {
            self.held = held && !self.exited;
            self.tell(Event::ShutdownBegins { held });
        }
    }

    fn restart(&mut self) {
        self.tasks.clear();
        self.recorded.clear();
        self.unanswered.clear();
        self.known = Known::Nothing;
        self.foundings.clear();
        (self.exited, self.terminating, self.held) = (false, false, false);
        self.state = State::new(self.policy.clone(), self.store.last().cloned());
    }

    fn ask(&mut self, asked: Asked) {
        if self.exited {
            return;
        }
        self.next_token += 1;
        self.unanswered.insert(self.next_token);
        self.asked_to_restore = matches!(asked, Asked::Restore { .. });
        self.tell(Event::Asked(self.next_token, asked));
        self.asked_to_restore = false;
    }

    // ── the end of tasks ──

    /// Takes a task away that can end now: a server's end can only be told when there is one.
    fn take(&mut self, which: u8) -> Option<Task> {
        let ready = self.ready();
        (!ready.is_empty()).then(|| self.tasks.remove(ready[usize::from(which) % ready.len()]))
    }

    fn ready(&self) -> Vec<usize> {
        let can_end = |task: &Task| match task {
            Task::AwaitEnd(id) => self.ended.contains_key(&id.pid),
            _ => true,
        };
        (0..self.tasks.len()).filter(|at| can_end(&self.tasks[*at])).collect()
    }

    fn finish_one(&mut self, which: u8, stale: bool) {
        let Some(task) = self.take(which) else { return };
        let event = match task {
            Task::Look(seen) if stale => Event::Looked(seen),
            Task::Look(_) => Event::Looked(self.look()),
            Task::AwaitEnd(id) => {
                let (ending, _) = self.ended[&id.pid];
                Event::ServerEnded(id, ending)
            }
            Task::AskGoingDown(asked_while_ending) => self.answer(asked_while_ending),
            Task::Found => {
                self.start_server();
                Event::Founded(Ok(()))
            }
            Task::Save(job) => Event::Saved(Ok(self.save(job))),
            Task::Restore(plan) => self.restore(&plan, plan.steps.len()),
            Task::ReviewDrills => Event::Reviewed(proven(365 * 24, None)),
            Task::Drill => Event::Drilled(proven(0, None)),
            Task::Inquire(deaths) => found_out(deaths),
        };
        self.tell(event);
    }

    /// How a server ended is told within a time, whatever else is late.
    fn finish_overdue(&mut self) {
        let overdue = |task: &Task| match task {
            Task::AwaitEnd(id) => {
                self.ended.get(&id.pid).is_some_and(|(_, at)| self.now >= *at + GOODBYE_MAX)
            }
            _ => false,
        };
        if let Some(at) = self.tasks.iter().position(overdue)
            && let Task::AwaitEnd(id) = self.tasks.remove(at)
        {
            let (ending, _) = self.ended[&id.pid];
            self.tell(Event::ServerEnded(id, ending));
            self.finish_overdue();
        }
    }

    fn fail_one(&mut self, which: u8) {
        let Some(task) = self.take(which) else { return };
        let why = "no luck".to_owned();
        let event = match task {
            Task::Look(_) => Event::Looked(Look::Failed(why)),
            Task::Found => Event::Founded(Err(why)),
            Task::Save(_) => Event::Saved(Err(why)),
            Task::Restore(plan) => self.restore(&plan, plan.steps.len() / 2),
            Task::ReviewDrills => Event::Reviewed(Proven::default()),
            Task::Drill => Event::Drilled(proven(0, Some(why))),
            Task::AwaitEnd(_) | Task::AskGoingDown(_) | Task::Inquire(_) => {
                self.tasks.push(task);
                return;
            }
        };
        self.tell(event);
    }

    fn look(&self) -> Look {
        match &self.server {
            Some(server) => Look::Server(observation(server.clone(), self.printed)),
            None => Look::NoServer,
        }
    }

    fn answer(&mut self, asked_while_ending: bool) -> Event {
        if self.down {
            self.known = self.known.max_down();
        } else if asked_while_ending && !self.terminating {
            self.known = Known::Nothing;
        }
        Event::GoingDown(self.down)
    }

    /// Saves as the keeper does: what was captured becomes text that tells whose it is.
    fn save(&mut self, mut job: SaveJob) -> Saved {
        let life = u64::from(job.server.id.pid);
        let texts: Vec<Text> = job
            .capture
            .iter()
            .map(|wanted| Text {
                pane: wanted.pane,
                mark: wanted.mark,
                scrollback: Scrollback { lines: 1000 * life + u64::from(wanted.pane.0), chunks: Vec::new() },
            })
            .collect();
        for pane in job.server.panes_mut() {
            if let Some(text) = texts.iter().find(|text| text.pane == pane.id) {
                pane.scrollback = text.scrollback.clone();
            }
        }
        let same = job.previous.is_some_and(|(_, previous)| previous.server == job.server);
        if same && matches!(job.reason, Reason::Output | Reason::Stopping) {
            return Saved { head: None, texts };
        }
        let snapshot = Snapshot { reason: job.reason, closed: job.closed, ..sample::snapshot(job.server) };
        let head = (self.store.len() as Generation + 1, Arc::new(snapshot));
        self.store.push(head.clone());
        Saved { head: Some(head), texts }
    }

    /// Restores the first so many sessions into whatever server is there.
    fn restore(&mut self, plan: &Plan, good: usize) -> Event {
        let mut report = Report::default();
        for (at, step) in plan.steps.iter().enumerate() {
            let name = step.session.name.clone();
            let taken = self.names().contains(&name);
            let outcome = if at < good && self.server.is_some() && !taken {
                self.add_session(&name);
                Outcome::Restored
            } else {
                Outcome::Failed("no luck".to_owned())
            };
            report.sessions.push((name, outcome));
        }
        Event::Restored(plan.generation, report)
    }

    fn names(&self) -> BTreeSet<String> {
        self.server.iter().flat_map(|server| &server.sessions).map(|session| session.name.clone()).collect()
    }

    // ── what is done about it ──

    fn tell(&mut self, event: Event) {
        if self.exited {
            return;
        }
        match event {
            Event::Terminate => {
                self.terminating = true;
                self.known = self.known.max_ending();
            }
            Event::ShutdownBegins { .. } => self.known = self.known.max_ending(),
            Event::ShutdownCancelled if !self.terminating => self.known = Known::Nothing,
            _ => {}
        }
        for action in self.state.step(self.now, event) {
            self.perform(action);
        }
        assert!(self.state.starts.count(self.now, "server") <= FOUNDINGS_MAX);
        let panes = self.store.iter().map(|(_, snapshot)| snapshot.server.counts().2).max().unwrap_or(0);
        assert!(self.state.texts.len() <= panes + self.next_id as usize, "texts without end");
    }

    fn perform(&mut self, action: Action) {
        let task = match action {
            Action::Look { .. } => Task::Look(self.look()),
            Action::AwaitEnd(id) => Task::AwaitEnd(id),
            Action::AskGoingDown => Task::AskGoingDown(self.known != Known::Nothing),
            Action::Found => {
                self.check_founding();
                Task::Found
            }
            Action::Save(job) => {
                self.check_save(&job);
                Task::Save(job)
            }
            Action::Restore(plan) => {
                assert_eq!(self.known, Known::Nothing, "restoring at the end");
                assert!(!plan.steps.is_empty(), "restoring nothing");
                if !self.asked_to_restore {
                    self.unasked.extend(plan.steps.iter().map(|step| step.session.name.clone()));
                }
                Task::Restore(plan)
            }
            Action::Inquire(deaths) => Task::Inquire(deaths),
            Action::Remember(_) => return,
            Action::Record(incidents) => return self.check_record(&incidents),
            Action::ReviewDrills => Task::ReviewDrills,
            Action::Drill => {
                assert_eq!(self.known, Known::Nothing, "a drill at the end");
                let busy = |task: &Task| matches!(task, Task::Restore(_) | Task::Save(_));
                assert!(!self.tasks.iter().any(busy), "a drill while something is restored or saved");
                assert!(self.policy.drill_every.is_some() && !self.store.is_empty());
                Task::Drill
            }
            Action::Reply(token, _) => {
                assert!(self.unanswered.remove(&token), "{token} is answered twice, or never asked");
                return;
            }
            Action::ReleaseShutdown => {
                self.held = false;
                if !self.terminating {
                    self.known = Known::Down;
                }
                return;
            }
            Action::Exit => {
                self.held = false;
                self.exited = true;
                return;
            }
            Action::BringBackSocket { .. } => unreachable!("no socket is lost in this world"),
            Action::Publish(_) | Action::Tell(_) | Action::HoldShutdown => return,
            Action::Greet(_) | Action::Note(_) => return,
        };
        assert!(!self.tasks.iter().any(|other| other.is_like(&task)), "twice at once: {task:?}");
        self.tasks.push(task);
    }

    /// A pane dies once, and with its server at the latest.
    fn check_record(&mut self, incidents: &[Incident]) {
        let ends = incidents.iter().filter(|one| one.verdict.finding.cause != Cause::StartLimitHit);
        for incident in ends {
            let server = incident.subject.server.pid;
            for pane in incident.subject.panes.iter().filter(|_| incident.subject.kind != SubjectKind::Server)
            {
                assert!(self.recorded.insert((server, Some(pane.id))), "{pane:?} of {server} died twice");
            }
            if incident.subject.kind == SubjectKind::Server {
                assert!(self.recorded.insert((server, None)), "server {server} died twice");
            }
        }
    }

    fn check_founding(&mut self) {
        assert_eq!(self.known, Known::Nothing, "a server is started at the end");
        let restoring = self.tasks.iter().any(|task| matches!(task, Task::Restore(_)));
        assert!(!restoring, "a server is started into which an older restore would go on");
        assert!(self.policy.found, "a server is started against the user's will");
        self.foundings.retain(|at| self.now < *at + FOUNDINGS_WITHIN);
        self.foundings.push(self.now);
        assert!(self.foundings.len() <= FOUNDINGS_MAX, "{:?}", self.foundings);
    }

    fn check_save(&mut self, job: &SaveJob) {
        assert_eq!(job.server.sessions.is_empty(), job.closed.is_some(), "{}", told_save(job));
        let restoring = self.tasks.iter().any(|task| matches!(task, Task::Restore(_)));
        assert!(!restoring || job.closed.is_some(), "half a restore is saved: {}", told_save(job));
        match &mut self.known {
            Known::Nothing => assert_ne!(job.reason, Reason::Stopping),
            Known::Ending(saves) => {
                *saves += 1;
                assert_eq!((job.reason, *saves), (Reason::Stopping, 1), "{}", told_save(job));
            }
            Known::Down => panic!("saved while everything goes down: {}", told_save(job)),
        }
        for (_, _, pane) in job.server.panes().filter(|(_, _, pane)| pane.scrollback.lines > 0) {
            let whose = (pane.scrollback.lines / 1000, pane.scrollback.lines % 1000);
            assert_eq!(whose, (job.server.id.pid.into(), pane.id.0.into()), "another pane's text");
        }
    }

    // ── afterwards ──

    /// Lets everything go well from here on, until the keeper has nothing left to do.
    fn calm_down(&mut self) {
        if self.past_return {
            self.happen(&Stimulus::Reboot);
        }
        self.happen(&Stimulus::CallOff);
        if self.exited || self.terminating {
            self.restart();
        }
        for _ in 0..CALM_SECS {
            self.happen(&Stimulus::Pass(10));
            while !self.ready().is_empty() {
                self.finish_one(0, false);
            }
        }
    }
}

impl Known {
    fn max_ending(self) -> Self {
        if self == Known::Nothing { Known::Ending(0) } else { self }
    }

    /// After the word that the machine goes down; while a last snapshot is taken it still is.
    fn max_down(self) -> Self {
        if self == Known::Nothing { Known::Down } else { self }
    }
}

/// What a machine and its keeper do when nobody is unlucky.
fn ordinary() -> impl Strategy<Value = Stimulus> {
    prop_oneof![
        4 => (0u8..30).prop_map(Stimulus::Pass),
        8 => (any::<u8>(), any::<bool>()).prop_map(|(which, stale)| Stimulus::Finish { which, stale }),
        2 => Just(Stimulus::Open),
        1 => Just(Stimulus::Print),
        1 => Just(Stimulus::AskForSnapshot),
    ]
}

/// What the user does on purpose.
fn closing() -> impl Strategy<Value = Stimulus> {
    prop_oneof![any::<u8>().prop_map(Stimulus::Close), Just(Stimulus::CloseServer)]
}

/// What nobody wants.
fn misfortune() -> impl Strategy<Value = Stimulus> {
    prop_oneof![
        2 => Just(Stimulus::KillServer),
        2 => any::<Option<bool>>().prop_map(Stimulus::GoDown),
        3 => any::<bool>().prop_map(|server| Stimulus::EndWithMachine { server }),
        1 => Just(Stimulus::CallOff),
        1 => Just(Stimulus::Reboot),
        1 => Just(Stimulus::Terminate),
        1 => Just(Stimulus::Restart),
    ]
}

fn failures() -> impl Strategy<Value = Stimulus> {
    prop_oneof![any::<u8>().prop_map(Stimulus::Fail), any::<u8>().prop_map(Stimulus::AskForRestore)]
}

fn policies() -> impl Strategy<Value = Policy> {
    any::<[bool; 4]>().prop_map(|[found, restore, scrollback, drills]| Policy {
        found,
        restore,
        scrollback,
        drill_every: drills.then_some(Duration::from_secs(3600)),
        ..POLICY
    })
}

proptest! {
    /// What is checked as it is done holds under anything, and in the end all is well.
    #[test]
    fn whatever_happens_no_rule_is_broken(
        policy in policies(),
        stimuli in prop::collection::vec(
            prop_oneof![8 => ordinary(), 1 => closing(), 2 => misfortune(), 1 => failures()],
            0..120,
        ),
    ) {
        let mut world = World::new(policy.clone());
        stimuli.iter().for_each(|stimulus| world.happen(stimulus));
        world.calm_down();
        prop_assert!(world.unanswered.is_empty(), "nobody answers {:?}", world.unanswered);
        prop_assert_eq!(world.server.is_some(), world.state.live.is_some());
        prop_assert!(world.server.is_some() || !policy.found);
        if !world.names().is_empty() {
            let (_, newest) = world.store.last().expect("a generation");
            prop_assert_eq!(&newest.server.id, &world.server.as_ref().unwrap().id);
            let saved: BTreeSet<String> = newest.server.sessions.iter().map(|s| s.name.clone()).collect();
            prop_assert_eq!(saved, world.names());
        }
    }

    /// Intent: nothing that was closed comes back by itself.
    #[test]
    fn what_nobody_lost_is_never_restored(
        stimuli in prop::collection::vec(prop_oneof![8 => ordinary(), 2 => closing()], 0..120),
    ) {
        let mut world = World::new(POLICY);
        stimuli.iter().for_each(|stimulus| world.happen(stimulus));
        world.calm_down();
        prop_assert!(world.unasked.is_empty(), "{:?}", world.unasked);
    }

    /// The promise: what was saved and not closed is there in the end.
    #[test]
    fn what_nobody_closed_comes_back(
        stimuli in prop::collection::vec(prop_oneof![6 => ordinary(), 2 => misfortune()], 0..120),
    ) {
        let mut world = World::new(POLICY);
        stimuli.iter().for_each(|stimulus| world.happen(stimulus));
        let saved = world.store.iter().flat_map(|(_, snapshot)| &snapshot.server.sessions);
        let saved: BTreeSet<String> = saved.map(|session| session.name.clone()).collect();
        world.calm_down();
        let missing: Vec<&String> = saved.iter().filter(|name| !world.names().contains(*name)).collect();
        prop_assert!(missing.is_empty(), "{missing:?}");
    }
}
