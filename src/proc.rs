//! Processes as proc(5) shows them, read below a root directory so that tests can bring their own.
//!
//! Reading a process races with its end and with its next exec; every reader here says "could not
//! look" (`None`, or an error) instead of inventing an answer.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};
use nix::unistd::{Gid, Uid};
use procfs::FromRead;

use crate::model::{BootId, ByteString, Process, ServerId};

/// The longest command line that is kept, in bytes. The kernel allows megabytes (execve(2), "Limits on size of
/// arguments").
const CMDLINE_BYTES_MAX: u64 = 128 * 1024;

/// How many empty arguments, and nothing else, a person may have given to a program.
const EMPTY_ARGUMENTS_MAX: usize = 2;

/// How often a process is looked at that executes one program after the other meanwhile.
const LOOKS_MAX: u32 = 3;

/// A view of the processes of this machine.
#[derive(Debug, Clone)]
pub struct Proc {
    root: PathBuf,
}

/// What `/proc/PID/stat` says that we need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// The name of the executable, at most 15 bytes; a process can change it.
    pub comm: String,
    /// The process that started it, or that took it in.
    pub parent: u32,
    /// The process group.
    pub process_group: i32,
    /// The session, in the kernel's sense: all processes of a pane that have not left it.
    pub session: i32,
    /// The device number of its controlling terminal; 0 without one.
    pub terminal: i32,
    /// The foreground process group of its terminal, or -1 without one.
    pub foreground_group: i32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
    /// Whether it has ended and nobody has taken note of it yet; in a container without an init, for ever.
    pub ended: bool,
    /// Whether a signal has stopped it (Ctrl-Z).
    pub stopped: bool,
    /// Where its program lies in memory; without a stack when we may not know (another user's).
    pub image: Image,
}

/// Where the kernel has put a program: its code, stack, arguments and environment. Every exec draws these
/// anew (`randomize_va_space`), and a fork keeps them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Image([u64; 4]);

impl Stat {
    /// Returns whether this process was forked from another and has executed nothing since, as a subshell.
    pub fn is_fork_of(&self, parent: &Stat) -> bool {
        let [_, stack, ..] = self.image.0;
        self.image == parent.image && stack != 0
    }
}

/// How much a thread has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// For how long, in nanoseconds.
    pub nanos: u64,
    /// How often it was given a processor: once when it wakes up, and again whenever another one takes its place.
    pub times: u64,
}

impl Default for Proc {
    fn default() -> Self {
        Self::below("/proc")
    }
}

