//! Choosing what comes back: one session, one window, one moment, another name, into a server that runs and stays
//! as it is; and the words for what is different.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use serde_json::Value;
use support::{Keeper, session_names, text, until};

/// Runs keeperctl, which must end with this status and say all of this, and returns what it says.
#[track_caller]
fn ctl(keeper: &Keeper, arguments: &[&str], status: i32, says: &[&str]) -> String {
    let output = keeper.ctl(arguments);
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
    // Where the lines are broken depends on their widths.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in says {
        assert!(words(&said).contains(&words(part)), "{arguments:?} does not say {part:?}: {said}");
    }
    said
}

/// Everything that can be seen of these panes and of what they are in, their text included.
fn dump(keeper: &Keeper, panes: &[String]) -> Vec<String> {
    let format = "#{pane_id} #{session_id} #{session_name} #{session_group} #{session_path} #{window_id} \
                  #{window_index} #{window_name} #{window_flags} #{window_layout} #{pane_index} #{pane_pid} \
                  #{pane_active} #{pane_title} #{pane_current_path} #{pane_width}x#{pane_height}";
    let lines = keeper.tmux.panes(format);
    let own = lines.into_iter().filter(|line| panes.iter().any(|pane| line.starts_with(&format!("{pane} "))));
    let mut dump: Vec<String> = own.collect();
    dump.extend(panes.iter().map(|pane| keeper.tmux.text_of(pane)));
    dump.push(keeper.tmux.run(&["show-options", "-g"]));
    dump.push(keeper.tmux.run(&["show-options", "-t", "web"]));
    dump.push(keeper.tmux.run(&["show-environment", "-t", "web"]));
    dump
}

fn places(keeper: &Keeper) -> Vec<String> {
    let mut places = keeper.tmux.panes("#{session_name}:#{window_index} #{window_name}");
    places.sort();
    places
}

fn windows(snapshot: &Value) -> usize {
    let sessions = snapshot["server"]["sessions"].as_array().unwrap().iter();
    sessions.map(|session| session["windows"].as_array().unwrap().len()).sum()
}

/// A keeper of `web` with the windows 0 "edit" and 3 "logs", and of `api`; then "logs" and `api` were closed, and
/// something else is at the index of "logs". Returns the snapshot of all, and when it was taken.
fn with_something_closed() -> (Keeper, String, String) {
    let mut keeper = Keeper::prepare_quick();
    keeper.start_watching();
    let tmux = &keeper.tmux;
    tmux.run(&["new-session", "-d", "-s", "web", "-n", "edit", "-c", "/usr"]);
    tmux.run(&["new-window", "-d", "-t", "web:3", "-n", "logs", "-c", "/tmp", "sleep", "100000"]);
    tmux.run(&["new-session", "-d", "-s", "api", "-n", "main"]);
    let all =
        keeper.saved("all", |snapshot| windows(snapshot) == 3 && snapshot.to_string().contains("100000"));
    tmux.run(&["kill-window", "-t", "web:3"]);
    tmux.run(&["kill-session", "-t", "api"]);
    tmux.run(&["new-window", "-d", "-t", "web:3", "-n", "other"]);
    keeper.saved("what was closed", |snapshot| {
        session_names(snapshot) == ["web"] && snapshot.to_string().contains("\"other\"")
    });
    // What changes from now on is no shell that starts.
    until("prompts", || tmux.panes("#{pane_id}").iter().all(|pane| !tmux.text_of(pane).trim().is_empty()));
    let taken_at = all["snapshot"]["taken_at"].as_str().unwrap().to_owned();
    (keeper, all["generation"].to_string(), taken_at)
}

