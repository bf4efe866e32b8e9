//! Looks into deaths: asks those who are not watched all the time.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use nix::unistd::{Uid, User};
use tokio::time::timeout;
use tracing::{debug, info};

use crate::diagnosis::explain;
use crate::logind::Logind;
use crate::model::entry::Happening;
use crate::model::evidence::{Evidence, Fact, ShutdownWitness};
use crate::model::incident::{Incident, SubjectKind};
use crate::systemd::Manager;

use super::event::Inquiry;
use super::state::Death;
use super::worker::{Worker, blocking};

/// How long the managers may take to say whether they are stopping.
const ASK_MAX: Duration = Duration::from_secs(3);

/// What the user's manager and the machine are about to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct GoingDown {
    /// Whether the user's manager is stopping; `None` when it cannot be asked.
    manager: Option<bool>,
    /// Whether a shutdown has begun; `None` when there is no logind.
    machine: Option<bool>,
}

impl GoingDown {
    /// Asks both. Where nobody can be asked nothing is known of a shutdown.
    pub(super) async fn ask() -> Self {
        let manager = async {
            let bus = crate::systemd::user_bus().await.ok()?;
            Manager::connect(&bus).await.ok()?.is_stopping().await.ok()
        };
        let machine = async {
            let bus = zbus::Connection::system().await.ok()?;
            Logind::connect(&bus).await.ok()?.is_shutting_down().await.ok()
        };
        let both = async { tokio::join!(manager, machine) };
        let (manager, machine) = timeout(ASK_MAX, both).await.unwrap_or_default();
        Self { manager, machine }
    }

    /// Returns whether one of them is.
    pub(super) fn is_so(self) -> bool {
        self.manager == Some(true) || self.machine == Some(true)
    }

    fn facts(self) -> Vec<Fact> {
        let mut facts = Vec::new();
        if self.machine == Some(true) {
            facts.push(Fact::Shutdown { witness: ShutdownWitness::Logind });
        }
        if self.manager == Some(true) {
            facts.push(Fact::ManagerStopping);
        }
        if (self.manager, self.machine) == (Some(false), Some(false)) {
            facts.push(Fact::NothingStopping);
        }
        facts
    }
}

impl Worker {
    /// Finds out what can be found out about deaths. `started` is when the state's clock was 0.
    pub(super) async fn inquire(&self, started: Instant, deaths: Vec<Death>) -> Vec<Inquiry> {
        let going_down = GoingDown::ask().await.facts();
        let mut inquiries = Vec::new();
        for death in deaths {
            let ago = started.elapsed().saturating_sub(death.noticed);
            let noticed = Timestamp::now() - SignedDuration::try_from(ago).unwrap_or(SignedDuration::ZERO);
            let mut evidence: Vec<Evidence> = Vec::new();
            if !death.facts.contains(&Fact::GoneUnseen) {
                evidence.extend(going_down.iter().cloned().map(Fact::undated));
            }
            if let Some(session) = &death.whereabouts.login
                && death.subject.kind == SubjectKind::Server
                && is_killed_at_logout(session).await
            {
                evidence.push(Fact::LoginEnded { session: session.clone() }.undated());
            }
            inquiries.push(Inquiry { death, noticed, evidence, gaps: Vec::new() });
        }
        inquiries
    }

    /// Writes deaths down, and says so in the journal.
    pub(super) async fn record(self: Arc<Self>, incidents: Vec<Incident>) -> Result<(), String> {
        for incident in &incidents {
            info!(cause = incident.verdict.finding.cause.word(), "{}", explain::sentence(incident));
        }
        blocking(move || self.history.lock().unwrap_or_else(PoisonError::into_inner).record(incidents)).await
    }

    /// Writes down that something else happened. That this fails takes nothing away but the line.
    pub(super) async fn note(self: Arc<Self>, what: Happening) {
        let noted =
            blocking(move || self.history.lock().unwrap_or_else(PoisonError::into_inner).note(what)).await;
        if let Err(why) = noted {
            debug!("the history has a line less: {why}");
        }
    }
}

/// Returns whether logind has ended a session of ours, or is about to, and all that was left in it. It says goodbye
/// with SIGTERM, and a server takes that for `kill-server`.
pub(super) async fn is_killed_at_logout(session: &str) -> bool {
    let ask = async {
        let user = User::from_uid(Uid::effective()).ok()??;
        let bus = zbus::Connection::system().await.ok()?;
        Logind::connect(&bus).await.ok()?.has_killed_session(session, &user.name).await.ok()
    };
    timeout(ASK_MAX, ask).await.ok().flatten().unwrap_or(false)
}
