//! Servers that have nothing to do. One that has not run since it was looked at would answer the same again, so it is
//! not asked: asking would wake it up, and a client costs more than all else that a keeper does.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::proc::{Proc, Run};
use crate::tmux::Tmux;
use crate::tmux::observe::Observation;

/// How old what was seen of the panes' processes becomes: what they do without printing is seen this late.
const PROCESSES_MAX: Duration = Duration::from_secs(15);

/// How long a server that does not run is believed to be as it was, at first. Each time that proves true it is believed
/// twice as long, up to [`BELIEVED_MAX`].
const BELIEVED_MIN: Duration = Duration::from_secs(15);

/// How long it is believed at most.
const BELIEVED_MAX: Duration = Duration::from_secs(240);

/// How long a server may take to let go a client that has left: 6 ms in nine of ten times on a busy machine.
const REST: Duration = Duration::from_millis(10);

/// How often a server wakes up for that.
const LET_GO: u64 = 1;

/// A server that had nothing to do behind a look at it.
#[derive(Debug, Clone)]
pub(super) struct Asleep {
    seen: Arc<Observation>,
    /// When it was asked, and for how long the answer is believed.
    asked: Instant,
    believed: Duration,
    /// When its panes' processes were looked at.
    renewed: Instant,
    /// How much the server had run by then.
    run: Run,
    /// The socket by which it could be reached: it can be lost, or another server's.
    socket: Option<u64>,
}

impl Asleep {
    /// Notes how much a server has run, once it has let our client go. `before` is what was noted the last time, if it
    /// had been asleep until it was asked.
    pub(super) async fn watch(
        proc: &Proc,
        tmux: &Tmux,
        seen: Arc<Observation>,
        before: Option<Self>,
    ) -> Option<Self> {
        let pid = seen.server.id.pid;
        let first = proc.run(pid)?;
        tokio::time::sleep(REST).await;
        let then = proc.run(pid)?;
        // More than letting go is something that somebody did behind our question: the next look is to see it.
        let run = if then.times > first.times + LET_GO { first } else { then };
        let believed = before.filter(|before| before.seen.server == seen.server);
        let believed = believed.map_or(BELIEVED_MIN, |before| (2 * before.believed).min(BELIEVED_MAX));
        let now = Instant::now();
        Some(Self { seen, asked: now, believed, renewed: now, run, socket: inode(tmux.socket()) })
    }

    /// Returns the server as it was seen last.
    pub(super) fn seen(&self) -> Arc<Observation> {
        self.seen.clone()
    }

    /// Returns whether it has not run since, and can be reached as it could then.
    pub(super) fn is_so(&self, proc: &Proc, tmux: &Tmux) -> bool {
        let id = &self.seen.server.id;
        proc.runs(id) && proc.run(id.pid) == Some(self.run) && inode(tmux.socket()) == self.socket
    }

    /// Returns whether it has run since it was asked, and was not asked for some time.
    pub(super) fn has_stirred(&self, proc: &Proc, alone: Duration) -> bool {
        self.asked.elapsed() >= alone && proc.run(self.seen.server.id.pid) != Some(self.run)
    }

    /// Returns whether it need not be asked again for now.
    pub(super) fn is_believed(&self) -> bool {
        self.asked.elapsed() < self.believed
    }

    /// Returns whether its panes' processes are to be looked at.
    pub(super) fn is_due(&self) -> bool {
        self.renewed.elapsed() >= PROCESSES_MAX
    }

    /// Notes what was seen of its panes' processes.
    pub(super) fn renew(&mut self, seen: Option<Observation>) {
        self.renewed = Instant::now();
        // What is equal stays the same value, and whoever compares need not look into it.
        if let Some(seen) = seen.filter(|seen| *seen != *self.seen) {
            self.seen = Arc::new(seen);
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|meta| meta.ino())
}
