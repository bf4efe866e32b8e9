//! Writing a generation and its texts as one file.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write};

use super::{CarryError, GENERATION_NAME, HEAD_NAME, HEAD_TITLE, OBJECTS_NAME, VERSION};
use crate::model::{Generation, ObjectId, Snapshot};
use crate::store::files::read_bounded;
use crate::store::format::{self, ZSTD_LEVEL};
use crate::store::verify::LostText;
use crate::store::{FILE_BYTES_MAX, Store, StoreError, named};

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
        let (objects, lost) = self.gather(&snapshot);
        let head = format!("{HEAD_TITLE} {VERSION}\nobjects {}\n", objects.len());
        let mut frame = zstd::Encoder::new(into, ZSTD_LEVEL).map_err(CarryError::Write)?;
        frame.include_checksum(true).map_err(CarryError::Write)?;
        let mut archive = tar::Builder::new(frame);
        let time = u64::try_from(snapshot.taken_at.as_second()).unwrap_or_default();
        let mut add =
            |name: &str, bytes: &[u8]| add(&mut archive, name, bytes, time).map_err(CarryError::Write);
        add(HEAD_NAME, head.as_bytes())?;
        add(GENERATION_NAME, &lines)?;
        for (id, file) in &objects {
            add(&format!("{OBJECTS_NAME}{id}"), &format::decompress(file)?)?;
        }
        let end = || archive.into_inner()?.finish()?.flush();
        end().map_err(CarryError::Write)?;
        Ok(Exported { snapshot, objects: objects.len(), lost })
    }

    /// Reads the objects of a snapshot, as their files are: their number comes first in an export, and a clean-up
    /// may take them while it is written. Returns also whose texts are not whole.
    fn gather(&self, snapshot: &Snapshot) -> (BTreeMap<ObjectId, Vec<u8>>, Vec<LostText>) {
        let (mut objects, mut lost) = (BTreeMap::new(), Vec::new());
        for (place, ids) in named::contents(snapshot) {
            let mut why = None;
            for id in ids {
                if let Entry::Vacant(free) = objects.entry(*id) {
                    match self.object_file(*id) {
                        Ok((_, file)) => {
                            free.insert(file);
                        }
                        Err(error) => {
                            why.get_or_insert(error);
                        }
                    }
                }
            }
            lost.extend(why.map(|why| LostText { place, why }));
        }
        (objects, lost)
    }

    /// Returns the two lines of a generation, and what they say.
    fn lines(&self, generation: Generation) -> Result<(Vec<u8>, Snapshot), StoreError> {
        let path = self.generation_path(generation);
        let file = read_bounded(&path, FILE_BYTES_MAX).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::NoGeneration { generation, path: self.dir.clone() },
            _ => StoreError::io("read", &path, source),
        })?;
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
