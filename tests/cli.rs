//! The two programs as their user meets them: what they print, their exit status, and what they do when
//! something they are given is bad.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::CommandFactory;
use serde_json::Value;
use support::{
    DEADLINE, Keeper, PrivateTmux, can_mount, has_program, session_names, skip, text, tmux_program, until,
};
use unicode_width::UnicodeWidthStr;

/// What a program said.
struct Said {
    out: String,
    err: String,
}

impl Said {
    fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// Runs a program, which must end with this status and say all these words, and say them plainly.
#[track_caller]
fn expect(command: Command, code: i32, words: &[&str]) -> Said {
    let shown = format!("{:?} {:?}", command.get_program(), command.get_args().collect::<Vec<_>>());
    // Bounded: a daemon that does not refuse to start runs on.
    let output = assert_cmd::Command::from_std(command).timeout(DEADLINE).output().unwrap();
    let said = Said { out: text(&output.stdout), err: text(&output.stderr) };
    let all = said.all();
    assert_eq!(output.status.code(), Some(code), "{shown} said:\n{all}");
    // What is wrapped for people is one sentence all the same.
    let flat = all.split_whitespace().collect::<Vec<_>>().join(" ");
    let missing: Vec<_> = words.iter().filter(|word| !flat.contains(**word)).collect();
    assert!(missing.is_empty(), "{shown} did not say {missing:?}, but:\n{all}");
    assert!(!all.contains('\x1b') && !all.contains("panicked"), "{shown} said:\n{all}");
    said
}

#[track_caller]
fn ctl(keeper: &Keeper, line: &[&str], code: i32, words: &[&str]) -> Said {
    expect(keeper.ctl_command(line), code, words)
}

#[track_caller]
fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.all()))
}

/// Every file below a directory, with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&path));
            found.insert(path, Vec::new());
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap_or_default());
        }
    }
    found
}

fn write_program(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, script).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

// ── snapshots that cannot be read ──

/// Puts damaged and newer files behind the good snapshots, and returns number, path and what is wrong.
fn add_damaged(keeper: &Keeper) -> Vec<(String, PathBuf, &'static str)> {
    let dir = keeper.store_dir().join("generations");
    let last = keeper.generations().last().unwrap()["generation"].as_u64().unwrap();
    let file = |number: u64| dir.join(format!("{number:08}.json.zst"));
    let good = fs::read(file(last)).unwrap();
    let plain = String::from_utf8(zstd::decode_all(&good[..]).unwrap()).unwrap();
    let packed = |plain: String| zstd::encode_all(plain.as_bytes(), 3).unwrap();
    let cases = [
        (good[..good.len() / 2].to_vec(), "damaged: "),
        (b"no snapshot at all\n".to_vec(), "damaged: "),
        (packed(plain.replace("\"web\"", "\"wob\"")), "damaged: the checksum does not match"),
        (Vec::new(), "damaged: "),
        (
            packed(plain.replacen("generation 2 ", "generation 7 ", 1)),
            "written in format 7 by a newer agent-keeper; this one reads up to format 2",
        ),
    ];
    let numbered = (last + 1..).zip(cases);
    numbered
        .map(|(number, (bytes, flaw))| {
            fs::write(file(number), bytes).unwrap();
            (number.to_string(), file(number), flaw)
        })
        .collect()
}

#[test]
fn damaged_and_newer_snapshots_are_named_passed_over_and_left_alone() {
    let mut keeper = Keeper::with_saved(&["web"]);
    let damaged = add_damaged(&keeper);
    let before = files(&keeper.store_dir());
    for (number, path, flaw) in &damaged {
        let words = [path.to_str().unwrap(), flaw, "keeperctl snapshot list"];
        for line in [
            &["snapshot", "show", number][..],
            &["restore", number],
            &["restore", "-n", number],
            &["drill", number],
        ] {
            ctl(&keeper, line, 1, &words);
        }
    }
    let named: Vec<&str> =
        damaged.iter().flat_map(|(_, path, flaw)| [path.to_str().unwrap(), flaw]).collect();
    ctl(&keeper, &["snapshot", "list"], 3, &named);
    ctl(&keeper, &["doctor"], 3, &[named[0], "move them away: mv"]);
    for line in [&["snapshot", "show"][..], &["restore", "--dry-run"], &["drill"]] {
        let said = ctl(&keeper, line, 0, &["passed over: ", named[0], named[8]]);
        assert!(!said.out.contains("passed over"));
    }
    // The drill of the good one is remembered, and nothing else is written.
    fs::remove_file(keeper.store_dir().join("proven.json")).unwrap();
    assert_eq!(files(&keeper.store_dir()), before);

    keeper.start_daemon();
    until("the good one to be restored", || keeper.tmux.sessions() == ["web"]);
    keeper.saved("the restored state", |snapshot| snapshot["reason"] == "restored");
    let after = files(&keeper.store_dir());
    for (_, path, _) in &damaged {
        assert!(after[path] == before[path], "{} was changed", path.display());
    }
}

