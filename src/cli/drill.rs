//! `keeperctl drill`: prove that what is saved can be restored.

use futures_util::future;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::cause::in_words;
use crate::drill::proof::{By, Proof, Record};
use crate::drill::{Drill, Drillmaster, sample, stage};
use crate::model::{Generation, Snapshot, describe_counts, plural};
use crate::restore::compare::Difference;
use crate::store::{Store, Writer};

use super::output::{BAD, DOUBT, GOOD, note, paragraph, print, print_json, printable, styled};
use super::snapshot::{Which, newest};
use super::{CliError, Context, Exit};

/// What to drill with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Which snapshot: "latest", "previous", its number, or a time such as "2 hours ago"; a built-in sample when
    /// there is none yet
    #[arg(value_name = "SNAPSHOT")]
    which: Option<Which>,
    /// Use the built-in sample
    #[arg(long, conflicts_with = "which")]
    sample: bool,
}

#[derive(Debug, Serialize)]
struct Document {
    /// `None` for the sample.
    generation: Option<Generation>,
    score: usize,
    fields: usize,
    differences: Vec<Row>,
    /// Texts that cannot be read, and sessions that did not come back whole.
    problems: Vec<String>,
    /// What does not lower the score.
    notes: Vec<String>,
    /// The version of tmux.
    tmux: String,
}

#[derive(Debug, Serialize)]
struct Row {
    place: String,
    field: String,
    saved: String,
    found: String,
}

/// Holds a drill.
pub async fn run(context: &Context, arguments: &Arguments) -> Result<Exit, CliError> {
    // Before there is a directory or a server that would be left.
    let interrupted = interrupted();
    let login = context.login();
    let program = context.program()?;
    let tmux = context.usable_tmux().await?;
    let master = Drillmaster { tmux_program: tmux.program().to_owned(), login: &login, program: &program };
    let (generation, snapshot, store) = subject(context, arguments)?;
    let number = generation.unwrap_or(0);
    // What is remembered is whether a restore works, and so what it would start from.
    let start = store.store.newest_restorable()?.good.map(|(start, _)| start);
    let drill = master.hold(number, &snapshot, &store.store, interrupted).await.map_err(CliError::failed)?;
    // Without a session nothing is proven.
    if let Some(generation) = generation.filter(|_| generation == start && drill.comparison.fields > 0) {
        let proof = Proof::of(generation, &snapshot, &drill, By::Hand);
        if let Err(error) = Record::add(&context.places.state, proof) {
            note(&format!("this drill cannot be remembered: {}", in_words(error)));
        }
    }
    report(context, generation, &snapshot, drill)
}

/// Listens from now on, and returns when somebody wants us to end: the throw-away server has to end first.
fn interrupted() -> impl Future<Output = ()> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let signals = kinds.into_iter().filter_map(|kind| signal(kind).ok());
    let each: Vec<_> = signals.map(|mut signal| Box::pin(async move { signal.recv().await })).collect();
    async move {
        future::select_all(each).await;
    }
}

/// A store, and the directory that it lives in if that is ours to remove.
struct Subject {
    store: Store,
    _dir: Option<tempfile::TempDir>,
}

fn subject(
    context: &Context,
    arguments: &Arguments,
) -> Result<(Option<Generation>, Snapshot, Subject), CliError> {
    if !arguments.sample {
        let store = context.store();
        let wanted = match arguments.which {
            Some(which) => Some(which.load(context)?),
            None => newest(&store, |_| true)?,
        };
        if let Some((generation, snapshot)) = wanted {
            return Ok((Some(generation), snapshot, Subject { store, _dir: None }));
        }
        note("no snapshot has been taken yet; this drill uses a built-in sample");
    }
    let dir = stage::own_dir()?;
    let writer = Writer::open(dir.path().join("state"))?;
    let snapshot = sample(&writer)?;
    Ok((None, snapshot, Subject { store: writer.store().clone(), _dir: Some(dir) }))
}

fn report(
    context: &Context,
    generation: Option<Generation>,
    snapshot: &Snapshot,
    drill: Drill,
) -> Result<Exit, CliError> {
    let perfect = drill.perfect();
    if context.json {
        let problems = drill.problems();
        let score = drill.comparison.score();
        let fields = drill.comparison.fields;
        let differences = drill.comparison.differences.into_iter().map(|difference| Row {
            place: difference.place,
            field: difference.field,
            saved: difference.saved,
            found: difference.found,
        });
        let differences = differences.collect();
        let (notes, tmux) = (drill.notes, drill.tmux_version);
        let document = Document { generation, score, fields, differences, problems, notes, tmux };
        print_json("keeperctl.drill/1", document)?;
    } else {
        print(&text(generation, snapshot, &drill))?;
    }
    Ok(if perfect { Exit::Done } else { Exit::Partly })
}

fn text(generation: Option<Generation>, snapshot: &Snapshot, drill: &Drill) -> String {
    let subject =
        generation.map_or_else(|| "the sample".to_owned(), |generation| format!("snapshot {generation}"));
    let counts = describe_counts(snapshot.server.counts());
    let mut out = format!("restored {subject} ({counts}) on a throw-away server\n");
    let differences = &drill.comparison.differences;
    let bad = drill.problems().into_iter().chain(in_sentences(differences)).map(|line| (BAD, "✘", line));
    let notes = drill.notes.iter().map(|line| (DOUBT, "!", line.clone()));
    for (style, mark, line) in bad.chain(notes) {
        out.push_str(&paragraph(&format!("  {} ", styled(style, mark)), 4, &printable(&line)));
    }
    let style = if drill.perfect() { GOOD } else { BAD };
    let score = styled(style, format!("{} %", drill.comparison.score()));
    let lost = match differences.len() {
        0 => String::new(),
        some => format!("; {some} would be lost or different"),
    };
    out.push_str(&format!("{score} of {}{lost}\n", plural(drill.comparison.fields, "field")));
    out
}

/// Says each difference, and only once that something is missing with all that belongs to it.
fn in_sentences(differences: &[Difference]) -> Vec<String> {
    let mut lines = Vec::new();
    for Difference { place, field, saved, found } in differences {
        lines.push(match (saved.as_str(), found.as_str()) {
            ("there", "missing") => format!("{place}: the {field} would be missing"),
            ("missing", "there") => format!("{place}: a {field} that was not saved would be there"),
            _ => format!("{place} {field}: {saved} became {found}"),
        });
    }
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_once() {
        let difference = |place: &str, field: &str, saved: &str, found: &str| Difference {
            place: place.to_owned(),
            field: field.to_owned(),
            saved: saved.to_owned(),
            found: found.to_owned(),
        };
        let differences = [
            difference("web:1", "window", "there", "missing"),
            difference("web:1", "window", "there", "missing"),
            difference("web:2", "window", "missing", "there"),
            difference("web:0.0", "text", "9 lines", "8 lines"),
        ];
        assert_eq!(
            in_sentences(&differences),
            [
                "web:1: the window would be missing",
                "web:2: a window that was not saved would be there",
                "web:0.0 text: 9 lines became 8 lines"
            ]
        );
    }
}
