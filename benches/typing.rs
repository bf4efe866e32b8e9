//! What somebody who types feels of a save, and what a save costs that has little to do.
//!
//! A server with 50 panes of which 15 have 2,000 coloured lines, 5 have 50,000 and the others few; a client that
//! asks it something every 2 ms, as often as somebody could ever type, and measures how long the answer takes:
//! while nothing else happens, during a first save of all text, during saves of what one pane printed, and while
//! each pane is read whole by one `capture-pane -e` (the naive way, in the same run).
//!
//! Then a save of 200 new lines in one of the 50 panes, as a ratio against the least that it could be: one
//! `list-panes`, one `capture-pane` of 200 lines, zstd, one file written and flushed.
//!
//! `cargo bench --bench typing [PANES]`
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench may panic")]
#![allow(clippy::print_stdout, reason = "the result")]

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use agent_keeper::keeper::{Bounds, Capture, Recorder};
use agent_keeper::model::{Reason, Server, Snapshot};
use agent_keeper::proc::Proc;
use agent_keeper::redact::Redactor;
use agent_keeper::store::Writer;
use agent_keeper::tmux::Tmux;
use agent_keeper::tmux::details::Known;
use agent_keeper::tmux::observe::{Observation, OutputMark, observe_again};

/// How often the incremental save is measured.
const ROUNDS: usize = 21;

/// The time between two questions of the client.
const TYPE_EVERY: Duration = Duration::from_millis(2);

/// The 20 fields of the plainest look at a server.
const FIELDS: &str = "#{session_id} #{session_name} #{window_id} #{window_index} #{window_name} #{window_layout} \
    #{window_active} #{window_width} #{window_height} #{pane_id} #{pane_index} #{pane_pid} #{pane_title} \
    #{pane_current_path} #{pane_active} #{pane_dead} #{history_size} #{cursor_x} #{cursor_y} #{alternate_on}";

fn main() {
    let panes = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(50);
    let bench = Bench::start(panes);
    bench.typing();
    bench.incremental();
    redaction();
}

/// How fast credentials are looked for, in lines as a coloured build prints them.
fn redaction() {
    let line = |n: usize| {
        format!("\x1b[3{}m{n:06}\x1b[0m some ordinary output: path=/usr/lib/x-{n}.so --flag token", n % 8)
    };
    let lines: Vec<String> = (0..100_000).map(line).collect();
    let bytes: usize = lines.iter().map(String::len).sum();
    let (mut redactor, mut text) = (Redactor::new(true), Vec::with_capacity(2 * bytes));
    let started = Instant::now();
    lines.iter().for_each(|line| redactor.push(line.as_bytes(), &mut text));
    assert!(text.len() >= bytes);
    println!("looking for credentials: {:.0} MB/s", bytes as f64 / 1e6 / started.elapsed().as_secs_f64());
}

struct Bench {
    dir: tempfile::TempDir,
    tmux: Tmux,
    runtime: tokio::runtime::Runtime,
    writer: Arc<Writer>,
    recorder: Recorder,
    /// Options and environments, which the keeper reads every few seconds only.
    known: RefCell<Known>,
}