#[test]
fn where_no_snapshot_can_be_read_nothing_else_is_drilled_or_restored() {
    let keeper = Keeper::prepare();
    let dir = keeper.store_dir().join("generations");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("00000001.json.zst"), "gone").unwrap();
    for line in ["drill", "restore"] {
        ctl(&keeper, &[line], 1, &["00000001.json.zst: damaged", "keeperctl snapshot list"]);
    }
}

#[test]
fn a_store_of_a_newer_version_is_read_and_left_alone() {
    let keeper = Keeper::with_saved(&["web"]);
    fs::write(keeper.store_dir().join("format"), "3\n").unwrap();
    let before = files(&keeper.store_dir());
    let lines: [&[&str]; 5] = [
        &["snapshot", "list"],
        &["snapshot", "show"],
        &["snapshot", "verify"],
        &["restore", "-n"],
        &["snapshot", "export", "latest", "../export"],
    ];
    for line in lines {
        ctl(&keeper, line, 0, &[]);
    }
    let words = ["state/agent-keeper is in format 3, written by a newer agent-keeper", "Nothing was changed"];
    let lines: [&[&str]; 3] = [
        &["snapshot", "pin", "latest"],
        &["snapshot", "unpin", "latest"],
        &["snapshot", "import", "../export"],
    ];
    for line in lines {
        ctl(&keeper, line, 1, &[&words[..], &["install the newer agent-keeper again"]].concat());
    }
    ctl(&keeper, &["status"], 3, &words);
    ctl(&keeper, &["doctor"], 3, &words);
    expect(keeper.daemon_command(), 78, &words);
    assert_eq!(files(&keeper.store_dir()), before);
}

// ── a store that cannot be written ──

#[test]
fn a_full_or_read_only_disk_is_said_and_the_last_good_snapshot_kept() {
    if !can_mount() {
        return skip("a full disk", "no mounts of our own (unshare -m)");
    }
    let mut keeper = Keeper::prepare_quick();
    let state = keeper.path("state");
    keeper.mount(format!("mount -t tmpfs -o size=64k,mode=700 none {}", state.display()));
    keeper.start_watching();
    keeper.tmux.run(&["new-session", "-d", "-s", "one"]);
    let mut sessions = vec!["one"];
    keeper.saved_sessions(&sessions);

    let fill = state.join("fill");
    let generations = keeper.store_dir().join("generations");
    let read_only = format!("mount --bind {0} {0} && mount -o remount,bind,ro {0}", generations.display());
    let cases = [
        (
            format!("! cat /dev/zero >{} 2>/dev/null", fill.display()),
            "No space left on device",
            format!("rm {}", fill.display()),
        ),
        (read_only, "Read-only file system", format!("umount {}", generations.display())),
    ];
    for (broken, words, mended) in cases {
        let good = keeper.generations().last().unwrap()["generation"].clone();
        keeper.inside(&broken);
        let name = words.split(' ').next().unwrap();
        keeper.tmux.run(&["new-session", "-d", "-s", name]);
        until("the problem to be said", || keeper.problem().contains(words));
        // A pane's text comes before the generation, and whether there is any yet is the shell's matter.
        let words = ["cannot write ", words, "state/agent-keeper/"];
        for _look in 0..10 {
            ctl(&keeper, &["status"], 3, &words);
        }
        let said = ctl(&keeper, &["snapshot", "take"], 1, &words);
        assert!(!said.err.contains(".new-"), "{}", said.err);
        assert_eq!(keeper.generations().last().unwrap()["generation"], good);
        assert_eq!(ctl(&keeper, &["snapshot", "show"], 0, &sessions).err, "");
        assert!(!keeper.log().contains("the problem is gone"), "it is not:\n{}", keeper.log());
        keeper.inside(&mended);
        sessions.push(name);
        keeper.saved_sessions(&sessions);
        until("the problem to be gone", || keeper.problem().is_empty());
        fs::write(keeper.path("log"), "").unwrap();
    }
}

