//! Does what was decided, and tells the outcome as an event.
//!
//! Whatever takes time runs as a task of its own, so that the loop always answers the watchdog.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, timeout};
use tracing::{debug, error, info, warn};

use crate::cause::in_words;
use crate::config::Settings;
use crate::dbus::interface::{Keeper, Request};
use crate::dbus::serve;
use crate::environment::Login;
use crate::logind::{Logind, ShutdownWatch, watch_shutdown};
use crate::model::{ObjectId, PaneStart, ServerId, Snapshot, StartMode, describe_counts};
use crate::place::{PlaceError, Places};
use crate::proc::Proc;
use crate::restore::execute::{Executor, Outcome, Report};
use crate::restore::plan::Plan;
use crate::store::retention::Retention;
use crate::store::{StoreError, Writer};
use crate::systemd::Manager;
use crate::tmux::capture::capture;
use crate::tmux::command::Command;
use crate::tmux::found::{DEFAULT_UMASK, Founding};
use crate::tmux::observe::{ObserveError, observe};
use crate::tmux::{Tmux, TmuxError};

use super::action::{Action, SaveJob};
use super::event::{Answer, Asked, Ending, Event, Look, Saved, Text, Token};
use super::state::{Policy, State, Summary};

/// How many events may wait. Each task sends one, and there are few tasks.
const EVENTS_MAX: usize = 256;

/// How many requests of others may wait; further callers wait in line.
const REQUESTS_MAX: usize = 32;

/// How long the managers may take to say whether they are stopping.
const GOING_DOWN_MAX: Duration = Duration::from_secs(3);

/// How long a server may take to be gone after it has said goodbye.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// How the tmux channel is called on which a keeper waits for a server's end; its process id follows.
const CHANNEL_PREFIX: &str = "agent-keeper-";

/// How many generations are written between two clean-ups.
const PRUNE_EVERY: u64 = 16;

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
    pub writer: Writer,
    /// Whether this process is a service of a service manager, which ends all that it finds in our control
    /// group when we end.
    pub is_service: bool,
}

/// Why the keeper cannot start.
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
}

