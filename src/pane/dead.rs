//! Ends a pane's process as its program had ended, so that a pane which was dead (`remain-on-exit`) is dead
//! again, with the same status.

use std::convert::Infallible;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{Signal, raise};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::model::Dead;

/// The signal where tmux did not tell which it was: the one that leaves nothing behind.
const UNKNOWN_SIGNAL: u8 = Signal::SIGKILL as u8;

/// Ends this process. Returns only if nothing ends it.
pub(super) fn end_as(dead: Dead) -> io::Result<Infallible> {
    let number = match dead {
        Dead::Exited(status) => std::process::exit(status.into()),
        Dead::Killed(0) => UNKNOWN_SIGNAL,
        Dead::Killed(number) => number,
    };
    // Nothing has crashed here.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    if let Ok(signal) = Signal::try_from(i32::from(number)) {
        let _ = raise(signal);
    }
    // It is ignored or handled by this program (SIGPIPE, SIGINT), or has no name. An exec gives it back its
    // default action; the number is the only argument.
    Err(Command::new("/bin/sh")
        .args(["-c", "kill -\"$1\" $$; exit $((128 + $1))", "sh", &number.to_string()])
        .exec())
}
