//! One configuration file as it was written: every key optional, none unknown.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytesize::ByteSize;
use jiff::SignedDuration;
use serde::Deserialize;

use crate::restore::restart::RestartOn;

use super::every::Every;

/// The content of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fragment {
    /// `[tmux]`
    #[serde(default)]
    pub tmux: TmuxFragment,
    /// `[snapshot]`
    #[serde(default)]
    pub snapshot: SnapshotFragment,
    /// `[restore]`
    #[serde(default)]
    pub restore: RestoreFragment,
    /// `[restart]`
    #[serde(default)]
    pub restart: RestartFragment,
    /// `[session."PATTERN"]`, by pattern.
    #[serde(default)]
    pub session: BTreeMap<String, SessionFragment>,
    /// `[drill]`
    #[serde(default)]
    pub drill: DrillFragment,
    /// `[notify]`
    #[serde(default)]
    pub notify: NotifyFragment,
}

/// `[tmux]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TmuxFragment {
    /// See [`KEYS`], as for all of these.
    pub program: Option<PathBuf>,
    /// `-S`
    pub socket_path: Option<PathBuf>,
    /// `-L`
    pub socket_name: Option<String>,
    /// Whether to start a server where there is none.
    pub found: Option<bool>,
}

/// `[snapshot]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotFragment {
    /// Time between two looks.
    pub interval: Option<SignedDuration>,
    /// Time between two snapshots of what only prints.
    pub output_interval: Option<SignedDuration>,
    /// Lines kept per pane.
    pub scrollback_lines: Option<u32>,
    /// Bytes of text kept of all panes together.
    pub scrollback_total: Option<ByteSize>,
    /// Whether credentials are covered.
    pub redact: Option<bool>,
    /// Whether paste buffers are kept.
    pub buffers: Option<bool>,
}

/// `[restore]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreFragment {
    /// Whether to restore unasked.
    pub auto: Option<bool>,
    /// What starts in a restored pane without asking.
    pub approved: Option<Vec<String>>,
    /// How many panes are started at once.
    pub pace: Option<u32>,
    /// How much memory must be there.
    pub min_available: Option<ByteSize>,
    /// How much pressure there may be, in percent.
    pub max_pressure: Option<u8>,
    /// After how long nothing starts without being asked.
    pub still_yours: Option<Every>,
}

/// `[restart]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartFragment {
    /// Of shells.
    pub shells: Option<RestartOn>,
    /// Of agents.
    pub agents: Option<RestartOn>,
    /// Of all else.
    pub programs: Option<RestartOn>,
    /// What counts as an agent.
    pub agent_names: Option<Vec<String>>,
    /// The first pause.
    pub restart_sec: Option<SignedDuration>,
    /// The longest pause.
    pub restart_max_delay_sec: Option<SignedDuration>,
    /// Within which time starts are counted.
    pub start_limit_interval_sec: Option<SignedDuration>,
    /// How many there may be.
    pub start_limit_burst: Option<u32>,
}

/// `[drill]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillFragment {
    /// Time between two drills that nobody asked for.
    pub every: Option<Every>,
}

/// `[notify]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifyFragment {
    /// What is run for each death that nobody wanted.
    pub command: Option<Vec<String>>,
    /// Whether the desktop is notified.
    pub desktop: Option<bool>,
}

/// `[session."PATTERN"]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionFragment {
    /// Whether text is kept.
    pub scrollback: Option<bool>,
}

/// A key of the configuration, for documentation and for suggestions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its table.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its default as it would be written.
    pub default: &'static str,
    /// What it does, in sentences.
    pub meaning: &'static str,
}