/// Runs the keeper until it is told to end.
pub async fn run(startup: Startup) -> Result<(), StartupError> {
    let failed = StartupError::Signals;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (events, mut inbox) = mpsc::channel(EVENTS_MAX);
    let (requests, mut asked) = mpsc::channel(REQUESTS_MAX);
    let (shutdowns, mut shutdown) = mpsc::channel(4);
    let (summary, watched) = watch::channel(Summary::default());

    let keeper = Keeper {
        requests,
        summary: watched,
        store: startup.writer.store().clone(),
        socket: startup.tmux.socket().display().to_string(),
    };
    let _peers = serve::serve_peers(&startup.places.bus_socket(), keeper.clone())?;
    let _bus = match serve::serve_on_bus(keeper).await {
        Ok(connection) => Some(connection),
        Err(error) => {
            info!(%error, "not on the user bus; keeperctl does not need it");
            None
        }
    };
    let shutdown_watch = connect_logind(shutdowns).await;

    let state = initial_state(&startup)?;
    let mut ticks = tokio::time::interval(startup.settings.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watchdog = Watchdog::start();
    let mut performer = Performer::new(startup, events, summary, shutdown_watch);
    let mut keeper_loop = Loop { state, started: Instant::now() };
    notify(&[sd_notify::NotifyState::Ready]);

    loop {
        let event = tokio::select! {
            Some(event) = inbox.recv() => event,
            _ = ticks.tick() => Event::Tick,
            Some(request) = asked.recv() => performer.asked(request),
            Some(begins) = shutdown.recv() => performer.shutdown_event(begins),
            _ = terminate.recv() => performer.terminating(),
            _ = interrupt.recv() => performer.terminating(),
        };
        watchdog.ping();
        for action in keeper_loop.step(event) {
            if matches!(action, Action::Exit) {
                performer.leave().await;
                return Ok(());
            }
            performer.perform(action).await;
        }
    }
}

/// Reads the newest good generation; what had to be passed over is said.
fn initial_state(startup: &Startup) -> Result<State, StoreError> {
    let newest = startup.writer.store().newest()?;
    for entry in &newest.passed_over {
        if let Err(flaw) = &entry.content {
            warn!(generation = entry.generation, path = %entry.path.display(), "passing over a generation: {flaw}");
        }
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
    };
    Ok(State::new(policy, newest.good.map(|(generation, snapshot)| (generation, Arc::new(snapshot)))))
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

fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::trace!(%error, "the service manager cannot be told");
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

struct Loop {
    state: State,
    started: Instant,
}

impl Loop {
    fn step(&mut self, event: Event) -> Vec<Action> {
        self.state.step(self.started.elapsed(), event)
    }
}

/// What every task may use.
struct Shared {
    settings: Settings,
    login: Login,
    tmux: Tmux,
    program: PathBuf,
    writer: Writer,
    is_service: bool,
    proc: Proc,
    /// Orders of restored panes that still wait; they are asked for at every look.
    starts: Mutex<HashMap<ObjectId, Option<PaneStart>>>,
}

struct Performer {
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    summary: watch::Sender<Summary>,
    shutdown: Option<ShutdownWatch>,
    waiting: HashMap<Token, oneshot::Sender<Answer>>,
    next_token: Token,
}

impl Performer {
    fn new(
        startup: Startup,
        events: mpsc::Sender<Event>,
        summary: watch::Sender<Summary>,
        shutdown: Option<ShutdownWatch>,
    ) -> Self {
        let shared = Shared {
            settings: startup.settings,
            login: startup.login,
            tmux: startup.tmux,
            program: startup.program,
            writer: startup.writer,
            is_service: startup.is_service,
            proc: Proc::default(),
            starts: Mutex::default(),
        };
        Self { shared: Arc::new(shared), events, summary, shutdown, waiting: HashMap::new(), next_token: 0 }
    }

    fn asked(&mut self, request: Request) -> Event {
        self.next_token += 1;
        if let Asked::Restore { generation, selection, .. } = &request.asked {
            info!(generation, sessions = ?selection.sessions, "asked to restore");
        }
        self.waiting.insert(self.next_token, request.reply);
        Event::Asked(self.next_token, request.asked)
    }

    fn shutdown_event(&self, begins: bool) -> Event {
        if begins {
            info!("a shutdown begins");
            let held = self.shutdown.as_ref().is_some_and(ShutdownWatch::holds);
            Event::ShutdownBegins { held }
        } else {
            info!("the shutdown was called off");
            Event::ShutdownCancelled
        }
    }

    fn terminating(&self) -> Event {
        info!("asked to end");
        notify(&[sd_notify::NotifyState::Stopping]);
        Event::Terminate
    }

    async fn perform(&mut self, action: Action) {
        let shared = self.shared.clone();
        match action {
            Action::Look => self.task(async move { Event::Looked(shared.look().await) }),
            Action::AwaitEnd(id) => self.task(async move {
                let ending = shared.await_end(&id).await;
                Event::ServerEnded(id, ending)
            }),
            Action::AskGoingDown => self.task(async { Event::GoingDown(is_going_down().await) }),
            Action::Found => self.task(async move { Event::Founded(shared.found().await) }),
            Action::Save(job) => self.task(async move { Event::Saved(shared.save(job).await) }),
            Action::Restore(plan) => self.task(async move {
                let report = shared.restore(&plan).await;
                Event::Restored(plan.generation, report)
            }),
            Action::Reply(token, answer) => {
                // Whoever asked may have gone.
                let _ = self.waiting.remove(&token).map(|waiting| waiting.send(answer));
            }
            Action::Publish(summary) => self.publish(summary),
            Action::HoldShutdown => {
                if let Some(shutdown) = &mut self.shutdown {
                    shutdown.delay().await;
                }
            }
            Action::ReleaseShutdown => {
                if let Some(shutdown) = &mut self.shutdown {
                    shutdown.release();
                }
            }
            // The loop ends before it gets here.
            Action::Exit => {}
        }
    }

    fn task(&self, work: impl Future<Output = Event> + Send + 'static) {
        let events = self.events.clone();
        tokio::spawn(async move {
            // The loop only goes away when the process does.
            let _ = events.send(work.await).await;
        });
    }

    fn publish(&self, summary: Summary) {
        let before = self.summary.send_replace(summary.clone());
        match &summary.problem {
            Some(problem) if before.problem.as_ref() != Some(problem) => warn!("{problem}"),
            None if before.problem.is_some() => info!("the problem is gone"),
            _ => {}
        }
        if before.state != summary.state {
            info!(server_pid = summary.server, "{}", summary.state);
        }
        notify(&[sd_notify::NotifyState::Status(&status_line(&summary))]);
    }

    /// Lets the waiting client go, so that nothing of ours is left at the server.
    async fn leave(self) {
        let signal = [Command::new("wait-for").arg("-S").arg(own_channel())];
        let _ = timeout(Duration::from_secs(1), self.shared.tmux.run(&signal)).await;
        info!("ending; the tmux server goes on");
    }
}

fn own_channel() -> String {
    format!("{CHANNEL_PREFIX}{}", std::process::id())
}

/// Returns the channel of ours that a process waits on, if it is such a client of this socket.
fn waits_on(argv: &[crate::model::ByteString], socket: &std::path::Path) -> Option<String> {
    let [.., dash_s, path, command, channel] = argv else {
        return None;
    };
    let ours = dash_s.as_bytes() == b"-S" && path.as_path() == socket && command.as_bytes() == b"wait-for";
    let channel = channel.to_string();
    (ours && channel.starts_with(CHANNEL_PREFIX)).then_some(channel)
}

fn status_line(summary: &Summary) -> String {
    let mut line = summary.state.to_owned();
    if summary.server.is_some() {
        line.push_str(&format!(": {}", describe_counts(summary.counts)));
    }
    if let Some((generation, taken_at)) = summary.head {
        let local = taken_at.to_zoned(jiff::tz::TimeZone::system());
        line.push_str(&format!("; snapshot {generation} of {}", local.strftime("%H:%M:%S")));
    }
    if let Some(problem) = &summary.problem {
        line.push_str(&format!("; problem: {problem}"));
    }
    line
}

/// Returns whether the user's manager or the machine is on its way down. Where nobody can be asked nothing
/// is known of a shutdown.
async fn is_going_down() -> bool {
    let manager = async {
        let bus = crate::systemd::user_bus().await.ok()?;
        Manager::connect(&bus).await.ok()?.is_stopping().await.ok()
    };
    let machine = async {
        let bus = zbus::Connection::system().await.ok()?;
        Logind::connect(&bus).await.ok()?.is_shutting_down().await.ok()
    };
    let both = async { tokio::join!(manager, machine) };
    let (manager, machine) = timeout(GOING_DOWN_MAX, both).await.unwrap_or_default();
    manager.unwrap_or(false) || machine.unwrap_or(false)
}

impl Shared {
    fn find_start(&self, id: ObjectId) -> Option<PaneStart> {
        let mut starts = self.starts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        starts
            .entry(id)
            .or_insert_with(|| serde_json::from_slice(&self.writer.store().object(id).ok()?).ok())
            .clone()
    }

    async fn look(&self) -> Look {
        match observe(&self.tmux, &self.proc, &|id| self.find_start(id)).await {
            Ok(observation) => Look::Server(Arc::new(observation)),
            Err(ObserveError::Ended { .. }) => Look::NoServer,
            Err(ObserveError::Tmux(TmuxError::NoServer { socket })) => {
                let uid = nix::unistd::Uid::effective().as_raw();
                match self.proc.listener(&socket, uid) {
                    Some(pid) => Look::Orphan { pid },
                    None => Look::NoServer,
                }
            }
            Err(error) => Look::Failed(in_words(error)),
        }
    }

    /// Waits for the end of a server with a client that ends with it.
    async fn await_end(&self, id: &ServerId) -> Ending {
        self.release_leftovers().await;
        loop {
            let orderly = match self.tmux.wait_for(&own_channel()) {
                Ok(mut client) => client.wait().await.is_ok_and(|status| status.success()),
                Err(error) => {
                    debug!(%error, "cannot wait for the server's end");
                    false
                }
            };
            if self.gone_within(id, GOODBYE_MAX).await {
                return if orderly { Ending::Orderly } else { Ending::Lost };
            }
            // The client ended and the server lives: somebody signalled the channel or killed the client.
        }
    }

    /// Lets go the waiting clients of keepers that were killed; each is a process and a little memory in
    /// the server.
    async fn release_leftovers(&self) {
        let uid = nix::unistd::Uid::effective().as_raw();
        let waiting = self.proc.pids_of(uid).into_iter().filter_map(|pid| self.proc.argv(pid).ok());
        let channels: Vec<String> = waiting.filter_map(|argv| waits_on(&argv, self.tmux.socket())).collect();
        for channel in channels {
            let keeper = channel.strip_prefix(CHANNEL_PREFIX).and_then(|pid| pid.parse().ok());
            let lives =
                |pid: u32| self.proc.stat(pid).is_ok_and(|stat| stat.comm.starts_with("agent-keeper"));
            if keeper.is_some_and(|pid| !lives(pid)) {
                // One that is gone by now has let itself go.
                let _ = self.tmux.run(&[Command::new("wait-for").arg("-S").arg(channel)]).await;
            }
        }
    }

    /// Returns whether a server's process ends within a time.
    async fn gone_within(&self, id: &ServerId, time: Duration) -> bool {
        if !self.proc.runs(id) {
            return true;
        }
        let pid = id.pid;
        // Bounded, so that the thread it takes is given back.
        let _ = tokio::task::spawn_blocking(move || wait_for_process(pid, time)).await;
        !self.proc.runs(id)
    }

    async fn found(&self) -> Result<(), String> {
        if let Some(dir) = self.tmux.socket().parent()
            && dir.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"tmux-"))
        {
            crate::place::make_private_dir(dir).map_err(in_words)?;
        }
        let mask = self.login.umask.unwrap_or(DEFAULT_UMASK);
        let founding = Founding::prepare(&self.program, &self.tmux, mask, &[]).map_err(in_words)?;
        let scope = self.scope_for(founding.pid().unwrap_or_default()).await?;
        founding.release().await.map_err(in_words)?;
        info!(socket = %self.tmux.socket().display(), user_unit = scope.as_deref().unwrap_or_default(), "started a tmux server");
        Ok(())
    }

    /// Moves the founder out of our control group. A service must not found a server inside its own.
    async fn scope_for(&self, pid: u32) -> Result<Option<String>, String> {
        let scope = async {
            let bus = crate::systemd::user_bus().await?;
            let manager = Manager::connect(&bus).await?;
            anyhow::Ok(manager.move_to_scope(pid, self.tmux.socket()).await?)
        };
        match scope.await {
            Ok(name) => Ok(Some(name)),
            Err(error) if self.is_service => Err(format!(
                "no tmux server was started, because it would have ended with this service: {error:#}"
            )),
            Err(error) => {
                debug!(%error, "no scope for the server");
                Ok(None)
            }
        }
    }

    async fn restore(self: &Arc<Self>, plan: &Plan) -> Report {
        for skip in &plan.skips {
            info!(session = skip.session, "not restored: {}", skip.why.sentence());
        }
        let executor =
            Executor { tmux: &self.tmux, store: &self.writer, program: &self.program, mode: StartMode::Ask };
        let report = executor.execute(plan).await;
        for (session, outcome) in &report.sessions {
            match outcome {
                Outcome::Restored => info!(session, generation = plan.generation, "restored"),
                Outcome::Partly(problems) => warn!(session, "restored in part: {}", problems.join("; ")),
                Outcome::Failed(why) => error!(session, "not restored: {why}"),
            }
        }
        report
    }

    async fn save(self: Arc<Self>, mut job: SaveJob) -> Result<Saved, String> {
        let mut texts = Vec::new();
        for wanted in &job.capture {
            let lines = self.settings.scrollback_lines;
            let text =
                match capture(&self.tmux, wanted.pane, wanted.alternate, wanted.mark.history, lines).await {
                    Ok(text) => text,
                    // The pane has gone meanwhile; the next look will say so.
                    Err(TmuxError::Refused { .. }) => continue,
                    Err(error) => return Err(in_words(error)),
                };
            let shared = self.clone();
            let scrollback = blocking(move || shared.writer.put_text(&text)).await?;
            texts.push(Text { pane: wanted.pane, mark: wanted.mark, scrollback });
        }
        for pane in job.server.panes_mut() {
            if let Some(text) = texts.iter().find(|text| text.pane == pane.id) {
                pane.scrollback = text.scrollback.clone();
            }
        }
        let same = job.previous.as_ref().is_some_and(|(_, previous)| previous.server == job.server);
        let optional = matches!(job.reason, crate::model::Reason::Output | crate::model::Reason::Stopping);
        if same && optional {
            return Ok(Saved { head: None, texts });
        }
        let head = blocking(move || self.write(job)).await?;
        Ok(Saved { head: Some(head), texts })
    }

    fn write(&self, job: SaveJob) -> Result<(u64, Arc<Snapshot>), StoreError> {
        let snapshot = Snapshot {
            taken_at: Timestamp::now(),
            reason: job.reason,
            host: nix::unistd::gethostname()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            boot: self.proc.boot_id(),
            keeper_version: env!("CARGO_PKG_VERSION").to_owned(),
            closed: job.closed,
            server: job.server,
        };
        let generation = self.writer.save(&snapshot)?;
        debug!(generation, reason = job.reason.word(), "saved");
        if generation.is_multiple_of(PRUNE_EVERY)
            && let Err(error) = self.writer.prune(&Retention::default())
        {
            warn!("cleaning up old generations failed: {}", in_words(error));
        }
        Ok((generation, Arc::new(snapshot)))
    }
}

/// Runs something that waits for the disk without holding up the loop.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, String> {
    let result = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
    result.map_err(in_words)
}

/// Waits until a process has ended or the time is over. A pidfd becomes readable when its process ends
/// (pidfd_open(2), Linux 5.3).
fn wait_for_process(pid: u32, time: Duration) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed());
    let handle =
        pid.and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok());
    let time_ms = u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
    match handle {
        Some(handle) => {
            let _ = poll(&mut [PollFd::new(handle.as_fd(), PollFlags::POLLIN)], PollTimeout::from(time_ms));
        }
        None => std::thread::sleep(time),
    }
}
