//! Many things at once: no death is lost, and what the keeper keeps of them is bounded.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use std::collections::HashSet;
use std::fs;

use agent_keeper::history::{FILE_BYTES_MAX, FILES_MAX, History, Range, read};
use agent_keeper::model::evidence::Fact;
use support::{Keeper, eventually, until};

/// How many windows a storm opens and closes.
const STORM: usize = 1000;

/// How many of them are opened by one client, and closed by the next.
const BATCH: usize = 10;

fn watching() -> Keeper {
    let mut keeper = Keeper::prepare();
    // From the server's first pane on: of one that was there before, nobody knows how many it has had.
    keeper.start_watching();
    keeper.tmux.run(&["new-session", "-d", "-s", "main", "cat"]);
    keeper.saved_sessions(&["main"]);
    keeper
}

/// Opens windows by one client, and returns their ids.
fn open(keeper: &Keeper, count: usize) -> Vec<String> {
    let one = ["new-window", "-d", "-P", "-F", "#{window_id}", "-t", "main:", "cat", ";"];
    let all = one.iter().copied().cycle().take(count * one.len() - 1).collect::<Vec<_>>();
    keeper.tmux.run(&all).lines().map(str::to_owned).collect()
}

fn close(keeper: &Keeper, windows: &[String]) {
    let commands = windows.iter().flat_map(|window| ["kill-window", "-t", window, ";"]);
    keeper.tmux.run(&commands.take(windows.len() * 4 - 1).collect::<Vec<_>>());
}

fn storm(keeper: &Keeper) {
    for _ in 0..STORM / BATCH {
        let windows = open(keeper, BATCH);
        close(keeper, &windows);
    }
    // Numbers that tmux has given are noticed by the next one.
    open(keeper, 1);
}

fn history(keeper: &Keeper) -> History {
    read(&keeper.store_dir(), &Range::default())
}

/// Returns how many panes are told to have died, and those that are named.
fn told(history: &History) -> (usize, Vec<u32>) {
    let (mut unnamed, mut named) = (0, Vec::new());
    for incident in history.incidents() {
        named.extend(incident.subject.panes.iter().map(|pane| pane.id.0));
        for evidence in &incident.evidence {
            if let Fact::Fleeting { panes, .. } = evidence.fact {
                unnamed += panes;
            }
        }
    }
    (unnamed + named.len(), named)
}

/// Waits until every pane that there ever was is alive or told to have died, once.
#[track_caller]
fn all_told(keeper: &Keeper) {
    let ids = || keeper.tmux.panes("#{pane_id}").iter().map(|id| id[1..].parse().unwrap()).collect();
    let alive: HashSet<u32> = ids();
    let opened = *alive.iter().max().unwrap() as usize + 1;
    let history = eventually("all deaths to be told", || {
        let history = history(keeper);
        let (panes, _) = told(&history);
        (panes + alive.len() >= opened).then_some(history)
    });
    let (panes, named) = told(&history);
    assert_eq!(panes + alive.len(), opened, "each once");
    let once: HashSet<u32> = named.iter().copied().collect();
    assert_eq!(once.len(), named.len(), "named once");
    assert!(once.is_disjoint(&alive), "what lives has not died");
    let listed = keeper.ctl_json(&["why", "--all"])["incidents"].as_array().unwrap().len();
    assert_eq!((listed, history.damaged), (history.incidents().len(), 0));
}

/// Returns a figure of the daemon's memory in kB.
fn memory(keeper: &Keeper, figure: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", keeper.daemon_pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(figure)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_storm_loses_no_death_and_grows_nothing() {
    let keeper = watching();
    storm(&keeper);
    all_told(&keeper);
    let first = memory(&keeper, "VmRSS");
    for _ in 0..2 {
        storm(&keeper);
        all_told(&keeper);
    }
    let after = memory(&keeper, "VmRSS");
    // The same number of deaths twice more. What is kept of each would be 1 kB at least.
    assert!(after < first + 1500, "{first} kB after one storm, {after} kB after three");
    let dir = keeper.store_dir().join("history");
    let files: Vec<u64> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    assert!(files.len() <= FILES_MAX && files.iter().all(|bytes| *bytes <= FILE_BYTES_MAX), "{files:?}");
    keeper.saved("all that is left", |snapshot| {
        snapshot["server"]["sessions"][0]["windows"].as_array().unwrap().len() == 4
    });
}

#[test]
fn a_thousand_windows_that_end_at_once_are_all_told() {
    let keeper = watching();
    let mut windows = Vec::new();
    for _ in 0..STORM / 50 {
        windows.extend(open(&keeper, 50));
    }
    keeper.saved("all windows", |snapshot| {
        snapshot["server"]["sessions"][0]["windows"].as_array().unwrap().len() == STORM + 1
    });
    // One by one in one go, and the rest with their session.
    close(&keeper, &windows[..200]);
    keeper.tmux.run(&["new-session", "-d", "-s", "other", "cat"]);
    all_told(&keeper);
    keeper.tmux.run(&["kill-session", "-t", "main"]);
    until("the session's death to be told", || {
        history(&keeper).incidents().iter().any(|incident| incident.subject.place == "main")
    });
    let history = history(&keeper);
    let session = history.incidents().into_iter().find(|one| one.subject.place == "main").unwrap().clone();
    // An incident has a bounded length; what is not named in it is counted.
    let left_out = session.gaps.iter().find(|gap| gap.why.contains("left out"));
    let left_out = left_out.map_or(0, |gap| gap.what.split(' ').next().unwrap().parse().unwrap());
    assert_eq!(session.subject.panes.len() + left_out, STORM - 200 + 1, "{:?}", session.gaps);
    assert_eq!(keeper.tmux.sessions(), ["other"]);
}