impl Proc {
    /// Returns a view of the processes below another directory than `/proc`.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, pid: u32, file: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(file)
    }

    /// Returns the id of this boot; empty when the kernel does not tell.
    pub fn boot_id(&self) -> BootId {
        let text = fs::read_to_string(self.root.join("sys/kernel/random/boot_id"));
        BootId(text.unwrap_or_default().trim().to_owned())
    }

    /// Reads the state of a process.
    pub fn stat(&self, pid: u32) -> io::Result<Stat> {
        let file = fs::File::open(self.path(pid, "stat"))?;
        let stat = procfs::process::Stat::from_read(file).map_err(io::Error::other)?;
        Ok(Stat {
            comm: stat.comm,
            parent: u32::try_from(stat.ppid).unwrap_or_default(),
            process_group: stat.pgrp,
            session: stat.session,
            terminal: stat.tty_nr,
            foreground_group: stat.tpgid,
            start_ticks: stat.starttime,
            ended: matches!(stat.state, 'Z' | 'X'),
            stopped: stat.state == 'T',
            image: Image([
                stat.startcode,
                stat.startstack,
                stat.arg_start.unwrap_or_default(),
                stat.env_start.unwrap_or_default(),
            ]),
        })
    }

    /// Opens the state of a process, to be read later too: also when it has ended and nobody has taken note of that,
    /// and never as that of another process which has got its number.
    pub fn open_stat(&self, pid: u32) -> io::Result<fs::File> {
        fs::File::open(self.path(pid, "stat"))
    }

    /// Returns whether a process runs, or ran, with our user and group, as far as the kernel still knows it.
    pub fn is_ours(&self, pid: u32) -> bool {
        let ours = (Uid::effective().as_raw(), Gid::effective().as_raw());
        fs::metadata(self.root.join(pid.to_string())).is_ok_and(|meta| (meta.uid(), meta.gid()) == ours)
    }

    /// Returns how much the main thread of a process has run on a processor, or `None` when the kernel does not
    /// tell: without `CONFIG_SCHED_INFO` there is no such file, or only zeros in it (Documentation/scheduler/
    /// sched-stats.rst, "/proc/<pid>/schedstat"). Where it has not changed the process has done nothing.
    pub fn run(&self, pid: u32) -> Option<Run> {
        let text = fs::read_to_string(self.path(pid, "schedstat")).ok()?;
        let mut numbers = text.split_ascii_whitespace().map_while(|word| word.parse().ok());
        let (nanos, _, times) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some(Run { nanos, times }).filter(|run| run.nanos > 0)
    }

    /// Returns whether a server still runs.
    pub fn runs(&self, id: &ServerId) -> bool {
        self.stat(id.pid).is_ok_and(|stat| stat.start_ticks == id.start_ticks && !stat.ended)
    }

    /// Reads what a process runs and where. An empty argument vector (a zombie, a kernel thread)
    /// counts as "not there". Of another user's process (`sudo`, `su`) everybody may read the arguments and
    /// nobody the rest: then it is what its first argument names, in the directory `started_in`.
    pub fn process(&self, pid: u32, started_in: Option<&ByteString>) -> io::Result<Process> {
        let link = |file| match (fs::read_link(self.path(pid, file)), started_in) {
            (Ok(link), _) => Ok(Some(strip_deleted(link))),
            (Err(error), Some(_)) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            (Err(error), _) => Err(error),
        };
        let links = || Ok((link("exe")?, link("cwd")?));
        let (argv, (exe, directory)) = between(|| self.argv(pid), links)?;
        if argv.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (exe, argv) = undisguised(exe.unwrap_or_else(|| argv[0].clone()), argv);
        let directory = directory.or_else(|| started_in.cloned()).unwrap_or_default();
        Ok(Process { exe, argv, directory })
    }

    /// Reads the directory that a process is in.
    pub fn directory(&self, pid: u32) -> io::Result<ByteString> {
        fs::read_link(self.path(pid, "cwd")).map(strip_deleted)
    }

    /// Reads the exact argument vector of a process. One that is too long for us is an error and not cut:
    /// half a command is another command.
    pub fn argv(&self, pid: u32) -> io::Result<Vec<ByteString>> {
        let mut bytes = Vec::new();
        let file = fs::File::open(self.path(pid, "cmdline"))?;
        file.take(CMDLINE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > CMDLINE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if bytes.last() == Some(&0) {
            bytes.pop();
        } else if bytes.is_empty() {
            return Ok(Vec::new());
        }
        Ok(bytes.split(|b| *b == 0).map(ByteString::from).collect())
    }

    /// Returns the living children of a process, in the order in which they were started. Needs a kernel
    /// with `CONFIG_PROC_CHILDREN`, as all distributions' have.
    pub fn children(&self, pid: u32) -> Vec<(u32, Stat)> {
        let list = self.path(pid, &format!("task/{pid}/children"));
        let children = fs::read_to_string(list).unwrap_or_default();
        children
            .split_ascii_whitespace()
            .filter_map(|child| child.parse().ok())
            .filter_map(|child| Some((child, self.stat(child).ok()?)))
            .filter(|(_, stat)| !stat.ended)
            .collect()
    }

    /// Returns what a file descriptor of a process leads to.
    pub fn descriptor(&self, pid: u32, number: u32) -> Option<Descriptor> {
        let meta = fs::metadata(self.path(pid, &format!("fd/{number}"))).ok()?;
        let kind = meta.file_type();
        Some(match kind.is_char_device() {
            true => Descriptor::Device(terminal_number(meta.rdev())),
            false if kind.is_fifo() || kind.is_socket() => Descriptor::Pipe,
            false => Descriptor::File,
        })
    }

    /// Returns the ids of all processes of a user.
    pub fn pids_of(&self, uid: u32) -> Vec<u32> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.metadata().is_ok_and(|meta| meta.uid() == uid))
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    }

    /// Returns the path of the control group of a process in the unified (v2) hierarchy, or in
    /// systemd's own named hierarchy where only v1 is there. See cgroups(7), `/proc/PID/cgroup`.
    pub fn cgroup(&self, pid: u32) -> io::Result<String> {
        let text = fs::read_to_string(self.path(pid, "cgroup"))?;
        let hierarchy = |prefix: &str| text.lines().find_map(|l| l.strip_prefix(prefix));
        hierarchy("0::")
            .filter(|path| *path != "/")
            .or_else(|| text.lines().find_map(|l| l.split_once(":name=systemd:")).map(|(_, p)| p))
            .or_else(|| hierarchy("0::"))
            .map(str::to_owned)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Returns the process that listens on a Unix socket of this path, whether or not the path
    /// still leads to it. Only processes of `uid` are looked at.
    pub fn listener(&self, socket: &Path, uid: u32) -> Option<u32> {
        let table = fs::read(self.root.join("net/unix")).ok()?;
        let inodes = listening_inodes(&table, socket);
        if inodes.is_empty() {
            return None;
        }
        self.pids_of(uid).into_iter().find(|pid| {
            let links = fs::read_dir(self.path(*pid, "fd")).into_iter().flatten().flatten();
            links
                .filter_map(|fd| fs::read_link(fd.path()).ok())
                .any(|target| target.to_str().is_some_and(|t| inodes.iter().any(|i| i == t)))
        })
    }
}

