//! What comes back and what does not: each verdict, and what is done about it.

use super::stories::{lost, nothing, of_last_boot, orderly, restored, saved, sees, snapshot, step};
use super::*;

use jiff::Timestamp;

use crate::model::evidence::{About, End, EndWitness, Fact, KillCommand, Limit, Sighting};
use crate::model::incident::{Cause, Deed, Incident};
use crate::model::{PaneId, Program};
use crate::restore::manner::Manner;

/// A keeper that watches server 1, and what it does.
struct Keeper {
    state: State,
    deeds: Vec<(String, Cause, Deed)>,
    manners: Vec<Manner>,
    generation: Generation,
    /// What is found out about every death.
    facts: Vec<Fact>,
}

impl Keeper {
    fn watching(server: Server) -> Self {
        Self::with(POLICY, server)
    }

    fn with(policy: Policy, server: Server) -> Self {
        let state = State::new(policy, None);
        let (deeds, manners, facts) = (Vec::new(), Vec::new(), Vec::new());
        let mut keeper = Self { state, deeds, manners, generation: 1, facts };
        let first = observation(server, 0);
        keeper.tell(0, Event::Tick);
        keeper.tell(0, Event::Looked(Look::Server(first)));
        keeper
    }

    /// Tells what happens. Nothing goes down, and every save succeeds.
    fn tell(&mut self, secs: u64, event: Event) -> String {
        let mut done = Vec::new();
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let facts = self.facts.clone();
            for action in step(&mut self.state, secs, event, &facts) {
                match &action {
                    Action::Record(incidents) => {
                        let told =
                            |one: &Incident| (one.subject.place.clone(), one.verdict.finding.cause, one.deed);
                        self.deeds.extend(incidents.iter().map(told));
                    }
                    Action::Restore(plan) => self.manners.push(plan.manner.clone()),
                    Action::AskGoingDown => events.push(Event::GoingDown(false)),
                    Action::Save(job) => {
                        self.generation += 1;
                        let snapshot = sample::snapshot(job.server.clone());
                        events.push(saved(self.generation, Snapshot { closed: job.closed, ..snapshot }));
                    }
                    _ => {}
                }
                done.push(action);
            }
        }
        told(&done)
    }

    fn sees(&mut self, secs: u64, server: &Server) -> String {
        self.tell(secs, Event::Tick)
            + &self.tell(secs, Event::Looked(Look::Server(observation(server.clone(), 0))))
    }

    fn deed(&mut self) -> (Cause, Deed) {
        let (_, cause, deed) = self.deeds.pop().expect("a death");
        (cause, deed)
    }
}

fn oomd() -> Fact {
    Fact::OomdKill { unit: "x.scope".into(), reason: "memory-pressure".into() }
}

fn ended(status: u8) -> Fact {
    Fact::Ended { end: End::Exited(status), witness: EndWitness::Kernel }
}

/// `web` with a window of two panes and one of one, and `api`; `npm` runs in the second pane.
fn server() -> Server {
    let mut server = sample::server(1, &["web", "api"]);
    let mut npm = sample::pane(11, 1);
    npm.program = Program::Command { process: sample::process(&["npm", "start"]) };
    server.sessions[0].windows = vec![
        sample::window(10, 0, vec![sample::pane(10, 0), npm]),
        sample::window(12, 3, vec![sample::pane(12, 0)]),
    ];
    server
}

fn without_session(mut server: Server, name: &str) -> Server {
    server.sessions.retain(|session| session.name != name);
    server
}

fn without_pane(mut server: Server, pane: u32) -> Server {
    for session in &mut server.sessions {
        session.windows.iter_mut().for_each(|window| window.panes.retain(|one| one.id != PaneId(pane)));
        session.windows.retain(|window| !window.panes.is_empty());
    }
    server
}

#[test]
fn what_memory_cost_comes_back_to_where_it_was() {
    let cases = [
        (without_session(server(), "api"), "restore api"),
        (without_pane(server(), 12), "restore web"),
        (without_pane(server(), 11), "restore panes of web"),
        (without_session(without_pane(server(), 11), "api"), "restore api+panes of web"),
    ];
    for (left, expected) in cases {
        let mut keeper = Keeper::watching(server());
        keeper.facts = vec![oomd()];
        assert_eq!(keeper.sees(1, &left), "look");
        assert_eq!(keeper.sees(2, &left), "look");
        assert_eq!(keeper.sees(3, &left), format!("look{expected}"), "{expected}");
        assert!(
            keeper
                .deeds
                .iter()
                .all(|(_, cause, deed)| { (*cause, *deed) == (Cause::OomdKill, Deed::RestorePaced) })
        );
        assert!(keeper.manners[0].paced && keeper.manners[0].asking.is_empty());
        assert!(!keeper.manners[0].last.is_empty());
    }
}

