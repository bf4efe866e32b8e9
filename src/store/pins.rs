//! Pins: generations that no clean-up removes.
//!
//! A pin is a file `pins/NNNNNNNN` with a note for people in it. Its name alone counts, so it can be made by
//! hand too (`touch pins/42`), and what happens to its content frees no generation.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::{Store, StoreError, files};
use crate::model::Generation;

/// The directory of pins.
pub(super) const DIR: &str = "pins";

/// The longest note, in bytes.
pub const NOTE_BYTES_MAX: usize = 1024;

/// A pinned generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Which.
    pub generation: Generation,
    /// What somebody wrote about it; empty when nobody did or it cannot be read.
    pub note: String,
    /// Its file.
    pub path: PathBuf,
}

/// All pins of a store, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    pins: Vec<Pin>,
    strangers: Vec<PathBuf>,
}

impl Pins {
    /// Returns each pin.
    pub fn all(&self) -> impl Iterator<Item = &Pin> {
        self.pins.iter()
    }

    /// Returns the pin of a generation.
    pub fn of(&self, generation: Generation) -> Option<&Pin> {
        self.pins.iter().find(|pin| pin.generation == generation)
    }

    /// Returns the files that pin a generation: more than one when somebody made one by hand.
    pub(super) fn files_of(&self, generation: Generation) -> impl Iterator<Item = &PathBuf> {
        self.pins.iter().filter(move |pin| pin.generation == generation).map(|pin| &pin.path)
    }

    /// Returns the files among them that pin nothing, because their name is no number.
    pub fn strangers(&self) -> &[PathBuf] {
        &self.strangers
    }
}

impl Store {
    /// Reads the pins.
    pub fn pins(&self) -> Result<Pins, StoreError> {
        let dir = self.dir.join(DIR);
        let failed = |source| StoreError::io("list", &dir, source);
        let mut found = Pins::default();
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            // One that is overlooked would free a generation.
            let entry = entry.map_err(failed)?;
            let (name, path) = (entry.file_name(), entry.path());
            match name.to_str().and_then(|name| name.parse().ok()) {
                Some(generation) => found.pins.push(Pin { generation, note: read_note(&path), path }),
                None if files::is_temporary(&name) => {}
                None => found.strangers.push(path),
            }
        }
        found.pins.sort_by(|a, b| (a.generation, &a.path).cmp(&(b.generation, &b.path)));
        found.strangers.sort_unstable();
        Ok(found)
    }
}

fn read_note(path: &std::path::Path) -> String {
    let bytes = files::read_bounded(path, NOTE_BYTES_MAX as u64).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

/// Returns the name of the file that pins a generation.
pub(super) fn name(generation: Generation) -> String {
    format!("{generation:08}")
}

/// Returns as much of a note as is kept.
pub(super) fn cut_note(note: &str) -> &str {
    let whole = (0..=NOTE_BYTES_MAX.min(note.len())).rev().find(|end| note.is_char_boundary(*end));
    &note[..whole.unwrap_or(0)]
}
