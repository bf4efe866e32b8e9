//! `keeperctl snapshot verify`: read everything again and say what is damaged. Changes nothing.

use serde::Serialize;

use crate::cli::output::{BAD, GOOD, note, paragraph, print, print_json, printable, styled};
use crate::cli::{CliError, Context, Exit};
use crate::model::{Generation, plural};
use crate::store::verify::{Hurt, Problem, Verification};

use super::Which;

/// How many places of a generation are named in text; JSON has all.
const PLACES_MAX: usize = 6;

#[derive(Debug, Serialize)]
struct Document<'a> {
    generations: usize,
    objects: usize,
    bytes: u64,
    problems: Vec<Row<'a>>,
    whole: &'a [Generation],
    newest_whole: Option<Generation>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    file: String,
    problem: &'a str,
    hurts: Vec<HurtRow<'a>>,
}

#[derive(Debug, Serialize)]
struct HurtRow<'a> {
    generation: Generation,
    /// Empty when all of it is lost.
    places: &'a [String],
}

/// Verifies all, or some.
pub fn run(context: &Context, which: &[Which]) -> Result<Exit, CliError> {
    let store = context.store();
    let mut only = Vec::new();
    for which in which {
        match which {
            Which::Number(generation) => only.push(*generation),
            which => only.push(which.load(context)?.0),
        }
    }
    let found = store.verify(Some(&only[..]).filter(|only| !only.is_empty()))?;
    if context.json {
        print_json("keeperctl.snapshot.verify/1", document(&found))?;
    } else {
        print(&text(&found))?;
        advise(&found);
    }
    Ok(if found.problems.is_empty() { Exit::Done } else { Exit::Partly })
}

fn document(found: &Verification) -> Document<'_> {
    Document {
        generations: found.generations,
        objects: found.objects,
        bytes: found.bytes,
        problems: found.problems.iter().map(row).collect(),
        whole: &found.whole,
        newest_whole: found.newest_whole,
    }
}

fn row(problem: &Problem) -> Row<'_> {
    let hurts = problem.hurts.iter();
    Row {
        file: problem.path.display().to_string(),
        problem: &problem.what,
        hurts: hurts.map(|hurt| HurtRow { generation: hurt.generation, places: &hurt.places }).collect(),
    }
}

fn text(found: &Verification) -> String {
    let mut out = String::new();
    for problem in &found.problems {
        let line = format!("{}: {}", problem.path.display(), problem.what);
        out.push_str(&paragraph(&format!("{} ", styled(BAD, "✘")), 2, &printable(&line)));
        for hurt in &problem.hurts {
            out.push_str(&paragraph("  ", 4, &printable(&hurt_line(hurt))));
        }
    }
    let read = format!(
        "{} and {} read, {} KiB",
        plural(found.generations, "snapshot"),
        plural(found.objects, "text"),
        found.bytes.div_ceil(1024)
    );
    let verdict = match found.problems.len() {
        0 => styled(GOOD, "nothing is wrong"),
        n => styled(BAD, plural(n, "problem")),
    };
    out.push_str(&format!("{read}: {verdict}\n"));
    out
}

fn hurt_line(hurt: &Hurt) -> String {
    let generation = hurt.generation;
    let shown = hurt.places.iter().take(PLACES_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match hurt.places.len() {
        0 => format!("snapshot {generation} cannot be restored"),
        n if n > PLACES_MAX => {
            format!("snapshot {generation} lacks text of {shown} and {} more", n - PLACES_MAX)
        }
        _ => format!("snapshot {generation} lacks text of {shown}"),
    }
}

fn advise(found: &Verification) {
    if found.problems.is_empty() {
        return;
    }
    match found.newest_whole {
        Some(generation) => note(&format!("  the newest whole snapshot: keeperctl restore {generation}")),
        None => note("  no snapshot with sessions is whole"),
    }
    note("  nothing was changed; a damaged snapshot goes with: keeperctl snapshot rm NUMBER");
}
