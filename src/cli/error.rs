//! What goes wrong on the command line: what, why, what to type next, and the exit status.

use std::fmt;

use crate::config::ConfigError;
use crate::dbus::client::ConnectError;
use crate::place::PlaceError;
use crate::store::carry::CarryError;
use crate::store::{Flaw, Kept, StoreError};
use crate::tmux::TmuxError;
use crate::tmux::observe::ObserveError;

/// The exit statuses of `keeperctl`. Codes are only ever added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Done in part, or problems were found.
    Partly = 3,
    /// The daemon is needed and cannot be reached.
    NoDaemon = 4,
}

/// An error for a person.
#[derive(Debug)]
pub struct CliError {
    /// The exit status.
    pub exit: Exit,
    /// What failed and why, outermost first.
    pub source: anyhow::Error,
    /// What to type next.
    pub hints: Vec<String>,
}

impl CliError {
    /// Returns an error with exit status 1.
    pub fn failed(source: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Failed, source: source.into(), hints: Vec::new() }
    }

    /// Returns an error of the command line.
    pub fn usage(message: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Self { exit: Exit::Usage, source: anyhow::Error::msg(message), hints: Vec::new() }
    }

    /// Adds something to type next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

const WHAT_THERE_IS: &str = "what there is: keeperctl snapshot list";

const NEWER: &str = "install the newer agent-keeper again to use it";

impl From<ConnectError> for CliError {
    fn from(error: ConnectError) -> Self {
        let hint = match error {
            ConnectError::Place(error) => {
                return Self::failed(error).hint("set XDG_RUNTIME_DIR to a directory with a shorter path");
            }
            ConnectError::NotRunning { .. } => "start it: keeperctl setup",
            ConnectError::Silent { .. } | ConnectError::Protocol { .. } => {
                "see what it says: journalctl --user -u agent-keeper"
            }
        };
        Self { exit: Exit::NoDaemon, source: error.into(), hints: vec![hint.to_owned()] }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::failed(error).hint("the keys and their defaults: man agent-keeper.toml")
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoGeneration { .. } => Self::failed(error).hint(WHAT_THERE_IS),
            StoreError::Flaw { flaw: Flaw::Newer { .. }, .. } => {
                Self::failed(error).hint(NEWER).hint(WHAT_THERE_IS)
            }
            StoreError::Flaw { .. } => Self::failed(error).hint(WHAT_THERE_IS),
            StoreError::Newer { .. } => Self::failed(error).hint(NEWER),
            StoreError::Io { .. } | StoreError::Place(_) => {
                Self::failed(error).hint("what is wrong there: keeperctl doctor")
            }
            StoreError::Kept { generation, why: Kept::Pinned } => {
                Self::failed(error).hint(format!("let it go: keeperctl snapshot unpin {generation}"))
            }
            StoreError::Kept { why: Kept::Newest, .. } => {
                Self::failed(error).hint("take a newer one first: keeperctl snapshot take")
            }
            StoreError::Kept { why: Kept::Restoring, .. } => {
                Self::failed(error).hint("try again in ten minutes")
            }
            StoreError::Kept { why: Kept::Newer, .. } => Self::failed(error).hint(NEWER),
            StoreError::Locked { .. } => Self::failed(error).hint("what it does: keeperctl status"),
        }
    }
}

impl From<CarryError> for CliError {
    fn from(error: CarryError) -> Self {
        match error {
            CarryError::Store(error) => error.into(),
            CarryError::NewerFile { .. } | CarryError::NewerGeneration { .. } => {
                Self::failed(error).hint("install the newer agent-keeper to use it")
            }
            _ => Self::failed(error),
        }
    }
}

macro_rules! plain_failure {
    ($($error:ty),*) => {
        $(impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::failed(error)
            }
        })*
    };
}

plain_failure!(PlaceError, TmuxError, ObserveError, std::io::Error, serde_json::Error, anyhow::Error);

/// Errors of the keeper arrive with a name (`org.agentkeeper.Keeper1.Error.…`) and a sentence.
impl From<zbus::Error> for CliError {
    fn from(error: zbus::Error) -> Self {
        match &error {
            zbus::Error::MethodError(name, Some(sentence), _) => {
                let failure = Self::failed(anyhow::Error::msg(sentence.clone()));
                match name.as_str().rsplit('.').next() {
                    Some("NoGeneration" | "UnknownSession" | "UnknownWindow") => failure.hint(WHAT_THERE_IS),
                    _ => failure,
                }
            }
            _ => Self::failed(error),
        }
    }
}
