//! Restores that meet something: one that was cut off, somebody who works in what it left, windows and names that
//! tmux refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use std::process::Command;

use agent_keeper::model::{PaneId, Program, Server, StartMode};
use agent_keeper::restore::approved::Approved;
use agent_keeper::restore::execute::{Executor, MARK, Outcome, Report};
use agent_keeper::restore::plan::{Plan, Selection, Target, plan};
use agent_keeper::tmux::Tmux;
use agent_keeper::tmux::version::Version;
use support::lab::{Lab, assert_same, snapshot};
use support::{eventually, tmux_program, until};

const SLEEP: [&str; 2] = ["sleep", "1000"];

/// A tmux that does something first, in the shell's words: `$tmux` is the real one, "$*" what it is told.
fn tmux_that(lab: &Lab, does: &str) -> Tmux {
    let login = lab.raw.login();
    let real = login.find_program(&tmux_program());
    let (socket, path) = (lab.raw.socket.display(), lab.dir.path().join("tmux"));
    let script = format!("#!/bin/sh\ntmux='{} -S {socket}'\n{does}\nexec {0} \"$@\"\n", real.display());
    // Written by another process: a file that this one has open for writing while it forks cannot be executed.
    let write = "printf %s \"$1\" >\"$2\"; chmod +x \"$2\"";
    assert!(Command::new("sh").args(["-c", write, "sh", &script]).arg(&path).status().unwrap().success());
    Tmux::new(path, lab.raw.socket.clone(), login.pairs())
}

fn planned(lab: &Lab, saved: &Server) -> Plan {
    let everything = Selection { by_hand: true, ..Selection::default() };
    plan(7, &snapshot(saved.clone()), Some(&lab.observe().server), &everything).unwrap()
}

fn execute_with(lab: &Lab, tmux: &Tmux, plan: &Plan) -> Report {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_agent-keeper"));
    let approved = Approved::none();
    let executor = Executor {
        tmux,
        store: &lab.writer,
        program,
        mode: StartMode::Ask,
        approved: &approved,
        pacer: None,
    };
    lab.runtime.block_on(executor.execute(plan))
}

fn restore(lab: &Lab, saved: &Server) -> Report {
    execute_with(lab, &lab.tmux(), &planned(lab, saved))
}

/// A server that is killed with this session in it, and another one.
fn lost(lab: &Lab, session: &str) -> Server {
    lab.raw.start(&[&["-s", session], &SLEEP[..]].concat());
    let saved = seen(lab);
    lab.raw.kill_server_hard();
    lab.found();
    saved
}

/// The server when all panes have become what they are told to run.
fn seen(lab: &Lab) -> Server {
    let runs =
        |server: &Server| server.panes().all(|(.., pane)| matches!(pane.program, Program::Command { .. }));
    eventually("all panes to run", || Some(lab.observe().server).filter(runs))
}

/// Restores with a keeper that is killed when it has made the first session, and returns the ids of the pane's
/// process.
fn half_restored(lab: &Lab, saved: &Server) -> String {
    let dies = "[ -e \"$0.died\" ] && exit 1\ncase \"$*\" in *new-session*) : >\"$0.died\";; esac";
    execute_with(lab, &tmux_that(lab, dies), &planned(lab, saved));
    let pane = PaneId(lab.raw.panes("#{pane_id}")[0].trim_start_matches('%').parse().unwrap());
    until("the pane to wait", || lab.observe().vitals.get(&pane).is_some_and(|vitals| vitals.waiting));
    lab.raw.panes("#{pane_pid}").join(" ")
}

fn mark(lab: &Lab) -> String {
    lab.raw.run(&["list-sessions", "-F", &format!("#{{{MARK}}}")])
}

#[track_caller]
fn assert_in_use(report: &Report) {
    let hint = "in use; bring back the rest beside it: keeperctl restore 7 --session 'a b' --as NEWNAME";
    match &report.sessions[..] {
        [(_, Outcome::Failed(why))] => assert!(why.contains(hint), "{why}"),
        others => panic!("{others:?}"),
    }
}

#[test]
fn a_session_is_marked_as_soon_as_it_is_there() {
    for name in ["web", "a b", "=x", "{y}", "-z", "#{pid}", "日本語"] {
        let lab = Lab::new();
        half_restored(&lab, &lost(&lab, name));
        assert_eq!(mark(&lab), "1", "{name}");
    }
}

#[test]
fn a_session_that_is_called_like_an_id_marks_no_other() {
    let lab = Lab::new();
    let mut saved = lost(&lab, "web");
    lab.raw.run(&[&["new-session", "-d", "-s", "mine"], &SLEEP[..]].concat());
    let id = lab.raw.run(&["display-message", "-p", "-t", "mine:", "#{session_id}"]);
    saved.sessions[0].name = id;
    let dies = "[ -e \"$0.died\" ] && exit 1\ncase \"$*\" in *new-session*) : >\"$0.died\";; esac";
    execute_with(&lab, &tmux_that(&lab, dies), &planned(&lab, &saved));
    let marks = lab.raw.run(&["list-sessions", "-F", &format!("#{{session_name}} [#{{{MARK}}}]")]);
    assert!(marks.lines().count() == 2 && marks.contains("mine []"), "{marks}");
}

