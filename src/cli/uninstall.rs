//! `keeperctl uninstall`: undo setup. The tmux server and everything in it go on.

use std::io;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::dbus::client;
use crate::setup::{CATALOGS, Change, catalog_file, unit_files};
use crate::store::writer_of;
use crate::systemd::{Manager, user_bus};

use super::output::{GOOD, note, print, print_json, styled};
use super::setup::update_catalog;
use super::{CliError, Context, Exit};

/// How long the keeper may take to end.
const END_MAX: Duration = Duration::from_secs(20);

/// What to undo.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Remove the snapshots and the configuration too
    #[arg(long)]
    purge: bool,
    /// Only show what would be done
    #[arg(long, short = 'n')]
    dry_run: bool,
}

/// Undoes setup. Lingering stays as it is: other services may rely on it by now.
pub async fn run(context: &Context, arguments: &Arguments) -> Result<Exit, CliError> {
    let mut steps = Vec::new();
    let dry_run = arguments.dry_run;
    let manager = match user_bus().await {
        Ok(bus) => Manager::connect(&bus).await.ok(),
        Err(_) => None,
    };
    if let Some(manager) = &manager {
        steps.push("stop and disable agent-keeper.service".to_owned());
        if !dry_run {
            manager.disable_service().await.map_err(CliError::failed)?;
        }
    }
    if writer_of(&context.places.state).is_some() && (manager.is_none() || !dry_run) {
        steps.push("end agent-keeper".to_owned());
        if !dry_run {
            end_keeper(context).await?;
        }
    }
    remove_units(context, dry_run, &mut steps)?;
    remove_catalog(dry_run, &mut steps)?;
    let systemd = manager.is_some();
    if let Some(manager) = manager.filter(|_| !dry_run) {
        manager.reload().await.map_err(CliError::failed)?;
    }
    if arguments.purge {
        for dir in [&context.places.state, &context.places.config].into_iter().filter(|dir| dir.exists()) {
            steps.push(format!("remove {}", dir.display()));
            if !dry_run {
                remove_tree(dir)?;
            }
        }
    }
    report(context, dry_run, systemd, steps)
}

fn report(context: &Context, dry_run: bool, systemd: bool, steps: Vec<String>) -> Result<Exit, CliError> {
    if context.json {
        #[derive(Serialize)]
        struct Document {
            dry_run: bool,
            steps: Vec<String>,
        }
        print_json("keeperctl.uninstall/1", Document { dry_run, steps })?;
    } else {
        let mark = if dry_run { "would".to_owned() } else { styled(GOOD, "✔") };
        if steps.is_empty() {
            note("nothing to undo");
        }
        print(&steps.iter().map(|step| format!("{mark} {step}\n")).collect::<String>())?;
    }
    note("your tmux server goes on");
    if systemd {
        note("lingering stays as it is; switch it off: loginctl disable-linger");
    }
    Ok(Exit::Done)
}

fn remove_units(context: &Context, dry_run: bool, steps: &mut Vec<String>) -> Result<(), CliError> {
    for file in unit_files(&context.places.units, &context.program()?).map_err(CliError::failed)? {
        if dry_run {
            if file.path.exists() {
                steps.push(format!("remove {}", file.path.display()));
            }
        } else if file.remove().map_err(CliError::failed)? == Change::Removed {
            steps.push(format!("remove {}", file.path.display()));
        }
    }
    Ok(())
}

/// Removes what explains our messages in the journal, which only root has written and can remove.
fn remove_catalog(dry_run: bool, steps: &mut Vec<String>) -> Result<(), CliError> {
    let catalog = catalog_file(Path::new(CATALOGS)).filter(|_| Uid::effective().is_root());
    let Some(file) = catalog.filter(|file| file.path.exists()) else { return Ok(()) };
    steps.push(format!("remove {}", file.path.display()));
    if !dry_run && file.remove().map_err(CliError::failed)? == Change::Removed && !update_catalog() {
        note("journald still knows the catalog that was removed; try: journalctl --update-catalog");
    }
    Ok(())
}

/// Ends a keeper that no service manager runs. Its process id is what it says on its own socket, which
/// only this user's keeper can have made.
async fn end_keeper(context: &Context) -> Result<(), CliError> {
    let Ok(keeper) = client::connect(&context.places.bus_socket()).await else {
        return Ok(());
    };
    let pid = Pid::from_raw(keeper.process_id().await?.cast_signed());
    drop(keeper);
    kill(pid, Signal::SIGTERM).map_err(io::Error::from)?;
    let deadline = Instant::now() + END_MAX;
    while writer_of(&context.places.state).is_some() {
        if Instant::now() >= deadline {
            return Err(CliError::failed(anyhow::Error::msg(format!(
                "agent-keeper (pid {pid}) does not end"
            ))));
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn remove_tree(dir: &Path) -> Result<(), CliError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CliError::failed(
            anyhow::Error::new(error).context(format!("cannot remove {}", dir.display())),
        )),
        _ => Ok(()),
    }
}
