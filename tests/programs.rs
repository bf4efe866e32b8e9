//! Programs in panes, against a real tmux and real shells: what runs is recorded to the byte, comes back only
//! where it may, and nothing in an argument or a path is obeyed by anybody on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use agent_keeper::environment::{Login, scrub};
use agent_keeper::model::{
    ByteString, DIE_VARIABLE, Dead, FORMAT, Job, PaneStart, Process, Program, Scrollback, Server, StartMode,
};
use agent_keeper::proc::Proc;
use agent_keeper::restore::approved::Approved;
use agent_keeper::restore::compare::compare;
use agent_keeper::store::Writer;
use agent_keeper::tmux::Tmux;
use agent_keeper::tmux::observe::observe;
use support::{PrivateTmux, eventually, has_program, short_dir, skip, tmux_program, until};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A private server with panes that are started by hand, and a store for their orders.
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
        let lab = Self { runtime, raw, writer, dir };
        lab.raw.start(&["-s", "keep", "-x", "200", "-y", "50", "sleep", "1000"]);
        lab
    }

    fn server(&self) -> Server {
        let login = Login { variables: scrub(std::env::vars_os()), umask: None, problem: None };
        let tmux = Tmux::new(login.find_program(&tmux_program()), self.raw.socket.clone(), login.pairs());
        let store = self.writer.store();
        let start = |id| serde_json::from_slice(&store.object(id).ok()?).ok();
        self.runtime.block_on(observe(&tmux, &Proc::default(), &start)).unwrap().server
    }

    /// Returns what runs in the pane of a window.
    fn program(&self, window: &str) -> Program {
        let server = self.server();
        let found = server.panes().find(|(_, w, _)| w.name == window);
        found.map_or(Program::Unknown, |(.., pane)| pane.program.clone())
    }

    /// Makes a window with a program of its own.
    fn open(&self, window: &str, program: &[&str]) {
        let new = ["new-window", "-d", "-t", "keep:", "-n", window, "--"];
        self.raw.run(&[&new[..], program].concat());
    }

    /// Types a line into a pane, as a user does.
    fn type_line(&self, window: &str, line: &str) {
        self.raw.run(&["send-keys", "-t", window, "-l", line]);
        self.raw.run(&["send-keys", "-t", window, "Enter"]);
    }

    /// Waits until what runs in a pane satisfies something.
    #[track_caller]
    fn runs(&self, window: &str, wanted: impl Fn(&Shape) -> bool) -> Program {
        eventually(&format!("{window} to run what it should"), || {
            let program = self.program(window);
            wanted(&Shape::of(&program)).then_some(program)
        })
    }

    /// Presses Ctrl-C as an impatient person does, until a shell waits for commands; no press may cost the pane.
    #[track_caller]
    fn interrupt(&self, window: &str, shells: &[&str], background: &[&str]) {
        self.runs(window, |shape| {
            let idle = shape.is(shells, &[], background);
            if !idle {
                self.raw.run(&["send-keys", "-t", window, "C-c"]);
            }
            idle
        });
    }

    /// Writes an order and makes a window with it; returns the words it is started with.
    fn restore(&self, window: &str, order: &PaneStart) -> Vec<String> {
        let object = self.writer.put(&serde_json::to_vec(order).unwrap()).unwrap();
        let state = self.writer.store().dir().to_str().unwrap().to_owned();
        let words =
            [env!("CARGO_BIN_EXE_agent-keeper"), "pane", &object.to_string(), &state].map(str::to_owned);
        self.open(window, &words.iter().map(String::as_str).collect::<Vec<_>>());
        words.into()
    }

    /// Returns the `sleep NUMBER` that belong to this server.
    fn pids_of(&self, number: &str) -> Vec<u32> {
        let proc = Proc::default();
        let below = |pid: u32| {
            let parents = std::iter::successors(Some(pid), |pid| Some(proc.stat(*pid).ok()?.parent));
            parents.take(20).any(|pid| Some(pid) == self.raw.server_pid())
        };
        let all = proc.pids_of(nix::unistd::geteuid().as_raw()).into_iter();
        let called = all.filter(|pid| {
            proc.argv(*pid).is_ok_and(|argv| argv == ["sleep".into(), ByteString::from(number)])
        });
        called.filter(|pid| below(*pid)).collect()
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn order(program: Program, mode: StartMode) -> PaneStart {
    PaneStart {
        format: FORMAT,
        saved_at: jiff::Timestamp::now(),
        directory: "/usr".into(),
        scrollback: Scrollback::default(),
        program,
        mode,
        dead: None,
    }
}

fn process(argv: &[&str]) -> Process {
    let paths = std::env::var_os("PATH").unwrap();
    let mut files = std::env::split_paths(&paths).map(|dir| dir.join(argv[0].trim_start_matches('-')));
    let exe = files.find(|file| file.exists()).unwrap().canonicalize().unwrap();
    let argv = argv.iter().map(|word| (*word).into()).collect();
    Process { exe: exe.as_path().into(), argv, directory: "/usr".into() }
}

/// What runs, in words that a test can write down.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    shells: Vec<String>,
    job: Vec<String>,
    background: Vec<String>,
}