/// Reads something between two readings of a mark that are the same, so that all belongs together: an exec in between
/// would give one program the arguments of another.
fn between<M: PartialEq, T>(
    mut mark: impl FnMut() -> io::Result<M>,
    read: impl Fn() -> io::Result<T>,
) -> io::Result<(M, T)> {
    for _ in 0..LOOKS_MAX {
        let (before, seen) = (mark()?, read()?);
        if mark()? == before {
            return Ok((before, seen));
        }
    }
    Err(io::Error::other("the process runs one program after the other"))
}

/// What a file descriptor leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descriptor {
    /// A terminal or another character device, by its number as in [`Stat::terminal`].
    Device(i32),
    /// A pipe or a socket.
    Pipe,
    /// Anything else.
    File,
}

/// Returns a device number as `/proc/PID/stat` has it in `tty_nr`: the minor number in the bits 31 to 20 and
/// 7 to 0, the major in 15 to 8 (proc_pid_stat(5)).
fn terminal_number(device: u64) -> i32 {
    let number = major(device) << 8 | minor(device) & 0xff | (minor(device) & 0xfff00) << 12;
    (number as u32).cast_signed()
}

/// Sees through a process that has written a title over its arguments (setproctitle(3), `process.title` of
/// Node.js): one text with NULs behind it, up to where the arguments ended. What it was called with is lost;
/// the title is what is left, and whether a program is called like that is seen when it is run.
///
/// Empty arguments that somebody did give are kept: those of a program that is still called by its own name, up
/// to two of them.
fn undisguised(exe: ByteString, mut argv: Vec<ByteString>) -> (ByteString, Vec<ByteString>) {
    let Some((name, rest)) = argv.split_first().filter(|(_, rest)| rest.iter().all(ByteString::is_empty))
    else {
        return (exe, argv);
    };
    let own_name = name.base_name().strip_prefix(b"-").unwrap_or(name.base_name()) == exe.base_name();
    let titled = !own_name && (!rest.is_empty() || name.as_bytes().contains(&b' '));
    if !titled && rest.len() <= EMPTY_ARGUMENTS_MAX {
        return (exe, argv);
    }
    argv.truncate(1);
    (if own_name { exe } else { argv[0].clone() }, argv)
}

/// Returns `socket:[INODE]` for each listening socket of a path in the text of `/proc/net/unix`.
fn listening_inodes(table: &[u8], socket: &Path) -> Vec<String> {
    table
        .split(|b| *b == b'\n')
        .filter_map(listening_socket)
        .filter(|(_, path)| *path == socket.as_os_str().as_bytes())
        .map(|(inode, _)| format!("socket:[{inode}]"))
        .collect()
}

/// Reads one line of `/proc/net/unix` (`Num RefCount Protocol Flags Type St Inode Path`, see
/// proc_pid_net(5)) and returns the inode and the path if the socket listens: if its flags hold
/// `__SO_ACCEPTCON`, 0x10000.
fn listening_socket(line: &[u8]) -> Option<(u64, &[u8])> {
    let mut columns = [&line[..0]; 7];
    let mut rest = line;
    for column in &mut columns {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|b| *b == b' ')?;
        (*column, rest) = rest.split_at(end);
    }
    let inode = str::from_utf8(columns[6]).ok()?.parse().ok()?;
    (columns[3] == b"00010000").then_some((inode, &rest[1..]))
}

