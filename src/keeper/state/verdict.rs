//! What a verdict leads to. Here, and nowhere else, it is decided what comes back.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::diagnosis::diagnose;
use crate::diagnosis::habitat::Habitat;
use crate::diagnosis::losses::whole;
use crate::diagnosis::relevance::relevant;
use crate::model::evidence::{Evidence, Fact};
use crate::model::incident::{Cause, Confidence, Deed, Incident, LostPane, Subject, SubjectKind};
use crate::model::{PaneId, ServerId};
use crate::restore::hog::hog;
use crate::restore::limit::back_off;
use crate::restore::manner::Manner;
use crate::restore::policy;

use super::super::event::Ending;
use super::State;
use super::deaths::Death;
use super::returns::Return;

/// How many servers' ends are remembered with what is done about them.
const ENDS_MAX: usize = 64;

/// What is done about the end of a server.
#[derive(Debug, Clone)]
pub(super) struct Fate {
    server: ServerId,
    cause: Cause,
    /// The pane that took the memory, and whether it did so not long ago as well.
    hog: Option<(PaneId, bool)>,
    /// Whether nothing of it starts without being asked.
    asks: bool,
}

/// What the keeper knows of before it started.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// The time of day when the state's clock was 0.
    pub began: Timestamp,
    /// What died, the oldest first.
    pub incidents: Vec<Incident>,
    /// Where everything lived at last.
    pub habitat: Habitat,
}

/// What is done, and what was done not long ago.
#[derive(Debug, Default)]
pub(super) struct Fates {
    ends: VecDeque<Fate>,
    /// The time of day when the state's clock was 0.
    began: Option<Timestamp>,
}

impl Fates {
    fn of(&self, server: &ServerId) -> Option<&Fate> {
        self.ends.iter().find(|fate| fate.server == *server)
    }

    fn remember(&mut self, fate: Fate) {
        self.ends.truncate(ENDS_MAX - 1);
        self.ends.push_front(fate);
    }
}

impl State {
    /// Takes in what an earlier keeper wrote down: what was closed stays closed, and what was started counts.
    #[must_use]
    pub fn after(mut self, past: Past) -> Self {
        self.fates.began = Some(past.began);
        self.deaths.remember(past.habitat);
        for incident in &past.incidents {
            self.tombstones.consider(incident);
            let age = Duration::try_from(past.began.duration_since(incident.at)).unwrap_or_default();
            let left = self.policy.restart.limit.interval.saturating_sub(age);
            for pane in incident.subject.panes.iter().filter(|_| !left.is_zero()) {
                match incident.deed {
                    Deed::Restart => self.starts.note(left, &key("start", pane)),
                    Deed::RestorePaced if is_hunger(incident.verdict.finding.cause) => {
                        self.starts.note(left, &key("memory", pane));
                    }
                    _ => {}
                }
            }
        }
        self
    }

    // ── servers ──

    /// Returns whether the living server, which has ended, comes back. What is not known to be a wish is lost.
    pub(super) fn comes_back(&mut self, now: Duration, ending: Ending) -> bool {
        let Some(live) = self.live.clone() else { return true };
        if self.fates.of(&live.server.id).is_none() {
            let (cause, evidence) = self.cause_at_once(now, ending);
            self.settle(now, &whole(&live.server), cause, &evidence);
        }
        self.fates.of(&live.server.id).is_none_or(|fate| policy::brings_back(fate.cause))
    }

    /// Returns whether it is worth waiting for what others know of the end of a server: who was killed for want of
    /// memory comes back in an order.
    pub(super) fn is_starved(&self, now: Duration, ending: Ending) -> bool {
        is_hunger(self.cause_at_once(now, ending).0)
    }

    /// Returns why a server ended, once that is known, or as well as it could be found out.
    pub(super) fn verdict_on(&self, server: &ServerId) -> Option<Cause> {
        self.fates.of(server).map(|fate| fate.cause)
    }

    /// Returns whether the end of the living server has been judged.
    pub(super) fn is_judged(&self) -> bool {
        self.live.as_ref().is_none_or(|live| self.fates.of(&live.server.id).is_some())
    }