impl Shape {
    fn of(program: &Program) -> Self {
        let lines = |list: &[Process]| list.iter().map(Process::command_line).collect::<Vec<_>>();
        match program {
            Program::Shell { shell, nested, job, background } => Self {
                shells: lines(&[std::slice::from_ref(shell), nested].concat()),
                job: lines(job),
                background: background.iter().map(described).collect(),
            },
            Program::Command { process } => {
                Self { shells: Vec::new(), job: lines(std::slice::from_ref(process)), background: Vec::new() }
            }
            Program::Unknown => Self { shells: Vec::new(), job: Vec::new(), background: Vec::new() },
        }
    }

    fn is(&self, shells: &[&str], job: &[&str], background: &[&str]) -> bool {
        self.shells == shells && self.job == job && self.background == background
    }
}

fn described(job: &Job) -> String {
    let line = agent_keeper::pane::pipeline(&job.processes);
    if job.stopped { format!("{line} (stopped)") } else { line }
}

/// What each shell calls a job in the background, and how it is started without start-up files.
const SHELLS: [&[&str]; 4] = [&["bash", "--norc"], &["dash", "-i"], &["zsh", "-f"], &["fish", "--no-config"]];

#[test]
fn jobs_of_every_shell_are_told_from_its_helpers() {
    for shell in SHELLS {
        if !has_program(shell[0]) {
            skip("the jobs of a shell", &format!("{} is not installed", shell[0]));
            continue;
        }
        let lab = Lab::new();
        let own = shell.join(" ");
        let shells = [own.as_str()];
        lab.open("w", shell);
        lab.runs("w", |shape| shape.is(&shells, &[], &[]));
        lab.type_line("w", "sleep 1001 &");
        lab.runs("w", |shape| shape.is(&shells, &[], &["sleep 1001"]));
        lab.type_line("w", "sleep 1002");
        lab.runs("w", |shape| shape.is(&shells, &["sleep 1002"], &["sleep 1001"]));
        lab.raw.run(&["send-keys", "-t", "w", "C-z"]);
        lab.runs("w", |shape| shape.is(&shells, &[], &["sleep 1001", "sleep 1002 (stopped)"]));
        // A helper: it has no terminal to read from.
        lab.type_line("w", "sleep 1003 < /dev/null > /dev/null 2>&1 &");
        lab.type_line("w", "sleep 1004 | cat 'a  b' - | cat");
        let pipeline = ["sleep 1004", "cat 'a  b' -", "cat"];
        lab.runs("w", |shape| shape.is(&shells, &pipeline, &["sleep 1001", "sleep 1002 (stopped)"]));
    }
}

#[test]
fn shells_in_shells_and_what_runs_in_subshells_is_seen() {
    let lab = Lab::new();
    lab.open("w", &["bash", "--norc"]);
    lab.type_line("w", "sleep 1001 &");
    lab.type_line("w", "dash -i");
    lab.runs("w", |shape| shape.is(&["bash --norc", "dash -i"], &[], &["sleep 1001"]));
    lab.type_line("w", "bash --norc");
    let shells = ["bash --norc", "dash -i", "bash --norc"];
    lab.runs("w", |shape| shape.is(&shells, &[], &["sleep 1001"]));
    let interrupt = || lab.interrupt("w", &shells, &["sleep 1001"]);
    lab.type_line("w", "(cd /var; sleep 1002; true)");
    let program = lab.runs("w", |shape| shape.is(&shells, &["sleep 1002"], &["sleep 1001"]));
    let Program::Shell { job, .. } = program else { unreachable!() };
    assert_eq!(job[0].directory.as_path(), Path::new("/var"));
    interrupt();
    lab.type_line("w", "{ sleep 1003; true; } | cat -");
    lab.runs("w", |shape| shape.is(&shells, &["sleep 1003", "cat -"], &["sleep 1001"]));
    interrupt();
    // A script is a job, and what it runs is not.
    std::fs::write(lab.path("script"), "#!/bin/sh\nsleep 1004\ntrue\n").unwrap();
    lab.type_line("w", &format!("sh {} 'x y'", lab.path("script").display()));
    let line = format!("sh {} 'x y'", lab.path("script").display());
    lab.runs("w", |shape| shape.is(&shells, &[&line], &["sleep 1001"]));
    interrupt();
    // A terminal in the terminal belongs to the program that made it.
    lab.type_line("w", "script -q /dev/null");
    lab.runs("w", |shape| shape.is(&shells, &["script -q /dev/null"], &["sleep 1001"]));
}