#[test]
fn what_a_killed_keeper_left_is_made_anew_if_all_of_it_waits() {
    let lab = Lab::new();
    let saved = lost(&lab, "a b");
    let before = half_restored(&lab, &saved);
    let plan = planned(&lab, &saved);
    assert!(matches!(plan.steps[0].target, Target::Replacing(_)));
    let report = execute_with(&lab, &lab.tmux(), &plan);
    assert!(report.complete(), "{report:?}");
    assert_eq!((lab.raw.sessions(), mark(&lab)), (vec!["a b".to_owned()], String::new()));
    assert_ne!(lab.raw.panes("#{pane_pid}").join(" "), before);
}

#[test]
fn what_a_killed_keeper_left_stays_if_something_runs_in_it() {
    let lab = Lab::new();
    let saved = lost(&lab, "a b");
    let before = half_restored(&lab, &saved);
    // As from a script: nobody was ever attached. What comes before the question is no answer to it.
    until("the program", || {
        lab.raw.run(&["send-keys", "-t", "=a b:", "Enter"]);
        lab.observe().vitals.values().all(|vitals| !vitals.waiting)
    });
    assert_in_use(&restore(&lab, &saved));
    assert_eq!(lab.raw.panes("#{pane_pid}").join(" "), before);
}

#[test]
fn what_a_killed_keeper_left_stays_if_somebody_comes_at_the_last_moment() {
    // A client that finds no input may go before it has come.
    let attaches = "until $tmux display-message -p -t '=a b:' '#{session_last_attached}' | grep -q .; do \
                    $tmux -C attach-session -t '=a b:' </dev/null >&2; done";
    for comes in [attaches, "$tmux new-window -d -t '=a b:' sleep 1000"] {
        let lab = Lab::new();
        let saved = lost(&lab, "a b");
        let before = half_restored(&lab, &saved);
        let before_it_goes = format!("case \"$*\" in *kill-session*) {comes};; esac");
        let report = execute_with(&lab, &tmux_that(&lab, &before_it_goes), &planned(&lab, &saved));
        assert_in_use(&report);
        assert_eq!(lab.raw.panes("#{pane_pid}")[0], before, "{comes}");
    }
}

#[test]
fn one_window_that_cannot_be_made_costs_only_itself() {
    // With something in its environment a session begins with a placeholder.
    for environment in [false, true] {
        let lab = Lab::new();
        lab.raw.start(&[&["-s", "web"], &SLEEP[..]].concat());
        for index in ["1", "2"] {
            lab.raw.run(&[&["new-window", "-d", "-t", &format!("web:{index}")], &SLEEP[..]].concat());
        }
        lab.raw.run(&["set-option", "-t", "web", "status", "off"]);
        if environment {
            lab.raw.run(&["set-environment", "-t", "web", "PROJECT", "x"]);
        }
        let mut saved = seen(&lab);
        lab.raw.kill_server_hard();
        lab.found();
        let session = &mut saved.sessions[0];
        session.last_window = Some(77);
        session.active_window = 2;
        // tmux refuses this one.
        session.windows[1].index = u32::MAX;
        let report = restore(&lab, &saved);
        let Outcome::Partly(problems) = &report.sessions[0].1 else { panic!("{report:?}") };
        assert_eq!(problems.len(), 2, "{problems:?}");
        let windows = lab.raw.panes("#{window_index}#{window_active} #{status} #{renumber-windows}");
        assert_eq!(windows, ["00 off 0", "21 off 0"]);
        assert_eq!(mark(&lab), "");
        let own = lab.raw.run(&["show-options", "-t", "web"]);
        assert!(!own.contains("renumber-windows"), "{own}");
    }
}

#[test]
fn the_only_other_window_is_missed_too() {
    let lab = Lab::new();
    let mut saved = lost(&lab, "web");
    let session = &mut saved.sessions[0];
    let mut other = session.windows[0].clone();
    (other.index, other.id.0) = (u32::MAX, 99);
    session.windows.push(other);
    let report = restore(&lab, &saved);
    assert!(matches!(&report.sessions[0].1, Outcome::Partly(problems) if problems.len() == 1), "{report:?}");
}

#[test]
fn a_session_of_which_nothing_can_be_made_is_not_there() {
    let lab = Lab::new();
    let mut saved = lost(&lab, "web");
    let session = &mut saved.sessions[0];
    session.windows[0].index = u32::MAX;
    session.active_window = u32::MAX;
    session.options.insert("history-limit".to_owned(), "5000".into());
    let report = restore(&lab, &saved);
    assert!(
        matches!(&report.sessions[0].1, Outcome::Failed(why) if why.contains("4294967295")),
        "{report:?}"
    );
    assert!(lab.raw.sessions().is_empty());
}