#[test]
fn a_keeper_that_cannot_write_at_its_start_says_so_and_is_worth_a_restart() {
    if !can_mount() {
        return skip("a read-only disk", "no mounts of our own (unshare -m)");
    }
    let mut keeper = Keeper::prepare();
    let state = keeper.path("state");
    keeper.mount(format!("mount -t tmpfs -o ro none {}", state.display()));
    let words = ["cannot make the directory ", state.to_str().unwrap(), "Read-only file system"];
    expect(keeper.daemon_command(), 1, &words);
}

// ── tmux and the configuration ──

#[test]
fn a_tmux_that_is_missing_or_too_old_is_named() {
    let keeper = Keeper::with_saved(&["web"]);
    write_program(&keeper.path("old/tmux"), "#!/bin/sh\necho tmux 3.1c\n");
    fs::create_dir(keeper.path("none")).unwrap();
    let cases = [
        ("none", vec!["tmux is not installed", "apt-get install tmux"]),
        ("old", vec!["old/tmux", "is tmux 3.1c", "needs 3.2a or newer", "tmux.program in config.toml"]),
    ];
    for (dir, words) in cases {
        let path = keeper.path(dir);
        fs::write(keeper.path("home/.profile"), format!("PATH={}\n", path.display())).unwrap();
        expect(keeper.daemon_command(), 78, &words);
        let lines = [
            (&["status"][..], 3),
            (&["doctor"], 3),
            (&["restore", "-n"], 1),
            (&["restore"], 1),
            (&["drill"], 1),
            (&["setup"], 1),
        ];
        for (line, code) in lines {
            let mut command = keeper.ctl_command(line);
            command.env("PATH", &path);
            expect(command, code, &words);
        }
        ctl(&keeper, &["snapshot", "show"], 0, &["web"]);
    }
}

#[test]
fn mistakes_in_the_configuration_are_named_with_their_place() {
    let keeper = Keeper::prepare();
    let dir = keeper.path("config/agent-keeper");
    let cases = [
        (
            "config.toml",
            "[snapshot]\nintervall = \"1s\"\n",
            "config.toml:2:1: unknown field `intervall`",
            "did you mean interval?",
        ),
        (
            "config.toml",
            "[snapshot]\ninterval = 1\n",
            "config.toml:2:12: invalid type: integer `1`",
            "such as \"5s\"",
        ),
        ("config.toml", "[tmux\n", "config.toml:1:6: ", ""),
        (
            "config.toml",
            "# yes\nscrollback-lines = 1\n",
            "config.toml:2:1: unknown field",
            "did you mean snapshot.scrollback_lines?",
        ),
        (
            "config.toml",
            "[snapshot]\nscrollback_lines = 60000\n",
            "snapshot.scrollback_lines must be 0 to 50000",
            "",
        ),
        (
            "config.toml.d/50-mine.toml",
            "[tmux]\n\nfund = true\n",
            "config.toml.d/50-mine.toml:3:1: unknown field `fund`",
            "did you mean found?",
        ),
    ];
    for (name, content, place, mend) in cases {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let words = [dir.to_str().unwrap(), place, mend];
        expect(keeper.daemon_command(), 78, &words);
        ctl(&keeper, &["doctor"], 3, &words);
        for line in [&["status"][..], &["setup", "--dry-run"], &["drill"]] {
            ctl(&keeper, line, 1, &[&words[..], &["man agent-keeper.toml"]].concat());
        }
        fs::remove_file(path).unwrap();
    }
    symlink(keeper.path("gone"), dir.join("config.toml")).unwrap();
    expect(keeper.daemon_command(), 78, &["cannot read", "config.toml"]);
}

// ── places ──

