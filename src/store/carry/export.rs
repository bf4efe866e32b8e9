//! Writing a generation and its texts as one file.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::{CarryError, GENERATION_NAME, HEAD_NAME, HEAD_TITLE, OBJECTS_NAME, VERSION};
use crate::model::{Generation, ObjectId, Snapshot};
use crate::store::format::{self, ZSTD_LEVEL};
use crate::store::verify::LostText;
use crate::store::{Store, StoreError, named};

/// What was written.
#[derive(Debug)]
pub struct Exported {
    /// The generation.
    pub snapshot: Snapshot,
    /// How many objects came with it.
    pub objects: usize,
    /// What is not in the file, because it cannot be read here.
    pub lost: Vec<LostText>,
}

impl Store {
    /// Writes a generation and all of its texts that can be read. What was written when this fails is no whole
    /// export, and an import says so.
    pub fn export(&self, generation: Generation, into: impl Write) -> Result<Exported, CarryError> {
        let (lines, snapshot) = self.lines(generation)?;
        let lost = self.lost_texts(&snapshot);
        let named: BTreeSet<ObjectId> =
            named::contents(&snapshot).flat_map(|(_, ids)| ids.iter().copied()).collect();
        let whole: Vec<ObjectId> = named.into_iter().filter(|id| self.object(*id).is_ok()).collect();
        let head = format!("{HEAD_TITLE} {VERSION}\nobjects {}\n", whole.len());
        let mut frame = zstd::Encoder::new(into, ZSTD_LEVEL).map_err(CarryError::Write)?;
        frame.include_checksum(true).map_err(CarryError::Write)?;
        let mut archive = tar::Builder::new(frame);
        let time = u64::try_from(snapshot.taken_at.as_second()).unwrap_or_default();
        let mut add =
            |name: &str, bytes: &[u8]| add(&mut archive, name, bytes, time).map_err(CarryError::Write);
        add(HEAD_NAME, head.as_bytes())?;
        add(GENERATION_NAME, &lines)?;
        for id in &whole {
            add(&format!("{OBJECTS_NAME}{id}"), &self.object(*id)?)?;
        }
        let end = || archive.into_inner()?.finish()?.flush();
        end().map_err(CarryError::Write)?;
        Ok(Exported { snapshot, objects: whole.len(), lost })
    }

    /// Returns the two lines of a generation, and what they say.
    fn lines(&self, generation: Generation) -> Result<(Vec<u8>, Snapshot), StoreError> {
        // Its errors are the better ones.
        self.load(generation)?;
        let path = self.generation_path(generation);
        let file = crate::store::files::read_bounded(&path, crate::store::FILE_BYTES_MAX)
            .map_err(|source| StoreError::io("read", &path, source))?;
        let read = || {
            let lines = format::decompress(&file)?;
            let snapshot = format::parse_plain(&lines)?;
            Ok((lines, snapshot))
        };
        read().map_err(|flaw| StoreError::Flaw { path, flaw })
    }
}

/// Adds a file that only its owner may read, whoever unpacks it.
fn add(archive: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8], time: u64) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o600);
    header.set_mtime(time);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, name, bytes)
}
