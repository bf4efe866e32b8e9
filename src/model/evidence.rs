//! What was observed of a death: facts, each with its time and where it comes from.
//!
//! A fact is only ever something that was seen. That somebody looked and found nothing is a fact of its own
//! ([`Fact::NoOomKill`], [`Fact::NoShutdown`]); that nobody could look is a [`Gap`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BootId, PaneId};

/// How many pieces of evidence one death keeps.
pub const EVIDENCE_MAX: usize = 64;

/// A fact, and when it happened as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What.
    #[serde(flatten)]
    pub fact: Fact,
}

/// A fact as an observer sees it, before anybody knows whose death it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// When it was seen.
    pub at: Timestamp,
    /// What it is about.
    pub about: About,
    /// The fact.
    pub fact: Fact,
}

/// What a fact is about, in the words of whoever saw it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum About {
    /// A process.
    Process(u32),
    /// A unit, or a control group by its path below the hierarchy's root: `/user.slice/…/x.scope`.
    Unit(String),
    /// The user's service manager.
    Manager,
    /// A logind session, by its name.
    Login(String),
    /// The machine.
    Machine,
}

/// Something that could have been evidence and could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// What is missing: `the kernel's log`.
    pub what: String,
    /// Why: `not readable by agent`.
    pub why: String,
    /// What to do so that it is there next time; empty when nothing helps.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// How a process ended, as wait(2) tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It exited with this status.
    Exited(u8),
    /// A signal ended it; 0 when tmux did not show which (before 3.3).
    Killed(u8),
}

/// Who saw how a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndWitness {
    /// tmux, which keeps a dead pane where `remain-on-exit` says so.
    Tmux,
    /// The kernel, which announces ends (its process connector), and shows in /proc how a process ended that
    /// nobody has taken note of yet.
    Kernel,
}

/// Who noted that the machine went down in an orderly way, or looked for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownWitness {
    /// logind announced it.
    Logind,
    /// The keeper noted it before it ended; or its notes of that boot just stop.
    Keeper,
    /// The journal of that boot ends, or does not end, with the user's manager stopping everything.
    Journal,
    /// The journal, which has older entries, but none of that boot. journald writes them to the disk every five minutes
    /// (`SyncIntervalSec=`, journald.conf(5)), and when it is told to end.
    LostJournal,
}

/// Whose limit on memory was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// That of the control group in which the kill was counted.
    Own,
    /// That of a control group above it, or the machine's.
    Above,
    /// Nobody could tell.
    Unknown,
}

/// What a process was to the death that is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Victim {
    /// The tmux server.
    Server,
    /// The program that the pane was started with.
    Program,
    /// A process that one of them had started.
    Child,
}

/// A client's command that ends something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillCommand {
    /// The client: its terminal if it was attached, else `client-PID`; empty for a hook's and the like.
    pub client: String,
    /// The key that was pressed, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The command as tmux writes it: `kill-window -t web:1`.
    pub command: String,
}

