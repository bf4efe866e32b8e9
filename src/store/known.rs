//! Objects that this process has written or verified: they need not be read again to know that they are
//! there.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::model::ObjectId;

/// How many are remembered, at some 100 bytes each; others are verified each time.
const OBJECTS_MAX: usize = 200_000;

/// What is known of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Object {
    /// The size of its file and when that was changed; while they are the same, it is what was verified.
    stamp: (u64, SystemTime),
    /// The size of its content.
    bytes: u64,
    /// How many lines it has.
    lines: u64,
}

#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<ObjectId, Object>>);

impl Known {
    fn objects(&self) -> MutexGuard<'_, HashMap<ObjectId, Object>> {
        // Nothing that could panic runs while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the file of an object is the one that was verified.
    pub(super) fn is_same(&self, id: ObjectId, path: &Path) -> bool {
        let Some(known) = self.objects().get(&id).copied() else { return false };
        fs::metadata(path).ok().and_then(|meta| stamp(&meta)) == Some(known.stamp)
    }

    /// Remembers an object whose file holds these bytes, and makes it young: its age decides when it may go.
    /// Returns whether it is.
    pub(super) fn add(&self, id: ObjectId, path: &Path, content: &[u8]) -> bool {
        let (bytes, lines) = size(content);
        let young = File::options().append(true).open(path).and_then(|file| {
            file.set_modified(SystemTime::now())?;
            file.metadata()
        });
        let Some(stamp) = young.ok().and_then(|meta| stamp(&meta)) else { return false };
        let mut objects = self.objects();
        if objects.len() < OBJECTS_MAX || objects.contains_key(&id) {
            objects.insert(id, Object { stamp, bytes, lines });
        }
        true
    }

    pub(super) fn forget(&self, id: ObjectId) {
        self.objects().remove(&id);
    }

    /// Returns how many bytes and lines an object has, if it is known.
    pub(super) fn size(&self, id: ObjectId) -> Option<(u64, u64)> {
        self.objects().get(&id).map(|known| (known.bytes, known.lines))
    }
}

fn stamp(meta: &Metadata) -> Option<(u64, SystemTime)> {
    Some((meta.len(), meta.modified().ok()?))
}

/// Returns how many bytes and lines a content has.
pub(super) fn size(content: &[u8]) -> (u64, u64) {
    (content.len() as u64, content.split_inclusive(|byte| *byte == b'\n').count() as u64)
}
