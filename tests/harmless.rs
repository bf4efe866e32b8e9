//! Observing changes nothing that anybody sees: a server that is watched is like one that is not.
//!
//! One trace there is: tmux notes every command of every client, ours too, among its last 1,000 messages
//! (`show-messages`), and it gives each client a number.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use std::fs;

use support::{Keeper, PrivateTmux, eventually, short_dir, signal, text, tmux_program, until};
use tempfile::TempDir;

/// What a server shows to its user: commands, and whether they must work.
const SHOWN: [&[&str]; 20] = [
    &["list-sessions"],
    &[
        "list-sessions",
        "-F",
        "#{session_id} #{session_name} #{session_attached} #{session_many_attached} #{session_windows} \
         #{session_alerts} #{session_stack} #{session_group} #{session_path} #{session_marked}",
    ],
    &[
        "list-clients",
        "-F",
        "#{client_session} #{client_last_session} #{client_width} #{client_height} #{client_flags} \
         #{client_key_table} #{client_prefix} #{client_readonly} #{client_utf8}",
    ],
    &[
        "list-windows",
        "-a",
        "-F",
        "#{session_name} #{window_id} #{window_index} #{window_name} #{window_width}x#{window_height} \
         #{window_raw_flags} #{window_activity_flag}#{window_bell_flag}#{window_silence_flag} #{window_layout} \
         #{window_linked} #{window_zoomed_flag} #{window_active_clients}",
    ],
    &[
        "list-panes",
        "-a",
        "-F",
        "#{pane_id} #{pane_index} #{pane_active} #{pane_last} #{pane_width}x#{pane_height} #{pane_in_mode} \
         #{pane_mode} #{scroll_position} #{pane_marked} #{pane_dead} #{pane_title} #{pane_pipe} \
         #{pane_input_off} #{history_size} #{cursor_x},#{cursor_y} #{selection_present}",
    ],
    &["list-buffers", "-F", "#{buffer_name} #{buffer_size} #{buffer_sample}"],
    &["list-keys"],
    &["list-commands"],
    &["show-options", "-s"],
    &["show-options", "-g"],
    &["show-options", "-gw"],
    &["show-hooks", "-g"],
    &["show-hooks", "-gw"],
    &["show-environment", "-g"],
    &["show-options", "-t", "a"],
    &["show-options", "-w", "-t", "a:0"],
    &["show-environment", "-t", "a"],
    &["show-environment", "-h", "-t", "a"],
    &["choose-tree", "-t", "nosuch"],
    &["capture-pane", "-p", "-J", "-t", "a:0"],
];

