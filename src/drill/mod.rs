//! Proves a restore: on a server of its own, from a store of its own, with panes that start nothing. What
//! comes back is compared with what was saved, field by field. Nothing of the user's is touched.
//!
//! | what | where |
//! |---|---|
//! | the server and directory of a drill, and those that killed drills left | [`stage`] |
//! | the global options that decide what a restore makes | `options` |
//! | programs and directories that are gone from this machine | `obstacles` |
//! | what is remembered of drills | [`proof`] |
//! | the drill that the keeper holds by itself | [`scheduled`] |
//! | a snapshot where none has been taken yet | [`mod@sample`] |

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::cause::in_words;
use crate::environment::Login;
use crate::model::{
    Buffer, Generation, ObjectId, Pane, PaneId, Server, Session, Snapshot, StartMode, Window,
};
use crate::proc::Proc;
use crate::restore::approved::Approved;
use crate::restore::compare::{Comparison, Difference, compare};
use crate::restore::execute::{Executor, Outcome, Report};
use crate::restore::plan::{Selection, plan};
use crate::store::{Store, StoreError, Writer, object_id};
use crate::tmux::buffers::{list, read};
use crate::tmux::capture::{CaptureError, capture};
use crate::tmux::found::{DEFAULT_UMASK, FoundError, Founding};
use crate::tmux::observe::{Observation, ObserveError, observe};
use crate::tmux::text::canonical;
use crate::tmux::{Tmux, TmuxError};

mod obstacles;
mod options;
pub mod proof;
pub mod sample;
pub mod scheduled;
pub mod stage;

pub use sample::sample;

/// How long a drill may take. One of 50 panes takes 2 s.
pub const DRILL_MAX: Duration = Duration::from_secs(5 * 60);

/// How long panes may take to show their text, once they have been made.
const SHOW_MAX: Duration = Duration::from_secs(30);

/// The pause between two looks at them.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why a drill could not be held.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// No directory for it.
    #[error("cannot make a directory for the drill")]
    Directory(#[source] std::io::Error),
    /// Its store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its server could not be started.
    #[error(transparent)]
    Found(#[from] FoundError),
    /// Its server failed.
    #[error(transparent)]
    Tmux(#[from] TmuxError),
    /// Its panes could not be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// Its server could not be looked at.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// It took too long.
    #[error("the drill was not finished within {} s", DRILL_MAX.as_secs())]
    Slow,
    /// Whoever wanted it has gone, or wants it no more.
    #[error("the drill was stopped")]
    Stopped,
}

/// What a drill showed.
#[derive(Debug, Default)]
pub struct Drill {
    /// What the restore itself said.
    pub report: Report,
    /// What is different.
    pub comparison: Comparison,
    /// Texts that cannot be read whole from the store, each with its place and the reason.
    pub lost: Vec<String>,
    /// What a restore would meet here that is not the snapshot's fault, and what it leaves out on purpose. It does
    /// not lower the score.
    pub notes: Vec<String>,
    /// The version of tmux that it was held with.
    pub tmux_version: String,
}

impl Drill {
    /// Returns in words what went wrong besides the differences.
    pub fn problems(&self) -> Vec<String> {
        let failures = self.report.sessions.iter().filter_map(|(session, outcome)| match outcome {
            Outcome::Restored => None,
            Outcome::Partly(problems) => Some(format!("{session}: {}", problems.join("; "))),
            Outcome::Failed(why) => Some(format!("{session}: {why}")),
        });
        self.lost.iter().cloned().chain(failures).collect()
    }

    /// Returns whether all that was saved came back.
    pub fn perfect(&self) -> bool {
        self.comparison.score() == 100 && self.problems().is_empty()
    }
}

/// Everything a drill needs.
#[derive(Debug)]
pub struct Drillmaster<'a> {
    /// tmux.
    pub tmux_program: PathBuf,
    /// The environment for the server.
    pub login: &'a Login,
    /// The `agent-keeper` program.
    pub program: &'a Path,
}

impl Drillmaster<'_> {
    /// Returns the version of tmux; empty if that cannot be told.
    pub async fn tmux_version(&self) -> String {
        let tmux = Tmux::new(self.tmux_program.clone(), PathBuf::new(), self.login.pairs());
        tmux.check_version().await.unwrap_or_default()
    }

    /// Restores a snapshot on a throw-away server and compares. It ends when `stop` does, without a result; its
    /// server and directory are gone either way.
    pub async fn hold(
        &self,
        generation: Generation,
        snapshot: &Snapshot,
        from: &Store,
        stop: impl Future<Output = ()>,
    ) -> Result<Drill, DrillError> {
        stage::clear_leftovers(&self.tmux_program, self.login).await;
        let stage = stage::Stage::set(&self.tmux_program, self.login).map_err(DrillError::Directory)?;
        let state = stage.state_dir();
        let work = timeout(DRILL_MAX, self.perform(generation, snapshot, from, &state, &stage.tmux));
        let result = tokio::select! {
            result = work => result.unwrap_or(Err(DrillError::Slow)),
            () = stop => Err(DrillError::Stopped),
        };
        stage.strike().await;
        result
    }

    async fn perform(
        &self,
        generation: Generation,
        snapshot: &Snapshot,
        from: &Store,
        state: &Path,
        tmux: &Tmux,
    ) -> Result<Drill, DrillError> {
        let mut drill = Drill { tmux_version: tmux.check_version().await?, ..Drill::default() };
        let everything = Selection { by_hand: true, ..Selection::default() };
        let Ok(plan) = plan(generation, snapshot, None, &everything) else {
            return Ok(drill);
        };
        let writer = Writer::open(state)?;
        copy_texts(snapshot, from, &writer)?;
        let lost = from.lost_texts(snapshot).into_iter();
        drill.lost = lost
            .map(|lost| format!("the text of {} is not whole: {}", lost.place, in_words(lost.why)))
            .collect();
        // The user's own configuration may start things; a drill must not.
        let founding = Founding::prepare(self.program, tmux, DEFAULT_UMASK, &["-f", "/dev/null"])?;
        founding.release().await?;
        drill.notes = options::match_globals(snapshot, tmux).await?;
        let approved = Approved::none();
        let mode = StartMode::Hold;
        let executor =
            Executor { tmux, store: &writer, program: self.program, mode, approved: &approved, pacer: None };
        drill.report = executor.execute(&plan).await;
        drill.notes.extend(drill.report.notes.iter().map(|(session, note)| format!("{session}: {note}")));
        // What is left out on purpose is in the notes, and is not lost.
        let sessions = plan.steps.into_iter().map(|step| step.session).collect();
        let wanted = Server { sessions, buffers: plan.buffers, ..snapshot.server.clone() };
        drill.notes.extend(obstacles::obstacles(&wanted));
        drill.comparison = settle(&wanted, writer.store(), tmux).await?;
        Ok(drill)
    }
}