#[test]
fn complaint_23_one_window_of_one_moment_comes_into_a_server_that_stays_as_it_is() {
    let (keeper, number, taken_at) = with_something_closed();
    let there = keeper.tmux.panes("#{pane_id}");
    let before = dump(&keeper, &there);
    let line = ["restore", &taken_at, "--window", "web:logs"];
    let note = "window 3 \"logs\" as window 4, because 3 is taken";
    ctl(&keeper, &[&line[..], &["--dry-run"]].concat(), 0, &[&number, &format!("restore web: adds {note}")]);
    assert_eq!(places(&keeper), ["web:0 edit", "web:3 other"], "a dry run does nothing");
    ctl(&keeper, &line, 0, &[&format!("restored web: {note}"), "waits for Enter: sleep 100000"]);
    assert_eq!(places(&keeper), ["web:0 edit", "web:3 other", "web:4 logs"]);
    assert_eq!(keeper.tmux.run(&["display-message", "-p", "-t", "web:4", "#{pane_current_path}"]), "/tmp");
    // The same once more, by number, by session and name: it is there.
    for line in [
        ["restore", &number, "--window", "web:3"].as_slice(),
        &["restore", &number, "-s", "web", "-w", "logs"],
    ] {
        ctl(&keeper, line, 3, &["skipped web: a window like 3 is there already, at index 4", "--as NEWNAME"]);
    }
    assert_eq!(dump(&keeper, &there), before);
    assert_eq!(places(&keeper).len(), 3);
}

#[test]
fn complaint_23_one_session_comes_back_also_under_another_name() {
    let (keeper, number, _) = with_something_closed();
    let there = keeper.tmux.panes("#{pane_id}");
    let before = dump(&keeper, &there);
    ctl(&keeper, &["restore", &number, "-s", "api"], 0, &["restored api"]);
    // Beside the living one of its old name.
    ctl(
        &keeper,
        &["restore", &number, "-s", "web", "--as", "web then"],
        0,
        &["restored web then: it was web"],
    );
    ctl(
        &keeper,
        &["restore", &number, "-w", "logs", "--as", "log"],
        0,
        &["restored log", "only window 3 \"logs\""],
    );
    let expected =
        ["api:0 main", "log:3 logs", "web then:0 edit", "web then:3 logs", "web:0 edit", "web:3 other"];
    assert_eq!(places(&keeper), expected);
    let refused: [(&[&str], &str); 5] = [
        (&["-s", "web", "--as", "api"], "a session \"api\" is there already"),
        (&["-s", "web", "--as", "a.b:c"], "to tmux a : or . begins the window or the pane"),
        (&["--as", "x"], "only one session can get another name, and 2 sessions are meant"),
        (&["-s", "wbe"], "did you mean \"web\"?"),
        (&["-w", "web:lgos"], "did you mean \"web:logs\"?"),
    ];
    for (arguments, why) in refused {
        ctl(&keeper, &[&["restore", &number], arguments].concat(), 1, &[why]);
    }
    assert_eq!(places(&keeper), expected);
    assert_eq!(dump(&keeper, &there), before);
}

#[test]
fn complaint_23_a_moment_is_a_snapshot_for_every_command() {
    let (keeper, number, taken_at) = with_something_closed();
    let shown = keeper.ctl_json(&["snapshot", "show", &taken_at]);
    assert_eq!(shown["generation"].to_string(), number);
    ctl(&keeper, &["snapshot", "show", "0 seconds ago"], 0, &["other"]);
    ctl(
        &keeper,
        &["snapshot", "show", "10 years ago"],
        1,
        &["the oldest snapshot, 1, is of", "snapshot list"],
    );
    ctl(&keeper, &["restore", "2999-01-01"], 2, &["is in the future"]);
    ctl(&keeper, &["drill", "soon"], 2, &["\"latest\"", "2 hours ago"]);
}

#[test]
fn what_is_different_is_told_in_words() {
    let (keeper, number, taken_at) = with_something_closed();
    let closed = [
        "web: window 3 \"logs\" closed (1 pane: sleep 100000)",
        "web: window 3 \"other\" new (1 pane: bash)",
        "api: closed (1 window, 1 pane)",
    ];
    ctl(&keeper, &["snapshot", "diff", &taken_at], 0, &closed);
    ctl(&keeper, &["snapshot", "diff", &number, "now"], 0, &closed);
    ctl(&keeper, &["snapshot", "diff", &number, &number], 0, &["nothing is different"]);
    keeper.tmux.run(&["rename-session", "-t", "web", "site"]);
    let diff = keeper.ctl_json(&["snapshot", "diff", &number, "now"]);
    let changes = diff["changes"].as_array().unwrap();
    let renamed = changes.iter().find(|change| change["kind"] == "renamed").unwrap();
    assert_eq!((&renamed["before"], &renamed["after"]), (&Value::from("web"), &Value::from("site")));
    assert_eq!(diff["new"], Value::Null);
}
