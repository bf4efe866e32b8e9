//! Which facts together show which cause, and how surely.
//!
//! The witnesses of these rules are named in the documentation of each [`Fact`]; what a cause leaves behind was found
//! out on Debian 12 and 13, see the matrix in `tests/vm`.

use crate::model::evidence::{End, Fact, ShutdownWitness, Victim};
use crate::model::incident::Confidence::{self, Certain, Likely, Possible};
use crate::model::incident::SubjectKind::{Child, Client, Pane, Server, Session, Window};
use crate::model::incident::{Cause, Subject, SubjectKind};

/// Whether a fact is one that is asked for.
pub type Wanted = fn(&Subject, &Fact) -> bool;

/// One cause of death.
#[derive(Debug)]
pub struct Rule {
    /// The cause.
    pub cause: Cause,
    /// What can die of it.
    pub on: &'static [SubjectKind],
    /// The ways in which it shows.
    pub ways: &'static [Way],
}

/// Facts that show a cause when all of them are there.
#[derive(Debug)]
pub struct Way {
    /// How surely.
    pub confidence: Confidence,
    /// The facts.
    pub facts: &'static [Wanted],
}

const fn way(confidence: Confidence, facts: &'static [Wanted]) -> Way {
    Way { confidence, facts }
}

const PLACES: &[SubjectKind] = &[Session, Window, Pane];
const ALL: &[SubjectKind] = &[Server, Session, Window, Pane];

/// The rules. Among equally sure ones the first wins: what brings others about stands before them. A shutdown stops
/// the user's manager, which stops units, which ends servers in an orderly way.
pub const RULES: &[Rule] = &[
    Rule {
        cause: Cause::Shutdown,
        on: &[Server],
        ways: &[way(Certain, &[shutdown]), way(Possible, &[other_boot])],
    },
    Rule {
        cause: Cause::PowerLoss,
        on: &[Server],
        ways: &[
            way(Certain, &[other_boot, no_shutdown]),
            way(Certain, &[other_boot, journal_lost, keeper_cut]),
            way(Likely, &[other_boot, journal_lost]),
            way(Likely, &[other_boot, keeper_cut]),
            way(Possible, &[other_boot]),
        ],
    },
    Rule {
        cause: Cause::KilledAtLogout,
        on: &[Server],
        // Who closes a server and logs out at once has closed it.
        ways: &[way(Certain, &[cut, login_ended]), way(Likely, &[login_ended])],
    },
    Rule { cause: Cause::KilledAtLogout, on: PLACES, ways: &[way(Certain, &[login_ended])] },
    Rule {
        cause: Cause::ManagerStopped,
        on: ALL,
        ways: &[way(Certain, &[manager_stopping]), way(Certain, &[manager_restarted])],
    },
    Rule { cause: Cause::OomdKill, on: ALL, ways: &[way(Certain, &[oomd_kill])] },
    Rule {
        cause: Cause::OomKill,
        on: ALL,
        ways: &[
            way(Certain, &[oom_victim_itself]),
            way(Certain, &[oom_result]),
            way(Certain, &[oom_kill_in_own_unit, ended_by_sigkill]),
            way(Certain, &[oom_kill_in_own_unit, cut]),
            way(Likely, &[oom_kill_in_own_unit]),
            way(Likely, &[oom_kill, ended_by_sigkill]),
            way(Likely, &[oom_kill, cut]),
            way(Possible, &[oom_kill]),
        ],
    },
    Rule {
        cause: Cause::OomKill,
        on: &[Child],
        ways: &[way(Certain, &[oom_kill]), way(Certain, &[oom_victim])],
    },
    Rule { cause: Cause::UnitStopped, on: ALL, ways: &[way(Certain, &[unit_stopped])] },
    Rule {
        cause: Cause::ServerCrashed,
        on: &[Server],
        ways: &[way(Certain, &[ended_by_crash]), way(Certain, &[core_dump]), way(Certain, &[crash_result])],
    },
    Rule {
        cause: Cause::ServerKilled,
        on: &[Server],
        ways: &[
            way(Certain, &[ended_by_plain_signal]),
            way(Certain, &[ended_by_sigkill, no_oom_kill]),
            way(Likely, &[ended_by_sigkill]),
            // Whatever signal it was.
            way(Likely, &[cut, no_oom_kill]),
            way(Possible, &[cut]),
        ],
    },
    Rule { cause: Cause::ServerCrashed, on: &[Server], ways: &[way(Possible, &[cut, end_unknown])] },
    Rule { cause: Cause::SocketLost, on: &[Server], ways: &[way(Certain, &[socket_gone])] },
    Rule { cause: Cause::Upgraded, on: &[Server], ways: &[way(Certain, &[version_mismatch])] },
    Rule { cause: Cause::StartLimitHit, on: ALL, ways: &[way(Certain, &[start_limit_hit])] },
    Rule {
        cause: Cause::LastSession,
        on: &[Server],
        ways: &[
            way(Certain, &[goodbye, no_session_left]),
            way(Likely, &[no_session_left]),
            way(Likely, &[goodbye, panes_ended_first]),
        ],
    },
    Rule {
        cause: Cause::ProgramKilled,
        on: PLACES,
        ways: &[
            way(Certain, &[ended_by_foreign_signal]),
            way(Certain, &[ended_by_sigkill, no_oom_kill]),
            way(Likely, &[ended_by_sigkill]),
        ],
    },
    Rule { cause: Cause::ProgramFailed, on: PLACES, ways: &[way(Certain, &[program_exited_with_error])] },
    Rule {
        cause: Cause::ClosedByUser,
        on: PLACES,
        ways: &[
            way(Certain, &[kill_command]),
            way(Certain, &[exited_well]),
            way(Likely, &[hung_up]),
            way(Likely, &[interrupted]),
            way(Likely, &[shell_exited]),
            way(Possible, &[vanished]),
            // Whoever opens a pane for less than a second knows when it is done.
            way(Possible, &[fleeting]),
        ],
    },
    Rule {
        cause: Cause::ClosedByUser,
        on: &[Server],
        ways: &[
            way(Certain, &[goodbye, nothing_stopping, exit_empty_off]),
            way(Certain, &[goodbye, nothing_stopping, panes_hung_up]),
            way(Likely, &[goodbye]),
            way(Possible, &[exited_well]),
        ],
    },
    Rule { cause: Cause::TerminalClosed, on: &[Client], ways: &[way(Certain, &[client_lost])] },
];

