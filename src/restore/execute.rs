//! Carries out a plan, once, against a living server.
//!
//! Every pane is *started* with what it shall become; nothing is typed into anything. Names and
//! directories reach tmux only in ways that it does not interpret (`tmux::escape`, `Tmux::run_in`).
//! A step that fails leaves what the others made.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::cause::in_words;
use crate::model::{
    ByteString, FORMAT, Generation, PANE_COMMAND, Pane, PaneId, PaneStart, Scrollback, Session, SessionId,
    StartMode, Window, WindowId,
};
use crate::pane::nearest_directory;
use crate::store::{StoreError, Writer};
use crate::tmux::command::Command;
use crate::tmux::{Tmux, TmuxError};

use super::approved::Approved;
use super::manner::Manner;
use super::name::is_3_7;
use super::pacer::Pacer;
use super::plan::{Plan, Step, Target};
use floating::Shape;
use mark::ToMark;
use names::exact_target;
use settings::comes_before_panes;

mod buffers;
mod dead;
mod floating;
mod living;
mod lost;
mod mark;
mod names;
mod notes;
mod report;
mod settings;
mod unfinished;

pub use report::{Outcome, Report};
pub use settings::MARK;

/// Columns and rows in which windows are split.
const ROOM: (u32, u32) = (400, 200);

/// What runs in windows and panes that go again.
const PLACEHOLDER: [&str; 3] = ["tail", "-f", "/dev/null"];

/// Why a part of a session could not be made.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Tmux(#[from] TmuxError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("tmux answered {0:?} where ids were expected")]
    Answer(String),
    #[error("cannot write the order for a pane: {0}")]
    Order(#[from] serde_json::Error),
    #[error("the session has no windows")]
    Empty,
    #[error(
        "it is half restored, because the keeper was killed over it, and in use; bring back the rest beside it: \
         keeperctl restore {generation} --session {name} --as NEWNAME"
    )]
    Unfinished {
        generation: Generation,
        /// As it is typed into a shell.
        name: String,
    },
    #[error("{0}")]
    Nothing(String),
    #[error("the session {0:?}, whose windows it shares, is not there")]
    NoPeer(String),
}

/// Everything that a restore needs.
#[derive(Debug, Clone, Copy)]
pub struct Executor<'a> {
    /// The server that gets the sessions.
    pub tmux: &'a Tmux,
    /// Where the texts are, and where the panes' orders go.
    pub store: &'a Writer,
    /// The `agent-keeper` program, which each pane starts with.
    pub program: &'a Path,
    /// What panes do with the programs that ran in them, unless they are approved.
    pub mode: StartMode,
    /// What panes start without asking.
    pub approved: &'a Approved,
    /// What panes wait for that nobody waits for; nothing if that is not here.
    pub pacer: Option<&'a Pacer>,
}

impl Executor<'_> {
    /// Carries out a plan.
    pub async fn execute(&self, plan: &Plan) -> Report {
        let version = match self.version().await {
            Ok(version) => version,
            Err(error) => return Report::nothing_done(plan, error),
        };
        let mut run = Run {
            executor: self,
            generation: plan.generation,
            saved_at: plan.taken_at,
            encodes: is_3_7(&version),
            can_float: is_3_7(&version),
            version,
            made: HashMap::new(),
            made_panes: HashMap::new(),
            made_sessions: HashSet::new(),
            to_zoom: Vec::new(),
            to_mark: None,
            trusted: plan.trusted,
            manner: &plan.manner,
            problems: Vec::new(),
        };
        let mut report = Report::default();
        for step in &plan.steps {
            let done = run.session(step).await;
            let outcome = run.outcome(done);
            let note = notes::notes(step, &run.version);
            if !note.is_empty() && !matches!(outcome, Outcome::Failed(_)) {
                report.notes.push((step.session.name.clone(), note));
            }
            report.sessions.push((step.session.name.clone(), outcome));
        }
        for step in &plan.panes {
            let done = run.lost_panes(step).await;
            report.sessions.push((step.session.clone(), run.outcome(done)));
        }
        for respawn in &plan.respawns {
            let done = run.respawn(respawn).await;
            report.sessions.push((respawn.session.clone(), run.outcome(done)));
        }
        report.notes.extend(run.mark().await);
        self.restore_buffers(&plan.buffers, &run.version).await;
        report
    }

    async fn version(&self) -> Result<String, TmuxError> {
        let ask = [Command::new("display-message").arg("-p").arg("#{version}")];
        let version = self.tmux.run(&ask).await?;
        Ok(String::from_utf8_lossy(&version).trim().to_owned())
    }
}

