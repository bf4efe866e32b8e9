//! Looks at a server: what it answers and what /proc says of its processes, as one value.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::model::{
    ByteString, GlobalOptions, ObjectId, Options, Pane, PaneId, PaneStart, Process, Program, Scrollback,
    Server, ServerId, Session, SessionId, Window, start_object,
};
use crate::proc::Proc;

use super::query::{self, Answer, PaneRow, ParseError, SessionRow};
use super::server::{Tmux, TmuxError};

/// Finds the order that a restored pane's process was started with.
pub type FindStart<'a> = &'a (dyn Fn(ObjectId) -> Option<PaneStart> + Send + Sync);

/// A server as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What is worth saving.
    pub server: Server,
    /// What changes all the time, per pane.
    pub vitals: HashMap<PaneId, Vitals>,
    /// How many clients are attached to each session.
    pub attached: HashMap<SessionId, u32>,
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
    let output = tmux.run_partly(&query::commands()).await?;
    let answer = query::parse(&output)?;
    let pid = answer.pid;
    let stat = proc.stat(pid).map_err(|_| ObserveError::Ended { pid })?;
    let id = ServerId { boot: proc.boot_id(), pid, start_ticks: stat.start_ticks };
    let server_argv = proc.argv(pid).unwrap_or_default();
    Ok(Builder { proc, find_start, socket: tmux.socket(), server_argv }.observation(id, answer))
}

struct Builder<'a> {
    proc: &'a Proc,
    find_start: FindStart<'a>,
    socket: &'a Path,
    /// The server's own arguments: a pane's process that has them has been forked and not executed yet.
    server_argv: Vec<ByteString>,
}

impl Builder<'_> {
    fn observation(&self, id: ServerId, answer: Answer) -> Observation {
        let mut panes: HashMap<PaneId, (Pane, Vitals)> = HashMap::new();
        let attached = answer.sessions.iter().map(|row| (row.id, row.attached)).collect();
        let mut sessions: Vec<Session> = answer.sessions.iter().map(empty_session).collect();
        sessions.sort_by_key(|session| session.id);
        for row in &answer.panes {
            // A session that came between the two lists has no row of its own yet; the next look has it.
            if let Some(session) = sessions.iter_mut().find(|session| session.id == row.session) {
                // A pane of a linked window has several rows, and must look the same in all.
                let (pane, _) = panes.entry(row.id).or_insert_with(|| self.pane(row));
                add_pane(session, row, pane.clone());
            }
        }
        sessions.retain(|session| !session.windows.is_empty());
        dissolve_groups_of_one(&mut sessions);
        let server = Server {
            id,
            version: answer.version,
            socket: self.socket.into(),
            sessions,
            globals: GlobalOptions::default(),
            buffers: Vec::new(),
        };
        let vitals = panes.into_iter().map(|(id, (_, vitals))| (id, vitals)).collect();
        Observation { server, vitals, attached }
    }

    fn pane(&self, row: &PaneRow) -> (Pane, Vitals) {
        let seen = self.look(row);
        let output = OutputMark { history: row.history, cursor: row.cursor, activity: row.window.activity };
        let pane = Pane {
            id: row.id,
            index: row.index,
            title: lossy(&row.title),
            directory: seen.directory.unwrap_or_else(|| row.start_directory.clone().into()),
            program: seen.program,
            scrollback: seen.scrollback,
            options: Options::new(),
            marked: false,
            dead: None,
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

    /// Looks at the processes of a pane.
    fn look(&self, row: &PaneRow) -> Seen {
        if row.dead || row.pid == 0 {
            return Seen::default();
        }
        let Some(root) = self.proc.process(row.pid).ok().filter(|root| root.argv != self.server_argv) else {
            return Seen::default();
        };
        let job = self.foreground_job(row.pid);
        let directory = Some(root.directory.clone());
        let restored = start_object(&root.argv).and_then(|id| Some((id, (self.find_start)(id)?)));
        match restored {
            // What waits is what was saved: its own text and its own program, not the question.
            Some((id, start)) if job.is_empty() => {
                Seen { directory, program: start.program, scrollback: start.scrollback, start: Some(id) }
            }
            Some((_, start)) => Seen { directory, program: with_job(start.program, job), ..Seen::default() },
            None if is_shell(&root) => {
                Seen { directory, program: Program::shell(root, job), ..Seen::default() }
            }
            None => Seen { directory, program: Program::Command { process: root }, ..Seen::default() },
        }
    }

    /// Returns what a pane's own process runs in the foreground, from left to right; nothing when that
    /// process has the terminal itself.
    fn foreground_job(&self, pid: u32) -> Vec<Process> {
        let Ok(stat) = self.proc.stat(pid) else {
            return Vec::new();
        };
        if stat.foreground_group <= 0 || stat.foreground_group == stat.process_group {
            return Vec::new();
        }
        let mut members = self.proc.children_in_group(pid, stat.foreground_group);
        if members.is_empty() {
            members.extend(u32::try_from(stat.foreground_group));
        }
        members.into_iter().filter_map(|pid| self.proc.process(pid).ok()).collect()
    }
}

struct Seen {
    directory: Option<ByteString>,
    program: Program,
    scrollback: Scrollback,
    start: Option<ObjectId>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { directory: None, program: Program::Unknown, scrollback: Scrollback::default(), start: None }
    }
}