#[test]
fn a_socket_path_that_the_kernel_refuses_is_named() {
    let mut keeper = Keeper::with_saved(&["web"]);
    let long = keeper.path(&"d".repeat(100));
    fs::create_dir(&long).unwrap();
    let long = long.to_str().unwrap();
    let words = [long, "the kernel allows 107"];
    for line in [&["status"][..], &["restore", "-n"], &["drill"], &["setup", "-n"]] {
        ctl(&keeper, &[&["-S", long][..], line].concat(), 1, &words);
    }
    keeper.tmux = PrivateTmux::at(long);
    expect(keeper.daemon_command(), 78, &words);
    keeper.find_socket_at(keeper.path("s"));
    for (variable, lines) in [
        ("TMUX_TMPDIR", vec![vec!["status"], vec!["setup", "-n"]]),
        ("XDG_RUNTIME_DIR", vec![vec!["snapshot", "take"], vec!["setup"]]),
    ] {
        for line in lines {
            let mut command = keeper.ctl_command(&line);
            command.env(variable, long);
            expect(command, 1, &words);
        }
        let mut daemon = keeper.daemon_command();
        daemon.env(variable, long);
        expect(daemon, 78, &words);
    }
}

#[test]
fn a_home_that_is_no_whole_path_is_refused() {
    let keeper = Keeper::prepare();
    for line in [&["status"][..], &["setup", "-n"], &["snapshot", "list"]] {
        let mut command = keeper.ctl_command(line);
        command.env("HOME", "somewhere");
        expect(command, 1, &["HOME is somewhere", "must begin with /"]);
    }
    let mut daemon = keeper.daemon_command();
    daemon.env("HOME", "somewhere");
    expect(daemon, 78, &["HOME is somewhere"]);
    assert!(!keeper.path("home/somewhere").exists());
}

#[test]
fn daemon_and_keeperctl_use_the_socket_that_a_login_uses() {
    let mut keeper = Keeper::prepare_quick();
    let sockets = keeper.path("sockets");
    fs::create_dir(&sockets).unwrap();
    fs::write(keeper.path("home/.profile"), format!("export TMUX_TMPDIR={}\n", sockets.display())).unwrap();
    let socket = sockets.join(format!("tmux-{}/default", nix::unistd::geteuid()));
    keeper.find_socket_at(socket.clone());
    keeper.start_watching();
    // As its user would: a plain tmux in a login shell.
    let mut login = Command::new("/bin/bash");
    login.args(["-lc", &format!("{} -u new-session -d -s plain", tmux_program().display())]);
    let home = keeper.path("home");
    login
        .env("HOME", home)
        .env_remove("TMUX")
        .env_remove("TMUX_TMPDIR")
        .env("XDG_RUNTIME_DIR", keeper.path("run"));
    expect(login, 0, &[]);
    keeper.saved_sessions(&["plain"]);
    assert_eq!(keeper.ctl_json(&["status"])["server"]["socket"], socket.to_str().unwrap());
    assert_eq!(keeper.ctl_json(&["restore", "-n"])["sessions"][0]["result"], "skipped");
    ctl(&keeper, &["doctor"], 0, &["a restore has been proven: not yet", "keeperctl drill"]);
    ctl(&keeper, &["drill"], 0, &["100 %"]);
    ctl(&keeper, &["doctor"], 0, &["a tmux server runs: pid", "a restore has been proven: today"]);
}

// ── restoring ──

#[test]
fn sessions_with_awkward_names_are_shown_and_restored_by_name() {
    let names =
        ["my work", "a: b.c", "it's \"quoted\"", "$HOME", "😀 party", "-dash", "=equals", "%[x]#{y}", "[ok"];
    let mut keeper = Keeper::prepare();
    keeper.configure("[snapshot]\ninterval = \"200ms\"\n[restore]\nauto = false\n");
    keeper.start_watching();
    for name in names {
        keeper.tmux.run(&["new-session", "-d", "-s", name]);
    }
    let saved =
        keeper.saved("all of them", |snapshot| snapshot["server"]["sessions"].as_array().unwrap().len() == 9);
    let number = saved["generation"].to_string();
    // As tmux calls them: some signs it replaces. tmux 3.4 prints a backslash more than the name has.
    let plain = |mut names: Vec<String>| {
        names.iter_mut().for_each(|name| name.retain(|sign| sign != '\\'));
        names.sort();
        names
    };
    let names: Vec<String> = session_names(&saved["snapshot"]).into_iter().map(str::to_owned).collect();
    let printed = plain(keeper.tmux.sessions());
    assert_eq!(plain(names.clone()), printed);
    let shown: Vec<&str> = names.iter().map(String::as_str).collect();
    ctl(&keeper, &["status"], 0, &shown);
    ctl(&keeper, &["snapshot", "show"], 0, &shown);
    keeper.tmux.kill_server_hard();
    until("an empty server", || keeper.state() == "watching" && keeper.tmux.sessions().is_empty());
    for (at, name) in names.iter().enumerate() {
        let line = ["restore", &number, "--session", name];
        ctl(&keeper, &line, 0, &[&format!("restored {name}")]);
        assert_eq!(keeper.tmux.sessions().len(), at + 1, "{name}");
        let there = format!("skipped {name}: a session of this name is there already");
        ctl(&keeper, &line, 3, &[&there]);
    }
    assert_eq!(plain(keeper.tmux.sessions()), printed);
    let unknown = ["holds no session \"nope\"", "it holds: ", "my work", "keeperctl snapshot list"];
    ctl(&keeper, &["restore", &number, "-s", "nope"], 1, &unknown);
}

