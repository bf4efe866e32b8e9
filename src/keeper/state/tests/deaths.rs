//! What is written down of deaths: each once, with its cause.

use super::stories::{Line, lost, nothing, orderly, saved, sees, snapshot, step};
use super::*;

use jiff::Timestamp;

use crate::diagnosis::habitat::Habitat;
use crate::keeper::event::Inquiry;
use crate::model::evidence::{About, Fact, Limit, Sighting};
use crate::model::incident::Incident;

/// A keeper of which only the deaths are told. Whatever it asks for is answered at once, that nothing else is known.
struct Listener {
    state: State,
    told: Vec<String>,
    /// What is found out about every death.
    found: Vec<Fact>,
}

impl Listener {
    fn new(head: Option<Snapshot>) -> Self {
        let state = State::new(POLICY, head.map(|head| (1, Arc::new(head))));
        Self { state, told: Vec::new(), found: Vec::new() }
    }

    fn tell(&mut self, secs: u64, event: Event) {
        for action in self.state.step(Duration::from_secs(secs), event) {
            match action {
                Action::Inquire(deaths) => {
                    let found = |death: Death| Inquiry {
                        noticed: at(death.noticed.as_secs()),
                        death,
                        evidence: self.found.iter().cloned().map(Fact::undated).collect(),
                        gaps: Vec::new(),
                        memory_watched: false,
                    };
                    let inquiries = deaths.into_iter().map(found).collect();
                    self.tell(secs, Event::Inquired(inquiries, Vec::new()));
                }
                Action::Record(incidents) => self.told.extend(incidents.iter().map(in_words)),
                Action::AskGoingDown => self.tell(secs, Event::GoingDown(false)),
                _ => {}
            }
        }
    }

    fn deaths(mut self, lines: Vec<Line>) -> Vec<String> {
        let last = lines.last().map_or(0, |(secs, ..)| *secs);
        lines.into_iter().for_each(|(secs, event, _)| self.tell(secs, event));
        self.tell(last + 10, Event::Tick);
        self.told
    }
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_second(i64::try_from(secs).unwrap()).unwrap()
}

fn in_words(incident: &Incident) -> String {
    let finding = &incident.verdict.finding;
    format!(
        "{:?} {} of {}: {}, {}",
        incident.subject.kind,
        incident.subject.place,
        incident.subject.server.pid,
        finding.cause,
        finding.confidence.word()
    )
}

fn watching(names: &[&str]) -> Vec<Line> {
    vec![(0, Event::Tick, ""), (0, sees(1, names), ""), (0, saved(2, snapshot(1, names)), "")]
}

fn deaths(head: Option<Snapshot>, found: &[Fact], lines: Vec<Line>) -> Vec<String> {
    Listener { found: found.to_vec(), ..Listener::new(head) }.deaths(lines)
}

const NOTHING: [&str; 0] = [];

#[test]
fn what_is_gone_at_the_next_look_has_died_and_is_told_once() {
    let looks = vec![(1, sees(1, &["a", "b"]), ""), (2, sees(1, &["a"]), ""), (3, sees(1, &["a"]), "")];
    assert_eq!(
        deaths(None, &[], [watching(&["a", "b"]), looks].concat()),
        ["Session b of 1: closed-by-user, possible"]
    );
}

#[test]
fn a_session_that_comes_back_has_not_died_twice() {
    let looks = vec![
        (1, sees(1, &["a"]), ""),
        (2, sees(1, &["a"]), ""),
        (5, Event::Tick, ""),
        (6, sees(1, &["a", "b"]), ""),
        (7, sees(1, &["a", "b"]), ""),
    ];
    assert_eq!(deaths(None, &[], [watching(&["a", "b"]), looks].concat()).len(), 1);
}

#[test]
fn a_server_takes_what_died_with_it_into_its_own_death() {
    let end = vec![(1, sees(1, &["a"]), ""), (2, lost(1), ""), (2, nothing(), "")];
    assert_eq!(
        deaths(None, &[], [watching(&["a", "b"]), end].concat()),
        ["Server /tmp/tmux-1000/default of 1: server-killed, possible"]
    );
    let end = vec![(1, orderly(1), ""), (1, nothing(), "")];
    assert_eq!(
        deaths(None, &[Fact::NothingStopping], [watching(&["a"]), end].concat()),
        ["Server /tmp/tmux-1000/default of 1: closed-by-user, likely"]
    );
}

