//! What being watched costs while nothing happens, while a little happens and while much does, and how soon a change
//! is on the disk.
//!
//! Two servers with the same panes on private sockets: one is watched by the daemon as it is configured by default,
//! the other by nobody. The same is done to both. CPU is that of the daemon, of the tmux clients that it has waited
//! for, and of the watched server less the other one's; each as a part of one core.
//!
//! `cargo bench --bench idle [SECONDS [PANES]]`, by default 180 and 100. Nothing else about the machine matters much:
//! processor time is counted, not what the clock shows. The delays are the clock's.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench may panic")]
#![allow(clippy::print_stdout, reason = "the result")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent_keeper::model::{Server, Snapshot};
use agent_keeper::store::Store;

/// Names another `agent-keeper` to measure: an older one.
const PROGRAM: &str = "AGENT_KEEPER_BENCH_PROGRAM";

/// How often each kind of change is measured.
const CHANGES: u32 = 40;

/// How many windows the storm opens and closes.
const STORM: u32 = 1000;

/// How long a change may take to be on the disk before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    let asked: Vec<u64> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let seconds = Duration::from_secs(asked.first().copied().unwrap_or(180));
    let panes = asked.get(1).copied().unwrap_or(100);
    println!("{panes} panes; load of the machine {}", load());
    let bench = Bench::start(panes);
    let rest = |time: Duration| move || std::thread::sleep(time);
    // Shells draw their prompts, and what they do is saved.
    std::thread::sleep(Duration::from_secs(20));
    println!("{:<34} {:>8} {:>8} {:>8} {:>8}", "% of a core", "daemon", "clients", "server", "all");
    bench.during("nothing happens", rest(seconds));
    bench.spin("0");
    bench.during("1 pane prints every second", rest(seconds / 3));
    bench.spin("off");
    std::thread::sleep(Duration::from_secs(5));
    bench.durable();
    bench.during(&format!("{STORM} windows opened and closed"), || bench.storm());
    println!("memory of the daemon in kB: {}; load of the machine {}", bench.memory(), load());
}

fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Ends with what it started.
struct Bench {
    watched: Tmux,
    other: Tmux,
    daemon: Child,
    store: Store,
    _dir: tempfile::TempDir,
}

struct Tmux {
    socket: std::path::PathBuf,
}

impl Tmux {
    fn start(dir: &Path, name: &str, panes: u64) -> Self {
        let tmux = Self { socket: dir.join(name) };
        let shell = ["-x", "120", "-y", "40", "bash", "--norc"];
        tmux.run(&[&["-f", "/dev/null", "new-session", "-d", "-s", "main"][..], &shell].concat());
        for _ in 1..panes {
            tmux.run(&["new-window", "-d", "-t", "main", "bash", "--norc"]);
        }
        tmux
    }

    fn run(&self, arguments: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        tmux.env_remove("TMUX").stdin(Stdio::null()).arg("-S").arg(&self.socket).args(arguments);
        let output = tmux.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn pid(&self) -> u32 {
        self.run(&["display-message", "-p", "#{pid}"]).parse().unwrap()
    }
}

/// Processor time so far.
#[derive(Clone, Copy)]
struct Spent {
    daemon: Duration,
    clients: Duration,
    watched: Duration,
    other: Duration,
    at: Instant,
}

impl Bench {
    fn start(panes: u64) -> Self {
        let dir = tempfile::Builder::new().prefix("ak").tempdir_in("/tmp").unwrap();
        let [watched, other] = ["a", "b"].map(|name| Tmux::start(dir.path(), name, panes));
        let daemon = daemon(dir.path(), &watched.socket);
        let store = Store::open(dir.path().join("state/agent-keeper"));
        let bench = Self { watched, other, daemon, store, _dir: dir };
        let all = |server: &Server| server.panes().count() as u64 == panes;
        bench.saved("all panes", all);
        bench
    }

    fn spent(&self) -> Spent {
        let [daemon, clients] = times(self.daemon.id());
        let [watched, other] = [&self.watched, &self.other].map(|tmux| run_time(tmux.pid()));
        Spent { daemon, clients, watched, other, at: Instant::now() }
    }

    /// Tells what is spent while something is done to both servers.
    fn during(&self, what: &str, work: impl FnOnce()) {
        let before = self.spent();
        work();
        let after = self.spent();
        let whole = (after.at - before.at).as_secs_f64() / 100.0;
        let part = |spent: fn(&Spent) -> Duration| (spent(&after) - spent(&before)).as_secs_f64() / whole;
        let [daemon, clients] = [part(|spent| spent.daemon), part(|spent| spent.clients)];
        let [watched, other] = [part(|spent| spent.watched), part(|spent| spent.other)];
        let server = watched - other;
        let all = daemon + clients + server;
        println!(
            "{what:<34} {daemon:>8.3} {clients:>8.3} {server:>8.3} {all:>8.3}   in {:.0} s; the unwatched server {other:.3}",
            whole * 100.0
        );
    }

    /// Has the first pane of both print every second, or stop.
    fn spin(&self, pane: &str) {
        let keys = if pane == "off" { "C-c" } else { "while sleep 1; do printf '\\r%s' $SECONDS; done" };
        for tmux in [&self.watched, &self.other] {
            tmux.run(&["send-keys", "-t", "main:0", keys, "C-m"]);
        }
    }

