//! Drills: what they find, what is remembered of them, and those that the keeper holds by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use support::{Keeper, alive, eventually, signal, text, until};

/// What a server shows of itself, as far as a drill could have changed it.
fn dump(keeper: &Keeper) -> String {
    let panes = keeper.tmux.run(&[
        "list-panes",
        "-a",
        "-F",
        "#{session_id} #{session_name} #{window_id} #{window_name} #{window_layout} #{pane_id} #{pane_pid} #{pane_title}",
    ]);
    let options = ["-s", "-g", "-gw"].map(|scope| keeper.tmux.run(&["show-options", scope]));
    let environment = keeper.tmux.run(&["show-environment", "-g"]);
    format!("{panes}\n{}\n{environment}", options.join("\n"))
}

fn record_path(keeper: &Keeper) -> PathBuf {
    keeper.store_dir().join("proven.json")
}

fn record(keeper: &Keeper) -> Value {
    serde_json::from_str(&fs::read_to_string(record_path(keeper)).unwrap_or_default()).unwrap_or_default()
}

/// Makes the remembered drill one of long ago.
fn make_old(keeper: &Keeper) {
    let mut record = record(keeper);
    for which in ["last", "perfect"] {
        record[which]["held_at"] = json!("2020-01-01T00:00:00Z");
    }
    fs::write(record_path(keeper), record.to_string()).unwrap();
}

/// Returns the directories of drills that are there.
fn stages(keeper: &Keeper) -> Vec<PathBuf> {
    let entries = fs::read_dir(keeper.dir.path()).unwrap().flatten().map(|entry| entry.path());
    let is_stage =
        |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("agent-keeper-drill-");
    entries.filter(is_stage).collect()
}