struct Run<'a> {
    executor: &'a Executor<'a>,
    generation: Generation,
    saved_at: Timestamp,
    /// The server's version.
    version: String,
    /// Whether all names have to be given decoded: the server encodes every name when it stores it. Up to 3.6 it
    /// takes the names that windows are made with, and titles, as they are (`clean_name`).
    encodes: bool,
    /// Whether the server has floating panes (`new-pane`).
    can_float: bool,
    /// Windows made so far, by the id they had when they were saved: a window that is met again was
    /// linked into several sessions.
    made: HashMap<WindowId, WindowId>,
    /// Panes made so far, by the id they had.
    made_panes: HashMap<PaneId, PaneId>,
    /// Panes that are to fill their windows.
    to_zoom: Vec<PaneId>,
    /// The pane that is to be marked.
    to_mark: Option<ToMark>,
    /// Sessions made so far.
    made_sessions: HashSet<SessionId>,
    /// Whether approved programs start unasked.
    trusted: bool,
    /// How panes come back.
    manner: &'a Manner,
    /// What went wrong in the session that is being made.
    problems: Vec<String>,
}

impl Run<'_> {
    /// Returns what became of something, with what went wrong in it.
    fn outcome(&mut self, done: Result<(), StepError>) -> Outcome {
        let problems = std::mem::take(&mut self.problems);
        match done {
            Ok(()) if problems.is_empty() => Outcome::Restored,
            Ok(()) => Outcome::Partly(problems),
            Err(error) => Outcome::Failed(in_words(error)),
        }
    }

    /// Waits until one more pane may be started.
    async fn pace(&self, pane: &Pane) {
        if let Some(pacer) = self.executor.pacer.filter(|_| self.manner.paced) {
            pacer.admit(self.manner.last.contains(&pane.id)).await;
        }
    }

    async fn session(&mut self, step: &Step) -> Result<(), StepError> {
        let session = &step.session;
        match &step.target {
            Target::Sharing(peer) => return self.grouped_session(session, peer).await,
            Target::Living => return self.add_to_living(session).await,
            Target::Replacing(unfinished) => self.remove_unfinished(*unfinished, session).await?,
            Target::New => {}
        }
        // The window that is to be current is made first, so that no other counts as visited.
        let active = session.windows.iter().find(|window| window.index == session.active_window);
        let first =
            active.filter(|window| !self.made.contains_key(&window.id) && !comes_before_panes(session));
        let (id, placeholder) = match first {
            Some(first) => (self.first_window(session, first).await?, None),
            None => self.session_without_windows(session).await?,
        };
        // By index: one window can be linked into a session twice.
        let further = session.windows.iter().filter(|window| Some(window.index) != first.map(|f| f.index));
        let any = self.further_windows(id, further).await || first.is_some();
        let made = if any { Ok(()) } else { Err(self.nothing()) };
        self.choose_windows(id, session).await;
        if let Some(placeholder) = placeholder {
            // With nothing else in it the session goes too.
            self.try_all("placeholder", vec![Command::new("kill-window").flag("-t", placeholder)]).await;
        }
        made?;
        self.will_mark(id, session);
        self.zoom().await;
        self.finish_session(id, session).await;
        Ok(())
    }

    async fn run(&self, commands: &[Command]) -> Result<Vec<u8>, StepError> {
        Ok(self.executor.tmux.run(commands).await?)
    }

    /// Runs a command that makes something, from a directory, and returns the ids it prints.
    async fn make<const N: usize>(
        &self,
        command: Command,
        directory: &Path,
    ) -> Result<[String; N], StepError> {
        self.make_and(&[command], directory).await
    }

    /// Like [`Run::make`] for a session, which is marked in the same breath: whatever happens to us, it can be
    /// told from one that is whole. One with a name that cannot be its target is marked a moment later
    /// ([`Run::prepare_session`]).
    async fn make_session<const N: usize>(
        &self,
        command: Command,
        session: &Session,
    ) -> Result<[String; N], StepError> {
        self.make_and(&Self::marked(command, session), session.directory.as_path()).await
    }

    fn marked(making: Command, session: &Session) -> Vec<Command> {
        let mark = |target| Command::new("set-option").flag("-t", target).arg(MARK).arg("1");
        [making].into_iter().chain(exact_target(&session.name).map(mark)).collect()
    }

    /// What was printed counts, also if a command behind it failed.
    async fn make_and<const N: usize>(
        &self,
        commands: &[Command],
        directory: &Path,
    ) -> Result<[String; N], StepError> {
        let directory = nearest_directory(directory);
        let output = self.executor.tmux.run_partly_in(commands, Some(&directory)).await?;
        let text = String::from_utf8_lossy(&output).trim_end_matches('\n').to_owned();
        let fields: Vec<String> = text.splitn(N, '\t').map(str::to_owned).collect();
        fields.try_into().map_err(|_| StepError::Answer(text))
    }

    /// Makes a session with its first window, and returns its id.
    async fn first_window(&mut self, session: &Session, window: &Window) -> Result<SessionId, StepError> {
        let pane = self.first_pane(window)?;
        let command = self
            .new_session(session)
            .arg("-P")
            .flag("-F", "#{session_id}\t#{window_id}\t#{pane_id}\t#{window_index}")
            .flag("-x", window.width)
            .flag("-y", window.height)
            .arg("-n")
            .literal(&self.given(&window.name));
        self.pace(pane).await;
        let command = self.with_program(command, pane)?;
        let [id, window_id, pane_id, index] = self.make_session(command, session).await?;
        let (id, window_id): (SessionId, WindowId) = (parse(&id)?, parse(&window_id)?);
        let place =
            Command::new("move-window").flag("-s", window_id).arg("-t").arg(format!("{id}:{}", window.index));
        self.prepare_session(id, session).await;
        if index != window.index.to_string() {
            self.try_all(&format!("window {}", window.index), vec![place]).await;
        }
        self.fill_window(window_id, parse(&pane_id)?, window).await;
        Ok(id)
    }

    /// Makes a session whose current window is linked from another, or that is to have something before its first
    /// pane is made: it starts with a window that goes again when the others are there.
    async fn session_without_windows(
        &mut self,
        session: &Session,
    ) -> Result<(SessionId, Option<WindowId>), StepError> {
        let command = self
            .new_session(session)
            .arg("-P")
            .flag("-F", "#{session_id}\t#{window_id}\t#{window_index}")
            .arg("--");
        let command = PLACEHOLDER.iter().fold(command, Command::arg);
        let [id, window, index] = self.make_session(command, session).await?;
        let (id, window): (SessionId, WindowId) = (parse(&id)?, parse(&window)?);
        // Out of the way of the indexes that the windows need.
        let is_free = |index: u32| session.windows.iter().all(|window| window.index != index);
        let aside = if is_free(parse(&index)?) { None } else { (0..=u32::MAX).find(|index| is_free(*index)) };
        let aside = aside.map(|aside| {
            Command::new("move-window").flag("-s", window).arg("-t").arg(format!("{id}:{aside}"))
        });
        self.try_all("placeholder", aside.into_iter().collect()).await;
        self.prepare_session(id, session).await;
        Ok((id, Some(window)))
    }

    async fn grouped_session(&mut self, session: &Session, peer: &str) -> Result<(), StepError> {
        let peer_id = self.session_id(peer).await?;
        let command = self.new_session(session).arg("-P").flag("-F", "#{session_id}").flag("-t", peer_id);
        // A new group is called as the session that is joined is called at that moment.
        // Only one of ours is renamed for that moment: nobody has seen it yet.
        let ours = self.made_sessions.contains(&peer_id);
        let group = session.group.as_deref().filter(|group| ours && *group != peer);
        let making = Self::marked(command, session);
        let directory = session.directory.as_path();
        let made = match group {
            Some(group) => {
                // In one breath: whatever happens to us, it has its own name again.
                let own = self.renaming(peer_id, peer);
                let all = [vec![self.renaming(peer_id, group)], making.clone(), vec![own.clone()]].concat();
                let made = self.make_and(&all, directory).await;
                // What fails ends the rest; to be called as it is called already changes nothing.
                self.try_all("name of the first of the group", vec![own]).await;
                match made {
                    Err(_) => self.make_and(&making, directory).await,
                    made => made,
                }
            }
            None => self.make_and(&making, directory).await,
        };
        let [id] = made?;
        let id = parse(&id)?;
        self.prepare_session(id, session).await;
        self.choose_windows(id, session).await;
        self.will_mark(id, session);
        self.finish_session(id, session).await;
        Ok(())
    }

    /// Makes windows; those that fail are noted. Returns whether there is one of them.
    async fn further_windows(&mut self, id: SessionId, windows: impl Iterator<Item = &Window>) -> bool {
        let mut any = false;
        for window in windows {
            match self.further_window(id, window).await {
                Ok(()) => any = true,
                Err(error) => self.problems.push(format!("window {}: {}", window.index, in_words(error))),
            }
        }
        any
    }

    /// Returns what went wrong as the reason why nothing came of the session.
    fn nothing(&mut self) -> StepError {
        StepError::Nothing(std::mem::take(&mut self.problems).join("; "))
    }

    async fn further_window(&mut self, session: SessionId, window: &Window) -> Result<(), StepError> {
        let target = format!("{session}:{}", window.index);
        if let Some(made) = self.made.get(&window.id) {
            let link = Command::new("link-window").arg("-d").flag("-s", made).flag("-t", target);
            return self.run(&[link]).await.map(drop);
        }
        let pane = self.first_pane(window)?;
        let command = Command::new("new-window")
            .arg("-d")
            .arg("-P")
            .flag("-F", "#{window_id}\t#{pane_id}")
            .flag("-t", target)
            .arg("-n")
            .literal(&self.given(&window.name));
        self.pace(pane).await;
        let command = self.with_program(command, pane)?;
        let [id, pane_id] = self.make(command, pane.directory.as_path()).await?;
        self.fill_window(parse(&id)?, parse(&pane_id)?, window).await;
        Ok(())
    }

    /// Splits a window, which has its first pane, into its panes and gives it its layout. What fails is noted; the
    /// rest goes on.
    async fn fill_window(&mut self, id: WindowId, first: PaneId, window: &Window) {
        self.made.insert(window.id, id);
        let place = format!("window {}", window.index);
        let shape = Shape::of(window, self.can_float);
        if let Err(error) = self.make_room(id, window, &shape).await {
            self.problems.push(format!("{place}: {}", in_words(error)));
        }
        let mut panes = self.split_all(id, first, window, &shape).await;
        let whole = panes.len() == shape.tiled.len();
        let framing = self.framing(id, window, shape.layout.as_deref().filter(|_| whole));
        self.try_all(&place, framing).await;
        if shape.layout.is_none() {
            let why = match self.can_float {
                true => "there is no other pane".to_owned(),
                false => format!("tmux {} has no floating panes", self.version),
            };
            self.problems.push(format!("{place}: panes that floated do not, because {why}"));
        }
        if !shape.floating.is_empty() {
            self.float(id, window, &shape, &mut panes).await;
        }
        self.made_panes.extend(panes.iter().map(|(at, pane)| (window.panes[*at].id, *pane)));
        let commands = self.finishing(&panes, window, shape.floating.is_empty());
        self.try_all(&place, commands).await;
        for (pane, saved) in panes.iter().map(|(at, pane)| (*pane, &window.panes[*at])) {
            if saved.dead.is_some()
                && let Err(error) = self.end_pane(pane, saved).await
            {
                self.problems.push(format!("{place}, pane {}: {}", saved.index, in_words(error)));
            }
        }
        self.to_zoom.extend(panes.get(&window.active_pane).filter(|_| window.zoomed));
    }

    /// Zooms what was zoomed. Last, because to choose a pane ends the zoom.
    async fn zoom(&mut self) {
        for pane in std::mem::take(&mut self.to_zoom) {
            self.try_all("zoom", vec![Command::new("resize-pane").arg("-Z").flag("-t", pane)]).await;
        }
    }

    /// Splits the first pane into those that do not float, and returns them by their places.
    async fn split_all(
        &mut self,
        id: WindowId,
        first: PaneId,
        window: &Window,
        shape: &Shape,
    ) -> BTreeMap<usize, PaneId> {
        let begin = shape.first(window);
        let mut panes = BTreeMap::from([(begin, first)]);
        for at in shape.tiled.iter().copied().filter(|at| *at > begin) {
            let last = panes.last_key_value().map_or(first, |(_, pane)| *pane);
            let after = ["-t".to_owned(), last.to_string()];
            panes.extend(self.split(id, &after, window, &window.panes[at]).await.map(|made| (at, made)));
        }
        for at in shape.tiled.iter().rev().copied().filter(|at| *at < begin) {
            let next = panes.first_key_value().map_or(first, |(_, pane)| *pane);
            let before = ["-b".to_owned(), "-t".to_owned(), next.to_string()];
            panes.extend(self.split(id, &before, window, &window.panes[at]).await.map(|made| (at, made)));
        }
        panes
    }

    /// Makes a window large while it is being split, however small it shall be: tmux refuses to split a pane
    /// of a few cells, also when the layout to come has room for all.
    async fn make_room(&self, id: WindowId, window: &Window, shape: &Shape) -> Result<(), StepError> {
        if shape.tiled.len() < 2 {
            return Ok(());
        }
        let (width, height) = (window.width.max(ROOM.0), window.height.max(ROOM.1));
        let large = Command::new("resize-window").flag("-t", id).flag("-x", width).flag("-y", height);
        self.run(&[large, own_size(id)]).await.map(drop)
    }

    async fn split(
        &mut self,
        id: WindowId,
        place: &[String],
        window: &Window,
        pane: &Pane,
    ) -> Option<PaneId> {
        match self.try_split(id, place, pane).await {
            Ok(made) => Some(made),
            Err(error) => {
                self.problems.push(format!(
                    "window {}, pane {}: {}",
                    window.index,
                    pane.index,
                    in_words(error)
                ));
                None
            }
        }
    }

    async fn try_split(&self, window: WindowId, place: &[String], pane: &Pane) -> Result<PaneId, StepError> {
        let split = Command::new("split-window").arg("-d").arg("-P").flag("-F", "#{pane_id}");
        let split = place.iter().fold(split, Command::arg);
        self.pace(pane).await;
        let [id] = self.make(self.with_program(split, pane)?, pane.directory.as_path()).await?;
        // Even shares, or there would be no room for many splits of one pane.
        self.run(&[Command::new("select-layout").flag("-t", window).arg("tiled")]).await?;
        parse(&id)
    }

    /// Returns the commands that give a window its options and the panes that do not float their layout.
    fn framing(&self, id: WindowId, window: &Window, layout: Option<&str>) -> Vec<Command> {
        let mut commands = self.window_settings(id, window);
        if window.options.contains_key("window-size") {
            // A size that was given by hand is remembered beside the layout.
            let by_hand = Command::new("resize-window").flag("-t", id);
            let after = window.options.get("window-size").map(ByteString::as_os_str);
            commands.push(by_hand.flag("-x", window.width).flag("-y", window.height));
            commands.extend(after.map(|size| {
                Command::new("set-option").arg("-w").flag("-t", id).arg("window-size").arg(size)
            }));
        }
        match layout {
            Some(layout) => commands.push(Command::new("select-layout").flag("-t", id).arg(layout)),
            // At least the size it had.
            None if !window.options.contains_key("window-size") => {
                let size = Command::new("resize-window").flag("-t", id);
                commands.extend([size.flag("-x", window.width).flag("-y", window.height), own_size(id)]);
            }
            None => {}
        }
        commands
    }

    /// Returns the commands that give panes their titles and options, and make one the active one.
    fn finishing(&self, panes: &BTreeMap<usize, PaneId>, window: &Window, choose: bool) -> Vec<Command> {
        let saved = || panes.iter().map(|(at, pane)| (*pane, &window.panes[*at]));
        let titles = saved().map(|(pane, saved)| {
            Command::new("select-pane").flag("-t", pane).arg("-T").literal(&self.given(&saved.title))
        });
        let chosen = window.last_pane.into_iter().chain([window.active_pane]).filter(|_| choose);
        let chosen = chosen.filter_map(|at| panes.get(&at));
        let chosen = chosen.map(|pane| Command::new("select-pane").flag("-t", pane));
        let settings = saved().flat_map(|(pane, saved)| self.pane_settings(pane, saved));
        titles.chain(chosen).chain(settings).collect()
    }

    async fn choose_windows(&mut self, id: SessionId, session: &Session) {
        let select = |index: u32| Command::new("select-window").flag("-t", format!("{id}:{index}"));
        let last = session.last_window.into_iter().map(select);
        self.try_all("current window", last.chain([select(session.active_window)]).collect()).await;
    }

    /// Returns the pane that a window is made with.
    fn first_pane<'w>(&self, window: &'w Window) -> Result<&'w Pane, StepError> {
        let first = Shape::of(window, self.can_float).first(window);
        window.panes.get(first).ok_or(StepError::Empty)
    }

    /// Adds what the pane is started with. Several words are executed as they are, without a shell.
    fn with_program(&self, command: Command, pane: &Pane) -> Result<Command, StepError> {
        let mut order = self.order(pane);
        if pane.dead.is_some() {
            // It ends again when the window has its options, `remain-on-exit` among them.
            order.mode = StartMode::Hold;
            order.scrollback = Scrollback::default();
        }
        self.with_order(command, &order)
    }

    fn with_order(&self, command: Command, order: &PaneStart) -> Result<Command, StepError> {
        let order = self.executor.store.put(&serde_json::to_vec(order)?)?;
        let state: PathBuf = self.executor.store.store().dir().to_owned();
        Ok(command.arg("--").arg(self.executor.program).arg(PANE_COMMAND).arg(order.to_string()).arg(state))
    }

    fn order(&self, pane: &Pane) -> PaneStart {
        let Executor { approved, mode, .. } = *self.executor;
        PaneStart {
            format: FORMAT,
            saved_at: self.saved_at,
            directory: pane.directory.clone(),
            scrollback: pane.scrollback.clone(),
            program: pane.program.clone(),
            mode: match self.manner.mode(pane.id, self.executor.pacer.is_some_and(Pacer::is_pressed)) {
                Some(otherwise) if self.trusted && mode == StartMode::Ask => otherwise,
                _ if self.trusted => approved.mode(mode, &pane.program),
                _ => mode,
            },
            dead: pane.dead,
        }
    }
}

/// Resizing a window by hand leaves an option behind that the user did not set; this takes it away.
fn own_size(id: WindowId) -> Command {
    Command::new("set-option").arg("-w").arg("-u").flag("-t", id).arg("window-size")
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, StepError> {
    text.parse().map_err(|_| StepError::Answer(text.to_owned()))
}
