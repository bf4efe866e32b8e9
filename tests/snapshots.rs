//! Keeping, removing, checking and carrying snapshots, with and without the daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agent_keeper::model::Snapshot;
use agent_keeper::store::Writer;
use serde_json::Value;
use support::{Keeper, has_program, skip, text, until};

/// A session with one pane, as it is saved.
const SNAPSHOT: &str = r#"{"taken_at":"2026-11-21T14:05:00Z","reason":"changed","host":"far-away","boot":"b",
"keeper_version":"0.1.0","server":{"id":{"boot":"b","pid":7,"start_ticks":9},"version":"3.5a",
"socket":"/tmp/tmux-1000/default","sessions":[{"id":"$0","name":"NAME","created":1700000000,"directory":"/",
"group":null,"windows":[{"id":"@0","index":0,"name":"one","automatic_rename":false,"width":80,"height":24,
"layout":"b25d,80x24,0,0,0","zoomed":false,"panes":[{"id":"%0","index":0,"title":"t","directory":"/",
"program":{"kind":"shell","shell":{"exe":"/bin/sh","argv":["sh"],"directory":"/"},"job":[]},
"scrollback":{"lines":0,"chunks":[]}}],"active_pane":0,"last_pane":null}],"active_window":0,
"last_window":null}]}}"#;

/// Saves a session of each name in a keeper's store, each with a text of its own, and returns the file of the
/// last text.
fn save(keeper: &Keeper, names: &[&str]) -> PathBuf {
    let writer = Writer::open(keeper.store_dir()).unwrap();
    let mut last = PathBuf::new();
    for name in names {
        let mut snapshot: Snapshot = serde_json::from_str(&SNAPSHOT.replace("NAME", name)).unwrap();
        for pane in snapshot.server.panes_mut() {
            pane.scrollback = writer.put_text(format!("the text of {name}\n").as_bytes()).unwrap();
            let id = pane.scrollback.chunks[0].to_string();
            last = keeper.store_dir().join("objects").join(&id[..2]).join(format!("{}.zst", &id[2..]));
        }
        writer.save(&snapshot).unwrap();
    }
    last
}

/// Runs keeperctl, which must end with this status and say all these words; returns its standard output.
#[track_caller]
fn ctl(keeper: &Keeper, line: &[&str], code: i32, words: &[&str]) -> String {
    said(keeper.ctl_command(line), code, words)
}

#[track_caller]
fn said(mut command: Command, code: i32, words: &[&str]) -> String {
    let output = command.output().unwrap();
    let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{command:?} said:\n{all}");
    let flat = all.split_whitespace().collect::<Vec<_>>().join(" ");
    let missing: Vec<_> = words.iter().filter(|word| !flat.contains(**word)).collect();
    assert!(missing.is_empty(), "{command:?} did not say {missing:?}, but:\n{all}");
    text(&output.stdout)
}

#[track_caller]
fn json(keeper: &Keeper, line: &[&str], code: i32) -> Value {
    serde_json::from_str(&ctl(keeper, &[line, &["--json"]].concat(), code, &[])).unwrap()
}

/// Returns the numbers of all snapshots.
fn numbers(keeper: &Keeper) -> Vec<u64> {
    let list = json(keeper, &["snapshot", "list"], 0);
    list["snapshots"].as_array().unwrap().iter().map(|row| row["generation"].as_u64().unwrap()).collect()
}

fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Everything that a store without a daemon and one with a daemon have in common.
fn assert_pinned_and_removed(keeper: &Keeper) {
    ctl(keeper, &["snapshot", "pin", "1", "--note", "before the upgrade"], 0, &["snapshot 1: pinned"]);
    let list = json(keeper, &["snapshot", "list"], 0);
    assert_eq!(list["snapshots"][0]["kept"][0], "pinned");
    assert_eq!(list["snapshots"][0]["note"], "before the upgrade");
    ctl(keeper, &["snapshot", "list"], 0, &["kept", "pinned"]);
    ctl(keeper, &["snapshot", "show", "1"], 0, &["kept: pinned", "before the upgrade"]);
    assert_eq!(json(keeper, &["snapshot", "show", "1"], 0)["note"], "before the upgrade");

    ctl(keeper, &["snapshot", "rm", "1"], 1, &["snapshot 1 is pinned", "keeperctl snapshot unpin 1"]);
    let newest = ["a restore would start from it", "keeperctl snapshot take"];
    ctl(keeper, &["snapshot", "rm", "2", "latest"], 1, &newest);
    ctl(keeper, &["snapshot", "rm", "2", "77"], 1, &["there is no snapshot 77"]);
    let time = ["names no snapshot to remove", "keeperctl snapshot show"];
    ctl(keeper, &["snapshot", "rm", "2", "0 seconds ago"], 2, &time);
    ctl(keeper, &["snapshot", "rm", "-n", "2"], 0, &["would remove snapshot 2 (two)"]);
    assert!(numbers(keeper).starts_with(&[1, 2, 3]));
    ctl(keeper, &["snapshot", "rm", "2"], 0, &["removed snapshot 2 (two)"]);
    ctl(keeper, &["snapshot", "unpin", "1"], 0, &["snapshot 1: unpinned"]);
    ctl(keeper, &["snapshot", "unpin", "1"], 0, &["snapshot 1 was not pinned"]);
    assert_eq!(json(keeper, &["snapshot", "rm", "1"], 0)["removed"], serde_json::json!([1]));
    assert_eq!(numbers(keeper)[0], 3);
}

