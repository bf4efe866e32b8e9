//! Where a drill is held: a directory and a server of its own, and what drills that were killed have left of
//! theirs.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::Uid;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::environment::Login;
use crate::proc::Proc;
use crate::tmux::command::Command;
use crate::tmux::{Tmux, TmuxError};

/// How the directories of drills are called; process id and start time of whoever holds it follow, so that one
/// whose owner is gone can be told.
const PREFIX: &str = "agent-keeper-drill-";

/// How many leftovers are cleared at once; the next drill clears the others.
const LEFTOVERS_MAX: usize = 16;

/// How long a server that is being started may take to answer. One that was never forked leaves its lock behind.
const START_MAX: Duration = Duration::from_secs(5);

/// How often it is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// A directory and a socket in it. Both are gone when it is struck.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) tmux: Tmux,
    dir: TempDir,
}

impl Stage {
    pub(super) fn set(tmux_program: &Path, login: &Login) -> io::Result<Self> {
        let dir = own_dir()?;
        let tmux = Tmux::new(tmux_program.to_owned(), socket_in(dir.path()), login.pairs());
        Ok(Self { tmux, dir })
    }

    /// Returns where the store of this drill is.
    pub(super) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Ends the server, by its own socket, and removes everything.
    pub(super) async fn strike(self) {
        let lock = self.dir.path().join("tmux.lock");
        let deadline = Instant::now() + START_MAX;
        loop {
            // A server that a drill was stopped in the middle of starting does not answer yet. Until it does it keeps
            // this file (`client_connect`, client.c), so whoever finds none before asking is not too early.
            let starting = lock.exists() && Instant::now() < deadline;
            // It may never have been started.
            let _ = self.tmux.run(&[Command::new("kill-server")]).await;
            if !starting {
                return;
            }
            sleep(ASK_EVERY).await;
        }
    }
}

fn socket_in(dir: &Path) -> PathBuf {
    dir.join("tmux")
}

/// Makes a directory that is removed with this value, or by a later drill if this process is killed.
pub fn own_dir() -> io::Result<TempDir> {
    let pid = std::process::id();
    let started = Proc::default().stat(pid)?.start_ticks;
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{pid}-{started}-"))
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
}

/// Ends the servers and removes the directories of drills whose process is gone.
pub async fn clear_leftovers(tmux_program: &Path, login: &Login) {
    let proc = Proc::default();
    let entries = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    let left = entries.map(|entry| entry.path()).filter(|path| is_leftover(path, &proc));
    for dir in left.take(LEFTOVERS_MAX) {
        let tmux = Tmux::new(tmux_program.to_owned(), socket_in(&dir), login.pairs());
        match tmux.run(&[Command::new("kill-server")]).await {
            // As long as it cannot be told to end, its socket must stay.
            Err(TmuxError::Silent { .. } | TmuxError::Missing { .. } | TmuxError::Run { .. }) => {}
            _ => {
                // What cannot be removed costs a little space and nothing else.
                let _ = fs::remove_dir_all(&dir);
            }
        }
    }
}

fn is_leftover(path: &Path, proc: &Proc) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((pid, started)) = owner(name) else { return false };
    // In /tmp anybody could have made it.
    let ours =
        fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == Uid::effective().as_raw());
    ours && proc.stat(pid).map_or(true, |stat| stat.start_ticks != started)
}

/// Returns process id and start time of who made a directory of this name, if that is how a drill calls its own.
fn owner(name: &str) -> Option<(u32, u64)> {
    let mut parts = name.strip_prefix(PREFIX)?.splitn(3, '-');
    let owner = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_some().then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_processes_that_are_gone_are_left_over() {
        let proc = Proc::default();
        let mine = own_dir().unwrap();
        let name = mine.path().file_name().unwrap().to_str().unwrap();
        let (pid, started) = owner(name).unwrap();
        assert_eq!(pid, std::process::id());
        assert!(!is_leftover(mine.path(), &proc));
        let elsewhere = tempfile::tempdir().unwrap();
        // A process of the same number that began at another time is another one.
        let gone = elsewhere.path().join(format!("{PREFIX}{pid}-{}-x", started + 1));
        fs::create_dir(&gone).unwrap();
        assert!(is_leftover(&gone, &proc));
        for other in
            ["agent-keeper-drill-x", "agent-keeper-drill-1-x", "agent-keeper-drill-1-2", "else-1-2-x"]
        {
            let other = elsewhere.path().join(other);
            fs::create_dir(&other).unwrap();
            assert!(!is_leftover(&other, &proc), "{other:?}");
        }
        let link = elsewhere.path().join(format!("{PREFIX}{pid}-{}-y", started + 1));
        std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
        assert!(!is_leftover(&link, &proc));
    }
}