// ── tmux ──

fn goodbye(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::Goodbye)
}

fn cut(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::Cut)
}

fn vanished(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::Vanished)
}

fn fleeting(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::Fleeting { .. })
}

fn socket_gone(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::SocketGone { .. })
}

fn no_session_left(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::NoSessionLeft)
}

fn panes_ended_first(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::PanesEndedFirst)
}

fn panes_hung_up(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::PanesHungUp)
}

fn exit_empty_off(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::ExitEmptyOff)
}

fn kill_command(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::KillCommand(_))
}

fn version_mismatch(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::VersionMismatch { .. })
}

fn client_lost(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::ClientLost { .. })
}

// ── processes ──

const SIGHUP: u8 = 1;
const SIGINT: u8 = 2;
const SIGKILL: u8 = 9;

/// The signals of a program that did something impossible, whose default action is a core dump (signal(7)).
/// SIGQUIT has it too, and is a person's key.
pub const CRASHES: [u8; 7] = [4, 5, 6, 7, 8, 11, 31];

fn ended_by(fact: &Fact, wanted: impl Fn(u8) -> bool) -> bool {
    matches!(fact, Fact::Ended { end: End::Killed(signal), .. } if wanted(*signal))
}

fn ended_by_sigkill(_: &Subject, fact: &Fact) -> bool {
    ended_by(fact, |signal| signal == SIGKILL)
}

fn ended_by_crash(_: &Subject, fact: &Fact) -> bool {
    ended_by(fact, |signal| CRASHES.contains(&signal))
}

/// By a signal that says what it is about: not the kernel's for want of memory, nor the one that a terminal sends
/// when it is closed, as tmux closes that of a pane.
fn ended_by_other_signal(_: &Subject, fact: &Fact) -> bool {
    ended_by(fact, |signal| ![SIGKILL, SIGHUP].contains(&signal))
}

