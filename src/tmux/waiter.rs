//! A client that waits for the server's end, and that ends with us: a keeper that is killed leaves nothing of its own at
//! the server.
//!
//! A child of ours (`agent-keeper await-end`) asks the kernel for a signal when its parent dies and then becomes the
//! client. The signal stays asked for (prctl(2), `PR_SET_PDEATHSIG`, "preserved across execve(2)").

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

/// The first argument of the child: `agent-keeper await-end PARENT TMUX ARGUMENT…`.
pub const WAITER_COMMAND: &str = "await-end";

/// Becomes a client that ends with the process `parent`. Only fails.
pub fn become_client(parent: u32, tmux: &OsString, arguments: &[OsString]) -> io::Result<Infallible> {
    set_pdeathsig(Signal::SIGTERM)?;
    // It may have died before that was asked for.
    if getppid() != Pid::from_raw(parent.cast_signed()) {
        return Err(io::Error::other("who started this is gone"));
    }
    Err(Command::new(tmux).args(arguments).exec())
}
