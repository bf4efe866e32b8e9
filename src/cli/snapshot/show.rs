//! `keeperctl snapshot show`: what one snapshot holds, and why it is kept.

use jiff::tz::TimeZone;
use serde::Serialize;

use crate::cli::output::{DIM, NAME, print, print_json, printable, styled, width, wrap};
use crate::cli::tree::{Marks, draw};
use crate::cli::{CliError, Context, Exit};
use crate::model::{Generation, Snapshot, describe_counts};
use crate::store::retention::{KeepReason, Retention};
use crate::store::retention_of;

use super::Which;

/// Shows it.
pub fn run(context: &Context, which: Which) -> Result<Exit, CliError> {
    let (generation, snapshot) = which.load(context)?;
    let keeping = Keeping::of(context, generation)?;
    if context.json {
        #[derive(Serialize)]
        struct Shown<'a> {
            generation: Generation,
            #[serde(flatten)]
            keeping: &'a Keeping,
            snapshot: &'a Snapshot,
        }
        let shown = Shown { generation, keeping: &keeping, snapshot: &snapshot };
        print_json("keeperctl.snapshot.show/1", shown)?;
        return Ok(Exit::Done);
    }
    let taken = snapshot.taken_at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S");
    let home = crate::place::home().ok();
    let marks =
        Marks { clients: &|_| 0, waits: &|_| false, home: home.as_deref().and_then(|home| home.to_str()) };
    let lines: u64 = snapshot.server.panes().map(|(_, _, pane)| pane.scrollback.lines).sum();
    let head = format!(
        "{}  {taken} on {}, {}\n{}{}, {lines} lines of text, tmux {}\n",
        styled(NAME, format!("snapshot {generation}")),
        printable(&snapshot.host),
        snapshot.reason.word(),
        keeping.lines(&snapshot),
        describe_counts(snapshot.server.counts()),
        printable(&snapshot.server.version),
    );
    print(&format!("{head}{}", draw(&snapshot.server, &marks, width())))?;
    Ok(Exit::Done)
}

/// Why it is kept.
#[derive(Debug, Serialize)]
struct Keeping {
    kept: Vec<&'static str>,
    note: Option<String>,
}

impl Keeping {
    fn of(context: &Context, generation: Generation) -> Result<Self, CliError> {
        let store = context.store();
        let (entries, pins) = (store.entries()?, store.pins()?);
        let reasons = retention_of(&entries, &pins, &Retention::default());
        let own = reasons.into_iter().find(|(number, _)| *number == generation);
        Ok(Self {
            kept: own
                .map(|(_, reasons)| reasons.into_iter().map(KeepReason::word).collect())
                .unwrap_or_default(),
            note: pins.of(generation).map(|pin| pin.note.clone()),
        })
    }

    fn lines(&self, snapshot: &Snapshot) -> String {
        let kept = match self.kept.is_empty() {
            true => "goes with the next clean-up".to_owned(),
            false => format!("kept: {}", self.kept.join(", ")),
        };
        let note = self.note.as_ref().filter(|note| !note.is_empty());
        let note = note.map_or_else(String::new, |note| format!("; {}", printable(note)));
        let aside = snapshot.aside.map_or_else(String::new, |aside| {
            format!("{}; no restore starts from it unasked\n", aside.sentence())
        });
        styled(DIM, format!("{aside}{}", wrap(&format!("{kept}{note}"), width()).join("\n"))) + "\n"
    }
}
