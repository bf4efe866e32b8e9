//! Starts saved jobs as a shell would: a process group each, the one in the foreground with the terminal.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgrp, tcsetpgrp};

use crate::model::Process;

use super::runnable::Runnable;
use super::say::say;

/// How long a group that stopped stays so: one that stops itself again and again must not keep us busy.
const WAKE_PAUSE: Duration = Duration::from_millis(50);

/// Runs a job in the foreground until it ends.
pub(super) fn run_in_foreground(job: &[Process]) {
    if let Some(children) = start(job, true) {
        wait_in_foreground(&children);
    }
}

/// Starts a job and leaves it to run. It is a child of the shell that this process becomes, which does not
/// have it in its own list of jobs.
pub(super) fn run_in_background(job: &[Process]) {
    let _ = start(job, false);
}

/// Gives the terminal to children in a process group of their own, waits until all have ended and takes it
/// back. One that was killed has not put the terminal right, so that is done for it.
pub(super) fn wait_in_foreground(children: &[Child]) {
    let Some(group) = children.first().map(pid) else { return };
    let before = tcgetattr(io::stdin());
    give_terminal_to(group);
    let killed = wait_for_group(group);
    give_terminal_to(getpgrp());
    if let Ok(before) = before
        && killed
    {
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &before);
    }
}

/// Starts the processes of a pipeline in one process group, or nothing when one of them is not there.
fn start(job: &[Process], foreground: bool) -> Option<Vec<Child>> {
    let mut children: Vec<Child> = Vec::new();
    let mut input = None;
    for (at, runnable) in find_all(job)?.iter().enumerate() {
        let mut command = runnable.command();
        command.process_group(children.first().map_or(0, |leader| pid(leader).as_raw()));
        command.stdin(input.take().map_or_else(Stdio::inherit, Stdio::from));
        if at + 1 < job.len() {
            command.stdout(Stdio::piped());
        }
        let Ok(mut child) = command.spawn().inspect_err(|error| say_failure(runnable.process, error)) else {
            break;
        };
        input = child.stdout.take();
        if at == 0 && foreground {
            give_terminal_to(pid(&child));
        }
        children.push(child);
    }
    (!children.is_empty()).then_some(children)
}

fn find_all(job: &[Process]) -> Option<Vec<Runnable<'_>>> {
    let find = |process| Runnable::find(process).inspect_err(|error| say_failure(process, error)).ok();
    job.iter().map(find).collect()
}

fn say_failure(process: &Process, error: &io::Error) {
    say(&format!("agent-keeper: cannot run {}: {error}", process.command_line()));
}

/// Waits until all children of a group have ended and returns whether a signal did it to one of them. There is
/// no prompt to come back to, so a group that is stopped (Ctrl-Z) is woken again, with the children of our children,
/// of which nobody tells us; so is what wanted the terminal before it had it.
fn wait_for_group(group: Pid) -> bool {
    let mut killed = false;
    loop {
        match waitpid(Pid::from_raw(-group.as_raw()), Some(WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Stopped(..)) => {
                sleep(WAKE_PAUSE);
                let _ = killpg(group, Signal::SIGCONT);
            }
            Ok(WaitStatus::Signaled(..)) => killed = true,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return killed,
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// Makes a process group the terminal's foreground group. Done from the background, the kernel would stop
/// us with SIGTTOU unless we block it (tcsetpgrp(3)).
pub(super) fn give_terminal_to(group: Pid) {
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGTTOU);
    let _ = blocked.thread_block();
    let _ = tcsetpgrp(io::stdin(), group);
    let _ = blocked.thread_unblock();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::sync::mpsc::channel;

    #[test]
    fn a_group_that_stops_is_woken_with_all_its_children() {
        // The inner shell stops both, twice, as Ctrl-Z does.
        let script = "sh -c 'kill -STOP 0; kill -STOP 0'; exit 3";
        let mut child = Command::new("sh").args(["-c", script]).process_group(0).spawn().unwrap();
        let group = pid(&child);
        let (done, waited) = channel();
        std::thread::spawn(move || done.send(wait_for_group(group)));
        let killed = waited.recv_timeout(Duration::from_secs(20));
        if killed.is_err() {
            killpg(group, Signal::SIGKILL).unwrap();
        }
        // Nobody is left to wait for, unless that failed.
        let _ = child.wait();
        assert_eq!(killed, Ok(false));
    }
}