#[test]
fn a_dry_run_says_what_the_restore_then_does_and_changes_nothing() {
    let mut keeper = Keeper::prepare();
    keeper.configure("[snapshot]\ninterval = \"200ms\"\n[restore]\nauto = false\n");
    keeper.start_watching();
    keeper.tmux.run(&["new-session", "-d", "-s", "web"]);
    keeper.tmux.run(&["split-window", "-d", "-t", "web", "sleep", "4321"]);
    keeper.tmux.run(&["new-session", "-d", "-s", "agents", "tail", "-f", "/dev/null"]);
    keeper.saved("the programs", |snapshot| {
        let text = snapshot.to_string();
        text.contains("4321") && text.contains("\"tail\",\"-f\"")
    });
    keeper.tmux.kill_server_hard();
    until("an empty server", || keeper.state() == "watching" && keeper.tmux.server_pid().is_some());
    let before = (files(&keeper.store_dir()), keeper.tmux.server_pid());
    let plan = json(&ctl(&keeper, &["restore", "--dry-run", "--json"], 0, &[]));
    ctl(
        &keeper,
        &["restore", "--dry-run"],
        0,
        &[
            "would restore",
            "web: 1 window, 2 panes",
            "waits for Enter: sleep 4321",
            "agents:0.0 runs: tail -f /dev/null",
        ],
    );
    assert_eq!((files(&keeper.store_dir()), keeper.tmux.server_pid()), before);
    assert!(keeper.tmux.sessions().is_empty());
    let done = json(&ctl(&keeper, &["restore", "--json"], 0, &[]));
    let steps = |document: &Value| -> Vec<(Value, Value)> {
        let rows = document["sessions"].as_array().unwrap().iter();
        rows.map(|row| (row["session"].clone(), [&row["waiting"], &row["running"]].map(Value::clone).into()))
            .collect()
    };
    assert_eq!(steps(&plan), steps(&done));
    assert!(done["sessions"].as_array().unwrap().iter().all(|row| row["result"] == "restored"), "{done}");
    assert_eq!(keeper.tmux.sessions(), ["agents", "web"]);
    keeper.saved("the restored state", |snapshot| snapshot["reason"] == "restored");
    for line in [&["restore"][..], &["restore", "-n"]] {
        ctl(&keeper, line, 0, &["skipped web", "nothing to do: sessions of all these names are there"]);
    }
}

