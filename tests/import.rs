//! Files of other tools become snapshots that can be restored: files that the real tools have written (tmux-resurrect
//! of 2023, tmuxp 1.76, tmux-backup 0.6, on tmux 3.3a), and by their documentation those of tmuxinator and zellij.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use agent_keeper::tmux::arrange::{MainSizes, named};
use agent_keeper::tmux::layout::Layout;
use serde_json::Value;

mod support;
use support::{Keeper, PrivateTmux, session_names, short_dir, text, until};

fn file(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/import")).join(name)
}

#[track_caller]
fn import(keeper: &Keeper, tool: &str, files: &[&Path]) -> (Option<i32>, Value) {
    let mut arguments = vec!["import", tool, "--json"];
    arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
    let output = keeper.ctl(&arguments);
    let document = serde_json::from_slice(&output.stdout);
    let document: Value = document.unwrap_or_else(|_| panic!("{arguments:?}: {}", text(&output.stderr)));
    (output.status.code(), document)
}

/// Imports files and restores them on a throw-away server, where nothing may differ. Returns what is saved.
#[track_caller]
fn proven(keeper: &Keeper, tool: &str, files: &[&Path]) -> Value {
    let (_, document) = import(keeper, tool, files);
    let generation = document["generation"].to_string();
    let drill = keeper.ctl(&["drill", &generation]);
    assert!(drill.status.success(), "{}{}", text(&drill.stdout), text(&drill.stderr));
    assert!(text(&drill.stdout).contains("100 %"), "{}", text(&drill.stdout));
    let shown = keeper.ctl_json(&["snapshot", "show", &generation]);
    assert_eq!(shown["snapshot"]["aside"], "imported");
    shown["snapshot"].clone()
}

fn windows(snapshot: &Value, session: usize) -> Vec<Value> {
    snapshot["server"]["sessions"][session]["windows"].as_array().unwrap().clone()
}

#[test]
fn what_tmux_resurrect_saved_comes_back_with_its_text() {
    let keeper = Keeper::prepare();
    let snapshot = proven(&keeper, "resurrect", &[&file("tmux_resurrect.txt")]);
    assert_eq!(session_names(&snapshot), ["dev", "other", "mate"]);
    let sessions = &snapshot["server"]["sessions"];
    assert_eq!((&sessions[0]["group"], &sessions[2]["group"]), (&"dev".into(), &"dev".into()));
    let windows = windows(&snapshot, 0);
    assert_eq!(
        (&windows[1]["index"], &windows[1]["zoomed"], &windows[0]["name"]),
        (&4.into(), &true.into(), &"ed it".into())
    );
    assert_eq!(windows[0]["panes"][0]["title"], "a title");
    assert_eq!(
        windows[0]["panes"][1]["program"]["job"][0]["argv"],
        serde_json::json!(["tail", "-f", "/dev/null"])
    );
    assert!(windows[0]["panes"][0]["scrollback"]["lines"].as_u64().unwrap() >= 8, "{windows:?}");
}

#[test]
fn a_directory_of_tmux_resurrect_means_its_last_save() {
    let keeper = Keeper::prepare();
    let dir = keeper.path("resurrect");
    fs::create_dir(&dir).unwrap();
    for name in ["tmux_resurrect_20260101T000000.txt", "tmux_resurrect_20260102T000000.txt"] {
        fs::copy(file("tmux_resurrect.txt"), dir.join(name)).unwrap();
    }
    fs::copy(file("pane_contents.tar.gz"), dir.join("pane_contents.tar.gz")).unwrap();
    std::os::unix::fs::symlink("tmux_resurrect_20260102T000000.txt", dir.join("last")).unwrap();
    let lines = |path: &Path| {
        let (code, document) = import(&keeper, "resurrect", &[path]);
        let shown = keeper.ctl_json(&["snapshot", "show", &document["generation"].to_string()]);
        (code, windows(&shown["snapshot"], 0)[0]["panes"][0]["scrollback"]["lines"].as_u64().unwrap())
    };
    for last in [&dir, &dir.join("last"), &dir.join("tmux_resurrect_20260102T000000.txt")] {
        let (code, lines) = lines(last);
        assert!(code == Some(0) && lines >= 8, "{last:?}: {code:?}, {lines}");
    }
    // The archive has the text of the last save only.
    assert_eq!(lines(&dir.join("tmux_resurrect_20260101T000000.txt")), (Some(3), 0));
    // Nor of any other, if that one is gone.
    fs::remove_file(dir.join("tmux_resurrect_20260102T000000.txt")).unwrap();
    assert_eq!(lines(&dir.join("tmux_resurrect_20260101T000000.txt")), (Some(3), 0));
}

