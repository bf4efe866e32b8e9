//! The keeper's life on a real machine, as an ordinary user over SSH and as root.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::machine::{Machine, Output, Suite, User};
use crate::matrix::provoke_some;
use crate::{on, push_program, skip};

/// How long the guest may take for anything; it is emulated and about twenty times slower than metal.
pub(crate) const LONG: Duration = Duration::from_secs(240);

/// Everything about panes that must be the same after a restore, one line each.
const TREE: &str = "#{session_name}|#{window_index}|#{window_name}|#{window_active}|#{window_last_flag}|\
    #{window_zoomed_flag}|#{window_width}x#{window_height}|#{pane_index}|#{pane_active}|#{pane_title}|\
    #{pane_current_path}|#{pane_width}x#{pane_height}|#{pane_left},#{pane_top}";

/// The rows of the matrix that are provoked every day: what is told by memory, by a signal and by systemd.
const DEATHS: [&str; 4] = [
    "kill-window",
    "the kernel kills a pane's program at its unit's limit",
    "the server crashes",
    "somebody has systemd stop the server's scope",
];

#[test]
fn the_keeper_on_trixie() -> Result<()> {
    on(Suite::Trixie, "keeper", |machine| story(machine, Suite::Trixie))
}

#[test]
fn the_keeper_on_bookworm() -> Result<()> {
    on(Suite::Bookworm, "keeper", |machine| story(machine, Suite::Bookworm))
}

/// The whole story. A chapter takes its time because the guest does; how long is printed. What takes longest and
/// depends on the kernel and the file system, not on tmux or systemd, is tried on one of them.
fn story(machine: &mut Machine, suite: Suite) -> Result<()> {
    let thorough = suite == Suite::Trixie;
    let mut lap = Lap::start(machine.name());
    let mut chapter = |name: &'static str, result: Result<()>| {
        lap.done(name);
        result.with_context(|| format!("chapter {name:?}"))
    };
    chapter("binaries travel", install(machine))?;
    if let Some(why) = cannot_run(machine, "keeperctl")? {
        return skip(machine.name(), why);
    }
    chapter("a server in a login session is found out", server_in_login_session(machine))?;
    chapter("setup", setup(machine))?;
    chapter("nothing leaks into panes", nothing_leaks(machine))?;
    chapter("the work is saved", build_work(machine))?;
    chapter("the daemon dies again and again", daemon_dies(machine, if thorough { 50 } else { 10 }))?;
    chapter("the server is killed", server_killed(machine))?;
    chapter("reboot", reboot(machine))?;
    chapter("a last change", last_change(machine))?;
    if thorough {
        chapter("power cut", power_cut(machine))?;
    }
    chapter("logout with KillUserProcesses", logout_with_kill(machine))?;
    chapter("logout without linger", logout_without_linger(machine))?;
    chapter("without polkit", without_polkit(machine))?;
    chapter("logout ends the server", logout_ends_server(machine))?;
    chapter("the causes of death", provoke_some(machine, suite, &DEATHS))?;
    chapter("deaths are told", deaths_are_told(machine))?;
    chapter("uninstall", uninstall(machine))
}

/// Says how long each chapter took.
struct Lap {
    machine: String,
    started: Instant,
}

impl Lap {
    fn start(machine: &str) -> Self {
        Self { machine: machine.to_owned(), started: Instant::now() }
    }

    fn done(&mut self, chapter: &str) {
        eprintln!("{}: {chapter}: {:.0?}", self.machine, self.started.elapsed());
        self.started = Instant::now();
    }
}

// ── helpers ──

/// Runs a script as the user, in a login shell over a connection of its own.
pub(crate) fn agent(machine: &Machine, script: &str) -> Result<String> {
    machine.command(User::Agent, script).login().deadline(LONG).ok()
}

fn agent_any(machine: &Machine, script: &str) -> Result<Output> {
    machine.command(User::Agent, script).login().deadline(LONG).run()
}

