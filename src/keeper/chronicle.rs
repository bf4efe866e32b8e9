//! Writes what happens into the history. A death that was written down already is not written down again: a keeper that
//! was killed before it saved what came after finds the same server gone once more.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use jiff::Timestamp;

use crate::history::{Historian, Range, read};
use crate::model::entry::{Entry, Happening};
use crate::model::evidence::{Evidence, Fact, ShutdownWitness};
use crate::model::incident::{Cause, Incident, SubjectKind};
use crate::model::{BootId, ServerId};
use crate::store::StoreError;

/// The history, and what must not be in it twice.
#[derive(Debug)]
pub struct Chronicle {
    historian: Historian,
    boot: BootId,
    /// The servers whose ends are written down.
    ended: HashSet<ServerId>,
    /// The servers of which it is written down that they are there.
    found: HashSet<ServerId>,
    /// How earlier boots ended.
    ends: HashMap<BootId, Evidence>,
    /// The last deaths, until somebody takes them.
    recent: Vec<Incident>,
}

/// How many deaths of earlier keepers matter to this one.
const RECENT_MAX: usize = 500;

impl Chronicle {
    /// Opens the history in a state directory. The caller holds the store's lock.
    pub fn open(state: &Path, boot: BootId) -> Result<Self, StoreError> {
        let historian = Historian::open(state)?;
        let history = read(state, &Range::default());
        let incidents = history.incidents();
        let servers = incidents.iter().filter(|one| is_end_of_server(one));
        let ended = servers.map(|incident| incident.subject.server.clone()).collect();
        let found = history.entries.iter().filter_map(|entry| found(&entry.what).cloned()).collect();
        let recent = incidents[incidents.len().saturating_sub(RECENT_MAX)..].iter().copied().cloned();
        let recent = recent.collect();
        Ok(Self { historian, boot, ended, found, ends: ends(&history.entries), recent })
    }

    /// Returns the last deaths that earlier keepers wrote down, the oldest first.
    pub(super) fn take_recent(&mut self) -> Vec<Incident> {
        std::mem::take(&mut self.recent)
    }

    /// Returns how an earlier boot ended: in an orderly way, or under a keeper that did not come to its end. `None` when
    /// its keeper ended before.
    pub(super) fn end_of(&self, boot: &BootId) -> Option<Evidence> {
        self.ends.get(boot).cloned()
    }

    /// Writes deaths down, gives them their numbers, and returns those that were not written down before.
    pub(super) fn record(&mut self, incidents: Vec<Incident>) -> Result<Vec<Incident>, StoreError> {
        let mut number = self.historian.next_incident();
        let mut entries = Vec::new();
        let mut recorded = Vec::new();
        let mut ended = Vec::new();
        for mut incident in incidents {
            if is_end_of_server(&incident) {
                if self.ended.contains(&incident.subject.server) {
                    continue;
                }
                ended.push(incident.subject.server.clone());
            }
            incident.number = number;
            number += 1;
            entries.push(self.entry(Happening::Died(Box::new(incident.clone()))));
            recorded.push(incident);
        }
        self.historian.append(&entries)?;
        self.ended.extend(ended);
        Ok(recorded)
    }

    /// Notes something else that happened. A server that a keeper before us has found is no news.
    pub(super) fn note(&mut self, what: Happening) -> Result<(), StoreError> {
        if found(&what).is_some_and(|server| !self.found.insert(server.clone())) {
            return Ok(());
        }
        self.historian.append(&[self.entry(what)])
    }

    fn entry(&self, what: Happening) -> Entry {
        Entry { at: Timestamp::now(), boot: self.boot.clone(), what }
    }
}

/// Returns the server that was found.
fn found(what: &Happening) -> Option<&ServerId> {
    match what {
        Happening::ServerFound { server, .. } => Some(server),
        _ => None,
    }
}

/// Returns how boots ended, as far as that is noted.
fn ends(entries: &[Entry]) -> HashMap<BootId, Evidence> {
    let witness = ShutdownWitness::Keeper;
    let mut ends: HashMap<BootId, Evidence> = HashMap::new();
    for Entry { at, boot, what } in entries {
        let shuts_down = || ends.get(boot).is_some_and(|end| end.fact == Fact::Shutdown { witness });
        match what {
            Happening::ShutdownBegins => {
                ends.insert(boot.clone(), Fact::Shutdown { witness }.at(*at));
            }
            Happening::KeeperEnded if !shuts_down() => {
                ends.remove(boot);
            }
            Happening::KeeperStarted { .. } | Happening::ShutdownCancelled => {
                ends.insert(boot.clone(), Fact::NoShutdown { witness }.undated());
            }
            _ => {}
        }
    }
    ends
}

