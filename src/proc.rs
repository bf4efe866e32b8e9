//! Processes as proc(5) shows them, read below a root directory so that tests can bring their own.
//!
//! Reading a process races with its end and with its next exec; every reader here says "could not
//! look" (`None`, or an error) instead of inventing an answer.

use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use procfs::FromRead;

use crate::model::{BootId, ByteString, Process, ServerId};

/// How much of a command line is kept, in bytes; longer ones are cut. The kernel allows megabytes
/// (execve(2), "Limits on size of arguments").
const CMDLINE_BYTES_MAX: usize = 128 * 1024;

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
    /// The process group.
    pub process_group: i32,
    /// The foreground process group of its terminal, or -1 without one.
    pub foreground_group: i32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
    /// Whether it has ended and nobody has taken note of it yet; in a container without an init, for ever.
    pub ended: bool,
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
            process_group: stat.pgrp,
            foreground_group: stat.tpgid,
            start_ticks: stat.starttime,
            ended: matches!(stat.state, 'Z' | 'X'),
        })
    }

    /// Returns whether a server still runs.
    pub fn runs(&self, id: &ServerId) -> bool {
        self.stat(id.pid).is_ok_and(|stat| stat.start_ticks == id.start_ticks && !stat.ended)
    }

    /// Reads what a process runs and where. An empty argument vector (a zombie, a kernel thread)
    /// counts as "not there".
    pub fn process(&self, pid: u32) -> io::Result<Process> {
        let argv = self.argv(pid)?;
        if argv.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Process {
            exe: strip_deleted(fs::read_link(self.path(pid, "exe"))?),
            directory: strip_deleted(fs::read_link(self.path(pid, "cwd"))?),
            argv,
        })
    }

    /// Reads the exact argument vector of a process.
    pub fn argv(&self, pid: u32) -> io::Result<Vec<ByteString>> {
        let mut bytes = fs::read(self.path(pid, "cmdline"))?;
        bytes.truncate(CMDLINE_BYTES_MAX);
        if bytes.last() == Some(&0) {
            bytes.pop();
        } else if bytes.is_empty() {
            return Ok(Vec::new());
        }
        Ok(bytes.split(|b| *b == 0).map(ByteString::from).collect())
    }

    /// Returns the children of a process that are in a process group, in the order in which they
    /// were started. Needs a kernel with `CONFIG_PROC_CHILDREN`, as all distributions' have.
    pub fn children_in_group(&self, pid: u32, group: i32) -> Vec<u32> {
        let list = self.path(pid, &format!("task/{pid}/children"));
        let children = fs::read_to_string(list).unwrap_or_default();
        children
            .split_ascii_whitespace()
            .filter_map(|child| child.parse().ok())
            .filter(|child| self.stat(*child).is_ok_and(|s| s.process_group == group))
            .collect()
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
