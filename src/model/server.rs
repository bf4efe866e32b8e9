//! What a tmux server holds, in tmux's words: server › session › window › pane.
//!
//! Only what is worth bringing back is here. What changes from second to second without anybody
//! missing it (process ids, cursor, activity) is in `tmux::observe::Vitals`.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::bytes::is_obeyed;
use super::{ByteString, ObjectId, PaneId, ServerId, SessionId, WindowId};

/// Options that are set at one place (a session, a window, a pane, or globally) by their names, those of
/// the user (`@name`) among them. An element of an array has its index behind its name: `status-format[0]`.
pub type Options = BTreeMap<String, ByteString>;

/// Everything that one tmux server held at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Which life of the server this was.
    pub id: ServerId,
    /// What `tmux -V` says without the leading word, for example `3.5a`.
    pub version: String,
    /// The socket it was reached by.
    pub socket: ByteString,
    /// Its sessions in the order of their ids, which is the order in which they were made.
    pub sessions: Vec<Session>,
    /// The options that hold for everything which does not say otherwise. They are the configuration's and are
    /// not brought back; a restore tells which of them differ.
    #[serde(default, skip_serializing_if = "GlobalOptions::is_empty")]
    pub globals: GlobalOptions,
    /// Its paste buffers, the oldest first, if they are kept at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buffers: Vec<Buffer>,
}

/// A server's global options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalOptions {
    /// `show-options -s`
    pub server: Options,
    /// `show-options -g`
    pub session: Options,
    /// `show-options -g -w`
    pub window: Options,
}

impl GlobalOptions {
    /// Returns whether nobody could look.
    pub fn is_empty(&self) -> bool {
        self.server.is_empty() && self.session.is_empty() && self.window.is_empty()
    }
}

/// A paste buffer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Buffer {
    /// Its name; tmux gives `buffer0`, `buffer1`, … to those that nobody named.
    pub name: ByteString,
    /// The object with its content.
    pub content: ObjectId,
}

impl Buffer {
    /// Returns whether tmux gave the buffer its name: what is pasted without a name (`prefix ]`) is the newest of
    /// those, whatever their numbers.
    pub fn is_automatic(name: &ByteString) -> bool {
        let number = name.as_bytes().strip_prefix(b"buffer");
        number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
    }
}

/// A tmux session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// tmux's id.
    pub id: SessionId,
    /// The name as tmux shows it.
    pub name: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// The directory in which its new windows open (`session_path`).
    pub directory: ByteString,
    /// The session group it belongs to; the sessions of a group share their windows.
    pub group: Option<String>,
    /// Its windows in the order of their indexes; a session has at least one.
    pub windows: Vec<Window>,
    /// The index of the current window.
    pub active_window: u32,
    /// The index of the window that was current before it (`last-window` goes there).
    pub last_window: Option<u32>,
    /// The options that are set for it alone.
    #[serde(default, skip_serializing_if = "Options::is_empty")]
    pub options: Options,
    /// The variables that its new panes get besides the global ones, by name. What tmux copies from the
    /// client that attaches (`update-environment`) is not here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Variable>,
}

/// A variable in a session's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Its value; `None` when the session takes the variable away from what its panes would get.
    pub value: Option<ByteString>,
    /// Whether only formats see it, and panes do not (`set-environment -h`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

/// A window in a session. The same window, with the same id, can be linked into several sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// tmux's id.
    pub id: WindowId,
    /// Its index in the session.
    pub index: u32,
    /// The name as tmux shows it.
    pub name: String,
    /// Whether tmux renames it after the program in it.
    pub automatic_rename: bool,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `window_layout`: the whole tree of panes, also while one of them is zoomed.
    pub layout: String,
    /// Whether the active pane fills the window.
    pub zoomed: bool,
    /// Its panes in the order of the layout; a window has at least one.
    pub panes: Vec<Pane>,
    /// The place of the active pane in `panes`.
    pub active_pane: usize,
    /// The place of the pane that was active before it.
    pub last_pane: Option<usize>,
    /// The options that are set for it alone.
    #[serde(default, skip_serializing_if = "Options::is_empty")]
    pub options: Options,
}

/// A pane of a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pane {
    /// tmux's id.
    pub id: PaneId,
    /// Its index in the window as tmux counts (from `pane-base-index`).
    pub index: u32,
    /// The title, set by the program in it or by hand.
    pub title: String,
    /// The directory that the pane's own process was in, or where it was started when nobody could look.
    pub directory: ByteString,
    /// What ran in it.
    pub program: Program,
    /// What had been printed in it.
    pub scrollback: Scrollback,
    /// The options that are set for it alone.
    #[serde(default, skip_serializing_if = "Options::is_empty")]
    pub options: Options,
    /// Whether it is the server's marked pane (`select-pane -m`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marked: bool,
    /// How its program ended, if the pane stayed nevertheless (`remain-on-exit`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<Dead>,
    /// The object that told a restored pane what to start with. It must be kept while the pane lives,
    /// because the pane's process names it and a respawn reads it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<ObjectId>,
}

/// How the program of a pane that remained ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dead {
    /// It exited with this status.
    Exited(u8),
    /// It was killed by this signal. Up to 3.2a tmux does not tell which: then it is 0.
    Killed(u8),
}

