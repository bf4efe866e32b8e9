//! What takes time. Each piece runs as a task of its own, so that the loop always answers the watchdog.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::fcntl::Flock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Uid, User};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use crate::cause::in_words;
use crate::cgroup::MemoryWatch;
use crate::config::Settings;
use crate::diagnosis::habitat::Habitat;
use crate::diagnosis::losses::gone;
use crate::environment::Login;
use crate::model::entry::Happening;
use crate::model::{ObjectId, PaneStart, Server, ServerId, Snapshot, StartMode};
use crate::proc::Proc;
use crate::restore::execute::{Executor, Outcome, Report};
use crate::restore::globals::differing;
use crate::restore::pacer::Pacer;
use crate::restore::plan::Plan;
use crate::store::retention::Retention;
use crate::store::{StoreError, Writer};
use crate::systemd::Manager;
use crate::systemd::journal::Journal;
use crate::systemd::placement::Placement;
use crate::tmux::command::Command;
use crate::tmux::details::Known;
use crate::tmux::found::{DEFAULT_UMASK, Founding};
use crate::tmux::messages::{Mark, kills_since};
use crate::tmux::observe::{Client, Observation, ObserveError, observe_again, observe_processes};
use crate::tmux::{Tmux, TmuxError};

use super::action::SaveJob;
use super::asleep::Asleep;
use super::buffers::Buffers;
use super::chronicle::Chronicle;
use super::event::{Ending, Look, Saved, Text};
use super::inquire::is_killed_at_logout;
use super::recorder::{Bounds, Recorder};
use super::run::Startup;

/// How long a server may take to be gone after it has said goodbye.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// How the tmux channel is called on which a keeper waits for a server's end; its process id follows.
const CHANNEL_PREFIX: &str = "agent-keeper-";

/// How many generations are written between two clean-ups.
const PRUNE_EVERY: u64 = 16;

/// How many options the log names.
const OPTIONS_TOLD_MAX: usize = 20;

/// Does what takes time, with everything that is needed for it.
pub(super) struct Worker {
    settings: Settings,
    pub(super) login: Login,
    pub(super) tmux: Tmux,
    pub(super) program: PathBuf,
    pub(super) writer: Arc<Writer>,
    recorder: Recorder,
    buffers: Buffers,
    is_service: bool,
    pub(super) state_dir: PathBuf,
    pub(super) history: Mutex<Chronicle>,
    pub(super) journal: Journal,
    /// Who hears of kills for want of memory.
    pub(super) memory: Option<Arc<MemoryWatch>>,
    proc: Proc,
    /// Orders of restored panes that still wait; they are asked for at every look.
    starts: Mutex<HashMap<ObjectId, Option<PaneStart>>>,
    /// Options and environments as they were read last.
    known: tokio::sync::Mutex<Known>,
    /// What the last look saw.
    seen: Mutex<Seen>,
    /// The directory of the socket, while it is held.
    pub(super) directory: Mutex<Option<Flock<File>>>,
    /// Where everything lives, as long as that waits to be written down.
    pub(super) habitat: Mutex<Option<Habitat>>,
}

/// What the last look saw, as far as the next one needs it.
#[derive(Default)]
struct Seen {
    server: Option<Server>,
    /// Who was attached, and to which server.
    clients: (ServerId, Vec<Client>),
    messages: Mark,
    asleep: Option<Asleep>,
}

/// Returns whether tmux says that it cannot talk to the server (tmux, client.c: `protocol version mismatch`).
fn is_mismatch(message: &str) -> bool {
    message.contains("protocol version mismatch")
}

fn uid() -> u32 {
    Uid::effective().as_raw()
}

impl Worker {
    pub(super) fn new(startup: Startup, memory: Option<Arc<MemoryWatch>>) -> Self {
        let settings = startup.settings;
        let recorder = Recorder::new(Bounds {
            lines: settings.scrollback_lines.into(),
            total_bytes: settings.scrollback_total_bytes,
            redact: settings.redact,
        });
        Self {
            buffers: Buffers::new(settings.redact),
            settings,
            recorder,
            login: startup.login,
            tmux: startup.tmux,
            program: startup.program,
            writer: startup.writer,
            is_service: startup.is_service,
            state_dir: startup.places.state,
            history: Mutex::new(startup.history),
            journal: own_journal(),
            memory,
            proc: Proc::default(),
            starts: Mutex::default(),
            known: tokio::sync::Mutex::default(),
            seen: Mutex::default(),
            directory: Mutex::default(),
            habitat: Mutex::default(),
        }
    }

