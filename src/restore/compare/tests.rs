//! Each difference counts and is named; what must differ does not count.

use super::*;

use crate::model::{Job, Scrollback, sample};
use crate::tmux::layout::sealed;

type Change = fn(&mut Server);

/// A session with a window of two panes and one of one pane, and a session that shares the latter.
fn saved() -> Server {
    let mut server = sample::server(1, &["web", "twin"]);
    let split = Window {
        layout: sealed("80x24,0,0[80x12,0,0,5,80x11,0,13,6]"),
        active_pane: 1,
        last_pane: Some(0),
        ..sample::window(5, 2, vec![sample::pane(5, 0), sample::pane(6, 1)])
    };
    server.sessions[0].windows.push(split);
    server.sessions[0].last_window = Some(2);
    server.sessions[1].windows[0] = Window { index: 7, ..server.sessions[0].windows[0].clone() };
    server
}

fn window(server: &mut Server) -> &mut Window {
    &mut server.sessions[0].windows[1]
}

#[test]
fn a_server_is_like_itself() {
    let comparison = compare(&saved(), &saved());
    assert_eq!((comparison.score(), comparison.differences.len()), (100, 0));
    assert_eq!(compare(&sample::server(1, &[]), &saved()).score(), 100, "nothing was saved");
}

#[test]
fn every_field_that_differs_alone_is_named_and_costs_something() {
    let changes: [(&str, &str, Change); 20] = [
        ("web", "directory", |s| s.sessions[0].directory = "/tmp".into()),
        ("web", "group", |s| s.sessions[0].group = Some("g".to_owned())),
        ("web", "active window", |s| s.sessions[0].active_window = 2),
        ("web", "last window", |s| s.sessions[0].last_window = None),
        ("twin:7", "link", |s| s.sessions[1].windows[0].id = WindowId(99)),
        ("web:2", "name", |s| window(s).name.push('!')),
        ("web:2", "automatic-rename", |s| window(s).automatic_rename = true),
        ("web:2", "layout", |s| window(s).layout = sealed("80x24,0,0[80x11,0,0,5,80x12,0,12,6]")),
        ("web:2", "layout", |s| window(s).layout = "no layout".to_owned()),
        ("web:2", "zoom", |s| window(s).zoomed = true),
        ("web:2", "active pane", |s| window(s).active_pane = 0),
        ("web:2", "last pane", |s| window(s).last_pane = None),
        ("web:2.1", "title", |s| window(s).panes[1].title.clear()),
        ("web:2.1", "directory", |s| window(s).panes[1].directory = "/home/ann/src/".into()),
        ("web:2.1", "program", |s| window(s).panes[1].program = Program::Unknown),
        ("web:2.1", "program", |s| {
            let shell = sample::process(&["-bash"]);
            window(s).panes[1].program = Program::shell(shell, vec![sample::process(&["vim"])]);
        }),
        ("web:2.1", "program", |s| {
            let shell = sample::process(&["bash"]);
            window(s).panes[1].program = Program::shell(shell, Vec::new());
        }),
        ("web:2.1", "program", |s| {
            let Program::Shell { nested, .. } = &mut window(s).panes[1].program else { unreachable!() };
            nested.push(sample::process(&["sh"]));
        }),
        ("web:2.1", "program", |s| {
            let Program::Shell { background, .. } = &mut window(s).panes[1].program else { unreachable!() };
            background.push(Job { processes: vec![sample::process(&["make"])], stopped: false });
        }),
        ("web:9", "window", |s| s.sessions[0].windows.push(sample::window(9, 9, vec![sample::pane(9, 0)]))),
    ];
    for (place, field, change) in changes {
        let mut found = saved();
        change(&mut found);
        let comparison = compare(&saved(), &found);
        let named: Vec<(&str, &str)> =
            comparison.differences.iter().map(|one| (one.place.as_str(), one.field.as_str())).collect();
        assert_eq!(named, [(place, field)]);
        assert!(comparison.score() < 100, "{place} {field}");
        assert_ne!(comparison.differences[0].saved, comparison.differences[0].found);
    }
}

