//! Looks at a server: what it answers and what /proc says of its processes, as one value.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use jiff::Timestamp;

use crate::model::evidence::KillCommand;
use crate::model::{
    ByteString, Dead, ObjectId, Pane, PaneId, PaneStart, Program, Server, ServerId, Session, SessionId,
    Window,
};
use crate::proc::Proc;

use super::details::{Details, Known, Section};
use super::program::Programs;
use super::query::{self, Answer, ClientRow, PaneRow, ParseError, SessionRow};
use super::server::{Tmux, TmuxError};
use super::variables;
use super::version::Version;

/// Finds the order that a restored pane's process was started with.
pub type FindStart<'a> = &'a (dyn Fn(ObjectId) -> Option<PaneStart> + Send + Sync);

/// How often a server is looked at anew because something of it went meanwhile.
const LOOKS_MAX: u32 = 4;

/// A server as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What is worth saving.
    pub server: Server,
    /// What changes all the time, per pane.
    pub vitals: HashMap<PaneId, Vitals>,
    /// How many clients are attached to each session.
    pub attached: HashMap<SessionId, u32>,
    /// The people's clients that are attached; those of programs (control mode) are not among them.
    pub clients: Vec<Client>,
    /// Those that were attached at the look before, and whose terminals are gone with them.
    pub cut_off: Vec<Client>,
    /// When the server started, to the second.
    pub began: Option<Timestamp>,
    /// The control groups of the server and of the panes' own processes, by process id.
    pub cgroups: HashMap<u32, String>,
    /// What clients told the server to end since the look before, if that had something that is gone now.
    pub kills: Vec<KillCommand>,
}

impl Observation {
    /// Takes over from an earlier look what nobody can tell any more: what ran in a pane, and where, whose process has ended
    /// since the server answered. The server tells that next.
    pub fn remember(&mut self, before: &Observation) {
        let same = |pane: PaneId| {
            let pid = |seen: &Observation| seen.vitals.get(&pane).map(|vitals| vitals.pid);
            pid(self).is_some_and(|pid| pid != 0) && pid(self) == pid(before)
        };
        let known: HashMap<PaneId, Program> = before
            .server
            .panes()
            .filter(|(_, _, pane)| pane.program != Program::Unknown && same(pane.id))
            .map(|(_, _, pane)| (pane.id, pane.program.clone()))
            .collect();
        let unknown = |pane: &&mut Pane| pane.program == Program::Unknown && pane.dead.is_none();
        for pane in self.server.panes_mut().filter(unknown) {
            let Some(program) = known.get(&pane.id) else { continue };
            pane.program = program.clone();
            let pid = self.vitals[&pane.id].pid;
            if let Some(cgroup) = before.cgroups.get(&pid) {
                self.cgroups.insert(pid, cgroup.clone());
            }
        }
    }
}

/// A client that is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The session it shows.
    pub session: SessionId,
    /// Its process.
    pub pid: u32,
    /// The device of its terminal; empty for what has none.
    pub terminal: String,
}

/// Signs of life of a pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vitals {
    /// The pane's own process; 0 for a pane without one.
    pub pid: u32,
    /// Whether that process has ended (`remain-on-exit`).
    pub dead: bool,
    /// Whether the program uses the alternate screen, as full-screen programs do.
    pub alternate: bool,
    /// Whether a restored pane still waits for somebody to press Enter.
    pub waiting: bool,
    /// Whether its text may be kept.
    pub keep_text: bool,
    /// Lines of history, cursor, and the second of the window's last output: equal means that
    /// nothing has been printed, as far as tmux tells cheaply.
    pub output: OutputMark,
}

/// A mark that moves when a pane prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputMark {
    /// Lines above the screen.
    pub history: u64,
    /// Row and column of the cursor.
    pub cursor: (u64, u64),
    /// When the window last printed, in seconds since 1970.
    pub activity: i64,
}