#[test]
fn global_options_that_differ_are_told_and_not_changed() {
    let mut keeper = Keeper::prepare_quick();
    keeper.start_watching();
    keeper.tmux.run(&["set-option", "-g", "history-limit", "50000"]);
    keeper.tmux.run(&["set-option", "-g", "@note", "a\u{1b}[31m b"]);
    keeper.tmux.run(&["new-session", "-d", "-s", "web"]);
    keeper.saved("the options", |snapshot| {
        session_names(snapshot) == ["web"]
            && snapshot["server"]["globals"]["session"]["history-limit"] == "50000"
    });
    keeper.tmux.kill_server_hard();
    until("the session to be back", || keeper.state() == "watching" && keeper.tmux.sessions() == ["web"]);
    // What came back unasked is in the log, by name only.
    let told = "global options are not as they were generation=";
    until("a line in the log", || {
        let log = keeper.log();
        log.lines()
            .any(|line| line.contains(told) && line.contains("\"history-limit\"") && !line.contains("50000"))
    });
    keeper.tmux.run(&["new-session", "-d", "-s", "other"]);
    keeper.tmux.run(&["kill-session", "-t", "web"]);
    let list = keeper.generations();
    let old = list.iter().find(|one| {
        let shown = keeper.ctl_json(&["snapshot", "show", &one["generation"].to_string()]);
        session_names(&shown["snapshot"]) == ["web"]
            && shown["snapshot"]["server"]["globals"]["session"]["history-limit"] == "50000"
    });
    let number = old.unwrap()["generation"].to_string();
    let value = "history-limit was 50000, is 2000";
    let would = "2 global options are not as they were and would not be changed: @note was a";
    ctl(&keeper, &["restore", &number, "-n"], 0, &[would, value]);
    let did = "2 global options are not as they were and were not changed: @note was a";
    ctl(&keeper, &["restore", &number], 0, &["restored web", did, value]);
    assert_eq!(keeper.tmux.run(&["show-options", "-g", "-v", "history-limit"]), "2000");
    ctl(&keeper, &["snapshot", "diff", &number, "now"], 0, &["option history-limit 50000 → 2000"]);
    keeper.tmux.run(&["set-option", "-g", "-u", "@note"]);
    let document = json(&ctl(&keeper, &["restore", &number, "--json"], 0, &[]));
    let limit = document["globals"].as_array().unwrap().iter().find(|one| one["option"] == "history-limit");
    let limit = limit.unwrap();
    assert_eq!(
        (&limit["scope"], &limit["was"], &limit["is"]),
        (&"session".into(), &"50000".into(), &"2000".into())
    );
}

#[test]
fn what_was_closed_is_found_by_its_name_in_an_older_snapshot() {
    let keeper = Keeper::start();
    keeper.tmux.run(&["new-session", "-d", "-s", "stays"]);
    keeper.tmux.run(&["new-session", "-d", "-s", "closed"]);
    keeper.saved("both", |snapshot| session_names(snapshot) == ["stays", "closed"]);
    keeper.tmux.run(&["kill-session", "-t", "closed"]);
    keeper.saved("one", |snapshot| session_names(snapshot) == ["stays"]);
    ctl(&keeper, &["restore"], 0, &["nothing to do"]);
    ctl(&keeper, &["restore", "-s", "never"], 1, &["no snapshot holds a session \"never\"", "snapshot list"]);
    ctl(&keeper, &["restore", "-s", "closed"], 0, &["restored closed"]);
    assert_eq!(keeper.tmux.sessions(), ["closed", "stays"]);
}

#[test]
fn the_status_of_a_server_that_nobody_keeps_says_so() {
    let keeper = Keeper::start();
    keeper.tmux.run(&["new-session", "-d", "-s", "kept"]);
    let other = PrivateTmux::at(keeper.tmux.socket.with_file_name("other"));
    other.start(&["-s", "mine"]);
    let socket = other.socket.display().to_string();
    let watched = format!("the keeper watches {}", keeper.tmux.socket.display());
    ctl(&keeper, &["-S", &socket, "status"], 3, &["mine", &watched, "this server is not kept"]);
}

#[test]
fn a_drill_proves_the_sample_and_finds_a_tmux_that_forgets_layouts() {
    let keeper = Keeper::prepare();
    ctl(&keeper, &["drill"], 0, &["built-in sample", "100 %"]);
    let real = Command::new("sh")
        .args(["-c", &format!("command -v {}", tmux_program().display())])
        .output()
        .unwrap();
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' select-layout '*) exit 0;; esac\nexec {} \"$@\"\n",
        text(&real.stdout).trim()
    );
    write_program(&keeper.path("forgetful"), &script);
    keeper.configure(&format!("[tmux]\nprogram = {:?}\n", keeper.path("forgetful")));
    let said = ctl(&keeper, &["drill"], 3, &["sample:3 layout: "]);
    assert!(!said.out.contains("100 %"), "{}", said.out);
    let document = json(&ctl(&keeper, &["drill", "--json"], 3, &[]));
    assert_eq!(document["differences"][0]["field"], "layout");
}