    fn find_start(&self, id: ObjectId) -> Option<PaneStart> {
        let mut starts = self.starts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        starts
            .entry(id)
            .or_insert_with(|| serde_json::from_slice(&self.writer.store().object(id).ok()?).ok())
            .clone()
    }

    /// Looks at the server; `closely` also at what was read a moment ago. A server that has not run since it was looked
    /// at last is as it was.
    pub(super) async fn look(&self, closely: bool) -> Look {
        let before = self.seen().asleep.take().filter(|before| before.is_there(&self.proc, &self.tmux));
        let before = before.map(|before| {
            let still = before.is_so(&self.proc);
            (before, still)
        });
        if let Some((mut before, still)) = before.clone()
            && !closely
            && (still && before.is_believed() || before.is_storm())
        {
            if before.is_due() {
                let known = self.known.lock().await;
                let seen = observe_processes(&self.tmux, &self.proc, &|id| self.find_start(id), &known);
                before.renew(seen.map(|mut seen| {
                    self.spare_texts(&mut seen);
                    seen
                }));
            }
            return Look::Server(self.seen().asleep.insert(before).seen());
        }
        let settled = before.as_ref().is_some_and(|(before, still)| *still && before.has_settled());
        if before.as_ref().is_some_and(|(_, still)| *still) {
            self.known.lock().await.renew();
        }
        let last = before.as_ref().map(|(before, _)| before.seen());
        let look = self.look_awake(closely || settled, last.as_deref()).await;
        if let Look::Server(seen) = &look {
            let answered = self.known.lock().await.answered();
            let asleep = Asleep::watch(&self.proc, &self.tmux, seen.clone(), answered, before).await;
            self.seen().asleep = asleep;
        }
        look
    }

    /// Returns whether a server that was left alone for some time has run since it was looked at.
    pub(super) fn has_stirred(&self, alone: Duration) -> bool {
        self.seen().asleep.as_mut().is_some_and(|asleep| asleep.glance(&self.proc, alone))
    }