/// Returns what a server shows, without the names and times that differ from server to server.
fn shown(tmux: &PrivateTmux) -> String {
    let mut all = String::new();
    for command in SHOWN {
        let output = tmux.try_run(command);
        all += &format!("== {}\n{}{}", command.join(" "), text(&output.stdout), text(&output.stderr));
    }
    let home = tmux.home().display().to_string();
    let lines = all.lines().map(|line| match line.split_once(" (created ") {
        Some((before, after)) => format!("{before}{}", after.split_once(')').map_or("", |(_, rest)| rest)),
        None => line.replace(&home, "HOME"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A terminal in which a client is attached: a pane of another server.
struct Screen {
    tmux: PrivateTmux,
    _dir: TempDir,
}

impl Screen {
    fn attach(to: &PrivateTmux, session: &str, (width, height): (u32, u32)) -> Self {
        let dir = short_dir();
        let outer = PrivateTmux::at(dir.path().join("s"));
        let attach = format!(
            "exec env -u TMUX {} -u -S {} attach-session -t {session}",
            tmux_program().display(),
            to.socket.display()
        );
        let (width, height) = (width.to_string(), height.to_string());
        outer.start(&["-x", &width, "-y", &height, &attach, ";", "set-option", "-g", "status", "off"]);
        Self { tmux: outer, _dir: dir }
    }

    fn press(&self, keys: &[&str]) {
        self.tmux.run(&[&["send-keys"], keys].concat());
    }
}

/// Prepares a quick keeper that uses the tmux of the test, with more settings of `[tmux]`.
fn prepare(settings: &str) -> Keeper {
    let keeper = Keeper::prepare();
    let program = tmux_program();
    keeper
        .configure(&format!("[snapshot]\ninterval = \"200ms\"\n[tmux]\nprogram = {program:?}\n{settings}\n"));
    keeper
}

/// Two servers to which the same is done; one is watched.
struct Twins {
    screens: Vec<[Screen; 2]>,
    keeper: Keeper,
    plain: PrivateTmux,
    _dir: TempDir,
}

impl Twins {
    fn start() -> Self {
        let mut keeper = prepare("found = false\n[restore]\nauto = false");
        let dir = short_dir();
        let plain = PrivateTmux::at(dir.path().join("s"));
        for tmux in [&keeper.tmux, &plain] {
            // Which name a window gets by itself depends on when tmux looks.
            tmux.start(&["-s", "a", "-n", "one", "-x", "90", "-y", "25", "cat"]);
            tmux.run(&["set-option", "-g", "automatic-rename", "off"]);
            tmux.run(&["set-option", "-g", "status-interval", "0"]);
        }
        keeper.start_watching();
        Self { screens: Vec::new(), keeper, plain, _dir: dir }
    }

    fn both(&self) -> [&PrivateTmux; 2] {
        [&self.keeper.tmux, &self.plain]
    }

    /// Does the same to both, and has the one looked at from all sides.
    #[track_caller]
    fn run(&self, arguments: &[&str]) {
        for tmux in self.both() {
            tmux.run(arguments);
        }
        self.same(&arguments.join(" "));
    }

    fn attach(&mut self, session: &str, size: (u32, u32)) {
        let screens = self.both().map(|tmux| Screen::attach(tmux, session, size));
        self.screens.push(screens);
        let count = self.screens.len();
        for tmux in self.both() {
            until("the client to be attached", || tmux.run(&["list-clients"]).lines().count() == count);
        }
        self.same(&format!("attach to {session}"));
    }

    #[track_caller]
    fn press(&self, screen: usize, keys: &[&str]) {
        self.screens[screen].iter().for_each(|screen| screen.press(keys));
        self.same(&format!("keys {keys:?}"));
    }

    /// Ends a terminal, as a connection that breaks.
    #[track_caller]
    fn close(&mut self, screen: usize) {
        drop(self.screens.remove(screen));
        let count = self.screens.len();
        for tmux in self.both() {
            until("the client to be gone", || tmux.run(&["list-clients"]).lines().count() == count);
        }
        self.same("a terminal closed");
    }

    /// Waits until both show the same, and looks at the one that is watched: it must still be the same.
    #[track_caller]
    fn same(&self, after: &str) {
        let both = || self.both().map(shown);
        let mut last = both();
        for _ in 0..250 {
            if last[0] == last[1] {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            last = both();
        }
        assert_same(after, &last);
        self.look();
        assert_same(&format!("{after}, and looks"), &both());
    }

    /// Has the watched server looked at from all sides and saved, some times.
    #[track_caller]
    fn look(&self) {
        for _ in 0..3 {
            let output = self.keeper.ctl(&["snapshot", "take"]);
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
    }
}

#[track_caller]
fn assert_same(after: &str, [watched, plain]: &[String; 2]) {
    let differ = watched.lines().zip(plain.lines()).filter(|(one, other)| one != other);
    let lines: Vec<String> = differ.map(|(one, other)| format!("watched: {one}\nplain:   {other}")).collect();
    assert!(watched == plain, "after {after}:\n{}", lines.join("\n"));
}

#[test]
fn a_watched_server_shows_what_an_unwatched_one_shows() {
    let mut twins = Twins::start();
    twins.run(&["set-option", "-g", "monitor-activity", "on"]);
    twins.run(&["set-option", "-g", "visual-activity", "both"]);
    twins.run(&["set-buffer", "-b", "kept", "some text"]);
    twins.run(&["set-hook", "-g", "after-rename-window", "set-option -g @renamed yes"]);
    twins.run(&["new-session", "-d", "-s", "b", "-x", "70", "-y", "20", "cat"]);
    twins.run(&[
        "new-window",
        "-d",
        "-t",
        "a:1",
        "-n",
        "loud",
        "sh",
        "-c",
        "tmux wait-for go; echo; printf '\\a'; exec cat",
    ]);
    twins.attach("a", (100, 30));
    twins.run(&["wait-for", "-S", "go"]);
    for tmux in twins.both() {
        // What was printed unseen is marked, and stays marked.
        until("the alert", || {
            tmux.run(&["display-message", "-p", "-t", "a:1", "#{window_raw_flags}"]) == "#!"
        });
    }
    twins.same("an alert");
    twins.run(&["split-window", "-h", "-t", "a:0", "cat"]);
    twins.run(&["select-pane", "-m", "-t", "a:0.0"]);
    twins.run(&["copy-mode", "-t", "a:0.1"]);
    twins.run(&["resize-pane", "-Z", "-t", "a:0.0"]);
    twins.run(&["rename-window", "-t", "a:0", "work"]);
    // The client goes to another session and remembers the last one.
    twins.press(0, &["C-b", ")"]);
    twins.press(0, &["C-b", "L"]);
    twins.press(0, &["C-b", ":"]);
    twins.press(0, &["Escape"]);
    twins.run(&["new-session", "-d", "-t", "a", "-s", "group"]);
    twins.run(&["kill-session", "-t", "group"]);
    twins.run(&["link-window", "-d", "-s", "a:1", "-t", "b:5"]);
    twins.run(&["kill-session", "-t", "b"]);
}

#[test]
fn windows_have_the_sizes_that_their_clients_give_them() {
    let mut twins = Twins::start();
    twins.run(&["new-session", "-d", "-s", "b", "cat"]);
    twins.attach("a", (100, 30));
    twins.attach("a", (70, 40));
    for policy in ["largest", "smallest", "latest"] {
        twins.run(&["set-option", "-g", "window-size", policy]);
        twins.run(&["new-window", "-t", "a", "-n", policy, "cat"]);
    }
    // Not globally: 3.3a crashes when it makes a window then.
    twins.run(&["set-option", "-w", "-t", "a:0", "window-size", "manual"]);
    twins.press(0, &["x"]);
    twins.press(1, &["x"]);
    twins.run(&["resize-window", "-t", "a:0", "-x", "55", "-y", "15"]);
    twins.run(&["set-option", "-g", "default-size", "60x20"]);
    twins.run(&["new-session", "-d", "-s", "c", "cat"]);
    twins.close(1);
    twins.close(0);
    twins.attach("b", (64, 22));
}

#[test]
fn sessions_end_with_their_clients_where_that_is_set_and_only_then() {
    let mut twins = Twins::start();
    twins.run(&["set-option", "-g", "detach-on-destroy", "off"]);
    for name in ["stays", "goes"] {
        twins.run(&["new-session", "-d", "-s", name, "cat"]);
    }
    twins.attach("goes", (80, 24));
    twins.attach("stays", (90, 24));
    twins.run(&["set-option", "-t", "goes", "destroy-unattached", "on"]);
    twins.run(&["set-option", "-t", "a", "destroy-unattached", "off"]);
    twins.close(0);
    assert_eq!(twins.plain.sessions(), ["a", "stays"]);
    twins.attach("a", (80, 24));
    // The server goes with its last client.
    twins.run(&["set-option", "-g", "exit-unattached", "on"]);
    let servers = twins.both().map(|tmux| tmux.server_pid().unwrap());
    twins.screens.clear();
    for pid in servers {
        until("the server to be gone", || !support::alive(pid));
    }
}

/// Everything that formats show of a client and the pane it is in, each pane, and when they were last active, without
/// what is about the client that asks.
fn variables(tmux: &PrivateTmux) -> Vec<String> {
    let client = tmux.run(&["list-clients", "-F", "#{client_name}"]);
    let mut lines: Vec<String> = tmux
        .panes("#{pane_id}")
        .iter()
        .flat_map(|pane| {
            let all = tmux.try_run(&["display-message", "-a", "-p", "-c", &client, "-t", pane]);
            // 3.2a takes no argument of -c.
            let taken = all.status.success();
            let all = if taken { all } else { tmux.try_run(&["display-message", "-a", "-p", "-t", pane]) };
            text(&all.stdout).lines().map(|line| format!("{pane} {line}")).collect::<Vec<_>>()
        })
        .collect();
    lines.extend(
        tmux.run(&["list-sessions", "-F", "#{session_id} #{session_activity} #{session_last_attached}"])
            .lines()
            .map(str::to_owned),
    );
    lines.extend(
        tmux.run(&["list-clients", "-F", "#{client_name} #{client_activity} #{client_written}"])
            .lines()
            .map(str::to_owned),
    );
    lines
}

#[test]
fn a_look_leaves_every_variable_as_it_is() {
    let mut twins = Twins::start();
    twins.run(&["new-session", "-d", "-s", "b", "cat"]);
    twins.run(&["split-window", "-t", "a:0", "cat"]);
    twins.attach("a", (100, 30));
    // The client draws itself once more when its keys have been handled.
    let tmux = &twins.keeper.tmux;
    let before = eventually("nothing to move", || {
        let before = variables(tmux);
        std::thread::sleep(std::time::Duration::from_millis(300));
        (variables(tmux) == before).then_some(before)
    });
    assert!(before.iter().any(|line| line.contains("window_activity=")), "{before:?}");
    twins.look();
    let after = variables(tmux);
    let differ: Vec<_> = before.iter().zip(&after).filter(|(one, other)| one != other).collect();
    assert!(differ.is_empty() && before.len() == after.len(), "{differ:#?}");
}

/// Returns the processes that run tmux for a socket, but for its server and those who are attached.
fn clients(tmux: &PrivateTmux) -> Vec<(u32, String)> {
    let socket = tmux.socket.display().to_string();
    let server = tmux.server_pid();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let argv = text(&fs::read(entry.path().join("cmdline")).unwrap_or_default()).replace('\0', " ");
        if argv.contains(&socket)
            && Some(pid) != server
            && !argv.starts_with(env!("CARGO_BIN_EXE_agent-keeper"))
        {
            found.push((pid, argv));
        }
    }
    found
}

#[test]
fn a_killed_keeper_leaves_no_client_and_nothing_changed() {
    let mut keeper = prepare("");
    keeper.start_watching();
    keeper.tmux.run(&["new-session", "-d", "-s", "a", "cat"]);
    keeper.saved_sessions(&["a"]);
    until("a client that waits for the end", || !clients(&keeper.tmux).is_empty());
    for round in 0..5 {
        let before = shown(&keeper.tmux);
        // In the middle of a look, or before it, or after it.
        let taking = keeper.ctl_command(&["snapshot", "take"]).spawn();
        std::thread::sleep(std::time::Duration::from_millis(7 * round));
        keeper.stop_daemon("KILL");
        taking.unwrap().wait().unwrap();
        until("no client of ours to be left", || clients(&keeper.tmux).is_empty());
        assert_eq!(shown(&keeper.tmux), before);
        keeper.start_watching();
        until("a client that waits for the end", || !clients(&keeper.tmux).is_empty());
    }
    let server = keeper.tmux.server_pid().unwrap();
    // A look that is stopped half way holds nobody up.
    signal(keeper.daemon_pid(), "STOP");
    keeper.tmux.run(&["new-window", "-t", "a", "cat"]);
    signal(keeper.daemon_pid(), "CONT");
    assert_eq!(keeper.tmux.server_pid(), Some(server));
}
