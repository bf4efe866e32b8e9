//! Carrying a generation to another store: this module is the specification of the file.
//!
//! The file is a zstd-compressed tar archive (`tar --zstd -xf FILE` unpacks it) with these plain files, in this
//! order, and nothing else:
//!
//! | name | content |
//! |---|---|
//! | `agent-keeper-export` | two lines: `agent-keeper export 1`, the version of this format, and `objects N`, how many follow |
//! | `generation.json` | the two lines of a generation as they are stored, see `store/format.rs` |
//! | `objects/SHA256` | the text of a pane or a piece of it, or a paste buffer: an object of the store, uncompressed, by the SHA-256 of its bytes |
//!
//! Objects that were lost where it was made are not in it, so there can be fewer than the generation names.
//! There are none that it does not name. What panes were once restored with (`start`) is not carried: it means
//! something to living panes only.
//!
//! Whoever reads it takes nothing on trust. Names are compared and never used as paths; links, devices and
//! whatever else tar can say are refused by their type; sizes have bounds; each object must have the hash that
//! its name says; all of it is read once before anything is written. An imported generation says so
//! ([`Aside::Imported`](crate::model::Aside::Imported)), and so no restore starts from it unasked. Its time,
//! its host and its reading are the file's.
//!
//! It is data that a restore acts on, directories, options and commands that wait for Enter, so a file from
//! somebody else deserves the look that somebody else's `tmux.conf` would get.

mod export;
mod import;
mod sound;

pub use export::Exported;
pub use import::{Imported, Whole};

use super::chunks::CHUNK_BYTES_MAX;
use super::{Flaw, StoreError};
use crate::model::FORMAT;

/// The version of the file.
pub const VERSION: u32 = 1;

/// The first file in the archive, and how its first line begins.
const HEAD_NAME: &str = "agent-keeper-export";
const HEAD_TITLE: &str = "agent-keeper export";

/// The second file.
const GENERATION_NAME: &str = "generation.json";

/// The folder of all others.
const OBJECTS_NAME: &str = "objects/";

/// The largest first file, in bytes.
const HEAD_BYTES_MAX: u64 = 4096;

/// The largest second file, in bytes. A snapshot of 1,000 panes has about 1 MB.
const GENERATION_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The largest object, in bytes: a piece of a text, and the line that exceeds it. A line of 50,000 rows of 300
/// columns is shorter than that.
const OBJECT_BYTES_MAX: u64 = CHUNK_BYTES_MAX as u64 + 15 * 1024 * 1024;

/// The most text in it, in bytes, each object as often as it is named: whoever restores reads it so often.
const TEXT_BYTES_MAX: u64 = super::TEXT_BYTES_MAX as u64;

/// The most that is unpacked of one file, in bytes.
const ALL_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// The largest compressed file that is looked at, in bytes.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Why a generation was not carried.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be written.
    #[error("cannot write the export")]
    Write(#[source] std::io::Error),
    /// The file was made by a newer agent-keeper.
    #[error(
        "this export is in format {found}, written by a newer agent-keeper; this one reads up to format {VERSION}"
    )]
    NewerFile {
        /// Its format.
        found: u32,
    },
    /// The generation in the file was made by a newer agent-keeper.
    #[error(
        "the snapshot in this export is in format {found}, written by a newer agent-keeper; this one reads up to format {FORMAT}"
    )]
    NewerGeneration {
        /// Its format.
        found: u32,
    },
    /// The file is not what an export writes.
    #[error("not a whole export of agent-keeper: {0}")]
    Damaged(String),
    /// It has nothing that could be restored, or a state that no tmux server can have.
    #[error("the snapshot in this export cannot be used: {0}")]
    Unusable(String),
}

impl CarryError {
    fn damaged(why: impl ToString) -> Self {
        CarryError::Damaged(why.to_string())
    }
}

impl From<Flaw> for CarryError {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Newer { found } => CarryError::NewerGeneration { found },
            Flaw::Damaged(why) => CarryError::Damaged(why),
        }
    }
}

#[cfg(test)]
mod tests;
