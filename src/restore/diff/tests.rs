//! What is told of which changes.

use super::*;

use proptest::prelude::*;

use crate::model::{Buffer, ByteString, GlobalOptions, Job, ObjectId, Process, SessionId, Variable, sample};

fn told(old: &Server, new: &Server) -> Vec<String> {
    diff(old, new, true)
        .into_iter()
        .map(|change| {
            let place = if change.thing == Thing::Pane { &change.place } else { &change.session };
            format!("{place}: {}", change.words)
        })
        .collect()
}

/// `web` with the windows 0 "edit", 1 "tests" with two panes, 2 "logs"; `api` with one.
fn base() -> Server {
    let mut server = sample::server(1, &["web", "api"]);
    let window = |id: u32, index: u32, name: &str, panes: Vec<Pane>| Window {
        name: name.to_owned(),
        ..sample::window(id, index, panes)
    };
    server.sessions[0].windows = vec![
        window(10, 0, "edit", vec![sample::pane(10, 0)]),
        window(11, 1, "tests", vec![sample::pane(11, 0), sample::pane(12, 1)]),
        window(12, 2, "logs", vec![running(13, 0, &["tail", "-f", "/var/log/syslog"])]),
    ];
    server
}

fn running(id: u32, index: u32, argv: &[&str]) -> Pane {
    let job = vec![sample::process(argv)];
    Pane { program: Program::shell(sample::process(&["-bash"]), job), ..sample::pane(id, index) }
}

fn text(lines: u64, chunk: u8) -> Scrollback {
    Scrollback { lines, chunks: vec![ObjectId::from_digest([chunk; 32])] }
}