#[test]
fn what_starves_again_soon_is_asked_for() {
    let mut keeper = Keeper::watching(server());
    keeper.facts = vec![oomd()];
    let left = without_session(server(), "api");
    (1..=3).for_each(|secs| drop(keeper.sees(secs, &left)));
    assert_eq!(keeper.deed(), (Cause::OomdKill, Deed::RestorePaced));
    keeper.tell(4, restored(&["api"]));
    // It is back, with other ids.
    let mut back = left.clone();
    back.sessions.push(sample::session(7, "api"));
    (4..=12).for_each(|secs| drop(keeper.sees(secs, &back)));
    (13..=15).for_each(|secs| drop(keeper.sees(secs, &left)));
    assert_eq!(keeper.deed(), (Cause::OomdKill, Deed::Ask));
    assert_eq!(keeper.manners[1].asking, [PaneId(7)]);
}

#[test]
fn what_its_user_closed_does_not_come_back() {
    for facts in [vec![], vec![ended(0)], vec![ended(0), Fact::NothingStopping]] {
        let mut keeper = Keeper::watching(server());
        keeper.facts = facts;
        let left = without_session(server(), "api");
        let done: Vec<String> = (1..=9).map(|secs| keeper.sees(secs, &left)).collect();
        assert!(!done.concat().contains("restore"), "{done:?}");
        assert_eq!(keeper.deed(), (Cause::ClosedByUser, Deed::Nothing));
    }
}

#[test]
fn a_program_that_fails_is_started_again_until_it_fails_too_often() {
    let mut keeper = Keeper::watching(server());
    keeper.facts = vec![ended(1)];
    let mut dead = server();
    dead.sessions[0].windows[0].panes[1].dead = Some(crate::model::Dead::Exited(1));
    let mut at = 1;
    for (start, pause) in [1, 2, 4, 8, 16].into_iter().enumerate() {
        // It died, is looked into two seconds later, and starts after the pause.
        let done: Vec<String> = (at..at + 2 + pause).map(|secs| keeper.sees(secs, &dead)).collect();
        assert!(!done.concat().contains("respawn"), "{start}: {done:?}");
        at += 2 + pause;
        assert!(keeper.sees(at, &dead).contains("restore respawn %11"), "{start}");
        assert_eq!(keeper.deed(), (Cause::ProgramFailed, Deed::Restart));
        assert_eq!(keeper.manners[start].running, [PaneId(11)]);
        keeper.tell(at, restored(&["web"]));
        keeper.sees(at, &server());
        at += 1;
    }
    let done: Vec<String> = (at..at + 70).map(|secs| keeper.sees(secs, &dead)).collect();
    assert!(!done.concat().contains("respawn"), "{done:?}");
    assert_eq!(keeper.deed(), (Cause::StartLimitHit, Deed::Ask));
}

#[test]
fn a_program_that_fails_at_once_is_told_each_time() {
    let mut keeper = Keeper::watching(server());
    keeper.facts = vec![ended(1)];
    let mut dead = server();
    dead.sessions[0].windows[0].panes[1].dead = Some(crate::model::Dead::Exited(1));
    let mut starts = 0;
    for secs in 1..80 {
        if keeper.sees(secs, &dead).contains("respawn") {
            starts += 1;
            keeper.tell(secs, restored(&["web"]));
            keeper.sees(secs, &dead);
        }
    }
    assert_eq!((starts, keeper.deed()), (5, (Cause::StartLimitHit, Deed::Ask)));
}

#[test]
fn a_shell_that_fails_is_left_alone() {
    let mut keeper = Keeper::watching(server());
    keeper.facts = vec![ended(1)];
    let left = without_pane(server(), 12);
    let done: Vec<String> = (1..=9).map(|secs| keeper.sees(secs, &left)).collect();
    assert!(!done.concat().contains("restore"), "{done:?}");
}

#[test]
fn nothing_comes_back_where_that_is_switched_off() {
    let mut keeper = Keeper::with(Policy { restore: false, ..POLICY }, server());
    keeper.facts = vec![oomd()];
    let left = without_session(server(), "api");
    let done: Vec<String> = (1..=9).map(|secs| keeper.sees(secs, &left)).collect();
    assert!(!done.concat().contains("restore"), "{done:?}");
    assert_eq!(keeper.deed(), (Cause::OomdKill, Deed::Ask));
}

/// A server ends, and the next one is there.
fn end(keeper: &mut Keeper, ending: Event, seen: Option<Fact>) -> String {
    if let Some(fact) = seen {
        let at = Timestamp::from_second(1).unwrap();
        keeper.tell(1, Event::Sighted(Sighting { at, about: About::Machine, fact }));
    }
    let mut done = keeper.tell(1, ending);
    for secs in [2, 3, 4, 13] {
        done += &keeper.tell(secs, Event::Tick);
    }
    done += &keeper.tell(13, nothing());
    done += &keeper.tell(14, Event::Founded(Ok(())));
    done += &keeper.tell(14, sees(2, &[]));
    keeper.tell(20, Event::Tick);
    done
}

