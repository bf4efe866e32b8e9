//! The library against a real tmux on a private socket: what is set is what is there, what is saved is what
//! comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use std::path::Path;

use agent_keeper::environment::{Login, scrub};
use agent_keeper::model::{Program, Reason, Server, Snapshot, StartMode};
use agent_keeper::proc::Proc;
use agent_keeper::restore::compare::compare;
use agent_keeper::restore::execute::Executor;
use agent_keeper::restore::plan::{Selection, plan};
use agent_keeper::store::Writer;
use agent_keeper::tmux::Tmux;
use agent_keeper::tmux::capture::capture;
use agent_keeper::tmux::command::Command;
use agent_keeper::tmux::found::{DEFAULT_UMASK, Founding};
use agent_keeper::tmux::observe::{Observation, observe};
use proptest::prelude::*;
use support::{PrivateTmux, eventually, short_dir, text, tmux_program, until};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A private server and everything that the library needs to work with it.
struct Lab {
    runtime: Runtime,
    // Before the directory, in which its socket is: fields are dropped in this order.
    raw: PrivateTmux,
    writer: Writer,
    dir: TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = short_dir();
        let raw = PrivateTmux::at(dir.path().join("s"));
        let writer = Writer::open(dir.path().join("state")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, raw, writer, dir }
    }

    fn tmux(&self) -> Tmux {
        let login = Login { variables: scrub(std::env::vars_os()), umask: None, problem: None };
        Tmux::new(login.find_program(&tmux_program()), self.raw.socket.clone(), login.pairs())
    }

    fn observe(&self) -> Observation {
        let store = self.writer.store();
        let start = |id| serde_json::from_slice(&store.object(id).ok()?).ok();
        self.runtime.block_on(observe(&self.tmux(), &Proc::default(), &start)).unwrap()
    }

    fn found(&self) {
        let program = Path::new(env!("CARGO_BIN_EXE_agent-keeper"));
        self.runtime.block_on(async {
            let founding =
                Founding::prepare(program, &self.tmux(), DEFAULT_UMASK, &["-f", "/dev/null"]).unwrap();
            founding.release().await.unwrap();
        });
    }

    /// Saves the server, kills it, founds another and restores; returns what was and what is.
    fn round_trip(&self, mode: StartMode) -> (Server, Server) {
        let settled =
            |seen: &Observation| seen.server.panes().all(|(_, _, pane)| pane.program != Program::Unknown);
        let mut saved = eventually("all panes to run", || Some(self.observe()).filter(settled)).server;
        for pane in saved.panes_mut() {
            let text = self.runtime.block_on(capture(&self.tmux(), pane.id, 1000)).unwrap();
            pane.scrollback = self.writer.put_text(&text).unwrap();
        }
        let snapshot = snapshot(saved.clone());
        self.raw.kill_server_hard();
        self.found();
        let everything = Selection { sessions: Vec::new(), by_hand: true };
        let plan_once = plan(1, &snapshot, Some(&self.observe().server), &everything).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_agent-keeper"));
        let tmux = self.tmux();
        let executor = Executor { tmux: &tmux, store: &self.writer, program, mode };
        let report = self.runtime.block_on(executor.execute(&plan_once));
        assert!(report.complete(), "{report:?}");
        // The panes' processes need a moment to get where they shall be.
        let mut found = self.observe().server;
        for _ in 0..100 {
            if compare(&saved, &found).differences.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            found = self.observe().server;
        }
        let again = plan(1, &snapshot, Some(&found), &everything).unwrap();
        assert!(again.is_empty(), "a second restore would do {:?}", again.steps);
        (saved, found)
    }
}

fn snapshot(server: Server) -> Snapshot {
    Snapshot {
        taken_at: jiff::Timestamp::now(),
        reason: Reason::Changed,
        host: "test".into(),
        boot: Default::default(),
        keeper_version: "0".into(),
        closed: None,
        aside: None,
        server,
    }
}

#[track_caller]
fn assert_same(saved: &Server, found: &Server) {
    let comparison = compare(saved, found);
    assert!(
        comparison.differences.is_empty(),
        "{:#?}\nsaved {saved:#?}\nfound {found:#?}",
        comparison.differences
    );
}

/// Names that tmux, a shell or a terminal would like to do something with.
const HOSTILE: [&str; 30] = [
    "#",
    "##",
    "###",
    "#[fg=red]x",
    "##[",
    "#(touch pwned)",
    "##(touch pwned)",
    "#{pid}",
    "#{E:@x}",
    "#S #W ##S",
    "a#",
    "#,#}",
    "x;",
    "y\\;",
    "a;b;",
    "a b",
    "\"q\"",
    "it's",
    "emoji 😀",
    "日本語",
    "a\\b",
    "a\\tb",
    "$HOME",
    "~",
    "{",
    "-x",
    "%H:%M",
    "=web",
    "@1",
    "$(touch pwned)`touch pwned`",
];

