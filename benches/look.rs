//! What keeping costs, as ratios against the same done by hand in the same run: one `tmux list-panes` for a
//! look at the server, one `tmux capture-pane` a pane for its text, one `cp` and `sync` for a saved snapshot.
//!
//! `cargo bench --bench look [PANES…]`. A ratio near 1 means: as cheap as the plainest shell script.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench may panic")]
#![allow(clippy::print_stdout, reason = "the result")]

use std::cell::RefCell;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use agent_keeper::model::{FORMAT, PaneId, Reason, Server, Snapshot};
use agent_keeper::proc::Proc;
use agent_keeper::store::Writer;
use agent_keeper::tmux::Tmux;
use agent_keeper::tmux::capture::capture;
use agent_keeper::tmux::details::Known;
use agent_keeper::tmux::observe::{Observation, observe_again};

/// How often each thing is done; the median counts.
const ROUNDS: usize = 21;

fn main() {
    let asked: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let counts = if asked.is_empty() { vec![8, 50, 200] } else { asked };
    println!("median of {ROUNDS} rounds; format {FORMAT}");
    for panes in counts {
        Bench::start(panes).run();
    }
}

/// A server with so many panes, each of which has printed 500 lines, and a store.
struct Bench {
    dir: tempfile::TempDir,
    tmux: Tmux,
    runtime: tokio::runtime::Runtime,
    /// Options and environments, which the keeper reads every few seconds only.
    known: RefCell<Known>,
    panes: usize,
}

impl Bench {
    fn start(panes: usize) -> Self {
        let dir = tempfile::Builder::new().prefix("ak").tempdir_in("/tmp").unwrap();
        let socket = dir.path().join("s");
        let tmux = Tmux::new("tmux".into(), socket, std::env::vars_os().collect());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let bench = Self { dir, tmux, runtime, known: RefCell::default(), panes };
        let shell = "for i in $(seq 500); do echo \"$$ line $i of some ordinary output\"; done; tmux wait-for -S $TMUX_PANE; exec cat";
        bench.by_hand(&["-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40", shell]);
        for _ in 1..panes {
            bench.by_hand(&["new-window", "-d", shell]);
        }
        for pane in 0..panes {
            bench.by_hand(&["wait-for", &format!("%{pane}")]);
        }
        bench
    }

    fn by_hand(&self, arguments: &[&str]) {
        let mut tmux = Command::new("tmux");
        tmux.env_remove("TMUX").arg("-S").arg(self.tmux.socket()).args(arguments);
        assert!(tmux.stdout(Stdio::null()).status().unwrap().success(), "{arguments:?}");
    }

    fn observe(&self) -> Observation {
        let known = &mut self.known.borrow_mut();
        self.runtime.block_on(observe_again(&self.tmux, &Proc::default(), &|_| None, known)).unwrap()
    }

    fn observe_all(&self) -> Observation {
        self.known.borrow_mut().expire();
        self.observe()
    }

    fn run(&self) {
        let panes = self.panes;
        let seen = self.observe();
        let list =
            || self.by_hand(&["list-panes", "-a", "-F", "#{session_name} #{pane_id} #{pane_current_path}"]);
        compare(&format!("look at {panes} panes"), "list-panes", || drop(self.observe()), list);
        compare("look at all options too", "list-panes", || drop(self.observe_all()), list);
        let text = |pane: PaneId| self.runtime.block_on(capture(&self.tmux, pane, 2000)).unwrap();
        compare(
            "read the text of one",
            "capture-pane",
            || drop(text(PaneId(0))),
            || self.by_hand(&["capture-pane", "-p", "-e", "-J", "-S", "-2000", "-t", "%0"]),
        );
        let writer = Writer::open(self.dir.path().join("state")).unwrap();
        let plain = self.dir.path().join("plain");
        std::fs::write(&plain, serde_json::to_vec(&seen.server).unwrap()).unwrap();
        compare(
            "save what was seen",
            "cp and sync",
            || assert_ne!(writer.save(&snapshot(&seen.server)).unwrap(), 0),
            || copy_and_sync(&plain),
        );
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.by_hand(&["kill-server"]);
    }
}

fn copy_and_sync(file: &Path) {
    let copy = file.with_extension("copy");
    assert!(Command::new("cp").arg(file).arg(&copy).status().unwrap().success());
    assert!(Command::new("sync").arg(&copy).status().unwrap().success());
}

fn snapshot(server: &Server) -> Snapshot {
    Snapshot {
        taken_at: jiff::Timestamp::now(),
        reason: Reason::Changed,
        host: "bench".to_owned(),
        boot: server.id.boot.clone(),
        keeper_version: env!("CARGO_PKG_VERSION").to_owned(),
        closed: None,
        aside: None,
        server: server.clone(),
    }
}

/// Does both in turns, so that a slow moment of the machine hits both.
fn compare(what: &str, reference: &str, ours: impl Fn(), theirs: impl Fn()) {
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_times.push(time(&ours));
        their_times.push(time(&theirs));
    }
    let (ours, theirs) = (median(our_times), median(their_times));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("{what:<24} {:>7.2} ms  = {ratio:>5.2} × {reference}", ours.as_secs_f64() * 1000.0);
}

fn time(what: &impl Fn()) -> Duration {
    let started = Instant::now();
    what();
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
