//! Reads what happened. It never changes anything, and needs nobody's leave: the keeper may be writing meanwhile.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::line::{self, Line};
use super::{Beginning, DIR, files_in};
use crate::model::entry::{Entry, Happening};
use crate::model::incident::Incident;
use crate::store::StoreError;

/// By how much the clock may have been set back between an entry and the write of it. A file that was last changed
/// longer than this before a range begins is not read for it.
const CLOCK_MARGIN: Duration = Duration::from_secs(24 * 3600);

/// A stretch of time with both its ends; an end that is not there is the end of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// From when.
    pub since: Option<Timestamp>,
    /// Until when.
    pub until: Option<Timestamp>,
}

impl Range {
    /// Returns whether a time is in it.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at <= until)
    }

    /// Returns whether what was last changed then can hold nothing of this range.
    fn is_after(&self, changed: SystemTime) -> bool {
        let since = self.since.map(SystemTime::from);
        let passed = since.and_then(|since| since.duration_since(changed).ok());
        passed.is_some_and(|passed| passed > CLOCK_MARGIN)
    }
}

/// What happened, as far as it can be read.
#[derive(Debug, Default)]
pub struct History {
    /// What happened in the range, in the order in which it was noted.
    pub entries: Vec<Entry>,
    /// How many lines are not what was written. They have no time, so those of the range and of others count.
    pub damaged: usize,
    /// What could not be looked at.
    pub unread: Vec<StoreError>,
}

impl History {
    /// Returns the deaths by their numbers. Of two that have the same one, the later counts.
    pub fn incidents(&self) -> Vec<&Incident> {
        let died = self.entries.iter().filter_map(|entry| match &entry.what {
            Happening::Died(incident) => Some((incident.number, &**incident)),
            _ => None,
        });
        died.collect::<BTreeMap<u64, &Incident>>().into_values().collect()
    }

    /// Returns the death with this number.
    pub fn incident(&self, number: u64) -> Option<&Incident> {
        self.incidents().into_iter().find(|incident| incident.number == number)
    }

    fn read_file(&mut self, path: &Path, newest: bool, range: &Range) {
        if fs::metadata(path).and_then(|meta| meta.modified()).is_ok_and(|changed| range.is_after(changed)) {
            return;
        }
        let read = File::open(path)
            .and_then(|file| line::each(BufReader::new(file), |line| self.take(line, newest, range)));
        match read {
            Ok(()) => {}
            // The keeper has begun a new one since we looked, and this was the oldest.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => self.unread.push(StoreError::io("read", path, source)),
        }
    }

    fn take(&mut self, line: Line<'_>, newest: bool, range: &Range) {
        match line {
            Line::Whole(json) => match serde_json::from_slice::<Entry>(json) {
                Ok(entry) => self.entries.extend(range.contains(entry.at).then_some(entry)),
                Err(_) if serde_json::from_slice::<Beginning>(json).is_ok() => {}
                Err(_) => self.damaged += 1,
            },
            Line::Unfinished { .. } if newest => {}
            Line::Unfinished { .. } | Line::Damaged { .. } => self.damaged += 1,
        }
    }
}

/// Reads what happened in a range, from the state directory of a keeper. Where no keeper ever was, nothing happened.
pub fn read(state: &Path, range: &Range) -> History {
    let mut history = History::default();
    match files_in(&state.join(DIR)) {
        Ok(files) => {
            for (at, (_, path)) in files.iter().enumerate() {
                history.read_file(path, at + 1 == files.len(), range);
            }
        }
        Err(error) => history.unread.push(error),
    }
    history
}
