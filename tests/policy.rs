//! What comes back into a server that lives: lost panes to where they were, and programs that failed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use std::path::Path;

use agent_keeper::model::{PaneId, Server, StartMode};
use agent_keeper::restore::approved::Approved;
use agent_keeper::restore::execute::{Executor, Report};
use agent_keeper::restore::manner::Manner;
use agent_keeper::restore::plan::plan_lost;
use support::lab::{Lab, assert_same, snapshot};
use support::{Keeper, eventually, signal};

const SLEEP: [&str; 2] = ["sleep", "1000"];

fn bring_back(lab: &Lab, saved: &Server, lost: &[PaneId]) -> Report {
    let live = lab.observe().server;
    let manner = Manner { running: lost.to_vec(), ..Manner::unasked() };
    let plan = plan_lost(7, &snapshot(saved.clone()), &live, lost).in_manner(manner);
    let (tmux, approved) = (lab.tmux(), Approved::none());
    let program = Path::new(env!("CARGO_BIN_EXE_agent-keeper"));
    let mode = StartMode::Ask;
    let executor =
        Executor { tmux: &tmux, store: &lab.writer, program, mode, approved: &approved, pacer: None };
    lab.runtime.block_on(executor.execute(&plan))
}

/// `web` with a window of three panes and one of one, and `api`; each pane runs another sleep.
fn lab() -> (Lab, Server) {
    let lab = Lab::new();
    lab.raw.start(&["-s", "web", "-x", "120", "-y", "40", "sleep", "1001"]);
    lab.raw.run(&["split-window", "-h", "-t", "web:0", "sleep", "1002"]);
    lab.raw.run(&["split-window", "-v", "-t", "web:0.1", "-l", "8", "sleep", "1003"]);
    lab.raw.run(&["new-window", "-d", "-t", "web:4", "-n", "logs", "sleep", "1004"]);
    lab.raw.run(&["new-session", "-d", "-s", "api", "sleep", "1005"]);
    let saved = eventually("all panes to run", || {
        let seen = lab.observe().server;
        let runs =
            |server: &Server| server.panes().all(|(.., pane)| format!("{:?}", pane.program).contains("100"));
        Some(seen).filter(runs)
    });
    (lab, saved)
}

fn pane(server: &Server, argument: &str) -> PaneId {
    let runs = |program: &agent_keeper::model::Program| format!("{program:?}").contains(argument);
    server.panes().find(|(.., pane)| runs(&pane.program)).expect("that pane").2.id
}

#[test]
fn lost_panes_windows_and_sessions_return_to_where_they_were() {
    for lost in [
        &["1001"][..],
        &["1002"],
        &["1003"],
        &["1001", "1002"],
        &["1004"],
        &["1005"],
        &["1003", "1004", "1005"],
    ] {
        let (lab, saved) = lab();
        let ids: Vec<PaneId> = lost.iter().map(|argument| pane(&saved, argument)).collect();
        for id in &ids {
            lab.raw.run(&["kill-pane", "-t", &id.to_string()]);
        }
        let report = bring_back(&lab, &saved, &ids);
        assert!(report.complete(), "{lost:?}: {report:?}");
        let back = |server: &Server| lost.iter().all(|argument| format!("{server:?}").contains(argument));
        let mut found = eventually("the programs to run", || Some(lab.observe().server).filter(back));
        // What is active is its user's, and not ours.
        for (one, other) in found.sessions.iter_mut().zip(&saved.sessions) {
            one.windows.iter_mut().zip(&other.windows).for_each(|(one, other)| {
                (one.active_pane, one.last_pane) = (other.active_pane, other.last_pane);
            });
        }
        assert_same(&saved, &found);
        assert_eq!(bring_back(&lab, &saved, &[]), Report::default());
    }
}

#[test]
fn a_lost_pane_returns_although_its_window_was_rearranged_and_is_zoomed() {
    let (lab, saved) = lab();
    let lost = pane(&saved, "1002");
    lab.raw.run(&["kill-pane", "-t", &lost.to_string()]);
    lab.raw.run(&["split-window", "-t", "web:0", SLEEP[0], SLEEP[1]]);
    lab.raw.run(&["resize-pane", "-Z", "-t", "web:0"]);
    let active = lab.raw.run(&["display-message", "-p", "-t", "web:0", "#{pane_id}"]);
    let report = bring_back(&lab, &saved, &[lost]);
    assert!(report.complete(), "{report:?}");
    let now = lab.raw.run(&[
        "display-message",
        "-p",
        "-t",
        "web:0",
        "#{window_panes} #{window_zoomed_flag} #{pane_id}",
    ]);
    assert_eq!(now, format!("4 1 {active}"));
}

/// A quick keeper that starts `sleep` again, and watches one.
fn watched(remain: &str) -> Keeper {
    let mut keeper = Keeper::prepare();
    keeper.configure(
        "[snapshot]\ninterval = \"200ms\"\n[restart]\nprograms = \"on-failure\"\nrestart_sec = \"0s\"\nstart_limit_burst = 2\n",
    );
    keeper.start_watching();
    keeper.tmux.run(&["set-option", "-g", "remain-on-exit", remain]);
    keeper.tmux.run(&["new-session", "-d", "-s", "web", "sleep", "100000"]);
    // With its program, which takes a moment to be there.
    keeper.saved("the program", |snapshot| snapshot.to_string().contains("100000"));
    keeper
}

fn sleeper(keeper: &Keeper) -> Option<(String, u32)> {
    let rows = keeper.tmux.panes("#{pane_dead} #{pane_id} #{pane_pid} #{pane_current_command}");
    rows.iter().find_map(|row| match row.split(' ').collect::<Vec<_>>()[..] {
        ["0", pane, pid, "sleep"] => Some((pane.to_owned(), pid.parse().unwrap())),
        _ => None,
    })
}

#[test]
fn a_program_that_is_killed_is_started_again_until_that_is_too_often() {
    let keeper = watched("on");
    let (pane, mut pid) = eventually("the program", || sleeper(&keeper));
    for _ in 0..2 {
        signal(pid, "SEGV");
        let again = eventually("the program again", || sleeper(&keeper).filter(|(_, again)| *again != pid));
        assert_eq!(again.0, pane, "in its own pane");
        pid = again.1;
        keeper.saved("the living pane", |snapshot| {
            let pane = &snapshot["server"]["sessions"][0]["windows"][0]["panes"][0];
            pane["dead"].is_null() && pane.to_string().contains("100000")
        });
    }
    signal(pid, "SEGV");
    let last = eventually("the limit", || {
        let last = keeper.ctl_json(&["why", "--all"])["incidents"].as_array()?.last()?.clone();
        Some(last).filter(|last| last["cause"] == "start-limit-hit")
    });
    assert_eq!((last["place"].as_str(), last["deed"].as_str()), (Some("web:0.0"), Some("ask")));
    assert_eq!(keeper.tmux.panes("#{pane_dead}"), ["1"], "it stays ended");
    assert_eq!(sleeper(&keeper), None);
    let said = support::text(&keeper.ctl(&["why", "web"]).stdout);
    assert!(said.contains("What was done") && said.contains("too often"), "{said}");
}