#[test]
fn names_that_this_tmux_refuses_cost_no_session() {
    let lab = Lab::new();
    let mut saved = lost(&lab, "web");
    saved.sessions[0].name = r"a\tb\033".to_owned();
    saved.sessions[0].windows[0].name = "log\u{1b}[m".to_owned();
    let report = restore(&lab, &saved);
    assert!(report.complete(), "{report:?}");
    let refuses = Version::parse(&saved.version).is_none_or(|v| (v.major, v.minor) >= (3, 7));
    let (name, notes) = if refuses { ("a_b_", 1) } else { (r"a\tb\033", 0) };
    assert_eq!((lab.observe().server.sessions[0].name.as_str(), report.notes.len()), (name, notes));
    assert!(planned(&lab, &saved).is_empty());
}

#[test]
fn a_name_that_another_version_stored_is_the_same_name() {
    let lab = Lab::new();
    let mut saved = lost(&lab, "$HOME");
    let stored = saved.sessions[0].name.clone();
    for foreign in [r"\$HOME", "$HOME"] {
        saved.sessions[0].name = foreign.to_owned();
        if lab.raw.sessions().is_empty() {
            assert!(restore(&lab, &saved).complete());
        }
        assert!(planned(&lab, &saved).is_empty(), "{foreign}");
        assert_eq!(lab.observe().server.sessions.iter().map(|s| &s.name).collect::<Vec<_>>(), [&stored]);
    }
}

#[test]
fn a_group_may_be_called_otherwise_than_its_first_session() {
    let lab = Lab::new();
    lab.raw.start(&[&["-s", r"a\b"], &SLEEP[..]].concat());
    lab.raw.run(&["new-session", "-d", "-t", "$0", "-s", "second"]);
    lab.raw.run(&["rename-session", "-t", "$0", r"c\d"]);
    lab.raw.run(&["new-session", "-d", "-t", "$0", "-s", "third"]);
    let (saved, found) = lab.round_trip(StartMode::Hold);
    assert_eq!(saved.sessions.len(), 3);
    assert_same(&saved, &found);
}

#[test]
fn a_session_has_its_own_name_when_the_keeper_dies_while_another_joins_its_group() {
    let lab = Lab::new();
    lab.raw.start(&[&["-s", "a"], &SLEEP[..]].concat());
    lab.raw.run(&["new-session", "-d", "-t", "$0", "-s", "second"]);
    lab.raw.run(&["rename-session", "-t", "$0", "c"]);
    let saved = seen(&lab);
    assert!(saved.sessions.iter().all(|session| session.group.as_deref() == Some("a")));
    lab.raw.kill_server_hard();
    lab.found();
    let dies = "[ -e \"$0.died\" ] && exit 1\ncase \"$*\" in *new-session*second*) : >\"$0.died\";; esac";
    execute_with(&lab, &tmux_that(&lab, dies), &planned(&lab, &saved));
    assert_eq!(lab.raw.run(&["list-sessions", "-F", "#{session_name} #{session_group}"]), "c a\nsecond a");
}

#[test]
fn the_marked_pane_is_marked_again_in_a_session_that_lives() {
    let lab = Lab::new();
    let mut saved = lost(&lab, "web");
    lab.raw.run(&[&["new-session", "-d", "-s", "web"], &SLEEP[..]].concat());
    saved.sessions[0].windows[0].index = 5;
    saved.sessions[0].active_window = 5;
    saved.sessions[0].windows[0].panes[0].marked = true;
    let only = Selection { windows: vec!["web:5".to_owned()], by_hand: true, ..Selection::default() };
    // Once it is marked there, that is the user's.
    for (directory, expected) in [("/usr", ["0 0", "5 1"].as_slice()), ("/var", &["0 0", "5 1", "6 0"])] {
        saved.sessions[0].windows[0].panes[0].directory = directory.into();
        let plan = plan(7, &snapshot(saved.clone()), Some(&lab.observe().server), &only).unwrap();
        let report = execute_with(&lab, &lab.tmux(), &plan);
        assert!(report.complete(), "{report:?}");
        assert_eq!(lab.raw.panes("#{window_index} #{pane_marked}"), expected);
    }
}

#[test]
fn without_the_version_nothing_is_made() {
    let lab = Lab::new();
    let saved = lost(&lab, "web");
    let silent = tmux_that(&lab, "case \"$*\" in *'#{version}'*) exit 1;; esac");
    let report = execute_with(&lab, &silent, &planned(&lab, &saved));
    let why = "cannot ask tmux for its version";
    assert!(matches!(&report.sessions[..], [(_, Outcome::Failed(said))] if said.contains(why)), "{report:?}");
    assert!(lab.raw.sessions().is_empty());
}
