//! The values that everything else speaks in: what a tmux server holds, and a saved state of it.
//!
//! Nothing here does I/O, reads a clock or knows how a value was obtained.

mod bytes;
pub mod entry;
pub mod evidence;
mod ids;
pub mod incident;
#[cfg(test)]
pub(crate) mod sample;
mod server;
mod snapshot;
mod start;

pub use bytes::ByteString;
pub use ids::{BootId, InvalidId, ObjectId, PaneId, ServerId, SessionId, WindowId};
pub use server::{
    Buffer, Dead, GlobalOptions, Job, Options, Pane, Process, Program, Scrollback, Server, Session, Variable,
    Window, describe_counts, plural,
};
pub use snapshot::{Aside, Closed, FORMAT, Generation, Reason, Snapshot};
pub use start::{DIE_VARIABLE, LEVEL_OPTION, PANE_COMMAND, PaneStart, StartMode, start_order};
