//! `keeperctl snapshot list`: all snapshots in a table.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::cli::output::{
    BAD, DIM, ago, columns, fit, note, pad, print, print_json, printable, styled, width,
};
use crate::cli::{CliError, Context, Exit};
use crate::model::{Aside, Generation};
use crate::store::pins::Pins;
use crate::store::retention::{KeepReason, Retention};
use crate::store::{Entry, retention_of};

/// One generation in a list.
#[derive(Debug, Serialize)]
struct Row {
    generation: Generation,
    file: String,
    taken_at: Option<Timestamp>,
    reason: Option<&'static str>,
    /// Why no restore starts from it unasked.
    aside: Option<&'static str>,
    sessions: Vec<String>,
    windows: usize,
    panes: usize,
    bytes: u64,
    /// Why it is kept.
    kept: Vec<&'static str>,
    /// What was noted when it was pinned.
    note: Option<String>,
    /// What is wrong with it.
    flaw: Option<String>,
}

/// Lists.
pub fn run(context: &Context) -> Result<Exit, CliError> {
    let store = context.store();
    let entries = store.entries()?;
    let pins = store.pins()?;
    let reasons = retention_of(&entries, &pins, &Retention::default());
    let rows: Vec<Row> = entries.iter().map(|entry| row(entry, &reasons, &pins)).collect();
    let flawed = rows.iter().filter(|row| row.flaw.is_some()).count();
    if context.json {
        #[derive(Serialize)]
        struct List {
            snapshots: Vec<Row>,
        }
        print_json("keeperctl.snapshot.list/1", List { snapshots: rows })?;
    } else if rows.is_empty() {
        note("no snapshot yet; the keeper takes one as soon as there is a session");
    } else {
        print(&table(&rows))?;
        say_flaws(&rows);
    }
    Ok(if flawed > 0 { Exit::Partly } else { Exit::Done })
}

/// The table has no room for the whole of it.
fn say_flaws(rows: &[Row]) {
    let flawed = rows.iter().filter_map(|row| Some((&row.file, row.flaw.as_ref()?)));
    let lines: Vec<String> = flawed.map(|(file, flaw)| format!("{file}: {flaw}")).collect();
    if !lines.is_empty() {
        lines.iter().for_each(|line| note(line));
        note("  these files are left as they are; the newest whole snapshot counts: keeperctl snapshot show");
    }
}

fn row(entry: &Entry, reasons: &[(Generation, Vec<KeepReason>)], pins: &Pins) -> Row {
    let snapshot = entry.content.as_ref().ok();
    let (_, windows, panes) = snapshot.map(|s| s.server.counts()).unwrap_or_default();
    let kept = reasons.iter().find(|(generation, _)| *generation == entry.generation);
    Row {
        generation: entry.generation,
        file: entry.path.display().to_string(),
        taken_at: snapshot.map(|s| s.taken_at),
        reason: snapshot.map(|s| s.reason.word()),
        aside: snapshot.and_then(|s| s.aside).map(Aside::word),
        sessions: snapshot
            .map(|s| s.server.sessions.iter().map(|s| s.name.clone()).collect())
            .unwrap_or_default(),
        windows,
        panes,
        bytes: entry.bytes,
        kept: kept
            .map(|(_, reasons)| reasons.iter().map(|reason| reason.word()).collect())
            .unwrap_or_default(),
        note: pins.of(entry.generation).map(|pin| pin.note.clone()),
        flaw: entry.content.as_ref().err().map(ToString::to_string),
    }
}

/// The column headings, and whether the column holds numbers.
const COLUMNS: [(&str, bool); 8] = [
    ("#", true),
    ("taken", false),
    ("ago", true),
    ("why", false),
    ("kept", false),
    ("win", true),
    ("panes", true),
    ("sessions", false),
];

fn table(rows: &[Row]) -> String {
    let cells: Vec<[String; 8]> = rows.iter().map(row_cells).collect();
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|at| cells.iter().map(|row| columns(&row[at])).chain([COLUMNS[at].0.len()]).max().unwrap_or(0))
        .collect();
    let head = COLUMNS.map(|(title, _)| title.to_owned());
    let mut out = styled(DIM, table_line(&head, &widths)) + "\n";
    for (row, cells) in rows.iter().zip(&cells) {
        let line = table_line(cells, &widths);
        out.push_str(&if row.flaw.is_some() { styled(BAD, line) } else { line });
        out.push('\n');
    }
    out
}

fn table_line(cells: &[String; 8], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).zip(COLUMNS).map(|((cell, width), (_, number))| match number {
        true => format!("{}{cell}", " ".repeat(width - columns(cell))),
        false => pad(cell, *width),
    });
    fit(padded.collect::<Vec<_>>().join("  ").trim_end(), width())
}

fn row_cells(row: &Row) -> [String; 8] {
    let taken = row.taken_at.map(|at| at.to_zoned(TimeZone::system()).strftime("%m-%d %H:%M:%S").to_string());
    let age = row.taken_at.map(|at| ago(Timestamp::now().as_second() - at.as_second()));
    let content = row.flaw.clone().unwrap_or_else(|| printable(&row.sessions.join(", ")));
    [
        row.generation.to_string(),
        taken.unwrap_or_default(),
        age.unwrap_or_default(),
        row.aside.or(row.reason).unwrap_or("!").to_owned(),
        kept_cell(row),
        row.windows.to_string(),
        row.panes.to_string(),
        content,
    ]
}

/// The first reason is the one that holds the longest; that there are more is for `show` to say.
fn kept_cell(row: &Row) -> String {
    row.kept.first().map_or("", |reason| reason.trim_start_matches("last-of-")).to_owned()
}
