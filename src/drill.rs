//! Proves a restore: on a server of its own, from a store of its own, with panes that start nothing. What
//! comes back is compared with what was saved, field by field. Nothing of the user's is touched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cause::in_words;
use crate::environment::Login;
use crate::model::{
    ByteString, Generation, GlobalOptions, Options, Pane, PaneId, Process, Program, Scrollback, Server,
    ServerId, Session, SessionId, Snapshot, StartMode, Window, WindowId,
};
use crate::proc::Proc;
use crate::restore::approved::Approved;
use crate::restore::compare::{Comparison, Difference, compare};
use crate::restore::execute::{Executor, Report};
use crate::restore::plan::{Selection, plan};
use crate::store::{Store, StoreError, Writer};
use crate::tmux::capture::{CaptureError, capture};
use crate::tmux::command::Command;
use crate::tmux::found::{DEFAULT_UMASK, FoundError, Founding};
use crate::tmux::layout::sealed;
use crate::tmux::observe::{Observation, ObserveError, observe};
use crate::tmux::text::canonical;
use crate::tmux::{Tmux, TmuxError};

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
}

/// What a drill showed.
#[derive(Debug)]
pub struct Drill {
    /// What the restore itself said.
    pub report: Report,
    /// What is different.
    pub comparison: Comparison,
    /// Texts that could not be read from the store, and so could not be proven.
    pub unread: Vec<String>,
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
    /// Restores a snapshot on a throw-away server and compares.
    pub async fn hold(
        &self,
        generation: Generation,
        snapshot: &Snapshot,
        from: &Store,
    ) -> Result<Drill, DrillError> {
        let dir = tempfile::Builder::new()
            .prefix("agent-keeper-drill-")
            .tempdir()
            .map_err(DrillError::Directory)?;
        let writer = Writer::open(dir.path().join("state"))?;
        let unread = copy_texts(snapshot, from, &writer);
        let tmux = Tmux::new(self.tmux_program.clone(), dir.path().join("tmux"), self.login.pairs());
        // The user's own configuration may start things; a drill must not.
        let founding = Founding::prepare(self.program, &tmux, DEFAULT_UMASK, &["-f", "/dev/null"])?;
        founding.release().await?;
        let result = self.restore_and_compare(generation, snapshot, &writer, &tmux).await;
        // Our own server, on our own socket; its panes hold and do nothing.
        let _ = tmux.run(&[Command::new("kill-server")]).await;
        let (report, comparison) = result?;
        Ok(Drill { report, comparison, unread })
    }

    async fn restore_and_compare(
        &self,
        generation: Generation,
        snapshot: &Snapshot,
        writer: &Writer,
        tmux: &Tmux,
    ) -> Result<(Report, Comparison), DrillError> {
        let everything = Selection { by_hand: true, ..Selection::default() };
        let Ok(plan) = plan(generation, snapshot, None, &everything) else {
            return Ok((Report::default(), Comparison::default()));
        };
        self.match_numbering(snapshot, tmux).await?;
        let approved = Approved::none();
        let executor = Executor {
            tmux,
            store: writer,
            program: self.program,
            mode: StartMode::Hold,
            approved: &approved,
        };
        let report = executor.execute(&plan).await;
        let comparison = settle(snapshot, writer.store(), tmux).await?;
        Ok((report, comparison))
    }

    /// Numbers panes as the saved server did, so that places have the same names.
    async fn match_numbering(&self, snapshot: &Snapshot, tmux: &Tmux) -> Result<(), TmuxError> {
        let first = snapshot.server.panes().map(|(_, _, pane)| pane.index).min().unwrap_or(0);
        let option =
            Command::new("set-option").arg("-g").arg("-w").arg("pane-base-index").arg(first.to_string());
        tmux.run(&[option]).await.map(drop)
    }
}

fn copy_texts(snapshot: &Snapshot, from: &Store, to: &Writer) -> Vec<String> {
    let wanted = snapshot.server.panes().flat_map(|(_, _, pane)| &pane.scrollback.chunks);
    wanted.filter_map(|id| from.object(*id).and_then(|text| to.put(&text)).err()).map(in_words).collect()
}

