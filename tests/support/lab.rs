//! A private tmux server with all that the library needs to save it and to bring it back.

use std::path::Path;

use agent_keeper::model::{Program, Reason, Server, Snapshot, StartMode};
use agent_keeper::proc::Proc;
use agent_keeper::restore::approved::Approved;
use agent_keeper::restore::compare::compare;
use agent_keeper::restore::execute::Executor;
use agent_keeper::restore::plan::{Selection, plan};
use agent_keeper::store::Writer;
use agent_keeper::tmux::Tmux;
use agent_keeper::tmux::capture::capture;
use agent_keeper::tmux::found::{DEFAULT_UMASK, Founding};
use agent_keeper::tmux::observe::{Observation, observe};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{PrivateTmux, eventually, short_dir, tmux_program};

/// A private server and everything that the library needs to work with it.
pub struct Lab {
    pub runtime: Runtime,
    // Before the directory, in which its socket is: fields are dropped in this order.
    pub raw: PrivateTmux,
    pub writer: Writer,
    pub dir: TempDir,
}

impl Lab {
    pub fn new() -> Self {
        let dir = short_dir();
        let raw = PrivateTmux::at(dir.path().join("s"));
        let writer = Writer::open(dir.path().join("state")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, raw, writer, dir }
    }

    pub fn tmux(&self) -> Tmux {
        let login = self.raw.login();
        Tmux::new(login.find_program(&tmux_program()), self.raw.socket.clone(), login.pairs())
    }

    pub fn observe(&self) -> Observation {
        let store = self.writer.store();
        let start = |id| serde_json::from_slice(&store.object(id).ok()?).ok();
        self.runtime.block_on(observe(&self.tmux(), &Proc::default(), &start)).unwrap()
    }

    pub fn found(&self) {
        let program = Path::new(env!("CARGO_BIN_EXE_agent-keeper"));
        self.runtime.block_on(async {
            let founding =
                Founding::prepare(program, &self.tmux(), DEFAULT_UMASK, &["-f", "/dev/null"]).unwrap();
            founding.release().await.unwrap();
        });
    }

    /// Returns whether a canary of the tests (`touch pwned`) was executed.
    pub fn was_executed(&self) -> bool {
        [
            Path::new("."),
            self.dir.path(),
            Path::new("/"),
            Path::new("/usr"),
            Path::new("/var"),
            Path::new("/etc"),
        ]
        .iter()
        .any(|dir| dir.join("pwned").exists())
    }

    /// Saves the server, kills it, founds another and restores; returns what was and what is.
    pub fn round_trip(&self, mode: StartMode) -> (Server, Server) {
        let settled = |seen: &Observation| {
            seen.server.panes().all(|(_, _, pane)| pane.dead.is_some() || pane.program != Program::Unknown)
        };
        let mut saved = eventually("all panes to run", || Some(self.observe()).filter(settled)).server;
        for pane in saved.panes_mut() {
            let text = self.runtime.block_on(capture(&self.tmux(), pane.id, 1000)).unwrap();
            pane.scrollback = self.writer.put_text(&text).unwrap();
        }
        let snapshot = snapshot(saved.clone());
        self.raw.kill_server_hard();
        self.found();
        let everything = Selection { by_hand: true, ..Selection::default() };
        let plan_once = plan(1, &snapshot, Some(&self.observe().server), &everything).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_agent-keeper"));
        let tmux = self.tmux();
        let approved = Approved::none();
        let executor =
            Executor { tmux: &tmux, store: &self.writer, program, mode, approved: &approved, pacer: None };
        let report = self.runtime.block_on(executor.execute(&plan_once));
        assert!(report.complete(), "{report:?}");
        // The panes' processes need a moment to get where they shall be.
        let mut found = self.observe().server;
        for _ in 0..100 {
            if compare(&saved, &found).differences.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            found = self.observe().server;
        }
        let again = plan(1, &snapshot, Some(&found), &everything).unwrap();
        assert!(again.is_empty(), "a second restore would do {:?}", again.steps);
        (saved, found)
    }
}

pub fn snapshot(server: Server) -> Snapshot {
    Snapshot {
        taken_at: jiff::Timestamp::now(),
        reason: Reason::Changed,
        host: "test".into(),
        boot: Default::default(),
        keeper_version: "0".into(),
        closed: None,
        aside: None,
        server,
    }
}

#[track_caller]
pub fn assert_same(saved: &Server, found: &Server) {
    let comparison = compare(saved, found);
    assert!(
        comparison.differences.is_empty(),
        "{:#?}\nsaved {saved:#?}\nfound {found:#?}",
        comparison.differences
    );
}
