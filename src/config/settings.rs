//! The configuration as the program uses it: whole and within its bounds.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use jiff::SignedDuration;

use crate::restore::approved::Approved;
use crate::restore::limit::StartLimit;
use crate::restore::pace::Pace;
use crate::restore::restart::Restart;

use super::fragment::{RestartFragment, RestoreFragment};
use super::{Every, Fragment, Sessions};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The tmux program.
    pub tmux_program: PathBuf,
    /// The socket that is watched.
    pub socket: TmuxSocket,
    /// Whether a server is started where there is none.
    pub found: bool,
    /// Time between two looks at the server.
    pub interval: Duration,
    /// Shortest time between two snapshots of panes that only print.
    pub output_interval: Duration,
    /// Lines kept of each pane above its screen; 0 keeps no text at all.
    pub scrollback_lines: u32,
    /// Bytes of text kept of all panes together.
    pub scrollback_total_bytes: u64,
    /// Whether credentials are covered before text is saved.
    pub redact: bool,
    /// Whether paste buffers are kept.
    pub buffers: bool,
    /// What is set for some sessions only.
    pub sessions: Sessions,
    /// Whether what was lost comes back unasked.
    pub restore: bool,
    /// What restored panes start without asking.
    pub approved: Approved,
    /// What a restore that nobody asked for waits for.
    pub pace: Pace,
    /// After how long nothing of a saved state starts without being asked; `None` for never.
    pub still_yours: Option<Duration>,
    /// What is started again, and how often.
    pub restart: Restart,
    /// Time between two drills that nobody asked for; `None` for none.
    pub drill_every: Option<Duration>,
    /// The program that is run for each death that nobody wanted, with its arguments; empty for none.
    pub notify_command: Vec<String>,
    /// Whether the desktop is notified of such deaths.
    pub notify_desktop: bool,
}

/// How a tmux socket is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TmuxSocket {
    /// `-L`: a name below the user's socket directory.
    Name(String),
    /// `-S`: a path.
    Path(PathBuf),
}

impl Settings {
    /// Fills in the defaults and checks the bounds. The error names the key.
    pub fn check(merged: Fragment) -> Result<Self, String> {
        let (tmux, snapshot) = (merged.tmux, merged.snapshot);
        let socket = match (tmux.socket_path, tmux.socket_name) {
            (Some(path), _) if !path.is_absolute() => {
                return Err(format!("tmux.socket_path must begin with /, not {path:?}"));
            }
            (Some(path), _) => TmuxSocket::Path(path),
            (None, Some(name)) if name.is_empty() || name.contains('/') => {
                return Err(format!("tmux.socket_name must be a name without /, not {name:?}"));
            }
            (None, name) => TmuxSocket::Name(name.unwrap_or_else(|| "default".to_owned())),
        };
        let lines = snapshot.scrollback_lines.unwrap_or(2000);
        if lines > 50_000 {
            return Err(format!("snapshot.scrollback_lines must be 0 to 50000, not {lines}"));
        }
        let approved = match &merged.restore.approved {
            Some(entries) => {
                Approved::parse(entries).map_err(|error| format!("restore.approved: {error}"))?
            }
            None => Approved::default(),
        };
        let total = snapshot.scrollback_total.unwrap_or(ByteSize::mib(64));
        if !(ByteSize::mib(1)..=ByteSize::gib(1)).contains(&total) {
            return Err(format!("snapshot.scrollback_total must be 1 MiB to 1 GiB, not {total}"));
        }
        Ok(Self {
            tmux_program: tmux.program.unwrap_or_else(|| "tmux".into()),
            socket,
            found: tmux.found.unwrap_or(true),
            interval: between("snapshot.interval", snapshot.interval, 1000, 200, 60_000)?,
            output_interval: between(
                "snapshot.output_interval",
                snapshot.output_interval,
                5000,
                1000,
                600_000,
            )?,
            scrollback_lines: lines,
            scrollback_total_bytes: total.as_u64(),
            redact: snapshot.redact.unwrap_or(true),
            buffers: snapshot.buffers.unwrap_or(false),
            sessions: Sessions::check(merged.session)?,
            restore: merged.restore.auto.unwrap_or(true),
            approved,
            pace: pace(&merged.restore)?,
            still_yours: hours_to_a_year("restore.still_yours", merged.restore.still_yours, 14)?,
            restart: restart(merged.restart)?,
            drill_every: hours_to_a_year("drill.every", merged.drill.every, 7)?,
            notify_command: notify_command(merged.notify.command)?,
            notify_desktop: merged.notify.desktop.unwrap_or(true),
        })
    }
}