/// Every key there is.
pub const KEYS: [Key; 28] = [
    Key {
        table: "tmux",
        name: "program",
        default: "\"tmux\"",
        meaning: "The tmux to use; a name is looked for in the PATH of your login shell.",
    },
    Key {
        table: "tmux",
        name: "socket_name",
        default: "\"default\"",
        meaning: "The socket to watch, as with `tmux -L`.",
    },
    Key {
        table: "tmux",
        name: "socket_path",
        default: "(none)",
        meaning: "The socket to watch, as with `tmux -S`; wins over socket_name.",
    },
    Key {
        table: "tmux",
        name: "found",
        default: "true",
        meaning: "Start a server in a scope of its own when none is running.",
    },
    Key {
        table: "snapshot",
        name: "interval",
        default: "\"1s\"",
        meaning: "Time between two looks at the server, 200ms to 60s.",
    },
    Key {
        table: "snapshot",
        name: "output_interval",
        default: "\"5s\"",
        meaning: "Shortest time between two snapshots of panes that only print, 1s to 10min.",
    },
    Key {
        table: "snapshot",
        name: "scrollback_lines",
        default: "2000",
        meaning: "Lines kept of each pane above its screen, 0 to 50000; up to 1023 more where a stored piece begins.",
    },
    Key {
        table: "snapshot",
        name: "scrollback_total",
        default: "\"64 MiB\"",
        meaning: "Text kept of all panes together, 1 MiB to 1 GiB; above that the panes that have most lose their oldest.",
    },
    Key {
        table: "snapshot",
        name: "redact",
        default: "true",
        meaning: "Cover what looks like a credential before text is saved; see REDACTION.",
    },
    Key {
        table: "snapshot",
        name: "buffers",
        default: "false",
        meaning: "Keep paste buffers too: the newest 50, each of at most 1 MiB. What is copied is often a password, and \
            only what has a known form is covered (see REDACTION), so think twice. A restore of everything brings back \
            those of whose name there is none; one that came from a file brings none.",
    },
    Key {
        table: "restore",
        name: "auto",
        default: "true",
        meaning: "Bring back what was lost without being asked.",
    },
    Key {
        table: "restore",
        name: "approved",
        default: "[\"btop\", \"htop\", \"more\", \"nano\", \"tail\", \"top\"]",
        meaning: "Programs that start by themselves in a restored pane, as shells do; all else waits there for Enter. \
            Each entry is a command of one or more words, as in \"tail -f\"; it stands for that command with any \
            further arguments. A name without / is meant wherever the program is. A pipeline starts when all of it \
            is approved. The default has programs that only show or edit, whatever their arguments are; vim, less, \
            man and watch can be told to run commands, so add them yourself if you want them. Your list replaces the \
            default; [] approves nothing.",
    },
    Key {
        table: "restore",
        name: "pace",
        default: "4",
        meaning: "How many panes a restore that nobody asked for starts at once, 1 to 100, before it looks at the memory.",
    },
    Key {
        table: "restore",
        name: "min_available",
        default: "\"512 MiB\"",
        meaning: "How much memory must be available (MemAvailable) before such a restore goes on, up to 64 GiB; of a \
            machine's memory at most a tenth counts. It waits two minutes at most, and `keeperctl status` says so; then \
            it goes on, and what took most memory comes back as text that waits for Enter.",
    },
    Key {
        table: "restore",
        name: "max_pressure",
        default: "20",
        meaning: "The most of the last ten seconds, in percent, that programs may have waited for memory (`some avg10` of \
            /proc/pressure/memory, or of your slice) for such a restore to go on; 100 switches that off.",
    },
    Key {
        table: "restore",
        name: "still_yours",
        default: "\"14d\"",
        meaning: "When the newest snapshot is older than this, a restore that nobody asked for brings back windows, \
            shells and texts, and starts nothing else without Enter, whatever is approved. 1h to 365d; \"off\" or false \
            for never.",
    },
    Key {
        table: "restart",
        name: "agents",
        default: "\"on-failure\"",
        meaning: "When a pane was started with an agent instead of a shell and that ends: \"on-failure\" starts it \
            again after a status that is not 0 or a signal, \"always\" after every end but that by a tmux command, \
            \"never\" never. What a shell in the pane has started is the shell's.",
    },
    Key {
        table: "restart",
        name: "shells",
        default: "\"never\"",
        meaning: "The same for shells. A shell's status is that of its last command, so \"on-failure\" means a signal.",
    },
    Key {
        table: "restart",
        name: "programs",
        default: "\"never\"",
        meaning: "The same for all other programs.",
    },
    Key {
        table: "restart",
        name: "agent_names",
        default: "[\"acli\", \"agy\", \"amp\", \"claude\", \"codebuddy\", \"codex\", \"copilot\", \"cursor-agent\", \
            \"droid\", \"gemini\", \"grok\", \"hermes\", \"omp\", \"opencode\", \"pi\", \"qodercli\"]",
        meaning: "What counts as an agent, by the names of programs.",
    },
    Key {
        table: "restart",
        name: "restart_sec",
        default: "\"1s\"",
        meaning: "The pause before a program is started again, 0s to 1h; it doubles with every start that counts.",
    },
    Key {
        table: "restart",
        name: "restart_max_delay_sec",
        default: "\"60s\"",
        meaning: "The longest such pause, up to 1h.",
    },
    Key {
        table: "restart",
        name: "start_limit_interval_sec",
        default: "\"60s\"",
        meaning: "The time within which starts are counted, 1s to 24h: of a program in its pane, and of tmux servers. What \
            was killed for want of memory twice within it comes back as text that waits for Enter.",
    },
    Key {
        table: "restart",
        name: "start_limit_burst",
        default: "5",
        meaning: "How many starts there may be within that time, 1 to 1000. After that a program stays ended, and \
            `keeperctl why` says how to bring it back; the next server is started when the time is over.",
    },
    Key {
        table: "drill",
        name: "every",
        default: "\"7d\"",
        meaning: "Time between two drills that the keeper holds by itself, with the lowest priority, 1h to 365d; \
            \"off\" or false switches them off. After an upgrade of tmux or agent-keeper one is held within minutes, \
            and after one that failed the next comes a day later.",
    },
    Key {
        table: "notify",
        name: "command",
        default: "[]",
        meaning: "A program and its arguments, run for each death that was not its user's wish: [\"mail-me\", \"--now\"]; \
            for a line of shell, [\"sh\", \"-c\", \"...\"]. See NOTIFICATIONS.",
    },
    Key {
        table: "notify",
        name: "desktop",
        default: "true",
        meaning: "Show such deaths as a desktop notification, if something on your session bus shows those; one for \
            what dies together.",
    },
    Key {
        table: "session.\"PATTERN\"",
        name: "scrollback",
        default: "(none)",
        meaning: "Whether text is kept of the sessions whose names the pattern matches; see SESSIONS.",
    },
];

