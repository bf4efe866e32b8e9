//! The saved form of a generation: this module is its specification.
//!
//! A file `generations/NNNNNNNN.json.zst` is a zstd frame. Uncompressed it has two lines:
//!
//! ```text
//! agent-keeper generation 2 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
//! {"taken_at":"2026-11-21T14:05:00Z", … }
//! ```
//!
//! The first names the version of the format and the SHA-256 of the second without its newline; the
//! second is a [`Snapshot`] in JSON. The frame has zstd's own checksum since version 2. By hand: `zstdcat FILE | tail -n 1 | tr -d '\n' | sha256sum`, and
//! `zstdcat FILE | tail -n 1 | jq .`
//!
//! Text of panes and of paste buffers is not in it: they name the objects that hold it. `objects/ab/cdef….zst`
//! is a zstd frame too, named by the SHA-256 of its uncompressed bytes.
//!
//! A reader that meets a higher version than its own says so and leaves the file alone. The versions so far:
//!
//! | version | what it brought |
//! |---|---|
//! | 1 | sessions, windows, panes, programs, texts |
//! | 2 | options, environments, paste buffers, the marked pane, dead panes, nested shells and jobs in the background, states that stand aside; each may be absent, so version 1 is read as it is; a window that is not renamed after its program gets the option that says so |

use crate::model::{FORMAT, ObjectId, Snapshot};

use sha2::{Digest, Sha256};

/// The largest thing that is decompressed, in bytes. A snapshot of 1,000 panes has about 1 MB, an object
/// at most [`super::chunks::CHUNK_BYTES_MAX`] and one line.
pub(super) const PLAIN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Fast, and text of terminals gains little above it.
pub(super) const ZSTD_LEVEL: i32 = 3;

const TITLE: &str = "agent-keeper generation";

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is not what was written.
    #[error("damaged: {0}")]
    Damaged(String),
    /// It was written by a newer agent-keeper.
    #[error("written in format {found} by a newer agent-keeper; this one reads up to format {FORMAT}")]
    Newer {
        /// The format it is written in.
        found: u32,
    },
}

impl Flaw {
    pub(super) fn damaged(why: impl ToString) -> Self {
        Flaw::Damaged(why.to_string())
    }
}

/// Returns the file of a snapshot.
pub(super) fn render(snapshot: &Snapshot) -> Result<Vec<u8>, Flaw> {
    let body = serde_json::to_string(snapshot).map_err(Flaw::damaged)?;
    let sum = object_id(body.as_bytes());
    compress(format!("{TITLE} {FORMAT} {sum}\n{body}\n").as_bytes())
}

/// Reads the file of a snapshot.
pub(super) fn parse(file: &[u8]) -> Result<Snapshot, Flaw> {
    parse_plain(&decompress(file)?)
}

/// Reads the two lines of a snapshot.
pub(super) fn parse_plain(plain: &[u8]) -> Result<Snapshot, Flaw> {
    let text = str::from_utf8(plain).map_err(Flaw::damaged)?;
    let (title, body) = text.split_once('\n').ok_or_else(|| Flaw::damaged("no first line"))?;
    let (format, sum) = title
        .strip_prefix(TITLE)
        .and_then(|rest| rest.trim_start().split_once(' '))
        .ok_or_else(|| Flaw::damaged("not a generation of agent-keeper"))?;
    let format = format.parse().map_err(|_| Flaw::damaged("no format number"))?;
    if format > FORMAT {
        return Err(Flaw::Newer { found: format });
    }
    if format == 0 {
        return Err(Flaw::damaged("there is no format 0"));
    }
    let body = body.strip_suffix('\n').ok_or_else(|| Flaw::damaged("the end is missing"))?;
    if object_id(body.as_bytes()).to_string() != sum {
        return Err(Flaw::damaged("the checksum does not match"));
    }
    let mut snapshot = serde_json::from_str(body).map_err(Flaw::damaged)?;
    if format == 1 {
        add_what_format_1_implies(&mut snapshot);
    }
    Ok(snapshot)
}

/// Format 1 has no options. The one that keeps a window's name as it is it says in another way.
fn add_what_format_1_implies(snapshot: &mut Snapshot) {
    let windows = snapshot.server.sessions.iter_mut().flat_map(|session| &mut session.windows);
    for window in windows.filter(|window| !window.automatic_rename) {
        window.options.entry("automatic-rename".to_owned()).or_insert_with(|| "off".into());
    }
}

/// Returns the name of an object with these bytes.
pub fn object_id(bytes: &[u8]) -> ObjectId {
    ObjectId::from_digest(Sha256::digest(bytes).into())
}

pub(super) fn compress(bytes: &[u8]) -> Result<Vec<u8>, Flaw> {
    let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(Flaw::damaged)?;
    // The first line of a generation is in no hash of ours, and one digit of it decides how the rest is read.
    compressor.include_checksum(true).map_err(Flaw::damaged)?;
    compressor.compress(bytes).map_err(Flaw::damaged)
}

pub(super) fn decompress(file: &[u8]) -> Result<Vec<u8>, Flaw> {
    use std::io::Read;
    let mut plain = Vec::new();
    let mut frame = zstd::Decoder::new(file).map_err(Flaw::damaged)?.take(PLAIN_BYTES_MAX as u64 + 1);
    frame.read_to_end(&mut plain).map_err(Flaw::damaged)?;
    if plain.len() > PLAIN_BYTES_MAX {
        return Err(Flaw::damaged("larger than anything we write"));
    }
    Ok(plain)
}
