//! Everything the keeper may do.

use std::sync::Arc;

use crate::diagnosis::habitat::Habitat;
use crate::model::entry::Happening;
use crate::model::incident::Incident;
use crate::model::{Aside, Closed, Generation, PaneId, Reason, Server, ServerId, Snapshot};
use crate::restore::plan::Plan;
use crate::tmux::observe::OutputMark;

use super::event::{Answer, Greeting, Token};
use super::state::{Death, Summary};

/// Something to do.
#[must_use]
#[derive(Debug, Clone)]
pub enum Action {
    /// Look at the server; ends in `Looked`.
    Look {
        /// Whether also what was read a moment ago is read again.
        closely: bool,
    },
    /// Wait for the end of this server; ends in `ServerEnded`.
    AwaitEnd(ServerId),
    /// Find out whether everything is going down; ends in `GoingDown`.
    AskGoingDown,
    /// Keep on disk where everything lives.
    Remember(Habitat),
    /// Look into deaths; ends in `Inquired`.
    Inquire(Vec<Death>),
    /// Write deaths down; ends in `Recorded`.
    Record(Vec<Incident>),
    /// Let everybody know of deaths.
    Tell(Vec<Incident>),
    /// Tell a person who is attached what was restored; ends in `Greeted`.
    Greet(Greeting),
    /// Write down that something else happened.
    Note(Happening),
    /// Have a server make its socket again; ends in `Signalled`.
    BringBackSocket {
        /// The server's process id.
        pid: u32,
    },
    /// Start a server; ends in `Founded`.
    Found,
    /// Save a state; ends in `Saved`.
    Save(SaveJob),
    /// Carry out a plan; ends in `Restored`.
    Restore(Plan),
    /// Read what is remembered of drills; ends in `Reviewed`.
    ReviewDrills,
    /// Hold a drill; ends in `Drilled`.
    Drill,
    /// Answer somebody.
    Reply(Token, Answer),
    /// Let everybody know how things stand.
    Publish(Summary),
    /// Take part in the next shutdown: logind is to wait for us.
    HoldShutdown,
    /// Let the shutdown go on.
    ReleaseShutdown,
    /// End.
    Exit,
}

/// A state to be saved.
#[derive(Debug, Clone)]
pub struct SaveJob {
    /// Why.
    pub reason: Reason,
    /// The server; panes that need not be read again have their text already.
    pub server: Server,
    /// Panes whose text is to be read.
    pub capture: Vec<Capture>,
    /// Set when there is nothing left because the user wanted that.
    pub closed: Option<Closed>,
    /// Set when this must not be what a restore starts from by itself.
    pub aside: Option<Aside>,
    /// What it is compared with: when texts are all that could differ and none does, nothing is written.
    pub previous: Option<(Generation, Arc<Snapshot>)>,
}

/// A pane whose text is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capture {
    /// Which pane.
    pub pane: PaneId,
    /// Its mark, which says how long its history is.
    pub mark: OutputMark,
}