#[test]
fn what_tmuxp_froze_comes_back() {
    let keeper = Keeper::prepare();
    for name in ["tmuxp.yaml", "tmuxp.json"] {
        let snapshot = proven(&keeper, "tmuxp", &[&file(name)]);
        let windows = windows(&snapshot, 0);
        let directories: Vec<&Value> =
            windows[0]["panes"].as_array().unwrap().iter().map(|pane| &pane["directory"]).collect();
        assert_eq!(directories, ["/usr", "/etc", "/var"], "{name}");
        assert_eq!(
            windows[0]["panes"][0]["program"]["job"],
            serde_json::json!([]),
            "a shell, not a shell in a shell"
        );
    }
}

#[test]
fn what_tmux_backup_saved_comes_back_with_its_text() {
    let keeper = Keeper::prepare();
    let snapshot = proven(&keeper, "tmux-backup", &[&file("backup.tar.zst")]);
    assert_eq!(session_names(&snapshot), ["dev", "mate", "other"]);
    let (dev, mate) = (windows(&snapshot, 0), windows(&snapshot, 1));
    assert_eq!((&dev[0]["id"], &dev[1]["index"]), (&mate[0]["id"], &4.into()));
    assert!(dev[0]["panes"][0]["scrollback"]["lines"].as_u64().unwrap() >= 8);
}

#[test]
fn a_project_and_a_layout_come_back_in_one_snapshot_each() {
    let keeper = Keeper::prepare();
    let project = proven(&keeper, "tmuxinator", &[&file("tmuxinator.yml")]);
    let first = windows(&project, 0);
    assert_eq!(first[0]["panes"][0]["program"]["job"][0]["argv"][1], "-c");
    assert_eq!(first[2]["name"], "#(touch started)");
    let dir = keeper.path("my session");
    fs::create_dir(&dir).unwrap();
    fs::copy(file("zellij-session-layout.kdl"), dir.join("session-layout.kdl")).unwrap();
    let layout = proven(&keeper, "zellij", &[&dir.join("session-layout.kdl")]);
    assert_eq!(session_names(&layout), ["my session"]);
    let words = serde_json::json!(["tail", "-f", "/dev/null", "two words"]);
    assert_eq!(windows(&layout, 0)[0]["panes"][1]["program"]["process"]["argv"], words);
    assert!(!keeper.path("home/started").exists() && !Path::new("/usr/started").exists());
}

#[test]
fn several_files_make_one_snapshot_and_two_sessions_of_one_name_none() {
    let keeper = Keeper::prepare();
    let other = keeper.path("other.yaml");
    fs::write(&other, "session_name: more\nwindows: [{panes: [cat]}]\n").unwrap();
    let (_, document) = import(&keeper, "tmuxp", &[&file("tmuxp.yaml"), &other]);
    assert_eq!(document["sessions"], serde_json::json!(["dev", "more"]));
    let twice = keeper.ctl(&[
        "import",
        "tmuxp",
        file("tmuxp.yaml").to_str().unwrap(),
        file("tmuxp.json").to_str().unwrap(),
    ]);
    assert_refused(&keeper, &twice, "two sessions are called \"dev\"", 1);
}

#[track_caller]
fn assert_refused(keeper: &Keeper, output: &Output, expected: &str, generations: usize) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(expected) && error.contains("nothing was imported"), "{error}");
    assert_eq!(keeper.generations().len(), generations, "half of it was imported");
}

#[test]
fn a_broken_file_is_named_with_its_line_and_nothing_is_imported() {
    let keeper = Keeper::prepare();
    let cases = [
        ("resurrect", "pane\ts\tx\t1\t:*\t0\tt\t:/\t1\tbash\t:\n", "broken: line 1: the index of a window"),
        ("tmuxp", "session_name: x\nwindows: y\n", "broken: line 2: "),
        ("tmuxinator", "name: <%= `touch x` %>\n", "broken: line 1: a template"),
        ("zellij", "layout {\n  mine\n}\n", "broken: line 2: the template"),
        ("tmux-backup", "nothing\n", "broken: not a whole archive"),
    ];
    let broken = keeper.path("broken");
    for (tool, content, expected) in cases {
        fs::write(&broken, content).unwrap();
        let output =
            keeper.ctl(&["import", tool, file("tmuxp.yaml").to_str().unwrap(), broken.to_str().unwrap()]);
        let alone = keeper.ctl(&["import", tool, broken.to_str().unwrap()]);
        assert_refused(&keeper, &alone, expected, 0);
        assert_eq!(output.status.code(), Some(1));
    }
    let missing = keeper.ctl(&["import", "tmuxp", "/nonexistent/x.yaml"]);
    assert_refused(&keeper, &missing, "cannot read /nonexistent/x.yaml", 0);
}

