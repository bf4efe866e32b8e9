//! Deaths, provoked for real, and what `keeperctl why` says of them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use serde_json::Value;

use support::{Keeper, eventually, signal, text, until};

/// A quick keeper that watches a server with the session `web`, which is saved.
fn watched() -> Keeper {
    let mut keeper = Keeper::prepare_quick();
    keeper.start_watching();
    keeper.tmux.run(&["set-option", "-g", "remain-on-exit", "on"]);
    keeper.tmux.run(&["new-session", "-d", "-s", "web", "sleep", "100000"]);
    keeper.saved_sessions(&["web"]);
    keeper
}

/// Returns what is remembered of deaths, the oldest first.
fn deaths(keeper: &Keeper) -> Vec<Value> {
    keeper.ctl_json(&["why", "--all"])["incidents"].as_array().unwrap().clone()
}

/// Waits until a death of a place is told, and returns its cause and how sure that is.
#[track_caller]
fn told(keeper: &Keeper, place: &str) -> (String, String) {
    eventually(&format!("the death of {place}"), || {
        let found = deaths(keeper).into_iter().rfind(|row| row["place"] == place)?;
        let word = |name: &str| found[name].as_str().unwrap().to_owned();
        Some((word("cause"), word("confidence")))
    })
}

fn words(pair: &(String, String)) -> (&str, &str) {
    (&pair.0, &pair.1)
}

#[test]
fn how_programs_end_is_told_by_tmux_where_panes_remain() {
    let keeper = watched();
    for (index, command, cause, confidence) in [
        ("1", "exit 0", "closed-by-user", "certain"),
        ("2", "exit 7", "program-failed", "certain"),
        ("3", "kill -SEGV $$", "program-killed", "certain"),
        ("4", "kill -TERM $$", "program-killed", "certain"),
    ] {
        // It must be seen alive before it dies.
        let line = format!("tmux wait-for go{index}; {command}");
        keeper.tmux.run(&["new-window", "-d", "-t", &format!("web:{index}"), "sh", "-c", &line]);
        let place = format!("web:{index}.0");
        // What status shows it reads itself; what is saved the keeper has seen.
        keeper.saved("the pane", |snapshot| snapshot.to_string().contains(&format!("go{index}")));
        keeper.tmux.run(&["wait-for", "-S", &format!("go{index}")]);
        assert_eq!(words(&told(&keeper, &place)), (cause, confidence), "{command}");
    }
}

#[test]
fn what_a_person_closes_is_closed_and_not_the_death_that_is_asked_for() {
    let keeper = watched();
    keeper.tmux.run(&["set-option", "-g", "remain-on-exit", "off"]);
    keeper.tmux.run(&["new-session", "-d", "-s", "api", "sleep", "100000"]);
    keeper.saved_sessions(&["web", "api"]);
    keeper.tmux.run(&["kill-session", "-t", "api"]);
    assert_eq!(told(&keeper, "api").0, "closed-by-user");
    let output = keeper.ctl(&["why"]);
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("nothing has died that its user did not want"));
    let said = text(&keeper.ctl(&["why", "--last"]).stdout);
    for words in ["session api", "What ran there", "sleep 100000", "keeperctl restore"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let output = keeper.ctl(&["why", "nosuch"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("keeperctl why --all"), "{}", text(&output.stderr));
    assert_eq!(keeper.ctl_json(&["why", "api"])["incident"]["subject"]["place"], "api");
    let number = deaths(&keeper)[0]["number"].to_string();
    assert_eq!(keeper.ctl_json(&["why", &number])["incident"]["subject"]["place"], "api");
}

#[test]
fn a_killed_server_is_explained_and_comes_back() {
    let keeper = watched();
    let place = keeper.tmux.socket.display().to_string();
    let pid = keeper.tmux.kill_server_hard();
    let (cause, confidence) = told(&keeper, &place);
    assert_eq!(cause, "server-killed");
    assert!(["possible", "likely"].contains(&confidence.as_str()), "{confidence}");
    until("everything to be back", || keeper.tmux.sessions() == ["web"]);
    let incident = keeper.ctl_json(&["why"])["incident"].clone();
    assert_eq!(incident["subject"]["server"]["pid"], pid);
    assert_eq!(incident["subject"]["panes"][0]["program"], "sleep 100000");
    let crashed = keeper.tmux.server_pid().unwrap();
    keeper.saved("the new server", |snapshot| snapshot["server"]["id"]["pid"] == crashed);
    signal(crashed, "SEGV");
    until("the crash to be told", || deaths(&keeper).len() >= 2);
    let last = deaths(&keeper).pop().unwrap();
    // Whoever reaps it may be faster than whoever looks.
    assert!(["server-crashed", "server-killed"].contains(&last["cause"].as_str().unwrap()), "{last}");
}

#[test]
fn a_server_that_is_told_to_end_has_been_closed() {
    let keeper = watched();
    let place = keeper.tmux.socket.display().to_string();
    keeper.tmux.run(&["kill-server"]);
    assert_eq!(told(&keeper, &place).0, "closed-by-user");
}

#[test]
fn what_died_without_a_keeper_is_told_by_the_next_one() {
    let mut keeper = watched();
    keeper.tmux.run(&["new-session", "-d", "-s", "api", "sleep", "100000"]);
    keeper.saved_sessions(&["web", "api"]);
    keeper.stop_daemon("KILL");
    keeper.tmux.run(&["kill-session", "-t", "api"]);
    keeper.start_watching();
    assert_eq!(told(&keeper, "api").0, "closed-by-user");
    keeper.saved_sessions(&["web"]);
    keeper.stop_daemon("KILL");
    keeper.tmux.kill_server_hard();
    keeper.start_watching();
    let place = keeper.tmux.socket.display().to_string();
    assert_eq!(words(&told(&keeper, &place)), ("unknown", "none"));
    let said = text(&keeper.ctl(&["why"]).stdout);
    assert!(said.contains("nothing tells why") && said.contains("while no keeper watched"), "{said}");
}