#[test]
fn a_server_that_nobody_saw_end_is_told_when_there_is_another() {
    let begin = || vec![(0, Event::Tick, ""), (0, sees(2, &[]), "")];
    let found = [Fact::ManagerRestarted];
    assert_eq!(
        deaths(Some(snapshot(1, &["a"])), &found, begin()),
        ["Server /tmp/tmux-1000/default of 1: manager-stopped, certain"]
    );
    let closed = Snapshot { closed: Some(Closed::Server), ..snapshot(1, &[]) };
    assert_eq!(deaths(Some(closed), &found, begin()), NOTHING);
    // It was seen to end, and its death is told once.
    let end =
        vec![(1, lost(1), ""), (1, nothing(), ""), (2, Event::Founded(Ok(())), ""), (2, sees(2, &[]), "")];
    assert_eq!(deaths(None, &[], [watching(&["a"]), end].concat()).len(), 1);
}

#[test]
fn what_the_journal_has_of_a_server_that_nobody_saw_end_is_about_it_when_another_one_is_there() {
    let unit = "/user@0.service/tmux.scope";
    let server = snapshot(1, &["a"]).server.id;
    let habitat = Habitat { cgroups: [(server.pid, unit.to_owned())].into(), server, ..Habitat::default() };
    let mut listener = Listener::new(Some(snapshot(1, &["a"])));
    listener.state = listener.state.after(Past { began: at(0), habitat, ..Past::default() });
    listener.tell(0, Event::Tick);
    listener.tell(0, sees(2, &[]));
    let fact = Fact::UnitStopped { unit: "tmux.scope".into() };
    listener.tell(1, Event::Sighted(Sighting { at: at(1), about: About::Unit(unit.to_owned()), fact }));
    listener.tell(9, Event::Tick);
    assert_eq!(listener.told, ["Server /tmp/tmux-1000/default of 1: unit-stopped, certain"]);
}

#[test]
fn what_was_gone_when_the_keeper_came_back_is_told() {
    let begin = vec![(0, Event::Tick, ""), (0, sees(1, &["a"]), "")];
    assert_eq!(
        deaths(Some(snapshot(1, &["a", "b"])), &[], begin),
        ["Session b of 1: closed-by-user, possible"]
    );
}

#[test]
fn what_watchers_tell_decides_though_it_comes_after_the_look() {
    let mut listener = Listener::new(None);
    for (secs, event, _) in watching(&["a", "b"]) {
        listener.tell(secs, event);
    }
    listener.tell(1, sees(1, &["a"]));
    let oom = Fact::OomdKill { unit: "app.slice".into(), reason: "memory-pressure".into() };
    listener.tell(2, Event::Sighted(Sighting { at: at(1), about: About::Machine, fact: oom }));
    listener.tell(3, Event::Tick);
    assert_eq!(listener.told, ["Session b of 1: oomd-kill, certain"]);
}

#[test]
fn a_server_that_systemd_ended_after_an_oom_kill_comes_back_although_it_said_goodbye() {
    let end = |fact: Option<Fact>| {
        let mut state = State::new(POLICY, None);
        let unit = "/user@0.service/tmux.scope";
        for (secs, event, _) in watching(&["a"]) {
            state.step(Duration::from_secs(secs), event);
        }
        let mut seen = (*observation(sample::server(1, &["a"]), 0)).clone();
        seen.cgroups.insert(1, unit.to_owned());
        state.step(Duration::from_secs(1), Event::Looked(Look::Server(Arc::new(seen))));
        if let Some(fact) = fact {
            let about = About::Unit(unit.to_owned());
            state.step(Duration::from_secs(1), Event::Sighted(Sighting { at: at(1), about, fact }));
        }
        let mut done = Vec::new();
        for (secs, event) in [
            (2, orderly(1)),
            (3, Event::Tick),
            (5, Event::Tick),
            (5, Event::GoingDown(false)),
            (5, nothing()),
        ] {
            done.extend(step(&mut state, secs, event, &[]));
        }
        told(&done)
    };
    let result = |result: &str| Fact::UnitResult { unit: "tmux.scope".into(), result: result.into() };
    assert!(end(None).contains("save closed"), "{}", end(None));
    assert!(!end(Some(result("oom-kill"))).contains("save closed"), "{}", end(Some(result("oom-kill"))));
    assert!(end(Some(Fact::UnitStopped { unit: "tmux.scope".into() })).contains("save closed"));
}

