//! The drill that the keeper holds by itself, in a process of its own (`agent-keeper drill`): with the lowest
//! priority, and gone when the keeper is.

use std::future::pending;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use crate::cause::in_words;
use crate::environment::{Login, scrub};
use crate::store::Store;

use super::proof::{By, Proof, Record};
use super::{DrillError, Drillmaster};

/// The first argument of the process: `agent-keeper drill STATE-DIRECTORY TMUX`.
pub const DRILL_COMMAND: &str = "drill";

/// The lowest priority there is (setpriority(2)); that for the disk follows it (ioprio_set(2)), and what we start
/// inherits both.
const NICE: i32 = 19;

/// Drills the snapshot that a restore would start from, and remembers the result. Standard input is a pipe that the
/// keeper holds: when it is closed, the keeper is gone or does not want the drill any more. Without a snapshot
/// nothing is done.
pub fn run(state: &Path, tmux: PathBuf) -> anyhow::Result<()> {
    // With the usual priority it would be the same drill.
    let _ = rustix::process::nice(NICE);
    umask(Mode::from_bits_truncate(0o077));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(drill(state, tmux))
}

async fn drill(state: &Path, tmux_program: PathBuf) -> anyhow::Result<()> {
    let store = Store::open(state);
    let Some((generation, snapshot)) = store.newest_restorable()?.good else {
        return Ok(());
    };
    let login = Login { variables: scrub(std::env::vars_os()), umask: None, problem: None };
    let program = crate::daemon::own_program()?;
    let master = Drillmaster { tmux_program, login: &login, program: &program };
    let proof = match master.hold(generation, &snapshot, &store, keeper_gone()).await {
        Ok(drill) => Proof::of(generation, &snapshot, &drill, By::Schedule),
        Err(error @ DrillError::Stopped) => return Err(error.into()),
        Err(error) => {
            let version = master.tmux_version().await;
            Proof::failed(Some((generation, &snapshot)), in_words(error), version, By::Schedule)
        }
    };
    Record::add(state, proof)?;
    Ok(())
}

/// Returns when the other end of standard input is closed; never, where that is no pipe.
async fn keeper_gone() {
    let pipe = std::io::stdin().as_fd().try_clone_to_owned().and_then(Receiver::from_owned_fd);
    match pipe {
        Ok(mut pipe) => while pipe.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {},
        Err(_) => pending().await,
    }
}