pub(crate) fn root(machine: &Machine, script: &str) -> Result<String> {
    machine.command(User::Root, script).deadline(LONG).ok()
}

/// Runs tmux against the user's server from root's console, so that nobody is logged in.
fn watch(machine: &Machine, tmux: &str) -> Result<String> {
    root(machine, &format!("runuser -u agent -- tmux -u -S /tmp/tmux-1000/default {tmux}"))
}

fn tree(machine: &Machine) -> Result<String> {
    watch(machine, &format!("list-panes -a -F '{TREE}'"))
}

/// The server and every pane process, by process id.
fn pids(machine: &Machine) -> Result<String> {
    watch(machine, "display-message -p '#{pid}' \\; list-panes -a -F '#{pane_id} #{pane_pid}'")
}

/// Runs keeperctl as the user, without a login: over the environment that `runuser -l` gives.
fn ctl(machine: &Machine, words: &str) -> Result<Output> {
    machine
        .command(
            User::Root,
            &format!("runuser -l agent -c 'XDG_RUNTIME_DIR=/run/user/1000 keeperctl {words}'"),
        )
        .deadline(LONG)
        .run()
}

pub(crate) fn ctl_json(machine: &Machine, words: &str) -> Result<Value> {
    let output = ctl(machine, &format!("{words} --json"))?;
    serde_json::from_str(&output.stdout).with_context(|| format!("keeperctl {words}: {output}"))
}

/// Waits until the newest snapshot shows the server as it is now: the same sessions, windows and panes, and
/// nothing printed since.
fn saved(machine: &Machine, sessions: &[&str]) -> Result<()> {
    machine.wait_for(&format!("a snapshot of {sessions:?}"), LONG, || {
        let shown = ctl_json(machine, "snapshot show latest")?;
        let list = shown["snapshot"]["server"]["sessions"].as_array().context("no sessions")?;
        let names: Vec<&str> = list.iter().filter_map(|session| session["name"].as_str()).collect();
        ensure!(names == sessions, "it shows {names:?}");
        Ok(())
    })
}

/// Waits until the same tree is there that was there before.
fn same_tree(machine: &Machine, before: &str) -> Result<()> {
    machine.wait_for("tree like the one before", LONG, || {
        let now = tree(machine)?;
        ensure!(now == before, "it was\n{before}\nand is\n{now}");
        Ok(())
    })
}

fn nobody_is_logged_in(machine: &Machine) -> Result<()> {
    let sessions =
        root(machine, "loginctl --no-legend list-sessions | grep -v manager | grep -c agent || true")?;
    ensure!(sessions == "0", "{sessions} logind sessions of agent");
    Ok(())
}

pub(crate) fn wait_for_logout(machine: &Machine) -> Result<()> {
    let gone = "[ -z \"$(loginctl --no-legend list-sessions | grep -v manager | grep agent)\" ]";
    machine.wait_until("end of agent's logind sessions", LONG, gone)
}

/// The result of one of doctor's checks.
fn check(doctor: &Value, id: &str) -> Result<Value> {
    let checks = doctor["checks"].as_array().context("no checks")?;
    checks
        .iter()
        .find(|check| check["id"] == id)
        .cloned()
        .with_context(|| format!("no check {id} in {doctor}"))
}

// ── chapters ──

pub(crate) fn install(machine: &Machine) -> Result<()> {
    let programs = [
        ("agent-keeper", env!("CARGO_BIN_EXE_agent-keeper")),
        ("keeperctl", env!("CARGO_BIN_EXE_keeperctl")),
    ];
    for (name, built) in programs {
        for (user, place) in [(User::Agent, "/home/agent/.local/bin"), (User::Root, "/usr/local/bin")] {
            push_program(machine, user, Path::new(built), &Path::new(place).join(name))?;
        }
    }
    Ok(())
}

