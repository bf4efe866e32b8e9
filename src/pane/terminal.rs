//! The terminal of a pane: reading key by key, and knowing that all has been shown.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

/// How long tmux may take to read what a pane has printed.
const SHOW_MAX: Duration = Duration::from_secs(10);

/// Asks a terminal how it is (DSR, ECMA-48 8.3.35), and how its answer ends.
const STATUS_REQUEST: &[u8] = b"\x1b[5n";
const STATUS_REPORT_END: u8 = b'n';

/// Returns terminal settings under which each key arrives at once, unechoed, and Ctrl-C is a key.
pub(super) fn key_by_key(mut settings: Termios) -> Termios {
    settings.local_flags &= !(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
    settings.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
    settings.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
    settings
}

/// Handles the signals of a terminal, and does nothing about them.
///
/// Those of its keys must not end this process while it has the terminal between two programs: with it the pane
/// would go. And what is started from here shall be stopped when it uses a terminal that it has not got: tmux
/// ignores SIGTTIN and SIGTTOU, and so does every process of a pane until a shell puts it right; a job would
/// get an error (EIO) instead. What an exec finds handled it sets to its default (execve(2)).
pub(super) fn heed_terminal() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let _inside = runtime.enter();
    for number in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU] {
        // The handler stays for the life of this process.
        let _ = signal(SignalKind::from_raw(number as i32));
    }
}

/// Waits until tmux has read everything that was printed. When the process that a terminal belongs to ends, the
/// kernel throws away what nobody has read yet (`tty_vhangup_session`, `pty_flush_buffer`); tcdrain(3) does not
/// wait for that. But a terminal answers in the order in which it reads.
pub(super) fn wait_until_shown() {
    let stdin = io::stdin();
    let Ok(before) = tcgetattr(&stdin) else { return };
    if tcsetattr(&stdin, SetArg::TCSAFLUSH, &key_by_key(before)).is_err() {
        return;
    }
    let mut out = io::stdout().lock();
    if out.write_all(STATUS_REQUEST).and_then(|()| out.flush()).is_err() {
        return;
    }
    let deadline = Instant::now() + SHOW_MAX;
    let mut keys = [0; 64];
    loop {
        let left = PollTimeout::try_from(deadline.saturating_duration_since(Instant::now()));
        let ready =
            poll(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)], left.unwrap_or(PollTimeout::ZERO));
        if !ready.is_ok_and(|ready| ready > 0) {
            return;
        }
        // Not through the buffer of `stdin`, which poll(2) knows nothing of.
        match nix::unistd::read(&stdin, &mut keys) {
            Ok(1..) if !keys.contains(&STATUS_REPORT_END) => {}
            _ => return,
        }
    }
}