#[test]
fn hostile_names_come_back_literally_and_run_nothing() {
    let lab = Lab::new();
    lab.raw.start(&["-s", "first", "sleep 1000"]);
    for name in HOSTILE {
        // However tmux stores the name it is given, that is the name that must come back.
        let literal = String::from_utf8(agent_keeper::tmux::escape::format_literal(name.as_bytes())).unwrap();
        let literal =
            if literal.ends_with(';') { format!("{}\\;", &literal[..literal.len() - 1]) } else { literal };
        let sleep = ["sleep", "1000"];
        lab.raw.run(&[&["new-session", "-d", "-s", &literal, "-n", &literal], &sleep[..]].concat());
        lab.raw.run(&["new-window", "-d", "-t", "first:", "-n", &literal, "sleep", "1000"]);
        lab.raw.run(&["rename-window", "-t", "first:$", "--", &literal]);
        lab.raw.run(&["select-pane", "-t", "first:$", "-T", &literal]);
    }
    let (saved, found) = lab.round_trip(StartMode::Hold);
    assert_eq!(saved.sessions.len(), HOSTILE.len() + 1);
    assert_same(&saved, &found);
    let titles: Vec<&str> =
        found.sessions[0].windows.iter().skip(1).map(|window| window.panes[0].title.as_str()).collect();
    // From 3.7 on tmux stores titles encoded; up to 3.6 they are what was given.
    if titles.contains(&"a\\b") {
        assert_eq!(titles, HOSTILE);
    }
    for dir in [Path::new("."), lab.dir.path(), Path::new("/")] {
        assert!(!dir.join("pwned").exists(), "something was executed in {}", dir.display());
    }
}

#[test]
fn directories_may_be_called_anything() {
    let lab = Lab::new();
    lab.raw.start(&["-s", "first", "sleep 1000"]);
    for name in ["#(touch pwned)", "a b'c\"d", "new\nline", "-x", "#{pid};", "$(touch pwned)"] {
        let dir = lab.dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        // Made by a client that is there, as a user's shell would be.
        let made = lab
            .raw
            .command()
            .args(["new-session", "-d", "sleep", "1000"])
            .current_dir(&dir)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        let split = lab
            .raw
            .command()
            .args(["split-window", "-d", "sleep", "1000"])
            .current_dir(&dir)
            .output()
            .unwrap();
        assert!(split.status.success(), "{}", text(&split.stderr));
    }
    let (saved, found) = lab.round_trip(StartMode::Hold);
    assert_same(&saved, &found);
    let wanted = lab.dir.path().join("new\nline");
    assert!(found.sessions.iter().any(|session| session.directory.as_path() == wanted));
    assert!(found.panes().any(|(_, _, pane)| pane.directory.as_path() == wanted));
}

#[test]
fn the_foreground_job_of_a_shell_is_known_with_its_exact_arguments() {
    let lab = Lab::new();
    lab.raw.start(&["-s", "jobs", "-x", "200", "-y", "50"]);
    lab.raw.run(&["send-keys", "-t", "jobs", "exec bash --norc", "Enter"]);
    lab.raw.run(&["send-keys", "-t", "jobs", "cd /usr; sleep 1000 | cat '-' \"/dev/stdin\" | cat", "Enter"]);
    let program = || lab.observe().server.sessions[0].windows[0].panes[0].program.clone();
    until("the pipeline", || matches!(program(), Program::Shell { job, .. } if job.len() == 3));
    let Program::Shell { shell, job, .. } = program() else { unreachable!() };
    assert_eq!(shell.argv.iter().map(ToString::to_string).collect::<Vec<_>>(), ["bash", "--norc"]);
    let lines: Vec<String> = job.iter().map(agent_keeper::model::Process::command_line).collect();
    assert_eq!(lines, ["sleep 1000", "cat - /dev/stdin", "cat"]);
    assert_eq!(job[0].directory.as_path(), Path::new("/usr"));
    lab.raw.run(&["send-keys", "-t", "jobs", "C-c"]);
    until("the prompt", || matches!(program(), Program::Shell { job, .. } if job.is_empty()));
}

