//! Whether a program that ended is started again, in the words of systemd.service(5): `Restart=`, `RestartSec=`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::evidence::{End, Evidence, Fact};
use crate::model::incident::{Cause, LostPane};

use super::limit::StartLimit;

/// The agents that are known by name, for the time that nothing better is configured (`restart.agent_names`).
pub const AGENTS: [&str; 16] = [
    "acli",
    "agy",
    "amp",
    "claude",
    "codebuddy",
    "codex",
    "copilot",
    "cursor-agent",
    "droid",
    "gemini",
    "grok",
    "hermes",
    "omp",
    "opencode",
    "pi",
    "qodercli",
];

/// After which ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartOn {
    /// None.
    Never,
    /// A status that is not 0, or a signal. A shell's status is that of its last command and says nothing of it: of
    /// shells a signal only.
    OnFailure,
    /// Every end but that by a tmux command.
    Always,
}

/// What is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// Of shells.
    pub shells: RestartOn,
    /// Of agents.
    pub agents: RestartOn,
    /// Of all else.
    pub programs: RestartOn,
    /// What counts as an agent, by the names of programs.
    pub agent_names: Vec<String>,
    /// How long to wait before the first start; twice as long before each further one that counts.
    pub delay: Duration,
    /// The longest wait.
    pub delay_max: Duration,
    /// How often, within which time.
    pub limit: StartLimit,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            shells: RestartOn::Never,
            agents: RestartOn::OnFailure,
            programs: RestartOn::Never,
            agent_names: AGENTS.iter().map(|name| (*name).to_owned()).collect(),
            delay: Duration::from_secs(1),
            delay_max: Duration::from_secs(60),
            limit: StartLimit { burst: 5, interval: Duration::from_secs(60) },
        }
    }
}

impl Restart {
    /// Returns whether the program of a pane is started again that ended in this way.
    pub fn applies(&self, pane: &LostPane, cause: Cause, evidence: &[Evidence]) -> bool {
        let on = match () {
            () if pane.shell => self.shells,
            () if self.is_agent(&pane.program) => self.agents,
            () => self.programs,
        };
        let closed = evidence.iter().any(|one| matches!(one.fact, Fact::KillCommand(_)));
        let exited =
            || evidence.iter().any(|one| matches!(one.fact, Fact::Ended { end: End::Exited(_), .. }));
        let failed = matches!(cause, Cause::ProgramFailed | Cause::ProgramKilled);
        match on {
            RestartOn::Never => false,
            _ if closed || ended_by(evidence, &[SIGHUP]) => false,
            RestartOn::OnFailure => failed && !ended_by(evidence, &CLEAN_SIGNALS),
            RestartOn::Always => failed || cause == Cause::ClosedByUser && exited(),
        }
    }

    /// Returns whether a command line is an agent's: its program, or the script that an interpreter runs, is called
    /// like one.
    fn is_agent(&self, command_line: &str) -> bool {
        let words = shlex::split(command_line).unwrap_or_default();
        let base = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
        let mut names = words.iter().map(base);
        let first = names.next().unwrap_or_default();
        let interprets = ["node", "bun", "deno", "python", "python3"].contains(&first.as_str());
        let script = names.next().filter(|_| interprets);
        [Some(first), script].into_iter().flatten().any(|name| {
            let name = name.strip_suffix(".js").unwrap_or(&name);
            self.agent_names.iter().any(|agent| agent == name)
        })
    }
}

/// SIGHUP: tmux closes a pane so.
const SIGHUP: u8 = 1;

/// The signals that are no failure: SIGHUP, SIGINT, SIGPIPE and SIGTERM (`Restart=on-failure`, systemd.service(5)).
const CLEAN_SIGNALS: [u8; 4] = [SIGHUP, 2, 13, 15];

/// Returns whether one of some signals ended a program, or had it end itself: its status is 128 and the signal then, by
/// custom (bash(1), EXIT STATUS).
fn ended_by(evidence: &[Evidence], signals: &[u8]) -> bool {
    evidence.iter().any(|one| match one.fact {
        Fact::Ended { end: End::Killed(signal), .. } => signals.contains(&signal),
        Fact::Ended { end: End::Exited(status), .. } => {
            status.checked_sub(128).is_some_and(|signal| signals.contains(&signal))
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PaneId;
    use crate::model::evidence::{EndWitness, KillCommand};

    fn pane(program: &str, shell: bool) -> LostPane {
        LostPane { id: PaneId(1), place: "web:0.0".into(), program: program.into(), shell }
    }

    #[test]
    fn what_is_started_again() {
        use Cause::{ClosedByUser, OomKill, ProgramFailed, ProgramKilled};
        use RestartOn::{Always, Never, OnFailure};
        let exited = |status| vec![Fact::Ended { end: End::Exited(status), witness: EndWitness::Tmux }];
        let killed = |signal| vec![Fact::Ended { end: End::Killed(signal), witness: EndWitness::Tmux }];
        let kill = || {
            let command = "kill-pane".to_owned();
            vec![Fact::KillCommand(KillCommand { client: String::new(), key: None, command })]
        };
        let cases = [
            (Never, ProgramFailed, exited(1), false),
            (OnFailure, ProgramFailed, exited(1), true),
            (OnFailure, ProgramKilled, vec![], true),
            (OnFailure, ProgramFailed, exited(129), false),
            (OnFailure, ProgramFailed, exited(143), false),
            (OnFailure, ProgramKilled, killed(2), false),
            (OnFailure, ProgramKilled, killed(15), false),
            (OnFailure, ProgramKilled, killed(11), true),
            (Always, ProgramKilled, killed(15), true),
            (Always, ProgramFailed, exited(129), false),
            (OnFailure, ClosedByUser, exited(0), false),
            (OnFailure, OomKill, vec![], false),
            (Always, ProgramFailed, exited(1), true),
            (Always, ClosedByUser, exited(0), true),
            (Always, ClosedByUser, kill(), false),
            (Always, ClosedByUser, [kill(), exited(0)].concat(), false),
            (Always, ClosedByUser, vec![Fact::Vanished], false),
        ];
        for (on, cause, facts, again) in cases {
            let evidence: Vec<Evidence> = facts.into_iter().map(Fact::undated).collect();
            let of = |shells, agents, programs| Restart { shells, agents, programs, ..Restart::default() };
            let kinds = [
                (pane("-bash", true), of(on, Never, Never)),
                (pane("claude --resume 1", false), of(Never, on, Never)),
                (pane("npm start", false), of(Never, Never, on)),
            ];
            for (pane, restart) in kinds {
                let found = restart.applies(&pane, cause, &evidence);
                assert_eq!(found, again, "{on:?} {cause} {} {evidence:?}", pane.program);
            }
        }
    }

    #[test]
    fn agents_are_known_by_their_programs() {
        let restart = Restart::default();
        let cases = [
            ("claude", true),
            ("/home/ann/.local/bin/codex resume 1", true),
            ("node /usr/lib/node_modules/.bin/gemini -p x", true),
            ("node /opt/codex.js", true),
            ("node server.js claude", false),
            ("vim claude", false),
            ("claudette", false),
            ("", false),
            ("'", false),
        ];
        for (line, agent) in cases {
            assert_eq!(restart.is_agent(line), agent, "{line}");
        }
    }
}