/// The same, and not because it crashed.
fn ended_by_plain_signal(subject: &Subject, fact: &Fact) -> bool {
    ended_by_other_signal(subject, fact) && !ended_by_crash(subject, fact)
}

/// The same of a program: Ctrl-C is a person's key.
fn ended_by_foreign_signal(_: &Subject, fact: &Fact) -> bool {
    ended_by(fact, |signal| ![SIGKILL, SIGHUP, SIGINT].contains(&signal))
}

/// By a signal, or by itself because of one: the status is 128 and the signal then, by custom (bash(1), EXIT STATUS).
fn ended_because_of(fact: &Fact, signal: u8) -> bool {
    ended_by(fact, |own| own == signal)
        || matches!(fact, Fact::Ended { end: End::Exited(status), .. } if *status == 128 + signal)
}

/// Returns whether the terminal was closed under a program.
pub fn hung_up(_: &Subject, fact: &Fact) -> bool {
    ended_because_of(fact, SIGHUP)
}

/// Returns whether somebody pressed Ctrl-C.
pub fn interrupted(_: &Subject, fact: &Fact) -> bool {
    ended_because_of(fact, SIGINT)
}

fn core_dump(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::CoreDump { .. })
}

fn end_unknown(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::EndUnknown)
}

fn exited_well(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::Ended { end: End::Exited(0), .. })
}

/// A shell's status is that of the last command: it says nothing of the shell.
fn shell_exited(subject: &Subject, fact: &Fact) -> bool {
    ran_shells(subject) && matches!(fact, Fact::Ended { end: End::Exited(_), .. })
}

fn program_exited_with_error(subject: &Subject, fact: &Fact) -> bool {
    let told_to = hung_up(subject, fact) || interrupted(subject, fact);
    !ran_shells(subject) && !told_to && matches!(fact, Fact::Ended { end: End::Exited(1..), .. })
}

fn ran_shells(subject: &Subject) -> bool {
    subject.panes.iter().all(|pane| pane.shell)
}

// ── memory ──

fn oom_victim(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::OomVictim { .. })
}

/// Whether what the kernel chose is the very thing that died. Where it was a child the unit's result tells whether
/// that ended anything else.
fn oom_victim_itself(subject: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::OomVictim { victim, .. } if is_itself(subject, *victim))
}

fn is_itself(subject: &Subject, victim: Victim) -> bool {
    match subject.kind {
        Server => victim == Victim::Server,
        _ => victim == Victim::Program,
    }
}

fn oom_kill(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::OomKill { kills: 1.., .. })
}

fn oom_kill_in_own_unit(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::OomKill { kills: 1.., own: true, .. })
}

fn no_oom_kill(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::NoOomKill { .. })
}

fn oomd_kill(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::OomdKill { .. })
}

// ── systemd ──

fn unit_stopped(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::UnitStopped { .. })
}

/// The words are systemd's (`unit_result`, systemd.exec(5), `$SERVICE_RESULT`).
fn oom_result(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::UnitResult { result, .. } if result == "oom-kill")
}

fn crash_result(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::UnitResult { result, .. } if result == "core-dump")
}

fn nothing_stopping(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::NothingStopping)
}

fn manager_stopping(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::ManagerStopping)
}

fn manager_restarted(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::ManagerRestarted)
}

fn start_limit_hit(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::StartLimitHit { .. })
}

// ── logind and the machine ──

fn login_ended(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::LoginEnded { .. })
}

fn other_boot(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::OtherBoot { .. })
}

fn shutdown(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::Shutdown { .. })
}

fn no_shutdown(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::NoShutdown { witness: ShutdownWitness::Journal })
}

fn journal_lost(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::NoShutdown { witness: ShutdownWitness::LostJournal })
}

/// It may have been killed before.
fn keeper_cut(_: &Subject, fact: &Fact) -> bool {
    matches!(fact, Fact::NoShutdown { witness: ShutdownWitness::Keeper })
}
