//! `keeperctl restore`: bring back sessions, or show what would be done.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Serialize;
use zbus::Variant;

use crate::model::{Generation, PaneId, Server, Snapshot};
use crate::proc::Proc;
use crate::restore::approved::Approved;
use crate::restore::globals::{GlobalDifference, differing, sentence};
use crate::restore::plan::{Plan, Programs, Selection, SelectionError, Started, plan};
use crate::restore::selection::is_held;
use crate::similar::nearest;
use crate::tmux::TmuxError;
use crate::tmux::observe::{ObserveError, observe};

use super::output::{
    BAD, DIM, DOUBT, GOOD, NAME, columns, fit, note, paragraph, print, print_json, printable, styled, width,
};
use super::snapshot::{Which, newest};
use super::{CliError, Context, Exit};

/// The widest that the name of a session gets.
const NAME_COLUMNS_MAX: usize = 60;

/// What to bring back.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: keeperctl restore \"2 hours ago\" --window web:logs --dry-run")]
pub struct Arguments {
    /// From which snapshot: "latest", "previous", its number, or a time such as "14:05" or "2 hours ago"; without
    /// one the newest that holds what is asked for
    #[arg(value_name = "SNAPSHOT")]
    which: Option<Which>,
    /// Only this session; can be given several times
    #[arg(long = "session", short = 's', value_name = "NAME", allow_hyphen_values = true)]
    sessions: Vec<String>,
    /// Only this window, such as web:2, web:logs, or with one --session 2 or logs; can be given several times. If
    /// its session is there, it is added to that
    #[arg(long = "window", short = 'w', value_name = "WINDOW", allow_hyphen_values = true)]
    windows: Vec<String>,
    /// Give the one session this name; it is made even if the one of the old name is there
    #[arg(long = "as", value_name = "NEWNAME", allow_hyphen_values = true)]
    rename: Option<String>,
    /// Only show what would be done
    #[arg(long, short = 'n')]
    dry_run: bool,
}

/// One session of the result.
#[derive(Debug, Serialize)]
struct Row {
    session: String,
    /// `restore` in a dry run; `restored`, `partly`, `failed` or `skipped` else.
    result: String,
    detail: String,
    /// Programs that wait, or would wait, for Enter.
    waiting: Vec<Started>,
    /// Programs that start by themselves, because they are approved.
    running: Vec<Started>,
}

#[derive(Debug, Serialize)]
struct Document {
    generation: Generation,
    dry_run: bool,
    sessions: Vec<Row>,
    /// Panes whose text cannot be read whole.
    lost: Vec<String>,
    /// Global options that are not as they were. They are not changed.
    globals: Vec<GlobalDifference>,
}

/// What a restore does not bring back, besides what its rows say.
struct Missing {
    /// Panes whose text cannot be read whole.
    texts: Vec<String>,
    /// Global options that are not as they were.
    globals: Vec<GlobalDifference>,
}

/// Brings back.
pub async fn run(context: &Context, arguments: &Arguments) -> Result<Exit, CliError> {
    let selection = Selection {
        sessions: arguments.sessions.clone(),
        windows: arguments.windows.clone(),
        rename: arguments.rename.clone(),
        by_hand: true,
    };
    let (generation, snapshot) = match arguments.which {
        Some(which) => which.load(context)?,
        None => newest_with(context, &selection)?,
    };
    let live = live_server(context).await?;
    let plan = plan(generation, &snapshot, live.as_ref(), &selection).map_err(hinted)?;
    let approved = context.settings()?.approved;
    let rows = match arguments.dry_run {
        true => planned(&plan, &approved),
        false => carry_out(context, &plan, &selection, &approved).await?,
    };
    // Where there was no server, the keeper has started one.
    let living = match live {
        None if !arguments.dry_run => live_server(context).await?,
        live => live,
    };
    let globals = living.map_or_else(Vec::new, |living| differing(&snapshot.server, &living));
    let missing = Missing { texts: lost_texts(context, &plan, &snapshot)?, globals };
    report(context, generation, arguments, rows, missing)
}

