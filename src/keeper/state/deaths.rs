//! Deaths: noticed here, looked into by a task, judged here, and written down.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::diagnosis::diagnose;
use crate::diagnosis::kills::attribute;
use crate::diagnosis::losses::{gone, newly_dead, whole};
use crate::diagnosis::relevance::{Whereabouts, relevant};
use crate::model::evidence::{End, EndWitness, Evidence, Fact, KillCommand, Sighting};
use crate::model::incident::{Deed, Incident, Subject, SubjectKind};
use crate::model::{Dead, Generation, PaneId, ServerId, Snapshot};
use crate::systemd::placement::Placement;
use crate::tmux::observe::Observation;

use super::super::action::Action;
use super::super::event::{Ending, Inquiry};
use super::{Phase, State};

/// How long after a death is noticed it is looked into. Whoever knows more tells it within this time, and what ends
/// together is seen to.
const INQUIRE_AFTER: Duration = Duration::from_secs(2);

/// How many deaths wait at most. Somebody who closes more within two seconds hears of the others only how many there
/// were.
const WAITING_MAX: usize = 2000;

/// How long what was seen may explain an end that is told now.
const RECENT: Duration = Duration::from_secs(15);

/// How many servers are remembered as ended: one that ends is usually the last, or the last that was saved.
const ENDED_MAX: usize = 64;

/// How many sightings are remembered; one that is about a death came shortly before or after it.
const SIGHTINGS_MAX: usize = 1024;

/// Something died, and why is not known yet.
#[derive(Debug, Clone)]
pub struct Death {
    /// What.
    pub subject: Subject,
    /// Where it lived.
    pub whereabouts: Whereabouts,
    /// What was seen at once.
    pub facts: Vec<Fact>,
    /// When it was noticed, on the state's clock.
    pub noticed: Duration,
    /// The last snapshot that showed it alive.
    pub last_seen_in: Option<Generation>,
    /// When that was taken.
    pub last_seen_at: Option<Timestamp>,
    /// That snapshot itself: what comes back comes from there.
    pub alive: Option<(Generation, Arc<Snapshot>)>,
}

/// What the state remembers of deaths.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    waiting: Vec<Death>,
    /// Deaths of which it is only known that there were some.
    overlooked: usize,
    inquiring: bool,
    /// The servers whose ends have been noted, the last ones.
    ended: VecDeque<ServerId>,
    /// With the times, on the state's clock, at which they came.
    sightings: VecDeque<(Duration, Sighting)>,
}

impl Deaths {
    pub(super) fn sighted(&mut self, now: Duration, sighting: Sighting) {
        if self.sightings.len() == SIGHTINGS_MAX {
            self.sightings.pop_front();
        }
        self.sightings.push_back((now, sighting));
    }

    /// Returns what was seen a moment ago.
    pub(super) fn recent(&self, now: Duration) -> Vec<Sighting> {
        let recent = self.sightings.iter().filter(|(came, _)| now <= *came + RECENT);
        recent.map(|(_, sighting)| sighting.clone()).collect()
    }

    /// Returns whether there are deaths, noticed by some time, of which it is not known yet why.
    pub(super) fn are_unjudged(&self, by: Duration) -> bool {
        self.inquiring || self.waiting.iter().any(|death| death.noticed <= by)
    }

    fn add(&mut self, death: Death) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push(death);
        } else {
            self.overlooked += 1;
        }
    }
}

impl State {
    /// Notes what a server that lives on has lost since it was looked at last.
    pub(super) fn note_losses(&mut self, now: Duration, before: &Observation, after: &Observation) {
        let generation = self.base().map(|(generation, _)| *generation);
        let subjects = gone(&before.server, &after.server);
        let kills = attribute(&subjects, &after.kills).into_iter().map(Option::<&KillCommand>::cloned);
        let kills: Vec<Option<KillCommand>> = kills.collect();
        for (subject, kill) in subjects.into_iter().zip(kills) {
            let whereabouts = whereabouts(before, &subject);
            let facts = [Fact::Vanished].into_iter().chain(kill.map(Fact::KillCommand)).collect();
            self.note(now, subject, whereabouts, facts, generation);
        }
        for (subject, pane) in newly_dead(&before.server, &after.server) {
            let whereabouts = whereabouts(before, &subject);
            let facts = pane.dead.map(ended).into_iter().collect();
            self.note(now, subject, whereabouts, facts, generation);
        }
    }