    pub(super) fn proc(&self) -> &Proc {
        &self.proc
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn look_awake(&self, closely: bool, before: Option<&Observation>) -> Look {
        let mut known = self.known.lock().await;
        if closely {
            known.expire();
        }
        match observe_again(&self.tmux, &self.proc, &|id| self.find_start(id), &mut known).await {
            Ok(mut observation) => {
                if let Some(before) = before.filter(|before| before.server.id == observation.server.id) {
                    observation.remember(before);
                }
                self.spare_texts(&mut observation);
                self.find_cut_off(&mut observation);
                self.read_kills(&mut observation).await;
                Look::Server(Arc::new(observation))
            }
            Err(ObserveError::Ended { .. }) => Look::NoServer,
            Err(ObserveError::Tmux(TmuxError::Refused { message, .. })) if is_mismatch(&message) => {
                Look::Mismatch { pid: self.proc.listener(self.tmux.socket(), uid()), said: message }
            }
            Err(ObserveError::Tmux(TmuxError::NoServer { socket })) => {
                match self.proc.listener(&socket, uid()) {
                    Some(pid) => Look::Orphan { pid },
                    None => Look::NoServer,
                }
            }
            Err(error) => Look::Failed(in_words(error)),
        }
    }

    /// Finds the clients that have gone and did not only detach: their terminals are gone as well.
    fn find_cut_off(&self, observation: &mut Observation) {
        let server = &observation.server;
        let attached = (server.id.clone(), observation.clients.clone());
        let (before, clients) = std::mem::replace(&mut self.seen().clients, attached);
        let gone = |client: &Client| {
            let still = observation.clients.iter().any(|other| other.pid == client.pid);
            let lives = server.sessions.iter().any(|session| session.id == client.session);
            let path = Path::new(&client.terminal);
            !still && lives && path.is_absolute() && !path.exists()
        };
        if before == server.id {
            observation.cut_off = clients.into_iter().filter(gone).collect();
        }
    }

    /// Reads who ended what is gone since the last look, at once: every look adds lines to the log that are not about
    /// that, and it holds so many.
    async fn read_kills(&self, observation: &mut Observation) {
        let before = self.seen().server.replace(observation.server.clone());
        let same = before.filter(|before| before.id == observation.server.id);
        if same.is_none_or(|before| gone(&before, &observation.server).is_empty()) {
            return;
        }
        let mark = self.seen().messages.clone();
        match kills_since(&self.tmux, &mark).await {
            Ok((kills, mark)) => {
                observation.kills = kills;
                self.seen().messages = mark;
            }
            // Without a client some versions do not show it.
            Err(error) => debug!("who closed something is not known: {}", in_words(error)),
        }
    }

    /// Marks the panes of which no text is kept because they are in a session that says so.
    fn spare_texts(&self, observation: &mut Observation) {
        for (session, _, pane) in observation.server.panes() {
            if !self.settings.sessions.of(&session.name).scrollback
                && let Some(vitals) = observation.vitals.get_mut(&pane.id)
            {
                vitals.keep_text = false;
            }
        }
    }

    /// Waits for the end of a server with a client that ends with it.
    pub(super) async fn await_end(&self, id: &ServerId) -> Ending {
        self.hold_directory();
        self.release_leftovers().await;
        let place = self.proc.cgroup(id.pid).map(|cgroup| Placement::of(&cgroup));
        loop {
            let orderly = match self.tmux.wait_for(&own_channel(), &self.program) {
                Ok(mut client) => client.wait().await.is_ok_and(|status| status.success()),
                Err(error) => {
                    debug!(%error, "cannot wait for the server's end");
                    false
                }
            };
            if self.gone_within(id, GOODBYE_MAX).await {
                let login = place.ok().and_then(|place| place.login().map(str::to_owned));
                let killed = match login {
                    Some(session) if orderly => is_killed_at_logout(&session).await,
                    _ => false,
                };
                let closed = orderly && !killed;
                return if closed { Ending::Orderly } else { Ending::Lost };
            }
            // The client ended and the server lives: somebody signalled the channel or killed the client.
        }
    }

    /// Lets our own waiting client go.
    pub(super) async fn stop_waiting(&self) {
        let signal = [Command::new("wait-for").arg("-S").arg(own_channel())];
        let _ = timeout(Duration::from_secs(1), self.tmux.run(&signal)).await;
    }

    /// Lets go the waiting clients of keepers that were killed; each is a process and a little memory in
    /// the server.
    async fn release_leftovers(&self) {
        let uid = Uid::effective().as_raw();
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

    pub(super) async fn found(&self) -> Result<(), String> {
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

    /// Carries out a plan. Why it waits meanwhile is told.
    pub(super) async fn restore(
        self: &Arc<Self>,
        plan: &Plan,
        waits: mpsc::Sender<Option<String>>,
    ) -> Report {
        let pacer = Pacer::new(self.settings.pace, waits);
        for skip in &plan.skips {
            info!(session = skip.session, "not restored: {}", skip.why.sentence());
        }
        let executor = Executor {
            tmux: &self.tmux,
            store: &self.writer,
            program: &self.program,
            mode: StartMode::Ask,
            approved: &self.settings.approved,
            pacer: Some(&pacer),
        };
        self.protect(plan.generation).await;
        let report = executor.execute(plan).await;
        // Its panes have been made, and read their texts now.
        self.protect(plan.generation).await;
        self.say_lost_texts(plan.generation).await;
        self.say_other_globals(plan.generation).await;
        self.clone().note(restored(plan.generation, &report)).await;
        for (session, outcome) in &report.sessions {
            match outcome {
                Outcome::Restored => info!(session, generation = plan.generation, "restored"),
                Outcome::Partly(problems) => warn!(session, "restored in part: {}", problems.join("; ")),
                Outcome::Failed(why) => error!(session, "not restored: {why}"),
            }
        }
        report
    }

    /// Keeps a generation and its texts from being cleaned up.
    async fn protect(self: &Arc<Self>, generation: u64) {
        let shared = self.clone();
        if let Err(why) = blocking(move || shared.writer.protect(generation)).await {
            debug!(generation, "it is restored as it was when it could be read: {why}");
        }
    }

    /// Says which texts of a generation are damaged: its panes come back without them.
    async fn say_lost_texts(self: &Arc<Self>, generation: u64) {
        let shared = self.clone();
        let look = move || {
            let store = shared.writer.store();
            Ok(store.lost_texts(&store.load(generation)?))
        };
        // One that cannot be read any more was cleaned up meanwhile.
        for lost in blocking(look).await.unwrap_or_default() {
            warn!(generation, "the text of {} is not whole: {}", lost.place, in_words(lost.why));
        }
    }

    /// Says which global options are not as a generation has them: nothing changes those.
    async fn say_other_globals(self: &Arc<Self>, generation: u64) {
        let shared = self.clone();
        let saved = blocking(move || shared.writer.store().load(generation)).await;
        // A look of its own: what is new at it is for the next one to tell.
        let find_start = |id| self.find_start(id);
        let living = observe_again(&self.tmux, &self.proc, &find_start, &mut *self.known.lock().await).await;
        let (Ok(saved), Ok(living)) = (saved, living) else { return };
        let differences = differing(&saved.server, &living.server);
        if !differences.is_empty() {
            let options: Vec<&str> =
                differences.iter().take(OPTIONS_TOLD_MAX).map(|one| one.option.as_str()).collect();
            info!(generation, count = differences.len(), ?options, "global options are not as they were");
        }
    }

    pub(super) async fn save(self: Arc<Self>, mut job: SaveJob) -> Result<Saved, String> {
        let mut texts = self.read_texts(&job).await?;
        for pane in job.server.panes_mut() {
            if let Some(text) = texts.iter().find(|text| text.pane == pane.id) {
                pane.scrollback = text.scrollback.clone();
            }
        }
        self.read_buffers(&mut job).await;
        let shared = self.clone();
        let (job, texts, same) = blocking(move || {
            shared.recorder.make_room(&mut job.server, &mut texts, &shared.writer);
            let same = job.previous.as_ref().is_some_and(|(_, previous)| previous.server == job.server);
            Ok((job, texts, same))
        })
        .await?;
        let optional = matches!(job.reason, crate::model::Reason::Output | crate::model::Reason::Stopping);
        if same && optional {
            return Ok(Saved { head: None, texts });
        }
        let head = blocking(move || self.write(job)).await?;
        Ok(Saved { head: Some(head), texts })
    }

    /// Reads the paste buffers, if they are kept. Where that fails they stay as they were in this life of the server.
    async fn read_buffers(&self, job: &mut SaveJob) {
        if !self.settings.buffers {
            return;
        }
        job.server.buffers = match self.buffers.record(&self.tmux, &self.writer, &job.server).await {
            Ok(buffers) => buffers,
            Err(error) => {
                debug!("paste buffers were not read: {}", in_words(error));
                let before = job.previous.as_ref().map(|(_, previous)| &previous.server);
                let same = before.filter(|before| before.id == job.server.id);
                same.map_or_else(Vec::new, |before| before.buffers.clone())
            }
        };
    }

    /// Reads the texts that are wanted, one pane at a time, as far as there is time.
    async fn read_texts(&self, job: &SaveJob) -> Result<Vec<Text>, String> {
        self.recorder.attend(&job.server);
        let deadline = Recorder::deadline();
        let mut texts = Vec::new();
        for wanted in job.capture.iter().take_while(|_| Instant::now() < deadline) {
            // A pane that has gone meanwhile has no text; the next look will say so.
            if let Some(scrollback) = self.recorder.record(&self.tmux, &self.writer, wanted, deadline).await?
            {
                texts.push(Text { pane: wanted.pane, mark: wanted.mark, scrollback });
            }
        }
        Ok(texts)
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
            aside: job.aside,
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

/// Returns the journal as we may read it.
fn own_journal() -> Journal {
    let uid = Uid::effective();
    let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
    Journal::new(uid.as_raw(), &name.unwrap_or_else(|| uid.to_string()))
}

/// Returns a restore as something that happened.
fn restored(generation: u64, report: &Report) -> Happening {
    let back = report.sessions.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Failed(_)));
    let sessions = back.map(|(name, _)| name.clone()).collect();
    Happening::Restored { generation, sessions, complete: report.complete() }
}

/// Runs something that waits for the disk without holding up the loop.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, String> {
    let result = tokio::task::spawn_blocking(work).await.map_err(in_words)?;
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
