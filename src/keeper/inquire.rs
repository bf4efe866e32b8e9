//! Looks into deaths: asks those who are not watched all the time.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use nix::unistd::{Uid, User};
use tokio::time::timeout;
use tracing::debug;

use crate::diagnosis::habitat::Habitat;
use crate::logind::{LINGER_DIR, Linger, Logind};
use crate::model::BootId;
use crate::model::entry::Happening;
use crate::model::evidence::{Evidence, Fact, Gap, ShutdownWitness, Sighting};
use crate::model::incident::{Incident, SubjectKind};
use crate::systemd::Manager;

use super::event::Inquiry;
use super::habitat;
use super::state::Death;
use super::worker::{Worker, blocking};

/// How long the managers may take to say whether they are stopping.
const ASK_MAX: Duration = Duration::from_secs(3);

/// How far back the journal is read for deaths that nobody watched.
const LOOK_BACK_MAX: SignedDuration = SignedDuration::from_hours(24 * 30);

/// How much of the journal is read around deaths.
const AROUND: SignedDuration = SignedDuration::from_secs(30);

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
    /// Finds out what can be found out about deaths, and what was seen around their time. `started` is when the
    /// state's clock was 0.
    pub(super) async fn inquire(
        &self,
        started: Instant,
        deaths: Vec<Death>,
    ) -> (Vec<Inquiry>, Vec<Sighting>) {
        debug!(deaths = deaths.len(), "looking into deaths");
        let now = Timestamp::now();
        let ago = |death: &Death| {
            SignedDuration::try_from(started.elapsed().saturating_sub(death.noticed)).unwrap_or_default()
        };
        let since = |death: &Death| match death.last_seen_at {
            Some(alive) if death.facts.contains(&Fact::GoneUnseen) => {
                now.duration_since(alive).min(LOOK_BACK_MAX)
            }
            _ => ago(death),
        };
        let oldest = deaths.iter().filter(|death| is_puzzling(death)).map(since).max();
        let (found, gaps) = self.read_journal(now, oldest).await;
        let going_down = GoingDown::ask().await.facts();
        let mut inquiries = Vec::new();
        for death in deaths {
            let noticed = now - ago(&death);
            let mut gaps = if is_puzzling(&death) { gaps.clone() } else { Vec::new() };
            let evidence = if death.facts.contains(&Fact::GoneUnseen) {
                self.look_back(&death, &mut gaps).await
            } else {
                let mut facts = going_down.clone();
                facts.extend(login_ended(&death).await);
                facts.into_iter().map(Fact::undated).collect()
            };
            let unseen = death.facts.contains(&Fact::GoneUnseen);
            let told = |cgroup: &String| self.memory.as_ref().is_some_and(|memory| memory.would_tell(cgroup));
            let memory_watched = !unseen && death.whereabouts.cgroups.iter().all(told);
            inquiries.push(Inquiry { death, noticed, evidence, gaps, memory_watched });
        }
        debug!(deaths = inquiries.len(), "looked into deaths");
        (inquiries, found)
    }

    /// Reads what the journal has of the time since the oldest of some deaths.
    async fn read_journal(
        &self,
        now: Timestamp,
        oldest: Option<SignedDuration>,
    ) -> (Vec<Sighting>, Vec<Gap>) {
        let Some(oldest) = oldest else { return Default::default() };
        let findings = self.journal.deaths(now - oldest - AROUND, now).await;
        (findings.sightings, findings.gaps)
    }

    /// Finds out what became of something while no keeper watched.
    async fn look_back(&self, death: &Death, gaps: &mut Vec<Gap>) -> Vec<Evidence> {
        let before = death.facts.iter().find_map(|fact| match fact {
            Fact::OtherBoot { before } => Some(before),
            _ => None,
        });
        match before {
            Some(boot) => self.look_back_at_boot(boot, death.last_seen_at.unwrap_or_default(), gaps).await,
            None if death.subject.kind == SubjectKind::Server => self.look_back_at_manager(death).await,
            None => Vec::new(),
        }
    }

    /// Finds out how an earlier boot ended.
    async fn look_back_at_boot(&self, boot: &BootId, alive: Timestamp, gaps: &mut Vec<Gap>) -> Vec<Evidence> {
        let noted = self.history.lock().unwrap_or_else(PoisonError::into_inner).end_of(boot);
        let told = match self.journal.end_of(boot, alive).await {
            Ok(sighting) => Some(sighting.fact.at(sighting.at)),
            Err(gap) => {
                gaps.push(gap);
                None
            }
        };
        noted.into_iter().chain(told).collect()
    }

    /// Finds out whether the user's manager is another one than that under which something was last seen.
    async fn look_back_at_manager(&self, death: &Death) -> Vec<Evidence> {
        let Some(seen) = death.last_seen_at else { return Vec::new() };
        let ask = async {
            let bus = zbus::Connection::system().await.ok()?;
            let uid = Uid::effective().as_raw();
            let began = crate::systemd::manager_began(&bus, uid).await?;
            let user = User::from_uid(Uid::effective()).ok()??;
            let logind = Logind::connect(&bus).await.ok()?;
            Some((began, logind.linger(uid, &user.name, Path::new(LINGER_DIR)).await.ok()))
        };
        let Some((began, linger)) =
            timeout(ASK_MAX, ask).await.ok().flatten().filter(|(began, _)| *began > seen)
        else {
            return Vec::new();
        };
        let lingers = (linger == Some(Linger::Off)).then(|| Fact::NotLingering.undated());
        [Fact::ManagerRestarted.at(began)].into_iter().chain(lingers).collect()
    }

    /// Writes deaths down, and returns them with their numbers; or, where that fails, as they were, and why.
    pub(super) async fn record(
        self: Arc<Self>,
        incidents: Vec<Incident>,
    ) -> (Vec<Incident>, Result<(), String>) {
        let unnumbered = incidents.clone();
        let record = move || self.history.lock().unwrap_or_else(PoisonError::into_inner).record(incidents);
        match blocking(record).await {
            Ok(recorded) => (recorded, Ok(())),
            Err(why) => (unnumbered, Err(why)),
        }
    }

    /// Keeps where everything lives. Without it a later keeper knows less, and that is all.
    pub(super) fn remember(self: &Arc<Self>, habitat: Habitat) {
        let waiting = self.habitat().replace(habitat).is_some();
        if !waiting {
            tokio::spawn(self.clone().keep_habitat());
        }
    }

    fn habitat(&self) -> std::sync::MutexGuard<'_, Option<Habitat>> {
        self.habitat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the newest one down that waits for that.
    async fn keep_habitat(self: Arc<Self>) {
        let kept = blocking(move || {
            // One after the other, so that the newest one stays.
            let _history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
            let newest = self.habitat().take();
            newest.map_or(Ok(()), |habitat| habitat::save(&self.state_dir, &habitat))
        });
        if let Err(why) = kept.await {
            debug!("a later keeper will not know where everything lives: {why}");
        }
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

/// Returns whether the journal may know more of a death than what was seen of it.
fn is_puzzling(death: &Death) -> bool {
    !death.facts.iter().any(|fact| matches!(fact, Fact::KillCommand(_)))
}

/// Returns whether a server ended with the login that it lived in.
async fn login_ended(death: &Death) -> Option<Fact> {
    let session = death.whereabouts.login.as_ref().filter(|_| death.subject.kind == SubjectKind::Server)?;
    is_killed_at_logout(session).await.then(|| Fact::LoginEnded { session: session.clone() })
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
