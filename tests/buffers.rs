//! Paste buffers: kept only if that is asked for, bounded, covered, and brought back beside what lives.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::fs;

use support::{Keeper, until};

/// A password that has a documented form.
const TOKEN: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";

/// Contents that tmux, a shell or a terminal would like to do something with, by awkward names.
const BUFFERS: [(&str, &str); 4] = [
    ("plain", "one\ntwo\n"),
    ("-v #{pid}", "#(touch pwned) $(touch pwned) \\ ' \" \u{1b}[31m\ttab, and no newline"),
    ("semi;", ";"),
    ("日本語 a", "日本語\r\n\n\n"),
];

fn set(keeper: &Keeper, name: &str, content: &str) {
    let file = keeper.path("content");
    fs::write(&file, content).unwrap();
    // A semicolon at the end of an argument would end the command.
    let name = name.replace(';', "\\;");
    keeper.tmux.run(&["load-buffer", "-b", &name, file.to_str().unwrap()]);
}

fn buffers(keeper: &Keeper) -> BTreeMap<String, String> {
    let names = keeper.tmux.run(&["list-buffers", "-F", "#{buffer_name}"]);
    let file = keeper.path("shown");
    let content = |name: &str| {
        keeper.tmux.run(&["save-buffer", "-b", &name.replace(';', "\\;"), file.to_str().unwrap()]);
        fs::read_to_string(&file).unwrap()
    };
    names.lines().map(|name| (name.to_owned(), content(name))).collect()
}

fn count(snapshot: &serde_json::Value) -> usize {
    snapshot["server"]["buffers"].as_array().map_or(0, Vec::len)
}

#[test]
fn buffers_come_back_beside_those_that_live() {
    let mut keeper = Keeper::prepare();
    keeper.configure("[snapshot]\ninterval = \"200ms\"\nbuffers = true\n[restore]\nauto = false\n");
    keeper.start_watching();
    BUFFERS.iter().for_each(|(name, content)| set(&keeper, name, content));
    set(&keeper, "secret", &format!("export GITHUB_TOKEN={TOKEN}\n"));
    set(&keeper, "large", &"x".repeat(1024 * 1024 + 1));
    set(&keeper, "living", "before");
    keeper.tmux.run(&["new-session", "-d", "-s", "web"]);
    let saved = keeper.saved("the buffers", |snapshot| count(snapshot) == BUFFERS.len() + 2);
    let number = saved["generation"].to_string();
    let drill = keeper.ctl_json(&["drill", &number]);
    assert_eq!(drill["score"], 100, "{drill}");
    keeper.tmux.kill_server_hard();
    until("an empty server", || keeper.state() == "watching" && keeper.tmux.server_pid().is_some());
    set(&keeper, "living", "of now");
    // One session alone brings none.
    keeper.ctl_json(&["restore", &number, "-s", "web", "--as", "other"]);
    assert_eq!(buffers(&keeper).len(), 1);
    keeper.ctl_json(&["restore", &number]);
    let found = buffers(&keeper);
    for (name, content) in BUFFERS {
        assert_eq!(found[name], content, "{name}");
    }
    assert_eq!(found["living"], "of now");
    assert!(found["secret"].starts_with("export GITHUB_TOKEN=") && !found["secret"].contains(TOKEN));
    assert_eq!(found.len(), BUFFERS.len() + 2, "{found:?}");
    assert!(!keeper.path("home/pwned").exists());
}

/// What somebody copied has no name of its own; `prefix ]` and a bare `show-buffer` find the newest of those.
#[test]
fn what_was_copied_can_be_pasted_again() {
    let mut keeper = Keeper::prepare();
    keeper.configure("[snapshot]\ninterval = \"200ms\"\nbuffers = true\n[restore]\nauto = false\n");
    keeper.start_watching();
    for content in ["first", "gone", "second", "newest"] {
        keeper.tmux.run(&["set-buffer", content]);
    }
    keeper.tmux.run(&["delete-buffer", "-b", "buffer1"]);
    keeper.tmux.run(&["new-session", "-d", "-s", "web"]);
    let saved = keeper.saved("the buffers", |snapshot| count(snapshot) == 3);
    let number = saved["generation"].to_string();
    let drill = keeper.ctl_json(&["drill", &number]);
    assert_eq!(drill["score"], 100, "{drill}");
    keeper.tmux.kill_server_hard();
    until("an empty server", || keeper.state() == "watching" && keeper.tmux.server_pid().is_some());
    // One that was copied since stays, and takes no other's place.
    keeper.tmux.run(&["set-buffer", "second"]);
    for _ in 0..2 {
        keeper.ctl_json(&["restore", &number]);
        let mut contents: Vec<String> = buffers(&keeper).into_values().collect();
        contents.sort();
        assert_eq!(contents, ["first", "newest", "second"]);
        assert_eq!(keeper.tmux.run(&["show-buffer"]), "newest");
    }
}

#[test]
fn no_more_than_the_newest_are_kept_and_none_unasked() {
    let mut keeper = Keeper::prepare();
    keeper.configure("[snapshot]\ninterval = \"200ms\"\nbuffers = true\n");
    keeper.start_watching();
    (0..60).for_each(|n| set(&keeper, &format!("b{n:02}"), &n.to_string()));
    keeper.tmux.run(&["new-session", "-d", "-s", "web"]);
    let saved = keeper.saved("the newest buffers", |snapshot| count(snapshot) > 0);
    let list = saved["snapshot"]["server"]["buffers"].as_array().unwrap();
    let names: Vec<&str> = list.iter().map(|one| one["name"].as_str().unwrap()).collect();
    let expected: Vec<String> = (10..60).map(|n| format!("b{n:02}")).collect();
    assert_eq!(names, expected);
    keeper.stop_daemon("TERM");
    keeper.configure("[snapshot]\ninterval = \"200ms\"\n");
    keeper.start_watching();
    keeper.tmux.run(&["new-session", "-d", "-s", "more"]);
    keeper.saved("no buffers", |snapshot| snapshot.to_string().contains("\"more\"") && count(snapshot) == 0);
}
