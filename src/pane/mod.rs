//! The process that a restored pane is started with: `agent-keeper pane OBJECT STATE-DIRECTORY`.
//!
//! It shows the saved text, goes to the saved directory and becomes the saved shell. Any other program it
//! names and waits for Enter, unless all of it is approved. It never types into anything, and whatever goes
//! wrong, the user is left with a shell: that a file of ours is gone must not cost a pane.
//!
//! A shell in a shell needs a process for each. Level 0 is the pane's own process. It asks, starts level 1 in
//! the foreground as a shell would, waits for its end and becomes the outer shell then; the innermost level
//! starts the jobs, so that they are its children, and becomes the innermost shell.

mod ask;
mod dead;
mod directory;
mod job;
mod level;
mod runnable;
mod say;
mod terminal;

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::tz::TimeZone;

use crate::model::{ByteString, DIE_VARIABLE, FORMAT, ObjectId, PaneStart, Process, Program, StartMode};
use crate::store::{Store, StoreError};
use crate::tmux::capture::{REPLAY_BEGIN, REPLAY_END};
use crate::tmux::text::canonical;

use ask::{Answer, Offer};
use directory::enter;
pub use directory::nearest_directory;
pub use level::Level;
use runnable::Runnable;
pub use runnable::not_as_it_was;
use say::say;

/// Runs until it becomes the pane's program, or until the pane is closed.
pub fn run(object: &str, state: &Path, level: Level) -> io::Result<Infallible> {
    terminal::heed_terminal();
    match read_start(object, state) {
        Ok((store, start)) => Restored { store, start, object, state, level }.run(),
        Err(why) => {
            say(&format!("agent-keeper: this pane cannot be restored: {why}"));
            Err(become_shell(None))
        }
    }
}

fn read_start(object: &str, state: &Path) -> anyhow::Result<(Store, PaneStart)> {
    let store = Store::open(state);
    let id: ObjectId = object.parse()?;
    let start: PaneStart = serde_json::from_slice(&store.object(id)?)?;
    anyhow::ensure!(start.format <= FORMAT, "its order was written by a newer agent-keeper");
    Ok((store, start))
}

struct Restored<'a> {
    store: Store,
    start: PaneStart,
    object: &'a str,
    state: &'a Path,
    level: Level,
}

impl Restored<'_> {
    fn run(self) -> io::Result<Infallible> {
        if self.level.number > 0 {
            return Err(self.become_nested());
        }
        if let Some(dead) = self.start.dead.filter(|_| std::env::var_os(DIE_VARIABLE).is_some()) {
            self.show_text();
            terminal::wait_until_shown();
            return dead::end_as(dead);
        }
        if self.start.mode == StartMode::Ask && self.start.program.asks_before_start() {
            self.take_its_name();
        }
        self.show_text();
        let elsewhere = enter(self.start.directory.as_path());
        if self.start.mode == StartMode::Hold {
            return hold();
        }
        self.show_border(elsewhere.as_deref());
        Err(self.become_program())
    }

    /// Becomes this very program under the name of the one that it will wait for, because tmux names windows
    /// after the first argument of what has the terminal (`automatic-rename`). If that fails, a window has
    /// another name for a while.
    fn take_its_name(&self) {
        let name = self.start.program.foreground().first().and_then(|process| process.argv.first());
        let called = std::env::args_os().next().unwrap_or_default();
        if let Some(name) = name.filter(|name| !name.is_empty() && name.as_os_str() != called)
            && let Ok(mut own) = self.own_command()
        {
            let _ = own.arg0(name.as_os_str()).exec();
        }
    }

    /// Becomes the shell that ran here; anything else only if somebody says so.
    fn become_program(&self) -> io::Error {
        match &self.start.program {
            Program::Shell { .. } => {
                let run = self.decide() == Answer::Run;
                self.become_level(0, run)
            }
            Program::Command { process } if self.decide() == Answer::Run => become_command(process),
            Program::Command { .. } | Program::Unknown => become_shell(None),
        }
    }

    /// Finds out whether the programs besides the shells are to be started.
    fn decide(&self) -> Answer {
        let (job, background) = match &self.start.program {
            Program::Shell { job, background, .. } => (job.as_slice(), background.as_slice()),
            Program::Command { process } => (std::slice::from_ref(process), [].as_slice()),
            Program::Unknown => return Answer::Shell,
        };
        let offer = Offer::new(job, background);
        match self.start.mode {
            StartMode::Run => offer.announce(),
            StartMode::Ask | StartMode::Hold => offer.ask(),
        }
    }

    fn show_text(&self) {
        let (text, missing) = self.store.text(&self.start.scrollback);
        let mut out = io::stdout().lock();
        // A pane that cannot be written to is being closed, and there is nobody left to tell.
        let _ = out.write_all(&replay(&text)).and_then(|()| out.flush());
        for error in missing {
            say(&format!("agent-keeper: some text is lost: {}", chain(&error)));
        }
    }

    fn show_border(&self, elsewhere: Option<&Path>) {
        let when = self.start.saved_at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S");
        say(&format!("── restored, as of {when} ──"));
        say_elsewhere(&self.start.directory, elsewhere);
    }
}

/// Returns what shows a saved text again. One that came from elsewhere need not be as we write it: nothing in it may
/// tell the terminal more than colours and links.
fn replay(text: &[u8]) -> Vec<u8> {
    [REPLAY_BEGIN, &canonical(text), REPLAY_END].concat()
}

fn say_elsewhere(wanted: &ByteString, elsewhere: Option<&Path>) {
    if let Some(instead) = elsewhere {
        say(&format!("   {wanted} is gone; this is {}", ByteString::from(instead)));
    }
}

fn chain(error: &StoreError) -> String {
    anyhow::Chain::new(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
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

/// Becomes a program; returns only if that failed, after which there is a shell.
fn become_command(process: &Process) -> io::Error {
    let error = Runnable::find(process).map_or_else(|error| error, |runnable| runnable.command().exec());
    say(&format!("agent-keeper: cannot run {}: {error}", process.command_line()));
    become_shell(None)
}

/// Becomes the shell that ran here, or the user's login shell, or any shell at all.
fn become_shell(saved: Option<&Process>) -> io::Error {
    if let Some(shell) = saved {
        let error = Runnable::find(shell).map_or_else(|error| error, |runnable| runnable.here().exec());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_elsewhere_gives_the_terminal_no_orders() {
        let shown = |text: &str| {
            let all = replay(text.as_bytes());
            let inner = all.strip_prefix(REPLAY_BEGIN).and_then(|rest| rest.strip_suffix(REPLAY_END));
            String::from_utf8(inner.unwrap().to_vec()).unwrap()
        };
        let ours = "plain\n\x1b[31mred\x1b[0m\ttab\n\x1b]8;;https://x.org\x1b\\link\x1b]8;;\x1b\\\n";
        let own = String::from_utf8(canonical(ours.as_bytes())).unwrap();
        assert_eq!(shown(&own), own);
        let orders = [
            ("\x1b]0;title\x07", "]0;title"),
            ("\x1b]52;c;cHduZWQ=\x1b\\", "]52;c;cHduZWQ=\\"),
            ("\x1b[2J\x1b[6n", "[2J[6n"),
            ("\x1bc\x1bkname\x1b\\", "ckname\\"),
            ("\r\x08\x05\x7f", ""),
        ];
        for (order, left) in orders {
            assert_eq!(shown(&format!("a{order}b\n")), format!("a{left}b\n"), "{order:?}");
        }
    }
}
