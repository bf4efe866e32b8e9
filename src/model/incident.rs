//! A death, and what is known of it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::evidence::{Evidence, Gap};
use super::{BootId, Generation, PaneId, ServerId};

/// What died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// What kind of thing.
    pub kind: SubjectKind,
    /// The server it was in, or that it was.
    pub server: ServerId,
    /// Where it was, as a tmux target: `web`, `web:1`, `web:1.0`; the socket's path for a server, the terminal for a
    /// client.
    pub place: String,
    /// The panes that ended with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub panes: Vec<LostPane>,
}

/// A pane that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostPane {
    /// tmux's id of it.
    pub id: PaneId,
    /// Where it was: `web:1.0`.
    pub place: String,
    /// What ran in it, as a person would say it: `claude --resume 9f`.
    pub program: String,
    /// Whether that was a shell that waited for commands.
    pub shell: bool,
}

/// What kind of thing died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubjectKind {
    /// A tmux server with all that was in it.
    Server,
    /// A session.
    Session,
    /// A window.
    Window,
    /// A pane, or the program in a pane that stays (`remain-on-exit`).
    Pane,
    /// A process in a pane that goes on.
    Child,
    /// Somebody's terminal; the work goes on.
    Client,
}

/// Why something died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The machine was shut down or rebooted.
    Shutdown,
    /// The machine stopped without a shutdown: no power, a crash.
    PowerLoss,
    /// logind ended what was left of a login.
    KilledAtLogout,
    /// The user's service manager stopped.
    ManagerStopped,
    /// systemd-oomd chose it.
    OomdKill,
    /// The kernel ran out of memory and chose it, or a child of it.
    OomKill,
    /// Somebody had systemd stop its unit.
    UnitStopped,
    /// tmux crashed.
    ServerCrashed,
    /// Somebody, or something, killed the server.
    ServerKilled,
    /// The server lives and cannot be reached.
    SocketLost,
    /// tmux was replaced by a version that cannot talk to the server.
    Upgraded,
    /// It ended too often within too short a time.
    StartLimitHit,
    /// The last session ended, and the server with it.
    LastSession,
    /// Its program ended with an error.
    ProgramFailed,
    /// A signal ended its program.
    ProgramKilled,
    /// Its user closed it.
    ClosedByUser,
    /// A terminal was closed; nothing died.
    TerminalClosed,
    /// Nothing tells.
    Unknown,
}

impl Cause {
    /// Every cause, in the order in which they are documented.
    pub const ALL: [Cause; 18] = [
        Cause::Shutdown,
        Cause::PowerLoss,
        Cause::KilledAtLogout,
        Cause::ManagerStopped,
        Cause::OomdKill,
        Cause::OomKill,
        Cause::UnitStopped,
        Cause::ServerCrashed,
        Cause::ServerKilled,
        Cause::SocketLost,
        Cause::Upgraded,
        Cause::StartLimitHit,
        Cause::LastSession,
        Cause::ProgramFailed,
        Cause::ProgramKilled,
        Cause::ClosedByUser,
        Cause::TerminalClosed,
        Cause::Unknown,
    ];

    /// Returns the word for it, which scripts may rely on.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Shutdown => "shutdown",
            Cause::PowerLoss => "power-loss",
            Cause::KilledAtLogout => "killed-at-logout",
            Cause::ManagerStopped => "manager-stopped",
            Cause::OomdKill => "oomd-kill",
            Cause::OomKill => "oom-kill",
            Cause::UnitStopped => "unit-stopped",
            Cause::ServerCrashed => "server-crashed",
            Cause::ServerKilled => "server-killed",
            Cause::SocketLost => "socket-lost",
            Cause::Upgraded => "upgraded",
            Cause::StartLimitHit => "start-limit-hit",
            Cause::LastSession => "last-session",
            Cause::ProgramFailed => "program-failed",
            Cause::ProgramKilled => "program-killed",
            Cause::ClosedByUser => "closed-by-user",
            Cause::TerminalClosed => "terminal-closed",
            Cause::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How sure a verdict is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// Nothing points anywhere.
    None,
    /// Something points there, and elsewhere too.
    Possible,
    /// It is the best explanation, and another cannot be ruled out.
    Likely,
    /// Somebody who knows has said so, or nothing else leaves these traces.
    Certain,
}

impl Confidence {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Confidence::None => "no idea",
            Confidence::Possible => "possible",
            Confidence::Likely => "likely",
            Confidence::Certain => "certain",
        }
    }
}

/// An explanation, and what speaks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The cause.
    pub cause: Cause,
    /// How sure.
    pub confidence: Confidence,
    /// What speaks for it: places in the list of evidence, counted from 0.
    pub because: Vec<usize>,
}

/// What is believed of a death.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The explanation.
    #[serde(flatten)]
    pub finding: Finding,
    /// The weaker explanations, the strongest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Finding>,
}

/// A death with everything that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its number in the row of incidents of this store. It only grows.
    pub number: u64,
    /// When it happened, as far as is known; else when it was noticed.
    pub at: Timestamp,
    /// The boot in which it was noticed.
    pub boot: BootId,
    /// What died.
    pub subject: Subject,
    /// What was observed.
    pub evidence: Vec<Evidence>,
    /// What could not be looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// What is believed.
    pub verdict: Verdict,
    /// The last snapshot that showed it alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_in: Option<Generation>,
    /// What was done about it.
    pub deed: Deed,
}

/// What the keeper does about a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// Nothing: it is what its user wanted, or nothing died.
    Nothing,
    /// It is brought back, with all that was lost with it.
    Restore,
    /// It is brought back as memory allows, what took most of it last.
    RestorePaced,
    /// It is offered, not done.
    Ask,
    /// The server is told to make its socket again.
    Signal,
    /// What is left is kept, to be brought back by hand.
    Keep,
    /// It is started again when the time is over within which that happened too often.
    Wait,
    /// The program is started again, because the configuration says so.
    Restart,
}
