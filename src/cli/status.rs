//! `keeperctl status`: how things stand. Works without the daemon, and then says so.

use anstyle::Style;
use jiff::Timestamp;
use serde::Serialize;

use crate::cause::in_words;
use crate::dbus::client::{self, Keeper1Proxy};
use crate::drill::proof::{Proof, Record};
use crate::logind::{LINGER_DIR, Linger, Logind};
use crate::model::{Server, describe_counts};
use crate::proc::Proc;
use crate::systemd::placement::Placement;
use crate::tmux::observe::{Observation, observe};

use super::output::{
    BAD, DIM, DOUBT, GOOD, ago, fit, note, pad, paragraph, print, print_json, printable, styled, width,
};
use super::tree::{Marks, draw};
use super::{CliError, Context, Exit};

/// Where the text behind the first word of a line begins.
const WORD_COLUMNS: usize = 9;

/// What the daemon says of itself.
#[derive(Debug, Serialize)]
struct KeeperStatus {
    pid: u32,
    version: String,
    socket: String,
    state: String,
    problem: Option<String>,
    generation: Option<u64>,
    generation_taken_at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct ServerStatus {
    pid: u32,
    version: String,
    socket: String,
    unit: Option<String>,
    /// Whether a logout may end it.
    in_logind_session: bool,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    keeper: Option<&'a KeeperStatus>,
    linger: Option<bool>,
    server: Option<&'a ServerStatus>,
    sessions: Option<&'a [crate::model::Session]>,
    /// The last drill, and the last one in which all came back.
    proven: Option<&'a Record>,
}

/// Shows everything.
pub async fn run(context: &Context) -> Result<Exit, CliError> {
    let keeper = match client::connect(&context.places.bus_socket()).await {
        Ok(keeper) => Some(keeper_status(&keeper).await?),
        Err(_) => None,
    };
    let linger = linger().await;
    let store = context.store();
    let store = store.check_format().map(|_| store).map_err(in_words);
    let start = |id| serde_json::from_slice(&store.as_ref().ok()?.object(id).ok()?).ok();
    let tmux = context.tmux().await?;
    let proc = Proc::default();
    let seen = match tmux.check_version().await {
        Ok(_) => observe(&tmux, &proc, &start).await.map_err(in_words),
        Err(error) => Err(in_words(error)),
    };
    let proven = Record::read(&context.places.state);
    let server = seen.as_ref().ok().map(|seen| server_status(&seen.server, &proc));
    if context.json {
        let sessions = seen.as_ref().ok().map(|seen| seen.server.sessions.as_slice());
        let (keeper, server, proven) = (keeper.as_ref(), server.as_ref(), proven.as_ref());
        let document = Document { keeper, linger, server, sessions, proven };
        print_json("keeperctl.status/1", document)?;
    } else {
        let mut out = keeper_lines(keeper.as_ref(), linger);
        if let Err(error) = &store {
            out.push_str(&said("store", BAD, error));
        }
        let saved = store.as_ref().is_ok_and(|store| store.numbers().is_ok_and(|all| !all.is_empty()));
        if saved || proven.is_some() {
            out.push_str(&proven_lines(proven.as_ref()));
        }
        match (&seen, &server) {
            (Ok(seen), Some(server)) => out.push_str(&server_lines(seen, server)),
            (Err(error), _) => out.push_str(&said("server", DOUBT, error)),
            _ => {}
        }
        print(&out)?;
    }
    if keeper.is_none() {
        note("  start the keeper: keeperctl setup");
    }
    let elsewhere = keeper.as_ref().filter(|keeper| keeper.socket != tmux.socket().to_string_lossy());
    if let Some(keeper) = elsewhere {
        note(&format!("  the keeper watches {}; this server is not kept", keeper.socket));
        return Ok(Exit::Partly);
    }
    let healthy = store.is_ok() && keeper.is_some_and(|keeper| keeper.problem.is_none());
    Ok(if healthy { Exit::Done } else { Exit::Partly })
}

async fn keeper_status(keeper: &Keeper1Proxy<'_>) -> Result<KeeperStatus, CliError> {
    let generation = keeper.generation().await?;
    let taken = i64::try_from(keeper.generation_usec().await?).unwrap_or_default();
    Ok(KeeperStatus {
        pid: keeper.process_id().await?,
        version: keeper.version().await?,
        socket: keeper.socket().await?,
        state: keeper.state().await?,
        problem: Some(keeper.problem().await?).filter(|problem| !problem.is_empty()),
        generation: (generation > 0).then_some(generation),
        generation_taken_at: (generation > 0).then(|| Timestamp::from_microsecond(taken).ok()).flatten(),
    })
}

async fn linger() -> Option<bool> {
    let uid = nix::unistd::Uid::effective();
    let user = nix::unistd::User::from_uid(uid).ok()??.name;
    let bus = zbus::Connection::system().await.ok()?;
    let policy =
        Logind::connect(&bus).await.ok()?.policy(uid.as_raw(), &user, LINGER_DIR.as_ref()).await.ok()?;
    Some(policy.linger == Linger::On)
}

fn server_status(server: &Server, proc: &Proc) -> ServerStatus {
    let placement = proc.cgroup(server.id.pid).map_or(Placement::None, |path| Placement::of(&path));
    ServerStatus {
        pid: server.id.pid,
        version: server.version.clone(),
        socket: server.socket.to_string(),
        unit: placement.unit().map(str::to_owned),
        in_logind_session: matches!(placement, Placement::LogindSession(_)),
    }
}

fn keeper_lines(keeper: Option<&KeeperStatus>, linger: Option<bool>) -> String {
    let mut out = match keeper {
        None => format!("keeper   {}\n", styled(BAD, "not running: nothing is saved")),
        Some(keeper) => {
            let state = styled(if keeper.problem.is_none() { GOOD } else { DOUBT }, &keeper.state);
            format!("keeper   {state}, pid {}{}\n", keeper.pid, snapshot_phrase(keeper))
        }
    };
    if let Some(problem) = keeper.and_then(|keeper| keeper.problem.as_ref()) {
        out.push_str(&said("problem", BAD, problem));
    }
    match linger {
        Some(true) => {}
        Some(false) => {
            let why = "off: a logout ends everything; keeperctl doctor --fix";
            out.push_str(&format!("linger   {}\n", styled(BAD, why)));
        }
        None => out.push_str(&format!("linger   {}\n", styled(DIM, "no logind here"))),
    }
    out
}

/// What the last drill showed; where it was not all well, also which one was the last that was.
fn proven_lines(record: Option<&Record>) -> String {
    let Some(record) = record else {
        return said("drill", DOUBT, "last proven restore: never; prove one: keeperctl drill");
    };
    let held = |proof: &Proof| {
        let age = ago(Timestamp::now().as_second() - proof.held_at.as_second());
        let generation =
            proof.generation.map_or_else(|| "none".to_owned(), |number| format!("snapshot {number}"));
        format!("{generation}, {age} ago, {} %", proof.score)
    };
    let proven = match &record.perfect {
        Some(perfect) => format!("last proven restore: {}", held(perfect)),
        None => "last proven restore: never".to_owned(),
    };
    if record.last.perfect() {
        return said("drill", Style::new(), &proven);
    }
    let why = record.last.problem.as_deref().map_or_else(String::new, |why| format!(": {}", printable(why)));
    let last = said("drill", BAD, &format!("last drill: {}{why}", held(&record.last)));
    format!("{last}{}", said("", Style::new(), &format!("{proven}; see: keeperctl drill")))
}

/// A line of its own, or several, behind a word.
fn said(word: &str, style: Style, text: &str) -> String {
    let text = paragraph("", WORD_COLUMNS, text);
    format!("{}{}\n", pad(word, WORD_COLUMNS), styled(style, text.trim_end()))
}

fn snapshot_phrase(keeper: &KeeperStatus) -> String {
    match (keeper.generation, keeper.generation_taken_at) {
        (Some(generation), Some(taken_at)) => {
            let age = Timestamp::now().as_second() - taken_at.as_second();
            format!("; snapshot {generation}, last change {} ago", ago(age))
        }
        _ => "; no snapshot yet".to_owned(),
    }
}

fn server_lines(seen: &Observation, server: &ServerStatus) -> String {
    let place = match (&server.unit, server.in_logind_session) {
        (Some(unit), true) => styled(BAD, format!("in {unit}: a logout may end it")),
        (Some(unit), false) => format!("in {unit}"),
        (None, _) => styled(DIM, "in no unit"),
    };
    let counts = describe_counts(seen.server.counts());
    let head = format!("server   pid {}, tmux {}, {}", server.pid, server.version, server.socket);
    let home = crate::place::home().ok();
    let marks = Marks {
        clients: &|session| seen.attached.get(&session.id).copied().unwrap_or(0),
        waits: &|pane| seen.vitals.get(&pane.id).is_some_and(|vitals| vitals.waiting),
        home: home.as_deref().and_then(|home| home.to_str()),
    };
    let tree = draw(&seen.server, &marks, width());
    format!("{}\n         {place}\n         {counts}\n{tree}", fit(&head, width()))
}
