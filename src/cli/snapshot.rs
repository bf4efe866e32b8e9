//! `keeperctl snapshot`: take, list and show generations.

use clap::Subcommand;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::model::{Generation, Snapshot, describe_counts};
use crate::store::retention::{KeepReason, Retention};
use crate::store::{Entry, retention_of};

use super::output::{BAD, DIM, NAME, ago, columns, fit, note, pad, print, print_json, styled, width};
use super::tree::{Marks, draw};
use super::{CliError, Context, Exit};

mod moment;
mod which;

pub use which::{Which, newest};

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take one now
    Take,
    /// List them, newest last
    List,
    /// Show what one holds
    Show {
        /// Its number, "latest" or "previous"
        #[arg(default_value = "latest", value_name = "SNAPSHOT")]
        which: Which,
    },
}

/// One generation in a list.
#[derive(Debug, Serialize)]
struct Row {
    generation: Generation,
    file: String,
    taken_at: Option<Timestamp>,
    reason: Option<&'static str>,
    sessions: Vec<String>,
    windows: usize,
    panes: usize,
    bytes: u64,
    /// Why it is kept.
    kept: Vec<&'static str>,
    /// What is wrong with it.
    flaw: Option<String>,
}

/// Does it.
pub async fn run(context: &Context, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Take => take(context).await,
        Command::List => list(context),
        Command::Show { which } => show(context, which),
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
        let snapshot = context.store()?.load(generation)?;
        let counts = describe_counts(snapshot.server.counts());
        print(&format!("snapshot {generation}: {counts}\n"))?;
    }
    Ok(Exit::Done)
}

fn list(context: &Context) -> Result<Exit, CliError> {
    let entries = context.store()?.entries()?;
    let reasons = retention_of(&entries, &Retention::default());
    let rows: Vec<Row> = entries.iter().map(|entry| row(entry, &reasons)).collect();
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

fn row(entry: &Entry, reasons: &[(Generation, Vec<KeepReason>)]) -> Row {
    let snapshot = entry.content.as_ref().ok();
    let (_, windows, panes) = snapshot.map(|s| s.server.counts()).unwrap_or_default();
    let kept = reasons.iter().find(|(generation, _)| *generation == entry.generation);
    Row {
        generation: entry.generation,
        file: entry.path.display().to_string(),
        taken_at: snapshot.map(|s| s.taken_at),
        reason: snapshot.map(|s| s.reason.word()),
        sessions: snapshot
            .map(|s| s.server.sessions.iter().map(|s| s.name.clone()).collect())
            .unwrap_or_default(),
        windows,
        panes,
        bytes: entry.bytes,
        kept: kept
            .map(|(_, reasons)| reasons.iter().map(|reason| reason.word()).collect())
            .unwrap_or_default(),
        flaw: entry.content.as_ref().err().map(ToString::to_string),
    }
}

/// The column headings, and whether the column holds numbers.
const COLUMNS: [(&str, bool); 7] = [
    ("#", true),
    ("taken", false),
    ("ago", true),
    ("why", false),
    ("win", true),
    ("panes", true),
    ("sessions", false),
];

fn table(rows: &[Row]) -> String {
    let cells: Vec<[String; 7]> = rows.iter().map(row_cells).collect();
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

fn table_line(cells: &[String; 7], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).zip(COLUMNS).map(|((cell, width), (_, number))| match number {
        true => format!("{}{cell}", " ".repeat(width - columns(cell))),
        false => pad(cell, *width),
    });
    fit(padded.collect::<Vec<_>>().join("  ").trim_end(), width())
}

fn row_cells(row: &Row) -> [String; 7] {
    let taken = row.taken_at.map(|at| at.to_zoned(TimeZone::system()).strftime("%m-%d %H:%M:%S").to_string());
    let age = row.taken_at.map(|at| ago(Timestamp::now().as_second() - at.as_second()));
    let content = row.flaw.clone().unwrap_or_else(|| row.sessions.join(", "));
    [
        row.generation.to_string(),
        taken.unwrap_or_default(),
        age.unwrap_or_default(),
        row.reason.unwrap_or("!").to_owned(),
        row.windows.to_string(),
        row.panes.to_string(),
        content,
    ]
}

fn show(context: &Context, which: Which) -> Result<Exit, CliError> {
    let (generation, snapshot) = which.load(context)?;
    if context.json {
        #[derive(Serialize)]
        struct Shown<'a> {
            generation: Generation,
            snapshot: &'a Snapshot,
        }
        print_json("keeperctl.snapshot.show/1", Shown { generation, snapshot: &snapshot })?;
        return Ok(Exit::Done);
    }
    let taken = snapshot.taken_at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S");
    let home = crate::place::home().ok();
    let marks =
        Marks { clients: &|_| 0, waits: &|_| false, home: home.as_deref().and_then(|home| home.to_str()) };
    let lines: u64 = snapshot.server.panes().map(|(_, _, pane)| pane.scrollback.lines).sum();
    let head = format!(
        "{}  {taken} on {}, {}\n{}, {lines} lines of text, tmux {}\n",
        styled(NAME, format!("snapshot {generation}")),
        snapshot.host,
        snapshot.reason.word(),
        describe_counts(snapshot.server.counts()),
        snapshot.server.version,
    );
    print(&format!("{head}{}", draw(&snapshot.server, &marks, width())))?;
    Ok(Exit::Done)
}
