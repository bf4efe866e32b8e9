//! Which parts of the journal may be read.
//!
//! journalctl(1) reads what it may and is silent of the rest, so an empty answer alone does not tell "nothing there"
//! from "not for you". Opening the files does.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where journald keeps its files, in a folder named after the machine (systemd-journald.service(8)).
const PLACES: [&str; 2] = ["var/log/journal", "run/log/journal"];

/// Whether a part of the journal may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// There is none.
    Absent,
    /// There is one, for others.
    Denied,
    /// It may be read.
    Open,
}

/// Returns whether the system's part may be read: what the kernel, the system's manager and logind write.
pub fn system(root: &Path) -> Access {
    best(root, "system.journal")
}

/// Returns whether what a user's own processes write may be read. It is in a file of its own (`SplitMode=uid`,
/// journald.conf(5)), but for system users and where the journal is only in memory.
pub fn own(root: &Path, uid: u32) -> Access {
    best(root, &format!("user-{uid}.journal")).max(system(root))
}

/// Returns whether it is kept on the disk, and not in memory only (`Storage=`, journald.conf(5)).
pub fn is_on_disk(root: &Path) -> bool {
    let [disk, memory] = files(root, "system.journal").map(|path| of_file(&path));
    disk != Access::Absent && memory == Access::Absent
}

fn best(root: &Path, file: &str) -> Access {
    files(root, file).iter().map(of_file).max().unwrap_or(Access::Absent)
}

/// Returns where a file of this machine's journal can be: on the disk, and in memory.
fn files(root: &Path, file: &str) -> [PathBuf; 2] {
    let machine = fs::read_to_string(root.join("etc/machine-id")).unwrap_or_default();
    // Without an id there is no such folder.
    let machine = if machine.trim().is_empty() { "-" } else { machine.trim() };
    PLACES.map(|place| root.join(place).join(machine).join(file))
}

fn of_file(path: &PathBuf) -> Access {
    match File::open(path) {
        Ok(_) => Access::Open,
        Err(error) if error.kind() == ErrorKind::NotFound => Access::Absent,
        Err(_) => Access::Denied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_tell_what_may_be_read() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let seen = || (system(root), own(root, 1000));
        assert_eq!(seen(), (Access::Absent, Access::Absent));
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(root.join("etc/machine-id"), "0123\n").unwrap();
        assert_eq!(seen(), (Access::Absent, Access::Absent));
        let [disk, memory] = PLACES.map(|place| root.join(place).join("0123"));
        for dir in [&disk, &memory] {
            fs::create_dir_all(dir).unwrap();
        }
        // Whoever runs the tests may be root, who is never refused; a link that leads to itself refuses everybody.
        std::os::unix::fs::symlink("system.journal", disk.join("system.journal")).unwrap();
        assert_eq!(seen(), (Access::Denied, Access::Denied));
        assert!(is_on_disk(root));
        fs::write(disk.join("user-1000.journal"), "").unwrap();
        fs::write(disk.join("user-1001.journal"), "").unwrap();
        assert_eq!(seen(), (Access::Denied, Access::Open));
        fs::remove_file(disk.join("user-1000.journal")).unwrap();
        fs::write(memory.join("system.journal"), "").unwrap();
        assert_eq!(seen(), (Access::Open, Access::Open));
        assert!(!is_on_disk(root));
    }
}