#[test]
fn without_the_daemon_all_works_that_does_not_need_it() {
    let keeper = Keeper::with_saved(&["web"]);
    let lines: [(&[&str], i32, &[&str]); 8] = [
        (&["status"], 3, &["not running: nothing is saved", "keeperctl setup"]),
        (&["doctor"], 3, &["the keeper runs: not running"]),
        (&["snapshot", "list"], 0, &["web"]),
        (&["snapshot", "show"], 0, &["web"]),
        (&["restore", "--dry-run"], 0, &["restore web"]),
        (&["drill"], 0, &["100 %"]),
        (&["snapshot", "take"], 4, &["agent-keeper is not running", "keeperctl setup"]),
        (&["restore"], 4, &["agent-keeper is not running", "keeperctl setup"]),
    ];
    for (line, code, words) in lines {
        ctl(&keeper, line, code, words);
    }
    assert_eq!(keeper.tmux.server_pid(), None);
}

// ── what is printed ──

#[test]
fn what_is_printed_is_json_for_programs_and_plain_narrow_text_for_people() {
    let mut keeper = Keeper::prepare_quick();
    keeper.start_watching();
    let long =
        "a session with a name that is longer than anybody would ever want to type twice in a day of work";
    let place = keeper.path("home/a directory/with a rather long name/and others below it/and more");
    fs::create_dir_all(&place).unwrap();
    keeper.tmux.run(&["new-session", "-d", "-s", long, "-n", &long[..40], "-c", place.to_str().unwrap()]);
    keeper.tmux.run(&[
        "new-window",
        "-t",
        &format!("={long}:"),
        "sleep 1111; : a long command line that goes on and on and on and on and on",
    ]);
    keeper.saved("two windows", |snapshot| {
        snapshot["server"]["sessions"][0]["windows"].as_array().unwrap().len() == 2
    });
    let lines: [&[&str]; 12] = [
        &["drill"],
        &["drill", "--sample"],
        &["status"],
        &["doctor"],
        &["doctor", "--list"],
        &["snapshot", "list"],
        &["snapshot", "show"],
        &["snapshot", "take"],
        &["restore"],
        &["restore", "--dry-run"],
        &["setup", "--dry-run"],
        &["uninstall", "--dry-run"],
    ];
    for line in lines {
        if line[0] == "setup" && Path::new("/run/systemd/system").exists() {
            continue; // It wants the user manager of this machine, which a test leaves alone.
        }
        let said = ctl(&keeper, line, 0, &[]);
        for printed in said.out.lines().filter(|printed| printed.trim().contains(' ')) {
            assert!(printed.width() <= 80, "{line:?} prints {} columns: {printed:?}", printed.width());
        }
        let said = ctl(&keeper, &[line, &["--json"]].concat(), 0, &[]);
        assert!(json(&said)["schema"].as_str().unwrap().starts_with("keeperctl."), "{line:?}");
        assert!(!said.err.contains('{'), "{line:?}: {}", said.err);
    }
    let said = ctl(&keeper, &["snapshot", "show", "999", "--json"], 1, &["there is no snapshot 999"]);
    assert_eq!(said.out, "");
}