fn with_job(saved: Program, job: Vec<Process>) -> Program {
    match saved {
        Program::Shell { shell, .. } => Program::shell(shell, job),
        other => other,
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

fn empty_session(row: &SessionRow) -> Session {
    Session {
        id: row.id,
        name: lossy(&row.name),
        created: row.created,
        directory: row.directory.clone().into(),
        group: Some(lossy(&row.group)).filter(|group| !group.is_empty()),
        windows: Vec::new(),
        active_window: 0,
        last_window: None,
        options: Options::new(),
        environment: BTreeMap::new(),
    }
}

/// Adds a pane to the window it is in; rows come in the order of windows and panes.
fn add_pane(session: &mut Session, row: &PaneRow, pane: Pane) {
    let known = session.windows.last().is_some_and(|window| window.index == row.window.index);
    if !known {
        session.windows.push(empty_window(row));
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

fn empty_window(row: &PaneRow) -> Window {
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
        options: Options::new(),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The names of programs that are interactive shells when they are called without a script.
const SHELLS: [&str; 16] = [
    "ash", "bash", "csh", "dash", "elvish", "fish", "ksh", "ksh93", "mksh", "nu", "osh", "rbash", "sh",
    "tcsh", "xonsh", "zsh",
];

/// Returns whether a process is an interactive shell: a shell by name, called with nothing but options,
/// none of which makes it run a command (`-c`) or read one from elsewhere.
fn is_shell(process: &Process) -> bool {
    let Some((name, arguments)) = process.argv.split_first() else {
        return false;
    };
    let name = name.base_name();
    let name = name.strip_prefix(b"-").unwrap_or(name);
    let runs_something = |argument: &ByteString| match argument.as_bytes() {
        [b'-', b'-', ..] => false,
        [b'-', flags @ ..] => flags.contains(&b'c'),
        _ => true,
    };
    SHELLS.iter().any(|shell| shell.as_bytes() == name) && !arguments.iter().any(runs_something)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(argv: &[&str]) -> Process {
        Process {
            exe: "/bin/x".into(),
            argv: argv.iter().map(|word| ByteString::from(*word)).collect(),
            directory: "/".into(),
        }
    }

    #[test]
    fn a_shell_is_one_that_waits_for_commands() {
        let shells: [&[&str]; 6] = [
            &["-bash"],
            &["bash"],
            &["/usr/bin/zsh", "-l"],
            &["bash", "--login", "-i"],
            &["-fish"],
            &["sh", "-i"],
        ];
        let others: [&[&str]; 7] = [
            &["bash", "-c", "sleep 1"],
            &["sh", "-lc", "x"],
            &["bash", "script.sh"],
            &["vim"],
            &["bashful"],
            &["--"],
            &[],
        ];
        for argv in shells {
            assert!(is_shell(&process(argv)), "{argv:?}");
        }
        for argv in others {
            assert!(!is_shell(&process(argv)), "{argv:?}");
        }
    }
}