impl Bench {
    fn start(panes: usize) -> Self {
        let dir = tempfile::Builder::new().prefix("ak").tempdir_in("/tmp").unwrap();
        let tmux = Tmux::new("tmux".into(), dir.path().join("s"), std::env::vars_os().collect());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let writer = Arc::new(Writer::open(dir.path().join("state")).unwrap());
        let recorder = Recorder::new(Bounds { lines: 50_000, total_bytes: 1 << 30, redact: true });
        let conf = dir.path().join("conf");
        std::fs::write(&conf, "set -g history-limit 60000\n").unwrap();
        let bench = Self { dir, tmux, runtime, writer, recorder, known: RefCell::default() };
        for pane in 0..panes {
            let lines = [50_000, 2_000, 2_000, 2_000, 50, 50, 50, 50, 50, 50][pane % 10];
            let print = "awk -v n=LINES 'BEGIN { for (i = 1; i <= n; i++) \
                printf \"\\033[3%dm%06d\\033[0m some \\033[1mordinary\\033[0m output of a \\033[38;5;%dmcoloured\\033[0m \
                program, line %d\\n\", i % 8, i, i % 256, i }'; exec cat";
            let shell = print.replace("LINES", &lines.to_string());
            let first = ["-f", conf.to_str().unwrap(), "new-session", "-d", "-x", "120", "-y", "40", &shell];
            bench.by_hand(if pane == 0 { &first } else { &first[2..] });
        }
        loop {
            let rows = bench.ask(&["list-panes", "-a", "-F", "#{pane_current_command}"]);
            if rows.lines().all(|row| row == "cat") {
                return bench;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.env_remove("TMUX").arg("-S").arg(self.tmux.socket()).args(arguments);
        tmux
    }

    fn by_hand(&self, arguments: &[&str]) {
        assert!(self.command(arguments).stdout(Stdio::null()).status().unwrap().success(), "{arguments:?}");
    }

    fn ask(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.command(arguments).output().unwrap().stdout).unwrap()
    }

    fn observe(&self) -> Observation {
        let known = &mut self.known.borrow_mut();
        self.runtime.block_on(observe_again(&self.tmux, &Proc::default(), &|_| None, known)).unwrap()
    }

    /// Saves as the keeper does: the panes that moved, in several saves if one has not time enough.
    fn save(&self, before: Option<&Observation>) -> Observation {
        let seen = self.observe();
        let mut server = seen.server.clone();
        self.recorder.attend(&server);
        for pane in server.panes_mut() {
            let mark = seen.vitals[&pane.id].output;
            let moved = |mark: OutputMark| (mark.history, mark.cursor);
            let known = before.and_then(|before| before.vitals.get(&pane.id));
            if known.is_some_and(|known| moved(known.output) == moved(mark)) {
                continue;
            }
            let wanted = Capture { pane: pane.id, mark };
            pane.scrollback = loop {
                let recorded = self.recorder.record(&self.tmux, &self.writer, &wanted, Recorder::deadline());
                if let Some(text) = self.runtime.block_on(recorded).unwrap() {
                    break text;
                }
            };
        }
        self.recorder.make_room(&mut server, &mut [], &self.writer);
        assert_ne!(self.writer.save(&snapshot(&server)).unwrap(), 0);
        seen
    }

    fn print(&self, pane: usize, lines: usize) {
        let before = self.ask(&["display-message", "-p", "-t", &format!("%{pane}"), "#{history_size}"]);
        let terminal = self.ask(&["display-message", "-p", "-t", &format!("%{pane}"), "#{pane_tty}"]);
        let mut terminal = File::options().write(true).open(terminal.trim()).unwrap();
        for line in 0..lines {
            writeln!(terminal, "\x1b[32mnew\x1b[0m line {line} of {}", std::process::id()).unwrap();
        }
        let wanted = before.trim().parse::<usize>().unwrap() + lines;
        while self
            .ask(&["display-message", "-p", "-t", &format!("%{pane}"), "#{history_size}"])
            .trim()
            .parse()
            != Ok(wanted)
        {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn typing(&self) {
        let mut client = Client::start(self);
        let idle = client.during(|| std::thread::sleep(Duration::from_secs(3)));
        let (mut seen, mut took) = (None, Duration::ZERO);
        let first = client.during(|| {
            let started = Instant::now();
            seen = Some(self.save(None));
            took = started.elapsed();
        });
        let looks = client.during(|| {
            for _ in 0..30 {
                self.known.borrow_mut().expire();
                self.observe();
            }
        });
        let more = client.during(|| {
            for round in 0..30 {
                self.print(round % 10, 200);
                seen = Some(self.save(seen.as_ref()));
            }
        });
        let naive = client.during(|| {
            for pane in 0..self.observe().vitals.len() {
                self.by_hand(&["capture-pane", "-p", "-e", "-J", "-S", "-", "-t", &format!("%{pane}")]);
            }
        });
        println!(
            "the first save took {:.1} s; {:?} bytes and files in the store",
            took.as_secs_f64(),
            self.writer.store().size()
        );
        println!("{:<40} {:>7} {:>7} {:>7}", "answers in ms", "p50", "p99", "max");
        let naive_max = naive.max;
        for (what, times) in [
            ("idle", idle),
            ("first save of everything", first),
            ("looks that read all options", looks),
            ("saves of 200 lines in one pane", more),
            ("naive: capture-pane -e of each pane", naive),
        ] {
            println!(
                "{what:<40} {:>7.2} {:>7.2} {:>7.2}   added: {:>6.2} {:>6.2} {:>7.2}   max = {:.3} × naive",
                times.median,
                times.late,
                times.max,
                times.median - idle.median,
                times.late - idle.late,
                times.max - idle.max,
                times.max / naive_max,
            );
        }
    }

    fn incremental(&self) {
        let mut seen = self.save(None);
        let plain = self.dir.path().join("plain");
        let (mut ours, mut looks, mut wholes, mut theirs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            self.print(round % 10, 200);
            let started = Instant::now();
            drop(self.observe());
            looks.push(started.elapsed());
            let started = Instant::now();
            seen = self.save(Some(&seen));
            ours.push(started.elapsed());
            let started = Instant::now();
            self.known.borrow_mut().expire();
            drop(self.observe());
            wholes.push(started.elapsed());
            let started = Instant::now();
            let mut bytes = self.ask(&["list-panes", "-a", "-F", FIELDS]);
            bytes +=
                &self.ask(&["capture-pane", "-p", "-e", "-S", "-200", "-t", &format!("%{}", round % 10)]);
            let mut file = File::create(&plain).unwrap();
            file.write_all(&zstd::bulk::compress(bytes.as_bytes(), 1).unwrap()).unwrap();
            file.sync_all().unwrap();
            theirs.push(started.elapsed());
        }
        let [ours, looks, wholes, theirs] = [ours, looks, wholes, theirs].map(median_ms);
        println!(
            "save of 200 new lines in 1 of {} panes: {ours:.2} ms (of that the look {looks:.2}; {wholes:.2} when it \
             reads all options, every 5 s) = {:.2} × the floor of {theirs:.2} ms",
            seen.vitals.len(),
            ours / theirs
        );
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.by_hand(&["kill-server"]);
    }
}

/// Answer times in ms.
#[derive(Clone, Copy)]
struct Times {
    median: f64,
    late: f64,
    max: f64,
}

/// Asks the server something again and again over one connection.
struct Client {
    process: Child,
    answers: Mutex<mpsc::Receiver<()>>,
}

impl Client {
    fn start(bench: &Bench) -> Self {
        let mut process = bench
            .command(&["-C", "attach-session", "-f", "no-output,ignore-size"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (answered, answers) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok).filter(|line| line == "answer");
            for _ in lines {
                if answered.send(()).is_err() {
                    return;
                }
            }
        });
        Self { process, answers: Mutex::new(answers) }
    }

    /// Types while something is done, and returns how long the answers took.
    fn during(&mut self, work: impl FnOnce()) -> Times {
        let done = AtomicBool::new(false);
        let (process, answers) = (&mut self.process, &self.answers);
        std::thread::scope(|scope| {
            let (done, keys) = (&done, process.stdin.as_mut().unwrap());
            let typing = scope.spawn(move || {
                let answers = answers.lock().unwrap();
                let mut times = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    keys.write_all(b"display-message -p answer\n").unwrap();
                    answers.recv().unwrap();
                    times.push(asked.elapsed());
                    std::thread::sleep(TYPE_EVERY);
                }
                times
            });
            work();
            done.store(true, Ordering::Relaxed);
            let mut times = typing.join().unwrap();
            times.sort_unstable();
            let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1000.0;
            Times { median: at(0.5), late: at(0.99), max: at(1.0) }
        })
    }
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
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
