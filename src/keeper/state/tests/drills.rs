//! When the keeper drills by itself.

use super::*;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn failed(hours_ago: u64) -> Proven {
    proven(hours_ago, Some("97 %".to_owned()))
}

/// A keeper that watches a server which is saved, and drills once a week.
fn watching(every: Option<Duration>) -> State {
    let server = sample::server(1, &["a"]);
    let head = (2, Arc::new(sample::snapshot(server.clone())));
    let policy = Policy { drill_every: every, scrollback: false, ..POLICY };
    let mut state = State::new(policy, Some(head));
    let _ = state.step(secs(0), Event::Tick);
    let _ = state.step(secs(0), Event::Looked(Look::Server(observation(server, 0))));
    assert_eq!(state.phase, Phase::Watching);
    assert!(state.saving.is_none());
    state
}

/// Returns what is done at a tick, besides looking.
fn tick(state: &mut State, seconds: u64) -> String {
    told(&state.step(secs(seconds), Event::Tick)).replace(", look", "").replace("look", "")
}

/// Lets a keeper tick every 10 s from second 1 on, with this record, and returns when it drills first.
fn first_drill(known: &Proven, until: u64) -> Option<u64> {
    let mut state = watching(Some(secs(7 * DAY)));
    (1..until).step_by(10).find(|now| match tick(&mut state, *now).as_str() {
        "review drills" => {
            let age = known.age.map(|age| age + secs(*now));
            let _ = state.step(secs(*now), Event::Reviewed(Proven { age, ..known.clone() }));
            false
        }
        "drill" => true,
        "" => false,
        other => panic!("{other}"),
    })
}

#[test]
fn a_drill_is_held_when_it_is_due() {
    let other_version = Proven { same_versions: false, ..proven(1, None) };
    let cases = [
        ("never held", Proven::default(), 2 * HOUR, Some(10 * MINUTE + 1)),
        ("a week ago", proven(7 * 24, None), HOUR, Some(21)),
        ("an hour less than a week ago", proven(7 * 24 - 1, None), 2 * HOUR, Some(HOUR + 1)),
        ("yesterday", proven(24, None), 2 * DAY, None),
        ("with another tmux", other_version, HOUR, Some(3 * MINUTE + 1)),
        ("failed an hour ago", failed(1), 2 * DAY, Some(23 * HOUR + 1)),
        ("failed two days ago", failed(48), HOUR, Some(21)),
    ];
    for (title, known, until, expected) in cases {
        // The record is read only every ten minutes and ticks are 10 s apart.
        let slack = |at: u64| at..at + 30;
        match (first_drill(&known, until), expected) {
            (None, None) => {}
            (Some(found), Some(at)) => assert!(slack(at).contains(&found), "{title}: {found}, not {at}"),
            other => panic!("{title}: {other:?}"),
        }
    }
}

#[test]
fn switched_off_nothing_is_read_or_held() {
    let mut state = watching(None);
    assert!((0..2 * DAY).step_by(600).all(|now| tick(&mut state, now).is_empty()));
}

#[test]
fn one_at_a_time_and_after_a_failure_not_before_a_day_is_over() {
    let mut state = watching(Some(secs(HOUR)));
    assert_eq!(tick(&mut state, 1), "review drills");
    let _ = state.step(secs(1), Event::Reviewed(proven(10, None)));
    assert_eq!(tick(&mut state, 20), "drill");
    // It goes on for long.
    assert!((21..5 * HOUR).step_by(30).all(|now| tick(&mut state, now).is_empty()));
    let _ = state.step(secs(5 * HOUR), Event::Drilled(failed(0)));
    assert_eq!(state.summary().notice.as_deref(), Some("97 %"));
    assert_eq!(state.summary().problem, None);
    // The record cannot be written, so that it goes on to say what it said before.
    for now in (5 * HOUR + 1..DAY).step_by(30) {
        if tick(&mut state, now) == "review drills" {
            let _ = state.step(secs(now), Event::Reviewed(failed(48)));
        }
        assert!(!state.drills.is_running(), "once more after {now} s");
    }
    assert_eq!(tick(&mut state, DAY + 21), "review drills");
    let _ = state.step(secs(DAY + 21), Event::Reviewed(failed(48)));
    assert_eq!(tick(&mut state, DAY + 22), "drill");
    let _ = state.step(secs(DAY + 30), Event::Drilled(proven(0, None)));
    assert_eq!(state.summary().notice, None);
}

#[test]
fn nothing_is_drilled_while_there_is_something_else_to_do() {
    type Change = fn(&mut State);
    let busy: [(&str, Change); 5] = [
        ("saving", |state| state.saving = Some(sample::life(1))),
        ("restoring", |state| state.restoring = true),
        ("in doubt", |state| state.doubt = Some(Doubt::Shrunk)),
        ("nothing saved", |state| state.head = None),
        ("frozen", |state| state.phase = Phase::Frozen(secs(20))),
    ];
    for (title, change) in busy {
        let mut state = watching(Some(secs(HOUR)));
        assert_eq!(tick(&mut state, 1), "review drills");
        let _ = state.step(secs(1), Event::Reviewed(proven(10, None)));
        change(&mut state);
        assert_eq!(tick(&mut state, 20), "", "{title}");
    }
}
