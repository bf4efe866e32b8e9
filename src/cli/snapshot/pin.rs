//! `keeperctl snapshot pin` and `unpin`: generations that no clean-up removes.

use serde::Serialize;

use crate::cli::hand::Hand;
use crate::cli::output::{note, print, print_json};
use crate::cli::{CliError, Context, Exit};
use crate::model::Generation;
use crate::store::pins::NOTE_BYTES_MAX;

use super::Which;

#[derive(Debug, Serialize)]
struct Document {
    generation: Generation,
    pinned: bool,
    /// Whether it was another way before.
    changed: bool,
}

/// Pins it. Done again it replaces the note.
pub async fn pin(context: &Context, which: Which, text: &str) -> Result<Exit, CliError> {
    if text.len() > NOTE_BYTES_MAX {
        return Err(CliError::usage(format!("a note has at most {NOTE_BYTES_MAX} bytes")));
    }
    let (generation, _) = which.load(context)?;
    let changed = context.store().pins()?.of(generation).is_none();
    Hand::of(context).await?.pin(generation, text).await?;
    report(context, &Document { generation, pinned: true, changed })
}

/// Unpins it, also when the generation itself is gone or cannot be read.
pub async fn unpin(context: &Context, which: Which) -> Result<Exit, CliError> {
    let generation = match which {
        Which::Number(generation) => generation,
        which => which.load(context)?.0,
    };
    let changed = Hand::of(context).await?.unpin(generation).await?;
    report(context, &Document { generation, pinned: false, changed })
}

fn report(context: &Context, document: &Document) -> Result<Exit, CliError> {
    let Document { generation, pinned, changed } = document;
    if context.json {
        print_json("keeperctl.snapshot.pin/1", document)?;
    } else if !changed && !pinned {
        note(&format!("snapshot {generation} was not pinned"));
    } else {
        let word = if *pinned { "pinned" } else { "unpinned" };
        print(&format!("snapshot {generation}: {word}\n"))?;
    }
    Ok(Exit::Done)
}