    /// Returns why the living server ended, as far as that is known at once. Nothing was going down.
    fn cause_at_once(&self, now: Duration, ending: Ending) -> (Cause, Vec<Evidence>) {
        let Some(live) = &self.live else { return (Cause::Unknown, Vec::new()) };
        let subject = whole(&live.server);
        let recent = self.deaths.recent(now);
        let end = match ending {
            Ending::Orderly => Fact::Goodbye,
            Ending::Lost => Fact::Cut,
        };
        let mut evidence = vec![end.undated(), Fact::NothingStopping.undated()];
        if let Some(last) = recent.iter().map(|sighting| sighting.at).max() {
            evidence.extend(relevant(&Habitat::of(live).whereabouts(&subject), None, last, &recent));
        }
        (diagnose(&subject, &evidence).finding.cause, evidence)
    }

    fn settle(&mut self, now: Duration, subject: &Subject, cause: Cause, evidence: &[Evidence]) {
        let live = self.live.clone().filter(|live| live.server.id == subject.server);
        let hog = live.filter(|_| is_hunger(cause)).and_then(|live| hog(&live, evidence));
        let hog = hog.and_then(|hog| subject.panes.iter().find(|pane| pane.id == hog));
        let hog = hog.map(|pane| (pane.id, self.starves_again(now, pane)));
        let ours = self.live.as_ref().is_some_and(|live| live.server.id == subject.server);
        let doubted = ours && !policy::brings_back(cause) && self.ended_with_the_rest();
        let cause = if doubted { Cause::Unknown } else { cause };
        self.fates.remember(Fate { server: subject.server.clone(), cause, hog, asks: false });
    }

    /// Notes what a restore of everything is about to do, and returns how: what took the memory comes last.
    pub(super) fn manner_of(&mut self, now: Duration, server: &ServerId) -> Manner {
        let asks = self.is_long_ago(now);
        if self.fates.of(server).is_none() {
            // It was gone when the keeper came. What is not known to be a wish is lost.
            let server = server.clone();
            self.fates.remember(Fate { server, cause: Cause::Unknown, hog: None, asks });
        }
        let fate = self.fates.ends.iter_mut().find(|fate| fate.server == *server);
        let hog = fate.and_then(|fate| {
            fate.asks = asks;
            fate.hog
        });
        let again = hog.filter(|(_, again)| *again).map(|(pane, _)| pane);
        Manner {
            asks,
            last: hog.iter().map(|(pane, _)| *pane).collect(),
            asking: again.into_iter().collect(),
            ..Manner::unasked()
        }
    }

    /// Returns whether the state that a restore starts from was nobody's for a long time: then nothing of it starts
    /// without being asked.
    fn is_long_ago(&self, now: Duration) -> bool {
        let now = SignedDuration::try_from(now).ok();
        let now = self.fates.began.zip(now).and_then(|(began, now)| began.checked_add(now).ok());
        let age = now.zip(self.head.as_ref()).map(|(now, (_, head))| now.duration_since(head.taken_at));
        let age = age.and_then(|age| Duration::try_from(age).ok());
        age.zip(self.policy.still_yours).is_some_and(|(age, most)| age > most)
    }

    /// Takes a server's end for the wish that it was although no snapshot says so.
    pub(super) fn bury(&mut self, server: &ServerId) {
        self.closed = Some(server.clone());
        self.fates.remember(Fate {
            server: server.clone(),
            cause: Cause::ClosedByUser,
            hog: None,
            asks: false,
        });
    }

    // ── verdicts ──

    /// Decides what is done about a death that has been judged, and has it done.
    pub(super) fn conclude(&mut self, now: Duration, death: &Death, incident: &mut Incident) {
        incident.deed = match incident.subject.kind {
            SubjectKind::Server => self.conclude_server(now, incident),
            // Its pane, or its session, goes on.
            SubjectKind::Child | SubjectKind::Client => Deed::Nothing,
            _ => self.conclude_part(now, death, incident),
        };
        self.tombstones.consider(incident);
    }

    /// What has been done already is not undone because more came to be known.
    fn conclude_server(&mut self, now: Duration, incident: &Incident) -> Deed {
        let cause = incident.verdict.finding.cause;
        if matches!(cause, Cause::SocketLost | Cause::Upgraded | Cause::StartLimitHit) {
            return policy::deed(cause, SubjectKind::Server);
        }
        let server = &incident.subject.server;
        if self.fates.of(server).is_none() {
            self.settle(now, &incident.subject, cause, &incident.evidence);
        }
        let fate = self.fates.of(server);
        let (done, asks) = fate.map_or((cause, false), |fate| (fate.cause, fate.asks));
        let same = policy::brings_back(done) == policy::brings_back(cause);
        match self.allowed(policy::deed(if same { cause } else { done }, SubjectKind::Server)) {
            Deed::Restore | Deed::RestorePaced if asks => Deed::Ask,
            deed => deed,
        }
    }