/// Copies what can be read; what cannot is found missing later.
fn copy_texts(snapshot: &Snapshot, from: &Store, to: &Writer) -> Result<(), StoreError> {
    let chunks = snapshot.server.panes().flat_map(|(_, _, pane)| &pane.scrollback.chunks);
    let buffers = snapshot.server.buffers.iter().map(|buffer| &buffer.content);
    let each: HashSet<&ObjectId> = chunks.chain(buffers).collect();
    let mut texts = each.into_iter().filter_map(|id| from.object(*id).ok());
    texts.try_for_each(|text| to.put(&text).map(drop))
}

async fn buffers_of(tmux: &Tmux, version: &str) -> Result<Vec<Buffer>, TmuxError> {
    let mut buffers = Vec::new();
    for one in list(tmux, version).await? {
        let content = object_id(&read(tmux, &one.name).await?);
        buffers.push(Buffer { name: one.name, content });
    }
    Ok(buffers)
}

/// Compares until nothing differs that time could mend, or until the panes have had time enough.
async fn settle(wanted: &Server, store: &Store, tmux: &Tmux) -> Result<Comparison, DrillError> {
    let deadline = Instant::now() + SHOW_MAX;
    let start = |id| serde_json::from_slice(&store.object(id).ok()?).ok();
    let gone = obstacles::without_directory(wanted);
    loop {
        let mut seen = observe(tmux, &Proc::default(), &start).await?;
        if !wanted.buffers.is_empty() {
            seen.server.buffers = buffers_of(tmux, &seen.server.version).await?;
        }
        let mut comparison = compare(wanted, &seen.server);
        obstacles::forgive(&mut comparison, &gone);
        compare_texts(&mut comparison, wanted, store, &seen, tmux).await?;
        if !comparison.differences.iter().any(may_pass) || Instant::now() >= deadline {
            return Ok(comparison);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Returns whether a difference can be one of time: what a pane shows and runs, and how it ended. All else tmux
/// has done when it has answered.
fn may_pass(difference: &Difference) -> bool {
    matches!(difference.field.as_str(), "text" | "program" | "directory" | "title" | "end")
}

async fn compare_texts(
    to: &mut Comparison,
    wanted: &Server,
    store: &Store,
    seen: &Observation,
    tmux: &Tmux,
) -> Result<(), DrillError> {
    for (session, window, pane) in wanted.panes() {
        let Some(id) = counterpart(&seen.server, session, window, pane) else { continue };
        let place = format!("{}:{}.{}", session.name, window.index, pane.index);
        let (saved, missing) = store.text(&pane.scrollback);
        if !missing.is_empty() {
            to.lost_text(&place, pane.scrollback.lines, &saved);
            continue;
        }
        let lines_max = u32::try_from(pane.scrollback.lines).unwrap_or(u32::MAX).saturating_add(1000);
        let shown = capture(tmux, id, lines_max).await?;
        // Up to format 1 texts were saved as tmux printed them.
        to.text(&place, &canonical(&saved), &shown);
    }
    Ok(())
}

/// Finds the pane at the same place.
fn counterpart(server: &Server, session: &Session, window: &Window, pane: &Pane) -> Option<PaneId> {
    let place = window.panes.iter().position(|other| other.id == pane.id)?;
    let session = server.sessions.iter().find(|other| other.name == session.name)?;
    let window = session.windows.iter().find(|other| other.index == window.index)?;
    window.panes.get(place).map(|pane| pane.id)
}
