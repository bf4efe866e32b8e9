//! Deaths: noticed here, looked into by a task, judged here, and written down.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::diagnosis::habitat::{Habitat, Whereabouts};
use crate::diagnosis::kills::attribute;
use crate::diagnosis::losses::{fleeting, gone, newly_dead, numbered, whole};
use crate::diagnosis::relevance::{end_of_panes, relevant};
use crate::diagnosis::{diagnose, explain};
use crate::model::evidence::{End, EndWitness, Evidence, Fact, KillCommand, Sighting};
use crate::model::incident::{Deed, Incident, Subject, SubjectKind};
use crate::model::{Dead, Generation, Pane, PaneId, Server, ServerId, Snapshot};
use crate::systemd::placement::Placement;
use crate::tmux::observe::{Client, Observation};

use super::super::action::Action;
use super::super::event::{Ending, Inquiry};
use super::children::Kills;
use super::{Phase, State};

/// How long after a death is noticed it is looked into. Whoever knows more tells it within this time, and what ends
/// together is seen to.
const INQUIRE_AFTER: Duration = Duration::from_secs(2);

/// How many deaths of their own wait at most. Of somebody who closes more within two seconds the others are one death
/// of many panes.
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
    /// All that died while too many were waiting, as one.
    others: Option<Death>,
    inquiring: bool,
    /// The servers whose ends have been noted, the last ones.
    ended: VecDeque<ServerId>,
    /// How many panes the living server has numbered so far. Not known of one that was there before the keeper, until it
    /// numbers another one: those with the greatest numbers may be closed.
    numbered: Option<(ServerId, u32)>,
    /// Whether there was no server at the last look.
    none: bool,
    /// Where the living server, or that which an earlier keeper watched, was seen to live.
    remembered: Habitat,
    /// The same of the server before that, whose death may have to be told yet.
    before: Habitat,
    /// Whether a restore was under way at the last look.
    restoring: bool,
    kills: Kills,
    /// With the times, on the state's clock, at which they came.
    sightings: VecDeque<(Duration, Sighting)>,
}

impl Death {
    /// Returns this as the first of many that are told as one.
    fn one_of_many(mut self) -> Self {
        self.subject.kind = SubjectKind::Pane;
        self.subject.panes.iter_mut().for_each(|pane| pane.program.clear());
        let ids = || self.subject.panes.iter().map(|pane| pane.id);
        if let (Some(first), Some(last)) = (ids().min(), ids().max()) {
            self.subject.place = explain::fleeting(first, last);
        }
        self
    }

    /// Adds another one; what was not seen of both was not seen.
    fn with(mut self, other: Death) -> Self {
        self.facts.retain(|fact| other.facts.contains(fact));
        self.subject.panes.extend(other.subject.panes);
        self.one_of_many()
    }
}

impl Deaths {
    /// Takes in where everything lives, or was seen to live by an earlier keeper.
    pub(super) fn remember(&mut self, habitat: Habitat) {
        let before = std::mem::replace(&mut self.remembered, habitat);
        if before.server != self.remembered.server {
            self.before = before;
        }
    }

    /// Returns where something lived that was not seen to end.
    fn whereabouts(&self, subject: &Subject) -> Whereabouts {
        let own = |habitat: &&Habitat| habitat.server == subject.server;
        [&self.remembered, &self.before]
            .into_iter()
            .find(own)
            .map_or_else(Whereabouts::default, |habitat| habitat.whereabouts(subject))
    }