#[test]
fn colours_are_for_terminals_of_people_who_want_them() {
    let keeper = Keeper::prepare();
    keeper.tmux.start(&["-s", "x", "-x", "80", "sh"]);
    let mut run = 0;
    let mut shown = |plain: &str| {
        run += 1;
        let status = keeper.ctl_command(&["status"]);
        let variables = status.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let mut words: Vec<String> = vec!["env".into(), "TERM=screen-256color".into(), plain.into()];
        words.extend(variables.map(|(name, value)| format!("{}={}", name.display(), value.display())));
        words.extend([status.get_program().to_string_lossy().into_owned(), "status".into()]);
        let script = keeper.path(&format!("run{run}"));
        let line = shlex::try_join(words.iter().map(String::as_str)).unwrap();
        write_program(&script, &format!("#!/bin/sh\nclear\n{line}\necho done-$?\nexec sleep 1000\n"));
        keeper.tmux.run(&["respawn-pane", "-k", "-t", "x", script.to_str().unwrap()]);
        until("the end", || keeper.tmux.text_of("x").contains("done-3"));
        keeper.tmux.run(&["capture-pane", "-p", "-e", "-t", "x"])
    };
    let coloured = shown("A=b");
    assert!(coloured.contains("\x1b[1m\x1b[31mnot running"), "{coloured:?}");
    let plain = shown("NO_COLOR=1");
    assert!(plain.contains("not running") && !plain.contains('\x1b'), "{plain:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let keeper = Keeper::with_saved(&["web"]);
    for line in [
        &["snapshot", "list"][..],
        &["snapshot", "show", "--json"],
        &["completions", "bash"],
        &["doctor", "--list"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = keeper.ctl_command(line).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{line:?}");
    }
}

// ── usage ──

#[test]
fn usage_errors_say_what_was_expected() {
    let keeper = Keeper::prepare();
    let cases: [(&[&str], &[&str]); 8] = [
        (&[], &["Usage: keeperctl"]),
        (&["statsu"], &["'statsu'", "status"]),
        (&["snapshot"], &["Usage: keeperctl snapshot"]),
        (&["snapshot", "show", "newest"], &["'newest'", "\"latest\", \"previous\", a number", "2 hours ago"]),
        (&["restore", "--sessions", "x"], &["--sessions", "--session"]),
        (&["-L", "a", "-S", "/b", "status"], &["cannot be used with"]),
        (&["completions", "cshell"], &["bash", "fish", "zsh"]),
        (&["doctor", "--dry-run"], &["--fix"]),
    ];
    for (line, words) in cases {
        let said = ctl(&keeper, line, 2, words);
        assert_eq!(said.out, "", "{line:?}");
    }
    let mut daemon = keeper.daemon_command();
    daemon.arg("--nonsense");
    expect(daemon, 2, &["--nonsense"]);
}

/// Every command with all commands above it.
fn every_command(above: &[String], command: &clap::Command, found: &mut Vec<Vec<String>>) {
    found.push(above.to_vec());
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        every_command(&[above, &[sub.get_name().to_owned()]].concat(), sub, found);
    }
}

#[test]
fn every_command_says_what_it_does() {
    let keeper = Keeper::prepare();
    let mut commands = Vec::new();
    every_command(&[], &agent_keeper::cli::Arguments::command(), &mut commands);
    assert!(commands.len() >= 11, "{commands:?}");
    for command in commands {
        let line: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let said = ctl(&keeper, &line, 0, &["Usage: keeperctl", "--json"]);
        let first = said.out.lines().next().unwrap();
        let sentence = first.contains(' ') && first.starts_with(char::is_uppercase);
        assert!(sentence && !first.starts_with("Usage"), "{line:?} begins with {first:?}");
    }
}

#[test]
fn completions_are_scripts_that_their_shells_read() {
    let keeper = Keeper::prepare();
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let said = ctl(&keeper, &["completions", shell], 0, &["keeperctl", "snapshot", "restore"]);
        let script = keeper.path(shell);
        fs::write(&script, said.out).unwrap();
        if has_program(shell) {
            let mut command = Command::new(shell);
            command.arg(check).arg(script);
            expect(command, 0, &[]);
        }
    }
}

// ── setup ──

#[test]
fn a_dry_run_of_setup_and_uninstall_writes_nothing() {
    let mut keeper = Keeper::prepare();
    let dir = keeper.dir.path().to_owned();
    let before = files(&dir);
    if Path::new("/run/systemd/system").exists() {
        ctl(&keeper, &["setup", "-n"], 1, &["your systemd user manager cannot be reached", "ssh"]);
    } else {
        ctl(&keeper, &["setup", "-n"], 0, &["would start agent-keeper in the background", "no systemd here"]);
    }
    ctl(&keeper, &["uninstall", "-n"], 0, &["nothing to undo", "your tmux server goes on"]);
    assert_eq!(files(&dir), before);

    keeper.start_watching();
    let pid = keeper.daemon_pid();
    fs::create_dir_all(dir.join("config/agent-keeper")).unwrap();
    let before: Vec<_> = files(&dir).into_keys().collect();
    if !Path::new("/run/systemd/system").exists() {
        ctl(&keeper, &["setup"], 0, &[&format!("agent-keeper runs already (pid {pid})")]);
    }
    let purge = ["would end agent-keeper", "would remove", "state/agent-keeper", "config/agent-keeper"];
    ctl(&keeper, &["uninstall", "-n", "--purge"], 0, &purge);
    assert_eq!(files(&dir).into_keys().collect::<Vec<_>>(), before);
    assert_eq!(keeper.state(), "watching");
}
