//! The process that a restored pane is started with: `agent-keeper pane OBJECT STATE-DIRECTORY`.
//!
//! It shows the saved text, goes to the saved directory and becomes the saved shell. Any other program it
//! names and waits for Enter. It never types into anything, and whatever goes wrong, the user is left
//! with a shell: that a file of ours is gone must not cost a pane.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use jiff::tz::TimeZone;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgrp, tcsetpgrp};

use crate::model::{ByteString, FORMAT, ObjectId, PaneStart, Process, Program, StartMode};
use crate::place;
use crate::store::{Store, StoreError};
use crate::tmux::capture::{REPLAY_BEGIN, REPLAY_END};

/// What somebody answered to "press Enter to run".
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Run,
    Shell,
}

/// Runs until it becomes the pane's program, or until the pane is closed.
pub fn run(object: &str, state: &Path) -> io::Result<Infallible> {
    match read_start(object, state) {
        Ok((store, start)) => Restored { store, start }.run(),
        Err(why) => {
            say(&format!("agent-keeper: this pane cannot be restored: {why}"));
            Err(become_shell(None))
        }
    }
}

fn read_start(object: &str, state: &Path) -> anyhow::Result<(Store, PaneStart)> {
    let store = Store::open(state)?;
    let id: ObjectId = object.parse()?;
    let start: PaneStart = serde_json::from_slice(&store.object(id)?)?;
    anyhow::ensure!(start.format <= FORMAT, "its order was written by a newer agent-keeper");
    Ok((store, start))
}

struct Restored {
    store: Store,
    start: PaneStart,
}

impl Restored {
    fn run(self) -> io::Result<Infallible> {
        self.show_text();
        let elsewhere = enter(self.start.directory.as_path());
        match self.start.mode {
            StartMode::Hold => hold(),
            StartMode::Ask => {
                self.show_border(elsewhere.as_deref());
                Err(self.become_program())
            }
        }
    }

    /// Becomes the shell that ran here; anything else only if somebody says so.
    fn become_program(&self) -> io::Error {
        match &self.start.program {
            Program::Shell { shell, job, .. } => {
                if !job.is_empty() && ask(job) == Answer::Run {
                    run_in_foreground(job);
                }
                become_shell(Some(shell))
            }
            Program::Command { process } if ask(std::slice::from_ref(process)) == Answer::Run => {
                become_command(process)
            }
            Program::Command { .. } | Program::Unknown => become_shell(None),
        }
    }

    fn show_text(&self) {
        let (text, missing) = self.store.text(&self.start.scrollback);
        let mut out = io::stdout().lock();
        // A pane that cannot be written to is being closed, and there is nobody left to tell.
        let _ = [REPLAY_BEGIN, &text, REPLAY_END].iter().try_for_each(|part| out.write_all(part));
        let _ = out.flush();
        for error in missing {
            say(&format!("agent-keeper: some text is lost: {}", chain(&error)));
        }
    }

    fn show_border(&self, elsewhere: Option<&Path>) {
        let when = self.start.saved_at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S");
        say(&format!("── restored, as of {when} ──"));
        if let Some(instead) = elsewhere {
            let gone = &self.start.directory;
            say(&format!("   {gone} is gone; this is {}", ByteString::from(instead)));
        }
    }
}

/// Prints a line of our own, dim so that it stands apart from what programs wrote.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "\x1b[2m{line}\x1b[0m");
    let _ = out.flush();
}