#[test]
fn a_dry_run_shows_it_and_saves_nothing() {
    let keeper = Keeper::prepare();
    let output =
        keeper.ctl(&["import", "resurrect", "--dry-run", file("tmux_resurrect.txt").to_str().unwrap()]);
    let shown = text(&output.stdout);
    assert!(shown.contains("would import 3 sessions") && shown.contains("tail -f /dev/null"), "{shown}");
    assert!(keeper.generations().is_empty());
}

#[test]
fn the_keeper_takes_an_import_and_does_not_restore_it_by_itself() {
    let mut keeper = Keeper::prepare_quick();
    keeper.start_watching();
    keeper.tmux.run(&["new-session", "-d", "-s", "mine"]);
    keeper.saved_sessions(&["mine"]);
    let (_, document) = import(&keeper, "tmuxp", &[&file("tmuxp.yaml")]);
    let generation = document["generation"].as_u64().unwrap();
    keeper.tmux.kill_server_hard();
    // The first snapshot behind the restore of what was lost: then it is over.
    keeper.saved("after the restore", |snapshot| snapshot["reason"] == "restored");
    assert_eq!(keeper.tmux.sessions(), ["mine"]);
    let restored = keeper.ctl(&["restore", &generation.to_string()]);
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    assert!(keeper.tmux.sessions().contains(&"dev".to_owned()));
}

/// What a file says is nobody's command: nothing of it runs, neither at the import nor at the restore nor when the
/// user's own status line shows it.
#[test]
fn nothing_in_a_file_is_run() {
    let mut keeper = Keeper::prepare_quick();
    keeper.start_watching();
    let (canary, drawn) = (keeper.path("canary"), keeper.path("drawn"));
    let touch = format!("touch {}", canary.display());
    // `#{a:35}` makes the # that nobody wrote.
    let hidden = format!("#{{E:#{{a:35}}({touch})}}");
    let hostile = keeper.path("hostile.yaml");
    let content = format!(
        "session_name: 'x #({touch})'\nbefore_script: {touch}\nstart_directory: '/#({touch})'\n\
         options:\n  default-command: {touch}\n  status-left: '#({touch})'\n  '@theme_session': '{hidden}'\n\
         environment: {{X: '#({touch})'}}\n\
         windows:\n- window_name: '#({touch})'\n  options: {{'@theme_session': '{hidden}'}}\n\
         \x20 window_shell: {touch}\n  panes:\n  - $({touch})\n  - {touch}\n"
    );
    fs::write(&hostile, content).unwrap();
    let (code, document) = import(&keeper, "tmuxp", &[&hostile]);
    assert_eq!(code, Some(3), "{document}");
    let notes = document["notes"].to_string();
    for left_out in ["before_script", "default-command", "status-left", "@theme_session", "\\\"X\\\""] {
        assert!(notes.contains(left_out), "{left_out}: {notes}");
    }
    let restored = keeper.ctl(&["restore", &document["generation"].to_string()]);
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    let panes = keeper.tmux.panes("#{pane_id}");
    assert_eq!(panes.len(), 2);
    for pane in &panes {
        until("a pane that waits", || keeper.tmux.text_of(pane).contains("Press Enter to run"));
    }
    // A command in a status line is started when the line is drawn; the last one of this line ends last.
    let left = format!("#{{E:@theme_session}}#(sleep 1; touch {})", drawn.display());
    keeper.tmux.run(&["set-option", "-g", "status-left", &left]);
    let _outer = attached(&keeper, &panes[0]);
    until("the status line", || drawn.exists());
    assert!(!canary.exists(), "what a file says was run");
    // And that would have been it.
    keeper.tmux.run(&["set-option", "-t", &panes[0], "@theme_session", &hidden]);
    keeper.tmux.run(&[
        "refresh-client",
        "-S",
        "-t",
        &keeper.tmux.run(&["list-clients", "-F", "#{client_name}"]),
    ]);
    until("the trap to work", || canary.exists());
}

