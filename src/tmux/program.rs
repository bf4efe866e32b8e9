//! What runs in a pane: its own process, as /proc has it, and what that runs in the foreground.

use crate::model::{ByteString, ObjectId, Process, Program, Scrollback, start_object};
use crate::proc::Proc;

use super::observe::FindStart;
use super::query::PaneRow;

/// Looks at the processes of panes.
pub(super) struct Programs<'a> {
    pub(super) proc: &'a Proc,
    pub(super) find_start: FindStart<'a>,
    /// The server's own arguments: a pane's process that has them has been forked and not executed yet.
    pub(super) server_argv: Vec<ByteString>,
}

impl Programs<'_> {
    /// Looks at the processes of a pane.
    pub(super) fn look(&self, row: &PaneRow) -> Seen {
        if row.dead || row.pid == 0 {
            return Seen::default();
        }
        let Some(root) = self.proc.process(row.pid).ok().filter(|root| root.argv != self.server_argv) else {
            return Seen::default();
        };
        let job = self.foreground_job(row.pid);
        let directory = Some(root.directory.clone());
        let restored = start_object(&root.argv).and_then(|id| Some((id, (self.find_start)(id)?)));
        match restored {
            // What waits is what was saved: its own text and its own program, not the question.
            Some((id, start)) if job.is_empty() => {
                Seen { directory, program: start.program, scrollback: start.scrollback, start: Some(id) }
            }
            Some((_, start)) => Seen { directory, program: with_job(start.program, job), ..Seen::default() },
            None if is_shell(&root) => {
                Seen { directory, program: Program::shell(root, job), ..Seen::default() }
            }
            None => Seen { directory, program: Program::Command { process: root }, ..Seen::default() },
        }
    }

    /// Returns what a pane's own process runs in the foreground, from left to right; nothing when that
    /// process has the terminal itself.
    fn foreground_job(&self, pid: u32) -> Vec<Process> {
        let Ok(stat) = self.proc.stat(pid) else {
            return Vec::new();
        };
        if stat.foreground_group <= 0 || stat.foreground_group == stat.process_group {
            return Vec::new();
        }
        let mut members = self.proc.children_in_group(pid, stat.foreground_group);
        if members.is_empty() {
            members.extend(u32::try_from(stat.foreground_group));
        }
        members.into_iter().filter_map(|pid| self.proc.process(pid).ok()).collect()
    }
}

/// What was seen of a pane's processes.
pub(super) struct Seen {
    pub(super) directory: Option<ByteString>,
    pub(super) program: Program,
    pub(super) scrollback: Scrollback,
    pub(super) start: Option<ObjectId>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { directory: None, program: Program::Unknown, scrollback: Scrollback::default(), start: None }
    }
}

fn with_job(saved: Program, job: Vec<Process>) -> Program {
    match saved {
        Program::Shell { shell, .. } => Program::shell(shell, job),
        other => other,
    }
}

/// The names of programs that are interactive shells when they are called without a script.
const SHELLS: [&str; 16] = [
    "ash", "bash", "csh", "dash", "elvish", "fish", "ksh", "ksh93", "mksh", "nu", "osh", "rbash", "sh",
    "tcsh", "xonsh", "zsh",
];

/// Returns whether a process is an interactive shell: a shell by name, called with nothing but options,
/// none of which makes it run a command (`-c`) or read one from elsewhere.
fn is_shell(process: &Process) -> bool {
    let Some((name, arguments)) = process.argv.split_first() else {
        return false;
    };
    let name = name.base_name();
    let name = name.strip_prefix(b"-").unwrap_or(name);
    let runs_something = |argument: &ByteString| match argument.as_bytes() {
        [b'-', b'-', ..] => false,
        [b'-', flags @ ..] => flags.contains(&b'c'),
        _ => true,
    };
    SHELLS.iter().any(|shell| shell.as_bytes() == name) && !arguments.iter().any(runs_something)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(argv: &[&str]) -> Process {
        Process {
            exe: "/bin/x".into(),
            argv: argv.iter().map(|word| ByteString::from(*word)).collect(),
            directory: "/".into(),
        }
    }

    #[test]
    fn a_shell_is_one_that_waits_for_commands() {
        let shells: [&[&str]; 6] = [
            &["-bash"],
            &["bash"],
            &["/usr/bin/zsh", "-l"],
            &["bash", "--login", "-i"],
            &["-fish"],
            &["sh", "-i"],
        ];
        let others: [&[&str]; 7] = [
            &["bash", "-c", "sleep 1"],
            &["sh", "-lc", "x"],
            &["bash", "script.sh"],
            &["vim"],
            &["bashful"],
            &["--"],
            &[],
        ];
        for argv in shells {
            assert!(is_shell(&process(argv)), "{argv:?}");
        }
        for argv in others {
            assert!(!is_shell(&process(argv)), "{argv:?}");
        }
    }
}
