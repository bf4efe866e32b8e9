//! The loop: whatever happens comes in as an event, is decided on at once, and the actions go out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinError;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::bulletin::TOLD_MAX;
use crate::config::Settings;
use crate::dbus::interface::Keeper;
use crate::dbus::serve;
use crate::environment::Login;
use crate::logind::{Logind, ShutdownWatch, watch_shutdown};
use crate::model::describe_counts;
use crate::model::entry::Happening;
use crate::place::{PlaceError, Places};
use crate::store::{StoreError, Writer};
use crate::tmux::Tmux;

use super::action::Action;
use super::chronicle::Chronicle;
use super::event::{Event, Look};
use super::habitat;
use super::perform::{Performer, notify};
use super::sleep::SleepClock;
use super::state::{Past, Policy, State, Summary};
use super::watchers::Watchers;

/// How many events may wait. Each task sends one, and there are few tasks.
const EVENTS_MAX: usize = 256;

/// How many requests of others may wait; further callers wait in line.
const REQUESTS_MAX: usize = 32;

/// How often, between two looks, a server is glanced at: whether it has run. If so it is looked at at once, unless that
/// was done a moment ago. So what changes after a rest is seen that much sooner.
const GLANCES: u32 = 4;

/// Everything a keeper needs to start.
#[derive(Debug)]
pub struct Startup {
    /// What was configured.
    pub settings: Settings,
    /// Where things are.
    pub places: Places,
    /// The user's login environment.
    pub login: Login,
    /// The tmux and the socket that are watched.
    pub tmux: Tmux,
    /// The `agent-keeper` program itself, which panes and founders run.
    pub program: PathBuf,
    /// The store, locked.
    pub writer: Arc<Writer>,
    /// What happened, to be written on.
    pub history: Chronicle,
    /// Whether this process is a service of a service manager, which ends all that it finds in our control
    /// group when we end.
    pub is_service: bool,
}

/// Why the keeper cannot start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The interface cannot be served.
    #[error(transparent)]
    Serve(#[from] serve::ServeError),
    /// A directory cannot be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Signals cannot be received.
    #[error("cannot receive signals")]
    Signals(#[source] std::io::Error),
    /// A task panicked. Whoever starts the keeper again mends that better than a state that waits for it.
    #[error("a part of the keeper failed")]
    Task(#[from] JoinError),
}

/// Runs the keeper until it is told to end.
pub async fn run(mut startup: Startup) -> Result<(), StartupError> {
    let failed = StartupError::Signals;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (events, mut inbox) = mpsc::channel(EVENTS_MAX);
    let (requests, mut asked) = mpsc::channel(REQUESTS_MAX);
    let (shutdowns, mut shutdown) = mpsc::channel(4);
    let (summary, watched) = watch::channel(Summary::default());
    let (bulletins, _) = broadcast::channel(TOLD_MAX);

    let keeper = Keeper {
        requests,
        summary: watched,
        writer: startup.writer.clone(),
        bulletins: bulletins.clone(),
        socket: startup.tmux.socket().display().to_string(),
    };
    let _peers = serve::serve_peers(&startup.places.bus_socket(), keeper.clone())?;
    let _bus = serve_on_bus(keeper).await;
    let shutdown_watch = connect_logind(shutdowns).await;
    let (mut watchers, mut sightings, mut happenings) = Watchers::start().await;

    let mut state = initial_state(&mut startup)?;
    let mut ticks = tokio::time::interval(startup.settings.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let alone = startup.settings.interval / 2;
    let mut glances = tokio::time::interval(startup.settings.interval / GLANCES);
    glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watchdog = Watchdog::start();
    let (started, mut sleep) = (Instant::now(), SleepClock::start());
    let memory = watchers.memory();
    let mut performer = Performer::new(startup, events, summary, shutdown_watch, memory, bulletins, started);
    notify(&[sd_notify::NotifyState::Ready]);

    loop {
        let event = tokio::select! {
            Some(outcome) = inbox.recv() => outcome?,
            Some(sighting) = sightings.recv() => Event::Sighted(sighting),
            Some(what) = happenings.recv() => Event::Happened(what),
            _ = ticks.tick() => Event::Tick,
            _ = glances.tick() => {
                if !performer.has_stirred(alone) {
                    continue;
                }
                ticks.reset();
                Event::Tick
            }
            Some(request) = asked.recv() => performer.asked(request),
            Some(begins) = shutdown.recv() => performer.shutdown_event(begins),
            _ = terminate.recv() => performer.terminating(),
            _ = interrupt.recv() => performer.terminating(),
        };
        watchdog.ping();
        if let Event::Looked(Look::Server(seen)) = &event {
            watchers.follow(seen);
        }
        let slept = sleep.slept().map(|secs| Event::Happened(Happening::Slept { secs }));
        let events = slept.into_iter().chain([event]);
        for action in events.flat_map(|event| state.step(started.elapsed(), event)).collect::<Vec<_>>() {
            if matches!(action, Action::Exit) {
                performer.leave().await;
                return Ok(());
            }
            performer.perform(action).await;
        }
    }
}

async fn serve_on_bus(keeper: Keeper) -> Option<zbus::Connection> {
    let told = |error: &zbus::Error| info!(%error, "not on the user bus; keeperctl does not need it");
    serve::serve_on_bus(keeper).await.inspect_err(told).ok()
}

/// Reads the newest good generation; what had to be passed over is said.
fn initial_state(startup: &mut Startup) -> Result<State, StoreError> {
    let newest = startup.writer.store().newest()?;
    for entry in &newest.passed_over {
        if let Err(flaw) = &entry.content {
            warn!(generation = entry.generation, path = %entry.path.display(), "passing over a generation: {flaw}");
        }
    }
    for path in &newest.strangers {
        warn!(path = %path.display(), "not called like a generation, and left alone");
    }
    if let Some((generation, snapshot)) = &newest.good {
        let counts = describe_counts(snapshot.server.counts());
        info!(generation, taken_at = %snapshot.taken_at, "the newest good generation has {counts}");
    }
    let policy = Policy {
        found: startup.settings.found,
        restore: startup.settings.restore,
        output_interval: startup.settings.output_interval,
        scrollback: startup.settings.scrollback_lines > 0,
        drill_every: startup.settings.drill_every,
        restart: startup.settings.restart.clone(),
        still_yours: startup.settings.still_yours,
    };
    let head = newest.good.map(|(generation, snapshot)| (generation, Arc::new(snapshot)));
    let habitat = habitat::load(&startup.places.state);
    let past = Past { began: Timestamp::now(), incidents: startup.history.take_recent(), habitat };
    Ok(State::new(policy, head).after(past))
}

async fn connect_logind(into: mpsc::Sender<bool>) -> Option<ShutdownWatch> {
    let connect = async {
        let bus = zbus::Connection::system().await?;
        let logind = Logind::connect(&bus).await?;
        watch_shutdown(&logind, into).await
    };
    match connect.await {
        Ok(watch) => {
            if !watch.holds() {
                info!(
                    "logind does not let us delay a shutdown (polkit is missing); snapshots are as old as the last save"
                );
            }
            Some(watch)
        }
        Err(error) => {
            info!(%error, "no logind here; shutdowns are not announced");
            None
        }
    }
}

/// Tells the service manager that the loop runs. Only the loop pings, so a stuck one is noticed.
struct Watchdog {
    wanted: bool,
}

impl Watchdog {
    fn start() -> Self {
        Self { wanted: sd_notify::watchdog_enabled().is_some() }
    }

    fn ping(&self) {
        if self.wanted {
            notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }
}