/// The kernel marks the link of a file that has been replaced or removed (proc_pid_exe(5)).
fn strip_deleted(link: PathBuf) -> ByteString {
    let mut bytes = link.into_os_string().into_vec();
    if let Some(kept) = bytes.strip_suffix(b" (deleted)") {
        bytes.truncate(kept.len());
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn terminals_are_numbered_as_in_stat() {
        assert_eq!(terminal_number(nix::sys::stat::makedev(136, 3)), 34_819);
        assert_eq!(terminal_number(nix::sys::stat::makedev(136, 300)), 136 << 8 | 300 & 0xff | 1 << 20);
        assert_eq!(terminal_number(nix::sys::stat::makedev(4, 1)), 1025);
    }

    #[test]
    fn an_exec_between_two_readings_is_seen() {
        let marks = |marks: &'static [u32]| {
            let mut marks = marks.iter().copied();
            between(move || marks.next().ok_or(io::ErrorKind::NotFound.into()), || Ok("exe")).ok()
        };
        assert_eq!(marks(&[1, 1]), Some((1, "exe")));
        assert_eq!(marks(&[1, 2, 2, 2]), Some((2, "exe")));
        assert_eq!(marks(&[1, 2, 3, 4, 5, 6, 6, 6]), None);
        assert_eq!(marks(&[1]), None);
    }

    #[test]
    fn a_title_is_told_from_arguments() {
        let padding = [""; 30];
        let cases: [(&str, Vec<&str>, &str, usize); 10] = [
            ("/usr/bin/node", [&["claude"], &padding[..]].concat(), "claude", 1),
            ("/usr/bin/node", vec!["npm run dev"], "npm run dev", 1),
            ("/usr/bin/node", [&["node"], &padding[..]].concat(), "/usr/bin/node", 1),
            ("/usr/sbin/x", vec!["x: worker 1", "", ""], "x: worker 1", 1),
            ("/usr/bin/printf", vec!["printf", "", ""], "/usr/bin/printf", 3),
            ("/usr/bin/bash", vec!["-bash", ""], "/usr/bin/bash", 2),
            ("/usr/bin/vim.basic", vec!["vim"], "/usr/bin/vim.basic", 1),
            ("/opt/my app/run it", vec!["./run it"], "/opt/my app/run it", 1),
            ("/usr/bin/node", vec!["node", "x y", ""], "/usr/bin/node", 3),
            ("/usr/bin/env", vec!["env", "", "", "", "a"], "/usr/bin/env", 5),
        ];
        for (exe, argv, expected, length) in cases {
            let argv: Vec<ByteString> = argv.into_iter().map(ByteString::from).collect();
            let (seen, kept) = undisguised(exe.into(), argv.clone());
            assert_eq!((seen, kept.len()), (expected.into(), length), "{argv:?}");
        }
    }

    #[test]
    fn our_own_process_is_read_to_the_byte() {
        let argv: [&[u8]; 6] = [b"cat", b"", b"a b", b"\xff\n\x1b[31m", b"-", b""];
        let mut command = std::process::Command::new("cat");
        command.args(argv[1..].iter().map(|word| std::ffi::OsStr::from_bytes(word)));
        // The last but one makes it read what never comes.
        let mut child =
            command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
        // An exec has no arguments for a moment.
        let seen = std::iter::repeat_with(|| Proc::default().process(child.id(), None));
        let seen = seen.take(1_000_000).find_map(Result::ok).unwrap();
        let parent = Proc::default().stat(std::process::id()).unwrap();
        let stat = Proc::default().stat(child.id()).unwrap();
        let stdin = Proc::default().descriptor(child.id(), 0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen.argv.iter().map(ByteString::as_bytes).collect::<Vec<_>>(), argv);
        assert_eq!(seen.exe.base_name(), b"cat");
        assert_eq!(stat.parent, std::process::id());
        assert!(!stat.is_fork_of(&parent), "it has executed something");
        assert!(stat.is_fork_of(&stat));
        assert_eq!(stdin, Some(Descriptor::Pipe));
    }

    #[test]
    fn a_process_that_runs_is_seen_to_run() {
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let nanos = || Proc::default().run(child.id()).map(|run| run.nanos);
        let looks = || std::iter::repeat_with(nanos).take(10_000_000);
        let grown = looks().find_map(|first| first).map(|first| looks().any(|now| now > Some(first)));
        child.kill().unwrap();
        child.wait().unwrap();
        if grown.is_none() {
            let _ = writeln!(io::stderr(), "SKIPPED: this kernel does not tell how long a process has run");
        }
        assert_ne!(grown, Some(false));
        assert_eq!(Proc::default().run(child.id()), None);
    }

    #[test]
    fn how_much_a_process_has_run_is_the_first_and_the_last_of_three_numbers() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("7")).unwrap();
        let run = Some(Run { nanos: 801_826, times: 7 });
        for (text, run) in
            [("801826 78167 7\n", run), ("0 0 0\n", None), ("", None), ("x", None), ("1 2", None)]
        {
            fs::write(dir.path().join("7/schedstat"), text).unwrap();
            assert_eq!(Proc::below(dir.path()).run(7), run, "{text:?}");
        }
    }

    #[test]
    fn half_a_command_is_no_command() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("7")).unwrap();
        let longest = CMDLINE_BYTES_MAX as usize;
        fs::write(dir.path().join("7/cmdline"), vec![b'x'; longest]).unwrap();
        assert_eq!(Proc::below(dir.path()).argv(7).unwrap()[0].as_bytes().len(), longest);
        fs::write(dir.path().join("7/cmdline"), vec![b'x'; longest + 1]).unwrap();
        assert_eq!(Proc::below(dir.path()).argv(7).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
