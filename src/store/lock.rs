//! The lock that keeps a second writer out, and asking who holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use super::StoreError;

/// How often the lock is tried before somebody else is said to hold it.
const LOCK_ATTEMPTS: u32 = 10;

/// The pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Takes the lock of a store, and leaves our process id in it for whoever is refused.
pub(super) fn take_lock(dir: &Path) -> Result<File, StoreError> {
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
