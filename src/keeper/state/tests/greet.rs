//! Who is told of a restore, and when.

use super::stories::of_last_boot;
use super::*;

use crate::keeper::event::Greeting;
use crate::model::SessionId;
use crate::model::incident::{Incident, SubjectKind};

/// A keeper that has restored two sessions into server 2 at second 10; nobody had asked for that.
fn restored() -> State {
    let head = of_last_boot(sample::snapshot(sample::server(1, &["web", "api"])));
    let mut state = State::new(POLICY, Some((1, Arc::new(head))));
    let actions = look(&mut state, 9, 0);
    assert!(actions.iter().any(|action| matches!(action, Action::Restore(_))), "{}", told(&actions));
    let sessions = ["web", "api"].map(|name| (name.to_owned(), Outcome::Restored)).into();
    let report = Report { sessions, notes: Vec::new() };
    let _ = state.step(secs(10), Event::Restored(1, report));
    state
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Looks at server 2, to which so many clients are attached.
fn look(state: &mut State, now: u64, clients: u32) -> Vec<Action> {
    let mut seen = Observation::clone(&observation(sample::server(2, &[]), 0));
    seen.attached = HashMap::from([(SessionId(0), clients)]);
    state.step(secs(now), Event::Looked(Look::Server(Arc::new(seen))))
}

/// The same, and what somebody is told.
fn greeting(state: &mut State, now: u64, clients: u32) -> Option<Greeting> {
    look(state, now, clients).into_iter().find_map(|action| match action {
        Action::Greet(greeting) => Some(greeting),
        _ => None,
    })
}

fn end_of_server() -> Incident {
    let mut incident = sample::incident(3, "/tmp/s");
    incident.subject.kind = SubjectKind::Server;
    incident
}

#[test]
fn the_first_who_attaches_is_told_once_however_late() {
    let mut state = restored();
    let _ = state.step(secs(12), Event::Recorded(vec![end_of_server()], Ok(())));
    assert_eq!(greeting(&mut state, 13, 0), None);
    let told = greeting(&mut state, 40_000, 1).unwrap();
    assert_eq!((told.sessions, told.complete, told.death), (2, true, Some(Box::new(end_of_server()))));
    assert_eq!(greeting(&mut state, 40_010, 1), None, "under way");
    let _ = state.step(secs(40_011), Event::Greeted(true));
    assert_eq!(greeting(&mut state, 50_000, 2), None);
}

#[test]
fn programs_are_nobody_and_are_not_asked_for_at_every_look() {
    let mut state = restored();
    let _ = state.step(secs(11), Event::Recorded(vec![end_of_server()], Ok(())));
    assert!(greeting(&mut state, 20, 1).is_some());
    let _ = state.step(secs(20), Event::Greeted(false));
    assert_eq!(greeting(&mut state, 21, 1), None);
    assert!(greeting(&mut state, 25, 1).is_some());
}

#[test]
fn the_verdict_is_waited_for_and_not_for_ever() {
    let mut state = restored();
    assert_eq!(greeting(&mut state, 11, 1), None);
    assert_eq!(greeting(&mut state, 20, 1).unwrap().death, None);
    let mut state = restored();
    let _ = state.step(secs(11), Event::Recorded(vec![sample::incident(3, "web")], Ok(())));
    assert_eq!(greeting(&mut state, 12, 1), None, "a session's end is not what it was for");
}

#[test]
fn what_somebody_has_asked_for_is_no_news() {
    let mut state = State::new(POLICY, None);
    let _ = look(&mut state, 0, 0);
    let snapshot = Arc::new(sample::snapshot(sample::server(1, &["web"])));
    let selection = Selection { by_hand: true, ..Selection::default() };
    let _ = state.step(secs(1), Event::Asked(7, Asked::Restore { generation: 1, snapshot, selection }));
    let actions = look(&mut state, 2, 0);
    assert_eq!(told(&actions), "restore web");
    let report = Report { sessions: vec![("web".to_owned(), Outcome::Restored)], notes: Vec::new() };
    let _ = state.step(secs(3), Event::Restored(1, report));
    assert_eq!(greeting(&mut state, 30, 1), None);
}