fn drill(keeper: &Keeper, arguments: &[&str]) -> (Option<i32>, String) {
    let output = keeper.ctl(&[&["drill"], arguments].concat());
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Returns the file of an object of the store.
fn object(keeper: &Keeper, id: &str) -> PathBuf {
    keeper.store_dir().join("objects").join(&id[..2]).join(format!("{}.zst", &id[2..]))
}

#[test]
fn long_texts_numbered_panes_and_renamed_windows_are_proven_and_the_proof_is_remembered() {
    let mut keeper = Keeper::prepare_quick();
    keeper.configure("[snapshot]\ninterval = \"200ms\"\nscrollback_lines = 6000\n");
    keeper.start_watching();
    for option in
        [&["-g", "history-limit", "9000"][..], &["-gw", "pane-base-index", "1"], &["-g", "base-index", "1"]]
    {
        keeper.tmux.run(&[&["set-option"], option].concat());
    }
    keeper.tmux.run(&["set-option", "-gw", "automatic-rename", "off"]);
    keeper.tmux.run(&["new-session", "-d", "-s", "long", "seq 5000; exec sleep 5000"]);
    keeper.tmux.run(&["split-window", "-d", "-t", "=long:"]);
    keeper.saved("all text and options", |snapshot| {
        let panes = &snapshot["server"]["sessions"][0]["windows"][0]["panes"];
        snapshot["server"]["globals"]["window"]["automatic-rename"] == "off"
            && panes[0]["scrollback"]["lines"].as_u64() >= Some(5000)
            && panes[1]["scrollback"]["lines"].as_u64() > Some(0)
    });
    let before = dump(&keeper);
    let (code, said) = drill(&keeper, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("100 % of"), "{said}");
    assert_eq!(dump(&keeper), before);
    assert_eq!(stages(&keeper), Vec::<PathBuf>::new());
    let record = record(&keeper);
    assert_eq!(record["last"], record["perfect"]);
    assert_eq!((&record["last"]["score"], &record["last"]["by"]), (&json!(100), &json!("hand")));
    let status = text(&keeper.ctl(&["status"]).stdout);
    let expected = format!("last proven restore: snapshot {}, ", record["last"]["generation"]);
    assert!(status.contains(&expected) && status.contains(" ago, 100 %"), "{status}");
    assert_eq!(keeper.ctl_json(&["status"])["proven"], record);
    assert!(keeper.ctl(&["snapshot", "verify"]).status.success(), "the record is no flaw of the store");
}

#[test]
fn the_sample_proves_nothing_of_what_is_saved() {
    let keeper = Keeper::with_saved(&["web"]);
    assert_eq!(drill(&keeper, &["--sample"]).0, Some(0));
    assert!(!record_path(&keeper).exists());
    let status = text(&keeper.ctl(&["status"]).stdout);
    assert!(status.contains("last proven restore: never"), "{status}");
}

#[test]
fn what_would_be_lost_is_named_and_what_is_gone_from_the_machine_is_only_noted() {
    let mut keeper = Keeper::prepare_quick();
    keeper.start_watching();
    let place = keeper.path("home/work");
    fs::create_dir(&place).unwrap();
    let program = place.join("serve");
    fs::copy(Path::new("/bin/sleep"), &program).unwrap();
    keeper.tmux.run(&[
        "new-session",
        "-d",
        "-s",
        "web",
        "-c",
        place.to_str().unwrap(),
        "echo some text; ./serve 5000",
    ]);
    let saved = keeper.saved("text and program", |snapshot| {
        let pane = &snapshot["server"]["sessions"][0]["windows"][0]["panes"][0];
        pane["scrollback"]["lines"].as_u64() > Some(0) && pane["program"].to_string().contains("serve")
    });
    let number = saved["generation"].to_string();
    keeper.stop_daemon("KILL");
    keeper.tmux.kill_server_hard();
    fs::remove_dir_all(&place).unwrap();
    let (code, said) = drill(&keeper, &[&number]);
    assert_eq!(code, Some(0), "{said}");
    for words in ["/home/work/serve is gone", "/home/work is gone", "100 %"] {
        assert!(said.replace("\n    ", " ").contains(words), "{words}: {said}");
    }

    let chunk =
        &saved["snapshot"]["server"]["sessions"][0]["windows"][0]["panes"][0]["scrollback"]["chunks"][0];
    fs::write(object(&keeper, chunk.as_str().unwrap()), "damage").unwrap();
    let (code, said) = drill(&keeper, &[&number]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("the text of web:0.0 is not whole") && !said.contains("100 %"), "{said}");
    let output = keeper.ctl(&["drill", &number, "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["differences"][0]["field"], "lost text");
    assert!(!document["notes"].as_array().unwrap().is_empty());
    let record = record(&keeper);
    assert!(record["last"]["problem"].as_str().unwrap().contains("web:0.0"));
    assert_eq!(record["perfect"]["score"], 100);
    let doctor: Value = serde_json::from_slice(&keeper.ctl(&["doctor", "--json"]).stdout).unwrap();
    let checks = doctor["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["id"] == "restore.proven").unwrap();
    assert_eq!(check["result"], "problem", "{check}");
}

#[test]
fn the_keeper_drills_by_itself_when_the_last_proof_is_old() {
    let mut keeper = Keeper::with_saved(&["web"]);
    assert_eq!(drill(&keeper, &[]).0, Some(0));
    make_old(&keeper);
    keeper.start_watching();
    keeper.tmux.run(&["new-session", "-d", "-s", "other"]);
    until("both sessions", || keeper.tmux.sessions() == ["other", "web"]);
    // Until a new pane has become its shell it is tmux itself, and its window is named so.
    keeper.tmux.run(&["set-option", "-gw", "automatic-rename", "off"]);
    let before = dump(&keeper);
    let proven = eventually("a drill that nobody asked for", || {
        let proven = keeper.ctl_json(&["status"])["proven"].clone();
        (proven["last"]["by"] == "schedule").then_some(proven)
    });
    assert_eq!((&proven["last"]["score"], &proven["last"]["problem"]), (&json!(100), &Value::Null));
    assert_eq!(dump(&keeper), before);
    until("its words in the journal", || keeper.log().contains("proved a restore: snapshot"));
    until("its directory to be gone", || stages(&keeper).is_empty());
}

#[test]
fn a_drill_that_was_killed_leaves_nothing_that_the_next_does_not_remove() {
    let keeper = Keeper::with_saved(&["web"]);
    let mut drill = keeper.ctl_command(&["drill"]).spawn().unwrap();
    let socket = eventually("the server of the drill", || {
        let socket = stages(&keeper).first()?.join("tmux");
        socket.exists().then_some(socket)
    });
    let server = support::PrivateTmux::at(&socket);
    let pid = eventually("its process", || server.server_pid());
    signal(drill.id(), "KILL");
    drill.wait().unwrap();
    assert!(alive(pid));
    assert!(keeper.ctl(&["drill"]).status.success());
    until("the server that was left to be gone", || !alive(pid));
    assert_eq!(stages(&keeper), Vec::<PathBuf>::new());
}

#[test]
fn a_drill_ends_with_its_keeper_and_when_it_is_interrupted() {
    let keeper = Keeper::with_saved(&["web"]);
    // Also while its server is being started and does not answer yet.
    for begun in ["", "tmux.lock", "tmux"] {
        let mut by_hand = keeper.ctl_command(&["drill"]).spawn().unwrap();
        let at = || stages(&keeper).first().is_some_and(|stage| stage.join(begun).exists());
        let mut ended = false;
        until("the drill to begin", || {
            ended = by_hand.try_wait().unwrap().is_some();
            ended || at()
        });
        if !ended {
            signal(by_hand.id(), "INT");
            by_hand.wait().unwrap();
        }
        assert_eq!(stages(&keeper), Vec::<PathBuf>::new(), "stopped when it had {begun:?}");
    }

    let _ = fs::remove_file(record_path(&keeper));
    let mut scheduled = keeper.daemon_command();
    let program = scheduled.get_program().to_owned();
    scheduled = keeper.ctl_command(&[]);
    let mut command = std::process::Command::new(program);
    for (name, value) in scheduled.get_envs().filter_map(|(name, value)| Some((name, value?))) {
        command.env(name, value);
    }
    let tmux = text(
        &std::process::Command::new("sh")
            .args(["-c", &format!("command -v {}", support::tmux_program().display())])
            .output()
            .unwrap()
            .stdout,
    );
    command.arg("drill").arg(keeper.store_dir()).arg(tmux.trim());
    // Nobody holds the other end.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(writer);
    let output = command.stdin(reader).output().unwrap();
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("the drill was stopped"), "{}", text(&output.stderr));
    assert!(!record_path(&keeper).exists());
    assert_eq!(stages(&keeper), Vec::<PathBuf>::new());
}

#[test]
fn only_what_a_restore_starts_from_is_remembered_and_an_import_is_proven_as_it_comes_back() {
    let mut keeper = Keeper::prepare_quick();
    keeper.configure("[snapshot]\ninterval = \"200ms\"\nbuffers = true\n");
    keeper.start_watching();
    keeper.tmux.run(&["new-session", "-d", "-s", "web", "sleep 1000"]);
    keeper.tmux.run(&["set-buffer", "-b", "mine", "copied"]);
    let saved = |snapshot: &Value| snapshot["server"]["buffers"].as_array().is_some_and(|all| all.len() == 1);
    keeper.saved("the session and the buffer", saved);
    keeper.stop_daemon("TERM");
    assert_eq!(drill(&keeper, &[]).0, Some(0));
    let remembered = record(&keeper);
    let file = keeper.path("exported");
    let file = file.to_str().unwrap();
    assert!(keeper.ctl(&["snapshot", "export", "latest", file]).status.success());
    let imported = keeper.ctl_json(&["snapshot", "import", file])["generation"].to_string();
    let (code, said) = drill(&keeper, &[&imported]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(record(&keeper), remembered, "another one proves nothing of it");
}
