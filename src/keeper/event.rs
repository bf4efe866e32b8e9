//! Everything that can happen to the keeper.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::entry::Happening;
use crate::model::evidence::{Evidence, Gap, Sighting};
use crate::model::incident::Incident;
use crate::model::{Generation, PaneId, Scrollback, ServerId, Snapshot};
use crate::restore::execute::Report;
use crate::restore::plan::{Selection, SelectionError};
use crate::tmux::observe::{Observation, OutputMark};

use super::state::Death;

/// Names a question of somebody else's that waits for an answer.
pub type Token = u64;

/// Something happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Time passed.
    Tick,
    /// A look at the server is finished.
    Looked(Look),
    /// The server ended, seen by the client that waits for that.
    ServerEnded(ServerId, Ending),
    /// Whether the user's manager or the machine is on its way down; the answer to `AskGoingDown`.
    GoingDown(bool),
    /// logind says that a shutdown begins. `held` tells whether it waits for us, and so whether
    /// everything is still alive.
    ShutdownBegins {
        /// Whether logind waits.
        held: bool,
    },
    /// logind says that the shutdown was called off.
    ShutdownCancelled,
    /// Somebody who watches has seen something.
    Sighted(Sighting),
    /// What else is known of deaths, and what was seen around their time; the answer to `Inquire`.
    Inquired(Vec<Inquiry>, Vec<Sighting>),
    /// Deaths are written down, and have their numbers; in words, why not, and then they have none.
    Recorded(Vec<Incident>, Result<(), String>),
    /// Whether a person was told what was restored.
    Greeted(bool),
    /// Something happened that is to be remembered and changes nothing: a login, a sleep.
    Happened(Happening),
    /// A server was told to make its socket again, or not; in words, why not.
    Signalled(Result<(), String>),
    /// A server was started, or not; in words, why not.
    Founded(Result<(), String>),
    /// A save is finished; in words, why it failed.
    Saved(Result<Saved, String>),
    /// Why a restore that is under way waits; nothing when it goes on.
    RestoreWaits(Option<String>),
    /// A restore is finished.
    Restored(Generation, Report),
    /// What is remembered of drills.
    Reviewed(Proven),
    /// A drill is finished, or could not be held; what is remembered now.
    Drilled(Proven),
    /// Somebody asks for something.
    Asked(Token, Asked),
    /// The service manager, or a person, wants us to end.
    Terminate,
}

/// What a person is told who attaches after a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The end of the server that was before, if it is known.
    pub death: Option<Box<Incident>>,
    /// How many sessions came back.
    pub sessions: usize,
    /// Whether nothing is missing.
    pub complete: bool,
}

/// What was found out about a death.
#[derive(Debug, Clone)]
pub struct Inquiry {
    /// The death.
    pub death: Death,
    /// When it was noticed.
    pub noticed: Timestamp,
    /// What was found.
    pub evidence: Vec<Evidence>,
    /// What could not be looked at.
    pub gaps: Vec<Gap>,
    /// Whether kills for want of memory would have been heard of where it lived.
    pub memory_watched: bool,
}

/// What a look at the socket found.
#[derive(Debug, Clone)]
pub enum Look {
    /// A server.
    Server(Arc<Observation>),
    /// Nobody listens.
    NoServer,
    /// A server lives that cannot be reached, because its socket's path is gone.
    Orphan {
        /// The server's process id.
        pid: u32,
    },
    /// A server of another version, to which our tmux cannot talk.
    Mismatch {
        /// The server's process id, as far as it can be known.
        pid: Option<u32>,
        /// What tmux says.
        said: String,
    },
    /// Could not look; in words, why not.
    Failed(String),
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It said goodbye: `kill-server`, SIGTERM, or its last session's end.
    Orderly,
    /// It was gone: killed or crashed.
    Lost,
}

/// What a save brought.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The new generation; `None` when all was as before and nothing was written.
    pub head: Option<(Generation, Arc<Snapshot>)>,
    /// The texts that were read.
    pub texts: Vec<Text>,
}

/// The text of a pane as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Which pane.
    pub pane: PaneId,
    /// The mark that it had then.
    pub mark: OutputMark,
    /// Where the text is.
    pub scrollback: Scrollback,
}

/// What is remembered of the last drill, as far as it decides when the next one is held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proven {
    /// How long ago it was held, by the wall clock; `None` when none was.
    pub age: Option<Duration>,
    /// Whether it was held with the versions of tmux and agent-keeper that there are now.
    pub same_versions: bool,
    /// What it found wrong, or why it could not be held; in words.
    pub notice: Option<String>,
}

/// What somebody asks for.
#[derive(Debug, Clone)]
pub enum Asked {
    /// A snapshot now.
    Snapshot,
    /// A restore of this generation.
    Restore {
        /// Its number.
        generation: Generation,
        /// Its content.
        snapshot: Arc<Snapshot>,
        /// What of it.
        selection: Selection,
    },
}

/// The answer to something asked.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The snapshot is taken.
    Snapshot(Generation),
    /// The restore is done; what was left out comes with it.
    Restored(Report, Vec<crate::restore::plan::Skip>),
    /// Nothing of that kind can be restored.
    Unknown(SelectionError),
    /// Not now, or not at all; in words, why.
    Refused(String),
}
