//! Which states become the head: complaint 1 of all other tools is a good save that was replaced by a bad one.

use super::stories::{Line, Story, lost, nothing, orderly, problem, restored, saved, sees, snapshot, story};
use super::*;
use crate::model::{Aside, PaneId, WindowId};

const ALL: [&str; 4] = ["a", "b", "c", "d"];

fn aside(number: u32, names: &[&str], aside: Aside) -> Snapshot {
    Snapshot { aside: Some(aside), ..snapshot(number, names) }
}

/// From second 5 on only these sessions are seen, until that is believed; `then` is what is done about it.
fn shrinks_to(names: &'static [&'static str], then: &'static str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for second in [5, 6] {
        lines.extend([(second, Event::Tick, "look"), (second, sees(1, names), "")]);
    }
    lines.extend([(7, Event::Tick, "look"), (7, sees(1, names), "ask"), (7, Event::GoingDown(false), then)]);
    lines
}

/// One day, in seconds.
const DAY: u64 = 24 * 3600;

/// Somebody is attached to each session.
fn attended(number: u32, names: &[&str]) -> Event {
    let mut observation = (*observation(sample::server(number, names), 0)).clone();
    observation.attached = observation.server.sessions.iter().map(|session| (session.id, 1)).collect();
    Event::Looked(Look::Server(Arc::new(observation)))
}

/// The server is lost, and another one is there: this is done about it.
fn dies(second: u64, then: &'static str) -> Vec<Line> {
    vec![
        (second, lost(1), "ask"),
        (second, Event::GoingDown(false), "look"),
        (second, nothing(), "found"),
        (second, Event::Founded(Ok(())), "look"),
        (second, sees(2, &[]), then),
    ]
}

fn play(title: &'static str, lines: Vec<Vec<Line>>) -> State {
    story(title, &ALL, lines.concat()).play().unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn complaint_1_a_server_that_lost_most_sessions_at_once_does_not_replace_the_good_save() {
    let shrunk = || (8, saved(3, aside(1, &["a"], Aside::Shrunk)), "");
    let state = play("most go at once", vec![shrinks_to(&["a"], "save changed (shrunk) a"), vec![shrunk()]]);
    let said = problem(&state);
    assert!(said.starts_with("3 sessions ended at once") && said.contains("keeperctl restore 2"), "{said}");
    play(
        "they come back when the server is lost",
        vec![
            shrinks_to(&["a"], "save changed (shrunk) a"),
            vec![shrunk()],
            dies(60, "await end of 2, restore a+b+c+d"),
        ],
    );
    play(
        "what changes meanwhile is saved, and is not the head either",
        vec![
            shrinks_to(&["a"], "save changed (shrunk) a"),
            vec![
                shrunk(),
                (20, Event::Tick, "look"),
                (20, sees(1, &["a", "new"]), "save changed (shrunk) a new"),
                (21, saved(4, aside(1, &["a", "new"], Aside::Shrunk)), ""),
            ],
            dies(60, "await end of 2, restore a+b+c+d"),
        ],
    );
}

#[test]
fn complaint_1_nothing_at_all_does_not_replace_the_good_save() {
    play("all go at once", vec![shrinks_to(&[], ""), dies(60, "await end of 2, restore a+b+c+d")]);
    play(
        "however long that lasts",
        vec![
            shrinks_to(&[], ""),
            vec![(30 * DAY, Event::Tick, "look"), (30 * DAY, sees(1, &[]), "")],
            dies(30 * DAY, "await end of 2, restore a+b+c+d"),
        ],
    );
    play(
        "somebody says that it counts",
        vec![
            shrinks_to(&[], ""),
            vec![
                (20, Event::Asked(7, Asked::Snapshot), "look"),
                (20, sees(1, &[]), ""),
                (22, Event::Tick, "look"),
                (22, sees(1, &[]), "ask"),
                (22, Event::GoingDown(false), "save closed"),
            ],
        ],
    );
    play(
        "all are closed, and then the server",
        vec![
            shrinks_to(&[], ""),
            vec![
                (20, orderly(1), ""),
                (22, Event::Tick, "ask"),
                (22, Event::GoingDown(false), "save closed, look"),
            ],
        ],
    );
}

#[test]
fn what_shows_that_a_small_state_is_meant() {
    let shrunk = || {
        let line = (8, saved(3, aside(1, &["a"], Aside::Shrunk)), "");
        [shrinks_to(&["a"], "save changed (shrunk) a"), vec![line]].concat()
    };
    let head = || saved(4, snapshot(1, &["a"]));
    let asked = vec![
        (20, Event::Asked(7, Asked::Snapshot), "look"),
        (20, sees(1, &["a"]), "save asked a"),
        (20, head(), "tell 7 snapshot 4"),
    ];
    play("somebody asks for a snapshot", vec![shrunk(), asked, dies(60, "await end of 2, restore a")]);
    let seen = |second, then| vec![(second, Event::Tick, "look"), (second, attended(1, &["a"]), then)];
    let lasted = || [seen(20, ""), seen(1000, "save changed a"), vec![(1000, head(), "")]].concat();
    play(
        "it lasts, and somebody is there",
        vec![shrunk(), lasted(), dies(1001, "await end of 2, restore a")],
    );
    let unseen = |second, then| vec![(second, Event::Tick, "look"), (second, sees(1, &["a"]), then)];
    play(
        "it lasts a night, and nobody is there",
        vec![shrunk(), unseen(DAY / 2, ""), dies(DAY / 2, "await end of 2, restore a+b+c+d")],
    );
    let day = [unseen(DAY + 8, "save changed a"), vec![(DAY + 8, head(), "")]].concat();
    play("it lasts a day", vec![shrunk(), day, dies(DAY + 9, "await end of 2, restore a")]);
    let back = vec![
        (20, Event::Tick, "look"),
        (20, sees(1, &ALL), "save changed a b c d"),
        (20, saved(4, snapshot(1, &ALL)), ""),
    ];
    let state = play("they are back", vec![shrunk(), back]);
    assert!(state.guard.is_none());
    play(
        "two at a time",
        vec![
            shrinks_to(&["a", "b"], "save changed a b"),
            vec![(8, saved(3, snapshot(1, &["a", "b"])), "")],
            dies(60, "await end of 2, restore a+b"),
        ],
    );
}

#[test]
fn a_restore_that_is_not_complete_does_not_become_what_the_next_one_starts_from() {
    let report = |failed: &str| {
        let mut sessions = vec![("a".to_owned(), Outcome::Restored), ("b".to_owned(), Outcome::Restored)];
        sessions.extend(["c", "d"].map(|name| (name.to_owned(), Outcome::Failed(failed.to_owned()))));
        Event::Restored(2, Report { sessions, notes: Vec::new() })
    };
    let partly = vec![
        (60, report("disk full"), "look"),
        (60, sees(2, &["a", "b"]), "save restored (restoring) a b"),
        (60, saved(3, aside(2, &["a", "b"], Aside::Restoring)), ""),
        (61, lost(2), "ask"),
        (61, Event::GoingDown(false), "look"),
        (61, sees(3, &[]), "await end of 3, restore a+b+c+d"),
    ];
    play("partly", vec![dies(59, "await end of 2, restore a+b+c+d"), partly]);
    let back = || vec![(60, restored(&ALL), "look")];
    let state = play("not looked at yet", vec![dies(59, "await end of 2, restore a+b+c+d"), back()]);
    assert!(state.doubt_in_words().is_none());
    let whole = vec![(60, sees(2, &ALL), "save restored a b c d")];
    play("whole", vec![dies(59, "await end of 2, restore a+b+c+d"), back(), whole]);
}

#[test]
fn a_keeper_that_starts_over_a_small_state_doubts_it_again() {
    let mut lines: Vec<Line> = vec![(0, Event::Tick, "look"), (0, sees(1, &["a"]), "await end of 1")];
    lines.extend([(3, Event::Tick, "look"), (3, sees(1, &["a"]), "ask")]);
    lines.push((3, Event::GoingDown(false), "save changed (shrunk) a"));
    Story::new("started anew", lines).resuming(snapshot(1, &ALL)).play().unwrap();
}

#[test]
fn complaint_1_the_end_of_the_rest_is_no_closing_of_all() {
    let ends = |exit_empty: &str, then: &'static str| {
        let mut server = sample::server(1, &["a"]);
        server.globals.server.insert("exit-empty".to_owned(), exit_empty.into());
        let seen = Event::Looked(Look::Server(observation(server.clone(), 0)));
        let saved_aside = Snapshot { aside: Some(Aside::Shrunk), ..sample::snapshot(server) };
        play(
            "the rest goes too, and the server ends",
            vec![
                shrinks_to(&["a"], "save changed (shrunk) a"),
                vec![
                    (8, saved(3, saved_aside), ""),
                    (9, Event::Tick, "look"),
                    (9, seen, ""),
                    (20, orderly(1), ""),
                    (22, Event::Tick, "ask"),
                    (22, Event::GoingDown(false), then),
                ],
            ],
        )
    };
    ends("on", "look");
    ends("off", "save closed, look");
}