    pub(super) fn sighted(&mut self, now: Duration, sighting: Sighting) {
        self.kills.sighted(now, &sighting, &self.remembered);
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

    /// Takes note that the keeper is about to make panes.
    pub(super) fn restore_begins(&mut self) {
        self.restoring = true;
    }

    /// Takes note that there is no server.
    pub(super) fn saw_none(&mut self) {
        self.none = true;
    }

    /// Takes note of a server that is seen for the first time. Of one that was not there before all is known.
    pub(super) fn saw_first(&mut self, server: &Server) {
        if std::mem::take(&mut self.none) {
            self.numbered = Some((server.id.clone(), numbered(server)));
        }
    }

    /// Returns whether what is new at this look may be the keeper's own doing.
    fn made_by_us(&mut self, restoring: bool) -> bool {
        restoring | std::mem::replace(&mut self.restoring, restoring)
    }

    /// Returns whether there are deaths, noticed by some time, of which it is not known yet why.
    pub(super) fn are_unjudged(&self, by: Duration) -> bool {
        self.inquiring || self.waiting.iter().any(|death| death.noticed <= by)
    }

    fn add(&mut self, death: Death) {
        if self.waiting.len() < WAITING_MAX || death.subject.kind == SubjectKind::Server {
            self.waiting.push(death);
            return;
        }
        match self.others.take().filter(|others| others.subject.server == death.subject.server) {
            Some(others) => self.others = Some(others.with(death)),
            None => self.others = Some(death.one_of_many()),
        }
    }
}

impl State {
    /// Notes what a server that lives on has lost since it was looked at last.
    pub(super) fn note_losses(&mut self, now: Duration, before: &Observation, after: &Observation) {
        let generation = self.base().map(|(generation, _)| *generation);
        let before_lived = Habitat::of(before);
        let subjects = gone(&before.server, &after.server);
        let kills = attribute(&subjects, &after.kills).into_iter().map(Option::<&KillCommand>::cloned);
        let kills: Vec<Option<KillCommand>> = kills.collect();
        for (subject, kill) in subjects.into_iter().zip(kills) {
            let whereabouts = before_lived.whereabouts(&subject);
            let facts = [Fact::Vanished].into_iter().chain(kill.map(Fact::KillCommand)).collect();
            self.note(now, subject, whereabouts, facts, generation);
        }
        for client in &after.cut_off {
            self.note_cut_off(now, client, &after.server);
        }
        let made_by_us = self.deaths.made_by_us(self.restoring);
        self.note_fleeting(now, before, after, made_by_us);
        let dead = &dead_panes(after) - &dead_panes(before);
        for (subject, pane) in newly_dead(&before.server, &after.server, &dead) {
            let lived = |(_, _, other): (_, _, &Pane)| other.id == pane.id;
            if made_by_us && !before.server.panes().any(lived) {
                continue; // It was dead in the snapshot, too.
            }
            let whereabouts = before_lived.whereabouts(&subject);
            let facts = vec![pane.dead.map_or(Fact::EndUnknown, ended)];
            self.note(now, subject, whereabouts, facts, generation);
        }
    }

    /// Notes that a terminal was closed under a client.
    fn note_cut_off(&mut self, now: Duration, client: &Client, server: &Server) {
        let session = server.sessions.iter().find(|session| session.id == client.session);
        let session = session.map_or_else(String::new, |session| session.name.clone());
        let terminal = client.terminal.clone();
        let subject = Subject {
            kind: SubjectKind::Client,
            server: server.id.clone(),
            place: terminal.clone(),
            panes: Vec::new(),
        };
        let facts = vec![Fact::ClientLost { terminal, session }];
        self.note(now, subject, Whereabouts::default(), facts, None);
    }

    /// Has a later keeper know where everything lives.
    pub(super) fn remember(&mut self, seen: &Observation) -> Option<Action> {
        let habitat = Habitat::of(seen);
        if habitat == self.deaths.remembered {
            return None;
        }
        self.deaths.remember(habitat.clone());
        Some(Action::Remember(habitat))
    }