impl Fragment {
    /// Returns this fragment with the gaps filled from a weaker one.
    #[must_use]
    pub fn over(self, weaker: Fragment) -> Fragment {
        // A name in a stronger file is meant to replace a path in a weaker one.
        let named = self.tmux.socket_path.is_some() || self.tmux.socket_name.is_some();
        let (strong, weak) = (self.tmux, weaker.tmux);
        Fragment {
            tmux: TmuxFragment {
                program: strong.program.or(weak.program),
                socket_path: strong.socket_path.or(if named { None } else { weak.socket_path }),
                socket_name: strong.socket_name.or(if named { None } else { weak.socket_name }),
                found: strong.found.or(weak.found),
            },
            snapshot: SnapshotFragment {
                interval: self.snapshot.interval.or(weaker.snapshot.interval),
                output_interval: self.snapshot.output_interval.or(weaker.snapshot.output_interval),
                scrollback_lines: self.snapshot.scrollback_lines.or(weaker.snapshot.scrollback_lines),
                scrollback_total: self.snapshot.scrollback_total.or(weaker.snapshot.scrollback_total),
                redact: self.snapshot.redact.or(weaker.snapshot.redact),
                buffers: self.snapshot.buffers.or(weaker.snapshot.buffers),
            },
            restore: RestoreFragment {
                auto: self.restore.auto.or(weaker.restore.auto),
                approved: self.restore.approved.or(weaker.restore.approved),
                pace: self.restore.pace.or(weaker.restore.pace),
                min_available: self.restore.min_available.or(weaker.restore.min_available),
                max_pressure: self.restore.max_pressure.or(weaker.restore.max_pressure),
                still_yours: self.restore.still_yours.or(weaker.restore.still_yours),
            },
            restart: self.restart.over(weaker.restart),
            session: merged(self.session, weaker.session),
            drill: DrillFragment { every: self.drill.every.or(weaker.drill.every) },
            notify: NotifyFragment {
                command: self.notify.command.or(weaker.notify.command),
                desktop: self.notify.desktop.or(weaker.notify.desktop),
            },
        }
    }
}

impl RestartFragment {
    fn over(self, weaker: Self) -> Self {
        Self {
            shells: self.shells.or(weaker.shells),
            agents: self.agents.or(weaker.agents),
            programs: self.programs.or(weaker.programs),
            agent_names: self.agent_names.or(weaker.agent_names),
            restart_sec: self.restart_sec.or(weaker.restart_sec),
            restart_max_delay_sec: self.restart_max_delay_sec.or(weaker.restart_max_delay_sec),
            start_limit_interval_sec: self.start_limit_interval_sec.or(weaker.start_limit_interval_sec),
            start_limit_burst: self.start_limit_burst.or(weaker.start_limit_burst),
        }
    }
}

fn merged(
    mut strong: BTreeMap<String, SessionFragment>,
    weak: BTreeMap<String, SessionFragment>,
) -> BTreeMap<String, SessionFragment> {
    for (pattern, weak) in weak {
        let own = strong.entry(pattern).or_default();
        own.scrollback = own.scrollback.or(weak.scrollback);
    }
    strong
}
