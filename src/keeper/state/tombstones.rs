//! What its user closed. It stays closed, also while no snapshot says so yet.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::model::evidence::Fact;
use crate::model::incident::{Cause, Confidence, Deed, Incident, Subject, SubjectKind};
use crate::model::{Generation, PaneId, ServerId, Snapshot};
use crate::restore::remains::server_with;

/// How many panes are remembered to be closed; those closed longest ago are in no snapshot that matters.
const PANES_MAX: usize = 4096;

/// How many servers are.
const SERVERS_MAX: usize = 64;

/// The panes that were closed, in which life of a server.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    panes: HashSet<(ServerId, PaneId)>,
    order: VecDeque<(ServerId, PaneId)>,
    servers: VecDeque<ServerId>,
}

impl Tombstones {
    /// Takes note of a death if it was, for certain, a wish. A pane that stayed (`remain-on-exit`) was not closed.
    pub(super) fn consider(&mut self, incident: &Incident) {
        let holds = |wanted: fn(&Fact) -> bool| incident.evidence.iter().any(|one| wanted(&one.fact));
        let finding = &incident.verdict.finding;
        let wanted = matches!(finding.cause, Cause::ClosedByUser | Cause::UnitStopped)
            && incident.deed == Deed::Nothing
            && finding.confidence == Confidence::Certain;
        // A machine that goes down ends everything in an orderly way.
        let meant = holds(|fact| matches!(fact, Fact::KillCommand(_)))
            || holds(|fact| matches!(fact, Fact::NothingStopping));
        match incident.subject.kind {
            _ if !wanted || !meant => {}
            SubjectKind::Server => {
                self.servers.truncate(SERVERS_MAX - 1);
                self.servers.push_front(incident.subject.server.clone());
            }
            _ if holds(|fact| matches!(fact, Fact::Vanished)) => self.add(&incident.subject),
            _ => {}
        }
    }

    /// Takes note that something was closed.
    pub(super) fn add(&mut self, subject: &Subject) {
        for pane in &subject.panes {
            let closed = (subject.server.clone(), pane.id);
            if self.panes.insert(closed.clone()) {
                self.order.push_back(closed);
            }
        }
        while self.order.len() > PANES_MAX {
            self.order.pop_front().map(|oldest| self.panes.remove(&oldest));
        }
    }

    /// Returns whether a server was closed as a whole.
    pub(super) fn has_server(&self, server: &ServerId) -> bool {
        self.servers.contains(server)
    }

    /// Returns a state without what was closed in it since.
    pub(super) fn without(
        &self,
        (generation, saved): &(Generation, Arc<Snapshot>),
    ) -> (Generation, Arc<Snapshot>) {
        let server = &saved.server.id;
        let closed = |pane| self.panes.contains(&(server.clone(), pane));
        if !saved.server.panes().any(|(.., pane)| closed(pane.id)) {
            return (*generation, saved.clone());
        }
        let left = server_with(&saved.server, |pane| !closed(pane));
        (*generation, Arc::new(Snapshot { server: left, ..(**saved).clone() }))
    }
}
