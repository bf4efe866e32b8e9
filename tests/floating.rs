//! Floating panes (tmux 3.7 and newer) come back where they were; where tmux has none they come back as ordinary
//! panes, and that is said.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use agent_keeper::model::{Server, StartMode};
use agent_keeper::restore::approved::Approved;
use agent_keeper::restore::compare::compare;
use agent_keeper::restore::execute::{Executor, Outcome, Report};
use agent_keeper::restore::plan::{Selection, plan};
use agent_keeper::tmux::layout::{Layout, sealed};
use support::lab::{Lab, assert_same, snapshot};

const HOLD: [&str; 2] = ["sleep", "1000"];

fn can_float(lab: &Lab) -> bool {
    let commands = lab.raw.run(&["list-commands", "-F", "#{command_list_name}"]);
    commands.lines().any(|name| name == "new-pane")
}

fn new_pane(lab: &Lab, arguments: &[&str]) {
    lab.raw.run(&[&["new-pane"], arguments, &HOLD].concat());
}

/// Windows with one and with several panes that float, chosen or not, outside the window, zoomed, among others.
fn fixture(lab: &Lab) {
    let raw = &lab.raw;
    let new = |arguments: &[&str]| raw.run(&[arguments, &HOLD].concat());
    // Two beside each other below two that float, of which the upper one is active.
    new(&["split-window", "-h", "-t", "web:0"]);
    new_pane(lab, &["-t", "web:0", "-x", "20", "-y", "8", "-X", "6", "-Y", "4"]);
    raw.run(&["select-pane", "-t", "web:0.2", "-T", "lower"]);
    new_pane(lab, &["-t", "web:0", "-x", "30", "-y", "6", "-X", "40", "-Y", "3"]);
    raw.run(&["select-pane", "-t", "web:0.3", "-T", "upper"]);
    // One pane below one that begins outside the window; the lower one is active.
    new(&["new-window", "-d", "-t", "web:3"]);
    new_pane(lab, &["-d", "-t", "web:3", "-x", "20", "-y", "8", "-X", "-5", "-Y", "-3"]);
    // A pane with a smaller index than one below it, the order turned around by choosing, an ordinary one active.
    new(&["new-window", "-d", "-t", "web:5"]);
    new_pane(lab, &["-d", "-b", "-t", "web:5.0", "-x", "20", "-y", "8", "-X", "10", "-Y", "10"]);
    new_pane(lab, &["-d", "-t", "web:5", "-x", "24", "-y", "7", "-X", "14", "-Y", "12"]);
    raw.run(&["select-pane", "-t", "web:5.0"]);
    raw.run(&["select-pane", "-t", "web:5.1"]);
    // Zoomed: tmux does not tell there which panes float.
    new(&["new-window", "-d", "-t", "web:7"]);
    new(&["split-window", "-v", "-t", "web:7"]);
    new_pane(lab, &["-t", "web:7", "-x", "20", "-y", "8", "-X", "10", "-Y", "10"]);
    raw.run(&["resize-pane", "-Z", "-t", "web:7.2"]);
}

fn floating(server: &Server) -> Vec<usize> {
    let windows = server.sessions.iter().flat_map(|session| &session.windows);
    windows.map(|window| Layout::parse(&window.layout).unwrap().floating().len()).collect()
}

/// Brings a server back on another one, and returns what the restore says and what is there.
fn restored(lab: &Lab, saved: &Server) -> (Report, Server) {
    lab.raw.kill_server_hard();
    lab.found();
    let everything = Selection { by_hand: true, ..Selection::default() };
    let plan = plan(1, &snapshot(saved.clone()), Some(&lab.observe().server), &everything).unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_agent-keeper"));
    let (tmux, approved) = (lab.tmux(), Approved::none());
    let mode = StartMode::Hold;
    let executor =
        Executor { tmux: &tmux, store: &lab.writer, program, mode, approved: &approved, pacer: None };
    let report = lab.runtime.block_on(executor.execute(&plan));
    (report, lab.observe().server)
}

#[test]
fn floating_panes_come_back_where_they_were() {
    let lab = Lab::new();
    lab.raw.start(&["-s", "web", "-x", "100", "-y", "30", "sleep", "1000"]);
    if !can_float(&lab) {
        return comes_back_without_floating(&lab);
    }
    fixture(&lab);
    assert_eq!(floating(&lab.observe().server), [2, 1, 2, 1]);
    let (saved, found) = lab.round_trip(StartMode::Hold);
    assert_same(&saved, &found);
    let layouts = |server: &Server| -> Vec<String> {
        let windows = server.sessions[0].windows.iter();
        windows.map(|window| window.layout.clone()).collect()
    };
    assert_eq!(floating(&found), [2, 1, 2, 1], "{:?}", layouts(&found));
    // And out of the zoom it floats.
    lab.raw.run(&["resize-pane", "-Z", "-t", "web:7.2"]);
    assert_eq!(lab.raw.run(&["display-message", "-p", "-t", "web:7.2", "#{pane_floating_flag}"]), "1");
}

/// What a newer tmux had saved, in one that has no floating panes.
fn comes_back_without_floating(lab: &Lab) {
    for _ in 0..2 {
        lab.raw.run(&[&["split-window", "-h", "-t", "web:0"], &HOLD[..]].concat());
    }
    let mut saved = lab.observe().server;
    let window = &mut saved.sessions[0].windows[0];
    let [a, b, c] = [0, 1, 2].map(|at| window.panes[at].id.0);
    let tree = format!("100x30,0,0{{50x30,0,0,{a},49x30,51,0,{b},20x8,-5,4,{c}}}<20x8,-5,4,{c}>");
    window.layout = sealed(&tree);
    // tmux 3.2a gives a window the size of a terminal that nobody has.
    (window.width, window.height) = (100, 30);
    let (report, found) = restored(lab, &saved);
    let [(_, Outcome::Partly(problems))] = report.sessions.as_slice() else { panic!("{report:?}") };
    let expected = format!("window 0: panes that floated do not, because tmux {} has no", found.version);
    assert!(matches!(problems.as_slice(), [one] if one.starts_with(&expected)), "{problems:?}");
    let differences = compare(&saved, &found).differences;
    let fields: Vec<&str> = differences.iter().map(|difference| difference.field.as_str()).collect();
    assert!(
        fields.iter().all(|field| matches!(*field, "layout" | "program" | "directory")),
        "{differences:?}"
    );
    let window = &found.sessions[0].windows[0];
    assert_eq!((window.panes.len(), window.width, window.height), (3, 100, 30));
    assert!(!window.options.contains_key("window-size"), "{:?}", window.options);
}
