//! Writes down what happens, and gives incidents their numbers.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::line::{self, Line};
use super::{Beginning, DIR, ENTRY_BYTES_MAX, FILE_BYTES_MAX, FILES_MAX, files_in, fit, path_of};
use crate::model::entry::{Entry, Happening};
use crate::store::{Flaw, StoreError, files};

/// The shortest line of an incident, in bytes: it has a time, a boot, a server, a verdict and their names. Where so many
/// bytes are damaged, one may have been.
pub(super) const INCIDENT_BYTES_MIN: u64 = 256;

/// Whoever writes the history. There is one at a time: the holder of the store's [`Writer`](crate::store::Writer).
#[derive(Debug)]
pub struct Historian {
    dir: PathBuf,
    /// The number of the newest file; 0 when there is none.
    newest: u64,
    /// Whether nothing can be added to that file.
    closed: bool,
    /// The highest number that an incident has, or may have had.
    incidents: u64,
}

impl Historian {
    /// Opens the history in a state directory, makes it if it is not there, and finds out how far the numbers are.
    /// It is read once for that.
    pub fn open(state: &Path) -> Result<Self, StoreError> {
        let dir = state.join(DIR);
        files::make_dir(&dir)?;
        files::remove_leftovers(&dir);
        // Names that were new when another keeper was killed. What is added to a file lasts only if its name does.
        files::sync_dir(&dir)?;
        files::sync_dir(state)?;
        let (incidents, newest_is_whole) = numbers_in(&dir)?;
        let newest = files_in(&dir)?.last().map_or(0, |(number, _)| *number);
        Ok(Self { dir, newest, closed: !newest_is_whole, incidents })
    }

    /// Returns the number of the next incident. One that is noted with it, or with a higher one, moves it on.
    pub fn next_incident(&self) -> u64 {
        self.incidents.saturating_add(1)
    }

    /// Notes what happened. When this returns, it lasts. When it fails, nothing of it is promised to be there, what
    /// was there before stays, and the same can be noted again.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let lines = entries.iter().map(|entry| self.line(entry)).collect::<Result<Vec<_>, _>>()?;
        if lines.is_empty() {
            return Ok(());
        }
        let incidents = entries.iter().filter_map(number_of_incident).fold(self.incidents, u64::max);
        let newest = path_of(&self.dir, self.newest);
        if self.closed || !files::append(&newest, &lines.concat(), FILE_BYTES_MAX)? {
            self.begin_files(&lines, incidents)?;
        }
        self.incidents = incidents;
        Ok(())
    }

    fn line(&self, entry: &Entry) -> Result<Vec<u8>, StoreError> {
        let json = fit::render(entry, ENTRY_BYTES_MAX).map_err(|error| self.flaw(&error))?;
        Ok(line::seal(&json))
    }

    fn flaw(&self, error: &serde_json::Error) -> StoreError {
        StoreError::Flaw { path: self.dir.clone(), flaw: Flaw::Damaged(error.to_string()) }
    }

    /// Writes lines to a new file, or to several if they are too many for one.
    fn begin_files(&mut self, lines: &[Vec<u8>], incidents: u64) -> Result<(), StoreError> {
        let beginning = serde_json::to_vec(&Beginning { incidents }).map_err(|error| self.flaw(&error))?;
        let beginning = line::seal(&beginning);
        let mut content = beginning.clone();
        for line in lines {
            if (content.len() + line.len()) as u64 > FILE_BYTES_MAX {
                self.begin(&content)?;
                content.clone_from(&beginning);
            }
            content.extend_from_slice(line);
        }
        self.begin(&content)
    }

    fn begin(&mut self, content: &[u8]) -> Result<(), StoreError> {
        let number = self.newest + 1;
        let path = path_of(&self.dir, number);
        // Somebody may have cleared it away.
        files::make_dir(&self.dir)?;
        files::write_whole(&path, content)?;
        if let Err(error) = files::sync_dir(&self.dir) {
            // Its name may not last, and what would be added to it would go with it.
            let _ = files::remove(&path);
            return Err(error);
        }
        (self.newest, self.closed) = (number, false);
        self.remove_oldest();
        Ok(())
    }

    /// What cannot be removed is tried again with the next file, and what comes back after a power cut too.
    fn remove_oldest(&self) {
        let files = files_in(&self.dir).unwrap_or_default();
        for (_, path) in &files[..files.len().saturating_sub(FILES_MAX)] {
            let _ = files::remove(path);
        }
    }
}

fn number_of_incident(entry: &Entry) -> Option<u64> {
    match &entry.what {
        Happening::Died(incident) => Some(incident.number),
        _ => None,
    }
}

/// What of a line matters here. An incident of a newer version has a number too, whatever else is in it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Numbered {
    Beginning(Beginning),
    Entry { what: What },
}

#[derive(Deserialize)]
struct What {
    kind: String,
    #[serde(default)]
    number: serde_json::Value,
}

impl Numbered {
    fn number(&self) -> u64 {
        match self {
            Numbered::Beginning(beginning) => beginning.incidents,
            Numbered::Entry { what } if what.kind == "died" => what.number.as_u64().unwrap_or(0),
            Numbered::Entry { .. } => 0,
        }
    }
}

/// Returns the highest number that an incident has or may have had, and whether all of the newest file can be read.
pub(super) fn numbers_in(dir: &Path) -> Result<(u64, bool), StoreError> {
    let (mut highest, mut readable) = (0, true);
    for (_, path) in files_in(dir)? {
        let read = File::open(&path)
            .and_then(|file| line::each(BufReader::new(file), |line| highest = after(highest, line)));
        readable = read.is_ok();
        if !readable {
            highest = after(highest, Line::Damaged { bytes: FILE_BYTES_MAX });
        }
    }
    Ok((highest, readable))
}

/// Returns the highest number that is taken after this line, when it was so before.
fn after(highest: u64, line: Line<'_>) -> u64 {
    match line {
        Line::Whole(json) => match serde_json::from_slice::<Numbered>(json) {
            Ok(numbered) => highest.max(numbered.number()),
            Err(_) => highest.saturating_add(1),
        },
        Line::Damaged { bytes } | Line::Unfinished { bytes } => {
            highest.saturating_add(1 + bytes / INCIDENT_BYTES_MIN)
        }
    }
}
