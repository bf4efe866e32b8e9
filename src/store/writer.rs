//! Writing to a store: objects, generations, pins, and what goes.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use super::files;
use super::format::{self, object_id};
use super::known::{self, Known};
use super::lock::take_lock;
use super::retention::{Retention, retention_of};
use super::{Entry, Kept, Store, StoreError, StoredObject, chunks, named, pins};
use crate::model::{FORMAT, Generation, ObjectId, Scrollback, Snapshot};
use crate::place;

/// How long an object that no generation names is left alone since it was put last: the generation that will
/// name it may still be on its way. What panes read that are being restored was put long ago; that stays with its
/// generation ([`Writer::protect`]).
pub(super) const OBJECT_GRACE: Duration = Duration::from_secs(3600);

/// How long a generation stays that is protected.
const PROTECTION: Duration = Duration::from_secs(600);

/// A store to write to. Only one exists at a time on a machine; it is also a [`Store`] to read from.
#[derive(Debug)]
pub struct Writer {
    store: Store,
    /// Held for as long as the writer lives; the kernel lets go of it however we end.
    _lock: File,
    /// Directories in which names are new and not yet flushed.
    unflushed: Mutex<HashSet<PathBuf>>,
    /// Held through a flush: whoever finds nothing unflushed must know that it is flushed, and not that somebody
    /// is about to.
    flushing: Mutex<()>,
    /// Directories whose flush has failed once: a name in them may not last, whatever a later flush says, so
    /// what is put there is written anew.
    distrusted: Mutex<HashSet<PathBuf>>,
    /// One generation or pin comes or goes at a time.
    changing: Mutex<()>,
    /// Held for writing while an object is removed, so that nobody finds it there and counts on it meanwhile.
    sweeping: RwLock<()>,
    /// Held for reading while an import puts objects that no generation names yet. That can take longer than they
    /// are left alone, or the clock is set meanwhile.
    importing: RwLock<()>,
    /// Generations that are being restored, and since when. Held through a clean-up.
    protected: Mutex<HashMap<Generation, Instant>>,
    /// Objects that are known to be whole.
    known: Known,
}

