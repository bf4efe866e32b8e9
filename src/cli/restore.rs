//! `keeperctl restore`: bring back sessions, or show what would be done.

use serde::Serialize;

use crate::model::{Generation, Snapshot, plural};
use crate::proc::Proc;
use crate::restore::plan::{Plan, Selection, Waiting, plan};
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
pub struct Arguments {
    /// From which snapshot: its number, "latest" or "previous"; without one the newest that holds what is
    /// asked for
    #[arg(value_name = "SNAPSHOT")]
    which: Option<Which>,
    /// Only this session; can be given several times
    #[arg(long = "session", short = 's', value_name = "NAME", allow_hyphen_values = true)]
    sessions: Vec<String>,
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
    waiting: Vec<Waiting>,
}

#[derive(Debug, Serialize)]
struct Document {
    generation: Generation,
    dry_run: bool,
    sessions: Vec<Row>,
    /// Panes whose text cannot be read whole.
    lost: Vec<String>,
}

/// Brings back.
pub async fn run(context: &Context, arguments: &Arguments) -> Result<Exit, CliError> {
    let (generation, snapshot) = match arguments.which {
        Some(which) => which.load(context)?,
        None => newest_with(context, &arguments.sessions)?,
    };
    let selection = Selection { sessions: arguments.sessions.clone(), by_hand: true };
    let live = live_server(context).await?;
    let plan = plan(generation, &snapshot, live.as_ref(), &selection)
        .map_err(|unknown| CliError::failed(unknown).hint("what others hold: keeperctl snapshot list"))?;
    let rows = if arguments.dry_run { planned(&plan) } else { carry_out(context, &plan, &selection).await? };
    report(context, generation, arguments, rows, lost_texts(context, &plan, &snapshot)?)
}

/// Returns the panes of the plan whose text is damaged in the store. They come back without it.
fn lost_texts(context: &Context, plan: &Plan, snapshot: &Snapshot) -> Result<Vec<String>, CliError> {
    let lost = context.store()?.lost_texts(snapshot).into_iter().map(|lost| lost.place);
    // No session is called with a colon in it (tmux replaces them: session_check_name, session.c).
    let made = |place: &String| {
        let session = place.split(':').next();
        plan.steps.iter().any(|step| session == Some(&step.session.name))
    };
    Ok(lost.filter(made).collect())
}

/// Returns the newest snapshot that holds sessions of these names, or any.
fn newest_with(context: &Context, names: &[String]) -> Result<(Generation, Snapshot), CliError> {
    let holds = |snapshot: &Snapshot, name: &String| {
        snapshot.server.sessions.iter().any(|session| session.name == *name)
    };
    let found = newest(&context.store()?, |snapshot| names.iter().all(|name| holds(snapshot, name)))?;
    match (found, names) {
        (Some(found), _) => Ok(found),
        (None, []) => Which::Latest.load(context),
        (None, names) => {
            let message = match names {
                [name] => format!("no snapshot holds a session {name:?}"),
                names => format!("no snapshot holds all of the sessions {}", names.join(", ")),
            };
            Err(CliError::failed(anyhow::Error::msg(message)).hint("what there is: keeperctl snapshot list"))
        }
    }
}

async fn live_server(context: &Context) -> Result<Option<crate::model::Server>, CliError> {
    match observe(&context.usable_tmux().await?, &Proc::default(), &|_| None).await {
        Ok(seen) => Ok(Some(seen.server)),
        Err(ObserveError::Tmux(TmuxError::NoServer { .. })) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn planned(plan: &Plan) -> Vec<Row> {
    let waiting = plan.waiting();
    let steps = plan.steps.iter().map(|step| {
        let windows = step.session.windows.len();
        let panes: usize = step.session.windows.iter().map(|window| window.panes.len()).sum();
        let detail = match &step.shares_windows_of {
            Some(peer) => format!("sharing the windows of {peer}"),
            None => format!("{}, {}", plural(windows, "window"), plural(panes, "pane")),
        };
        let own = waiting.iter().filter(|waiting| waiting.session == step.session.name).cloned();
        Row {
            session: step.session.name.clone(),
            result: "restore".to_owned(),
            detail,
            waiting: own.collect(),
        }
    });
    steps.chain(skipped(plan)).collect()
}

fn skipped(plan: &Plan) -> impl Iterator<Item = Row> + '_ {
    plan.skips.iter().map(|skip| Row {
        session: skip.session.clone(),
        result: "skipped".to_owned(),
        detail: skip.why.sentence().to_owned(),
        waiting: Vec::new(),
    })
}

/// The daemon does it, so that it does not save what is half there.
async fn carry_out(context: &Context, shown: &Plan, selection: &Selection) -> Result<Vec<Row>, CliError> {
    let keeper = context.keeper().await?;
    let rows = keeper.restore(shown.generation, &selection.sessions).await?;
    let waiting = shown.waiting();
    Ok(rows
        .into_iter()
        .map(|(session, result, detail)| {
            let own =
                waiting.iter().filter(|waiting| result != "skipped" && waiting.session == session).cloned();
            Row { waiting: own.collect(), session, result, detail }
        })
        .collect())
}

fn report(
    context: &Context,
    generation: Generation,
    arguments: &Arguments,
    rows: Vec<Row>,
    lost: Vec<String>,
) -> Result<Exit, CliError> {
    let dry_run = arguments.dry_run;
    let exit = match exit(&rows, !arguments.sessions.is_empty()) {
        Exit::Done if !lost.is_empty() => Exit::Partly,
        exit => exit,
    };
    if !lost.is_empty() {
        note(&printable(&format!("the text of these panes is damaged and not whole: {}", lost.join(", "))));
        note("  what is damaged, and which snapshot is whole: keeperctl snapshot verify");
    }
    let idle = rows.iter().all(|row| row.result == "skipped");
    if context.json {
        print_json("keeperctl.restore/1", Document { generation, dry_run, sessions: rows, lost })?;
    } else {
        let title = if dry_run { "would restore from" } else { "restore from" };
        let mut out = format!("{title} snapshot {generation}\n");
        rows.iter().for_each(|row| out.push_str(&lines(row)));
        print(&out)?;
        if idle {
            note("nothing to do: sessions of all these names are there");
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
    for Waiting { place, command, .. } in &row.waiting {
        out.push_str(&paragraph("    ", 6, &printable(&format!("{place} waits for Enter: {command}"))));
    }
    out
}
