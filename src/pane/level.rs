//! Shells in shells: one process of ours for each, which becomes that shell when what runs in it has ended.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::getpgrp;

use crate::daemon::own_program;
use crate::model::{LEVEL_OPTION, PANE_COMMAND, Process, Program};

use super::directory::enter;
use super::job::{give_terminal_to, run_in_background, run_in_foreground, wait_in_foreground};
use super::say::say;
use super::{Restored, become_shell, say_elsewhere};

/// Which of the shells a process is to become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Level {
    /// 0 for the pane's own process, 1 for the first shell in its shell.
    pub number: usize,
    /// Whether the jobs are to be started; the level above was told so.
    pub run: bool,
}

impl Restored<'_> {
    /// Returns the command that this process was started with, for another of its kind.
    pub(super) fn own_command(&self) -> io::Result<Command> {
        let mut own = Command::new(own_program()?);
        own.arg(PANE_COMMAND).arg(self.object).arg(self.state);
        Ok(own)
    }

    /// Becomes the shell of a nested level.
    pub(super) fn become_nested(&self) -> io::Error {
        // As a shell does. The level above does it too, and nobody knows who is first.
        give_terminal_to(getpgrp());
        if let Some(shell) = self.shell(self.level.number) {
            say_elsewhere(&shell.directory, enter(shell.directory.as_path()).as_deref());
        }
        self.become_level(self.level.number, self.level.run)
    }

    /// Starts what runs in the shell of a level, waits for what of it has the terminal, and becomes that shell.
    pub(super) fn become_level(&self, level: usize, run: bool) -> io::Error {
        if self.shell(level + 1).is_some() {
            self.start_level(Level { number: level + 1, run });
        } else if let Program::Shell { job, background, .. } = &self.start.program
            && run
        {
            background.iter().filter(|job| !job.stopped).for_each(|job| run_in_background(&job.processes));
            run_in_foreground(job);
        }
        become_shell(self.shell(level))
    }

    fn start_level(&self, level: Level) {
        let started = self.own_command().and_then(|mut own| {
            own.arg(LEVEL_OPTION).arg(level.number.to_string());
            if level.run {
                own.arg("--run");
            }
            own.process_group(0).spawn()
        });
        match started {
            Ok(child) => wait_in_foreground(&[child]),
            Err(error) => say(&format!("agent-keeper: cannot start the shell in this shell: {error}")),
        }
    }

    fn shell(&self, level: usize) -> Option<&Process> {
        let Program::Shell { shell, nested, .. } = &self.start.program else { return None };
        if level == 0 { Some(shell) } else { nested.get(level - 1) }
    }
}