#[test]
fn text_that_is_shown_again_is_captured_as_the_same_text() {
    let lab = Lab::new();
    let file = lab.dir.path().join("text");
    let lines = [
        "plain",
        "\x1b[31mred\x1b[0m normal \x1b[1;4;38;5;200mfancy\x1b[0m",
        &"x".repeat(80),
        &"long ".repeat(60),
        "tab\tand wide 日本 é 😀",
        "\x1b(0lqqqk\x1b(B lines",
        "\x1b[7mreversed\x1b[0m",
        "",
        "last $",
    ];
    std::fs::write(&file, lines.join("\n")).unwrap();
    lab.raw.start(&[
        "-s",
        "text",
        "-x",
        "80",
        "-y",
        "10",
        &format!("cat {}; exec sleep 1000", file.display()),
    ]);
    let show = |target: &str| {
        let pane = lab.raw.run(&["display-message", "-p", "-t", target, "#{pane_id}"]).parse().unwrap();
        lab.runtime.block_on(capture(&lab.tmux(), pane, 100)).unwrap()
    };
    until("the text", || text(&show("text")).contains("last $"));
    let before = show("text");
    let (_, found) = lab.round_trip(StartMode::Hold);
    assert_eq!(found.sessions[0].name, "text");
    until("the text again", || text(&show("text")).contains("last $"));
    assert_eq!(text(&show("text")), text(&before));
    // In another width the joined lines wrap anew and are still the same lines.
    lab.raw.run(&["resize-window", "-t", "text", "-x", "47", "-y", "10"]);
    assert_eq!(text(&show("text")), text(&before));
}

#[test]
fn what_was_on_the_screen_below_a_full_screen_program_is_kept() {
    let lab = Lab::new();
    let script =
        "for i in 1 2 3 4 5 6 7 8; do echo line $i; done; printf '\\033[?1049hPICTURE'; exec sleep 1000";
    lab.raw.start(&["-s", "alt", "-x", "80", "-y", "5", script]);
    let seen = || {
        let observation = lab.observe();
        let pane = observation.server.sessions[0].windows[0].panes[0].id;
        let vitals = observation.vitals[&pane];
        let captured = lab.runtime.block_on(capture(&lab.tmux(), pane, 100)).unwrap();
        (vitals.alternate, text(&captured))
    };
    until("the alternate screen", || seen().0);
    let (_, shown) = seen();
    let expected: String = (1..=8).map(|n| format!("line {n}\n")).collect();
    assert_eq!(shown, expected);
}

#[test]
fn an_empty_server_and_no_server_are_different_answers() {
    let lab = Lab::new();
    let result = lab.runtime.block_on(observe(&lab.tmux(), &Proc::default(), &|_| None));
    assert!(result.unwrap_err().to_string().starts_with("no tmux server runs on"));
    lab.found();
    assert!(lab.observe().server.sessions.is_empty());
}

#[test]
fn three_hundred_panes_are_no_trouble() {
    let lab = Lab::new();
    lab.raw.start(&["-s", "many", "-x", "200", "-y", "60", "sleep 1000"]);
    for window in 0..30 {
        if window > 0 {
            lab.raw.run(&["new-window", "-d", "-t", &format!("many:{window}"), "sleep 1000"]);
        }
        for _ in 0..9 {
            lab.raw.run(&[
                "split-window",
                "-d",
                "-t",
                &format!("many:{window}"),
                "sleep 1000",
                ";",
                "select-layout",
                "-t",
                &format!("many:{window}"),
                "tiled",
            ]);
        }
    }
    let (saved, found) = lab.round_trip(StartMode::Hold);
    assert_eq!(saved.counts(), (1, 30, 300));
    assert_same(&saved, &found);
}

#[test]
fn a_window_split_forty_times_comes_back_to_the_cell() {
    let lab = Lab::new();
    lab.raw.start(&["-s", "deep", "-x", "300", "-y", "200", "sleep 1000"]);
    for n in 0..40 {
        let direction = if n % 2 == 0 { "-h" } else { "-v" };
        let place = format!("deep:0.{}", (n * 7) % (n + 1));
        // A pane that is too small by now is left as it is.
        lab.raw.try_run(&["split-window", direction, "-d", "-t", &place, "sleep 1000"]);
    }
    let (saved, found) = lab.round_trip(StartMode::Hold);
    assert!(saved.panes().count() > 25);
    assert_same(&saved, &found);
}

