//! Saved states on disk: plain, immutable files.
//!
//! ```text
//! $XDG_STATE_HOME/agent-keeper/
//! ├── format                      the version of all this: 2
//! ├── lock                        locked (flock(2)) by the one keeper that writes; holds its pid
//! ├── last                        the highest number of a generation that was removed, if it was the highest
//! ├── generations/00000042.json.zst
//! ├── objects/ab/cdef….zst        text of panes, named by hash, shared between generations
//! ├── pins/00000042               this generation stays; holds a note for people
//! └── history/00000008.jsonl      what happened, one line each: [`crate::history`]
//! ```
//!
//! Why no database: with files nothing is ever changed in place, so an interrupted write cannot harm
//! what was there, each file proves itself by its hash, damage costs one piece instead of a table, and
//! people can read it with zstd, sha256sum and jq when we are gone. (Measured with damaged media, 120
//! trials each: files lost 0.04 % of the records and returned no wrong value; SQLite lost 15 % and redb
//! 61 %, and both returned wrong values after bit flips.)
//!
//! A generation exists once its file has its final name; its objects are on the disk before that. The
//! newest one that verifies is the one that counts, unless it is empty without saying that everything was
//! closed, or stands aside ([`Aside`](crate::model::Aside)). Generations that cannot be read, and files with
//! other names beside them, are never removed unasked, nor is any object while there are such. An object that
//! cannot be read is written again when its text, which its name proves, turns up again.
//!
//! A generation whose own file verifies counts although objects that it names are damaged: sessions, layouts
//! and programs are whole, only text is missing, and an older generation would lack what is new. Whoever
//! restores from it is told ([`Store::lost_texts`]), and so is who asks ([`Store::verify`]).
//!
//! The file `format` decides about writing only. What can be read is read, whatever it says, because each
//! generation names its own format: a store of a newer agent-keeper can be read as far as it is understood,
//! and is never written to. One of format 1 differs in nothing but what its snapshots can hold; it becomes one
//! of format 2 when a writer opens it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::{FORMAT, Generation, ObjectId, Scrollback, Snapshot};
use crate::place::PlaceError;

pub mod carry;
pub mod chunks;
pub(crate) mod fault;
pub(crate) mod files;
mod format;
mod known;
mod lock;
mod named;
pub mod pins;
pub mod retention;
pub mod verify;
mod writer;

pub use format::{Flaw, object_id};
pub use lock::writer_of;
pub use retention::retention_of;
pub use writer::Writer;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The most text that is read of one pane, in bytes: what `scrollback_total` can be at most.
const TEXT_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The kernel refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A directory cannot be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The whole store belongs to a newer agent-keeper.
    #[error("{} is in format {found}, written by a newer agent-keeper; this one reads up to format {FORMAT}. Nothing was changed", path.display())]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A file cannot be used.
    #[error("{}: {flaw}", path.display())]
    Flaw {
        /// That file.
        path: PathBuf,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// Another process writes here: a keeper, or for a moment a `keeperctl`.
    #[error("another agent-keeper or keeperctl (pid {pid}) is writing to {}", path.display())]
    Locked {
        /// The store.
        path: PathBuf,
        /// The other one's process id, as far as it told.
        pid: String,
    },
    /// There is no such generation.
    #[error("there is no snapshot {generation} in {}", path.display())]
    NoGeneration {
        /// The one that was asked for.
        generation: Generation,
        /// The store.
        path: PathBuf,
    },
    /// A generation stays.
    #[error("snapshot {generation} {why}")]
    Kept {
        /// Which.
        generation: Generation,
        /// Why.
        why: Kept,
    },
}

/// Why a generation cannot be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Kept {
    /// Somebody pinned it.
    #[error("is pinned")]
    Pinned,
    /// It is the one that counts.
    #[error("is the newest: a restore would start from it")]
    Newest,
    /// It belongs to a newer agent-keeper.
    #[error("was written by a newer agent-keeper")]
    Newer,
    /// Panes are being made from it.
    #[error("is being restored, or was a moment ago: its panes read their texts from it")]
    Restoring,
}

