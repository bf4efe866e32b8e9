//! Everything that tmux knows of a server and that can be brought back, brought back: a server that has all of
//! it, and random ones.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use agent_keeper::model::{Dead, Server, StartMode};
use agent_keeper::restore::compare::compare;
use agent_keeper::tmux::command::{Command, join};
use proptest::prelude::*;
use support::PrivateTmux;
use support::lab::{Lab, assert_same};

/// Values of options and variables that tmux, a shell or a terminal would like to do something with.
const HOSTILE: [&str; 16] = [
    "",
    "plain",
    "a b",
    "#(touch pwned)",
    "$(touch pwned)`touch pwned`",
    "#{pid} $HOME ~ %H",
    "\"double\" 'single'",
    "back\\slash \\t \\$HOME",
    "tab\tnewline\nescape\u{1b}[31m",
    ";",
    "ends;",
    "-v",
    "日本語 😀",
    "{ braces }",
    "~",
    "\"",
];

/// Commands of hooks, with quotes in quotes: what they say is said again, and not run. None of these hooks fires.
const COMMANDS: [&str; 8] = [
    "run-shell 'echo \"x; touch pwned; kill-server\"'",
    "display-message \"a \\$HOME \\\" \\\\ b\"",
    "display-message '\\033[31m #{pid} $(touch pwned)'",
    "if-shell -F 1 { if-shell -F 1 { display-message \"x'y\\\"z\\\\\" } }",
    "bind-key -n \\; display-message 'ends;'",
    "display-message '~' ; display-message '' ; display-message '%if'",
    "display-message 'tab\tnewline\nescape\u{1b}'",
    "display-message '日本語 { '",
];

