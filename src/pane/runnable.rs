//! A saved process as something that can be started here and now: which file, in which directory, and what of
//! that is not as it was.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::environment::{find_in_path, is_program};
use crate::model::{ByteString, Process, Program};

use super::directory::nearest_directory;

/// A process that can be started.
#[derive(Debug)]
pub(super) struct Runnable<'a> {
    pub(super) process: &'a Process,
    /// The file that is executed.
    program: PathBuf,
    /// The directory it starts in.
    pub(super) directory: PathBuf,
}

impl<'a> Runnable<'a> {
    /// Finds the executable of a process: the one it had; if that is gone (an upgrade moved it) or was never
    /// known (another user's), what its first argument names now.
    pub(super) fn find(process: &'a Process) -> io::Result<Self> {
        let directory = nearest_directory(process.directory.as_path());
        let exe = process.exe.as_path();
        let program = if has_slash(&process.exe) && is_program(exe) { Some(exe.to_owned()) } else { None };
        let program = program
            .or_else(|| process.argv.first().and_then(|name| named(name, &directory)))
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the program is not there"))?;
        Ok(Self { process, program, directory })
    }

    /// Returns in words what is not as it was.
    pub(super) fn changes(&self) -> Vec<String> {
        let Process { exe, directory, .. } = self.process;
        let mut changes = Vec::new();
        if has_slash(exe) && self.program != exe.as_path() {
            changes.push(format!("{exe} is gone; {} runs instead", ByteString::from(self.program.as_path())));
        }
        if self.directory != directory.as_path() {
            changes.push(format!("{directory} is gone"));
        }
        changes
    }

    /// Returns the command that starts it: this executable, the same arguments, its directory.
    pub(super) fn command(&self) -> Command {
        let mut command = self.here();
        command.current_dir(&self.directory);
        command
    }

    /// Returns the command that starts it in the directory of this process.
    pub(super) fn here(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some((name, arguments)) = self.process.argv.split_first() {
            command.arg0(name.as_os_str()).args(arguments.iter().map(ByteString::as_os_str));
        }
        command
    }
}

/// Returns in words what of a saved program would not start here and now as it ran. Nothing is started.
pub fn not_as_it_was(program: &Program) -> Vec<String> {
    let shells = match program {
        Program::Shell { shell, nested, .. } => std::iter::once(shell).chain(nested).collect(),
        Program::Command { .. } | Program::Unknown => Vec::new(),
    };
    let is_shell = |process: &Process| shells.iter().any(|shell| std::ptr::eq(*shell, process));
    let jobs = program.to_be_started().flatten();
    let all = shells.iter().copied().chain(jobs);
    all.flat_map(|process| match Runnable::find(process) {
        Ok(runnable) => runnable.changes(),
        Err(_) if is_shell(process) => vec![format!("{} is gone; your login shell would start", process.exe)],
        Err(_) => vec![format!("{} is gone, so it would not start", process.exe)],
    })
    .collect()
}

fn has_slash(name: &ByteString) -> bool {
    name.as_bytes().contains(&b'/')
}

/// Finds the program of a name as a shell in this directory would.
fn named(name: &ByteString, directory: &Path) -> Option<PathBuf> {
    if has_slash(name) {
        let file = directory.join(name.as_path());
        return is_program(&file).then_some(file);
    }
    let bytes = name.as_bytes();
    let name = ByteString::from(bytes.strip_prefix(b"-").unwrap_or(bytes));
    find_in_path(name.as_os_str(), &std::env::var_os("PATH")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(exe: &str, argv: &[&str], directory: &str) -> Process {
        Process {
            exe: exe.into(),
            argv: argv.iter().map(|word| (*word).into()).collect(),
            directory: directory.into(),
        }
    }

    #[test]
    fn what_is_gone_is_looked_for_by_its_name_and_named() {
        let there = process("/bin/sh", &["sh"], "/");
        assert_eq!(Runnable::find(&there).unwrap().changes(), Vec::<String>::new());
        let moved = process("/gone/v18/sh", &["-sh"], "/gone/x");
        let found = Runnable::find(&moved).unwrap();
        let changes = found.changes();
        assert!(changes[0].starts_with("/gone/v18/sh is gone; /"), "{changes:?}");
        assert!(changes[0].ends_with("/sh runs instead"), "{changes:?}");
        assert_eq!(changes[1], "/gone/x is gone");
        assert_eq!(found.directory, Path::new("/"));
        let unknown = process("sh", &["sh"], "/");
        assert!(Runnable::find(&unknown).unwrap().changes().is_empty());
        for (exe, argv) in
            [("/gone/x", &["gone x"][..]), ("/gone/x", &["./gone"]), ("/gone/x", &[]), ("/tmp", &["/tmp"])]
        {
            let error = Runnable::find(&process(exe, argv, "/")).unwrap_err();
            assert_eq!(error.to_string(), "the program is not there", "{exe} {argv:?}");
        }
    }
}