/// Returns the panes of the plan whose text is damaged in the store. They come back without it.
fn lost_texts(context: &Context, plan: &Plan, snapshot: &Snapshot) -> Result<Vec<String>, CliError> {
    let lost = context.store().lost_texts(snapshot).into_iter().map(|lost| lost.place);
    let planned: HashSet<PaneId> = plan
        .steps
        .iter()
        .flat_map(|step| &step.session.windows)
        .flat_map(|window| window.panes.iter().map(|pane| pane.id))
        .collect();
    let panes = snapshot.server.panes().filter(|(_, _, pane)| planned.contains(&pane.id));
    let places: HashSet<String> = panes
        .map(|(session, window, pane)| format!("{}:{}.{}", session.name, window.index, pane.index))
        .collect();
    let made = |place: &String| places.contains(place);
    Ok(lost.filter(made).collect())
}

fn hinted(error: SelectionError) -> CliError {
    let hint = match &error {
        SelectionError::UnknownSession { .. } => "what others hold: keeperctl snapshot list",
        SelectionError::UnknownWindow { generation, .. } => {
            let hint = format!("what it holds: keeperctl snapshot show {generation}");
            return CliError::failed(error).hint(hint);
        }
        SelectionError::AmbiguousWindow { .. } => "name it by session and index, as in --window web:2",
        SelectionError::OneNameForMany { .. } => "choose one with --session NAME",
        SelectionError::BadName { .. } | SelectionError::NameTaken { .. } => {
            "choose another with --as NEWNAME"
        }
    };
    CliError::failed(error).hint(hint)
}

/// Returns the newest snapshot that holds what is asked for.
fn newest_with(context: &Context, selection: &Selection) -> Result<(Generation, Snapshot), CliError> {
    let mut names = BTreeSet::new();
    let found = newest(&context.store(), |snapshot| {
        names.extend(snapshot.server.sessions.iter().map(|session| session.name.clone()));
        is_held(snapshot, selection)
    })?;
    match found {
        Some(found) => Ok(found),
        None if selection.sessions.is_empty() && selection.windows.is_empty() => Which::Latest.load(context),
        None => Err(held_by_none(selection, &names)),
    }
}

fn held_by_none(selection: &Selection, names: &BTreeSet<String>) -> CliError {
    let message = match (&selection.sessions[..], &selection.windows[..]) {
        ([name], []) => format!("no snapshot holds a session {name:?}"),
        ([], [window]) => format!("no snapshot holds a window {window:?}"),
        ([name], [window]) => format!("no snapshot holds a session {name:?} with a window {window:?}"),
        (names, []) => format!("no snapshot holds all of the sessions {}", names.join(", ")),
        (_, windows) => format!("no snapshot holds all of the windows {}", windows.join(", ")),
    };
    let unknown = selection.sessions.iter().find(|wanted| !names.contains(*wanted));
    let near = unknown.and_then(|wanted| nearest(wanted, names.iter().map(|name| (name.as_str(), name))));
    let error = CliError::failed(anyhow::Error::msg(message));
    let error = near.into_iter().fold(error, |error, near| error.hint(format!("did you mean {near:?}?")));
    error.hint("what there is: keeperctl snapshot list")
}

