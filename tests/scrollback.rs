//! Texts of panes against a real tmux: read in pieces and bit by bit they are the same as read at once, what
//! was cleared is gone, and what must not be kept is not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_keeper::keeper::{Bounds, Capture, Recorder};
use agent_keeper::model::{PaneId, Scrollback};
use agent_keeper::proc::Proc;
use agent_keeper::store::Writer;
use agent_keeper::tmux::Tmux;
use agent_keeper::tmux::capture::{REPLAY_BEGIN, REPLAY_END, Reader, capture};
use agent_keeper::tmux::observe::observe;
use proptest::prelude::*;
use support::{Keeper, PrivateTmux, eventually, short_dir, text, tmux_program, until};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const BOUNDS: Bounds = Bounds { lines: 100_000, total_bytes: 1 << 30, redact: false };

/// A private server, a store, and a recorder that keeps up with the server's panes.
struct Lab {
    runtime: Runtime,
    // Before the directory, in which its socket is: fields are dropped in this order.
    raw: PrivateTmux,
    writer: Arc<Writer>,
    recorder: Recorder,
    dir: TempDir,
}

impl Lab {
    /// Starts a server with a pane that shows what is written to it.
    fn start(history_limit: u32, bounds: Bounds) -> Self {
        let dir = short_dir();
        let raw = PrivateTmux::at(dir.path().join("s"));
        let writer = Arc::new(Writer::open(dir.path().join("state")).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        fs::write(dir.path().join("conf"), format!("set -g history-limit {history_limit}\n")).unwrap();
        let conf = dir.path().join("conf");
        let sleep = "stty -onlcr; exec sleep 1000";
        let new = ["-f", conf.to_str().unwrap(), "new-session", "-d", "-x", "40", "-y", "8", sleep];
        raw.run(&new);
        Self { runtime, raw, writer, recorder: Recorder::new(bounds), dir }
    }

    fn tmux(&self) -> Tmux {
        let login = self.raw.login();
        Tmux::new(login.find_program(&tmux_program()), self.raw.socket.clone(), login.pairs())
    }

    /// Prints in a pane, and waits until tmux has taken all of it: the title comes last.
    fn print(&self, target: &str, bytes: &[u8], end: &str) {
        let terminal = self.raw.run(&["display-message", "-p", "-t", target, "#{pane_tty}"]);
        let mut terminal = fs::OpenOptions::new().write(true).open(terminal).unwrap();
        terminal.write_all(&[bytes, b"\x1b]2;", end.as_bytes(), b"\x1b\\"].concat()).unwrap();
        until("the pane to have printed", || {
            self.raw.run(&["display-message", "-p", "-t", target, "#{pane_title}"]) == end
        });
    }

    /// Keeps up with a pane as a save does, and returns its text.
    fn record(&self, pane: u32) -> Scrollback {
        let seen = self.runtime.block_on(observe(&self.tmux(), &Proc::default(), &|_| None)).unwrap();
        self.recorder.attend(&seen.server);
        let pane = PaneId(pane);
        let wanted = Capture { pane, mark: seen.vitals[&pane].output };
        let far = Instant::now() + Duration::from_secs(60);
        let tmux = self.tmux();
        let recorded = self.recorder.record(&tmux, &self.writer, &wanted, far);
        self.runtime.block_on(recorded).unwrap().expect("the pane's text")
    }

    fn recorded(&self, pane: u32) -> String {
        let scrollback = self.record(pane);
        let (whole, missing) = self.writer.store().text(&scrollback);
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(whole.iter().filter(|byte| **byte == b'\n').count() as u64, scrollback.lines);
        text(&whole)
    }

    fn captured(&self, pane: u32) -> String {
        text(&self.runtime.block_on(capture(&self.tmux(), PaneId(pane), 100_000)).unwrap())
    }
}

fn numbered(lines: std::ops::Range<u32>) -> Vec<u8> {
    lines.flat_map(|n| format!("\x1b[3{}mline {n}\x1b[0m of it\r\n", n % 8).into_bytes()).collect()
}

/// Something that happens to a pane between two saves.
#[derive(Debug, Clone)]
enum Op {
    Print(String),
    Many { lines: u32, same: bool },
    Clear,
    Resize(u32, u32),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let part = prop_oneof![
        6 => "[a-z ]{0,30}",
        2 => "[a-z]{35,130}",
        1 => Just("日本語 é 😀 ".repeat(5)),
        4 => prop::sample::select(vec![
            "\r\n", "\r\n\r\n\r\n", "\x1b[1;31m", "\x1b[44m", "\x1b[0m", "\x1b[38;5;200m", "\x1b[4:3m",
            "\x1b(0lqqk\x1b(B", "\t", "\x1b[K", "\x1b[H\x1b[2J", "\x1b[3A", "\r",
        ]).prop_map(str::to_owned),
    ];
    let print = proptest::collection::vec(part, 1..40).prop_map(|parts| Op::Print(parts.concat()));
    let op = prop_oneof![
        5 => print,
        4 => (1u32..700, prop::bool::weighted(0.2)).prop_map(|(lines, same)| Op::Many { lines, same }),
        1 => Just(Op::Clear),
        1 => (20u32..90, 3u32..15).prop_map(|(width, height)| Op::Resize(width, height)),
    ];
    proptest::collection::vec(op, 1..9)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, ..ProptestConfig::default() })]

    /// Whatever happens between two saves, what they have read bit by bit ends as the pane does when it is read
    /// at once. tmux forgets its oldest lines; what was recorded may begin before them.
    #[test]
    fn what_is_read_bit_by_bit_is_what_is_there(limit in prop::sample::select(vec![300u32, 2000]), ops in ops()) {
        let lab = Lab::start(limit, BOUNDS);
        let mut number = 0;
        for (at, op) in ops.iter().enumerate() {
            match op {
                Op::Print(what) => lab.print("%0", what.as_bytes(), &at.to_string()),
                Op::Many { lines, same } => {
                    let what = if *same { b"y\r\n".repeat(*lines as usize) } else { numbered(number..number + lines) };
                    number += lines;
                    lab.print("%0", &what, &at.to_string());
                }
                Op::Clear => drop(lab.raw.run(&["clear-history", "-t", "%0"])),
                Op::Resize(width, height) => {
                    let (width, height) = (width.to_string(), height.to_string());
                    lab.raw.run(&["resize-window", "-t", "%0", "-x", &width, "-y", &height]);
                }
            }
            let (recorded, there) = (lab.recorded(0), lab.captured(0));
            let cleared = matches!(op, Op::Clear);
            if recorded != there || cleared {
                // The first line that tmux still has may be the end of one.
                let rest = there.split_once('\n').map_or("", |(_, rest)| rest);
                let ends_so = recorded.ends_with(&format!("\n{rest}")) || rest.is_empty();
                prop_assert!(ends_so && !cleared || recorded == there, "after {:?}:\n{}\n──\n{}", op, recorded, there);
            }
        }
    }
}