#[test]
fn snapshots_are_pinned_and_removed_without_the_daemon() {
    let keeper = Keeper::prepare();
    save(&keeper, &["one", "two", "three"]);
    assert_pinned_and_removed(&keeper);
    assert_eq!(numbers(&keeper), [3]);
    ctl(&keeper, &["snapshot", "pin", "9"], 1, &["there is no snapshot 9", "keeperctl snapshot list"]);
    ctl(&keeper, &["snapshot", "pin", "3", "--note", &"x".repeat(2000)], 2, &["at most 1024 bytes"]);
}

#[test]
fn damage_is_named_with_whom_it_hurts_and_a_restore_says_so() {
    let keeper = Keeper::prepare();
    let damaged = save(&keeper, &["one", "two"]);
    ctl(&keeper, &["snapshot", "verify"], 0, &["2 snapshots and 2 texts read", "nothing is wrong"]);
    fs::write(&damaged, "x").unwrap();
    let words = [str(&damaged), "snapshot 2 lacks text of two:0.0", "1 problem", "keeperctl restore 1"];
    ctl(&keeper, &["snapshot", "verify"], 3, &words);
    let found = json(&keeper, &["snapshot", "verify"], 3);
    assert_eq!(found["problems"][0]["file"], str(&damaged));
    assert_eq!(found["problems"][0]["hurts"][0]["generation"], 2);
    assert_eq!(found["problems"][0]["hurts"][0]["places"][0], "two:0.0");
    assert_eq!(found["newest_whole"], 1);
    ctl(&keeper, &["snapshot", "verify", "1"], 0, &["nothing is wrong"]);
    let words = ["restore two", "the text of these panes is damaged", "two:0.0", "keeperctl snapshot verify"];
    ctl(&keeper, &["restore", "-n"], 3, &words);
    assert_eq!(json(&keeper, &["restore", "-n"], 3)["lost"][0], "two:0.0");
    ctl(&keeper, &["restore", "-n", "1"], 0, &["restore one"]);
    let file = keeper.path("export");
    ctl(&keeper, &["snapshot", "export", "2", str(&file)], 3, &["two:0.0", "keeperctl snapshot verify"]);
    ctl(&keeper, &["snapshot", "import", str(&file)], 3, &["snapshot 3: 1 session", "two:0.0"]);
    fs::write(keeper.store_dir().join("generations/00000001.json.zst"), "x").unwrap();
    let words = ["snapshot 1 cannot be restored", "no snapshot with sessions is whole", "snapshot rm NUMBER"];
    ctl(&keeper, &["snapshot", "verify"], 3, &words);
    ctl(&keeper, &["snapshot", "rm", "1"], 0, &["removed snapshot 1 (damaged: "]);
}