#[test]
fn the_end_of_a_server_is_answered_once() {
    let victim = Fact::OomKill { unit: "x".into(), kills: 1, own: true, limit: Limit::Own };
    let cases = [
        (lost(1), None, Some("restore web+api"), Deed::Restore),
        (orderly(1), None, None, Deed::Nothing),
        (lost(1), Some(oomd()), Some("restore web+api"), Deed::RestorePaced),
        (orderly(1), Some(oomd()), Some("restore web+api"), Deed::RestorePaced),
        (lost(1), Some(Fact::UnitStopped { unit: "x".into() }), None, Deed::Nothing),
        (lost(1), Some(victim), Some("restore web+api"), Deed::RestorePaced),
    ];
    for (ending, seen, restore, deed) in cases {
        let mut keeper = Keeper::watching(server());
        keeper.facts = vec![Fact::NothingStopping];
        let title = format!("{ending:?} {seen:?}");
        let done = end(&mut keeper, ending, seen);
        assert_eq!(done.contains("save closed"), restore.is_none(), "{title}: {done}");
        assert_eq!(done.matches("restore").count(), usize::from(restore.is_some()), "{title}: {done}");
        assert!(done.contains(restore.unwrap_or_default()), "{title}: {done}");
        assert_eq!(keeper.deed().1, deed, "{title}");
    }
}

#[test]
fn the_hog_comes_last() {
    let mut keeper = Keeper::watching(server());
    let victim = crate::model::evidence::Victim::Child;
    keeper.facts = vec![Fact::OomVictim { victim, comm: "npm".into(), pid: 99, rss_bytes: 1, limit: None }];
    let done = end(&mut keeper, lost(1), Some(oomd()));
    assert!(done.contains("restore api+web"), "{done}");
    assert_eq!(keeper.manners[0].last, [PaneId(11)]);
}

#[test]
fn what_was_closed_stays_closed_though_no_snapshot_says_so() {
    let mut seen = (*observation(without_session(server(), "api"), 0)).clone();
    let command = "kill-session -t api".to_owned();
    seen.kills = vec![KillCommand { client: "c".into(), key: None, command }];
    // The server is killed before that is saved.
    let mut keeper = Keeper::watching(server());
    keeper.tell(1, Event::Looked(Look::Server(Arc::new(seen.clone()))));
    let done = end(&mut keeper, lost(1), None);
    assert!(done.contains("restore web") && !done.contains("api"), "{done}");

    // The keeper is killed before that is saved, and what it wrote down is all there is.
    let mut keeper = Keeper::watching(server());
    keeper.tell(1, Event::Looked(Look::Server(Arc::new(seen))));
    let mut incidents = Vec::new();
    for action in step(&mut keeper.state, 4, Event::Tick, &[]) {
        if let Action::Record(found) = action {
            incidents.extend(found);
        }
    }
    let past = Past { began: Timestamp::from_second(10).unwrap(), incidents, ..Past::default() };
    let head = Some((2, Arc::new(sample::snapshot(server()))));
    let mut state = State::new(POLICY, head).after(past);
    let mut done = String::new();
    for (second, event) in [(5, sees(2, &[])), (7, Event::Tick), (7, sees(2, &[]))] {
        done += &told(&step(&mut state, second, event, &[]));
    }
    assert!(done.contains("restore web") && !done.contains("api"), "{done}");
}

#[test]
fn the_end_of_a_server_that_nobody_watched_is_looked_into_before_it_comes_back() {
    let play = |facts: &[Fact], answers: bool| {
        let mut state = State::new(POLICY, Some((2, Arc::new(snapshot(1, &["a"])))));
        let mut done = Vec::new();
        for second in 0..=10 {
            let event = if second % 2 == 0 || !answers { sees(2, &[]) } else { Event::Tick };
            done.extend(step(&mut state, second, event, facts));
            if done.iter().any(|action| matches!(action, Action::Restore(_))) {
                return Some(second);
            }
        }
        None
    };
    assert_eq!(play(&[], true), Some(4), "nothing tells why");
    assert_eq!(play(&[Fact::Cut], true), Some(4));
    assert_eq!(play(&[Fact::UnitStopped { unit: "x".into() }], true), None, "a wish");
    assert_eq!(play(&[], false), Some(10), "nobody answers");
}

#[test]
fn what_nobody_used_for_long_starts_nothing() {
    let day = |days: i64| Timestamp::from_second(days * 24 * 3600).unwrap();
    for (days, asks) in [(1, false), (15, true)] {
        let policy = Policy { still_yours: Some(Duration::from_secs(14 * 24 * 3600)), ..POLICY };
        let head = Some((2, Arc::new(of_last_boot(snapshot(1, &["a"])))));
        let past = Past { began: day(days), ..Past::default() };
        let mut state = State::new(policy, head).after(past);
        let done = step(&mut state, 0, sees(2, &[]), &[]);
        let plan = done.iter().find_map(|action| match action {
            Action::Restore(plan) => Some(plan),
            _ => None,
        });
        assert_eq!(plan.expect("a restore").manner.asks, asks, "{days}");
    }
}
