//! Starts a tmux server that does not belong to us: not our control group, not our environment, not our
//! limits.
//!
//! A child of ours (`agent-keeper found`) waits until the caller has moved it into a scope of its own
//! and then becomes `tmux start-server`, which leaves the server behind as a daemon.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Tmux, TmuxError};

/// The first argument of the child: `agent-keeper found UMASK TMUX ARGUMENT…`.
pub const FOUND_COMMAND: &str = "found";

/// How long a server may take to read its configuration.
const START_MAX: Duration = Duration::from_secs(60);

/// The mask when the login shell did not tell one: what login.defs(5) of Debian sets.
pub const DEFAULT_UMASK: u32 = 0o022;

/// Why no server could be started.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// The child could not be run or talked to.
    #[error("cannot run {program}")]
    Run {
        /// Which program.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// tmux said no.
    #[error("tmux could not start a server on {socket}: {message}")]
    Refused {
        /// The socket.
        socket: String,
        /// What tmux said.
        message: String,
    },
    /// tmux is still busy.
    #[error("tmux did not finish starting a server on {socket} within {} s; is something in tmux.conf waiting?", START_MAX.as_secs())]
    Slow {
        /// The socket.
        socket: String,
    },
    /// tmux itself is the problem.
    #[error(transparent)]
    Tmux(#[from] TmuxError),
}

/// A child that will become a server when it is told to.
pub struct Founding {
    child: Child,
    socket: String,
}

impl Founding {
    /// Starts the child. `program` is `agent-keeper`; `arguments` come in front of tmux's own (a drill
    /// passes `-f /dev/null`).
    pub fn prepare(program: &Path, tmux: &Tmux, mask: u32, arguments: &[&str]) -> Result<Self, FoundError> {
        let home = tmux.environment().iter().find(|(name, _)| name == "HOME").map(|(_, value)| value.clone());
        let child = Command::new(program)
            .arg(FOUND_COMMAND)
            .arg(format!("{mask:04o}"))
            .arg(tmux.program())
            .args(arguments)
            .args(start_arguments(tmux.socket()))
            .env_clear()
            .envs(tmux.environment().iter().map(|(k, v)| (k, v)))
            .env_remove("TMUX")
            .env_remove("TMUX_PANE")
            .current_dir(home.unwrap_or_else(|| "/".into()))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| FoundError::Run { program: program.display().to_string(), source })?;
        Ok(Self { child, socket: tmux.socket().display().to_string() })
    }

    /// Returns the process to be moved; the server is forked from it.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Lets the child go on, and returns when the server has read its configuration and answers.
    pub async fn release(mut self) -> Result<(), FoundError> {
        let failed = |source| FoundError::Run { program: "agent-keeper found".to_owned(), source };
        let mut stdin = self.child.stdin.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        stdin.write_all(b"\n").await.map_err(failed)?;
        drop(stdin);
        let mut message = Vec::new();
        let mut stderr = self.child.stderr.take().map(|pipe| pipe.take(4096));
        let finish = async {
            // The server closes its copy of this pipe when it becomes a daemon.
            if let Some(stderr) = &mut stderr {
                stderr.read_to_end(&mut message).await?;
            }
            self.child.wait().await
        };
        let status = timeout(START_MAX, finish)
            .await
            .map_err(|_| FoundError::Slow { socket: self.socket.clone() })?
            .map_err(failed)?;
        if status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&message).trim().to_owned();
        Err(FoundError::Refused { socket: self.socket, message })
    }
}

/// `exit-empty off` in the same call: otherwise the server would end at once for want of sessions
/// (`server_loop`, server.c).
fn start_arguments(socket: &Path) -> Vec<OsString> {
    let mut arguments = vec![OsString::from("-u"), OsString::from("-S"), socket.into()];
    arguments.extend(["start-server", ";", "set-option", "-s", "exit-empty", "off"].map(OsString::from));
    arguments
}

/// What the child does: waits for a line, takes off what it inherited from us, becomes tmux.
pub fn become_server(mask: &str, tmux: OsString, arguments: Vec<OsString>) -> io::Result<Infallible> {
    let mut go = [0];
    if io::stdin().read(&mut go)? == 0 {
        return Err(io::Error::other("the keeper ended before the server could be started"));
    }
    let mask = u32::from_str_radix(mask, 8).unwrap_or(DEFAULT_UMASK);
    umask(Mode::from_bits_truncate(mask));
    lower_oom_score();
    Err(Process::new(tmux).args(arguments).stdin(Stdio::null()).exec())
}

/// Gives back the higher chance of being killed first that services of the user manager have (200; a
/// login has 0). How far down one may go is the kernel's to say (proc_pid_oom_score_adj(5)): root to 0,
/// others to what their manager itself has, 100.
fn lower_oom_score() {
    let path = "/proc/self/oom_score_adj";
    let current: i32 = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    for score in [0, 100] {
        if score < current && fs::write(path, score.to_string()).is_ok() {
            return;
        }
    }
}