impl StoreError {
    /// Returns whether this can be gone without anybody having mended it: a full disk, a home directory that
    /// is not mounted yet, another writer.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            StoreError::Io { .. } | StoreError::Locked { .. } | StoreError::Place(PlaceError::Make { .. })
        )
    }

    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }
}

/// A generation as it was found: whole, or with what is wrong with it.
#[derive(Debug)]
pub struct Entry {
    /// Its number.
    pub generation: Generation,
    /// Its file.
    pub path: PathBuf,
    /// The size of that file in bytes.
    pub bytes: u64,
    /// Its content.
    pub content: Result<Snapshot, Flaw>,
}

/// The newest generation that can be used, and what was in the way.
#[derive(Debug, Default)]
pub struct Newest {
    /// Its number and content; `None` when there is none.
    pub good: Option<(Generation, Snapshot)>,
    /// Newer ones that cannot be read.
    pub passed_over: Vec<Entry>,
    /// Files among the generations that are not called like one.
    pub strangers: Vec<PathBuf>,
}

/// A store to read from. Any number of processes may read while one writes.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens a store for reading. One that is not there yet is an empty one, and of one of a newer
    /// agent-keeper each generation says for itself whether it can be read.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Returns the directory of the store.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn format_path(&self) -> PathBuf {
        self.dir.join("format")
    }

    /// Returns the format of the store, if it has one yet. Fails when it is one that must not be written to:
    /// a newer one, or one that cannot be read. A mark that a power cut emptied, or filled with zeros, counts as
    /// none, unless a generation says that it is of a newer agent-keeper.
    pub fn check_format(&self) -> Result<Option<u32>, StoreError> {
        let path = self.format_path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        let found = match text.trim_matches(|c: char| c == '\0' || c.is_whitespace()) {
            "" => self.newest_format()?,
            number => Some(number.parse().map_err(|_| {
                let flaw = Flaw::Damaged("it must hold a number".to_owned());
                StoreError::Flaw { path, flaw }
            })?),
        };
        match found {
            Some(found) if found > FORMAT => Err(StoreError::Newer { path: self.dir.clone(), found }),
            found => Ok(found),
        }
    }

    /// Returns the newest format that a generation is in, if that is newer than ours.
    fn newest_format(&self) -> Result<Option<u32>, StoreError> {
        let newer = self.entries()?.into_iter().filter_map(|entry| match entry.content {
            Err(Flaw::Newer { found }) => Some(found),
            _ => None,
        });
        Ok(newer.max())
    }

    fn last_path(&self) -> PathBuf {
        self.dir.join("last")
    }

    /// Returns the highest number that a generation ever had; 0 when there was none.
    fn last_number(&self) -> Result<Generation, StoreError> {
        let removed = fs::read_to_string(self.last_path()).ok().and_then(|text| text.trim().parse().ok());
        Ok(removed.max(self.numbers()?.last().copied()).unwrap_or(0))
    }

    fn generations_dir(&self) -> PathBuf {
        self.dir.join("generations")
    }

    fn generation_path(&self, generation: Generation) -> PathBuf {
        self.generations_dir().join(generation_name(generation))
    }

    fn object_path(&self, id: ObjectId) -> PathBuf {
        let name = id.to_string();
        self.dir.join("objects").join(&name[..2]).join(format!("{}.zst", &name[2..]))
    }

    /// Returns the numbers of all generations, whatever state they are in, oldest first.
    pub fn numbers(&self) -> Result<Vec<Generation>, StoreError> {
        Ok(self.listing()?.0)
    }

    /// Returns the files among the generations that are not called like one.
    pub fn strangers(&self) -> Result<Vec<PathBuf>, StoreError> {
        Ok(self.listing()?.1)
    }

    fn listing(&self) -> Result<(Vec<Generation>, Vec<PathBuf>), StoreError> {
        let dir = self.generations_dir();
        let (mut numbers, mut strangers) = (Vec::new(), Vec::new());
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((numbers, strangers)),
            Err(error) => return Err(StoreError::io("list", &dir, error)),
        };
        for entry in entries {
            // The number of one that is overlooked would be given once more.
            let entry = entry.map_err(|source| StoreError::io("list", &dir, source))?;
            match generation_of(&entry.file_name()) {
                Some(generation) => numbers.push(generation),
                None if files::is_temporary(&entry.file_name()) => {}
                None => strangers.push(entry.path()),
            }
        }
        numbers.sort_unstable();
        strangers.sort_unstable();
        Ok((numbers, strangers))
    }

    /// Reads every generation, oldest first.
    pub fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        Ok(self.numbers()?.into_iter().map(|generation| self.entry(generation)).collect())
    }

    fn entry(&self, generation: Generation) -> Entry {
        let path = self.generation_path(generation);
        let bytes = fs::metadata(&path).map_or(0, |meta| meta.len());
        let content = files::read_bounded(&path, FILE_BYTES_MAX)
            .map_err(|error| Flaw::Damaged(format!("cannot be read: {error}")))
            .and_then(|file| format::parse(&file));
        Entry { generation, path, bytes, content }
    }

    /// Reads one generation.
    pub fn load(&self, generation: Generation) -> Result<Snapshot, StoreError> {
        let entry = self.entry(generation);
        if !entry.path.exists() {
            return Err(StoreError::NoGeneration { generation, path: self.dir.clone() });
        }
        entry.content.map_err(|flaw| StoreError::Flaw { path: entry.path, flaw })
    }

    /// Returns the newest generation that verifies, and those newer ones that had to be passed over. One
    /// without sessions counts only if it says that the user closed them, and one that stands aside never.
    pub fn newest(&self) -> Result<Newest, StoreError> {
        self.newest_where(|snapshot| {
            snapshot.aside.is_none() && (snapshot.closed.is_some() || !snapshot.server.sessions.is_empty())
        })
    }

    /// Returns the newest generation that verifies and holds sessions: what a restore by hand uses. One that
    /// stands aside counts only where there is no other.
    pub fn newest_restorable(&self) -> Result<Newest, StoreError> {
        let holds_sessions = |snapshot: &Snapshot| !snapshot.server.sessions.is_empty();
        let newest = self.newest_where(|snapshot| snapshot.aside.is_none() && holds_sessions(snapshot))?;
        if newest.good.is_some() { Ok(newest) } else { self.newest_where(holds_sessions) }
    }

    fn newest_where(&self, wanted: impl Fn(&Snapshot) -> bool) -> Result<Newest, StoreError> {
        let (numbers, strangers) = self.listing()?;
        let mut newest = Newest { strangers, ..Newest::default() };
        for generation in numbers.into_iter().rev() {
            let mut entry = self.entry(generation);
            match &mut entry.content {
                Ok(snapshot) if !wanted(snapshot) => {}
                Err(_) => newest.passed_over.push(entry),
                Ok(_) => {
                    newest.good = entry.content.ok().map(|snapshot| (generation, snapshot));
                    break;
                }
            }
        }
        Ok(newest)
    }

    /// Fails when one of these generations is not there or has to stay: one that is pinned, one that a restore
    /// would start from, and one of a newer agent-keeper. Damaged ones may go when somebody names them.
    pub fn removable(&self, generations: &[Generation]) -> Result<(), StoreError> {
        let pins = self.pins()?;
        let starts = [self.newest()?.good, self.newest_restorable()?.good];
        for generation in generations.iter().copied() {
            let kept = |why| Err(StoreError::Kept { generation, why });
            if starts.iter().flatten().any(|(start, _)| *start == generation) {
                return kept(Kept::Newest);
            }
            match self.load(generation) {
                _ if pins.of(generation).is_some() => return kept(Kept::Pinned),
                Err(StoreError::Flaw { flaw: Flaw::Newer { .. }, .. }) => return kept(Kept::Newer),
                Ok(_) | Err(StoreError::Flaw { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Reads an object and verifies it.
    pub fn object(&self, id: ObjectId) -> Result<Vec<u8>, StoreError> {
        self.object_file(id).map(|(plain, _)| plain)
    }

    /// Reads an object and verifies it; returns its file too.
    fn object_file(&self, id: ObjectId) -> Result<(Vec<u8>, Vec<u8>), StoreError> {
        let path = self.object_path(id);
        let file = files::read_bounded(&path, FILE_BYTES_MAX)
            .map_err(|error| StoreError::io("read", &path, error))?;
        let plain =
            format::decompress(&file).map_err(|flaw| StoreError::Flaw { path: path.clone(), flaw })?;
        if object_id(&plain) != id {
            let flaw = Flaw::Damaged("the checksum does not match".to_owned());
            return Err(StoreError::Flaw { path, flaw });
        }
        Ok((plain, file))
    }

    fn holds(&self, path: &Path, bytes: &[u8]) -> bool {
        files::read_bounded(path, FILE_BYTES_MAX)
            .is_ok_and(|file| format::decompress(&file).is_ok_and(|found| found == bytes))
    }

    /// Reads the text of a pane. Pieces that cannot be read are left out and named, and so is where it gets longer
    /// than a text can be.
    pub fn text(&self, scrollback: &Scrollback) -> (Vec<u8>, Vec<StoreError>) {
        self.text_within(scrollback, TEXT_BYTES_MAX)
    }

    fn text_within(&self, scrollback: &Scrollback, bytes_max: usize) -> (Vec<u8>, Vec<StoreError>) {
        let mut text = Vec::new();
        let mut missing = Vec::new();
        for id in &scrollback.chunks {
            match self.object(*id) {
                Ok(piece) if text.len() + piece.len() > bytes_max => {
                    let flaw =
                        Flaw::Damaged(format!("a text of more than {bytes_max} bytes goes on with it"));
                    missing.push(StoreError::Flaw { path: self.object_path(*id), flaw });
                    break;
                }
                Ok(piece) => text.extend(piece),
                Err(error) => missing.push(error),
            }
        }
        (text, missing)
    }

    /// Returns the number of bytes in the store and of files in it.
    pub fn size(&self) -> (u64, u64) {
        let generations = self.entries().unwrap_or_default();
        let objects = self.objects();
        let bytes =
            generations.iter().map(|e| e.bytes).sum::<u64>() + objects.iter().map(|o| o.bytes).sum::<u64>();
        (bytes, (generations.len() + objects.len()) as u64)
    }

    fn objects(&self) -> Vec<StoredObject> {
        self.shelves()
            .flat_map(|shelf| fs::read_dir(shelf).into_iter().flatten().flatten())
            .filter_map(stored_object)
            .collect()
    }

    /// Returns the directories that objects are in.
    fn shelves(&self) -> impl Iterator<Item = PathBuf> {
        fs::read_dir(self.dir.join("objects")).into_iter().flatten().flatten().map(|shelf| shelf.path())
    }
}

fn generation_name(generation: Generation) -> String {
    format!("{generation:08}.json.zst")
}

/// Returns the number of a generation by the exact name of its file. The last number there is is none,
/// because none could follow it.
fn generation_of(name: &OsStr) -> Option<Generation> {
    let generation = name.to_str()?.strip_suffix(".json.zst")?.parse().ok()?;
    (generation < Generation::MAX && name == generation_name(generation).as_str()).then_some(generation)
}

struct StoredObject {
    id: ObjectId,
    path: PathBuf,
    bytes: u64,
}

fn stored_object(entry: fs::DirEntry) -> Option<StoredObject> {
    let path = entry.path();
    let shelf = path.parent()?.file_name()?.to_str()?.to_owned();
    let name = path.file_name()?.to_str()?.strip_suffix(".zst")?;
    let meta = entry.metadata().ok()?;
    let id = format!("{shelf}{name}").parse().ok()?;
    Some(StoredObject { id, bytes: meta.len(), path })
}

#[cfg(test)]
pub(crate) mod tests;