/// Returns whether a server is gone with it. One that cannot be reached lives.
fn is_end_of_server(incident: &Incident) -> bool {
    let cause = incident.verdict.finding.cause;
    let lives = matches!(cause, Cause::SocketLost | Cause::Upgraded | Cause::StartLimitHit);
    incident.subject.kind == SubjectKind::Server && !lives
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::incident::{Confidence, Deed, Finding, Subject, Verdict};

    fn death(kind: SubjectKind, pid: u32) -> Incident {
        let finding =
            Finding { cause: Cause::ServerKilled, confidence: Confidence::Certain, because: Vec::new() };
        Incident {
            number: 0,
            at: Timestamp::now(),
            boot: BootId::default(),
            subject: Subject {
                kind,
                server: ServerId { pid, ..ServerId::default() },
                place: "web".into(),
                panes: Vec::new(),
            },
            evidence: Vec::new(),
            gaps: Vec::new(),
            verdict: Verdict { finding, others: Vec::new() },
            last_seen_in: None,
            deed: Deed::Nothing,
        }
    }

    fn started() -> Happening {
        Happening::KeeperStarted { version: "1".into() }
    }

    #[test]
    fn how_a_boot_ended_is_noted() {
        let dir = tempfile::tempdir().unwrap();
        let boot = |name: &str| BootId(name.into());
        let note = |name: &str, what: &[Happening]| {
            let mut chronicle = Chronicle::open(dir.path(), boot(name)).unwrap();
            what.iter().for_each(|what| chronicle.note(what.clone()).unwrap());
        };
        note("one", &[Happening::ShutdownBegins, Happening::KeeperEnded]);
        note("two", &[Happening::ShutdownBegins, Happening::ShutdownCancelled]);
        note("three", &[started(), Happening::KeeperEnded]);
        note("four", &[started(), Happening::KeeperEnded, started()]);
        let chronicle = Chronicle::open(dir.path(), boot("six")).unwrap();
        let witness = ShutdownWitness::Keeper;
        let (down, cut) = (Some(Fact::Shutdown { witness }), Some(Fact::NoShutdown { witness }));
        let ends = ["one", "two", "three", "four", "five"]
            .map(|name| chronicle.end_of(&boot(name)).map(|end| end.fact));
        assert_eq!(ends, [down, cut.clone(), None, cut, None]);
    }

    #[test]
    fn a_server_is_found_once_whoever_sees_it() {
        let dir = tempfile::tempdir().unwrap();
        let found =
            |pid| Happening::ServerFound { server: ServerId { pid, ..ServerId::default() }, unit: None };
        for pids in [[1, 1], [1, 2]] {
            let mut chronicle = Chronicle::open(dir.path(), BootId::default()).unwrap();
            pids.iter().for_each(|pid| chronicle.note(found(*pid)).unwrap());
        }
        let entries = read(dir.path(), &Range::default()).entries;
        let told: Vec<Happening> = entries.into_iter().map(|entry| entry.what).collect();
        assert_eq!(told, [found(1), found(2)]);
    }

    #[test]
    fn a_server_ends_once_whoever_tells_it() {
        let dir = tempfile::tempdir().unwrap();
        let told = |dir: &Path| -> Vec<(u64, u32)> {
            let history = read(dir, &Range::default());
            history.incidents().iter().map(|one| (one.number, one.subject.server.pid)).collect()
        };
        let mut chronicle = Chronicle::open(dir.path(), BootId::default()).unwrap();
        chronicle.record(vec![death(SubjectKind::Server, 1), death(SubjectKind::Pane, 1)]).unwrap();
        chronicle.record(vec![death(SubjectKind::Server, 1), death(SubjectKind::Pane, 1)]).unwrap();
        assert_eq!(told(dir.path()), [(1, 1), (2, 1), (3, 1)]);
        let mut another = Chronicle::open(dir.path(), BootId::default()).unwrap();
        another.record(vec![death(SubjectKind::Server, 1), death(SubjectKind::Server, 2)]).unwrap();
        assert_eq!(told(dir.path()), [(1, 1), (2, 1), (3, 1), (4, 2)]);
    }
}