#[test]
fn shells_in_shells_come_back_in_one_another_with_their_jobs() {
    let lab = Lab::new();
    let nested = |argv: &[&str], directory: &str| Process { directory: directory.into(), ..process(argv) };
    let saved = Program::Shell {
        shell: process(&["bash", "--norc"]),
        nested: vec![nested(&["dash", "-i"], "/var"), nested(&["bash", "--norc", "--noprofile"], "/")],
        job: vec![process(&["sleep", "1002"]), process(&["cat", "a b", "-"])],
        background: vec![
            Job { processes: vec![process(&["sleep", "1001"])], stopped: false },
            Job { processes: vec![process(&["vim", "notes"])], stopped: true },
        ],
    };
    lab.restore("w", &order(saved.clone(), StartMode::Ask));
    until("the question", || lab.raw.text_of("w").contains("Ctrl-C for a shell"));
    assert_eq!(lab.program("w"), saved, "what waits is what was saved");
    let shown = lab.raw.text_of("w");
    for line in [
        "   was stopped: vim notes",
        "Press Enter to run: sleep 1002 | cat 'a b' -",
        "   in /usr",
        "   and in the background: sleep 1001",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\nin\n{shown}");
    }
    lab.raw.run(&["send-keys", "-t", "w", "Enter"]);
    let shells = ["bash --norc", "dash -i", "bash --norc --noprofile"];
    let job = ["sleep 1002", "cat 'a b' -"];
    let found = lab.runs("w", |shape| shape.is(&shells, &job, &["sleep 1001"]));
    assert!(same(&saved, &found), "{found:?}");
    // What tmux ignores (SIGTTIN, SIGTTOU) is not ignored by a job of a shell.
    let jobs = lab.pids_of("1001").into_iter().chain(lab.pids_of("1002"));
    for status in jobs.map(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap()) {
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
        assert_eq!(ignored & (1 << 20 | 1 << 21), 0, "SIGTTIN or SIGTTOU is ignored: {status}");
    }
    lab.interrupt("w", &shells, &["sleep 1001"]);
    // Each is a shell of its own, in its directory, and the outer one comes when the inner one goes.
    lab.type_line("w", "pwd > /dev/tty; exit");
    lab.runs("w", |shape| shape.shells == ["bash --norc", "dash -i"]);
    lab.type_line("w", "pwd; exit");
    lab.runs("w", |shape| shape.shells == ["bash --norc"]);
    lab.type_line("w", "pwd");
    let shown = eventually("three directories", || {
        let shown = lab.raw.text_of("w");
        shown.lines().any(|line| line == "/usr").then_some(shown)
    });
    let places: Vec<&str> = shown.lines().filter(|line| ["/", "/var", "/usr"].contains(line)).collect();
    assert_eq!(places, ["/", "/var", "/usr"], "{shown}");
}

/// Whether a comparison finds no difference in the programs.
fn same(saved: &Program, found: &Program) -> bool {
    let lab = Lab::new();
    let with = |program: &Program| {
        let mut server = lab.server();
        server.panes_mut().for_each(|pane| pane.program = program.clone());
        server
    };
    compare(&with(saved), &with(found)).differences.is_empty()
}

#[test]
fn no_answer_but_enter_starts_a_job_and_the_shells_come_all_the_same() {
    let lab = Lab::new();
    let canary = lab.path("canary");
    let saved = Program::Shell {
        shell: process(&["bash", "--norc"]),
        nested: vec![process(&["dash", "-i"])],
        job: vec![process(&["touch", canary.to_str().unwrap()])],
        background: vec![Job { processes: vec![process(&["sleep", "1001"])], stopped: false }],
    };
    lab.restore("w", &order(saved, StartMode::Ask));
    until("the question", || lab.raw.text_of("w").contains("Ctrl-C for a shell"));
    lab.raw.run(&["send-keys", "-t", "w", "C-c"]);
    lab.runs("w", |shape| shape.is(&["bash --norc", "dash -i"], &[], &[]));
    assert!(!canary.exists());
}