#[test]
fn complaint_1_a_session_that_lost_most_windows_at_once_does_not_replace_the_good_save() {
    let with = |windows: u32| {
        let mut server = sample::server(1, &["a"]);
        let session = &mut server.sessions[0];
        for number in 1..windows {
            let mut window = session.windows[0].clone();
            (window.id, window.index) = (WindowId(100 + number), number);
            window.panes[0].id = PaneId(100 + number);
            session.windows.push(window);
        }
        server
    };
    for (before, after, doubted) in [(4, 1, true), (3, 1, false), (7, 4, false), (8, 3, true)] {
        let mut state = State::new(POLICY, Some((1, Arc::new(sample::snapshot(with(before))))));
        state.reconciled = Some(sample::life(1));
        state.live = Some(observation(with(after), 0));
        state.guard_shrinking(Duration::ZERO, &with(after));
        assert_eq!(state.guard.is_some(), doubted, "{before} windows become {after}");
    }
}

#[test]
fn complaint_1_what_a_new_server_has_under_an_old_name_does_not_replace_the_good_save() {
    let mut saved = snapshot(1, &["main"]);
    let session = &mut saved.server.sessions[0];
    let mut second = session.windows[0].clone();
    (second.id, second.index) = (WindowId(9), 9);
    second.panes[0].id = PaneId(9);
    session.windows.push(second);
    let lines = vec![
        (0, Event::Tick, "look"),
        (0, sees(2, &["main"]), "await end of 2, save changed (restoring) main"),
    ];
    let state = Story::new("tmux new -A -s main came first", lines).after(saved).play().unwrap();
    assert!(problem(&state).contains("keeperctl snapshot diff 1 now"));
}

#[test]
fn who_asks_while_the_server_cannot_be_looked_at_is_answered() {
    for (look, done) in
        [(Look::Orphan { pid: 1 }, "refuse 7, signal 1"), (Look::Failed("no answer".to_owned()), "refuse 7")]
    {
        let asked = (20, Event::Asked(7, Asked::Snapshot), "look");
        play("asked", vec![vec![asked, (20, Event::Looked(look), done)]]);
    }
}