/// Returns why our programs cannot run there: they need the C library they were built with, or a newer one.
pub(crate) fn cannot_run(machine: &Machine, keeperctl: &str) -> Result<Option<&'static str>> {
    let output = machine.command(User::Root, &format!("{keeperctl} --version")).deadline(LONG).run()?;
    if output.stderr.contains("version `GLIBC_") {
        return Ok(Some("the programs were built here with a newer C library than it has"));
    }
    ensure!(output.success() && output.stdout.lines().count() == 1, "{output}");
    Ok(None)
}

/// Before there is a keeper, tmux is born in the login session; doctor says what that means, and that linger is
/// off.
fn server_in_login_session(machine: &Machine) -> Result<()> {
    agent(machine, "tmux new-session -d -s old")?;
    let output = agent_any(machine, "keeperctl doctor --json")?;
    ensure!(output.code == 3, "doctor should have found problems: {output}");
    let doctor: Value = serde_json::from_str(&output.stdout)?;
    for id in ["linger.enabled", "server.place", "server.exit-empty", "keeper.enabled", "keeper.running"] {
        ensure!(check(&doctor, id)?["result"] == "problem", "{id}: {doctor}");
    }
    ensure!(check(&doctor, "server.place")?["seen"].as_str().is_some_and(|seen| seen.contains("session-")));
    ensure!(check(&doctor, "logind.kill-user-processes")?["result"] == "good");
    agent(machine, "tmux kill-server").map(drop)
}

/// One command, and everything is in place.
fn setup(machine: &Machine) -> Result<()> {
    let said = agent(machine, "keeperctl setup")?;
    ensure!(said.contains("lingering switched on"), "{said}");
    ensure!(root(machine, "loginctl show-user agent -P Linger")? == "yes");
    let unit =
        agent(machine, "systemctl --user show agent-keeper -P ActiveState -P UnitFileState -P StatusText")?;
    ensure!(unit.contains("active") && unit.contains("enabled"), "{unit}");
    let again = agent(machine, "keeperctl setup")?;
    ensure!(again.contains("is as it should be"), "{again}");
    machine.wait_for("founded server", LONG, || watch(machine, "display-message -p '#{pid}'"))?;
    let place =
        "cat /proc/$(runuser -u agent -- tmux -S /tmp/tmux-1000/default display-message -p '#{pid}')/cgroup";
    let place = root(machine, place)?;
    ensure!(place.ends_with("app-agentkeeper.slice/agent-keeper-tmux-default.scope"), "{place}");
    let policy = "systemctl --user show agent-keeper-tmux-default.scope -P OOMPolicy -P CollectMode";
    let policy = agent(machine, policy)?;
    ensure!(policy.contains("continue") && policy.contains("inactive-or-failed"), "{policy}");
    agent(machine, "keeperctl drill")?;
    let doctor = agent_any(machine, "keeperctl doctor")?;
    ensure!(doctor.success(), "{doctor}");
    // Root is a user like any other.
    let said = root(machine, "keeperctl setup")?;
    ensure!(root(machine, "loginctl show-user root -P Linger")? == "yes", "{said}");
    root(machine, "tmux new-session -d -s rootwork -c /var/log; tmux split-window -d -t rootwork -c /etc")
        .map(drop)
}

