//! Brings back the socket of a server that lives and cannot be reached. A server makes it anew upon SIGUSR1
//! (`server_signal`, server.c; tmux(1)), where the directory is there; it is the only signal that we ever send to a
//! process that we did not start.

use std::fs::File;
use std::path::Path;
use std::sync::PoisonError;

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tracing::info;

use crate::cause::in_words;
use crate::place;
use crate::proc::Proc;

use super::worker::Worker;

impl Worker {
    /// Keeps those who clean up /tmp from the socket: what is in a directory that somebody has locked is not removed
    /// for its age (systemd-tmpfiles(8), tmpfiles.d(5), "Age"). tmux itself locks a file beside its socket.
    pub(super) fn hold_directory(&self) {
        let Some(dir) = self.tmux.socket().parent().filter(|dir| is_of_tmux(dir)) else { return };
        let lock = File::open(dir).ok().and_then(|dir| Flock::lock(dir, FlockArg::LockSharedNonblock).ok());
        *self.directory.lock().unwrap_or_else(PoisonError::into_inner) = lock;
    }

    /// Has the server make its socket again. In words, why not.
    pub(super) fn bring_back_socket(&self, pid: u32) -> Result<(), String> {
        let socket = self.tmux.socket();
        if let Some(dir) = socket.parent().filter(|dir| !dir.exists()) {
            place::make_private_dir(dir).map_err(in_words)?;
        }
        self.hold_directory();
        signal_listener(self.proc(), socket, pid)?;
        info!(pid, socket = %socket.display(), "told the server to make its socket again");
        Ok(())
    }
}

/// Returns whether a directory is one that tmux makes for its sockets. Another may be anything, and is left alone.
fn is_of_tmux(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"tmux-"))
}

/// Signals a process that is proven to be the server of a socket: the descriptor names one process for ever, and
/// that one listens there, is ours and calls itself a tmux server.
fn signal_listener(proc: &Proc, socket: &Path, pid: u32) -> Result<(), String> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("no process id")?;
    let process = pidfd_open(number, PidfdFlags::empty()).map_err(in_words)?;
    let stat = proc.stat(pid).map_err(in_words)?;
    let listens = proc.listener(socket, Uid::effective().as_raw()) == Some(pid);
    if !listens || !stat.comm.starts_with("tmux: server") {
        return Err(format!("process {pid} is not the server of {}", socket.display()));
    }
    pidfd_send_signal(&process, Signal::USR1).map_err(in_words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_not_the_server_of_that_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        // SIGUSR1 would end either of them: it listens there but is no server; it does not even listen.
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::fs::remove_file(&socket).unwrap();
        let proc = Proc::default();
        assert_eq!(proc.listener(&socket, Uid::effective().as_raw()), Some(std::process::id()));
        assert!(
            signal_listener(&proc, &socket, std::process::id()).unwrap_err().contains("is not the server")
        );
        drop(listener);
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        assert!(signal_listener(&proc, &socket, child.id()).is_err());
        assert!(child.try_wait().unwrap().is_none(), "it lives");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