/// Looks at the server; `None` where there is none.
pub async fn live_server(context: &Context) -> Result<Option<Server>, CliError> {
    let store = context.store();
    let start = |id| serde_json::from_slice(&store.object(id).ok()?).ok();
    match observe(&context.usable_tmux().await?, &Proc::default(), &start).await {
        Ok(seen) => Ok(Some(seen.server)),
        Err(ObserveError::Tmux(TmuxError::NoServer { .. })) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn planned(plan: &Plan, approved: &Approved) -> Vec<Row> {
    let programs = plan.programs(approved);
    let steps = plan.steps.iter().map(|step| {
        let Programs { running, waiting } = programs_of(&programs, &step.session.name);
        let detail = step.in_words();
        Row { session: step.session.name.clone(), result: "restore".to_owned(), detail, waiting, running }
    });
    steps.chain(skipped(plan)).collect()
}

fn programs_of(all: &Programs, session: &str) -> Programs {
    let own = |list: &[Started]| list.iter().filter(|started| started.session == session).cloned().collect();
    Programs { running: own(&all.running), waiting: own(&all.waiting) }
}

fn skipped(plan: &Plan) -> impl Iterator<Item = Row> + '_ {
    plan.skips.iter().map(|skip| Row {
        session: skip.session.clone(),
        result: "skipped".to_owned(),
        detail: skip.why.sentence(),
        waiting: Vec::new(),
        running: Vec::new(),
    })
}

/// The daemon does it, so that it does not save what is half there.
async fn carry_out(
    context: &Context,
    shown: &Plan,
    selection: &Selection,
    approved: &Approved,
) -> Result<Vec<Row>, CliError> {
    let keeper = context.keeper().await?;
    let mut options = HashMap::from([
        ("sessions", Variant::from(&selection.sessions)),
        ("windows", Variant::from(&selection.windows)),
    ]);
    options.extend(selection.rename.as_ref().map(|name| ("name", Variant::from(name))));
    let rows = keeper.restore_selected(shown.generation, options).await?;
    let programs = shown.programs(approved);
    Ok(rows
        .into_iter()
        .map(|(session, result, detail)| {
            let made =
                if result == "skipped" { Programs::default() } else { programs_of(&programs, &session) };
            Row { waiting: made.waiting, running: made.running, session, result, detail }
        })
        .collect())
}

fn report(
    context: &Context,
    generation: Generation,
    arguments: &Arguments,
    rows: Vec<Row>,
    missing: Missing,
) -> Result<Exit, CliError> {
    let dry_run = arguments.dry_run;
    let Missing { texts: lost, globals } = missing;
    let by_name = !arguments.sessions.is_empty() || !arguments.windows.is_empty();
    let exit = match exit(&rows, by_name) {
        Exit::Done if !lost.is_empty() => Exit::Partly,
        exit => exit,
    };
    if !lost.is_empty() {
        note(&printable(&format!("the text of these panes is damaged and not whole: {}", lost.join(", "))));
        note("  what is damaged, and which snapshot is whole: keeperctl snapshot verify");
    }
    if let Some(sentence) = sentence(&globals, dry_run) {
        note(&printable(&sentence));
    }
    let idle = rows.iter().all(|row| row.result == "skipped");
    if context.json {
        print_json("keeperctl.restore/1", Document { generation, dry_run, sessions: rows, lost, globals })?;
    } else {
        let title = if dry_run { "would restore from" } else { "restore from" };
        let mut out = format!("{title} snapshot {generation}\n");
        rows.iter().for_each(|row| out.push_str(&lines(row)));
        print(&out)?;
        if idle {
            note(match arguments.windows.is_empty() {
                true => "nothing to do: sessions of all these names are there",
                false => "nothing to do: all of this is there; --as NEWNAME makes a session of its own of it",
            });
        }
    }
    Ok(exit)
}

/// That something is there already is only remarkable when it was asked for by its name.
fn exit(rows: &[Row], by_name: bool) -> Exit {
    let any = |result: &str| rows.iter().any(|row| row.result == result);
    let all_failed = any("failed") && rows.iter().all(|row| row.result == "failed");
    match all_failed {
        true => Exit::Failed,
        false if any("failed") || any("partly") || by_name && any("skipped") => Exit::Partly,
        false => Exit::Done,
    }
}

fn lines(row: &Row) -> String {
    let style = match row.result.as_str() {
        "restore" | "restored" => GOOD,
        "skipped" => DIM,
        "partly" => DOUBT,
        _ => BAD,
    };
    let session = fit(&printable(&row.session), NAME_COLUMNS_MAX);
    let colon = if row.detail.is_empty() { "" } else { ": " };
    let head = format!("  {} {}{colon}", styled(style, &row.result), styled(NAME, &session));
    let used = 2 + row.result.len() + 1 + columns(&session) + colon.len();
    let detail = printable(&row.detail);
    let mut out = match used + columns(&detail) <= width() {
        true => paragraph(&head, used, &detail),
        false => format!("{head}\n{}", paragraph("    ", 4, &detail)),
    };
    for Started { place, command, .. } in &row.running {
        out.push_str(&paragraph("    ", 6, &printable(&format!("{place} runs: {command}"))));
    }
    for Started { place, command, .. } in &row.waiting {
        out.push_str(&paragraph("    ", 6, &printable(&format!("{place} waits for Enter: {command}"))));
    }
    out
}