/// Attaches a client to the session of a pane, in a terminal that another server has.
fn attached(keeper: &Keeper, pane: &str) -> PrivateTmux {
    let outer = PrivateTmux::at(keeper.path("outer"));
    // The client must be of the server's version, and the daemon's tmux is that of the login.
    let server = keeper.tmux.server_pid().unwrap();
    let program = fs::read_link(format!("/proc/{server}/exe")).unwrap();
    let socket = keeper.tmux.socket.to_str().unwrap();
    let attach = [program.to_str().unwrap(), "-u", "-S", socket, "attach-session", "-t", pane];
    outer.start(&[&["-x", "200", "-y", "50", "env", "-u", "TMUX"], &attach[..]].concat());
    outer
}

/// A session as zellij saves it, with a text beside it.
fn zellij_session(keeper: &Keeper, name: &str, text: &str) -> PathBuf {
    let dir = keeper.path(name);
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("initial_contents_1"), text).unwrap();
    let layout = dir.join("session-layout.kdl");
    fs::write(&layout, "layout {\n  pane contents_file=\"initial_contents_1\"\n}\n").unwrap();
    layout
}

#[test]
fn texts_of_files_are_covered_and_left_out_like_those_of_panes() {
    let keeper = Keeper::prepare();
    keeper.configure("[session.\"secret*\"]\nscrollback = false\n");
    let token = format!("ghp_{}", "a1B2".repeat(9));
    let files = [("open", format!("in the open {token}\n")), ("secret one", "in secret\n".to_owned())]
        .map(|(name, text)| zellij_session(&keeper, name, &text));
    import(&keeper, "zellij", &[&files[0], &files[1]]);
    let kept = objects(&keeper.store_dir().join("objects"));
    assert!(kept.contains("in the open "), "{kept}");
    assert!(!kept.contains(&token) && !kept.contains("in secret"), "{kept}");
}

/// Returns everything that stands in the objects of a store.
fn objects(dir: &Path) -> String {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| match path.is_dir() {
        true => objects(&path),
        false => text(&zstd::decode_all(fs::File::open(path).unwrap()).unwrap()),
    };
    entries.map(read).collect()
}

#[test]
fn what_comes_by_a_pipe_has_nothing_beside_it() {
    let keeper = Keeper::prepare();
    let layout = zellij_session(&keeper, "elsewhere", "text\n");
    fs::copy(file("pane_contents.tar.gz"), keeper.path("elsewhere/pane_contents.tar.gz")).unwrap();
    for (tool, file) in [("zellij", layout), ("resurrect", file("tmux_resurrect.txt"))] {
        let mut command = keeper.ctl_command(&["import", tool, "--json", "-"]);
        let piped = command.current_dir(keeper.path("elsewhere")).stdin(fs::File::open(file).unwrap());
        let output = piped.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{tool}: {}", text(&output.stderr));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let shown = keeper.ctl_json(&["snapshot", "show", &document["generation"].to_string()]);
        let pane = &windows(&shown["snapshot"], 0)[0]["panes"][0];
        assert_eq!(pane["scrollback"]["lines"].as_u64().unwrap_or_default(), 0, "{tool}");
    }
}

/// tmux itself is asked how it would arrange so many panes.
#[test]
fn named_layouts_are_those_of_tmux() {
    let dir = short_dir();
    let tmux = PrivateTmux::at(dir.path().join("s"));
    tmux.start(&["-x", "300", "-y", "200", "tail", "-f", "/dev/null"]);
    let version = tmux.run(&["display-message", "-p", "#{version}"]);
    let mut names = vec!["even-horizontal", "even-vertical", "main-horizontal", "main-vertical", "tiled"];
    // Newer ones divide what is left over in another way; sizes then differ by a cell.
    let exact = ["3.2", "3.3", "3.4", "3.5"].iter().any(|known| version.starts_with(known));
    if !exact {
        names.clear();
        support::skip("the sizes of named layouts", "this tmux divides them in another way");
    }
    for panes in 1..10 {
        for size in [(80, 24), (200, 50), (41, 13)] {
            let (width, height) = (size.0.to_string(), size.1.to_string());
            for name in &names {
                tmux.run(&["resize-window", "-x", &width, "-y", &height]);
                tmux.run(&["select-layout", name]);
                let theirs =
                    Layout::parse(&tmux.run(&["display-message", "-p", "#{window_layout}"])).unwrap();
                let ours = named(name.parse().unwrap(), panes, size, MainSizes::default());
                assert_eq!(ours.render(), theirs.normalised(&[]).render(), "{name} of {panes} in {size:?}");
            }
        }
        tmux.run(&["resize-window", "-x", "300", "-y", "200"]);
        tmux.run(&["select-layout", "tiled"]);
        tmux.run(&["split-window", "tail", "-f", "/dev/null"]);
    }
}