#[test]
fn what_is_approved_runs_by_itself_and_says_so() {
    let lab = Lab::new();
    let tail = Program::shell(process(&["bash", "--norc"]), vec![process(&["tail", "-f", "/dev/null"])]);
    let mode = Approved::default().mode(StartMode::Ask, &tail);
    lab.restore("w", &order(tail, mode));
    lab.runs("w", |shape| shape.is(&["bash --norc"], &["tail -f /dev/null"], &[]));
    until("the words", || lab.raw.text_of("w").contains("runs as you approved it: tail -f /dev/null"));
    lab.interrupt("w", &["bash --norc"], &[]);
}

#[test]
fn a_window_is_named_after_the_program_that_waits_in_it() {
    let lab = Lab::new();
    let program = Program::shell(process(&["bash", "--norc"]), vec![process(&["sleep", "1000"])]);
    lab.restore("w", &order(program.clone(), StartMode::Ask));
    until("the question", || lab.raw.text_of("w").contains("Ctrl-C for a shell"));
    assert_eq!(lab.raw.run(&["display-message", "-p", "-t", "w", "#{pane_current_command}"]), "sleep");
    assert_eq!(lab.program("w"), program);
}

#[test]
fn what_cannot_run_any_more_is_said_and_a_shell_is_left() {
    let lab = Lab::new();
    let gone = Process { exe: "/gone/x".into(), argv: vec!["npm run dev".into()], directory: "/gone".into() };
    let moved =
        Process { exe: "/gone/sleep".into(), directory: "/usr/gone".into(), ..process(&["sleep", "1000"]) };
    let shell = process(&["bash", "--norc"]);
    lab.restore("gone", &order(Program::shell(shell.clone(), vec![gone]), StartMode::Ask));
    lab.restore("moved", &order(Program::shell(shell, vec![moved]), StartMode::Ask));
    lab.runs("gone", |shape| shape.is(&["bash --norc"], &[], &[]));
    let shown = lab.raw.text_of("gone");
    assert!(shown.contains("cannot run 'npm run dev': the program is not there"), "{shown}");
    until("the question", || lab.raw.text_of("moved").contains("Ctrl-C for a shell"));
    let shown = lab.raw.text_of("moved");
    assert!(shown.contains("   in /usr\n   /gone/sleep is gone; /"), "{shown}");
    assert!(shown.contains("   /usr/gone is gone\n"), "{shown}");
    lab.raw.run(&["send-keys", "-t", "moved", "Enter"]);
    lab.runs("moved", |shape| shape.job == ["sleep 1000"]);
}

#[test]
fn complaint_20_arguments_are_obeyed_by_nobody_and_come_back_to_the_byte() {
    let lab = Lab::new();
    let canary = lab.path("pwned");
    let touch = format!("touch {}", canary.display());
    let every_byte: Vec<u8> = (1..=255).collect();
    let mut hostile: Vec<Vec<u8>> = vec![every_byte, Vec::new()];
    for word in [
        "#(X)",
        "$(X)",
        "`X`",
        "; X;",
        "'; X; '",
        "\"; X; \"",
        "a b",
        "\nX\n",
        "\x1b]0;title\x07",
        "#{pid}",
        "${HOME}",
        "\\",
        "%%",
        "~",
        "\x1bP=1s\x1b\\",
        "\u{202e}abc",
    ] {
        hostile.push(word.replace('X', &touch).into_bytes());
    }
    hostile.push(Vec::new());
    let mut saved = process(&["cat", "-"]);
    saved.argv.extend(hostile.iter().map(|word| ByteString::from(word.as_slice())));
    let title = |window: &str| lab.raw.run(&["display-message", "-p", "-t", window, "#{pane_title}"]);
    let place = lab.path(OsStr::from_bytes(b"#(touch pwned) $(touch pwned);\x1b]0;title\x07\xff '\""));
    std::fs::create_dir(&place).unwrap();
    saved.directory = place.as_path().into();
    let program = Program::shell(process(&["bash", "--norc"]), vec![saved.clone()]);
    let order = PaneStart { directory: saved.directory.clone(), ..order(program.clone(), StartMode::Ask) };
    lab.restore("w", &order);
    until("the question", || lab.raw.text_of("w").contains("Ctrl-C for a shell"));
    let before = title("w");
    assert!(!before.contains("title"), "{before}");
    // The question is the command, in words that a shell reads as exactly these arguments.
    let shown = lab.raw.text_of("w");
    let line = shown.lines().find_map(|line| line.strip_prefix("Press Enter to run: ")).unwrap();
    assert_eq!(line, saved.command_line());
    let printf = line.replacen("cat", "printf '%s\\0'", 1);
    let read_back = std::process::Command::new("bash").args(["-c", &printf]).output().unwrap();
    let words: Vec<&[u8]> = read_back.stdout.strip_suffix(b"\0").unwrap().split(|byte| *byte == 0).collect();
    assert_eq!(words, saved.argv[1..].iter().map(ByteString::as_bytes).collect::<Vec<_>>());
    lab.raw.run(&["send-keys", "-t", "w", "Enter"]);
    let found = lab.runs("w", |shape| !shape.job.is_empty() && lab.program("w") != Program::Unknown);
    let Program::Shell { job, .. } = &found else { unreachable!() };
    assert_eq!(job, std::slice::from_ref(&saved));
    for dir in [Path::new("."), lab.dir.path(), &place, Path::new("/usr")] {
        assert!(!dir.join("pwned").exists(), "something was executed in {}", dir.display());
    }
}

