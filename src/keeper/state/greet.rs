//! What the first person who attaches after a restore that nobody asked for is told. Once.

use std::collections::HashSet;
use std::time::Duration;

use crate::model::ServerId;
use crate::model::incident::{Cause, Incident, SubjectKind};
use crate::restore::execute::{Outcome, Report};
use crate::tmux::observe::Observation;

use super::super::action::Action;
use super::super::event::Greeting;
use super::State;

/// How long the verdict on what was lost is waited for; whoever attaches sooner is told this late.
const VERDICT_MAX: Duration = Duration::from_secs(10);

/// How long before a restore ended the end of a server may have been recorded to be what it was for. A server that
/// keeps ending is started again within a minute.
const BEFORE_MAX: Duration = Duration::from_secs(90);

/// The pause between two tries: those who are attached may be programs (control mode), and a person may come.
const RETRY: Duration = Duration::from_secs(5);

/// What is remembered for that.
#[derive(Debug, Default)]
pub(super) struct Greet {
    due: Option<Due>,
    /// The end of a server that was written down last, and when.
    end: Option<(Duration, Box<Incident>)>,
    /// Whether somebody is being told.
    under_way: bool,
}

/// A restore that nobody has been told of.
#[derive(Debug)]
struct Due {
    /// When it ended.
    since: Duration,
    /// Into which server.
    server: ServerId,
    /// How many sessions came back.
    sessions: usize,
    complete: bool,
    /// When it was tried last.
    tried: Option<Duration>,
}

impl Greet {
    /// Notes the end of a server among what was written down.
    pub(super) fn recorded(&mut self, now: Duration, incidents: &[Incident]) {
        let end = |one: &&Incident| one.subject.kind == SubjectKind::Server && !lives(one);
        let end = incidents.iter().rfind(end);
        if let Some(end) = end {
            self.end = Some((now, Box::new(end.clone())));
        }
    }

    /// Notes a restore that nobody asked for.
    pub(super) fn restored(&mut self, now: Duration, server: &ServerId, report: &Report) {
        let back = report.sessions.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Failed(_)));
        let sessions = back.map(|(name, _)| name).collect::<HashSet<_>>().len();
        if sessions > 0 {
            let (server, complete) = (server.clone(), report.complete());
            self.due = Some(Due { since: now, server, sessions, complete, tried: None });
        }
    }

    /// Takes in whether somebody was told.
    pub(super) fn greeted(&mut self, somebody: bool) {
        self.under_way = false;
        if somebody {
            self.due = None;
        }
    }
}

/// Returns whether the server lives of which something is told, or another one is meant than the last.
fn lives(incident: &Incident) -> bool {
    matches!(incident.verdict.finding.cause, Cause::SocketLost | Cause::Upgraded | Cause::StartLimitHit)
}

impl State {
    /// Has the first person told who is attached, if there is something to tell.
    pub(super) fn greet(&mut self, now: Duration, seen: &Observation) -> Vec<Action> {
        let greet = &mut self.greet;
        let attached = seen.attached.values().any(|clients| *clients > 0);
        let Some(due) = greet.due.as_mut().filter(|due| attached && due.server == seen.server.id) else {
            return Vec::new();
        };
        let end = greet.end.as_ref().filter(|(at, _)| *at + BEFORE_MAX >= due.since);
        let early = end.is_none() && now < due.since + VERDICT_MAX;
        if greet.under_way || early || due.tried.is_some_and(|tried| now < tried + RETRY) {
            return Vec::new();
        }
        due.tried = Some(now);
        greet.under_way = true;
        let death = end.map(|(_, incident)| incident.clone());
        vec![Action::Greet(Greeting { death, sessions: due.sessions, complete: due.complete })]
    }
}
