//! A saved state of a server, and what is known of how it came to be.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BootId, Server};

/// The version of the saved form. It rises with every change that an older agent-keeper would not
/// understand, an added field included; older binaries then refuse to read, and never overwrite.
pub const FORMAT: u32 = 2;

/// The number of a saved state in the row of saved states. It only grows.
pub type Generation = u64;

/// What one generation holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// When the state was read from tmux.
    pub taken_at: Timestamp,
    /// Why it was saved.
    pub reason: Reason,
    /// The host's name, for people who look at a copied state directory.
    pub host: String,
    /// The boot in which it was taken.
    pub boot: BootId,
    /// The version of agent-keeper that wrote it.
    pub keeper_version: String,
    /// Set when the server had no session left and that was what the user wanted: there is nothing
    /// to bring back. Such a generation is never restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
    /// Set when this state must not be what a restore that nobody asked for starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<Aside>,
    /// What the server held.
    pub server: Server,
}

/// Why a generation is kept beside the row of those that a restore starts from by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aside {
    /// Most sessions had gone at once, and nothing showed that somebody wanted that.
    Shrunk,
    /// A restore had not reached yet what it restored from.
    Restoring,
    /// It was made from a file: of another host, or of another tool.
    Imported,
}

impl Aside {
    /// Returns the word for it in tables.
    pub fn word(self) -> &'static str {
        match self {
            Aside::Shrunk => "shrunk",
            Aside::Restoring => "restoring",
            Aside::Imported => "imported",
        }
    }

    /// Returns what it means, in words.
    pub fn sentence(self) -> &'static str {
        match self {
            Aside::Shrunk => "kept aside, because most sessions had gone at once and nothing showed why",
            Aside::Restoring => "kept aside, because a restore had not reached yet what it restored from",
            Aside::Imported => "kept aside, because it was imported from a file",
        }
    }
}

/// Why a state was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Sessions, windows, panes, names, places or programs differ from the last generation.
    Changed,
    /// Only the text in panes differs.
    Output,
    /// Somebody asked for it.
    Asked,
    /// The first one after a restore.
    Restored,
    /// The last look before the keeper or the machine stops.
    Stopping,
    /// The user closed the last session.
    Closed,
    /// Somebody imported a file.
    Imported,
}

impl Reason {
    /// Returns the word for it in tables.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Changed => "changed",
            Reason::Output => "output",
            Reason::Asked => "asked",
            Reason::Restored => "restored",
            Reason::Stopping => "stopping",
            Reason::Closed => "closed",
            Reason::Imported => "imported",
        }
    }
}

/// How the user closed everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Closed {
    /// The last session ended while the server went on.
    LastSession,
    /// The server ended in an orderly way: `kill-server`, or its last session's end.
    Server,
}