fn notify_command(words: Option<Vec<String>>) -> Result<Vec<String>, String> {
    let words = words.unwrap_or_default();
    if words.first().is_some_and(String::is_empty) || words.iter().any(|word| word.contains('\0')) {
        return Err(
            "notify.command must be a program and its arguments, as in [\"mail-me\", \"--now\"]".to_owned()
        );
    }
    Ok(words)
}

fn pace(restore: &RestoreFragment) -> Result<Pace, String> {
    let panes = restore.pace.unwrap_or(4);
    let min_available = restore.min_available.unwrap_or(ByteSize::mib(512));
    let max_pressure = restore.max_pressure.unwrap_or(20);
    match () {
        () if !(1..=100).contains(&panes) => Err(format!("restore.pace must be 1 to 100, not {panes}")),
        () if min_available > ByteSize::gib(64) => {
            Err(format!("restore.min_available must be at most 64 GiB, not {min_available}"))
        }
        () if !(1..=100).contains(&max_pressure) => {
            Err(format!("restore.max_pressure must be 1 to 100 percent, not {max_pressure}"))
        }
        () => Ok(Pace { panes, min_available: min_available.as_u64(), max_pressure }),
    }
}

fn restart(written: RestartFragment) -> Result<Restart, String> {
    const HOUR_MS: u64 = 3_600_000;
    let usual = Restart::default();
    let time = |name: &str, value, default_ms, min_ms, max_ms| {
        between(&format!("restart.{name}"), value, default_ms, min_ms, max_ms)
    };
    let burst = written.start_limit_burst.unwrap_or(usual.limit.burst);
    if !(1..=1000).contains(&burst) {
        return Err(format!("restart.start_limit_burst must be 1 to 1000, not {burst}"));
    }
    let interval =
        time("start_limit_interval_sec", written.start_limit_interval_sec, 60_000, 1000, 24 * HOUR_MS)?;
    Ok(Restart {
        shells: written.shells.unwrap_or(usual.shells),
        agents: written.agents.unwrap_or(usual.agents),
        programs: written.programs.unwrap_or(usual.programs),
        agent_names: written.agent_names.unwrap_or(usual.agent_names),
        delay: time("restart_sec", written.restart_sec, 1000, 0, HOUR_MS)?,
        delay_max: time("restart_max_delay_sec", written.restart_max_delay_sec, 60_000, 0, HOUR_MS)?,
        limit: StartLimit { burst, interval },
    })
}

fn hours_to_a_year(key: &str, value: Option<Every>, default_days: u32) -> Result<Option<Duration>, String> {
    const HOUR: Duration = Duration::from_secs(3600);
    match value.unwrap_or(Every::Time(default_days * 24 * HOUR)) {
        Every::Off => Ok(None),
        Every::Time(time) if (HOUR..=365 * 24 * HOUR).contains(&time) => Ok(Some(time)),
        Every::Time(time) => Err(format!(
            "{key} must be 1h to 365d, or \"off\", not {:#}",
            SignedDuration::try_from(time).unwrap_or_default()
        )),
    }
}

fn between(
    key: &str,
    value: Option<SignedDuration>,
    default_ms: u64,
    min_ms: u64,
    max_ms: u64,
) -> Result<Duration, String> {
    let Some(value) = value else {
        return Ok(Duration::from_millis(default_ms));
    };
    let (min, max) = (Duration::from_millis(min_ms), Duration::from_millis(max_ms));
    Duration::try_from(value)
        .ok()
        .filter(|value| (min..=max).contains(value))
        .ok_or_else(|| format!("{key} must be {min:?} to {max:?}, not {value:#}"))
}
