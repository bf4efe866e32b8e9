//! `keeperctl snapshot rm`: remove generations by hand.

use serde::Serialize;

use crate::cli::hand::Hand;
use crate::cli::output::{print, print_json};
use crate::cli::{CliError, Context, Exit};
use crate::model::Generation;
use crate::store::StoreError;

use super::Which;

/// What to remove.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Their numbers, or "previous"; no times. The newest that a restore would start from stays, and so do pinned ones
    #[arg(value_name = "SNAPSHOT", required = true)]
    which: Vec<Which>,
    /// Only say what would be removed
    #[arg(long, short = 'n')]
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct Document {
    removed: Vec<Generation>,
    dry_run: bool,
}

/// Removes.
pub async fn run(context: &Context, arguments: &Arguments) -> Result<Exit, CliError> {
    let mut generations = Vec::new();
    for which in &arguments.which {
        match which {
            // A damaged one can be removed too, and cannot be read.
            Which::Number(generation) => generations.push(*generation),
            Which::At(_) => return Err(no_time(which.load(context)?.0)),
            which => generations.push(which.load(context)?.0),
        }
    }
    generations.sort_unstable();
    generations.dedup();
    let store = context.store();
    // Asked here first: this answer has a hint.
    store.removable(&generations)?;
    let said = describe(&generations, |generation| match store.load(generation) {
        Ok(snapshot) => snapshot.server.sessions.iter().map(|session| session.name.clone()).collect(),
        Err(StoreError::Flaw { flaw, .. }) => vec![flaw.to_string()],
        Err(_) => Vec::new(),
    });
    if !arguments.dry_run {
        Hand::of(context).await?.remove(&generations).await?;
    }
    if context.json {
        let document = Document { removed: generations, dry_run: arguments.dry_run };
        print_json("keeperctl.snapshot.rm/1", document)?;
    } else {
        let word = if arguments.dry_run { "would remove" } else { "removed" };
        print(&said.iter().map(|line| format!("{word} {line}\n")).collect::<String>())?;
    }
    Ok(Exit::Done)
}

/// A time means the state of then, whose number and age may surprise: what is removed cannot be brought back.
fn no_time(meant: Generation) -> CliError {
    let message =
        format!("a time names no snapshot to remove; the state that there was then is in snapshot {meant}");
    CliError::usage(message).hint(format!("what is in it: keeperctl snapshot show {meant}"))
}

fn describe(generations: &[Generation], content: impl Fn(Generation) -> Vec<String>) -> Vec<String> {
    let line = |generation: &Generation| {
        let content = crate::cli::output::printable(&content(*generation).join(", "));
        match content.is_empty() {
            true => format!("snapshot {generation}"),
            false => format!("snapshot {generation} ({content})"),
        }
    };
    generations.iter().map(line).collect()
}
