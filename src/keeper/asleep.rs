//! Servers that have nothing to do. One that has not run since it was looked at would answer the same again, so it is
//! not asked: asking would wake it up, and a client costs more than all else that a keeper does.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::Program;
use crate::proc::{Proc, Run};
use crate::systemd::placement::Placement;
use crate::tmux::Tmux;
use crate::tmux::observe::Observation;

/// How long a server that does not run is believed to be as it was, at first. What somebody did while it was asked may
/// be missing in its answer. So it is asked once more, and each time it answers the same, and has not run, it is
/// believed longer, up to [`BELIEVED_MAX`]: in proportion to the time for which it has been quiet. If it woke up more
/// often than it takes to let our client go, it is asked again soon, once: that happens also where others take its
/// processor.
const BELIEVED_MIN: Duration = Duration::from_millis(500);

/// The same of one that runs again and again and is as it was, as where something only prints: what was missing comes
/// with the next look, and asking twice each time would cost twice as much.
const BELIEVED_BUSY: Duration = Duration::from_millis(1500);

/// How lately a server has run that does so again and again.
const BUSY: Duration = Duration::from_millis(2500);

/// How long it is believed at most.
const BELIEVED_MAX: Duration = Duration::from_secs(240);

/// How many times longer than before.
const LONGER: u32 = 4;

/// How old what was seen of its panes' processes becomes, at first and at most. What they do without printing, and
/// without anybody typing, is seen this late.
const PROCESSES_MIN: Duration = Duration::from_secs(15);
const PROCESSES_MAX: Duration = Duration::from_secs(60);

/// For how long a new pane may become what it is: a moment after it is there its process executes the program, and moves to
/// a scope of its own. Until then that is looked at more often.
const YOUTH: Duration = Duration::from_secs(10);
const PROCESSES_YOUNG: Duration = Duration::from_millis(500);

/// How long a server may take to let go a client that has left: 6 ms in nine of ten times on a busy machine.
const REST: Duration = Duration::from_millis(10);

/// How often it wakes up for that: when the client's end of the socket is closed.
const WAKES_MAX: u64 = 1;

/// When panes that come and go count as a storm: each look that sees some counts two, each that sees none takes back
/// one. Half of the looks at windows that live for an instant see none.
const STORM: u32 = 4;

/// How long a server is left alone in a storm. It is looked at as soon as that is over. What it says costs it more the
/// more there is, and in a storm much of that is over when it is read.
const STORM_MAX: Duration = Duration::from_secs(8);

/// A server as it was seen last. Whoever looks often asks here whether to ask it.
#[derive(Debug, Clone)]
pub(super) struct Asleep {
    seen: Arc<Observation>,
    /// How much panes come and go, up to twice [`STORM`].
    changes: u32,
    /// How much the server had run at the last glance, and whether it had not run since the one before.
    glance: Run,
    settled: bool,
    /// When it was asked, and for how long the answer is believed.
    asked: Instant,
    believed: Duration,
    /// The same but for doubts, and whether there was one.
    trusted: Duration,
    doubted: bool,
    /// When it was asked because it had run.
    stirred: Instant,
    /// When its panes' processes were looked at.
    renewed: Instant,
    /// When other panes were seen than before.
    changed: Instant,
    /// How much the server had run by then.
    run: Run,
    /// The socket by which it could be reached: it can be lost, or another server's.
    socket: Option<u64>,
}

impl Asleep {
    /// Notes how much a server has run, once it has let our client go. `answered` is how much it had run when that had
    /// its answer; `before` is what was noted the last time, and whether it had not run since.
    pub(super) async fn watch(
        proc: &Proc,
        tmux: &Tmux,
        seen: Arc<Observation>,
        answered: Option<Run>,
        before: Option<(Self, bool)>,
    ) -> Option<Self> {
        tokio::time::sleep(REST).await;
        let run = proc.run(seen.server.id.pid)?;
        let now = Instant::now();
        let woken = answered.map_or(0, |answered| run.times.saturating_sub(answered.times));
        let same = before.as_ref().is_some_and(|(before, _)| before.seen.server == seen.server);
        let trusted = match &before {
            Some((before, true)) if same => (LONGER * before.trusted).min(BELIEVED_MAX),
            Some((before, false)) if same && before.stirred.elapsed() < BUSY => BELIEVED_BUSY,
            _ => BELIEVED_MIN,
        };
        let again = before.as_ref().is_some_and(|(before, still)| *still && before.doubted);
        let doubted = woken > WAKES_MAX && !again && trusted > BELIEVED_MIN;
        Some(Self {
            believed: if doubted { BELIEVED_MIN } else { trusted },
            trusted: if doubted { trusted / LONGER } else { trusted },
            doubted,
            changes: match &before {
                Some((before, _)) if same_panes(&before.seen, &seen) => before.changes.saturating_sub(1),
                Some((before, _)) => (before.changes + 2).min(2 * STORM),
                None => 0,
            },
            changed: match &before {
                Some((before, _)) if same_panes(&before.seen, &seen) => before.changed,
                _ => now,
            },
            seen,
            glance: run,
            settled: false,
            asked: now,
            stirred: before.as_ref().filter(|(_, still)| *still).map_or(now, |(before, _)| before.stirred),
            renewed: now,
            run,
            socket: inode(tmux.socket()),
        })
    }