/// Compares until nothing differs that time could mend, or until the panes have had time enough.
async fn settle(snapshot: &Snapshot, store: &Store, tmux: &Tmux) -> Result<Comparison, DrillError> {
    let deadline = Instant::now() + SHOW_MAX;
    let start = |id| serde_json::from_slice(&store.object(id).ok()?).ok();
    loop {
        let seen = observe(tmux, &Proc::default(), &start).await?;
        let mut comparison = compare(&snapshot.server, &seen.server);
        compare_texts(&mut comparison, snapshot, store, &seen, tmux).await?;
        if !comparison.differences.iter().any(may_pass) || Instant::now() >= deadline {
            return Ok(comparison);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Returns whether a difference can be one of time: what a pane shows and runs. All else tmux has done when it
/// has answered.
fn may_pass(difference: &Difference) -> bool {
    matches!(difference.field.as_str(), "text" | "program" | "directory" | "title")
}

async fn compare_texts(
    to: &mut Comparison,
    snapshot: &Snapshot,
    store: &Store,
    seen: &Observation,
    tmux: &Tmux,
) -> Result<(), DrillError> {
    for (session, window, pane) in snapshot.server.panes() {
        let Some(id) = counterpart(&seen.server, session, window, pane) else { continue };
        let place = format!("{}:{}.{}", session.name, window.index, pane.index);
        let (saved, _) = store.text(&pane.scrollback);
        let lines_max = u32::try_from(pane.scrollback.lines).unwrap_or(u32::MAX).saturating_add(1000);
        let shown = capture(tmux, id, lines_max).await?;
        // Up to 0.1 texts were saved as tmux printed them.
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

/// Returns a snapshot to hold a drill with where none has been taken yet, and puts its text into a
/// store.
pub fn sample(writer: &Writer) -> Result<Snapshot, StoreError> {
    // The colour ends within the line: where it ends with the line, tmux says so at the start of the next.
    let text: String = (1..=200).map(|n| format!("line {n} \x1b[3{}mof\x1b[39m a sample\n", n % 8)).collect();
    let scrollback = writer.put_text(text.as_bytes())?;
    let pane = |id: u32, directory: &str, program: Program, scrollback: &Scrollback| Pane {
        id: PaneId(id),
        index: id,
        title: format!("pane {id}"),
        directory: directory.into(),
        program,
        scrollback: scrollback.clone(),
        options: Options::new(),
        marked: false,
        dead: None,
        start: None,
    };
    let process = |argv: &[&str]| Process {
        exe: format!("/bin/{}", argv[0].trim_start_matches('-')).as_str().into(),
        argv: argv.iter().map(|word| ByteString::from(*word)).collect(),
        directory: "/".into(),
    };
    let shell = || Program::shell(process(&["-sh"]), Vec::new());
    let job = Program::shell(process(&["-sh"]), vec![process(&["sleep", "1000 s", "$(x)"])]);
    let none = Scrollback::default();
    let panes = vec![
        pane(0, "/", shell(), &scrollback),
        pane(1, "/tmp", job, &none),
        pane(2, "/usr", shell(), &none),
    ];
    let window = Window {
        id: WindowId(0),
        index: 3,
        name: "a #{sample} #(name)".to_owned(),
        automatic_rename: false,
        width: 100,
        height: 30,
        layout: sealed("100x30,0,0{50x30,0,0,0,49x30,51,0[49x15,51,0,1,49x14,51,16,2]}"),
        zoomed: true,
        panes,
        active_pane: 1,
        last_pane: Some(0),
        options: Options::new(),
    };
    let session = Session {
        id: SessionId(0),
        name: "sample".to_owned(),
        created: 0,
        directory: "/usr".into(),
        group: None,
        windows: vec![window],
        active_window: 3,
        last_window: None,
        options: Options::new(),
        environment: BTreeMap::new(),
    };
    Ok(Snapshot {
        taken_at: jiff::Timestamp::now(),
        reason: crate::model::Reason::Asked,
        host: "sample".to_owned(),
        boot: Default::default(),
        keeper_version: env!("CARGO_PKG_VERSION").to_owned(),
        closed: None,
        aside: None,
        server: Server {
            id: ServerId::default(),
            version: "3.3a".to_owned(),
            socket: "/none".into(),
            sessions: vec![session],
            globals: GlobalOptions::default(),
            buffers: Vec::new(),
        },
    })
}