#[test]
fn a_snapshot_goes_to_another_host_in_one_file() {
    let (here, there) = (Keeper::prepare(), Keeper::prepare());
    save(&here, &["one", "two"]);
    let file = here.path("two.agent-keeper");
    ctl(
        &here,
        &["snapshot", "export", "latest", str(&file)],
        0,
        &["snapshot 2: 1 session, 1 window, 1 pane"],
    );
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&file).unwrap();
    ctl(&here, &["snapshot", "export", "1", str(&file)], 1, &["exists", "name a file that is not there yet"]);
    assert_eq!(fs::read(&file).unwrap(), before);

    let words = ["snapshot 1: 1 session", "from far-away", "keeperctl restore 1"];
    ctl(&there, &["snapshot", "import", str(&file)], 0, &words);
    ctl(&there, &["snapshot", "list"], 0, &["imported", "two"]);
    ctl(&there, &["snapshot", "show", "1"], 0, &["no restore starts from it unasked"]);
    ctl(&there, &["restore", "-n"], 0, &["snapshot 1", "restore two"]);
    ctl(&there, &["snapshot", "verify"], 0, &["1 snapshot and 1 text read"]);

    // Through pipes, as in: ssh host keeperctl snapshot export 1 - | keeperctl snapshot import -
    let mut export = here.ctl_command(&["snapshot", "export", "1", "-"]);
    let mut export = export.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut import = there.ctl_command(&["snapshot", "import", "-"]);
    import.stdin(export.stdout.take().unwrap());
    said(import, 0, &["snapshot 2: 1 session"]);
    assert!(export.wait().unwrap().success());
    assert_eq!(json(&there, &["snapshot", "import", str(&file)], 0)["sessions"][0], "two");
    assert_eq!(numbers(&there), [1, 2, 3]);
}

#[test]
fn an_export_is_an_archive_that_tar_unpacks() {
    if !has_program("tar") || !has_program("zstd") {
        return skip("tar --zstd", "no tar or no zstd");
    }
    let keeper = Keeper::prepare();
    save(&keeper, &["one"]);
    let file = keeper.path("export");
    ctl(&keeper, &["snapshot", "export", "1", str(&file)], 0, &[]);
    let dir = keeper.path("unpacked");
    fs::create_dir(&dir).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--zstd", "-xf"]).arg(&file).arg("-C").arg(&dir);
    said(tar, 0, &[]);
    assert_eq!(
        fs::read_to_string(dir.join("agent-keeper-export")).unwrap(),
        "agent-keeper export 1\nobjects 1\n"
    );
    let object = fs::read_dir(dir.join("objects")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_to_string(object).unwrap(), "the text of one\n");
}

#[test]
fn what_is_no_export_is_refused_and_leaves_nothing() {
    let keeper = Keeper::prepare();
    save(&keeper, &["one"]);
    let file = keeper.path("file");
    ctl(&keeper, &["snapshot", "export", "1", str(&file)], 0, &[]);
    let whole = fs::read(&file).unwrap();
    for bytes in [&b""[..], b"hello", &whole[..whole.len() / 2], &whole[..whole.len() - 1]] {
        fs::write(&file, bytes).unwrap();
        ctl(&keeper, &["snapshot", "import", str(&file)], 1, &["not a whole export of agent-keeper"]);
    }
    ctl(&keeper, &["snapshot", "import", "/nonexistent"], 1, &["cannot read /nonexistent"]);
    ctl(&keeper, &["snapshot", "import", str(keeper.dir.path())], 1, &["directory"]);
    assert_eq!(numbers(&keeper), [1]);
}

#[test]
fn with_the_daemon_all_goes_through_it_and_nothing_imported_comes_back_by_itself() {
    let far = Keeper::prepare();
    save(&far, &["foreign"]);
    let file = far.path("foreign");
    ctl(&far, &["snapshot", "export", "1", str(&file)], 0, &[]);

    let mut keeper = Keeper::prepare_quick();
    save(&keeper, &["one", "two", "three"]);
    keeper.start_watching();
    until("the last one to be restored", || keeper.tmux.sessions() == ["three"]);
    keeper.saved("the restored state", |snapshot| snapshot["reason"] == "restored");
    assert_pinned_and_removed(&keeper);
    let mut import = keeper.ctl_command(&["snapshot", "import", "-"]);
    import.stdin(File::open(&file).unwrap());
    let out = said(import, 0, &["from far-away", "keeperctl restore"]);
    let number = out.split([' ', ':']).nth(1).unwrap().to_owned();
    fs::write(far.path("broken"), "hello").unwrap();
    let refused = ["not a whole export of agent-keeper"];
    ctl(&keeper, &["snapshot", "import", str(&far.path("broken"))], 1, &refused);
    ctl(&keeper, &["snapshot", "verify"], 0, &["nothing is wrong"]);

    keeper.tmux.kill_server_hard();
    until("the server to be restored", || keeper.tmux.sessions() == ["three"]);
    until("the keeper to watch again", || keeper.state() == "watching");
    ctl(&keeper, &["restore", &number], 0, &["restored foreign"]);
    let mut sessions = keeper.tmux.sessions();
    sessions.sort();
    assert_eq!(sessions, ["foreign", "three"]);
}
