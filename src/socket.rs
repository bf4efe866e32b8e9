//! Which tmux, and which of its sockets: from the command line, the configuration and the environment.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{Settings, TmuxSocket};
use crate::environment::Login;
use crate::place::{PlaceError, check_socket_path, tmux_socket};
use crate::tmux::Tmux;

/// Where the help shows these options: below those of the command itself.
const HEADING: &str = "Tmux socket";

/// Which tmux socket is meant, as tmux itself lets one say it.
#[derive(Debug, Clone, Default, Args)]
pub struct SocketArguments {
    /// Use the tmux socket of this name, as with tmux
    #[arg(short = 'L', value_name = "NAME", global = true, conflicts_with = "socket_path", help_heading = HEADING)]
    pub socket_name: Option<String>,
    /// Use the tmux socket at this path, as with tmux
    #[arg(short = 'S', value_name = "PATH", global = true, help_heading = HEADING)]
    pub socket_path: Option<PathBuf>,
}

impl SocketArguments {
    /// Returns whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.socket_name.is_none() && self.socket_path.is_none()
    }

    /// Returns the socket that was said.
    pub fn socket(&self) -> Option<TmuxSocket> {
        let path = self.socket_path.clone().map(TmuxSocket::Path);
        path.or_else(|| self.socket_name.clone().map(TmuxSocket::Name))
    }

    /// Returns the settings with what was said on the command line in place of what is configured.
    #[must_use]
    pub fn over(&self, mut settings: Settings) -> Settings {
        settings.socket = self.socket().unwrap_or(settings.socket);
        settings
    }
}

/// Returns the path of the socket that the settings name, in a login environment.
pub fn path(settings: &Settings, login: &Login) -> Result<PathBuf, PlaceError> {
    let path = match &settings.socket {
        TmuxSocket::Path(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()),
        TmuxSocket::Name(name) => tmux_socket(name, login.get("TMUX_TMPDIR").map(Path::new)),
    };
    check_socket_path(&path)?;
    Ok(path)
}

/// Returns a client of that tmux for that socket.
pub fn tmux(settings: &Settings, login: &Login) -> Result<Tmux, PlaceError> {
    let program = login.find_program(&settings.tmux_program);
    Ok(Tmux::new(program, path(settings, login)?, login.pairs()))
}