    /// Notes the panes that came and went since the look before.
    fn note_fleeting(&mut self, now: Duration, before: &Observation, after: &Observation, made_by_us: bool) {
        let server = &after.server;
        let (was, is) = (numbered(&before.server), numbered(server));
        let known =
            self.deaths.numbered.take().filter(|(id, _)| *id == server.id).map(|(_, known)| known.max(was));
        let known_now = known.map(|known| known.max(is)).or((is > was).then_some(is));
        self.deaths.numbered = known_now.map(|known| (server.id.clone(), known));
        let found = known.and_then(|known| fleeting(known, server)).filter(|_| !made_by_us);
        if let Some((first, last, panes)) = found {
            let subject = Subject {
                kind: SubjectKind::Pane,
                server: server.id.clone(),
                place: explain::fleeting(first, last),
                panes: Vec::new(),
            };
            self.note(
                now,
                subject,
                Whereabouts::default(),
                vec![Fact::Fleeting { first, last, panes }],
                None,
            );
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
                let whereabouts = self.deaths.whereabouts(&subject);
                self.note(now, subject, whereabouts, facts, Some(generation));
            }
            let saved = &saved.server;
            let dead = dead_panes(after);
            // tmux does not always know how a pane ended, and then a snapshot does not show that it did.
            let lived =
                |pane: &Pane| pane.dead.is_none() && self.deaths.remembered.had_living(saved, pane.id);
            let lived = saved.panes().filter(|(_, _, pane)| lived(pane)).map(|(_, _, pane)| pane.id);
            let dead = lived.filter(|pane| dead.contains(pane)).collect();
            for (subject, pane) in newly_dead(saved, &after.server, &dead) {
                let facts = vec![pane.dead.map_or(Fact::EndUnknown, ended), Fact::GoneUnseen];
                let whereabouts = self.deaths.whereabouts(&subject);
                self.note(now, subject, whereabouts, facts, Some(generation));
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
        match live.server.globals.server.get("exit-empty") {
            Some(value) if *value == "off".into() => facts.push(Fact::ExitEmptyOff),
            Some(_) if live.server.sessions.is_empty() => facts.push(Fact::NoSessionLeft),
            _ => {}
        }
        let subject = whole(&live.server);
        let whereabouts = Habitat::of(&live).whereabouts(&subject);
        // What went with it needs no explanation of its own.
        let server = &live.server.id;
        self.deaths.waiting.retain(|death| death.subject.server != *server);
        self.deaths.others.take_if(|death| death.subject.server == *server);
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
        let subject = whole(&saved.server);
        let whereabouts = self.deaths.whereabouts(&subject);
        self.note(now, subject, whereabouts, facts, Some(generation));
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
        // What came and went between two snapshots is in none.
        let shown = |saved: &Snapshot| {
            let panes = &subject.panes;
            panes.is_empty()
                || saved.server.panes().any(|(.., pane)| panes.iter().any(|lost| lost.id == pane.id))
        };
        let last_seen_in =
            last_seen_in.filter(|_| self.latest.as_ref().is_some_and(|(_, saved)| shown(saved)));
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
        self.note_children(now);
        let due = |death: &Death| now >= death.noticed + INQUIRE_AFTER;
        let (due_now, waiting) = std::mem::take(&mut self.deaths.waiting).into_iter().partition(due);
        self.deaths.waiting = waiting;
        let mut due_now: Vec<Death> = due_now;
        due_now.extend(self.deaths.others.take_if(|others| due(others)));
        let due = due_now;
        if due.is_empty() {
            return Vec::new();
        }
        self.deaths.inquiring = true;
        vec![Action::Inquire(due)]
    }

    /// Notes the processes that were killed in what lives on.
    fn note_children(&mut self, now: Duration) {
        let Some(live) = self.live.clone().filter(|_| self.deaths.waiting.is_empty()) else { return };
        let generation = self.base().map(|(generation, _)| *generation);
        for (at, subject, whereabouts) in
            self.deaths.kills.unclaimed(now, &live.server, &self.deaths.remembered)
        {
            self.note(at, subject, whereabouts, Vec::new(), generation);
        }
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
        self.deaths.kills.claimed(&incidents);
        let record = vec![Action::Record(incidents)];
        // A server that ended was waiting for that.
        let ended = matches!(self.phase, Phase::Ended(_));
        if ended { [record, self.tick_phase(now)].concat() } else { record }
    }

    /// Lets everybody know. That a death could not be written down is no reason to keep it quiet.
    pub(super) fn recorded(
        &mut self,
        now: Duration,
        incidents: Vec<Incident>,
        result: Result<(), String>,
    ) -> Vec<Action> {
        self.greet.recorded(now, &incidents);
        self.record_problem = result.err().map(|why| format!("deaths cannot be written down: {why}"));
        if incidents.is_empty() { Vec::new() } else { vec![Action::Tell(incidents)] }
    }
}

fn incident(inquiry: Inquiry, sightings: &[Sighting]) -> Incident {
    let Inquiry { death, noticed, evidence, gaps, memory_watched } = inquiry;
    let mut all: Vec<Evidence> = death.facts.into_iter().map(Fact::undated).collect();
    let alive = death.last_seen_at.filter(|_| all.iter().any(|one| one.fact == Fact::GoneUnseen));
    all.extend(relevant(&death.whereabouts, alive, noticed, sightings));
    for one in evidence {
        if !all.iter().any(|other| other.fact == one.fact) {
            all.push(one);
        }
    }
    let has = |fact: &Fact| all.iter().any(|one| one.fact == *fact);
    if has(&Fact::Goodbye) && !has(&Fact::NoSessionLeft) {
        let emptied = !has(&Fact::ExitEmptyOff);
        let panes = end_of_panes(&death.whereabouts, emptied, noticed, sightings);
        all.extend(panes.map(Fact::undated));
    }
    let killed = all.iter().any(|one| matches!(one.fact, Fact::OomKill { .. }));
    if let Some(cgroup) = death.whereabouts.cgroups.first().filter(|_| memory_watched && !killed) {
        all.push(
            Fact::NoOomKill { unit: Placement::of(cgroup).unit().unwrap_or(cgroup).to_owned() }.undated(),
        );
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

fn dead_panes(seen: &Observation) -> HashSet<PaneId> {
    seen.vitals.iter().filter(|(_, vitals)| vitals.dead).map(|(pane, _)| *pane).collect()
}

fn ended(dead: Dead) -> Fact {
    let end = match dead {
        Dead::Exited(status) => End::Exited(status),
        Dead::Killed(signal) => End::Killed(signal),
    };
    Fact::Ended { end, witness: EndWitness::Tmux }
}