fn chain(error: &StoreError) -> String {
    anyhow::Chain::new(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Goes to a directory, or to its nearest parent that is still there, and returns the latter.
fn enter(wanted: &Path) -> Option<PathBuf> {
    let found = wanted.ancestors().find(|dir| std::env::set_current_dir(dir).is_ok())?;
    (found != wanted).then(|| found.to_owned())
}

/// Names what ran here and waits for somebody to decide. Without a terminal nobody can: then it is a
/// shell.
fn ask(job: &[Process]) -> Answer {
    let stdin = io::stdin();
    let Ok(before) = tcgetattr(&stdin) else {
        say_what_ran(job);
        return Answer::Shell;
    };
    // Before the question is there to be seen: until then Ctrl-C is a signal, and it would end the pane.
    let _ = tcsetattr(&stdin, SetArg::TCSAFLUSH, &key_by_key(before.clone()));
    say_what_ran(job);
    let answer = read_answer(&mut stdin.lock());
    let _ = tcsetattr(&stdin, SetArg::TCSAFLUSH, &before);
    answer
}

fn say_what_ran(job: &[Process]) {
    let question = format!(
        "\x1b[1mPress Enter to run:\x1b[0m {}\n\x1b[2m   in {}; Ctrl-C for a shell\x1b[0m\n",
        pipeline(job),
        job[0].directory
    );
    let mut out = io::stdout().lock();
    let _ = out.write_all(question.as_bytes()).and_then(|()| out.flush());
}

/// Returns terminal settings under which each key arrives at once, unechoed, and Ctrl-C is a key.
fn key_by_key(mut settings: Termios) -> Termios {
    settings.local_flags &= !(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
    settings.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
    settings.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
    settings
}

/// Enter alone runs; Ctrl-C, Ctrl-D and the end of input do not. A line of text with an Enter behind it was
/// meant for somebody else and decides nothing.
fn read_answer(keys: &mut impl Read) -> Answer {
    let mut key = [0];
    let mut typed = false;
    loop {
        match keys.read(&mut key) {
            Ok(1) if matches!(key[0], b'\r' | b'\n') && typed => {
                typed = false;
                say("Nothing was run. Press Enter alone to run it, Ctrl-C for a shell.");
            }
            Ok(1) if matches!(key[0], b'\r' | b'\n') => return Answer::Run,
            Ok(1) if !matches!(key[0], 3 | 4) => typed = true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return Answer::Shell,
        }
    }
}

/// Returns a pipeline as a person would type it.
pub fn pipeline(job: &[Process]) -> String {
    job.iter().map(Process::command_line).collect::<Vec<_>>().join(" | ")
}

/// Returns the program as a person would name it: its command line, a login shell without its dash.
pub fn what_runs(program: &Program) -> String {
    match program {
        Program::Unknown => "?".to_owned(),
        Program::Shell { shell, job, .. } if job.is_empty() => {
            let line = shell.command_line();
            line.strip_prefix('-').map_or(line.clone(), str::to_owned)
        }
        _ => pipeline(program.foreground()),
    }
}

/// Runs a job in the foreground of the terminal as a shell would, until it ends.
fn run_in_foreground(job: &[Process]) {
    match start_job(job) {
        Ok(children) => {
            wait_for_job(&children);
            give_terminal_to(getpgrp());
        }
        Err((process, error)) => {
            say(&format!("agent-keeper: cannot run {}: {error}", process.command_line()));
        }
    }
}

/// Starts the processes of a pipeline in one process group, which gets the terminal.
fn start_job(job: &[Process]) -> Result<Vec<Child>, (&Process, io::Error)> {
    let mut children: Vec<Child> = Vec::new();
    let mut input = None;
    for (at, process) in job.iter().enumerate() {
        let group = children.first().map_or(0, |leader| leader.id().cast_signed());
        let mut command = command(process);
        command.process_group(group);
        command.stdin(input.take().map_or_else(Stdio::inherit, Stdio::from));
        if at + 1 < job.len() {
            command.stdout(Stdio::piped());
        }
        let mut child = command.spawn().map_err(|error| (process, error))?;
        input = child.stdout.take();
        if at == 0 {
            give_terminal_to(Pid::from_raw(child.id().cast_signed()));
        }
        children.push(child);
    }
    Ok(children)
}

/// Waits until the whole job has ended. There is no prompt to come back to, so a job that stops itself
/// (Ctrl-Z) is woken again.
fn wait_for_job(children: &[Child]) {
    for child in children {
        let pid = Pid::from_raw(child.id().cast_signed());
        while let Ok(WaitStatus::Stopped(..)) = waitpid(pid, Some(WaitPidFlag::WUNTRACED)) {
            let _ = kill(pid, Signal::SIGCONT);
        }
    }
}

/// Makes a process group the terminal's foreground group. Done from the background, the kernel would stop
/// us with SIGTTOU unless we block it (tcsetpgrp(3)).
fn give_terminal_to(group: Pid) {
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGTTOU);
    let _ = blocked.thread_block();
    let _ = tcsetpgrp(io::stdin(), group);
    let _ = blocked.thread_unblock();
}

/// Returns the command that a process was started with: the same executable, the same vector.
fn command(process: &Process) -> Command {
    let mut command = Command::new(process.exe.as_os_str());
    if let Some((name, arguments)) = process.argv.split_first() {
        command.arg0(name.as_os_str()).args(arguments.iter().map(ByteString::as_os_str));
    }
    if process.directory.as_path().is_dir() {
        command.current_dir(process.directory.as_path());
    }
    command
}

/// Becomes a program; returns only if that failed, after which there is a shell.
fn become_command(process: &Process) -> io::Error {
    let error = command(process).exec();
    say(&format!("agent-keeper: cannot run {}: {error}", process.command_line()));
    become_shell(None)
}

/// Becomes the shell that ran here, or the user's login shell, or any shell at all.
fn become_shell(saved: Option<&Process>) -> io::Error {
    if let Some(shell) = saved {
        let mut saved_shell = Command::new(shell.exe.as_os_str());
        if let Some((name, arguments)) = shell.argv.split_first() {
            saved_shell.arg0(name.as_os_str()).args(arguments.iter().map(ByteString::as_os_str));
        }
        let error = saved_shell.exec();
        say(&format!("agent-keeper: cannot start {}: {error}; this is your login shell", shell.exe));
    }
    let usual = std::env::var_os("SHELL").map_or_else(|| PathBuf::from("/bin/sh"), PathBuf::from);
    let _ = login_shell(&usual).exec();
    login_shell(Path::new("/bin/sh")).exec()
}

/// Returns a command that starts a shell as login(1) does, with a dash before its name.
fn login_shell(shell: &Path) -> Command {
    let mut name = OsString::from("-");
    name.push(shell.file_name().unwrap_or(shell.as_os_str()));
    let mut command = Command::new(shell);
    command.arg0(name);
    command
}

/// Stays until the pane is closed: a pane of a drill.
fn hold() -> io::Result<Infallible> {
    loop {
        nix::unistd::pause();
    }
}

/// Returns the directory in which a pane can be opened: the wanted one, or the nearest parent that is
/// there. tmux would silently take the home directory instead.
pub fn nearest_directory(wanted: &Path) -> PathBuf {
    let found = wanted.ancestors().find(|dir| dir.is_dir());
    found.map(Path::to_owned).or_else(|| place::home().ok()).unwrap_or_else(|| PathBuf::from("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_enter_alone_runs_and_only_ctrl_c_or_ctrl_d_gives_a_shell() {
        let cases: [(&[u8], Answer); 8] = [
            (b"\r", Answer::Run),
            (b"abc\n", Answer::Shell),
            (b"rm -r x\rls\r\x03", Answer::Shell),
            (b"abc\n\n", Answer::Run),
            (b"\x03", Answer::Shell),
            (b"ab\x04\r", Answer::Shell),
            (b"q", Answer::Shell),
            (b"", Answer::Shell),
        ];
        for (keys, expected) in cases {
            assert_eq!(read_answer(&mut &keys[..]), expected, "{keys:?}");
        }
    }

    #[test]
    fn the_nearest_directory_is_a_parent_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("gone/deeper");
        assert_eq!(nearest_directory(&inside), dir.path());
        assert_eq!(nearest_directory(dir.path()), dir.path());
    }
}