/// What the service has must not reach a pane: its environment, limits, OOM score; sudo must work.
fn nothing_leaks(machine: &Machine) -> Result<()> {
    root(machine, "echo 'agent ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/agent")?;
    let look = "env | sort; echo umask=$(umask); grep -E NoNewPrivs /proc/self/status; \
        echo oom=$(cat /proc/self/oom_score_adj); echo sudo=$(sudo -n id -u); echo nofile=$(ulimit -Sn)/$(ulimit -Hn)";
    agent(machine, &format!("{{ {look}; }} > login.txt 2>&1"))?;
    agent(
        machine,
        &format!(
            "tmux new-session -d -s look '{{ {look}; }} > pane.txt 2>&1; tmux wait-for -S looked; sleep 1000'; tmux wait-for looked"
        ),
    )?;
    let pane = agent(machine, "cat pane.txt")?;
    let login = agent(machine, "cat login.txt")?;
    let value = |report: &str, name: &str| {
        report.lines().find_map(|line| line.strip_prefix(&format!("{name}=")).map(str::to_owned))
    };
    for name in [
        "INVOCATION_ID",
        "NOTIFY_SOCKET",
        "JOURNAL_STREAM",
        "WATCHDOG_USEC",
        "MANAGERPID",
        "SYSTEMD_EXEC_PID",
        "MEMORY_PRESSURE_WATCH",
    ] {
        ensure!(value(&pane, name).is_none(), "{name} leaked: {pane}");
    }
    for name in ["FROM_PROFILE", "umask", "sudo", "HOME", "SHELL", "LANG"] {
        ensure!(value(&pane, name) == value(&login, name), "{name} differs: {pane}\nlogin: {login}");
    }
    ensure!(value(&pane, "sudo").as_deref() == Some("0"), "sudo does not work in a pane: {pane}");
    ensure!(pane.contains("NoNewPrivs:\t0"), "{pane}");
    // A user cannot go below what the manager itself has, 100; services would have 200.
    ensure!(value(&pane, "oom").as_deref() == Some("100"), "{pane}");
    let path = agent(machine, "tmux show-environment -g PATH")?;
    ensure!(path.starts_with("PATH=/home/agent/.local/bin:"), "{path}");
    agent(machine, "tmux kill-session -t look; rm pane.txt login.txt").map(drop)
}

/// Three sessions with eight panes in nested layouts, other directories, one zoomed, 2,000 lines in one.
fn build_work(machine: &Machine) -> Result<()> {
    let script = r#"set -e
        mkdir -p "$HOME/a dir" "$HOME/b"
        tmux new-session -d -s 'web app' -x 120 -y 40 -n 'edit "x"' -c "$HOME/a dir"
        tmux split-window -h -t 'web app' -c /usr
        tmux split-window -v -t 'web app' -c /etc
        tmux split-window -h -b -t 'web app' -c /var
        tmux select-pane -t 'web app:0.2' -T 'a title'
        tmux select-pane -t 'web app:0.0'
        tmux select-pane -t 'web app:0.2'
        tmux resize-pane -Z -t 'web app:0.2'
        tmux new-session -d -s 'agents-😀' -x 100 -y 30 -n main -c "$HOME/b"
        tmux split-window -v -t 'agents-😀' -c /tmp
        tmux new-window -d -t 'agents-😀:4' -n '##{pid}' -c /usr/lib
        tmux new-session -d -s third -x 90 -y 25 -n text -c /
        tmux send-keys -t third 'for i in $(seq 2000); do echo "line $i"; done; tmux wait-for -S printed' Enter
        tmux wait-for printed"#;
    agent(machine, script)?;
    saved(machine, &["web app", "agents-😀", "third"])?;
    text_is_saved(machine)
}

fn text_is_saved(machine: &Machine) -> Result<()> {
    machine.wait_for("snapshot of the 2,000 lines", LONG, || {
        let shown = ctl_json(machine, "snapshot show latest")?;
        let pane = &shown["snapshot"]["server"]["sessions"][2]["windows"][0]["panes"][0];
        let lines = pane["scrollback"]["lines"].as_u64().unwrap_or(0);
        ensure!(lines >= 2000, "it has {lines} lines");
        Ok(())
    })
}

fn text_is_back(machine: &Machine) -> Result<()> {
    let missing = "runuser -u agent -- tmux -S /tmp/tmux-1000/default capture-pane -p -S - -t third > /tmp/text; \
        for i in $(seq 2000); do grep -qx \"line $i\" /tmp/text || { echo \"line $i\"; break; }; done";
    machine.wait_for("text of the pane", LONG, || {
        let missing = root(machine, missing)?;
        ensure!(missing.is_empty(), "{missing} is missing");
        Ok(())
    })
}

