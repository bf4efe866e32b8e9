//! Files that are either whole or not there.
//!
//! A file is written under a temporary name, flushed to the disk, renamed, and its directory is flushed
//! (rename(2) is atomic, but only fsync(2) of the directory makes it last). When a flush fails the data
//! may be lost although a second flush of the same file would succeed ("Can Applications Recover from
//! fsync Failures?", USENIX ATC 2020), so a failed file is thrown away and never flushed again. Of a file that grows
//! what could not be added is thrown away.
//!
//! Everything that changes the disk goes through here, past the points at which a test lets it fail.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use tempfile::Builder;

use super::StoreError;
use super::fault::{self, Step, point};
use crate::place;

/// How new files are called until they are whole; leftovers of an interrupted run start with it too.
const TEMPORARY_PREFIX: &str = ".new-";

/// Makes a directory of the store, unless it is there.
pub(crate) fn make_dir(dir: &Path) -> Result<(), StoreError> {
    point(Step::MakeDir).map_err(|source| StoreError::io("make", dir, source))?;
    Ok(place::make_private_dir(dir)?)
}

/// Writes a file so that after a crash the directory holds either all of it or what was there before.
/// The caller flushes the directory with [`sync_dir`].
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let failed = |source| StoreError::io("write", path, source);
    let dir = path.parent().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    // Opened and written by ourselves: errors of `tempfile` name the temporary file, another one each time.
    let open = |path: &Path| {
        point(Step::Create)?;
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
    };
    let mut file = Builder::new().prefix(TEMPORARY_PREFIX).make_in(dir, open).map_err(failed)?;
    fault::write(file.as_file_mut(), bytes).map_err(failed)?;
    point(Step::Flush).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    point(Step::Rename).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Adds lines to a file and makes them last, unless the file is not there or would have more than this many bytes
/// then; returns whether it did. The lines begin on a line of their own, whatever the file ends with. After a failure
/// the file is cut back to what it was, as far as that works.
pub(crate) fn append(path: &Path, lines: &[u8], bytes_max: u64) -> Result<bool, StoreError> {
    let failed = |source| StoreError::io("write", path, source);
    let mut file = match OpenOptions::new().read(true).append(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file.map_err(failed)?,
    };
    let before = file.metadata().map_err(failed)?.len();
    let torn = !ends_with_a_line(&file, before).map_err(failed)?;
    let lines = [if torn { b"\n".as_slice() } else { b"" }, lines].concat();
    if before + lines.len() as u64 > bytes_max {
        return Ok(false);
    }
    // fdatasync(2) flushes the size too: without it the data could not be read.
    let written =
        fault::write(&mut file, &lines).and_then(|()| point(Step::Flush)).and_then(|()| file.sync_data());
    if written.is_err() {
        // Else a disk that is full, or whose flushes fail, would fill the file with what is tried again and again.
        let _ = point(Step::Truncate).and_then(|()| file.set_len(before));
    }
    written.map_err(failed)?;
    Ok(true)
}

fn ends_with_a_line(file: &File, bytes: u64) -> io::Result<bool> {
    let mut last = *b"\n";
    match bytes.checked_sub(1) {
        Some(at) => file.read_exact_at(&mut last, at).map(|()| last == *b"\n"),
        None => Ok(true),
    }
}

/// Makes the names in a directory last.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    point(Step::FlushDir)
        .and_then(|()| File::open(dir))
        .and_then(|file| file.sync_all())
        .map_err(|source| StoreError::io("flush", dir, source))
}

/// Removes a file; that it is gone already is not an error.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    match point(Step::Remove).and_then(|()| fs::remove_file(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(|source| StoreError::io("remove", path, source)),
    }
}

/// Reads a file of at most `bytes_max` bytes.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if read as u64 > bytes_max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Returns whether a file of this name is being written, or was when its writer was interrupted.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes())
}

/// Removes what interrupted writes have left in a directory.
pub(crate) fn remove_leftovers(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if is_temporary(&entry.file_name()) {
            // One that cannot be removed costs a little space and nothing else.
            let _ = remove(&entry.path());
        }
    }
}