/// One change to the base, and what is told of it, in the same life of the server and in another.
type Case = (&'static str, fn(&mut Server), &'static [&'static str]);

const CASES: &[Case] = &[
    ("nothing", |_| {}, &[]),
    ("a session closed", |s| drop(s.sessions.remove(1)), &["api: closed (1 window, 1 pane)"]),
    ("a session new", |s| s.sessions.push(sample::session(7, "db")), &["db: new (1 window, 1 pane)"]),
    (
        "a window closed",
        |s| drop(s.sessions[0].windows.pop()),
        &["web: window 2 \"logs\" closed (1 pane: tail -f /var/log/syslog)"],
    ),
    (
        "a window new",
        |s| s.sessions[1].windows.push(sample::window(77, 3, vec![running(77, 0, &["htop"])])),
        &["api: window 3 \"window 77\" new (1 pane: htop)"],
    ),
    (
        "a window renamed",
        |s| s.sessions[0].windows[0].name = "vim".to_owned(),
        &["web: window 0 renamed \"edit\" → \"vim\""],
    ),
    (
        "a window at another index",
        |s| s.sessions[0].windows[2].index = 9,
        &["web: window 2 \"logs\" moved to index 9"],
    ),
    (
        "one window resized",
        |s| s.sessions[0].windows[0].width = 120,
        &["web: window 0 \"edit\" resized 80x24 → 120x24"],
    ),
    (
        "all windows of a session resized",
        |s| s.sessions[0].windows.iter_mut().for_each(|window| window.height = 50),
        &["web: all windows resized 80x24 → 80x50"],
    ),
    (
        "another layout",
        |s| {
            s.sessions[0].windows[1].layout =
                crate::tmux::layout::sealed("80x24,0,0{40x24,0,0,11,39x24,41,0,12}");
        },
        &["web: window 1 \"tests\" has another layout"],
    ),
    ("zoomed", |s| s.sessions[0].windows[1].zoomed = true, &["web: window 1 \"tests\" is zoomed"]),
    (
        "another window current",
        |s| s.sessions[0].active_window = 2,
        &["web: current window 0 \"edit\" → 2 \"logs\""],
    ),
    ("a pane closed", |s| drop(s.sessions[0].windows[1].panes.pop()), &["web:1.1: closed (bash)"]),
    (
        "a pane new",
        |s| s.sessions[0].windows[1].panes.push(running(99, 2, &["make", "test"])),
        &["web:1.2: new (make test)"],
    ),
    (
        "another program",
        |s| s.sessions[0].windows[2].panes[0] = running(13, 0, &["make", "a b"]),
        &["web:2.0: tail -f /var/log/syslog → make 'a b'"],
    ),
    (
        "a job in the background",
        |s| {
            let Program::Shell { background, .. } = &mut s.sessions[0].windows[0].panes[0].program else {
                unreachable!()
            };
            background.push(Job { processes: vec![sample::process(&["sleep", "9"])], stopped: false });
        },
        &["web:0.0: bash → bash (and 1 job in the background)"],
    ),
    (
        "another directory",
        |s| s.sessions[0].windows[0].panes[0].directory = "/srv".into(),
        &["web:0.0: directory /home/ann/src → /srv"],
    ),
    (
        "a program that ended",
        |s| s.sessions[0].windows[0].panes[0].dead = Some(Dead::Exited(2)),
        &["web:0.0: ended with status 2"],
    ),
    (
        "text",
        |s| {
            s.sessions[0].windows[0].panes[0].scrollback = text(120, 1);
            s.sessions[0].windows[1].panes[0].scrollback = text(1, 2);
        },
        &["web:0.0: 120 lines more", "web:1.0: 1 line more"],
    ),
    (
        "options, also empty and long ones",
        |s| {
            s.sessions[0].options.insert("status".to_owned(), "off".into());
            s.sessions[0].windows[0].options.insert("@x".to_owned(), "".into());
            s.sessions[0].windows[0].panes[0]
                .options
                .insert("@long".to_owned(), "y".repeat(61).as_str().into());
        },
        &[
            "web: option status set to off",
            "web: window 0 \"edit\" option @x set to \"\"",
            "web:0.0: option @long set to yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy…",
        ],
    ),
    (
        "a variable, without its value",
        |s| {
            let secret = Variable { value: Some("secret".into()), hidden: false };
            s.sessions[0].environment.insert("TOKEN".to_owned(), secret);
        },
        &["web: variable TOKEN set"],
    ),
    ("a group", |s| s.sessions[0].group = Some("g".to_owned()), &["web: group none → g"]),
    (
        "a session's directory",
        |s| s.sessions[0].directory = "/srv".into(),
        &["web: directory of new windows /home/ann → /srv"],
    ),
    (
        "paste buffers",
        |s| {
            let content = ObjectId::from_digest([3; 32]);
            s.buffers.push(Buffer { name: ByteString::from("buffer0"), content });
        },
        &[": 0 paste buffers → 1 paste buffer"],
    ),
    ("what changes all the time", |s| s.sessions[0].windows[0].panes[0].title = "x".to_owned(), &[]),
];

#[test]
fn each_change_is_told_and_nothing_else() {
    for (title, change, expected) in CASES {
        let mut new = base();
        change(&mut new);
        assert_eq!(told(&base(), &new), *expected, "{title}");
        // A restore gives everything other ids; all but that is told in the same way.
        new.id = sample::life(2);
        for session in &mut new.sessions {
            session.id = SessionId(session.id.0 + 100);
            for window in &mut session.windows {
                window.id = WindowId(window.id.0 + 100);
                window.panes.iter_mut().for_each(|pane| pane.id.0 += 100);
            }
        }
        let restarted = [": another one: it was started in between".to_owned()];
        let rest = expected.iter().map(|words| (*words).to_owned());
        assert_eq!(told(&base(), &new), restarted.into_iter().chain(rest).collect::<Vec<_>>(), "{title}");
    }
}

#[test]
fn what_ids_say_is_told_within_one_life() {
    let cases: [Case; 5] = [
        ("a session renamed", |s| s.sessions[0].name = "site".to_owned(), &["site: was called web"]),
        (
            "a window moved to another session, with a change in it",
            |s| {
                let mut window = s.sessions[0].windows.pop().unwrap();
                window.index = 5;
                window.panes[0] = sample::pane(13, 0);
                s.sessions[1].windows.push(window);
            },
            &["web: window 2 \"logs\" moved to api:5", "api:5.0: tail -f /var/log/syslog → bash"],
        ),
        (
            "a window linked into another session, told once",
            |s| {
                s.sessions[0].windows[2].panes[0] = sample::pane(13, 0);
                let window = Window { index: 5, ..s.sessions[0].windows[2].clone() };
                s.sessions[1].windows.push(window);
            },
            &["web:2.0: tail -f /var/log/syslog → bash", "api: window 5 \"logs\" linked from web:2"],
        ),
        (
            "the last of two windows of one name closed",
            |s| {
                s.sessions[0].windows.remove(0);
                s.sessions[0].windows[0].name = "edit".to_owned();
                s.sessions[0].active_window = 1;
            },
            &[
                "web: window 0 \"edit\" closed (1 pane: bash)",
                "web: window 1 renamed \"tests\" → \"edit\"",
                "web: current window 0 \"edit\" → 1 \"edit\"",
            ],
        ),
        (
            "a pane closed in front of another",
            |s| {
                s.sessions[0].windows[1].panes.remove(0);
                s.sessions[0].windows[1].panes[0].index = 0;
            },
            &["web:1.0: closed (bash)"],
        ),
    ];
    for (title, change, expected) in cases {
        let mut new = base();
        change(&mut new);
        assert_eq!(told(&base(), &new), *expected, "{title}");
    }
}

#[test]
fn the_way_back_is_told_too() {
    let mut old = base();
    let pane = &mut old.sessions[0].windows[0].panes[0];
    (pane.dead, pane.scrollback) = (Some(Dead::Killed(9)), text(50, 1));
    old.sessions[0].options.insert("status".to_owned(), "off".into());
    let mut new = base();
    new.sessions[0].windows[0].panes[0].scrollback = text(30, 2);
    assert_eq!(
        told(&old, &new),
        ["web: option status unset", "web:0.0: runs again", "web:0.0: 20 lines less"]
    );
    assert_eq!(text_change(&text(5, 1), &text(5, 2)).as_deref(), Some("other text"));
}

#[test]
fn a_living_server_is_compared_without_its_texts() {
    let mut old = base();
    old.sessions[0].windows[0].panes[0].scrollback = text(120, 1);
    assert!(diff(&old, &base(), false).is_empty());
}

#[test]
fn global_options_count_only_where_somebody_looked() {
    let with = |value: &str| {
        let mut globals = GlobalOptions::default();
        globals.session.insert("history-limit".to_owned(), value.into());
        Server { globals, ..base() }
    };
    assert_eq!(told(&with("2000"), &with("9000")), [": option history-limit 2000 → 9000"]);
    assert!(told(&base(), &with("9000")).is_empty());
}

fn some_process() -> impl Strategy<Value = Process> {
    proptest::sample::select(vec!["vim", "make", "-bash"]).prop_map(|name| sample::process(&[name]))
}

proptest! {
    /// No state differs from itself, and what is told of one direction is told of the other in as many words.
    #[test]
    fn there_and_back(
        changes in proptest::collection::vec(0..CASES.len(), 0..6),
        process in some_process(),
    ) {
        let mut new = base();
        for at in changes {
            // Some changes need what another has taken away.
            let mut tried = new.clone();
            if tried.sessions.len() > 1 && tried.sessions[0].windows.len() > 2 && tried.sessions[0].windows[1].panes.len() > 1 {
                CASES[at].1(&mut tried);
                new = tried;
            }
        }
        new.sessions[0].windows[0].panes[0].program = Program::Command { process };
        prop_assert!(diff(&new, &new, true).is_empty());
        prop_assert!(diff(&base(), &base(), true).is_empty());
        prop_assert_eq!(diff(&base(), &new, true).is_empty(), diff(&new, &base(), true).is_empty());
    }
}