#[test]
fn complaint_20_a_restored_job_is_recorded_as_it_was_and_restored_again() {
    // What is recorded of what was restored must be the same, or a command decays from boot to boot.
    let lab = Lab::new();
    let job = vec![process(&["sh", "-c", "sleep 1000; : '#{pid}' \"$@\"", "sh", "", "a  b", "*", "it's"])];
    let mut saved = Program::shell(process(&["-bash"]), job);
    for round in 0..3 {
        let window = format!("w{round}");
        lab.restore(&window, &order(saved.clone(), StartMode::Ask));
        until("the question", || lab.raw.text_of(&window).contains("Ctrl-C for a shell"));
        lab.raw.run(&["send-keys", "-t", &window, "Enter"]);
        let found = lab.runs(&window, |shape| !shape.job.is_empty() && shape.job != ["sh"]);
        until("the job", || {
            lab.raw.run(&["display-message", "-p", "-t", &window, "#{pane_current_command}"]) == "sh"
        });
        assert_eq!(found, saved, "round {round}");
        saved = found;
    }
}

#[test]
fn a_dead_pane_is_dead_again_in_the_same_way() {
    let lab = Lab::new();
    let cases = [
        (Dead::Exited(0), "0:"),
        (Dead::Exited(3), "3:"),
        (Dead::Killed(9), ":9"),
        (Dead::Killed(2), ":2"),
        (Dead::Killed(15), ":15"),
        (Dead::Killed(13), ":13"),
        (Dead::Killed(11), ":11"),
        (Dead::Killed(34), ":34"),
    ];
    for (dead, expected) in cases {
        for mode in [StartMode::Ask, StartMode::Hold, StartMode::Run] {
            let window = format!("{dead:?} {mode:?}").replace(['(', ')'], "-");
            let text_before = lab.writer.put_text(b"what was printed\n").unwrap();
            let order =
                PaneStart { dead: Some(dead), scrollback: text_before, ..order(Program::Unknown, mode) };
            lab.open(&window, &["sleep", "1000"]);
            lab.raw.run(&["set-option", "-w", "-t", &window, "remain-on-exit", "on"]);
            let object = lab.writer.put(&serde_json::to_vec(&order).unwrap()).unwrap().to_string();
            let state = lab.writer.store().dir().to_str().unwrap().to_owned();
            let words = [env!("CARGO_BIN_EXE_agent-keeper"), "pane", &object, &state];
            let once = format!("{DIE_VARIABLE}=1");
            lab.raw.run(&[&["respawn-pane", "-k", "-t", &window, "-e", &once, "--"][..], &words].concat());
            let format = "#{pane_dead}:#{pane_dead_status}:#{pane_dead_signal}";
            until(&format!("{window} to be dead as {expected}"), || {
                let seen = lab.raw.run(&["display-message", "-p", "-t", &window, format]);
                if seen == "1::" {
                    // Where it killed another process just before, tmux 3.3a sometimes misses the signal that
                    // a child has ended, and leaves it a zombie until the next child ends.
                    lab.raw.run(&["run-shell", "true"]);
                }
                seen == format!("1:{expected}")
            });
            let shown = lab.raw.text_of(&window);
            assert!(shown.starts_with("what was printed"), "{shown}");
            assert!(!shown.contains("restored"), "{shown}");
            if mode == StartMode::Ask {
                // Somebody respawns it: it lives.
                lab.raw.run(&["respawn-pane", "-t", &window]);
                until("a shell", || lab.raw.text_of(&window).contains("restored, as of"));
                assert_eq!(lab.raw.run(&["display-message", "-p", "-t", &window, "#{pane_dead}"]), "0");
            }
            lab.raw.run(&["kill-window", "-t", &window]);
        }
    }
}
