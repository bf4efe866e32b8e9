//! Where things are: our own directories by the XDG base directory specification, and tmux's sockets.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

/// The longest path a Unix socket can have: `sun_path` holds 108 bytes with the closing NUL (unix(7)).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The directories of one user's keeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Where the user's own configuration is: `$XDG_CONFIG_HOME/agent-keeper`.
    pub config: PathBuf,
    /// Where snapshots are: `$XDG_STATE_HOME/agent-keeper`.
    pub state: PathBuf,
    /// Where the keeper's own socket is: `$XDG_RUNTIME_DIR/agent-keeper`.
    pub runtime: PathBuf,
    /// Where the user's own units are: `$XDG_CONFIG_HOME/systemd/user` (systemd.unit(5)).
    pub units: PathBuf,
}

/// Why a place cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The path of a socket is too long for the kernel.
    #[error(
        "the socket path {} has {} bytes and the kernel allows {SOCKET_PATH_BYTES_MAX}; choose a shorter one",
        path.display(),
        path.as_os_str().len()
    )]
    TooLong {
        /// That path.
        path: PathBuf,
    },
    /// Neither the environment nor the password database names a home directory.
    #[error("no home directory is known for uid {uid}; set HOME")]
    NoHome {
        /// The user.
        uid: Uid,
    },
    /// A relative home would be another one in every directory.
    #[error("HOME is {}, which is not a whole path; it must begin with /", home.display())]
    RelativeHome {
        /// What it says.
        home: PathBuf,
    },
    /// The directory cannot be made.
    #[error("cannot make the directory {}", path.display())]
    Make {
        /// That directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Somebody else owns the directory, or others can write to it.
    #[error("{} is not safe: it belongs to uid {owner} with mode {mode:o}, and it must be yours and closed to others; move it away", path.display())]
    Unsafe {
        /// That directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
}

/// Returns the value of a variable when it is set and not empty.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns the directory that an XDG variable names. The specification says to ignore what is not
/// absolute.
fn xdg(name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Returns the user's home directory: `$HOME`, else the password database's.
pub fn home() -> Result<PathBuf, PlaceError> {
    let uid = Uid::effective();
    let home = variable("HOME")
        .map(PathBuf::from)
        .or_else(|| User::from_uid(uid).ok().flatten().map(|user| user.dir))
        .ok_or(PlaceError::NoHome { uid })?;
    if home.is_absolute() { Ok(home) } else { Err(PlaceError::RelativeHome { home }) }
}

/// Returns the user's runtime directory, if the machine has one: `$XDG_RUNTIME_DIR`, or the
/// directory that pam_systemd(8) would name, which is there but not named in a cron job or after `su`.
pub fn user_runtime_dir() -> Option<PathBuf> {
    let uid = Uid::effective().as_raw();
    xdg("XDG_RUNTIME_DIR").or_else(|| {
        let usual = PathBuf::from(format!("/run/user/{uid}"));
        let ours = fs::metadata(&usual).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid);
        ours.then_some(usual)
    })
}

impl Places {
    /// Finds the places of the user who runs this process.
    pub fn find() -> Result<Self, PlaceError> {
        let home = home()?;
        let config_home = xdg("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let state_home = xdg("XDG_STATE_HOME").unwrap_or_else(|| home.join(".local/state"));
        let runtime = match user_runtime_dir() {
            Some(dir) => dir.join("agent-keeper"),
            None => PathBuf::from(format!("/tmp/agent-keeper-{}", Uid::effective())),
        };
        Ok(Self {
            config: config_home.join("agent-keeper"),
            state: state_home.join("agent-keeper"),
            runtime,
            units: config_home.join("systemd/user"),
        })
    }

    /// Returns the socket on which the keeper serves its D-Bus interface peer to peer.
    pub fn bus_socket(&self) -> PathBuf {
        self.runtime.join("bus")
    }
}

/// Makes a directory that only its owner can use, with all its parents. One that is there already
/// must be the user's own and not writable by others: in `/tmp` anybody could have made it first.
pub fn make_private_dir(path: &Path) -> Result<(), PlaceError> {
    let failed = |source| PlaceError::Make { path: path.to_owned(), source };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).map_err(failed)?;
    let meta = fs::symlink_metadata(path)
        .and_then(|meta| if meta.is_symlink() { fs::metadata(path) } else { Ok(meta) })
        .map_err(failed)?;
    let mode = meta.mode() & 0o777;
    if meta.uid() != Uid::effective().as_raw() || (mode & 0o022) != 0 {
        return Err(PlaceError::Unsafe { path: path.to_owned(), owner: meta.uid(), mode });
    }
    if mode != 0o700 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// Refuses a socket path that the kernel would refuse or cut.
pub fn check_socket_path(path: &Path) -> Result<(), PlaceError> {
    if path.as_os_str().as_bytes().len() > SOCKET_PATH_BYTES_MAX {
        return Err(PlaceError::TooLong { path: path.to_owned() });
    }
    Ok(())
}

/// Returns the path of a tmux socket by its name (`tmux -L NAME`), as tmux itself would build it:
/// below `$TMUX_TMPDIR` or `/tmp`, in `tmux-UID`. `tmpdir` is the value of that variable in the
/// user's login environment.
pub fn tmux_socket(name: &str, tmpdir: Option<&Path>) -> PathBuf {
    let base = tmpdir.filter(|dir| dir.is_dir()).unwrap_or(Path::new("/tmp"));
    // tmux resolves the directory (realpath(3) in make_label, tmux.c), so that one server has one name.
    let base = fs::canonicalize(base).unwrap_or_else(|_| base.to_owned());
    base.join(format!("tmux-{}", Uid::effective())).join(name)
}