    fn conclude_part(&mut self, now: Duration, death: &Death, incident: &mut Incident) -> Deed {
        let (cause, confidence) = (incident.verdict.finding.cause, incident.verdict.finding.confidence);
        match self.allowed(policy::deed(cause, incident.subject.kind)) {
            // More probably its user closed it.
            Deed::Restore | Deed::RestorePaced if confidence < Confidence::Likely => Deed::Keep,
            deed @ (Deed::Restore | Deed::RestorePaced) => self.bring_back(now, death, incident, deed),
            deed => match self.start_again(now, death, incident) {
                Some(Deed::Ask) => {
                    incident.verdict = diagnose(&incident.subject, &incident.evidence);
                    Deed::Ask
                }
                Some(again) => again,
                None => deed,
            },
        }
    }

    /// Has a lost part come back: as it was, or as text that waits for Enter if its memory ran out not long ago too.
    fn bring_back(&mut self, now: Duration, death: &Death, incident: &Incident, deed: Deed) -> Deed {
        let panes: Vec<PaneId> = incident.subject.panes.iter().map(|pane| pane.id).collect();
        let mut manner = Manner::unasked();
        let mut deed = deed;
        if is_hunger(incident.verdict.finding.cause) {
            manner.last.clone_from(&panes);
            for pane in &incident.subject.panes {
                if self.starves_again(now, pane) {
                    manner.asking.push(pane.id);
                    deed = Deed::Ask;
                }
            }
        }
        if self.will_return(now, death, panes, manner) { deed } else { Deed::Keep }
    }

    /// Has a program start again if the configuration wants that and it did not end too often; nothing if it is not
    /// about that.
    fn start_again(&mut self, now: Duration, death: &Death, incident: &mut Incident) -> Option<Deed> {
        let [pane] = &incident.subject.panes[..] else { return None };
        let (pane, cause) = (pane.clone(), incident.verdict.finding.cause);
        let restart = &self.policy.restart;
        if !restart.applies(&pane, cause, &incident.evidence) {
            return None;
        }
        let (limit, key) = (restart.limit, key("start", &pane));
        let starts = self.starts.count(now, &key);
        if !self.starts.start(now, &key, limit) {
            let fact = Fact::StartLimitHit { starts: limit.burst, within_secs: limit.interval.as_secs() };
            incident.evidence.push(fact.undated());
            return Some(Deed::Ask);
        }
        let due = now + back_off(self.policy.restart.delay, self.policy.restart.delay_max, starts);
        let manner = Manner { running: vec![pane.id], ..Manner::unasked() };
        self.will_return(due, death, vec![pane.id], manner).then_some(Deed::Restart)
    }

    fn will_return(&mut self, due: Duration, death: &Death, panes: Vec<PaneId>, manner: Manner) -> bool {
        let server = death.subject.server.clone();
        let Some(from) = self.returns.source(&server, death.alive.clone(), &panes) else { return false };
        self.returns.add(Return { due, server, from, panes, manner })
    }

    /// Returns whether what ran in a pane was killed for want of memory not long ago as well, and counts this time.
    fn starves_again(&mut self, now: Duration, pane: &LostPane) -> bool {
        let key = key("memory", pane);
        let again = self.starts.count(now, &key) > 0;
        self.starts.note(now + self.policy.restart.limit.interval, &key);
        again
    }

    /// Returns what is done where nothing comes back by itself.
    fn allowed(&self, deed: Deed) -> Deed {
        match deed {
            Deed::Restore | Deed::RestorePaced if !self.policy.restore => Deed::Ask,
            deed => deed,
        }
    }
}

fn is_hunger(cause: Cause) -> bool {
    matches!(cause, Cause::OomKill | Cause::OomdKill)
}

/// Returns by what a program is known again in another life of its pane.
fn key(what: &str, pane: &LostPane) -> String {
    format!("{what}\0{}\0{}", pane.place, pane.program)
}