    /// Waits until the newest generation shows something.
    fn saved(&self, what: &str, shows: impl Fn(&Server) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut last = 0;
        loop {
            let newest = self.store.numbers().ok().and_then(|numbers| numbers.last().copied()).unwrap_or(0);
            if newest != last
                && let Ok(Snapshot { server, .. }) = self.store.load(newest)
            {
                last = newest;
                if shows(&server) {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "not saved within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Tells how long changes take to be on the disk, made at any moment after a rest.
    fn durable(&self) {
        println!("{:<34} {:>8} {:>8} {:>8}", "ms until it is on the disk", "p50", "p99", "max");
        let windows = |server: &Server| server.sessions[0].windows.len();
        let panes = |server: &Server| server.panes().count();
        let mut all = Vec::new();
        let mut now = self.store.newest().unwrap().good.unwrap().1.server;
        let mut rows: [(&str, Vec<Duration>); 4] =
            ["new window", "rename", "split", "closed window"].map(|what| (what, Vec::new()));
        for round in 0..CHANGES {
            let name = format!("w{round}");
            let (count, split) = (windows(&now) + 1, panes(&now) + 2);
            rows[0].1.push(self.time(
                round,
                &["new-window", "-d", "-t", "main", "-n", &name, "cat"],
                |server| windows(server) == count,
            ));
            let renamed = format!("x{round}");
            let has = |server: &Server, name: &str| {
                server.sessions[0].windows.iter().any(|window| window.name == name)
            };
            rows[1].1.push(self.time(
                round + 1,
                &["rename-window", "-t", &format!("main:={name}"), &renamed],
                |server| has(server, &renamed),
            ));
            let target = format!("main:={renamed}");
            rows[2].1.push(self.time(round + 2, &["split-window", "-d", "-t", &target, "cat"], |server| {
                panes(server) == split
            }));
            rows[3]
                .1
                .push(self.time(round + 3, &["kill-window", "-t", &target], |server| !has(server, &renamed)));
            now = self.store.newest().unwrap().good.unwrap().1.server;
        }
        for (what, times) in rows {
            if what != "closed window" {
                all.extend(&times);
            }
            tell(what, times);
        }
        tell("all but closing", all);
    }

    fn time(&self, round: u32, command: &[&str], shows: impl Fn(&Server) -> bool) -> Duration {
        // Any moment between two looks, not always the same: 0.62 is no fraction of a second.
        std::thread::sleep(Duration::from_millis(u64::from(round * 620 % 1000 + 200)));
        let started = Instant::now();
        self.watched.run(command);
        self.saved(&command.join(" "), shows);
        started.elapsed()
    }

    /// Opens and closes windows in both, in turns.
    fn storm(&self) {
        for _ in 0..STORM {
            for tmux in [&self.watched, &self.other] {
                let window = tmux.run(&["new-window", "-d", "-P", "-F", "#{window_id}", "-t", "main", "cat"]);
                tmux.run(&["kill-window", "-t", &window]);
            }
        }
    }

    /// Returns the most memory that the daemon ever used, and what it uses.
    fn memory(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.id())).unwrap();
        let wanted = |line: &&str| line.starts_with("VmHWM") || line.starts_with("VmRSS");
        let words = status.lines().filter(wanted).map(|line| line.replace([' ', '\t'], ""));
        words.collect::<Vec<_>>().join(", ")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        for tmux in [&self.watched, &self.other] {
            tmux.run(&["kill-server"]);
        }
    }
}

/// Starts the daemon as its user has it, in directories of its own, and with no bus but its own.
fn daemon(dir: &Path, socket: &Path) -> Child {
    for part in ["home", "run", "state", "config"] {
        fs::create_dir(dir.join(part)).unwrap();
    }
    let program = std::env::var_os(PROGRAM).unwrap_or_else(|| env!("CARGO_BIN_EXE_agent-keeper").into());
    let mut daemon = Command::new(program);
    daemon
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", dir.join("home"))
        .env("SHELL", "/bin/bash")
        .env("XDG_RUNTIME_DIR", dir.join("run"))
        .env("XDG_STATE_HOME", dir.join("state"))
        .env("XDG_CONFIG_HOME", dir.join("config"))
        .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
        .arg("-S")
        .arg(socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.join("log")).unwrap());
    daemon.spawn().unwrap()
}

/// Returns the processor time of a process, and that of those which it has waited for.
fn times(pid: u32) -> [Duration; 2] {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<u32>().unwrap();
    // Fields 14 to 17 of proc_pid_stat(5), in ticks of 10 ms (sysconf(_SC_CLK_TCK) on Linux).
    [ticks(11) + ticks(12), ticks(13) + ticks(14)].map(|ticks| Duration::from_millis(10) * ticks)
}

/// Returns how long a process with one thread has run.
fn run_time(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize].as_secs_f64() * 1000.0;
    println!("{what:<34} {:>8.0} {:>8.0} {:>8.0}   of {}", at(0.5), at(0.99), at(1.0), times.len());
}
