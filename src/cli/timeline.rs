//! `keeperctl timeline`: what happened when.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::Serialize;

use crate::cause::in_words;
use crate::diagnosis::explain;
use crate::history::{self, Range};
use crate::model::entry::{Entry, Happening};
use crate::model::incident::Confidence;
use crate::model::{BootId, Generation, describe_counts, plural};
use crate::store::Store;

use super::output::{BAD, DIM, NAME, fit, note, pad, print, print_json, printable, styled, width};
use super::snapshot::moment::{self, MomentError};
use super::{CliError, Context, Exit};

/// Show what happened when: boots, logins, deaths, snapshots, restores
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// From when: "14:05", "yesterday", "2026-11-21", "2 hours ago"
    #[arg(long, value_parser = beginning)]
    since: Option<Timestamp>,
    /// Until when
    #[arg(long, value_parser = ending)]
    until: Option<Timestamp>,
}

fn beginning(text: &str) -> Result<Timestamp, String> {
    moment::parse_beginning(text, &Zoned::now()).map_err(in_words_of)
}

fn ending(text: &str) -> Result<Timestamp, String> {
    moment::parse(text, &Zoned::now()).map_err(in_words_of)
}

fn in_words_of(error: MomentError) -> String {
    match error {
        MomentError::NoTime => {
            "expected a time such as \"14:05\", \"yesterday\" or \"2 hours ago\"".to_owned()
        }
        MomentError::Future(_) => error.to_string(),
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Row {
    at: Timestamp,
    kind: &'static str,
    text: String,
    /// Whether it is one that nobody wanted.
    #[serde(skip)]
    bad: bool,
}

/// The column for what kind of thing it is.
const KIND_COLUMNS: usize = 9;

/// Shows.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Exit, CliError> {
    let range = Range { since: arguments.since, until: arguments.until };
    // A death is written down after it: what is of this time may stand further down.
    let mut history = history::read(&context.places.state, &Range { until: None, ..range });
    history.unread.drain(..).for_each(|error| note(&in_words(error)));
    let mut rows = rows_of(&history.entries);
    rows.extend(snapshots(&context.store(), &range)?);
    rows.retain(|row| range.contains(row.at));
    rows.sort_by_key(|row| row.at);
    let rows = together(rows);
    if context.json {
        #[derive(Serialize)]
        struct Timeline {
            happened: Vec<Row>,
        }
        print_json("keeperctl.timeline/1", Timeline { happened: rows })?;
    } else if rows.is_empty() {
        note("nothing is remembered of that time");
    } else {
        print(&table(&rows))?;
    }
    Ok(Exit::Done)
}

fn rows_of(entries: &[Entry]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut boot: Option<&BootId> = None;
    for entry in entries {
        if boot.is_some_and(|boot| *boot != entry.boot) {
            rows.push(Row {
                at: entry.at,
                kind: "boot",
                text: "another boot of the machine".to_owned(),
                bad: false,
            });
        }
        boot = Some(&entry.boot);
        rows.push(row(entry));
    }
    rows
}

fn row(entry: &Entry) -> Row {
    let (kind, text) = match &entry.what {
        Happening::KeeperStarted { version } => ("keeper", format!("agent-keeper {version} started")),
        Happening::KeeperEnded => ("keeper", "ended".to_owned()),
        Happening::ServerFound { server, unit } => {
            let unit = unit.as_ref().map_or_else(String::new, |unit| format!(" in {unit}"));
            ("server", format!("a tmux server (pid {}){unit}", server.pid))
        }
        Happening::Login { session } => ("login", format!("logind session {session} began")),
        Happening::Logout { session } => ("logout", format!("logind session {session} ended")),
        Happening::Linger { on: true } => ("linger", "was switched on: nothing ends at logout".to_owned()),
        Happening::Linger { on: false } => {
            ("linger", "was switched off: all ends after the last logout".to_owned())
        }
        Happening::ShutdownBegins => ("shutdown", "the machine began to go down".to_owned()),
        Happening::ShutdownCancelled => ("shutdown", "was called off".to_owned()),
        Happening::Slept { secs } => ("sleep", format!("the machine slept for {secs} s")),
        Happening::Memory { unit, kills } => {
            ("memory", format!("the kernel killed for want of memory in {unit}: {kills}"))
        }
        Happening::Restored { generation, sessions, complete } => {
            let part = if *complete { "" } else { ", not all of it" };
            ("restored", format!("{} from snapshot {generation}{part}", sessions.join(", ")))
        }
        Happening::Died(incident) => return death(incident),
        Happening::Other { kind } => ("other", format!("{kind}, which this version does not know")),
    };
    Row { at: entry.at, kind, text, bad: false }
}

fn death(incident: &crate::model::incident::Incident) -> Row {
    let unwanted = explain::is_unwanted(incident);
    let sure = incident.verdict.finding.confidence >= Confidence::Likely;
    let kind = if unwanted { "died" } else { "closed" };
    Row { at: incident.at, kind, text: explain::sentence(incident), bad: unwanted && sure }
}

fn snapshots(store: &Store, range: &Range) -> Result<Vec<Row>, CliError> {
    let entries = store.entries()?;
    let rows = entries.iter().filter_map(|entry| {
        let snapshot = entry.content.as_ref().ok().filter(|snapshot| range.contains(snapshot.taken_at))?;
        let counts = describe_counts(snapshot.server.counts());
        let text = format!("{}: {counts} ({})", entry.generation, snapshot.reason.word());
        Some(Row { at: snapshot.taken_at, kind: "snapshot", text, bad: false })
    });
    Ok(rows.collect())
}

/// Tells snapshots that follow each other in one line.
fn together(rows: Vec<Row>) -> Vec<Row> {
    let mut out: Vec<Row> = Vec::new();
    let mut more: Option<(Generation, Generation, usize)> = None;
    for row in rows {
        let number = number(&row);
        let last = out.last().and_then(self::number);
        if let (Some(number), Some(first)) = (number, last.filter(|_| row.kind == "snapshot")) {
            let (from, _, count) = more.unwrap_or((first, first, 1));
            more = Some((from, number, count + 1));
            if let Some(last) = out.last_mut() {
                last.text = format!("{from} to {number}: {}", plural(count + 1, "snapshot"));
            }
            continue;
        }
        more = None;
        out.push(row);
    }
    out
}

/// Returns the number of a snapshot's row.
fn number(row: &Row) -> Option<Generation> {
    let text = (row.kind == "snapshot").then_some(row.text.as_str())?;
    text.split([':', ' ']).next()?.parse().ok()
}

fn table(rows: &[Row]) -> String {
    let mut out = String::new();
    let mut days = BTreeSet::new();
    for row in rows {
        let at = row.at.to_zoned(TimeZone::system());
        if days.insert(at.date()) {
            out.push_str(&format!("{}\n", styled(NAME, at.strftime("%A, %-d %B %Y"))));
        }
        let time = styled(DIM, at.strftime("%H:%M:%S"));
        let kind = pad(row.kind, KIND_COLUMNS);
        let kind = if row.bad { styled(BAD, kind) } else { kind };
        let text = fit(&printable(&row.text), width().saturating_sub(2 + 8 + 2 + KIND_COLUMNS + 1));
        out.push_str(&format!("  {time}  {kind} {text}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(secs: i64, kind: &'static str, text: &str) -> Row {
        Row { at: Timestamp::from_second(secs).unwrap(), kind, text: text.to_owned(), bad: false }
    }

    #[test]
    fn snapshots_that_follow_each_other_take_one_line() {
        let rows = vec![
            row(1, "snapshot", "7: 1 session"),
            row(2, "keeper", "ended"),
            row(3, "snapshot", "8: 1 session"),
            row(4, "snapshot", "9: 2 sessions"),
            row(5, "snapshot", "12: 2 sessions"),
            row(6, "died", "web"),
        ];
        let texts: Vec<String> = together(rows).into_iter().map(|row| row.text).collect();
        assert_eq!(texts, ["7: 1 session", "ended", "8 to 12: 3 snapshots", "web"]);
    }
}