    /// Notes what of a saved state is gone now that its server is seen again for the first time.
    pub(super) fn note_losses_unseen(&mut self, now: Duration, after: &Observation) {
        let Some((generation, saved)) = self.latest.clone().filter(|(_, saved)| saved.closed.is_none())
        else {
            return;
        };
        if saved.server.id == after.server.id {
            for subject in gone(&saved.server, &after.server) {
                let facts = vec![Fact::Vanished, Fact::GoneUnseen];
                self.note(now, subject, Whereabouts::default(), facts, Some(generation));
            }
        }
    }

    /// Notes that a server has ended.
    pub(super) fn note_server_end(&mut self, now: Duration, ending: Ending) {
        let Some(live) = self.live.clone() else { return };
        let generation = self.base().map(|(generation, _)| *generation);
        let mut facts = vec![match ending {
            Ending::Orderly => Fact::Goodbye,
            Ending::Lost => Fact::Cut,
        }];
        let exit_empty = live.server.globals.server.get("exit-empty").is_some_and(|on| *on == "on".into());
        if live.server.sessions.is_empty() && exit_empty {
            facts.push(Fact::NoSessionLeft);
        }
        let subject = whole(&live.server);
        let whereabouts = whereabouts(&live, &subject);
        // What went with it needs no explanation of its own.
        let server = &live.server.id;
        self.deaths.waiting.retain(|death| death.subject.server != *server);
        self.note(now, subject, whereabouts, facts, generation);
    }

    /// Notes something of a server that is no end of it: that it cannot be reached, that no further one is started.
    pub(super) fn note_unreachable(&mut self, now: Duration, subject: Subject, fact: Fact) {
        let (facts, last_seen_in, last_seen_at, alive) = (vec![fact], None, None, None);
        let whereabouts = Whereabouts::default();
        self.deaths.add(Death {
            subject,
            whereabouts,
            facts,
            noticed: now,
            last_seen_in,
            last_seen_at,
            alive,
        });
    }

    /// Notes that the server that was saved last has gone before anybody looked, now that there is another one.
    pub(super) fn note_server_gone(&mut self, now: Duration, living: &ServerId) {
        let gone = self.latest.clone();
        let gone = gone.filter(|(_, saved)| saved.closed.is_none() && saved.server.id != *living);
        let Some((generation, saved)) = gone else { return };
        let before = &saved.server.id.boot;
        let mut facts = vec![Fact::GoneUnseen];
        if *before != living.boot {
            facts.push(Fact::OtherBoot { before: before.clone() });
        }
        self.note(now, whole(&saved.server), Whereabouts::default(), facts, Some(generation));
    }

    fn note(
        &mut self,
        now: Duration,
        subject: Subject,
        whereabouts: Whereabouts,
        facts: Vec<Fact>,
        last_seen_in: Option<Generation>,
    ) {
        if subject.kind == SubjectKind::Server {
            // A look that began before the end and is told behind it shows the server once more.
            if self.deaths.ended.contains(&subject.server) {
                return;
            }
            self.deaths.ended.truncate(ENDED_MAX - 1);
            self.deaths.ended.push_front(subject.server.clone());
        }
        let last_seen_at = self.latest.as_ref().map(|(_, saved)| saved.taken_at);
        let last_seen_at = last_seen_at.filter(|_| last_seen_in.is_some());
        if facts.iter().any(|fact| matches!(fact, Fact::KillCommand(_))) {
            self.tombstones.add(&subject);
        }
        let alive = self.latest.clone().filter(|(latest, _)| Some(*latest) == last_seen_in);
        self.deaths.add(Death {
            subject,
            whereabouts,
            facts,
            noticed: now,
            last_seen_in,
            last_seen_at,
            alive,
        });
    }

