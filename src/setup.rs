//! Installs the keeper for one user, and takes it away again: what has to be done, as values, and the
//! doing. Every file we write carries a mark, and a file without it is never touched.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::bulletin::journal;
use crate::systemd::unit_name::SERVICE;

/// The first line of every file that setup writes.
const MARK: &str = "# Written by keeperctl setup; keeperctl uninstall removes it.\n";

/// The unit as it is packaged, for a program in `/usr/bin`.
const UNIT: &str = include_str!("../units/agent-keeper.service");

/// What makes panes of newer tmux versions end after the keeper, and survive a child's OOM kill.
const PANE_DROP_IN: &str = include_str!("../units/tmux-spawn-.scope.d/50-agent-keeper.conf");

const PACKAGED_EXEC: &str = "ExecStart=/usr/bin/agent-keeper";

/// Where journald looks for explanations of messages that no package has brought: beside `/usr/lib/systemd/catalog`
/// (`catalog_file_dirs`, sd-journal/catalog.c, systemd 252).
pub const CATALOGS: &str = "/usr/local/lib/systemd/catalog";

/// Where a package's would be.
const PACKAGED_CATALOG: &str = "/usr/lib/systemd/catalog/agent-keeper.catalog";

/// Where distributions put user units (systemd.unit(5)).
const PACKAGED_UNITS: &str = "/usr/lib/systemd/user";

/// Why a file could not be written or removed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Somebody else wrote it.
    #[error("{} was not written by keeperctl setup, so it is left alone; move it away if setup shall write it", path.display())]
    Foreign {
        /// That file.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The program's path cannot be written in a unit.
    #[error("{} cannot be named in a unit file; install agent-keeper at another path", path.display())]
    Path {
        /// That path.
        path: PathBuf,
    },
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new or different now.
    Written,
    /// It was as it should be.
    Unchanged,
    /// It is gone.
    Removed,
    /// There was none.
    Absent,
}

/// A file that setup writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupFile {
    /// Where.
    pub path: PathBuf,
    /// With what in it.
    pub content: String,
}

/// Returns the files that a user's service needs. A distribution's package brings its own for its own
/// program; then there are none.
pub fn unit_files(units: &Path, program: &Path) -> Result<Vec<SetupFile>, SetupError> {
    if program == Path::new("/usr/bin/agent-keeper") && Path::new(PACKAGED_UNITS).join(SERVICE).exists() {
        return Ok(Vec::new());
    }
    let exec = exec_word(program).ok_or_else(|| SetupError::Path { path: program.to_owned() })?;
    let unit = UNIT.replace(PACKAGED_EXEC, &format!("ExecStart={exec}"));
    let file =
        |name: &str, content: &str| SetupFile { path: units.join(name), content: format!("{MARK}{content}") };
    Ok(vec![file(SERVICE, &unit), file("tmux-spawn-.scope.d/50-agent-keeper.conf", PANE_DROP_IN)])
}

/// Returns the file that explains our messages in the journal, below [`CATALOGS`]; nothing if a package has brought one.
/// journald knows it after `journalctl --update-catalog`. Both are root's.
pub fn catalog_file(catalogs: &Path) -> Option<SetupFile> {
    let packaged = Path::new(PACKAGED_CATALOG).exists();
    let content = format!("{MARK}{}", journal::CATALOG);
    (!packaged).then(|| SetupFile { path: catalogs.join("agent-keeper.catalog"), content })
}

/// Returns a path as one word of `ExecStart=`: in quotes, with `%` doubled, because it begins a specifier,
/// and `$` doubled, because it begins a variable (systemd.service(5), "Command lines").
fn exec_word(program: &Path) -> Option<String> {
    let text = str::from_utf8(program.as_os_str().as_bytes()).ok()?;
    if text.chars().any(char::is_control) {
        return None;
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c));
    Some(if plain { escaped } else { format!("\"{escaped}\"") })
}

impl SetupFile {
    /// Writes the file, unless it is there already or is somebody else's.
    pub fn write(&self) -> Result<Change, SetupError> {
        match self.read()? {
            Some(content) if content == self.content => return Ok(Change::Unchanged),
            Some(content) if !content.starts_with(MARK) => {
                return Err(SetupError::Foreign { path: self.path.clone() });
            }
            _ => {}
        }
        let failed = |source| SetupError::Io { doing: "write", path: self.path.clone(), source };
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir).map_err(failed)?;
            let file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
            fs::write(file.path(), &self.content).map_err(failed)?;
            file.as_file().sync_all().map_err(failed)?;
            let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            file.as_file().set_permissions(readable).map_err(failed)?;
            file.persist(&self.path).map_err(|error| failed(error.error))?;
        }
        Ok(Change::Written)
    }

    /// Removes the file if we wrote it, and its directory if that is empty then.
    pub fn remove(&self) -> Result<Change, SetupError> {
        match self.read()? {
            None => return Ok(Change::Absent),
            Some(content) if !content.starts_with(MARK) => {
                return Err(SetupError::Foreign { path: self.path.clone() });
            }
            Some(_) => {}
        }
        let failed = |source| SetupError::Io { doing: "remove", path: self.path.clone(), source };
        fs::remove_file(&self.path).map_err(failed)?;
        if let Some(dir) = self.path.parent().filter(|dir| dir.extension().is_some_and(|ext| ext == "d")) {
            // Somebody else's drop-ins may be in it.
            let _ = fs::remove_dir(dir);
        }
        Ok(Change::Removed)
    }

    fn read(&self) -> Result<Option<String>, SetupError> {
        match fs::read_to_string(&self.path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SetupError::Io { doing: "read", path: self.path.clone(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_one_word_of_a_command_line() {
        let cases = [
            ("/home/ann/.local/bin/agent-keeper", Some("/home/ann/.local/bin/agent-keeper")),
            ("/opt/my tools/100%/a$b", Some("\"/opt/my tools/100%%/a$$b\"")),
            ("/a\"b\\c", Some("\"/a\\\"b\\\\c\"")),
            ("/a\nb", None),
        ];
        for (path, expected) in cases {
            assert_eq!(exec_word(Path::new(path)).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn files_are_written_once_and_only_ours_are_touched() {
        let dir = tempfile::tempdir().unwrap();
        let files = unit_files(dir.path(), Path::new("/opt/x/agent-keeper")).unwrap();
        assert!(files[0].content.contains("\nExecStart=/opt/x/agent-keeper\n"));
        for file in &files {
            assert_eq!(file.write().unwrap(), Change::Written);
            assert_eq!(file.write().unwrap(), Change::Unchanged);
        }
        fs::write(&files[0].path, "[Service]\nExecStart=/mine\n").unwrap();
        assert!(matches!(files[0].write(), Err(SetupError::Foreign { .. })));
        assert!(matches!(files[0].remove(), Err(SetupError::Foreign { .. })));
        assert_eq!(files[1].remove().unwrap(), Change::Removed);
        assert_eq!(files[1].remove().unwrap(), Change::Absent);
        assert!(!files[1].path.parent().unwrap().exists());
    }
}