#[test]
fn a_stopped_job_need_not_be_there() {
    let mut found = saved();
    let Program::Shell { background, .. } = &mut window(&mut found).panes[1].program else { unreachable!() };
    background.push(Job { processes: vec![sample::process(&["vim"])], stopped: true });
    assert_eq!(compare(&found, &saved()).score(), 100);
}

#[test]
fn what_is_missing_costs_all_that_was_in_it() {
    let whole = compare(&saved(), &saved()).fields;
    let missing = |change: Change| {
        let mut found = saved();
        change(&mut found);
        let comparison = compare(&saved(), &found);
        assert_eq!(comparison.fields, whole);
        let first = &comparison.differences[0];
        (first.place.clone(), first.field.clone(), comparison.differences.len())
    };
    let all = |server: &mut Server| server.sessions.clear();
    assert_eq!(missing(all), ("web".to_owned(), "session".to_owned(), whole));
    let window = |server: &mut Server| server.sessions[0].windows.truncate(1);
    assert_eq!(missing(window), ("web:2".to_owned(), "window".to_owned(), WINDOW_FIELDS + 2 * PANE_FIELDS));
    let pane = |server: &mut Server| server.sessions[0].windows[1].panes.truncate(1);
    assert_eq!(missing(pane), ("web:2.1".to_owned(), "pane".to_owned(), PANE_FIELDS));
    let mut nothing = saved();
    all(&mut nothing);
    assert_eq!(compare(&saved(), &nothing).score(), 0);
}

#[test]
fn what_cannot_be_the_same_is_not_compared() {
    let changes: [(&str, Change); 6] = [
        ("the server", |s| s.id = sample::life(2)),
        ("ids", |s| {
            s.sessions[0].id = crate::model::SessionId(77);
            window(s).panes[0].id = crate::model::PaneId(77);
            window(s).layout = sealed("80x24,0,0[80x12,0,0,77,80x11,0,13,6]");
            s.sessions.iter_mut().for_each(|session| session.windows[0].id = WindowId(88));
        }),
        ("times", |s| s.sessions[0].created += 1),
        ("text, which is compared by itself", |s| {
            window(s).panes[0].scrollback = Scrollback { lines: 3, chunks: Vec::new() };
        }),
        ("where a job is", |s| match &mut window(s).panes[0].program {
            Program::Shell { shell, .. } => shell.directory = "/elsewhere".into(),
            _ => unreachable!(),
        }),
        ("other sessions", |s| s.sessions.push(sample::session(9, "the user's own"))),
    ];
    for (what, change) in changes {
        let mut found = saved();
        change(&mut found);
        assert_eq!(compare(&saved(), &found).differences, [], "{what}");
    }
    let (mut automatic, mut renamed) = (saved(), saved());
    window(&mut automatic).automatic_rename = true;
    window(&mut renamed).automatic_rename = true;
    window(&mut renamed).name = "vim".to_owned();
    assert_eq!(compare(&automatic, &renamed).differences, [], "a name that follows the program");
    let (mut grouped, mut joined) = (saved(), saved());
    for server in [&mut grouped, &mut joined] {
        server.sessions[1].group = Some("g".to_owned());
    }
    joined.sessions[1].last_window = Some(7);
    assert_eq!(compare(&grouped, &joined).differences, [], "the last window of one that joined a group");
}

#[test]
fn one_wrong_field_among_thousands_is_not_a_hundred_percent() {
    let names: Vec<String> = (0..500).map(|n| format!("session {n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let server = sample::server(1, &names);
    let mut found = server.clone();
    found.sessions[250].active_window = 1;
    let comparison = compare(&server, &found);
    assert!(comparison.fields > 5000);
    assert_eq!(comparison.score(), 99);
}

#[test]
fn texts_are_compared_to_the_byte() {
    let mut comparison = Comparison::default();
    comparison.text("web:0.0", b"one\ntwo\n", b"one\ntwo\n");
    assert_eq!((comparison.score(), comparison.fields), (100, 1));
    comparison.text("web:0.0", b"one\ntwo\n", b"one\ntwo");
    assert_eq!(comparison.score(), 50);
    assert_eq!(comparison.differences[0].field, "text");
}