#[test]
fn a_text_of_many_pieces_is_read_whole_while_the_pane_prints_on() {
    let lab = Lab::start(20_000, BOUNDS);
    lab.print("%0", &numbered(0..7000), "full");
    let expected: String = (0..7000).map(|n| format!("line {n} of it")).collect::<Vec<_>>().join("\n");
    let terminal = lab.raw.run(&["display-message", "-p", "-t", "%0", "#{pane_tty}"]);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let printer = std::thread::spawn(move || {
        let mut terminal = fs::OpenOptions::new().write(true).open(terminal).unwrap();
        let mut n = 7000;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            terminal.write_all(&numbered(n..n + 1)).unwrap();
            n += 1;
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let first = lab.recorded(0);
    let second = lab.recorded(0);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    printer.join().unwrap();
    for recorded in [first, second] {
        let plain = plain(&recorded);
        assert!(plain.starts_with(&expected), "{} lines", plain.lines().count());
        for (at, line) in plain.lines().enumerate() {
            assert_eq!(line, format!("line {at} of it"));
        }
    }
}

/// A text without colours.
fn plain(coloured: &str) -> String {
    let mut parts = coloured.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// The saver itself was the hog: 8.6 GB written in 8 hours (peers.md, complaint 24).
#[test]
fn complaint_24_a_save_writes_what_is_new_and_not_what_is_there() {
    let lab = Lab::start(20_000, BOUNDS);
    lab.print("%0", &numbered(0..10_000), "full");
    lab.record(0);
    let before = lab.writer.store().size();
    lab.print("%0", &numbered(10_000..10_050), "more");
    let scrollback = lab.record(0);
    assert_eq!(scrollback.lines, 10_050);
    let after = lab.writer.store().size();
    assert!(after.1 - before.1 <= 4 && after.0 - before.0 < before.0 / 10, "{before:?} {after:?}");
}

#[test]
fn no_more_lines_are_kept_than_wanted_and_one_piece() {
    let lab = Lab::start(50_000, Bounds { lines: 1000, ..BOUNDS });
    for round in 0..6 {
        lab.print("%0", &numbered(round * 900..(round + 1) * 900), &format!("{round}"));
        let recorded = plain(&lab.recorded(0));
        let lines = recorded.lines().count() as u32;
        assert!((900..=1000 + 1024 + 8).contains(&lines), "{lines}");
        assert!(recorded.ends_with(&format!("line {} of it\n", (round + 1) * 900 - 1)), "{recorded}");
    }
}

#[test]
fn all_panes_together_keep_no_more_than_they_may() {
    let total_bytes = 40_000;
    let lab = Lab::start(50_000, Bounds { total_bytes, ..BOUNDS });
    lab.raw.run(&["split-window", "-d", "sleep 1000"]);
    lab.print("%0", &numbered(0..5000), "much");
    lab.print("%1", &numbered(0..50), "little");
    let mut server = lab.runtime.block_on(observe(&lab.tmux(), &Proc::default(), &|_| None)).unwrap().server;
    let texts = [lab.record(0), lab.record(1)];
    for pane in server.panes_mut() {
        pane.scrollback = texts[pane.id.0 as usize].clone();
    }
    lab.recorder.make_room(&mut server, &mut [], &lab.writer);
    let kept: Vec<_> = server.panes().map(|(_, _, pane)| pane.scrollback.clone()).collect();
    assert_eq!(kept[1], texts[1]);
    let (shown, _) = lab.writer.store().text(&kept[0]);
    assert!(shown.len() as u64 <= total_bytes && shown.len() > 10_000, "{}", shown.len());
    assert!(plain(&text(&shown)).ends_with("line 4999 of it\n"));
    assert_eq!(kept[0].lines, text(&shown).lines().count() as u64);
}

#[test]
fn a_pane_that_prints_without_end_has_its_last_lines_kept() {
    let lab = Lab::start(2000, Bounds { lines: 2000, ..BOUNDS });
    let flood = "i=0; while :; do i=$((i+1)); echo line $i of it; done";
    lab.raw.run(&["new-window", "-d", flood]);
    until("a full history", || {
        lab.raw.run(&["display-message", "-p", "-t", "%1", "#{history_size}"]).parse::<u32>().unwrap() > 1700
    });
    for _ in 0..3 {
        let recorded = lab.recorded(1);
        assert!(recorded.lines().count() > 900, "{}", recorded.lines().count());
    }
}

#[test]
fn of_a_dead_pane_the_notice_is_no_text() {
    let lab = Lab::start(2000, BOUNDS);
    lab.raw.run(&["set-option", "-g", "-w", "remain-on-exit", "on"]);
    for (window, lines) in [(1, 3), (2, 30)] {
        let script = format!("for i in $(seq {lines}); do echo line $i; done; exit 3");
        lab.raw.run(&["new-window", "-d", &script]);
        let pane = format!("%{window}");
        until("its end", || lab.raw.run(&["display-message", "-p", "-t", &pane, "#{pane_dead}"]) == "1");
        let expected: String = (1..=lines).map(|n| format!("line {n}\n")).collect();
        assert_eq!(lab.recorded(window), expected);
        assert_eq!(lab.captured(window), expected);
    }
}

#[test]
fn what_is_shown_again_in_another_width_is_the_same_text() {
    let lab = Lab::start(5000, BOUNDS);
    // Wide characters stay within their line: where one does not fit at its end, tmux leaves a cell out, which
    // 3.2a shows as a space when lines are joined.
    let long = format!("日本語 \x1b[7m{}\x1b[0m end\r\n", "word ".repeat(40));
    lab.print("%0", &[&numbered(0..600)[..], long.as_bytes(), &numbered(600..700)[..]].concat(), "done");
    let recorded = lab.recorded(0);
    let file = lab.dir.path().join("text");
    fs::write(&file, [REPLAY_BEGIN, recorded.as_bytes(), REPLAY_END].concat()).unwrap();
    let script = format!("cat {}; printf '\\033]2;shown\\033\\\\'; exec sleep 1000", file.display());
    for (window, width) in [(1, "23"), (2, "131")] {
        lab.raw.run(&["new-session", "-d", "-x", width, "-y", "11", &script]);
        let title = ["display-message", "-p", "-t", &format!("%{window}"), "#{pane_title}"];
        until("all of it", || lab.raw.run(&title) == "shown");
        assert_eq!(lab.captured(window), recorded);
        lab.raw.run(&["resize-window", "-t", &format!("%{window}"), "-x", "77"]);
        assert_eq!(lab.captured(window), recorded);
    }
}

/// Returns how many lines the newest snapshot has of each session's first pane.
fn lines_by_session(snapshot: &serde_json::Value) -> Vec<(String, u64)> {
    let sessions = snapshot["server"]["sessions"].as_array().into_iter().flatten();
    let lines = |session: &serde_json::Value| {
        session["windows"][0]["panes"][0]["scrollback"]["lines"].as_u64().unwrap_or_default()
    };
    sessions
        .map(|session| (session["name"].as_str().unwrap_or_default().to_owned(), lines(session)))
        .collect()
}

#[test]
fn complaint_25_text_of_some_sessions_is_never_kept_and_credentials_of_none() {
    let mut keeper = Keeper::prepare();
    keeper.configure(
        "[snapshot]\ninterval = \"200ms\"\noutput_interval = \"1s\"\n[session.\"secret*\"]\nscrollback = false\n",
    );
    keeper.start_watching();
    let token = format!("ghp_{}", "Zk3".repeat(12));
    let script = format!("echo first {token} seen; exec sleep 1000");
    for name in ["open", "secret stuff"] {
        keeper.tmux.run(&["new-session", "-d", "-s", name, &script]);
    }
    keeper.saved("the text of one", |snapshot| {
        lines_by_session(snapshot) == [("open".to_owned(), 1), ("secret stuff".to_owned(), 0)]
    });
    let stored = || {
        let store = agent_keeper::store::Store::open(keeper.store_dir());
        let snapshot = store.newest().unwrap().good.unwrap().1;
        let texts = snapshot.server.panes().map(|(_, _, pane)| store.text(&pane.scrollback).0);
        text(&texts.collect::<Vec<_>>().concat())
    };
    assert_eq!(stored(), format!("first [redacted github token]{} seen\n", "*".repeat(17)));
    // What was kept before is not kept on.
    keeper.tmux.run(&["set-option", "-t", "open", "@keeper-scrollback", "off"]);
    keeper.saved("no text any more", |snapshot| {
        lines_by_session(snapshot).iter().all(|(_, lines)| *lines == 0)
    });
    keeper.tmux.run(&["set-option", "-u", "-t", "open", "@keeper-scrollback"]);
    keeper.saved("the text again", |snapshot| lines_by_session(snapshot)[0].1 == 1);
    eventually("a quiet keeper", || (keeper.problem() == "").then_some(()));
}

#[test]
fn the_end_of_a_restless_text_says_whether_it_begins_within_a_line() {
    let lab = Lab::start(2000, BOUNDS);
    // Twenty lines of three rows each, and the one below them: 53 rows above a screen of eight.
    lab.print("%0", format!("{}\r\n", "x".repeat(100)).repeat(20).as_bytes(), "all");
    let tmux = lab.tmux();
    let last = |lines| lab.runtime.block_on(Reader::new(&tmux, PaneId(0)).last(lines)).unwrap();
    let within = last(10);
    assert!(within.place.is_below_others(), "{:?}", within.place);
    assert_eq!(within.history.split(|byte| *byte == b'\n').next().unwrap().len(), 60);
    for whole in [last(53), last(1000)] {
        assert!(!whole.place.is_below_others(), "{:?}", whole.place);
        assert_eq!(whole.history.split(|byte| *byte == b'\n').next().unwrap().len(), 100);
    }
}