/// Stop, restart, and fifty kills while panes print: server and panes do not notice.
fn daemon_dies(machine: &Machine, times: u32) -> Result<()> {
    agent(
        machine,
        "tmux send-keys -t 'agents-😀:0.1' 'while sleep 0.1; do echo tick $((i+=1)); done' Enter",
    )?;
    let before = pids(machine)?;
    agent(machine, "systemctl --user stop agent-keeper")?;
    ensure!(pids(machine)? == before, "stop changed something");
    agent(machine, "systemctl --user start agent-keeper && systemctl --user restart agent-keeper")?;
    ensure!(pids(machine)? == before, "restart changed something");
    // Without the rate limit, which is meant for other reasons to die.
    agent(
        machine,
        "mkdir -p .config/systemd/user/agent-keeper.service.d && printf '[Unit]\\nStartLimitIntervalSec=0\\n[Service]\\nRestartSec=0\\n' > .config/systemd/user/agent-keeper.service.d/test.conf && systemctl --user daemon-reload",
    )?;
    let kills = format!(
        "killed=0; last=0; while [ $killed -lt {times} ]; do \
        pid=$(systemctl --user show agent-keeper -P MainPID); \
        if [ $pid != 0 ] && [ $pid != $last ] && kill -KILL $pid; then last=$pid; killed=$((killed+1)); fi; \
        sleep 0.05; done; echo $killed"
    );
    let killed = machine.command(User::Agent, &kills).login().deadline(LONG * 2).ok()?;
    ensure!(killed == times.to_string(), "{killed}");
    ensure!(pids(machine)? == before, "a kill changed something");
    agent(
        machine,
        "rm -r .config/systemd/user/agent-keeper.service.d && systemctl --user daemon-reload && systemctl --user restart agent-keeper",
    )?;
    ensure!(pids(machine)? == before, "the last restart changed something");
    agent(machine, "tmux send-keys -t 'agents-😀:0.1' C-c").map(drop)
}

/// `kill -9` of the server: another one with everything in it, in a scope again.
fn server_killed(machine: &Machine) -> Result<()> {
    saved(machine, &["web app", "agents-😀", "third"])?;
    let before = tree(machine)?;
    let old = watch(machine, "display-message -p '#{pid}'")?;
    // That it takes less than 5 seconds is asserted in tests/daemon.rs: here it says more of the emulator.
    let secs = kill_server(machine, &before)?;
    eprintln!("{}: everything back {secs:.1} s after kill -9 of the server", machine.name());
    text_is_back(machine)?;
    stopped_while_restoring(machine, &before)?;
    let new = watch(machine, "display-message -p '#{pid}'")?;
    ensure!(new != old);
    let place = root(machine, &format!("cat /proc/{new}/cgroup"))?;
    ensure!(place.contains("app-agentkeeper.slice/agent-keeper-tmux-default"), "{place}");
    machine.wait_for("watching keeper", LONG, || {
        let status = ctl_json(machine, "status")?;
        ensure!(status["keeper"]["state"] == "watching", "{status}");
        Ok(())
    })?;
    let again = ctl_json(machine, "restore")?;
    let results = again["sessions"].as_array().context("no sessions")?;
    ensure!(results.iter().all(|row| row["result"] == "skipped"), "{again}");
    Ok(())
}

/// A keeper that is stopped in the middle of a restore finishes it first.
fn stopped_while_restoring(machine: &Machine, before: &str) -> Result<()> {
    let pid = watch(machine, "display-message -p '#{pid}'")?;
    let stop = format!(
        "kill -9 {pid}; until tmux has-session 2>/dev/null; do :; done; systemctl --user stop agent-keeper"
    );
    machine.command(User::Agent, &stop).login().deadline(LONG).ok()?;
    let now = tree(machine)?;
    ensure!(now == before, "it was\n{before}\nand is\n{now}");
    agent(machine, "systemctl --user start agent-keeper").map(drop)
}

