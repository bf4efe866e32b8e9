//! What the tests share: a private tmux server, a whole keeper in directories of its own, and waiting for
//! something with a deadline.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may panic and tell"
)]

pub mod lab;

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use agent_keeper::environment::{Login, scrub};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long anything may take. Generous: a loaded machine is slow, and a test that waits for something
/// that comes does not wait longer for a longer deadline.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The tmux to test with.
pub fn tmux_program() -> PathBuf {
    std::env::var_os("AGENT_KEEPER_TEST_TMUX").map_or_else(|| "tmux".into(), PathBuf::from)
}

/// Returns what `look` returns as soon as it returns something.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `look` is true.
#[track_caller]
pub fn until(what: &str, mut look: impl FnMut() -> bool) {
    eventually(what, || look().then_some(()));
}

/// A directory with a short path: a socket's path must fit into 107 bytes. `tests/all.sh` names a place for
/// them, so that it can tell what a test leaves running.
pub fn short_dir() -> TempDir {
    let place = std::env::var_os("AGENT_KEEPER_TEST_DIR").unwrap_or_else(|| "/tmp".into());
    tempfile::Builder::new().prefix("ak").tempdir_in(place).unwrap()
}

/// Returns the output as text, for messages.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A tmux socket of the test's own. Whatever server is on it ends with this value.
pub struct PrivateTmux {
    pub socket: PathBuf,
}

