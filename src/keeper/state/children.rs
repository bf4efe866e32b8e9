//! Processes that the kernel killed for want of memory in panes that go on: nothing that is watched dies of that, and
//! somebody's build has failed all the same.

use std::time::Duration;

use crate::diagnosis::habitat::{Habitat, Whereabouts};
use crate::diagnosis::losses::lost_pane_of;
use crate::model::Server;
use crate::model::evidence::{About, Fact, Sighting};
use crate::model::incident::{Incident, Subject, SubjectKind};

/// How long the death of a pane that such a kill explains may take to be told: a look, and the wait before it is looked
/// into.
const CLAIM_MAX: Duration = Duration::from_secs(6);

/// How many kills are waited for.
const KILLS_MAX: usize = 64;

/// The kills of which it is not known yet what they ended.
#[derive(Debug, Default)]
pub(super) struct Kills {
    open: Vec<(Duration, Sighting)>,
}

impl Kills {
    /// Takes note of a kill where a server or a pane lives. Groups above those count it too.
    pub(super) fn sighted(&mut self, now: Duration, sighting: &Sighting, habitat: &Habitat) {
        let About::Unit(cgroup) = &sighting.about else { return };
        let (panes, with_server) = habitat.dwellers(cgroup);
        let counted = matches!(sighting.fact, Fact::OomKill { .. }) && self.open.len() < KILLS_MAX;
        if counted && (with_server || !panes.is_empty()) {
            self.open.push((now, sighting.clone()));
        }
    }

    /// Forgets the kills that explain a death.
    pub(super) fn claimed(&mut self, incidents: &[Incident]) {
        let explains = |sighting: &Sighting| {
            let About::Unit(cgroup) = &sighting.about else { return false };
            let same = |fact: &Fact| matches!(fact, Fact::OomKill { unit, .. } if unit == cgroup);
            incidents.iter().flat_map(|incident| &incident.evidence).any(|one| same(&one.fact))
        };
        self.open.retain(|(_, sighting)| !explains(sighting));
    }

    /// Returns the kills that nothing has died of, each with what it was in.
    pub(super) fn unclaimed(
        &mut self,
        now: Duration,
        server: &Server,
        habitat: &Habitat,
    ) -> Vec<(Duration, Subject, Whereabouts)> {
        let (due, open) =
            std::mem::take(&mut self.open).into_iter().partition(|(at, _)| now >= *at + CLAIM_MAX);
        self.open = open;
        let due: Vec<(Duration, Sighting)> = due;
        due.into_iter().filter_map(|(at, sighting)| child(at, &sighting, server, habitat)).collect()
    }
}

fn child(
    at: Duration,
    sighting: &Sighting,
    server: &Server,
    habitat: &Habitat,
) -> Option<(Duration, Subject, Whereabouts)> {
    let About::Unit(cgroup) = &sighting.about else { return None };
    let (panes, with_server) = habitat.dwellers(cgroup);
    let only = panes.first().filter(|_| panes.len() == 1 && !with_server);
    let panes: Vec<_> = only.and_then(|pane| lost_pane_of(server, *pane)).into_iter().collect();
    // In a unit with others it is not known whose child it was.
    let place = panes.first().map_or_else(|| server.socket.to_string(), |pane| pane.place.clone());
    let whereabouts = Whereabouts { cgroups: vec![cgroup.clone()], ..Whereabouts::default() };
    Some((at, Subject { kind: SubjectKind::Child, server: server.id.clone(), place, panes }, whereabouts))
}