/// Kills the server and returns how many seconds later the keeper had restored everything.
fn kill_server(machine: &Machine, before: &str) -> Result<f64> {
    let pid = watch(machine, "display-message -p '#{pid}'")?;
    let killed: f64 = root(machine, &format!("date +%s.%N; kill -9 {pid}"))?.parse()?;
    same_tree(machine, before)?;
    let log = format!("journalctl -o short-unix --since=@{killed:.0} _UID=1000 _COMM=agent-keeper");
    let back = machine.wait_for("end of the restore in the log", LONG, || {
        let line = root(machine, &format!("{log} | grep ': watching' | tail -n 1 | cut -d ' ' -f 1"))?;
        let stamp: f64 = line.parse()?;
        ensure!(stamp > killed, "the last one is from before");
        Ok(stamp)
    })?;
    Ok(back - killed)
}

/// A reboot with nobody logged in afterwards. What was closed before stays closed.
fn reboot(machine: &mut Machine) -> Result<()> {
    agent(machine, "tmux new-session -d -s closed1; tmux new-session -d -s closed2")?;
    saved(machine, &["web app", "agents-😀", "third", "closed1", "closed2"])?;
    agent(machine, "tmux send-keys -t closed1 exit Enter; tmux kill-session -t closed2")?;
    saved(machine, &["web app", "agents-😀", "third"])?;
    text_is_saved(machine)?;
    let before = tree(machine)?;
    let root_tree = format!("tmux list-panes -a -F '{TREE}'");
    let root_before = root(machine, &root_tree)?;
    machine.reboot()?;
    same_tree(machine, &before)?;
    nobody_is_logged_in(machine)?;
    text_is_back(machine)?;
    let state = root(machine, "systemctl --user -M agent@ is-active agent-keeper")?;
    ensure!(state == "active", "{state}");
    status_agrees(machine)?;
    machine.wait_for("root's own tree", LONG, || {
        let now = root(machine, &root_tree)?;
        ensure!(now == root_before, "it was\n{root_before}\nand is\n{now}");
        Ok(())
    })
}

/// `keeperctl status` says what tmux says.
fn status_agrees(machine: &Machine) -> Result<()> {
    let places = watch(
        machine,
        "list-panes -a -F '#{session_name}:#{window_index}.#{pane_index} #{pane_current_path}'",
    )?;
    let status = machine.wait_for("watching keeper", LONG, || {
        let status = ctl_json(machine, "status")?;
        ensure!(status["keeper"]["state"] == "watching", "{status}");
        Ok(status)
    })?;
    ensure!(status["linger"] == true && status["server"]["in_logind_session"] == false, "{status}");
    let mut said = Vec::new();
    for session in status["sessions"].as_array().context("no sessions")? {
        for window in session["windows"].as_array().context("no windows")? {
            for pane in window["panes"].as_array().context("no panes")? {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let (name, place) = (text(&session["name"]), text(&pane["directory"]));
                said.push(format!("{name}:{}.{} {place}", window["index"], pane["index"]));
            }
        }
    }
    // tmux sorts by name, status shows sessions as they were made.
    let mut places: Vec<_> = places.lines().collect();
    places.sort_unstable();
    said.sort_unstable();
    ensure!(said == places, "status says\n{}\nand tmux\n{}", said.join("\n"), places.join("\n"));
    Ok(())
}

/// A session of which nobody but the keeper makes anything that lasts.
fn last_change(machine: &Machine) -> Result<()> {
    machine.settle()?;
    agent(
        machine,
        "tmux new-session -d -s late -c /usr/share; tmux split-window -h -t late -c /var/lib; tmux rename-window -t late 'last change'",
    )?;
    Ok(())
}

/// The power goes 10 seconds after the last change.
fn power_cut(machine: &mut Machine) -> Result<()> {
    let before = tree(machine)?;
    // The one pause in these tests: it is the promise itself.
    std::thread::sleep(Duration::from_secs(10));
    machine.power_cut()?;
    same_tree(machine, &before)?;
    nobody_is_logged_in(machine)?;
    text_is_back(machine)?;
    status_agrees(machine)
}