/// What runs in a pane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Program {
    /// An interactive shell, and what it runs in the foreground: nothing, one process, or the
    /// processes of a pipeline from left to right.
    Shell {
        /// The shell.
        shell: Process,
        /// Shells that were started in it, each in the one before, the innermost last.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        nested: Vec<Process>,
        /// The foreground job of the innermost shell.
        job: Vec<Process>,
        /// Its jobs in the background.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        background: Vec<Job>,
    },
    /// A program that the pane was started with instead of a shell.
    Command {
        /// That program.
        process: Process,
    },
    /// Nobody could look: the process is gone or belongs to someone else.
    Unknown,
}

/// A shell's job in the background.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Its processes from left to right.
    pub processes: Vec<Process>,
    /// Whether it was stopped (Ctrl-Z) and not running.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}

impl Program {
    /// Returns a shell with a foreground job, which is empty when the shell waits for commands.
    pub fn shell(shell: Process, job: Vec<Process>) -> Self {
        Program::Shell { shell, nested: Vec::new(), job, background: Vec::new() }
    }

    /// Returns what a restored pane starts besides shells, the foreground job first: what nobody starts
    /// unasked unless it is approved. A job that was stopped is not started again.
    pub fn to_be_started(&self) -> impl Iterator<Item = &[Process]> {
        let (job, background) = match self {
            Program::Shell { job, background, .. } => (job.as_slice(), background.as_slice()),
            Program::Command { process } => (std::slice::from_ref(process), [].as_slice()),
            Program::Unknown => ([].as_slice(), [].as_slice()),
        };
        let running = background.iter().filter(|job| !job.stopped).map(|job| job.processes.as_slice());
        std::iter::once(job).chain(running).filter(|job| !job.is_empty())
    }

    /// Returns whether a restored pane starts anything but shells.
    pub fn asks_before_start(&self) -> bool {
        self.to_be_started().next().is_some()
    }

    /// Returns what a person would say runs here: the foreground job if there is one.
    pub fn foreground(&self) -> &[Process] {
        match self {
            Program::Shell { shell, job, .. } if job.is_empty() => std::slice::from_ref(shell),
            Program::Shell { job, .. } => job,
            Program::Command { process } => std::slice::from_ref(process),
            Program::Unknown => &[],
        }
    }
}

/// A process, as /proc has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// The executable, without the ` (deleted)` that the kernel appends after an upgrade.
    pub exe: ByteString,
    /// The exact argument vector; the first element is the name it was called by, `-bash` for a
    /// login shell.
    pub argv: Vec<ByteString>,
    /// Its working directory.
    pub directory: ByteString,
}

impl Process {
    /// Returns the argument vector as one line that a shell would read back as the same vector, to the byte.
    /// What a terminal would obey and what is no text is written as bash and zsh read it: `$'\x1b'`.
    pub fn command_line(&self) -> String {
        self.argv.iter().map(typed).collect::<Vec<_>>().join(" ")
    }
}

/// Returns a word as it is typed into a shell.
fn typed(word: &ByteString) -> String {
    let plain = str::from_utf8(word.as_bytes()).ok().filter(|text| !text.chars().any(is_obeyed));
    if let Some(quoted) = plain.and_then(|text| shlex::try_quote(text).ok()) {
        return quoted.into_owned();
    }
    let mut out = String::from("$'");
    for chunk in word.as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\\' | '\'' => out.extend(['\\', c]),
                c if is_obeyed(c) => out.extend(c.encode_utf8(&mut [0; 4]).bytes().map(hexadecimal)),
                c => out.push(c),
            }
        }
        out.extend(chunk.invalid().iter().copied().map(hexadecimal));
    }
    out.push('\'');
    out
}

fn hexadecimal(byte: u8) -> String {
    format!("\\x{byte:02x}")
}

/// Text of a pane: history and screen, with colours, wrapped lines joined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scrollback {
    /// How many lines.
    pub lines: u64,
    /// The objects that hold them, oldest first.
    pub chunks: Vec<ObjectId>,
}

impl Server {
    /// Returns every pane with the session and window it is in, in order.
    pub fn panes(&self) -> impl Iterator<Item = (&Session, &Window, &Pane)> {
        self.sessions.iter().flat_map(|session| {
            session
                .windows
                .iter()
                .flat_map(move |window| window.panes.iter().map(move |pane| (session, window, pane)))
        })
    }

    /// Returns every pane, to be changed.
    pub fn panes_mut(&mut self) -> impl Iterator<Item = &mut Pane> {
        self.sessions.iter_mut().flat_map(|session| &mut session.windows).flat_map(|window| &mut window.panes)
    }

    /// Returns the number of sessions, windows and panes; what is linked or shared counts once.
    pub fn counts(&self) -> (usize, usize, usize) {
        let windows = self.sessions.iter().flat_map(|session| &session.windows);
        let windows: HashSet<WindowId> = windows.map(|window| window.id).collect();
        let panes: HashSet<PaneId> = self.panes().map(|(_, _, pane)| pane.id).collect();
        (self.sessions.len(), windows.len(), panes.len())
    }
}

/// Returns `3 sessions, 4 windows, 8 panes`.
pub fn describe_counts((sessions, windows, panes): (usize, usize, usize)) -> String {
    format!("{}, {}, {}", plural(sessions, "session"), plural(windows, "window"), plural(panes, "pane"))
}

/// Returns `1 window`, `2 windows`.
pub fn plural(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
