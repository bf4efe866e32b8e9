//! A tmux server in which something changes all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;

use crate::chance::Chance;
use crate::support::PrivateTmux;

/// What a pane runs: it prints the time each second and starts no process for that, which an emulated machine
/// could not do a hundred times a second.
const PROGRAM: [&str; 3] =
    ["bash", "-c", "while :; do echo $RANDOM $RANDOM now $EPOCHSECONDS; read -rt 1; done"];

/// How long the load rests between two changes.
const PAUSE: Duration = Duration::from_millis(300);

/// Windows of each session, of two panes each.
const WINDOWS: u64 = 5;

/// How the window is called that says when the last change was; milliseconds since 1970 follow.
pub const CLOCK: &str = "at-";

/// Changes a server until it is dropped.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

/// Makes sessions with so many panes, ten in each.
pub fn build(tmux: &PrivateTmux, panes: u64) {
    for session in 0..panes / (2 * WINDOWS) {
        let name = format!("s{session}");
        let mut words = vec!["new-session", "-d", "-s", &name, "-x", "120", "-y", "40"];
        words.extend(PROGRAM);
        let target = format!("{name}:");
        for window in 0..WINDOWS {
            if window > 0 {
                words.extend([";", "new-window", "-d", "-t", &target]);
                words.extend(PROGRAM);
            }
        }
        tmux.run(&words);
        for window in 0..WINDOWS {
            let target = format!("{name}:{window}");
            tmux.run(&[&["split-window", "-d", "-t", &target][..], &PROGRAM].concat());
        }
        tell_time(tmux);
    }
}

impl Load {
    /// Begins to change a server that [`build`] made.
    pub fn start(tmux: PrivateTmux, panes: u64, mut chance: Chance) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut steps = 0;
            while !stopped.load(Ordering::Relaxed) {
                step(&tmux, panes / (2 * WINDOWS), steps, &mut chance);
                steps += 1;
                std::thread::sleep(PAUSE);
            }
            // The server is the test's to end.
            std::mem::forget(tmux);
            steps
        });
        Self { stop, thread: Some(thread) }
    }

    /// Stops changing, and returns how many changes there were.
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(0, |thread| thread.join().unwrap_or_default())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One change, after which there are as many panes as before, give or take one session, and the time of it.
fn step(tmux: &PrivateTmux, sessions: u64, number: u64, chance: &mut Chance) {
    let session = format!("s{}", chance.below(sessions));
    let window = format!("{session}:{}", 1 + chance.below(WINDOWS - 1));
    let (pane, target) = (format!("{window}.0"), format!("{session}:1"));
    let (title, guest) = (format!("title {number}"), format!("guest{}", number % 20));
    let change: Vec<&str> = match chance.below(6) {
        0 => [
            &["kill-window", "-t", &window, ";", "new-window", "-d", "-t", &window][..],
            &PROGRAM,
            &[";", "split-window", "-d", "-t", &window],
            &PROGRAM,
        ]
        .concat(),
        1 => {
            [&["split-window", "-d", "-t", &window][..], &PROGRAM, &[";", "kill-pane", "-t", &pane]].concat()
        }
        2 => vec!["rename-window", "-t", &window, &title],
        3 => vec!["select-pane", "-t", &pane, "-T", &title],
        4 => vec!["swap-pane", "-D", "-t", &pane, ";", "resize-pane", "-t", &pane, "-D", "2"],
        _ if number.is_multiple_of(2) => [&["new-session", "-d", "-s", &guest][..], &PROGRAM].concat(),
        _ => vec!["swap-window", "-d", "-s", &window, "-t", &target],
    };
    tmux.try_run(&change);
    // Guests go again, so that closing a whole session belongs to it.
    if number % 10 == 9 {
        tmux.try_run(&["kill-session", "-t", &format!("=guest{}", chance.below(20))]);
    }
    tell_time(tmux);
}

fn tell_time(tmux: &PrivateTmux) {
    let clock = format!("{CLOCK}{}", Timestamp::now().as_millisecond());
    tmux.try_run(&["rename-window", "-t", "s0:0", &clock]);
}