/// KillUserProcesses=yes and linger on: a logout changes nothing.
fn logout_with_kill(machine: &Machine) -> Result<()> {
    root(
        machine,
        "mkdir -p /etc/systemd/logind.conf.d && printf '[Login]\\nKillUserProcesses=yes\\n' > /etc/systemd/logind.conf.d/kill.conf && systemctl restart systemd-logind",
    )?;
    machine.wait_until("logind with KillUserProcesses", LONG, "loginctl show-session 2>/dev/null; busctl get-property org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager KillUserProcesses | grep -q true")?;
    let mut session = machine.session(User::Agent)?;
    session.send("tmux -L doomed new-session -d; echo rea''dy")?;
    session.expect("ready", LONG)?;
    let doctor = ctl_json(machine, "doctor")?;
    ensure!(check(&doctor, "logind.kill-user-processes")?["result"] == "good", "{doctor}");
    let before = pids(machine)?;
    session.logout()?;
    wait_for_logout(machine)?;
    // The control: a server of the login session did not survive.
    machine.wait_until(
        "end of the login's own server",
        LONG,
        "! runuser -u agent -- tmux -L doomed has-session 2>/dev/null",
    )?;
    ensure!(pids(machine)? == before, "the logout changed something");
    Ok(())
}

/// Linger off: doctor says so before, everything ends after the logout, and comes back with the next login.
fn logout_without_linger(machine: &Machine) -> Result<()> {
    let before = tree(machine)?;
    // Logged in first: without a login and without lingering the manager ends after 10 seconds.
    let mut session = machine.session(User::Agent)?;
    session.send("echo he''re")?;
    session.expect("here", LONG)?;
    root(machine, "loginctl disable-linger agent")?;
    let output = ctl(machine, "doctor --json")?;
    ensure!(output.code == 3, "doctor should have found linger off: {output}");
    let doctor: Value = serde_json::from_str(&output.stdout)?;
    ensure!(check(&doctor, "linger.enabled")?["result"] == "problem", "{doctor}");
    session.logout()?;
    let ended = "case $(systemctl show user@1000 -P ActiveState) in inactive|failed) true;; *) false;; esac";
    machine.wait_until("end of agent's manager", LONG, ended)?;
    let slow = root(machine, "journalctl -b -o cat -u user@1000.service | grep 'timed out' || true")?;
    ensure!(slow.is_empty(), "something held the logout up: {slow}");
    ensure!(
        !machine.ssh(User::Root, "runuser -u agent -- tmux -S /tmp/tmux-1000/default has-session")?.success()
    );
    let _session = machine.session(User::Agent)?;
    same_tree(machine, &before)?;
    text_is_back(machine)?;
    // And doctor can mend it.
    let fixed = agent_any(machine, "keeperctl doctor --fix")?;
    ensure!(fixed.success() && fixed.stderr.contains("lingering is on now"), "{fixed}");
    ensure!(root(machine, "loginctl show-user agent -P Linger")? == "yes");
    Ok(())
}

/// Without polkit logind refuses a user's wish to linger; doctor prints the command that root has to type.
fn without_polkit(machine: &Machine) -> Result<()> {
    root(machine, "systemctl mask --now polkit")?;
    let mut session = machine.session(User::Agent)?;
    session.send("echo he''re")?;
    session.expect("here", LONG)?;
    root(machine, "loginctl disable-linger agent")?;
    let output = agent_any(machine, "keeperctl doctor --fix")?;
    ensure!(output.code == 3, "{output}");
    ensure!(output.stderr.contains("sudo loginctl enable-linger agent"), "{output}");
    root(machine, "loginctl enable-linger agent; systemctl unmask polkit; systemctl start polkit")?;
    session.logout()
}

