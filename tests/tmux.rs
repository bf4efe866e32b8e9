//! The library against a real tmux on a private socket: what is set is what is there, what is saved is what
//! comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use agent_keeper::model::{Program, StartMode};
use agent_keeper::proc::Proc;
use agent_keeper::tmux::Tmux;
use agent_keeper::tmux::capture::capture;
use agent_keeper::tmux::observe::observe;
use support::lab::{Lab, assert_same};
use support::{text, until};

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
    for name in ["#(touch pwned)", "a b'c\"d", "new\nline", "-x", "#{pid};", "$(touch pwned)", "\u{1b}a\nbc"]
    {
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

/// A session that ends while the options are read takes no others' with it.
#[test]
fn what_goes_during_a_look_costs_the_others_nothing() {
    let lab = Lab::new();
    for name in ["goes", "stays"] {
        lab.raw.start(&["-s", name, "sleep", "1000"]);
        lab.raw.run(&["set-option", "-t", name, "@note", "x"]);
        lab.raw.run(&["set-environment", "-t", name, "NOTE", "x"]);
    }
    // A tmux that is slow enough for one of them to end, once.
    let (slow, real) = (lab.dir.path().join("slow"), lab.tmux().program().to_owned());
    let (once, socket) = (lab.dir.path().join("once"), &lab.raw.socket);
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *show-environment*) mkdir {once:?} 2>/dev/null && {real:?} -S {socket:?} kill-session -t goes;; esac\nexec {real:?} \"$@\"\n"
    );
    std::fs::write(&slow, script).unwrap();
    std::fs::set_permissions(&slow, std::fs::Permissions::from_mode(0o700)).unwrap();
    let tmux = Tmux::new(slow, socket.clone(), lab.raw.login().pairs());
    let seen = lab.runtime.block_on(observe(&tmux, &Proc::default(), &|_| None)).unwrap().server;
    assert!(once.exists());
    let [session] = seen.sessions.as_slice() else { panic!("{seen:#?}") };
    assert_eq!((session.name.as_str(), session.options.len(), session.environment.len()), ("stays", 1, 1));
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
