//! Saved states on disk: plain, immutable files.
//!
//! ```text
//! $XDG_STATE_HOME/agent-keeper/
//! ├── format                      the version of all this: 1
//! ├── lock                        locked (flock(2)) by the one keeper that writes; holds its pid
//! ├── generations/00000042.json.zst
//! └── objects/ab/cdef….zst        text of panes, named by hash, shared between generations
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
//! closed. Generations that cannot be read, and files with other names beside them, are never removed, nor
//! is any object while there are such. An object that cannot be read is written again when its text, which
//! its name proves, turns up again.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use crate::model::{FORMAT, Generation, ObjectId, Scrollback, Snapshot};
use crate::place::{self, PlaceError};

pub mod chunks;
mod files;
mod format;
mod known;
pub mod retention;

pub use format::{Flaw, object_id};
use retention::{Candidate, KeepReason, Retention};

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How long an object that no generation names is left alone: the generation that will name it may
/// still be on its way, and panes that are being restored read theirs.
const OBJECT_GRACE: Duration = Duration::from_secs(3600);

/// How often the lock is tried before somebody else is said to hold it.
const LOCK_ATTEMPTS: u32 = 10;

/// The pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

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
    /// Another keeper writes here.
    #[error("another agent-keeper is running (pid {pid}) and uses {}", path.display())]
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
}

impl StoreError {
    /// Returns whether this can be gone without anybody having mended it: a full disk, a home directory that
    /// is not mounted yet.
    pub fn may_pass(&self) -> bool {
        matches!(self, StoreError::Io { .. } | StoreError::Place(PlaceError::Make { .. }))
    }

    fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
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
    /// Opens a store for reading. One that is not there yet is an empty one.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Self { dir: dir.into() };
        let found = store.format()?.unwrap_or(FORMAT);
        if found > FORMAT {
            return Err(StoreError::Newer { path: store.dir, found });
        }
        Ok(store)
    }

    /// Returns the directory of the store.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn format(&self) -> Result<Option<u32>, StoreError> {
        let path = self.dir.join("format");
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map(Some).map_err(|_| {
                let flaw = Flaw::Damaged("it must hold a number".to_owned());
                StoreError::Flaw { path: path.clone(), flaw }
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", &path, error)),
        }
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
        for entry in entries.flatten().filter(|entry| !files::is_temporary(&entry.file_name())) {
            match generation_of(&entry.file_name()) {
                Some(generation) => numbers.push(generation),
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
    /// without sessions counts only if it says that the user closed them.
    pub fn newest(&self) -> Result<Newest, StoreError> {
        self.newest_where(|snapshot| snapshot.closed.is_some() || !snapshot.server.sessions.is_empty())
    }

    /// Returns the newest generation that verifies and holds sessions: what a restore by hand uses.
    pub fn newest_restorable(&self) -> Result<Newest, StoreError> {
        self.newest_where(|snapshot| !snapshot.server.sessions.is_empty())
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

    /// Reads an object and verifies it.
    pub fn object(&self, id: ObjectId) -> Result<Vec<u8>, StoreError> {
        let path = self.object_path(id);
        let file = files::read_bounded(&path, FILE_BYTES_MAX)
            .map_err(|error| StoreError::io("read", &path, error))?;
        let plain =
            format::decompress(&file).map_err(|flaw| StoreError::Flaw { path: path.clone(), flaw })?;
        if object_id(&plain) != id {
            let flaw = Flaw::Damaged("the checksum does not match".to_owned());
            return Err(StoreError::Flaw { path, flaw });
        }
        Ok(plain)
    }

    fn holds(&self, path: &Path, bytes: &[u8]) -> bool {
        files::read_bounded(path, FILE_BYTES_MAX)
            .is_ok_and(|file| format::decompress(&file).is_ok_and(|found| found == bytes))
    }

    /// Reads the text of a pane. Pieces that cannot be read are left out and named.
    pub fn text(&self, scrollback: &Scrollback) -> (Vec<u8>, Vec<StoreError>) {
        let mut text = Vec::new();
        let mut missing = Vec::new();
        for id in &scrollback.chunks {
            match self.object(*id) {
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
    modified: SystemTime,
}

fn stored_object(entry: fs::DirEntry) -> Option<StoredObject> {
    let path = entry.path();
    let shelf = path.parent()?.file_name()?.to_str()?.to_owned();
    let name = path.file_name()?.to_str()?.strip_suffix(".zst")?;
    let meta = entry.metadata().ok()?;
    let id = format!("{shelf}{name}").parse().ok()?;
    Some(StoredObject { id, bytes: meta.len(), modified: meta.modified().ok()?, path })
}

/// A store to write to. Only one exists at a time on a machine; it is also a [`Store`] to read from.
#[derive(Debug)]
pub struct Writer {
    store: Store,
    /// Held for as long as the writer lives; the kernel lets go of it however we end.
    _lock: File,
    /// Directories in which names are new and not yet flushed.
    unflushed: Mutex<HashSet<PathBuf>>,
    /// One generation is numbered and written at a time.
    numbering: Mutex<()>,
    known: known::Known,
}

impl Writer {
    /// Opens a store for writing, makes it if it is not there, and keeps every other writer out.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Store::open(dir)?;
        place::make_private_dir(&store.dir)?;
        let lock = take_lock(&store.dir)?;
        for part in ["generations", "objects"] {
            place::make_private_dir(&store.dir.join(part))?;
        }
        if store.format()?.is_none() {
            files::write_whole(&store.dir.join("format"), format!("{FORMAT}\n").as_bytes())?;
        }
        files::remove_leftovers(&store.dir);
        files::remove_leftovers(&store.generations_dir());
        store.shelves().for_each(|shelf| files::remove_leftovers(&shelf));
        files::sync_dir(&store.dir)?;
        Ok(Self {
            store,
            _lock: lock,
            unflushed: Mutex::default(),
            numbering: Mutex::default(),
            known: known::Known::default(),
        })
    }

    /// Returns the reading side.
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn unflushed(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        // Nothing that could panic runs while it is held.
        self.unflushed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Saves an object unless it is there already. One that is damaged is replaced by what it was.
    pub fn put(&self, bytes: &[u8]) -> Result<ObjectId, StoreError> {
        let id = object_id(bytes);
        let path = self.store.object_path(id);
        if self.known.renew(id, &path) {
            return Ok(id);
        }
        if self.store.holds(&path, bytes) {
            self.known.add(id, &path, bytes);
            return Ok(id);
        }
        let shelf = path.parent().unwrap_or(&self.store.dir);
        if !shelf.exists() {
            place::make_private_dir(shelf)?;
            self.unflushed().insert(self.store.dir.join("objects"));
        }
        let file = format::compress(bytes).map_err(|flaw| StoreError::Flaw { path: path.clone(), flaw })?;
        files::write_whole(&path, &file)?;
        self.known.add(id, &path, bytes);
        self.unflushed().insert(shelf.to_owned());
        Ok(id)
    }

    /// Returns how many bytes and lines an object has; nothing of one that cannot be read.
    pub fn size_of(&self, id: ObjectId) -> (u64, u64) {
        if let Some(size) = self.known.size(id) {
            return size;
        }
        let Ok(content) = self.store.object(id) else { return (0, 0) };
        self.known.add(id, &self.store.object_path(id), &content);
        known::size(&content)
    }

    /// Returns whether an object's file is there; it is not read.
    pub fn has(&self, id: ObjectId) -> bool {
        self.store.object_path(id).exists()
    }

    /// Saves a text in pieces.
    pub fn put_text(&self, text: &[u8]) -> Result<Scrollback, StoreError> {
        let lines = text.split_inclusive(|b| *b == b'\n').count() as u64;
        let chunks = chunks::cut(text).into_iter().map(|piece| self.put(piece)).collect::<Result<_, _>>()?;
        Ok(Scrollback { lines, chunks })
    }

    /// Makes everything that was put last through a power cut.
    pub fn flush(&self) -> Result<(), StoreError> {
        // A directory whose flush failed is not tried again: a second flush could succeed and mean nothing.
        let dirs = std::mem::take(&mut *self.unflushed());
        dirs.iter().try_for_each(|dir| files::sync_dir(dir))
    }

    /// Saves a snapshot as the next generation. When this returns, it lasts.
    pub fn save(&self, snapshot: &Snapshot) -> Result<Generation, StoreError> {
        self.flush()?;
        let _one_at_a_time = self.numbering.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let generation = self.store.numbers()?.last().map_or(1, |last| last + 1);
        let path = self.store.generation_path(generation);
        let file = format::render(snapshot).map_err(|flaw| StoreError::Flaw { path: path.clone(), flaw })?;
        files::write_whole(&path, &file)?;
        files::sync_dir(&self.store.generations_dir())?;
        Ok(generation)
    }

    /// Removes generations that no rule keeps and objects that nothing names any more, and returns how
    /// many of each. Generations that cannot be read and strangers among them are neither counted nor
    /// removed, and while there is any no object is removed, because it may name it.
    pub fn prune(&self, keep: &Retention) -> Result<(usize, usize), StoreError> {
        let entries = self.store.entries()?;
        let whole = self.store.strangers()?.is_empty() && entries.iter().all(|entry| entry.content.is_ok());
        let going: HashSet<Generation> = retention_of(&entries, keep)
            .into_iter()
            .filter(|(_, reasons)| reasons.is_empty())
            .map(|(generation, _)| generation)
            .collect();
        for generation in &going {
            let path = self.store.generation_path(*generation);
            fs::remove_file(&path).map_err(|source| StoreError::io("remove", &path, source))?;
        }
        if !going.is_empty() {
            files::sync_dir(&self.store.generations_dir())?;
        }
        let mut removed_objects = 0;
        if whole {
            let staying = entries.iter().filter(|entry| !going.contains(&entry.generation));
            removed_objects = self.sweep(&named_objects(staying))?;
        }
        Ok((going.len(), removed_objects))
    }

    fn sweep(&self, named: &HashSet<ObjectId>) -> Result<usize, StoreError> {
        let now = SystemTime::now();
        let old =
            |object: &StoredObject| now.duration_since(object.modified).is_ok_and(|age| age > OBJECT_GRACE);
        let mut removed = 0;
        for object in self.store.objects().into_iter().filter(|o| !named.contains(&o.id) && old(o)) {
            fs::remove_file(&object.path).map_err(|source| StoreError::io("remove", &object.path, source))?;
            self.known.forget(object.id);
            removed += 1;
        }
        Ok(removed)
    }
}

/// Returns the reasons for which each generation that can be read is kept.
pub fn retention_of(entries: &[Entry], keep: &Retention) -> Vec<(Generation, Vec<KeepReason>)> {
    let candidates: Vec<Candidate> = entries
        .iter()
        .filter_map(|entry| {
            let snapshot = entry.content.as_ref().ok()?;
            Some(Candidate {
                generation: entry.generation,
                taken_at: snapshot.taken_at,
                server: snapshot.server.id.clone(),
                sessions: snapshot.server.sessions.iter().map(|session| session.name.clone()).collect(),
            })
        })
        .collect();
    retention::decide(&candidates, keep)
}

fn named_objects<'a>(entries: impl Iterator<Item = &'a Entry>) -> HashSet<ObjectId> {
    entries
        .filter_map(|entry| entry.content.as_ref().ok())
        .flat_map(|snapshot| snapshot.server.panes())
        .flat_map(|(_, _, pane)| pane.scrollback.chunks.iter().copied().chain(pane.start))
        .collect()
}

/// Takes the lock of a store, and leaves our process id in it for whoever is refused.
fn take_lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let failed = |source| StoreError::io("lock", &path, source);
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    // Somebody who only asks whether a keeper runs holds the lock for a moment (`writer_of`).
    let mut attempts = (0..LOCK_ATTEMPTS).peekable();
    while let Some(_attempt) = attempts.next() {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) if attempts.peek().is_some() => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = (&mut file).take(20).read_to_string(&mut pid);
                return Err(StoreError::Locked { path: dir.to_owned(), pid: pid.trim().to_owned() });
            }
        }
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

/// Returns the process id of the keeper that writes to a store, or `None` when nobody does.
pub fn writer_of(dir: &Path) -> Option<u32> {
    let mut file = File::open(dir.join("lock")).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).ok()?;
            pid.trim().parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