/// Why a server could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// tmux failed.
    #[error(transparent)]
    Tmux(#[from] TmuxError),
    /// tmux answered something unexpected.
    #[error(transparent)]
    Answer(#[from] ParseError),
    /// Sessions, windows or panes went, each time it was tried.
    #[error("the server changed while it was looked at")]
    Changed,
    /// The server ended between its answer and our look at its process.
    #[error("the server (pid {pid}) ended while it was looked at")]
    Ended {
        /// The server's process id.
        pid: u32,
    },
}

/// Looks at the server of a socket.
pub async fn observe(
    tmux: &Tmux,
    proc: &Proc,
    find_start: FindStart<'_>,
) -> Result<Observation, ObserveError> {
    observe_again(tmux, proc, find_start, &mut Known::default()).await
}

/// Like [`observe`], for who looks often: options and environments that were read a moment ago are not read
/// again.
pub async fn observe_again(
    tmux: &Tmux,
    proc: &Proc,
    find_start: FindStart<'_>,
    known: &mut Known,
) -> Result<Observation, ObserveError> {
    for _ in 0..LOOKS_MAX {
        if let Some(observation) = observe_once(tmux, proc, find_start, known).await? {
            return Ok(observation);
        }
    }
    Err(ObserveError::Changed)
}

/// Returns nothing when something of the server's went while it was looked at: half a look would show what is
/// left without its options.
async fn observe_once(
    tmux: &Tmux,
    proc: &Proc,
    find_start: FindStart<'_>,
    known: &mut Known,
) -> Result<Option<Observation>, ObserveError> {
    let output = tmux.run_partly(&query::commands()).await?;
    let answer = query::parse(&output)?;
    let pid = answer.pid;
    let stat = proc.stat(pid).map_err(|_| ObserveError::Ended { pid })?;
    let id = ServerId { boot: proc.boot_id(), pid, start_ticks: stat.start_ticks };
    let server_argv = proc.argv(pid).unwrap_or_default();
    let Some(details) = known.get(tmux, &id, &answer.version, sections(&answer)).await? else {
        return Ok(None);
    };
    let answered = proc.run(pid);
    let programs = Programs { proc, find_start, server_argv };
    let builder = Builder { pid, programs, socket: tmux.socket(), details, version: &answer.version };
    let observation = builder.observation(id, &answer);
    (known.answer, known.answered) = (Some(answer), answered);
    Ok(Some(observation))
}

/// Looks at the processes of a server that has not run since it was observed, so that it would answer the same again.
/// It is not asked. `None` for a server that was not observed.
pub fn observe_processes(
    tmux: &Tmux,
    proc: &Proc,
    find_start: FindStart<'_>,
    known: &Known,
) -> Option<Observation> {
    let (id, details, answer) = known.last()?;
    let server_argv = proc.argv(id.pid).ok()?;
    let programs = Programs { proc, find_start, server_argv };
    let builder = Builder { pid: id.pid, programs, socket: tmux.socket(), details, version: &answer.version };
    Some(builder.observation(id.clone(), answer))
}

/// Returns the places that may have options of their own; a linked window counts once.
fn sections(answer: &Answer) -> Vec<Section> {
    let mut sections = vec![Section::Server, Section::GlobalSession, Section::GlobalWindow];
    let mut seen = HashSet::new();
    for row in &answer.panes {
        let places = [Section::Window(row.window.id), Section::Pane(row.id)];
        sections.extend(places.into_iter().filter(|place| seen.insert(*place)));
    }
    for SessionRow { id: session, .. } in &answer.sessions {
        let environment = |hidden| Section::Environment { session: *session, hidden };
        sections.extend([Section::Session(*session), environment(false), environment(true)]);
    }
    sections
}

struct Builder<'a> {
    /// The server's process.
    pid: u32,
    programs: Programs<'a>,
    socket: &'a Path,
    details: &'a Details,
    version: &'a str,
}

