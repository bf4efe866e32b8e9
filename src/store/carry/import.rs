//! Reading a generation from a file, all of it or nothing.

use std::collections::HashMap;
use std::io::{self, Read, Seek};

use super::{
    ALL_BYTES_MAX, CarryError, FILE_BYTES_MAX, GENERATION_BYTES_MAX, GENERATION_NAME, HEAD_BYTES_MAX,
    HEAD_NAME, HEAD_TITLE, OBJECT_BYTES_MAX, OBJECTS_NAME, TEXT_BYTES_MAX, VERSION, sound,
};
use crate::model::{Aside, Generation, ObjectId, Reason, Snapshot};
use crate::store::format::{self, object_id};
use crate::store::{Writer, named};

/// What was read.
#[derive(Debug)]
pub struct Imported {
    /// Its number here.
    pub generation: Generation,
    /// What it holds.
    pub snapshot: Snapshot,
}

/// An export that was read once and is whole.
#[derive(Debug)]
pub struct Whole<F> {
    file: F,
    begin: u64,
}

impl<F: Read + Seek> Whole<F> {
    /// Reads an export and fails if anything is wrong with it.
    pub fn check(mut file: F) -> Result<Self, CarryError> {
        let begin = file.stream_position().map_err(CarryError::damaged)?;
        read(&mut file, |_| Ok(()))?;
        Ok(Self { file, begin })
    }
}

impl Writer {
    /// Saves an export as the next generation, which stands aside. A failure leaves texts that nothing names, and
    /// they go with a clean-up.
    pub fn import(&self, from: Whole<impl Read + Seek>) -> Result<Imported, CarryError> {
        let Whole { mut file, begin } = from;
        file.seek(io::SeekFrom::Start(begin)).map_err(CarryError::damaged)?;
        self.bring(|| {
            let snapshot = read(&mut file, |bytes| Ok(self.put(bytes).map(drop)?))?;
            let generation = self.save(&snapshot)?;
            Ok(Imported { generation, snapshot })
        })
    }
}

/// Reads all of an export, checks it, hands over each object, and returns the snapshot as it is to be saved.
pub(super) fn read(
    file: impl Read,
    mut each: impl FnMut(&[u8]) -> Result<(), CarryError>,
) -> Result<Snapshot, CarryError> {
    let frame = zstd::Decoder::new(file.take(FILE_BYTES_MAX)).map_err(CarryError::damaged)?;
    let mut archive = tar::Archive::new(frame.take(ALL_BYTES_MAX));
    // Raw: names longer than ours and other extensions of tar are not followed but refused by their type.
    let mut entries = archive.entries().map_err(CarryError::damaged)?.raw(true);
    let mut next = |bytes_max| entries.next().map(|entry| plain_file(entry, bytes_max)).transpose();
    let missing = |name: &str| CarryError::Damaged(format!("{name} is missing"));

    let head =
        next(HEAD_BYTES_MAX)?.filter(|(name, _)| name == HEAD_NAME).ok_or_else(|| missing(HEAD_NAME))?;
    let objects = parse_head(&head.1)?;
    let generation = next(GENERATION_BYTES_MAX)?.filter(|(name, _)| name == GENERATION_NAME);
    let mut snapshot = format::parse_plain(&generation.ok_or_else(|| missing(GENERATION_NAME))?.1)?;
    sound::check(&snapshot).map_err(CarryError::Unusable)?;
    sound::check_texts(&snapshot).map_err(CarryError::Unusable)?;

    let mut wanted: HashMap<ObjectId, u64> = HashMap::new();
    named::contents(&snapshot).flat_map(|(_, ids)| ids).for_each(|id| *wanted.entry(*id).or_default() += 1);
    let mut room = TEXT_BYTES_MAX;
    for _ in 0..objects {
        let (name, bytes) = next(OBJECT_BYTES_MAX)?.ok_or_else(|| missing("an object"))?;
        let id = object_id(&bytes);
        if name != format!("{OBJECTS_NAME}{id}") {
            return Err(CarryError::Damaged(format!("{name:.100} is not what its name says")));
        }
        let Some(times) = wanted.remove(&id) else {
            return Err(CarryError::Damaged(format!("{name} belongs to nothing in it")));
        };
        room =
            times.checked_mul(bytes.len() as u64).and_then(|all| room.checked_sub(all)).ok_or_else(|| {
                CarryError::Unusable(format!("it has more than {TEXT_BYTES_MAX} bytes of text"))
            })?;
        each(&bytes)?;
    }
    if let Some((name, _)) = next(0)? {
        return Err(CarryError::Damaged(format!("{name:.100} does not belong in it")));
    }
    check_end(archive.into_inner())?;
    snapshot.reason = Reason::Imported;
    snapshot.aside = Some(Aside::Imported);
    snapshot.server.panes_mut().for_each(|pane| pane.start = None);
    Ok(snapshot)
}

/// Returns name and content of a plain file in the archive.
fn plain_file<R: Read>(
    entry: io::Result<tar::Entry<'_, R>>,
    bytes_max: u64,
) -> Result<(String, Vec<u8>), CarryError> {
    let entry = entry.map_err(CarryError::damaged)?;
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    if entry.header().entry_type() != tar::EntryType::Regular {
        return Err(CarryError::Damaged(format!("{name:.100} is no plain file")));
    }
    let bytes = entry.header().entry_size().map_err(CarryError::damaged)?;
    if bytes > bytes_max {
        return Err(CarryError::Damaged(format!("{name:.100} is larger than it can be")));
    }
    let mut content = Vec::new();
    let read = entry.take(bytes_max).read_to_end(&mut content).map_err(CarryError::damaged)?;
    if read as u64 != bytes {
        return Err(CarryError::Damaged(format!("the end of {name:.100} is missing")));
    }
    Ok((name, content))
}

/// Returns how many objects follow.
fn parse_head(head: &[u8]) -> Result<usize, CarryError> {
    let text = str::from_utf8(head).map_err(CarryError::damaged)?;
    let number = |line: Option<&str>, title: &str| {
        line.and_then(|line| line.strip_prefix(title)?.strip_prefix(' ')?.parse::<u32>().ok())
            .ok_or_else(|| CarryError::Damaged(format!("{HEAD_NAME} does not say {title:?} and a number")))
    };
    let mut lines = text.lines();
    let found = number(lines.next(), HEAD_TITLE)?;
    if found > VERSION {
        return Err(CarryError::NewerFile { found });
    }
    number(lines.next(), "objects").map(|objects| objects as usize)
}

/// Reads what is behind the archive: nothing but zeros, to the end of the frame, which seals all of it.
fn check_end(mut rest: impl Read) -> Result<(), CarryError> {
    let mut buffer = [0; 4096];
    loop {
        match rest.read(&mut buffer).map_err(CarryError::damaged)? {
            0 => return Ok(()),
            n if buffer[..n].iter().any(|byte| *byte != 0) => {
                return Err(CarryError::Damaged("there is something behind its end".to_owned()));
            }
            _ => {}
        }
    }
}
