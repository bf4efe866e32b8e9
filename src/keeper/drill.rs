//! The keeper's own drills: a process of its own holds one (`drill::scheduled`), so that nothing of it is in the
//! way of the loop, and that it can be ended whatever it does.

use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::cause::in_words;
use crate::drill::proof::{By, Proof, Record};
use crate::drill::scheduled::DRILL_COMMAND;
use crate::drill::{DRILL_MAX, stage};

use super::event::Proven;
use super::worker::Worker;

/// How much longer than a drill its process may take before it is killed.
const END_MAX: Duration = Duration::from_secs(60);

/// How much of its words is read, in bytes.
const WORDS_MAX: u64 = 4096;

impl Worker {
    /// Reads what is remembered of drills.
    pub(super) async fn review_drills(&self) -> Proven {
        let version = self.tmux.check_version().await.unwrap_or_default();
        Record::read(self.writer.store().dir())
            .map_or_else(Proven::default, |record| proven(&record.last, &version))
    }

    /// Holds a drill. It must leave a newer record behind; else that is written here.
    pub(super) async fn drill(&self) -> Proven {
        let began = Timestamp::now();
        let state = self.writer.store().dir();
        let failure = self.run_drill().await.err();
        let version = self.tmux.check_version().await.unwrap_or_default();
        let held = Record::read(state).map(|record| record.last).filter(|last| last.held_at >= began);
        let proof = match held {
            Some(proof) => proof,
            None => {
                let why = failure.unwrap_or_else(|| "it left no result".to_owned());
                let proof = Proof::failed(None, why, version.clone(), By::Schedule);
                if let Err(error) = Record::add(state, proof.clone()) {
                    warn!("the drill cannot be remembered: {}", in_words(error));
                }
                proof
            }
        };
        match proof.perfect() {
            true => info!("proved a restore: {}", proof.in_words()),
            false => warn!("{}", notice(&proof)),
        }
        proven(&proof, &version)
    }

    async fn run_drill(&self) -> Result<(), String> {
        let mut child = Command::new(&self.program)
            .arg(DRILL_COMMAND)
            .arg(self.writer.store().dir())
            .arg(self.tmux.program())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(in_words)?;
        // It ends when this is closed: with this task, and with this process.
        let _leash = child.stdin.take();
        match timeout(DRILL_MAX + END_MAX, ended(&mut child)).await {
            Ok(result) => result,
            Err(_) => {
                // Only what we started; its server is told to end by its own socket.
                let _ = child.kill().await;
                stage::clear_leftovers(self.tmux.program(), &self.login).await;
                Err("it did not end".to_owned())
            }
        }
    }
}

async fn ended(child: &mut Child) -> Result<(), String> {
    let mut words = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(WORDS_MAX).read_to_end(&mut words).await.map_err(in_words)?;
    }
    let status = child.wait().await.map_err(in_words)?;
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    if status.success() { Ok(()) } else { Err(format!("its process ended with {status}: {words}")) }
}

fn proven(last: &Proof, tmux_version: &str) -> Proven {
    // One that is yet to come, by a clock that was wrong, proves nothing.
    let age = Timestamp::now().duration_since(last.held_at).try_into().unwrap_or(Duration::MAX / 2);
    Proven {
        age: Some(age),
        same_versions: last.tmux_version == tmux_version && last.keeper_version == env!("CARGO_PKG_VERSION"),
        notice: (!last.perfect()).then(|| notice(last)),
    }
}

fn notice(last: &Proof) -> String {
    let generation = last.generation.map_or_else(String::new, |generation| format!(" {generation}"));
    format!("the last drill did not bring back all ({}); see: keeperctl drill{generation}", last.in_words())
}