impl Builder<'_> {
    fn observation(&self, id: ServerId, answer: &Answer) -> Observation {
        let mut panes: HashMap<PaneId, (Pane, Vitals)> = HashMap::new();
        let attached = answer.sessions.iter().map(|row| (row.id, row.attached)).collect();
        let mut sessions: Vec<Session> = answer.sessions.iter().map(|row| self.empty_session(row)).collect();
        sessions.sort_by_key(|session| session.id);
        for row in &answer.panes {
            // A session that came between the two lists has no row of its own yet; the next look has it.
            if let Some(session) = sessions.iter_mut().find(|session| session.id == row.session) {
                // A pane of a linked window has several rows, and must look the same in all.
                let (pane, _) = panes.entry(row.id).or_insert_with(|| self.pane(row));
                self.add_pane(session, row, pane.clone());
            }
        }
        sessions.retain(|session| !session.windows.is_empty());
        dissolve_groups_of_one(&mut sessions);
        let client = |row: &ClientRow| {
            let terminal = row.terminal.clone();
            Client { session: row.session, pid: row.pid, terminal }
        };
        let people = answer.clients.iter().filter(|row| !row.control_mode);
        let clients = people.map(client).collect();
        let server = Server {
            id,
            version: answer.version.clone(),
            socket: self.socket.into(),
            sessions,
            globals: self.details.globals.clone(),
            buffers: Vec::new(),
        };
        let vitals: HashMap<PaneId, Vitals> =
            panes.into_iter().map(|(id, (_, vitals))| (id, vitals)).collect();
        let pids = vitals.values().map(|vitals| vitals.pid).filter(|pid| *pid != 0).chain([self.pid]);
        let cgroups = pids.filter_map(|pid| Some((pid, self.programs.proc.cgroup(pid).ok()?))).collect();
        Observation {
            server,
            vitals,
            attached,
            clients,
            cut_off: Vec::new(),
            began: Timestamp::from_second(answer.began).ok(),
            cgroups,
            kills: Vec::new(),
        }
    }

    fn empty_session(&self, row: &SessionRow) -> Session {
        Session {
            id: row.id,
            name: lossy(&row.name),
            created: row.created,
            directory: self.absolute(&row.directory),
            group: Some(lossy(&row.group)).filter(|group| !group.is_empty()),
            windows: Vec::new(),
            active_window: 0,
            last_window: None,
            options: self.details.sessions.get(&row.id).cloned().unwrap_or_default(),
            environment: variables::kept(self.details, row.id),
        }
    }

    /// `new-session -c x` keeps what it was given. Panes start from there, seen from the server's own directory.
    fn absolute(&self, directory: &[u8]) -> ByteString {
        if matches!(directory, [] | [b'/', ..]) {
            return directory.to_vec().into();
        }
        match self.programs.proc.directory(self.pid) {
            Ok(server) => [server.as_bytes(), b"/", directory].concat().into(),
            Err(_) => directory.to_vec().into(),
        }
    }

    /// Adds a pane to the window it is in; rows come in the order of windows and panes.
    fn add_pane(&self, session: &mut Session, row: &PaneRow, pane: Pane) {
        let known = session.windows.last().is_some_and(|window| window.index == row.window.index);
        if !known {
            session.windows.push(self.empty_window(row));
            if row.window.active {
                session.active_window = row.window.index;
            }
            if row.window.last {
                session.last_window = Some(row.window.index);
            }
        }
        if let Some(window) = session.windows.last_mut() {
            let place = window.panes.len();
            if row.active {
                window.active_pane = place;
            }
            if row.last {
                window.last_pane = Some(place);
            }
            window.panes.push(pane);
        }
    }

    fn empty_window(&self, row: &PaneRow) -> Window {
        let from = &row.window;
        Window {
            id: from.id,
            index: from.index,
            name: lossy(&from.name),
            automatic_rename: from.automatic_rename,
            width: from.width,
            height: from.height,
            layout: from.layout.clone(),
            zoomed: from.zoomed,
            panes: Vec::new(),
            active_pane: 0,
            last_pane: None,
            options: self.details.windows.get(&from.id).cloned().unwrap_or_default(),
        }
    }

    fn pane(&self, row: &PaneRow) -> (Pane, Vitals) {
        let seen = self.programs.look(row);
        let output = OutputMark { history: row.history, cursor: row.cursor, activity: row.window.activity };
        let pane = Pane {
            id: row.id,
            index: row.index,
            title: lossy(&row.title),
            directory: seen.directory.unwrap_or_else(|| row.start_directory.clone().into()),
            program: seen.program,
            scrollback: seen.scrollback,
            options: self.details.panes.get(&row.id).cloned().unwrap_or_default(),
            marked: row.marked,
            dead: dead(row, self.version),
            start: seen.start,
        };
        let vitals = Vitals {
            pid: row.pid,
            dead: row.dead,
            alternate: row.alternate,
            waiting: pane.start.is_some(),
            keep_text: !row.scrollback_off,
            output,
        };
        (pane, vitals)
    }
}

/// tmux remembers a group when one session is left of it; it shares its windows with nobody.
fn dissolve_groups_of_one(sessions: &mut [Session]) {
    let groups: Vec<String> = sessions.iter().filter_map(|session| session.group.clone()).collect();
    let alone = |group: &String| groups.iter().filter(|other| *other == group).count() == 1;
    for session in sessions {
        session.group.take_if(|group| alone(group));
    }
}

/// Returns how a pane's program ended. Up to 3.2a tmux does not show signals, so what has no status was killed
/// by one. Since then it shows neither only when it has missed the end, and nothing is known then: seen with
/// 3.3a in one of 60 panes that were killed and started again.
fn dead(row: &PaneRow, version: &str) -> Option<Dead> {
    let shows_signals = Version::parse(version).is_none_or(|v| (v.major, v.minor) >= (3, 3));
    match (row.dead, row.exit_signal, row.exit_status) {
        (false, ..) => None,
        (true, 0, Some(status)) => Some(Dead::Exited(status)),
        (true, 0, None) => (!shows_signals).then_some(Dead::Killed(0)),
        (true, signal, _) => Some(Dead::Killed(signal)),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