    /// Has the deaths looked into that have waited long enough.
    pub(super) fn inquire(&mut self, now: Duration) -> Vec<Action> {
        if self.deaths.inquiring {
            return Vec::new();
        }
        let due = |death: &Death| now >= death.noticed + INQUIRE_AFTER;
        let (due, waiting) = std::mem::take(&mut self.deaths.waiting).into_iter().partition(due);
        self.deaths.waiting = waiting;
        let due: Vec<Death> = due;
        if due.is_empty() {
            return Vec::new();
        }
        self.deaths.inquiring = true;
        vec![Action::Inquire(due)]
    }

    /// Judges.
    pub(super) fn inquired(
        &mut self,
        now: Duration,
        inquiries: Vec<Inquiry>,
        found: Vec<Sighting>,
    ) -> Vec<Action> {
        self.deaths.inquiring = false;
        let seen = self.deaths.sightings.iter().map(|(_, sighting)| sighting.clone());
        let sightings: Vec<Sighting> = seen.chain(found).collect();
        let mut incidents = Vec::new();
        for inquiry in inquiries {
            let death = inquiry.death.clone();
            let mut incident = incident(inquiry, &sightings);
            self.conclude(now, &death, &mut incident);
            incidents.push(incident);
        }
        let record = vec![Action::Record(incidents)];
        // A server that ended was waiting for that.
        let ended = matches!(self.phase, Phase::Ended(_));
        if ended { [record, self.tick_phase(now)].concat() } else { record }
    }
}

fn incident(inquiry: Inquiry, sightings: &[Sighting]) -> Incident {
    let Inquiry { death, noticed, evidence, gaps } = inquiry;
    let mut all: Vec<Evidence> = death.facts.into_iter().map(Fact::undated).collect();
    all.extend(relevant(&death.whereabouts, noticed, sightings));
    for one in evidence {
        if !all.iter().any(|other| other.fact == one.fact) {
            all.push(one);
        }
    }
    let verdict = diagnose(&death.subject, &all);
    let first = all.iter().filter_map(|one| one.at).min();
    Incident {
        number: 0,
        at: first.unwrap_or(noticed).min(noticed),
        boot: death.subject.server.boot.clone(),
        subject: death.subject,
        evidence: all,
        gaps,
        verdict,
        last_seen_in: death.last_seen_in,
        deed: Deed::Nothing,
    }
}

fn ended(dead: Dead) -> Fact {
    let end = match dead {
        Dead::Exited(status) => End::Exited(status),
        Dead::Killed(signal) => End::Killed(signal),
    };
    Fact::Ended { end, witness: EndWitness::Tmux }
}

/// Returns where something lived when it was last looked at.
pub(super) fn whereabouts(seen: &Observation, subject: &Subject) -> Whereabouts {
    let server = subject.server.pid;
    let is_server = subject.kind == SubjectKind::Server;
    let pane = |id: &PaneId| seen.vitals.get(id).map(|vitals| vitals.pid).filter(|pid| *pid != 0);
    let pids: Vec<u32> = match is_server {
        true => vec![server],
        false => subject.panes.iter().filter_map(|lost| pane(&lost.id)).collect(),
    };
    let mut cgroups: Vec<String> = pids.iter().filter_map(|pid| seen.cgroups.get(pid).cloned()).collect();
    cgroups.sort_unstable();
    cgroups.dedup();
    let mut others: HashMap<u32, &String> = seen.cgroups.iter().map(|(pid, cgroup)| (*pid, cgroup)).collect();
    others.retain(|pid, _| !pids.contains(pid));
    let alone = !others.values().any(|cgroup| cgroups.contains(cgroup));
    let login = seen.cgroups.get(&server).and_then(|cgroup| Placement::of(cgroup).login().map(str::to_owned));
    Whereabouts { pids, cgroups, alone, login }
}
