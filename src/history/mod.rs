//! What happened, on disk: deaths, restores, logins, shutdowns. This module is the specification of the form.
//!
//! ```text
//! $XDG_STATE_HOME/agent-keeper/history/
//! ├── 00000007.jsonl
//! └── 00000008.jsonl              the newest; lines are added to it
//! ```
//!
//! A file has one value a line. Before it stand the first 16 hex digits of the SHA-256 of its JSON, and a space:
//!
//! ```text
//! b70e31fac6c7096f {"incidents":41}
//! c932958c54f010ae {"at":"2026-11-21T14:05:00Z","boot":"9f…","what":{"kind":"logout","session":"3"}}
//! ```
//!
//! The first line of a file says up to which number incidents may have been numbered when it was begun. Each other
//! line is an [`Entry`](crate::model::entry::Entry). By hand: `cut -c 18- FILE | jq .`, and
//! `sed -n 2p FILE | cut -c 18- | tr -d '\n' | sha256sum | cut -c -16`
//!
//! **Damage.** A line whose digits do not match is damaged: it is counted and passed over, and the lines after it are
//! read. A line without an end, at the end of the newest file, is one that is being written at this moment, or was
//! when the power went. Nobody was told that it is there, so it counts as nothing; the next line begins on a line of
//! its own, and from then on the torn one is a damaged one.
//!
//! **What lasts.** Lines are added with one write and one flush, and only then acknowledged. After a failure the file
//! is cut back to where it was. A new file is begun when a batch would make the newest one larger than
//! [`FILE_BYTES_MAX`]; it is written whole under another name and renamed, and then the oldest go, of which
//! [`FILES_MAX`] are kept. A single entry is made to fit [`ENTRY_BYTES_MAX`]; an incident says what it lost by that.
//!
//! **Numbers.** An incident has the number after the highest one that was ever given. The files tell which that is,
//! whatever has been removed or damaged: a file's first line says what came before it, and damaged bytes count as as
//! many incidents as they could have held. So numbers can be left out, and none is given twice. Where two lines hold
//! the same number, the later one counts: more came to be known, or the first was not acknowledged.
//!
//! **Readers** need no lock: what they see of a line that is being written does not match its digits or has no end.
//!
//! **Versions.** A newer version may bring other kinds of entries and other fields; an older one reads what it
//! understands and shows the rest as [`Happening::Other`](crate::model::entry::Happening::Other). `at`, `boot` and
//! `what.kind`, and the `number` of what `died`, stay what they are. A form in which that is not so has another
//! ending than `.jsonl`.
//!
//! | what | where |
//! |---|---|
//! | making an entry small enough | `fit` |
//! | lines: sealing them, finding out which are whole | `line` |
//! | reading | [`read`], [`History`] |
//! | writing, numbers | [`Historian`] |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::StoreError;

mod fit;
mod line;
mod reader;
mod writer;

pub use reader::{History, Range, read};
pub use writer::Historian;

/// The largest a file becomes, in bytes: room for about a thousand deaths. What is kept is removed in pieces of this
/// size.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// How many files are kept: with some deaths and logins a day that is years.
pub const FILES_MAX: usize = 8;

/// The longest JSON of one entry, in bytes. A server with 300 panes fits with all it has.
pub const ENTRY_BYTES_MAX: usize = 64 * 1024;

/// The directory below that of the state.
const DIR: &str = "history";

/// How a file's name ends.
const ENDING: &str = ".jsonl";

/// The first line of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Beginning {
    /// The highest number that an incident may have had when the file was begun.
    incidents: u64,
}

/// Returns the files in a directory with their numbers, oldest first. One that is not there has none.
fn files_in(dir: &Path) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let failed = |source| StoreError::io("list", dir, source);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        files.extend(number_of(&path).map(|number| (number, path)));
    }
    files.sort_unstable();
    Ok(files)
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}{ENDING}"))
}

/// Returns the number of a file. One whose name we would write otherwise is not ours.
fn number_of(path: &Path) -> Option<u64> {
    let number = path.file_name()?.to_str()?.strip_suffix(ENDING)?.parse().ok()?;
    (path.file_name() == path_of(Path::new(""), number).file_name()).then_some(number)
}

#[cfg(test)]
mod tests;