/// Something that is set: in which scope, what, and which values are allowed.
type Setting = (&'static [&'static str], &'static str, &'static [&'static str]);

const SESSION_OPTIONS: [Setting; 15] = [
    (&[], "@note", &HOSTILE),
    (&[], "status", &["off", "on", "3"]),
    (&[], "status-left", &HOSTILE),
    (&[], "status-format[1]", &HOSTILE),
    (&[], "history-limit", &["5000", "100"]),
    (&[], "base-index", &["1"]),
    (&[], "renumber-windows", &["on", "off"]),
    (&[], "default-size", &["100x40"]),
    (&[], "default-command", &["exec sleep 500", ""]),
    (&[], "prefix", &["C-a", "None", "'", "\"", "\\"]),
    (&[], "status-style", &["fg=red,bg=#303030", "default"]),
    (&[], "update-environment[20]", &["PROJECT"]),
    (
        &[],
        "client-attached[3]",
        &["display-message 'hi #{session_name}'", "if-shell -F 1 { display-message \"x y\" }"],
    ),
    (&[], "client-detached[1]", &COMMANDS),
    (&[], "destroy-unattached", &["off"]),
];
const WINDOW_OPTIONS: [Setting; 14] = [
    (&["-w"], "@w", &HOSTILE),
    (&["-w"], "synchronize-panes", &["on"]),
    (&["-w"], "remain-on-exit", &["on", "off"]),
    (&["-w"], "automatic-rename", &["on", "off"]),
    // What stands in this one tmux runs itself, and may.
    (&["-w"], "automatic-rename-format", &["#{pane_current_command}!", "x y"]),
    (&["-w"], "window-size", &["manual", "largest", "smallest", "latest"]),
    (&["-w"], "aggressive-resize", &["on"]),
    (&["-w"], "monitor-activity", &["on"]),
    (&["-w"], "main-pane-width", &["30"]),
    (&["-w"], "pane-border-status", &["top", "bottom"]),
    (&["-w"], "pane-border-format", &HOSTILE),
    (&["-w"], "mode-keys", &["vi"]),
    (&["-w"], "pane-base-index", &["1"]),
    (&["-w"], "pane-focus-in", &COMMANDS),
];
const PANE_OPTIONS: [Setting; 6] = [
    (&["-p"], "@agent", &HOSTILE),
    (&["-p"], "allow-rename", &["on"]),
    (&["-p"], "window-style", &["fg=green"]),
    (&["-p"], "remain-on-exit", &["on"]),
    (&["-p"], "synchronize-panes", &["on", "off"]),
    (&["-p"], "pane-mode-changed[2]", &COMMANDS),
];

/// Makes a server with every feature that is brought back.
fn fixture(raw: &PrivateTmux) {
    let hold = ["sleep", "1000"];
    let new = |arguments: &[&str]| raw.run(&[arguments, &hold[..]].concat());
    raw.start(&["-s", "web", "-n", "edit", "-x", "120", "-y", "40", "-c", "/usr", "sleep", "1000"]);
    // Options and variables of every kind.
    for (scope, target, settings) in [
        (&[][..], "web", &SESSION_OPTIONS[..]),
        (&["-w"][..], "web:0", &WINDOW_OPTIONS[..]),
        (&["-p"][..], "web:0", &PANE_OPTIONS[..]),
    ] {
        for (at, (_, name, values)) in settings.iter().enumerate() {
            // Which value is of no importance, but that all hostile ones are met.
            let value = values[(7 * at + 3) % values.len()];
            let set = scope.iter().fold(Command::new("set-option"), Command::arg).flag("-t", target);
            perform(raw, set.arg("--").arg(name).arg(value));
        }
    }
    for (at, value) in HOSTILE.iter().enumerate() {
        perform(
            raw,
            Command::new("set-environment").flag("-t", "web").arg("--").arg(format!("V{at}")).arg(value),
        );
        perform(
            raw,
            Command::new("set-option").flag("-t", "web").arg("--").arg(format!("@h{at}")).arg(value),
        );
    }
    for (at, commands) in COMMANDS.iter().enumerate() {
        let name = format!("client-resized[{at}]");
        perform(raw, Command::new("set-option").flag("-t", "web").arg("--").arg(name).arg(commands));
    }
    raw.run(&["set-option", "-p", "-t", "web:0", "@a name", "x"]);
    raw.run(&["set-environment", "-t", "web", "-r", "GONE"]);
    raw.run(&["set-environment", "-t", "web", "-h", "HIDDEN", "x"]);
    // A nested layout, with gaps between the indexes, titles, zoom, active and last panes and windows.
    new(&["new-window", "-t", "web:7", "-n", "logs", "-c", "/var"]);
    new(&["split-window", "-h", "-l", "30%", "-t", "web:7", "-c", "/etc"]);
    new(&["split-window", "-v", "-t", "web:7.1", "-c", "/tmp"]);
    new(&["split-window", "-vb", "-l", "5", "-t", "web:7.0"]);
    raw.run(&["select-pane", "-t", "web:7.2", "-T", "a title"]);
    raw.run(&["select-pane", "-t", "web:7.1"]);
    raw.run(&["select-pane", "-t", "web:7.3"]);
    raw.run(&["resize-pane", "-Z", "-t", "web:7.3"]);
    new(&["new-window", "-t", "web:3"]);
    raw.run(&["set-option", "-w", "-u", "-t", "web:3", "automatic-rename"]);
    // Programs that have ended, in panes that stay.
    raw.run(&["new-window", "-d", "-t", "web:8", "-n", "dead", "sleep", "1000"]);
    raw.run(&["set-option", "-w", "-t", "web:8", "remain-on-exit", "on"]);
    raw.run(&["split-window", "-d", "-t", "web:8", "echo what it said; exit 3"]);
    raw.run(&["split-window", "-d", "-t", "web:8", "echo and what this said; kill -9 $$"]);
    // Another size, by hand, and two windows of one name.
    new(&["new-session", "-d", "-s", "wide", "-n", "same", "-x", "200", "-y", "20"]);
    new(&["new-window", "-d", "-t", "wide:4", "-n", "same"]);
    raw.run(&["resize-window", "-t", "wide:4", "-x", "70", "-y", "33"]);
    // A linked window, and sessions that share theirs under a name that is none of theirs.
    raw.run(&["link-window", "-d", "-s", "web:7", "-t", "wide:9"]);
    // The marked pane is one that the zoom hides. tmux 3.6 and newer forget it when its window is linked.
    raw.run(&["resize-pane", "-Z", "-t", "web:7.3"]);
    raw.run(&["select-pane", "-m", "-t", "web:7.0"]);
    raw.run(&["resize-pane", "-Z", "-t", "web:7.3"]);
    raw.run(&["new-session", "-d", "-t", "team", "-s", "one"]);
    raw.run(&["respawn-pane", "-k", "-t", "one", "sleep", "1000"]);
    raw.run(&["new-session", "-d", "-t", "team", "-s", "two"]);
    new(&["new-window", "-t", "two:5"]);
    raw.run(&["set-option", "-t", "two", "@which", "two"]);
    raw.run(&["select-window", "-t", "one:5"]);
}

#[test]
fn complaint_21_a_server_with_every_feature_comes_back() {
    let lab = Lab::new();
    fixture(&lab.raw);
    let hooks = || {
        lab.raw
            .run(&["show-options", "-H", "-t", "web"])
            .lines()
            .filter(|line| line.starts_with("client-"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = hooks();
    let (saved, found) = lab.round_trip(StartMode::Hold);
    assert_same(&saved, &found);
    check_fixture(&found);
    // 3.2a prints something else than it was told, so no hook is kept there.
    if !lab.raw.run(&["-V"]).ends_with("3.2a") {
        assert_eq!(before.len(), COMMANDS.len() + 2, "{before:#?}");
        assert_eq!(hooks(), before);
    }
    assert!(!lab.was_executed());
}

/// What is compared must be there to be compared.
fn check_fixture(server: &Server) {
    let session = |name: &str| server.sessions.iter().find(|session| session.name == name).unwrap();
    let (web, wide) = (session("web"), session("wide"));
    assert!(web.options.len() > 20 && web.environment.len() >= HOSTILE.len() + 2, "{web:#?}");
    assert!(web.environment["HIDDEN"].hidden && web.environment["GONE"].value.is_none());
    for (at, value) in HOSTILE.iter().enumerate() {
        assert_eq!(web.options[&format!("@h{at}")], (*value).into());
        assert_eq!(web.environment[&format!("V{at}")].value, Some((*value).into()));
    }
    assert!(
        web.windows[0].options.len() > 8 && web.windows[0].panes[0].options.len() + 1 >= PANE_OPTIONS.len()
    );
    assert!(web.windows[2].panes[0].marked && web.windows[2].zoomed);
    assert_eq!(web.windows.iter().map(|window| window.index).collect::<Vec<_>>(), [0, 3, 7, 8]);
    let ends: Vec<Option<Dead>> = web.windows[3].panes.iter().map(|pane| pane.dead).collect();
    assert!(ends.contains(&Some(Dead::Exited(3))) && ends.contains(&None), "{ends:?}");
    assert_eq!(web.windows[2].id, wide.windows[2].id);
    assert_eq!((wide.windows[1].width, wide.windows[1].height), (70, 33));
    let (one, two) = (session("one"), session("two"));
    assert_eq!(one.group.as_deref(), Some("team"));
    assert_eq!(one.windows[1].id, two.windows[1].id);
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
    Group(u8, Option<String>),
    Link(u8, u8),
    Set { place: u8, pane: u8, setting: Setting, value: u8 },
    Variable { session: u8, name: &'static str, flags: &'static [&'static str], value: u8 },
    Title { window: u8, pane: u8, value: u8 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let name = "[a-zA-Z#{}()$;'\" .:😀-]{1,8}";
    let splits: [&'static [&'static str]; 6] =
        [&["-h"], &["-v"], &["-h", "-b"], &["-v", "-b"], &["-h", "-f"], &["-v", "-f", "-b"]];
    let others: [&'static [&'static str]; 12] = [
        &["select-pane"],
        &["select-layout", "main-vertical"],
        &["select-layout", "even-horizontal"],
        &["rotate-window"],
        &["swap-pane", "-D"],
        &["resize-pane", "-R", "5"],
        &["resize-pane", "-D", "3"],
        &["kill-pane"],
        &["select-pane", "-m"],
        &["break-pane", "-d"],
        &["resize-window", "-x", "70", "-y", "33"],
        &["swap-window", "-t", "0"],
    ];
    let settings = [&SESSION_OPTIONS[..], &WINDOW_OPTIONS, &PANE_OPTIONS].concat();
    let flags: Vec<&'static [&'static str]> = vec![&[], &["-h"], &["-r"]];
    let op = prop_oneof![
        2 => (name, 20u8..200, 5u8..80).prop_map(|(name, width, height)| Op::Session { name, width, height }),
        3 => (any::<u8>(), 0u8..12, proptest::option::of(name)).prop_map(|(session, index, name)| Op::Window { session, index, name }),
        6 => (any::<u8>(), any::<u8>(), prop::sample::select(splits.to_vec())).prop_map(|(window, pane, flags)| Op::Split { window, pane, flags }),
        6 => (any::<u8>(), any::<u8>(), prop::sample::select(others.to_vec())).prop_map(|(w, p, command)| Op::Tmux(w, p, command)),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(w, p)| Op::Zoom(w, p)),
        2 => any::<u8>().prop_map(Op::SelectWindow),
        1 => (any::<u8>(), proptest::option::of("[a-z]{1,3}")).prop_map(|(session, name)| Op::Group(session, name)),
        8 => (any::<u8>(), any::<u8>(), prop::sample::select(settings), any::<u8>())
            .prop_map(|(place, pane, setting, value)| Op::Set { place, pane, setting, value }),
        2 => (any::<u8>(), prop::sample::select(vec!["A", "PROJECT", "DISPLAY", "a b"]), prop::sample::select(flags), any::<u8>())
            .prop_map(|(session, name, flags, value)| Op::Variable { session, name, flags, value }),
        2 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(window, pane, value)| Op::Title { window, pane, value }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(w, s)| Op::Link(w, s)),
    ];
    proptest::collection::vec(op, 3..30)
}

fn pick(from: &[String], number: u8) -> Option<&str> {
    from.get(usize::from(number) % from.len().max(1)).map(String::as_str)
}

fn words(command: Command) -> Vec<String> {
    join(&[command]).into_iter().map(|word| word.into_string().unwrap()).collect()
}

fn perform(raw: &PrivateTmux, command: Command) {
    let words = words(command);
    raw.try_run(&words.iter().map(String::as_str).collect::<Vec<_>>());
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
    let literal = |name: &str| words(Command::new("x").literal(name.as_bytes())).remove(1);
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
        Op::Group(session, name) => {
            // A name that no session has makes a group of that name.
            let target = name.as_deref().or(pick(&sessions, *session)).unwrap();
            raw.try_run(&["new-session", "-d", "-t", target]);
        }
        Op::Set { place, pane: at, setting: (scope, name, values), value } => {
            let target = match *scope {
                ["-w"] => pick(&windows, *place).unwrap().to_owned(),
                ["-p"] => pane(*place, *at).unwrap(),
                _ => pick(&sessions, *place).unwrap().to_owned(),
            };
            let value = values[usize::from(*value) % values.len()];
            let set = scope.iter().fold(Command::new("set-option"), Command::arg).flag("-t", target);
            perform(raw, set.arg("--").arg(name).arg(value));
        }
        Op::Variable { session, name, flags, value } => {
            let set = Command::new("set-environment").flag("-t", pick(&sessions, *session).unwrap());
            let set = flags.iter().fold(set, Command::arg).arg("--").arg(name);
            let value = HOSTILE[usize::from(*value) % HOSTILE.len()];
            perform(raw, if flags.contains(&"-r") { set } else { set.arg(value) });
        }
        Op::Title { window, pane: at, value } => {
            let value = HOSTILE[usize::from(*value) % HOSTILE.len()];
            let title = Command::new("select-pane").flag("-t", pane(*window, *at).unwrap());
            perform(raw, title.arg("-T").literal(value.as_bytes()));
        }
        Op::Link(window, session) => {
            let target = format!("{}:", pick(&sessions, *session).unwrap());
            raw.try_run(&["link-window", "-d", "-s", pick(&windows, *window).unwrap(), "-t", &target]);
        }
    }
}

/// How many random servers are tried, in two halves that run beside each other.
fn servers() -> u32 {
    std::env::var("AGENT_KEEPER_TEST_SERVERS").ok().and_then(|n| n.parse().ok()).unwrap_or(500)
}

fn try_random_servers(cases: u32) {
    let default = ProptestConfig::default();
    // PROPTEST_MAX_SHRINK_ITERS makes it fewer, for machines that are slow.
    let max_shrink_iters = default.max_shrink_iters.min(80);
    let config = ProptestConfig { cases, failure_persistence: None, max_shrink_iters, ..default };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&ops(), |ops| {
        let lab = Lab::new();
        lab.raw.start(&["-s", "first", "-x", "90", "-y", "30", "sleep", "1000"]);
        ops.iter().for_each(|op| apply(&lab.raw, op));
        let (saved, found) = lab.round_trip(StartMode::Hold);
        let differences = compare(&saved, &found).differences;
        prop_assert!(differences.is_empty(), "{differences:#?}");
        prop_assert!(!lab.was_executed(), "something was executed");
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn random_servers_come_back_as_they_were() {
    try_random_servers(servers().div_ceil(2));
}

#[test]
fn random_servers_come_back_as_they_were_too() {
    try_random_servers(servers() / 2);
}
