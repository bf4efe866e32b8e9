//! `keeperctl snapshot`: take, look at, keep, remove, check and carry generations. One file per command.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use crate::model::{Generation, describe_counts};

use super::output::{print, print_json};
use super::{CliError, Context, Exit};

mod carry;
mod diff;
mod list;
pub(super) mod moment;
mod pin;
mod rm;
mod show;
mod verify;
mod which;

pub use which::{Which, newest};

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take one now
    Take,
    /// List them, newest last
    List,
    /// Show what one holds, as a tree
    #[command(after_help = "Example: keeperctl snapshot show \"yesterday 18:00\"")]
    Show {
        /// "latest", "previous", its number, or a time such as "14:05" or "2 hours ago"
        #[arg(default_value = "latest", value_name = "SNAPSHOT")]
        which: Which,
    },
    /// Tell what is different between two, in words
    #[command(after_help = "Example: keeperctl snapshot diff \"1 hour ago\" now")]
    Diff(diff::Arguments),
    /// Keep one for good, whatever else is cleaned up
    Pin {
        /// Its number, "latest", "previous" or a time
        #[arg(value_name = "SNAPSHOT")]
        which: Which,
        /// What it is kept for
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true,
            allow_hyphen_values = true
        )]
        note: String,
    },
    /// Let a pinned one go the way of the others
    Unpin {
        /// Its number, "latest", "previous" or a time
        #[arg(value_name = "SNAPSHOT")]
        which: Which,
    },
    /// Remove some, all that are named or none
    Rm(rm::Arguments),
    /// Read everything again and say what is damaged
    Verify {
        /// Only these: numbers, "latest", "previous" or times
        #[arg(value_name = "SNAPSHOT")]
        which: Vec<Which>,
    },
    /// Write one with its texts to a file, for another host
    Export {
        /// Its number, "latest", "previous" or a time
        #[arg(value_name = "SNAPSHOT")]
        which: Which,
        /// A file that is not there yet, or - for standard output
        file: PathBuf,
    },
    /// Read one from a file that "snapshot export" has written
    Import {
        /// The file, or - for standard input
        file: PathBuf,
    },
}

/// Does it.
pub async fn run(context: &Context, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Take => take(context).await,
        Command::List => list::run(context),
        Command::Show { which } => show::run(context, which),
        Command::Diff(arguments) => diff::run(context, &arguments).await,
        Command::Pin { which, note } => pin::pin(context, which, &note).await,
        Command::Unpin { which } => pin::unpin(context, which).await,
        Command::Rm(arguments) => rm::run(context, &arguments).await,
        Command::Verify { which } => verify::run(context, &which),
        Command::Export { which, file } => carry::export(context, which, &file),
        Command::Import { file } => carry::import(context, &file).await,
    }
}

async fn take(context: &Context) -> Result<Exit, CliError> {
    let generation = context.keeper().await?.take_snapshot().await?;
    if context.json {
        #[derive(Serialize)]
        struct Taken {
            generation: Generation,
        }
        print_json("keeperctl.snapshot.take/1", Taken { generation })?;
    } else {
        let snapshot = context.store().load(generation)?;
        let counts = describe_counts(snapshot.server.counts());
        print(&format!("snapshot {generation}: {counts}\n"))?;
    }
    Ok(Exit::Done)
}