/// Something a user does.
#[derive(Debug, Clone)]
enum Op {
    Session { name: String, width: u8, height: u8 },
    Window { session: u8, index: u8, name: Option<String> },
    Split { window: u8, pane: u8, flags: &'static [&'static str] },
    Tmux(u8, u8, &'static [&'static str]),
    Zoom(u8, u8),
    SelectWindow(u8),
    Group(u8),
    Link(u8, u8),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let name = "[a-zA-Z#{}()$;'\" .:😀-]{1,8}";
    let splits: [&'static [&'static str]; 6] =
        [&["-h"], &["-v"], &["-h", "-b"], &["-v", "-b"], &["-h", "-f"], &["-v", "-f", "-b"]];
    let others: [&'static [&'static str]; 8] = [
        &["select-pane"],
        &["select-layout", "main-vertical"],
        &["select-layout", "even-horizontal"],
        &["rotate-window"],
        &["swap-pane", "-D"],
        &["resize-pane", "-R", "5"],
        &["resize-pane", "-D", "3"],
        &["kill-pane"],
    ];
    let op = prop_oneof![
        2 => (name, 20u8..200, 5u8..80).prop_map(|(name, width, height)| Op::Session { name, width, height }),
        3 => (any::<u8>(), 0u8..12, proptest::option::of(name)).prop_map(|(session, index, name)| Op::Window { session, index, name }),
        6 => (any::<u8>(), any::<u8>(), prop::sample::select(splits.to_vec())).prop_map(|(window, pane, flags)| Op::Split { window, pane, flags }),
        6 => (any::<u8>(), any::<u8>(), prop::sample::select(others.to_vec())).prop_map(|(w, p, command)| Op::Tmux(w, p, command)),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(w, p)| Op::Zoom(w, p)),
        2 => any::<u8>().prop_map(Op::SelectWindow),
        1 => any::<u8>().prop_map(Op::Group),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(w, s)| Op::Link(w, s)),
    ];
    proptest::collection::vec(op, 3..25)
}

fn pick(from: &[String], number: u8) -> Option<&str> {
    from.get(usize::from(number) % from.len().max(1)).map(String::as_str)
}

/// Does what a user does. What tmux refuses (a pane too small, an index in use) is as good.
fn apply(raw: &PrivateTmux, op: &Op) {
    let sessions = raw.panes("#{session_id}");
    let windows = raw.panes("#{window_id}");
    let pane = |window: u8, pane: u8| {
        let window = pick(&windows, window)?;
        let list = raw.run(&["list-panes", "-t", window, "-F", "#{pane_id}"]);
        pick(&list.lines().map(str::to_owned).collect::<Vec<_>>(), pane).map(str::to_owned)
    };
    let literal = |name: &str| {
        let command = Command::new("x").literal(name.as_bytes());
        agent_keeper::tmux::command::join(&[command])[1].to_string_lossy().into_owned()
    };
    let hold = ["sleep", "1000"];
    match op {
        Op::Session { name, width, height } => {
            let (width, height) = (width.to_string(), height.to_string());
            raw.try_run(&[
                "new-session",
                "-d",
                "-s",
                &literal(name),
                "-x",
                &width,
                "-y",
                &height,
                "-c",
                "/usr",
                hold[0],
                hold[1],
            ]);
        }
        Op::Window { session, index, name } => {
            let target = format!("{}:{index}", pick(&sessions, *session).unwrap());
            let name = name.as_ref().map(|name| literal(name));
            let named: Vec<&str> = name.iter().flat_map(|name| ["-n", name]).collect();
            raw.try_run(&[&["new-window", "-t", &target, "-c", "/var"], &named[..], &hold].concat());
        }
        Op::Split { window, pane: place, flags } => {
            let target = pane(*window, *place).unwrap();
            raw.try_run(&[&["split-window", "-t", &target, "-c", "/etc"], *flags, &hold].concat());
        }
        Op::Tmux(window, place, command) => {
            let target = pane(*window, *place).unwrap();
            let panes: std::collections::HashSet<String> = raw.panes("#{pane_id}").into_iter().collect();
            let alone = panes.len() == 1;
            if command[0] != "kill-pane" || !alone {
                raw.try_run(&[&command[..1], &["-t", &target], &command[1..]].concat());
            }
        }
        Op::Zoom(window, place) => {
            drop(raw.try_run(&["resize-pane", "-Z", "-t", &pane(*window, *place).unwrap()]));
        }
        Op::SelectWindow(window) => {
            drop(raw.try_run(&["select-window", "-t", pick(&windows, *window).unwrap()]));
        }
        Op::Group(session) => {
            drop(raw.try_run(&["new-session", "-d", "-t", pick(&sessions, *session).unwrap()]));
        }
        Op::Link(window, session) => {
            let target = format!("{}:", pick(&sessions, *session).unwrap());
            raw.try_run(&["link-window", "-d", "-s", pick(&windows, *window).unwrap(), "-t", &target]);
        }
    }
}

#[test]
fn random_servers_come_back_as_they_were() {
    let cases = std::env::var("AGENT_KEEPER_TEST_SERVERS").ok().and_then(|n| n.parse().ok()).unwrap_or(25);
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 60,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&ops(), |ops| {
        let lab = Lab::new();
        lab.raw.start(&["-s", "first", "-x", "90", "-y", "30", "sleep", "1000"]);
        ops.iter().for_each(|op| apply(&lab.raw, op));
        let (saved, found) = lab.round_trip(StartMode::Hold);
        let differences = compare(&saved, &found).differences;
        prop_assert!(differences.is_empty(), "{differences:#?}");
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