/// Something that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Fact {
    // ── tmux ──
    /// The server told its clients that it ends: `kill-server`, SIGTERM, or its last session's end (tmux,
    /// client.c).
    Goodbye,
    /// The server's clients were cut off without a word: it was killed, or crashed.
    Cut,
    /// It is not there any more, and nobody watched it end.
    GoneUnseen,
    /// A session, window or pane is not in the living server's lists any more.
    Vanished,
    /// The server runs, and the path of its socket is gone.
    SocketGone {
        /// The server's process id.
        pid: u32,
    },
    /// tmux numbers panes and never uses a number twice, and it had given these to panes that were gone again before
    /// anybody looked.
    Fleeting {
        /// The first of the numbers.
        first: PaneId,
        /// The last of them.
        last: PaneId,
        /// How many panes.
        panes: usize,
    },
    /// The server had no session left just before, or the programs of all its panes had exited, and it ends when that
    /// is so (`exit-empty`).
    NoSessionLeft,
    /// The programs of all the server's panes had ended before it did, nobody saw how, and it ends with its last
    /// session (`exit-empty`).
    PanesEndedFirst,
    /// The server had panes when it ended: their programs got SIGHUP, as they do when their terminals go away.
    PanesHungUp,
    /// The server lives on without sessions (`exit-empty` is off).
    ExitEmptyOff,
    /// A client told the server to close it. From the server's message log (`show-messages`).
    KillCommand(KillCommand),
    /// tmux cannot talk to the server any more because one of them was replaced by another version.
    VersionMismatch {
        /// What tmux says.
        said: String,
    },
    /// An attached client is gone and its terminal with it, and its session lives.
    ClientLost {
        /// Its terminal.
        terminal: String,
        /// The session.
        session: String,
    },

    // ── processes ──
    /// How the process ended.
    Ended {
        /// How.
        end: End,
        /// Who saw it.
        witness: EndWitness,
    },
    /// The process ended, and nobody could see how: whoever started it took note of that first.
    EndUnknown,
    /// It left a core dump. From the journal (systemd-coredump(8)).
    CoreDump {
        /// The signal.
        signal: u8,
        /// The executable.
        exe: String,
    },

    // ── memory ──
    /// The kernel killed processes for want of memory. Counted by `memory.events` of a control group (Documentation/
    /// admin-guide/cgroup-v2.rst), or told by systemd.
    OomKill {
        /// The unit, or the control group's path where it is none.
        unit: String,
        /// How many.
        kills: u64,
        /// Whether there was nothing else in that unit than what died, and what it had started.
        own: bool,
        /// Whose limit.
        limit: Limit,
    },
    /// Somebody looked: the kernel killed nothing there for want of memory.
    NoOomKill {
        /// The unit.
        unit: String,
    },
    /// Which process the kernel chose. From the kernel's log.
    OomVictim {
        /// What it was.
        victim: Victim,
        /// Its name.
        comm: String,
        /// Its process id.
        pid: u32,
        /// How much memory it had, in bytes.
        rss_bytes: u64,
        /// The control group whose limit was reached; `None` when the machine's was.
        limit: Option<String>,
    },
    /// systemd-oomd killed a control group.
    OomdKill {
        /// The unit.
        unit: String,
        /// oomd's reason: `memory-pressure`, `memory-used`, …
        reason: String,
    },

    // ── systemd ──
    /// The manager ended the unit although nothing was wrong with it: somebody asked it to.
    UnitStopped {
        /// The unit.
        unit: String,
    },
    /// What the manager says of how a unit ended: `oom-kill`, `signal`, `core-dump`, …
    UnitResult {
        /// The unit.
        unit: String,
        /// The word.
        result: String,
    },
    /// Neither the user's manager nor the machine was going down, and nobody had the unit stopped.
    NothingStopping,
    /// The user's manager was stopping, and with it all that it ran.
    ManagerStopping,
    /// The user's manager is another one than before, in the same boot.
    ManagerRestarted,
    /// Too many starts within too short a time; the next is not tried by itself.
    StartLimitHit {
        /// How many.
        starts: u32,
        /// Within how many seconds.
        within_secs: u64,
    },

    // ── logind ──
    /// The logind session in which it lived ended, and logind kills what is left then.
    LoginEnded {
        /// logind's name of the session.
        session: String,
    },
    /// Nobody was logged in any more, and lingering was off.
    NotLingering,

    // ── the machine ──
    /// The machine runs another boot than before.
    OtherBoot {
        /// The one before.
        before: BootId,
    },
    /// The machine went down in an orderly way.
    Shutdown {
        /// Who noted it.
        witness: ShutdownWitness,
    },
    /// Somebody looked: nothing shows that the machine went down in an orderly way.
    NoShutdown {
        /// Who looked.
        witness: ShutdownWitness,
    },
}

impl Fact {
    /// Returns the fact as evidence that has no time of its own.
    pub fn undated(self) -> Evidence {
        Evidence { at: None, fact: self }
    }

    /// Returns the fact as evidence of this time.
    pub fn at(self, at: Timestamp) -> Evidence {
        Evidence { at: Some(at), fact: self }
    }
}