/// A server that somebody started in a login ends with it, by the same signal as `tmux kill-server` sends. It
/// comes back all the same, in a safe place.
fn logout_ends_server(machine: &Machine) -> Result<()> {
    let mut session = machine.session(User::Agent)?;
    session.send("systemctl --user stop agent-keeper; tmux kill-server")?;
    session.send("until tmux new-session -d -s inside -c /usr; do sleep 0.2; done")?;
    session.send("systemctl --user start agent-keeper; echo start''ed")?;
    session.expect("started", LONG)?;
    saved(machine, &["inside", "web app", "agents-😀", "third", "late"])?;
    let before = tree(machine)?;
    let pid = watch(machine, "display-message -p '#{pid}'")?;
    let place = root(machine, &format!("cat /proc/{pid}/cgroup"))?;
    ensure!(place.contains("/session-"), "{place}");
    session.logout()?;
    machine.wait_until("end of the login's server", LONG, &format!("! test -e /proc/{pid}"))?;
    same_tree(machine, &before)?;
    let pid = watch(machine, "display-message -p '#{pid}'")?;
    let place = root(machine, &format!("cat /proc/{pid}/cgroup"))?;
    ensure!(place.contains("app-agentkeeper.slice"), "{place}");
    saved(machine, &["inside", "web app", "agents-😀", "third", "late"])
}

/// The journal has what died, with fields and an explanation; the timeline has all of this day.
fn deaths_are_told(machine: &Machine) -> Result<()> {
    let died = "MESSAGE_ID=2944bec4d15e4eeaa1b5fc6a1bd24dae";
    let entry =
        agent(machine, &format!("journalctl --user -n 1 -o json AGENT_KEEPER_CAUSE=oom-kill {died}"))?;
    let entry: Value = serde_json::from_str(&entry).with_context(|| entry.clone())?;
    for (field, value) in [
        ("SYSLOG_IDENTIFIER", "agent-keeper"),
        ("AGENT_KEEPER_PLACE", "row"),
        ("AGENT_KEEPER_SUBJECT", "session"),
        ("PRIORITY", "4"),
    ] {
        ensure!(entry[field] == value, "{field} is not {value}: {entry}");
    }
    let explained = agent(machine, &format!("journalctl --user -x -n 1 {died}"))?;
    ensure!(
        explained.contains("keeperctl why ") && explained.contains("Defined-By: agent-keeper"),
        "{explained}"
    );
    // The last of them has left a server without sessions.
    agent(machine, "tmux new-session -d -s after")?;
    let timeline = ctl_json(machine, "timeline --since 2000-01-01")?;
    let shown = timeline.to_string();
    let kinds = [
        "boot", "keeper", "server", "login", "logout", "linger", "memory", "shutdown", "restored", "died",
        "snapshot",
    ];
    for kind in kinds {
        ensure!(shown.contains(&format!("\"kind\":\"{kind}\"")), "no {kind} in {shown}");
    }
    Ok(())
}

/// Uninstalling leaves the server and everything in it.
fn uninstall(machine: &Machine) -> Result<()> {
    let before = pids(machine)?;
    let said = agent(machine, "keeperctl uninstall --purge")?;
    ensure!(said.contains("stop and disable"), "{said}");
    let after = pids(machine)?;
    ensure!(after == before, "uninstall changed something: it was\n{before}\nand is\n{after}");
    let left = agent(
        machine,
        "ls -d .config/systemd/user/agent-keeper.service .config/systemd/user/tmux-spawn-.scope.d .local/state/agent-keeper 2>/dev/null || true",
    )?;
    ensure!(left.is_empty(), "left behind: {left}");
    let unit = agent(machine, "systemctl --user show agent-keeper -P LoadState")?;
    ensure!(unit == "not-found", "{unit}");
    let explained = "journalctl --list-catalog | grep -c agent-keeper || true";
    ensure!(root(machine, explained)? == "2", "the catalog is root's, and root still has it");
    root(machine, "keeperctl uninstall --purge")?;
    ensure!(root(machine, explained)? == "0", "the catalog is left behind");
    Ok(())
}
