//! Where a server and its panes live: their processes and control groups. It is kept on disk, so that a keeper that
//! comes later knows whom the journal's words are about.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::evidence::{Fact, Victim};
use crate::model::incident::{Subject, SubjectKind};
use crate::model::{PaneId, Server, ServerId};
use crate::systemd::placement::Placement;
use crate::tmux::observe::Observation;

/// The processes of a server and of its panes, and their control groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Habitat {
    /// The server.
    pub server: ServerId,
    /// When it started, to the second.
    #[serde(default)]
    pub began: Option<Timestamp>,
    /// The panes' own processes; those without one, or with one that has ended, are left out.
    pub panes: BTreeMap<PaneId, u32>,
    /// The control groups of all of them, by process id.
    pub cgroups: BTreeMap<u32, String>,
}

/// Where something lived, which tells what is about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Whether it was a server.
    pub is_server: bool,
    /// When the server started, to the second: what happened before, to units or processes of the same names, happened to
    /// others.
    pub began: Option<Timestamp>,
    /// Its processes.
    pub pids: Vec<u32>,
    /// The processes of the panes that ended with it; only of a server.
    pub inmates: Vec<u32>,
    /// The control groups of its processes, by their paths.
    pub cgroups: Vec<String>,
    /// Whether nothing else lived in those.
    pub alone: bool,
    /// The logind session it lived in, if it did in one.
    pub login: Option<String>,
}

impl Habitat {
    /// Returns where a server lives that was looked at.
    pub fn of(seen: &Observation) -> Self {
        let processes = seen.vitals.iter().filter(|(_, vitals)| vitals.pid != 0 && !vitals.dead);
        Self {
            server: seen.server.id.clone(),
            began: seen.began,
            panes: processes.map(|(pane, vitals)| (*pane, vitals.pid)).collect(),
            cgroups: seen.cgroups.iter().map(|(pid, cgroup)| (*pid, cgroup.clone())).collect(),
        }
    }

    /// Returns where the server, or a part of it, lived; of another server nothing is known.
    pub fn whereabouts(&self, subject: &Subject) -> Whereabouts {
        if subject.server != self.server {
            return Whereabouts::default();
        }
        let pids: Vec<u32> = match subject.kind {
            SubjectKind::Server => vec![self.server.pid],
            _ => subject.panes.iter().filter_map(|lost| self.panes.get(&lost.id)).copied().collect(),
        };
        let inmates = match subject.kind {
            SubjectKind::Server => self.panes.values().copied().collect(),
            _ => Vec::new(),
        };
        let mut cgroups: Vec<String> = pids.iter().filter_map(|pid| self.cgroups.get(pid).cloned()).collect();
        cgroups.sort_unstable();
        cgroups.dedup();
        let mut others = self.cgroups.iter().filter(|(pid, _)| !pids.contains(pid));
        let alone = !others.any(|(_, cgroup)| cgroups.contains(cgroup));
        let login = self.cgroups.get(&self.server.pid);
        let login = login.and_then(|cgroup| Placement::of(cgroup).login().map(str::to_owned));
        let is_server = subject.kind == SubjectKind::Server;
        Whereabouts { is_server, began: self.began, pids, inmates, cgroups, alone, login }
    }

    /// Returns whether a pane's process lived when it was looked at last; of another server nothing is known.
    pub fn had_living(&self, server: &Server, pane: PaneId) -> bool {
        self.server != server.id || self.panes.contains_key(&pane)
    }

    /// Returns the panes whose processes live in a control group, and whether the server does.
    pub fn dwellers(&self, cgroup: &str) -> (Vec<PaneId>, bool) {
        let lives = |pid: &u32| self.cgroups.get(pid).is_some_and(|other| other == cgroup);
        let panes = self.panes.iter().filter(|(_, pid)| lives(pid)).map(|(pane, _)| *pane).collect();
        (panes, lives(&self.server.pid))
    }
}

impl Whereabouts {
    /// Returns a fact as this death sees it: what a victim of the kernel's was to it.
    pub fn name_victim(&self, fact: Fact) -> Fact {
        match fact {
            Fact::OomVictim { comm, pid, rss_bytes, limit, .. } => {
                let victim = match pid {
                    // Those of a server are the server alone.
                    pid if self.pids.contains(&pid) && self.is_server => Victim::Server,
                    pid if self.pids.contains(&pid) || self.inmates.contains(&pid) => Victim::Program,
                    _ => Victim::Child,
                };
                Fact::OomVictim { victim, comm, pid, rss_bytes, limit }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_victim_is_named_by_its_number() {
        let fact = |victim, pid| Fact::OomVictim { victim, comm: "x".into(), pid, rss_bytes: 1, limit: None };
        let server =
            Whereabouts { is_server: true, pids: vec![7], inmates: vec![8, 9], ..Whereabouts::default() };
        let pane = Whereabouts { pids: vec![8], ..Whereabouts::default() };
        for (pid, of_server, of_pane) in [
            (7, Victim::Server, Victim::Child),
            (8, Victim::Program, Victim::Program),
            (10, Victim::Child, Victim::Child),
        ] {
            assert_eq!(server.name_victim(fact(Victim::Child, pid)), fact(of_server, pid));
            assert_eq!(pane.name_victim(fact(Victim::Child, pid)), fact(of_pane, pid));
        }
        assert_eq!(server.name_victim(Fact::Goodbye), Fact::Goodbye);
    }
}