impl PrivateTmux {
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(tmux_program());
        command.arg("-u").arg("-S").arg(&self.socket).env_remove("TMUX").stdin(Stdio::null());
        command.env("HOME", self.home()).env("SHELL", "/bin/bash");
        command
    }

    /// Where shells find no start-up files: those of who runs the tests do things that take time, and that
    /// nobody wants interrupted.
    pub fn home(&self) -> &Path {
        self.socket.parent().expect("a directory of the test's own")
    }

    /// Returns the environment of a login that has this home.
    pub fn login(&self) -> Login {
        let mut variables = scrub(std::env::vars_os());
        variables.insert("HOME".into(), self.home().into());
        variables.insert("SHELL".into(), "/bin/bash".into());
        Login { variables, umask: None, problem: None }
    }

    /// Runs a tmux command and returns whether it succeeded and what it printed.
    pub fn try_run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// Runs a tmux command that must succeed, and returns what it printed, without the last newline.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(output.status.success(), "tmux {arguments:?}: {}", text(&output.stderr));
        text(&output.stdout).trim_end_matches('\n').to_owned()
    }

    /// Starts a server with a session, without the user's configuration.
    pub fn start(&self, arguments: &[&str]) {
        let mut all = vec!["-f", "/dev/null", "new-session", "-d"];
        all.extend(arguments);
        self.run(&all);
    }

    pub fn server_pid(&self) -> Option<u32> {
        let output = self.try_run(&["display-message", "-p", "#{pid}"]);
        output.status.success().then(|| text(&output.stdout).trim().parse().ok())?
    }

    /// Returns one line per pane in a format, or nothing without sessions.
    pub fn panes(&self, format: &str) -> Vec<String> {
        let output = self.try_run(&["list-panes", "-a", "-F", format]);
        text(&output.stdout).lines().map(str::to_owned).collect()
    }

    pub fn sessions(&self) -> Vec<String> {
        let output = self.try_run(&["list-sessions", "-F", "#{session_name}"]);
        text(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// Returns the text of a pane, history and all.
    pub fn text_of(&self, target: &str) -> String {
        self.run(&["capture-pane", "-p", "-J", "-S", "-", "-t", target])
    }

    /// Kills the server as a crash would, and waits until it is gone.
    pub fn kill_server_hard(&self) -> u32 {
        let pid = self.server_pid().expect("a server");
        signal(pid, "KILL");
        until("the server to be gone", || !alive(pid));
        pid
    }
}

impl Drop for PrivateTmux {
    fn drop(&mut self) {
        let _ = self.try_run(&["kill-server"]);
    }
}

/// Sends a signal to a process. Not with kill(1), which a bare machine lacks.
pub fn signal(pid: u32, name: &str) {
    let signal: Signal = format!("SIG{name}").parse().unwrap();
    nix::sys::signal::kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

/// Returns whether a process runs; a zombie does not.
pub fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

/// A keeper with its own home, state, runtime directory and tmux socket.
pub struct Keeper {
    // Before the directory, in which its socket is: fields are dropped in this order.
    pub tmux: PrivateTmux,
    pub dir: TempDir,
    daemon: Option<Child>,
    variables: Vec<(String, String)>,
    names_socket: bool,
    /// A shell command that mounts something before the daemon starts, in a namespace of its own.
    mounts: Option<String>,
}

impl Keeper {
    /// Prepares the directories; nothing runs yet.
    pub fn prepare() -> Self {
        let dir = short_dir();
        for part in ["home", "run", "state", "config"] {
            fs::create_dir(dir.path().join(part)).unwrap();
        }
        let tmux = PrivateTmux::at(dir.path().join("s"));
        Self { tmux, dir, daemon: None, variables: Vec::new(), names_socket: true, mounts: None }
    }

    /// Prepares a keeper that looks at its server often, so that a test need not wait long.
    pub fn prepare_quick() -> Self {
        let keeper = Self::prepare();
        keeper.configure("[snapshot]\ninterval = \"200ms\"\n");
        keeper
    }

    /// Prepares and starts a keeper that has saved sessions of these names, then ends it and its server.
    #[track_caller]
    pub fn with_saved(names: &[&str]) -> Self {
        let mut keeper = Self::prepare_quick();
        keeper.start_watching();
        for name in names {
            keeper.tmux.run(&["new-session", "-d", "-s", name]);
        }
        keeper.saved_sessions(names);
        keeper.stop_daemon("TERM");
        keeper.tmux.kill_server_hard();
        keeper
    }

    /// Starts the daemon and waits until it watches a server.
    #[track_caller]
    pub fn start_watching(&mut self) {
        self.start_daemon();
        until("the keeper to watch a server", || self.state() == "watching");
    }

    /// Lets the daemon find the socket as it does for its user; it must be this one.
    pub fn find_socket_at(&mut self, socket: PathBuf) {
        self.names_socket = false;
        self.tmux = PrivateTmux::at(socket);
    }

    /// Lets the daemon start after a shell command that mounts something only it and keeperctl see.
    pub fn mount(&mut self, script: impl Into<String>) {
        self.mounts = Some(script.into());
    }

    /// Runs a shell command that sees what the daemon sees.
    #[track_caller]
    pub fn inside(&self, script: &str) {
        let output = self.enter().args(["sh", "-c", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", text(&output.stderr));
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.daemon_pid().to_string(), "-m"]);
        if !nix::unistd::geteuid().is_root() {
            command.args(["-U", "--preserve-credentials"]);
        }
        command
    }

    /// Prepares and starts a keeper that has founded a server.
    pub fn start() -> Self {
        let mut keeper = Self::prepare();
        keeper.start_watching();
        keeper
    }

    pub fn path(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    pub fn store_dir(&self) -> PathBuf {
        self.path("state/agent-keeper")
    }

    /// Adds a variable to the environment of everything that is started from here on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Writes the configuration file.
    pub fn configure(&self, content: &str) {
        let dir = self.path("config/agent-keeper");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("config.toml"), content).unwrap();
    }

    fn environment(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("SHELL", "/bin/bash")
            .env("XDG_RUNTIME_DIR", self.path("run"))
            // Also what names no socket must not find that of the person who runs the tests.
            .env("TMUX_TMPDIR", self.path("run"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("TMPDIR", self.dir.path())
            // Nothing of the machine's own buses: a test must not find a real systemd.
            .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
            .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path("home"));
    }

    /// Returns a command that would run the daemon.
    pub fn daemon_command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_agent-keeper");
        let mut command = match &self.mounts {
            None => Command::new(program),
            Some(script) => own_mounts(&format!("{script} && exec \"$0\" \"$@\""), program),
        };
        self.environment(&mut command);
        if self.names_socket {
            command.arg("-S").arg(&self.tmux.socket);
        }
        command.arg("--log").arg("debug").stdin(Stdio::null());
        command
    }

    /// Starts the daemon and waits until it answers.
    #[track_caller]
    pub fn start_daemon(&mut self) {
        self.spawn_daemon();
        until("the daemon to answer", || self.state() != "");
    }

    /// Starts the daemon and waits for nothing.
    pub fn spawn_daemon(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let child = self.daemon_command().stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.daemon = Some(child);
    }

    /// Starts the daemon so that it takes itself for a service of a service manager.
    #[track_caller]
    pub fn start_daemon_as_service(&mut self) {
        let daemon = self.daemon_command();
        let mut shell = Command::new("/bin/sh");
        self.environment(&mut shell);
        shell
            .args(["-c", "SYSTEMD_EXEC_PID=$$ exec \"$0\" \"$@\""])
            .arg(daemon.get_program())
            .args(daemon.get_args());
        self.daemon = Some(shell.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        until("the daemon to answer", || self.state() != "");
    }

    pub fn daemon_pid(&self) -> u32 {
        self.daemon.as_ref().expect("a running daemon").id()
    }

    /// Ends the daemon with a signal and returns its exit status.
    pub fn stop_daemon(&mut self, name: &str) -> std::process::ExitStatus {
        let mut daemon = self.daemon.take().expect("a running daemon");
        signal(daemon.id(), name);
        daemon.wait().unwrap()
    }

    /// Runs keeperctl.
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        self.ctl_command(arguments).output().unwrap()
    }

    pub fn ctl_command(&self, arguments: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_keeperctl");
        let mut command = match (&self.mounts, &self.daemon) {
            (Some(_), Some(_)) => {
                let mut command = self.enter();
                command.arg(program);
                command
            }
            _ => Command::new(program),
        };
        self.environment(&mut command);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs keeperctl, which must succeed, and returns the JSON that it prints.
    #[track_caller]
    pub fn ctl_json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.ctl(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "keeperctl {arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Returns what the daemon says it is doing; empty when it does not answer.
    pub fn state(&self) -> String {
        self.keeper_status()["state"].as_str().unwrap_or_default().to_owned()
    }

    /// Returns what the daemon says is wrong.
    pub fn problem(&self) -> String {
        self.keeper_status()["problem"].as_str().unwrap_or_default().to_owned()
    }

    fn keeper_status(&self) -> serde_json::Value {
        let output = self.ctl(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        status["keeper"].clone()
    }

    /// Returns the generations as `keeperctl snapshot list` has them.
    pub fn generations(&self) -> Vec<serde_json::Value> {
        let output = self.ctl(&["snapshot", "list", "--json"]);
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        list["snapshots"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until the newest generation satisfies something, and returns it whole.
    #[track_caller]
    pub fn saved(&self, what: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        eventually(&format!("a snapshot: {what}"), || {
            let newest = self.generations().last()?.clone();
            let number = newest["generation"].as_u64()?.to_string();
            let shown = self.ctl(&["snapshot", "show", &number, "--json"]);
            let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).ok()?;
            wanted(&shown["snapshot"]).then_some(shown)
        })
    }

    /// Waits until the newest generation shows exactly these sessions.
    #[track_caller]
    pub fn saved_sessions(&self, names: &[&str]) -> serde_json::Value {
        self.saved(&format!("sessions {names:?}"), |snapshot| session_names(snapshot) == names)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// Returns the names of the sessions in a snapshot.
pub fn session_names(snapshot: &serde_json::Value) -> Vec<&str> {
    let sessions = snapshot["server"]["sessions"].as_array();
    sessions.into_iter().flatten().filter_map(|session| session["name"].as_str()).collect()
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if std::thread::panicking() {
            eprintln!("── the daemon's log ──\n{}", self.log());
        }
    }
}

/// Returns a command that runs a shell script where mounts are its own; `zero` is its `$0`.
fn own_mounts(script: &str, zero: &str) -> Command {
    let mut command = Command::new("unshare");
    command.arg(if nix::unistd::geteuid().is_root() { "-m" } else { "-Urm" });
    command.args(["sh", "-c", script, zero]);
    command
}

/// Returns whether a process may have mounts of its own here.
pub fn can_mount() -> bool {
    let status = own_mounts("mount -t tmpfs -o size=64k none /tmp", "sh").stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Says loudly that something was not tested, and fails where it should have been.
#[track_caller]
pub fn skip(what: &str, why: &str) {
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "cannot test {what} here, and CI=true: {why}"
    );
    // Not eprintln!, which the test harness hides when a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {why}");
}

/// Returns whether a program is there.
pub fn has_program(name: impl AsRef<OsStr>) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| Path::new(&dir).join(name.as_ref()).exists())
}
