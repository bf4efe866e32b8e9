//! `keeperctl drill`: prove that what is saved can be restored.

use serde::Serialize;

use crate::drill::{Drill, Drillmaster, sample};
use crate::model::{Generation, Snapshot, describe_counts};
use crate::restore::execute::Outcome;
use crate::store::{Store, Writer};

use super::output::{BAD, GOOD, note, paragraph, print, print_json, printable, styled};
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
    problems: Vec<String>,
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
    let login = context.login();
    let program = context.program()?;
    let tmux = context.usable_tmux().await?;
    let master = Drillmaster { tmux_program: tmux.program().to_owned(), login: &login, program: &program };
    let (generation, snapshot, store) = subject(context, arguments)?;
    let drill =
        master.hold(generation.unwrap_or(0), &snapshot, &store.store).await.map_err(CliError::failed)?;
    report(context, generation, &snapshot, drill)
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
        let store = context.store()?;
        let wanted = match arguments.which {
            Some(which) => Some(which.load(context)?),
            None => newest(&store, |_| true)?,
        };
        if let Some((generation, snapshot)) = wanted {
            return Ok((Some(generation), snapshot, Subject { store, _dir: None }));
        }
        note("no snapshot has been taken yet; this drill uses a built-in sample");
    }
    let dir = tempfile::Builder::new().prefix("agent-keeper-sample-").tempdir()?;
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
    let problems: Vec<String> = drill.unread.iter().cloned().chain(failures(&drill)).collect();
    let score = drill.comparison.score();
    let perfect = score == 100 && problems.is_empty();
    if context.json {
        let differences = drill.comparison.differences.into_iter().map(|difference| Row {
            place: difference.place,
            field: difference.field,
            saved: difference.saved,
            found: difference.found,
        });
        let fields = drill.comparison.fields;
        let differences = differences.collect();
        print_json("keeperctl.drill/1", Document { generation, score, fields, differences, problems })?;
    } else {
        print(&text(generation, snapshot, &drill, &problems))?;
    }
    Ok(if perfect { Exit::Done } else { Exit::Partly })
}

fn failures(drill: &Drill) -> impl Iterator<Item = String> + '_ {
    drill.report.sessions.iter().filter_map(|(session, outcome)| match outcome {
        Outcome::Restored => None,
        Outcome::Partly(problems) => Some(format!("{session}: {}", problems.join("; "))),
        Outcome::Failed(why) => Some(format!("{session}: {why}")),
    })
}

fn text(generation: Option<Generation>, snapshot: &Snapshot, drill: &Drill, problems: &[String]) -> String {
    let subject =
        generation.map_or_else(|| "the sample".to_owned(), |generation| format!("snapshot {generation}"));
    let counts = describe_counts(snapshot.server.counts());
    let mut out = format!("restored {subject} ({counts}) on a throw-away server\n");
    let differences = drill.comparison.differences.iter().map(|difference| {
        let (place, field) = (&difference.place, &difference.field);
        format!("{place} {field}: {} became {}", difference.saved, difference.found)
    });
    for line in problems.iter().cloned().chain(differences) {
        out.push_str(&paragraph(&format!("  {} ", styled(BAD, "✘")), 4, &printable(&line)));
    }
    let score = drill.comparison.score();
    let style = if score == 100 && problems.is_empty() { GOOD } else { BAD };
    out.push_str(&format!("{} of {} fields\n", styled(style, format!("{score} %")), drill.comparison.fields));
    out
}
