//! What is remembered of drills: the last one, and the last one that found nothing wrong. One small file in the
//! state directory, replaced as a whole, so that nobody needs the store's lock for it.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Generation, Snapshot};
use crate::store::StoreError;
use crate::store::files::{read_bounded, sync_dir, write_whole};

use super::Drill;

/// The name of the file.
const FILE: &str = "proven.json";

/// The largest file that is read, in bytes.
const BYTES_MAX: u64 = 64 * 1024;

/// How many bytes of a reason are kept.
const PROBLEM_BYTES_MAX: usize = 1000;

/// What one drill of a snapshot showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Which snapshot; `None` when it did not come so far.
    pub generation: Option<Generation>,
    /// When that was taken.
    pub taken_at: Option<Timestamp>,
    /// When the drill was held.
    pub held_at: Timestamp,
    /// How much came back, in percent rounded down.
    pub score: usize,
    /// How many fields were compared.
    pub fields: usize,
    /// How many of them differed.
    pub differences: usize,
    /// What went wrong, in words; the first of it.
    pub problem: Option<String>,
    /// The version of tmux, as `tmux -V` has it without the leading word.
    pub tmux_version: String,
    /// The version of agent-keeper.
    pub keeper_version: String,
    /// Who wanted it.
    pub by: By,
}

/// Who wanted a drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// A person.
    Hand,
    /// The keeper.
    Schedule,
}

impl Proof {
    /// Returns what a drill of a snapshot showed, held just now.
    pub fn of(generation: Generation, snapshot: &Snapshot, drill: &Drill, by: By) -> Self {
        Self {
            generation: Some(generation),
            taken_at: Some(snapshot.taken_at),
            score: drill.comparison.score(),
            fields: drill.comparison.fields,
            differences: drill.comparison.differences.len(),
            problem: drill.problems().into_iter().next().map(cut),
            ..Self::failed(None, String::new(), drill.tmux_version.clone(), by)
        }
    }

    /// Returns that a drill could not be held just now, and why.
    pub fn failed(
        subject: Option<(Generation, &Snapshot)>,
        why: String,
        tmux_version: String,
        by: By,
    ) -> Self {
        Self {
            generation: subject.map(|(generation, _)| generation),
            taken_at: subject.map(|(_, snapshot)| snapshot.taken_at),
            held_at: Timestamp::now(),
            score: 0,
            fields: 0,
            differences: 0,
            problem: Some(cut(why)),
            tmux_version,
            keeper_version: env!("CARGO_PKG_VERSION").to_owned(),
            by,
        }
    }

    /// Returns whether all came back.
    pub fn perfect(&self) -> bool {
        self.score == 100 && self.problem.is_none()
    }

    /// Returns the snapshot and the result: `snapshot 42, 100 %`.
    pub fn in_words(&self) -> String {
        let subject = match self.generation {
            Some(generation) => format!("snapshot {generation}"),
            None => "no snapshot".to_owned(),
        };
        match &self.problem {
            Some(problem) if self.fields == 0 => format!("{subject}: {problem}"),
            Some(problem) => format!("{subject}, {} %: {problem}", self.score),
            None => format!("{subject}, {} %", self.score),
        }
    }
}

fn cut(mut text: String) -> String {
    if let Some(at) = (0..=PROBLEM_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)) {
        text.truncate(at);
    }
    text
}

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The last drill.
    pub last: Proof,
    /// The last one in which all came back.
    pub perfect: Option<Proof>,
}

impl Record {
    /// Reads what is remembered in a state directory. What cannot be read counts as nothing: it is proven anew.
    pub fn read(state: &Path) -> Option<Self> {
        serde_json::from_slice(&read_bounded(&path(state), BYTES_MAX).ok()?).ok()
    }

    /// Remembers a drill and returns all that is remembered now.
    pub fn add(state: &Path, proof: Proof) -> Result<Self, StoreError> {
        let earlier = Self::read(state).and_then(|record| record.perfect);
        let perfect = if proof.perfect() { Some(proof.clone()) } else { earlier };
        let record = Self { last: proof, perfect };
        // A structure of strings and numbers can always be written as JSON.
        let bytes = serde_json::to_vec_pretty(&record).unwrap_or_default();
        write_whole(&path(state), &bytes)?;
        sync_dir(state)?;
        Ok(record)
    }
}

fn path(state: &Path) -> PathBuf {
    state.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn proof(generation: Generation, score: usize) -> Proof {
        Proof {
            generation: Some(generation),
            score,
            fields: 100,
            problem: None,
            ..Proof::failed(None, String::new(), "3.5a".to_owned(), By::Hand)
        }
    }

    #[test]
    fn the_last_drill_and_the_last_good_one_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(dir.path()), None);
        let (good, bad) = (proof(1, 100), proof(2, 99));
        Record::add(dir.path(), bad.clone()).unwrap();
        assert_eq!(Record::read(dir.path()), Some(Record { last: bad.clone(), perfect: None }));
        Record::add(dir.path(), good.clone()).unwrap();
        let both = Record { last: good.clone(), perfect: Some(good.clone()) };
        assert_eq!(Record::read(dir.path()), Some(both));
        Record::add(dir.path(), bad.clone()).unwrap();
        assert_eq!(Record::read(dir.path()), Some(Record { last: bad, perfect: Some(good) }));
        let mode = std::fs::metadata(path(dir.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_record_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        for content in ["", "{}", "\0\0\0"] {
            std::fs::write(path(dir.path()), content).unwrap();
            assert_eq!(Record::read(dir.path()), None);
        }
        Record::add(dir.path(), proof(1, 100)).unwrap();
        assert!(Record::read(dir.path()).is_some_and(|record| record.last.perfect()));
    }

    #[test]
    fn a_drill_is_told_in_one_line() {
        assert_eq!(proof(42, 100).in_words(), "snapshot 42, 100 %");
        let lossy = Proof { problem: Some("text lost".to_owned()), ..proof(42, 97) };
        assert_eq!(lossy.in_words(), "snapshot 42, 97 %: text lost");
        assert!(!lossy.perfect());
        let none = Proof::failed(None, "no tmux".to_owned(), String::new(), By::Schedule);
        assert_eq!(none.in_words(), "no snapshot: no tmux");
    }
}