#[test]
fn a_kill_that_ends_no_pane_is_told_as_that_of_a_child() {
    let (own, shared) = ("/user@0.service/pane.scope", "/user@0.service/tmux.scope");
    let told = |cgroup: &str, ends: bool| {
        let mut listener = Listener::new(None);
        for (secs, event, _) in watching(&["a"]) {
            listener.tell(secs, event);
        }
        let mut seen = (*observation(sample::server(1, &["a", "b"]), 0)).clone();
        let pane = seen.server.sessions[1].windows[0].panes[0].id;
        if let Some(vitals) = seen.vitals.get_mut(&pane) {
            vitals.pid = 9;
        }
        seen.cgroups = [(1, shared.to_owned()), (9, own.to_owned())].into();
        listener.tell(1, Event::Looked(Look::Server(Arc::new(seen))));
        let kill = Fact::OomKill { unit: cgroup.into(), kills: 1, own: false, limit: Limit::Own };
        let about = About::Unit(cgroup.into());
        listener.tell(2, Event::Sighted(Sighting { at: at(2), about, fact: kill }));
        if ends {
            listener.tell(2, sees(1, &["a"]));
        }
        (3..12).for_each(|secs| listener.tell(secs, Event::Tick));
        listener.told
    };
    assert_eq!(told(own, false), ["Child b:0.0 of 1: oom-kill, certain"]);
    assert_eq!(told(shared, false), ["Child /tmp/tmux-1000/default of 1: oom-kill, certain"]);
    assert_eq!(told(own, true), ["Session b of 1: oom-kill, likely"], "once");
    assert_eq!(told("/user@0.service", false), NOTHING, "that may be anybody's");
}

#[test]
fn what_a_server_had_before_the_keeper_came_did_not_come_and_go() {
    let told = |alone: bool| {
        let mut listener = Listener::new(None);
        if alone {
            listener.tell(0, nothing());
            listener.tell(0, Event::Founded(Ok(())));
        }
        let mut server = sample::server(1, &["a"]);
        for (secs, pane) in [(0, None), (1, Some(15)), (2, Some(18))] {
            server.sessions[0].windows[0].panes.extend(pane.map(|id| sample::pane(id, id)));
            listener.tell(secs, Event::Looked(Look::Server(observation(server.clone(), 0))));
        }
        (3..9).for_each(|secs| listener.tell(secs, Event::Tick));
        listener.told
    };
    let later = "Pane %16..%17 of 1: closed-by-user, possible";
    assert_eq!(told(false), [later]);
    assert_eq!(told(true).len(), 2, "of its own server it knows all");
}

#[test]
fn more_than_can_wait_are_told_as_one() {
    let names: Vec<String> = (0..2500).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut listener = Listener::new(None);
    let looks = [watching(&names), vec![(1, sees(1, &names[..1]), ""), (4, Event::Tick, "")]].concat();
    let mut recorded = Vec::new();
    for (secs, event, _) in looks {
        for action in listener.state.step(Duration::from_secs(secs), event) {
            match action {
                Action::Inquire(deaths) => recorded.extend(deaths),
                Action::AskGoingDown => listener.tell(secs, Event::GoingDown(false)),
                _ => {}
            }
        }
    }
    let panes = |death: &Death| death.subject.panes.len();
    assert_eq!((recorded.len(), recorded.iter().map(panes).sum::<usize>()), (2001, 2499));
    assert_eq!(recorded.last().map(panes), Some(499));
}