impl Writer {
    /// Opens a store for writing, makes it if it is not there, and keeps every other writer out. One of an
    /// older format becomes one of ours; one of a newer format is refused and not touched.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Store::open(dir);
        store.check_format()?;
        place::make_private_dir(&store.dir)?;
        let lock = take_lock(&store.dir)?;
        // A newer keeper may have had the lock until a moment ago.
        let found = store.check_format()?;
        for part in ["generations", "objects", pins::DIR] {
            files::make_dir(&store.dir.join(part))?;
        }
        if found != Some(FORMAT) {
            // Before anything in this format is in it.
            files::write_whole(&store.format_path(), format!("{FORMAT}\n").as_bytes())?;
        }
        files::remove_leftovers(&store.dir);
        files::remove_leftovers(&store.generations_dir());
        files::remove_leftovers(&store.dir.join(pins::DIR));
        store.shelves().for_each(|shelf| files::remove_leftovers(&shelf));
        files::sync_dir(&store.dir)?;
        Ok(Self {
            store,
            _lock: lock,
            unflushed: Mutex::default(),
            flushing: Mutex::default(),
            distrusted: Mutex::default(),
            changing: Mutex::default(),
            sweeping: RwLock::default(),
            importing: RwLock::default(),
            protected: Mutex::default(),
            known: Known::default(),
        })
    }

    /// Returns the reading side.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Saves an object unless it is there already. One that is damaged is replaced by what it was.
    pub fn put(&self, bytes: &[u8]) -> Result<ObjectId, StoreError> {
        let id = object_id(bytes);
        let path = self.store.object_path(id);
        let shelf = path.parent().unwrap_or(&self.store.dir);
        let _not_now = self.sweeping.read().unwrap_or_else(PoisonError::into_inner);
        let objects = self.store.dir.join("objects");
        let trusted = !locked(&self.distrusted).contains(shelf);
        let known = self.known.is_same(id, &path);
        if trusted && (known || self.store.holds(&path, bytes)) {
            if !known {
                // Another writer's, that may have been killed before it came to flush.
                locked(&self.unflushed).extend([objects.clone(), shelf.to_owned()]);
            }
            // Its age decides when it may go, so it starts anew.
            if self.known.add(id, &path, bytes) {
                return Ok(id);
            }
        }
        if !shelf.exists() {
            files::make_dir(shelf)?;
            locked(&self.unflushed).insert(objects);
        }
        let file = format::compress(bytes).map_err(|flaw| StoreError::Flaw { path: path.clone(), flaw })?;
        files::write_whole(&path, &file)?;
        locked(&self.unflushed).insert(shelf.to_owned());
        self.known.add(id, &path, bytes);
        Ok(id)
    }

    /// Returns how many bytes and lines an object has: none if it cannot be read, and `None` if a clean-up has
    /// removed it.
    pub fn size_of(&self, id: ObjectId) -> Option<(u64, u64)> {
        if let Some(size) = self.known.size(id) {
            return Some(size);
        }
        let path = self.store.object_path(id);
        match self.store.object(id) {
            Ok(content) => {
                self.known.add(id, &path, &content);
                Some(known::size(&content))
            }
            // That of one that is damaged may turn up again, and is written anew then.
            Err(_) => (!matches!(path.try_exists(), Ok(false))).then_some((0, 0)),
        }
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
        let _one_at_a_time = locked(&self.flushing);
        let dirs = std::mem::take(&mut *locked(&self.unflushed));
        let mut result = Ok(());
        for dir in dirs {
            if result.is_ok() {
                result = files::sync_dir(&dir);
                if result.is_err() {
                    // A second flush could succeed and mean nothing: what is in it is not counted on again.
                    locked(&self.distrusted).insert(dir.clone());
                }
            }
            if result.is_err() {
                locked(&self.unflushed).insert(dir);
            }
        }
        result
    }

    /// Saves a snapshot as the next generation. When this returns, it lasts.
    pub fn save(&self, snapshot: &Snapshot) -> Result<Generation, StoreError> {
        self.flush()?;
        let _one_at_a_time = locked(&self.changing);
        let generation = self.store.last_number()? + 1;
        let path = self.store.generation_path(generation);
        let file = format::render(snapshot).map_err(|flaw| StoreError::Flaw { path: path.clone(), flaw })?;
        files::write_whole(&path, &file)?;
        if let Err(error) = files::sync_dir(&self.store.generations_dir()) {
            // Its name may not last. It must not count then, or a clean-up would remove for its sake what does.
            let _ = files::remove(&path);
            return Err(error);
        }
        Ok(generation)
    }

    /// Puts objects that a generation will name later, and saves that; no clean-up takes them meanwhile.
    pub(super) fn bring<T>(&self, work: impl FnOnce() -> T) -> T {
        let _nobody_sweeps = self.importing.read().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Reads a generation that is to be restored. For ten minutes it and its texts are there, whatever is cleaned
    /// up or is to be removed.
    pub fn protect(&self, generation: Generation) -> Result<Snapshot, StoreError> {
        let mut protected = self.protected();
        let snapshot = self.store.load(generation)?;
        protected.insert(generation, Instant::now());
        Ok(snapshot)
    }

    fn protected(&self) -> MutexGuard<'_, HashMap<Generation, Instant>> {
        let mut protected = locked(&self.protected);
        protected.retain(|_, since| since.elapsed() < PROTECTION);
        protected
    }

    /// Keeps a generation until it is unpinned. The note is for people; only its first
    /// [`pins::NOTE_BYTES_MAX`] bytes are kept, and without one an earlier note stays.
    pub fn pin(&self, generation: Generation, note: &str) -> Result<(), StoreError> {
        let _one_at_a_time = locked(&self.changing);
        self.store.load(generation)?;
        if note.is_empty() && self.store.pins()?.of(generation).is_some() {
            // Nobody means to lose the note by saying it again.
            return Ok(());
        }
        let dir = self.store.dir.join(pins::DIR);
        files::write_whole(&dir.join(pins::name(generation)), pins::cut_note(note).as_bytes())?;
        files::sync_dir(&dir)
    }

    /// Lets a pinned generation go the way of the others, and returns whether it was pinned.
    pub fn unpin(&self, generation: Generation) -> Result<bool, StoreError> {
        let _one_at_a_time = locked(&self.changing);
        let pins = self.store.pins()?;
        self.drop_pins(pins.files_of(generation))
    }

    fn drop_pins<'a>(&self, paths: impl Iterator<Item = &'a PathBuf>) -> Result<bool, StoreError> {
        let mut any = false;
        for path in paths {
            files::remove(path)?;
            any = true;
        }
        if any {
            files::sync_dir(&self.store.dir.join(pins::DIR))?;
        }
        Ok(any)
    }

    /// Removes generations that somebody named: all of them, or none when one has to stay
    /// ([`Store::removable`]) or is being restored. Their texts go with a later clean-up.
    pub fn remove(&self, generations: &[Generation]) -> Result<(), StoreError> {
        let _one_at_a_time = locked(&self.changing);
        self.store.removable(generations)?;
        let protected = self.protected();
        if let Some(generation) = generations.iter().copied().find(|one| protected.contains_key(one)) {
            return Err(StoreError::Kept { generation, why: Kept::Restoring });
        }
        let last = self.store.last_number()?;
        if generations.contains(&last) {
            // No number is given twice.
            files::write_whole(&self.store.last_path(), format!("{last}\n").as_bytes())?;
            files::sync_dir(&self.store.dir)?;
        }
        self.remove_files(generations)
    }

    fn remove_files(&self, generations: &[Generation]) -> Result<(), StoreError> {
        for generation in generations {
            files::remove(&self.store.generation_path(*generation))?;
        }
        if generations.is_empty() { Ok(()) } else { files::sync_dir(&self.store.generations_dir()) }
    }

    /// Removes generations that no rule keeps, objects that nothing names any more and pins of what is gone,
    /// and returns how many generations and objects. Generations that cannot be read and strangers among them
    /// are neither counted nor removed, and while there is any no object is removed, because it may name it; nor is
    /// one while an import is under way. What is being restored stays.
    pub fn prune(&self, keep: &Retention) -> Result<(usize, usize), StoreError> {
        let _one_at_a_time = locked(&self.changing);
        let entries = self.store.entries()?;
        let pins = self.store.pins()?;
        let protected = self.protected();
        let orderly = self.store.strangers()?.is_empty();
        let whole = orderly && entries.iter().all(|entry| entry.content.is_ok());
        let going: Vec<Generation> = retention_of(&entries, &pins, keep)
            .into_iter()
            .filter(|(generation, reasons)| reasons.is_empty() && !protected.contains_key(generation))
            .map(|(generation, _)| generation)
            .collect();
        self.remove_files(&going)?;
        if orderly {
            let there: HashSet<Generation> = entries.iter().map(|entry| entry.generation).collect();
            self.drop_pins(pins.all().filter(|pin| !there.contains(&pin.generation)).map(|pin| &pin.path))?;
        }
        let mut removed_objects = 0;
        let nobody_imports = match self.importing.try_write() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        if whole && nobody_imports.is_some() {
            let staying = entries.iter().filter(|entry| !going.contains(&entry.generation));
            removed_objects = self.sweep(&named_objects(staying))?;
        }
        Ok((going.len(), removed_objects))
    }

    fn sweep(&self, named: &HashSet<ObjectId>) -> Result<usize, StoreError> {
        let mut removed = 0;
        for object in self.store.objects().into_iter().filter(|object| !named.contains(&object.id)) {
            let _nobody_puts = self.sweeping.write().unwrap_or_else(PoisonError::into_inner);
            if is_old(&object) {
                files::remove(&object.path)?;
                self.known.forget(object.id);
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Looks at the file anew: whoever puts an object that is there makes it young.
fn is_old(object: &StoredObject) -> bool {
    let modified = fs::metadata(&object.path).and_then(|meta| meta.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > OBJECT_GRACE))
}

fn named_objects<'a>(entries: impl Iterator<Item = &'a Entry>) -> HashSet<ObjectId> {
    entries.filter_map(|entry| entry.content.as_ref().ok()).flat_map(named::objects).collect()
}

/// Nothing that is guarded here is left half done by a panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