    /// Returns the server as it was seen last.
    pub(super) fn seen(&self) -> Arc<Observation> {
        self.seen.clone()
    }

    /// Returns whether it lives and can be reached as it could then.
    pub(super) fn is_there(&self, proc: &Proc, tmux: &Tmux) -> bool {
        proc.runs(&self.seen.server.id) && inode(tmux.socket()) == self.socket
    }

    /// Returns whether it has not run since.
    pub(super) fn is_so(&self, proc: &Proc) -> bool {
        proc.run(self.seen.server.id.pid) == Some(self.run)
    }

    /// Returns whether it is time to look again: it has run since it was asked, or is not believed any more, and was not
    /// asked for some time.
    pub(super) fn glance(&mut self, proc: &Proc, alone: Duration) -> bool {
        let Some(run) = proc.run(self.seen.server.id.pid) else { return true };
        self.settled = run == self.glance;
        self.glance = run;
        (run != self.run || !self.is_believed()) && self.asked.elapsed() >= alone && !self.is_storm()
    }

    /// Returns whether so much happens that it is better looked at when that is over.
    pub(super) fn is_storm(&self) -> bool {
        self.changes >= STORM && !self.settled && self.asked.elapsed() < STORM_MAX
    }

    /// Returns whether to ask for its options as well, which are believed for some time: once after each time that it
    /// ran, when it has been quiet for a moment.
    pub(super) fn has_settled(&self) -> bool {
        let long = LONGER * BELIEVED_MIN;
        (long..LONGER * long).contains(&self.trusted)
    }

    /// Returns whether it need not be asked again for now.
    pub(super) fn is_believed(&self) -> bool {
        self.asked.elapsed() < self.believed
    }

    /// Returns whether its panes' processes are to be looked at.
    pub(super) fn is_due(&self) -> bool {
        let young = self.changed.elapsed() < YOUTH && has_unfinished(&self.seen);
        if young && self.renewed.elapsed() >= PROCESSES_YOUNG {
            return true;
        }
        self.renewed.elapsed() >= (self.asked.elapsed() / 2).clamp(PROCESSES_MIN, PROCESSES_MAX)
    }

    /// Notes what was seen of its panes' processes.
    pub(super) fn renew(&mut self, seen: Option<Observation>) {
        self.renewed = Instant::now();
        let seen = seen.map(|mut seen| {
            seen.remember(&self.seen);
            seen
        });
        // What is equal stays the same value, and whoever compares need not look into it.
        if let Some(seen) = seen.filter(|seen| *seen != *self.seen) {
            self.seen = Arc::new(seen);
        }
    }
}

/// Returns whether two looks show the same panes.
fn same_panes(before: &Observation, after: &Observation) -> bool {
    before.vitals.len() == after.vitals.len()
        && before.vitals.keys().all(|pane| after.vitals.contains_key(pane))
}

/// Returns whether a pane's process is not yet what it will be: nobody can tell what it runs, or it still lives where the
/// server lives, which has made it.
fn has_unfinished(seen: &Observation) -> bool {
    let server = seen.cgroups.get(&seen.server.id.pid);
    // Where there are no units, nothing ever moves.
    let server = server.filter(|cgroup| Placement::of(cgroup).unit().is_some());
    seen.server.panes().any(|(_, _, pane)| {
        let living = seen.vitals.get(&pane.id).filter(|vitals| vitals.pid != 0 && !vitals.dead);
        living.is_some_and(|vitals| {
            let at_home = server.is_some() && seen.cgroups.get(&vitals.pid) == server;
            pane.program == Program::Unknown || at_home
        })
    })
}

fn inode(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|meta| meta.ino())
}
