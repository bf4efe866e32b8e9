//! A verdict in words.

use crate::diagnosis::rules::{hung_up, interrupted};
use crate::model::evidence::{End, EndWitness, Evidence, Fact, KillCommand, Limit, ShutdownWitness, Victim};
use crate::model::incident::{Cause, Confidence, Incident, Subject, SubjectKind};
use crate::model::{PaneId, plural};

/// Returns the evidence as a sentence without its full stop.
pub fn fact(fact: &Fact) -> String {
    match fact {
        Fact::Goodbye => "the server told its clients that it ends".to_owned(),
        Fact::Cut => "the server's clients were cut off without a word".to_owned(),
        Fact::GoneUnseen => "it ended while no keeper watched".to_owned(),
        Fact::Vanished => "tmux does not list it any more, and the server lives".to_owned(),
        Fact::SocketGone { pid } => {
            format!("process {pid} is the server, and the path of its socket is gone")
        }
        Fact::Fleeting { first, last, panes } => {
            let which = fleeting(*first, *last);
            format!("tmux numbered {} ({which}) between two looks", plural(*panes, "pane"))
        }
        Fact::NoSessionLeft => "its last session had ended, and exit-empty is on".to_owned(),
        Fact::PanesEndedFirst => "all its panes had ended before it did, and exit-empty is on".to_owned(),
        Fact::PanesHungUp => "it still had panes, whose programs got SIGHUP when it ended".to_owned(),
        Fact::ExitEmptyOff => "it would have lived on without sessions: exit-empty is off".to_owned(),
        Fact::KillCommand(kill) => kill_command(kill),
        Fact::VersionMismatch { said } => format!("tmux says: {said}"),
        Fact::ClientLost { terminal, session } => {
            format!("the client on {terminal} is gone and the terminal with it, and session {session} lives")
        }
        Fact::Ended { end, witness } => format!("{}, says {}", ended(*end), end_witness(*witness)),
        Fact::EndUnknown => "it ended, and nobody could see how".to_owned(),
        Fact::CoreDump { signal, exe } => format!("{exe} dumped core after {}", signal_name(*signal)),
        Fact::OomKill { .. } | Fact::NoOomKill { .. } | Fact::OomVictim { .. } | Fact::OomdKill { .. } => {
            memory_fact(fact)
        }
        Fact::UnitStopped { unit } => format!("systemd was asked to stop {unit}"),
        Fact::UnitResult { unit, result } => {
            format!("systemd says that {unit} ended with the result {result}")
        }
        Fact::NothingStopping => "neither systemd nor the machine was about to stop anything".to_owned(),
        Fact::ManagerStopping => "the user's service manager was stopping".to_owned(),
        Fact::ManagerRestarted => "the user's service manager had been started anew since".to_owned(),
        Fact::StartLimitHit { starts, within_secs } => {
            format!("it was started {starts} times within {within_secs} s")
        }
        Fact::LoginEnded { session } => {
            format!("logind session {session} ended, and KillUserProcesses ends what is left of one")
        }
        Fact::NotLingering => "nobody was logged in any more, and lingering was off".to_owned(),
        Fact::OtherBoot { .. } => "the machine has booted since".to_owned(),
        Fact::Shutdown { witness } => {
            format!("the machine was shut down, says {}", shutdown_witness(*witness))
        }
        Fact::NoShutdown { witness: ShutdownWitness::LostJournal } => {
            "the journal has nothing of that boot, and a shutdown would have written it out".to_owned()
        }
        Fact::NoShutdown { witness: ShutdownWitness::Keeper } => {
            "the keeper did not come to its end in that boot".to_owned()
        }
        Fact::NoShutdown { witness } => format!("{} shows no shutdown", shutdown_witness(*witness)),
    }
}

fn kill_command(kill: &KillCommand) -> String {
    let KillCommand { client, key, command } = kill;
    match key {
        Some(key) => format!("{client} pressed {key}: {command}"),
        None if client.is_empty() => format!("the server ran: {command}"),
        None => format!("{client} ran: {command}"),
    }
}

fn memory_fact(fact: &Fact) -> String {
    match fact {
        Fact::OomKill { unit, kills, limit, .. } => {
            let whose = match limit {
                Limit::Own => ": its own limit was reached",
                Limit::Above => ": the limit of something above it, or the machine's memory, was used up",
                Limit::Unknown => "",
            };
            let processes = if *kills == 1 { "process" } else { "processes" };
            format!("the kernel killed {kills} {processes} in {unit} for want of memory{whose}")
        }
        Fact::NoOomKill { unit } => format!("the kernel killed nothing in {unit} for want of memory"),
        Fact::OomVictim { victim, comm, pid, rss_bytes, limit } => {
            let whose = limit.as_ref().map_or_else(
                || "because the machine's memory was used up".to_owned(),
                |limit| format!("because the limit of {limit} was reached"),
            );
            format!(
                "the kernel killed {comm} (pid {pid}, {}), {}, {whose}",
                size(*rss_bytes),
                victim_in_words(*victim)
            )
        }
        Fact::OomdKill { unit, reason } => format!("systemd-oomd killed {unit} ({reason})"),
        _ => String::new(),
    }
}

fn victim_in_words(victim: Victim) -> &'static str {
    match victim {
        Victim::Server => "the tmux server",
        Victim::Program => "the program of the pane",
        Victim::Child => "a child of what ran there",
    }
}

fn ended(end: End) -> String {
    match end {
        End::Exited(0) => "it ended by itself with status 0".to_owned(),
        End::Exited(status) => format!("it ended with status {status}"),
        End::Killed(0) => "a signal ended it".to_owned(),
        End::Killed(signal) => format!("{} ended it", signal_name(signal)),
    }
}

fn end_witness(witness: EndWitness) -> &'static str {
    match witness {
        EndWitness::Tmux => "tmux",
        EndWitness::Kernel => "the kernel",
    }
}

fn shutdown_witness(witness: ShutdownWitness) -> &'static str {
    match witness {
        ShutdownWitness::Logind => "logind",
        ShutdownWitness::Keeper => "the keeper's own note",
        ShutdownWitness::Journal | ShutdownWitness::LostJournal => "the journal of that boot",
    }
}

/// Returns a signal's name as kill(1) has it: `SIGKILL`.
pub fn signal_name(signal: u8) -> String {
    nix_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

/// The numbers are those of x86 and ARM (signal(7)).
fn nix_name(signal: u8) -> Option<&'static str> {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    NAMES.get(usize::from(signal).checked_sub(1)?).copied()
}

fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

/// Returns the name of panes that nobody saw: `%58`, or `%58..%69`.
pub fn fleeting(first: PaneId, last: PaneId) -> String {
    if first == last { first.to_string() } else { format!("{first}..{last}") }
}

/// Returns what died: `the session web`, `the tmux server`.
pub fn subject(subject: &Subject) -> String {
    let place = &subject.place;
    match subject.kind {
        SubjectKind::Server => format!("the tmux server on {place}"),
        SubjectKind::Session => format!("session {place}"),
        SubjectKind::Window => format!("window {place}"),
        SubjectKind::Pane => format!("pane {place}"),
        SubjectKind::Child if subject.panes.is_empty() => {
            format!("a process that shares its unit with the tmux server on {place}")
        }
        SubjectKind::Child => format!("a process in pane {place}"),
        SubjectKind::Client => format!("the client on {place}"),
    }
}

/// Returns why it died, in one sentence without its full stop.
pub fn sentence(incident: &Incident) -> String {
    let finding = &incident.verdict.finding;
    let what = subject(&incident.subject);
    let why = cause(finding.cause, &incident.subject, &incident.evidence);
    match finding.confidence {
        Confidence::None => format!("{what} ended, and nothing tells why"),
        Confidence::Possible => format!("{what}: it is possible that {why}"),
        Confidence::Likely => format!("{what}: most likely {why}"),
        Confidence::Certain => format!("{what}: {why}"),
    }
}

/// Returns a cause as the end of a sentence.
fn cause(cause: Cause, subject: &Subject, evidence: &[Evidence]) -> String {
    let kind = subject.kind;
    match cause {
        Cause::Shutdown => "it ended with the machine, which was shut down or rebooted".to_owned(),
        Cause::PowerLoss => "it ended with the machine, which stopped without a shutdown: no power, or a crash".to_owned(),
        Cause::KilledAtLogout => "logind ended it at logout, because it lived in a login session and KillUserProcesses is on".to_owned(),
        Cause::ManagerStopped if holds(evidence, |fact| matches!(fact, Fact::NotLingering)) => {
            "it ended with the user's service manager, which stops after the last logout because lingering is off".to_owned()
        }
        Cause::ManagerStopped => "it ended with the user's service manager, which was stopped".to_owned(),
        Cause::OomdKill => "systemd-oomd killed it to free memory".to_owned(),
        Cause::OomKill => oom(subject, evidence),
        Cause::UnitStopped => "somebody had systemd stop the unit that it lived in".to_owned(),
        Cause::ServerCrashed => "tmux crashed".to_owned(),
        Cause::ServerKilled if holds(evidence, |fact| matches!(fact, Fact::Ended { .. })) => {
            "somebody, or a program, killed it with a signal".to_owned()
        }
        Cause::ServerKilled => "a signal ended it: it was killed, or tmux crashed".to_owned(),
        Cause::SocketLost => "it lived on and could not be reached, because the path of its socket was removed".to_owned(),
        Cause::Upgraded => "it lives, and this tmux cannot talk to it: tmux was replaced by another version meanwhile".to_owned(),
        Cause::StartLimitHit if kind == SubjectKind::Server => {
            "servers kept ending, so no further one was started for a while".to_owned()
        }
        Cause::StartLimitHit => format!("{}, too often, so it was not started again", last_end(evidence)),
        Cause::LastSession => "its last session ended, and a server without sessions ends (exit-empty)".to_owned(),
        Cause::ProgramFailed | Cause::ProgramKilled => last_end(evidence),
        Cause::ClosedByUser if kind == SubjectKind::Server => "it was told to end: kill-server, or SIGTERM".to_owned(),
        Cause::ClosedByUser if holds(evidence, |fact| matches!(fact, Fact::KillCommand(_))) => {
            "it was closed with a tmux command".to_owned()
        }
        Cause::ClosedByUser if holds(evidence, |fact| hung_up(subject, fact)) => {
            "it was closed: its terminal went away, as it does when tmux is told to kill it".to_owned()
        }
        Cause::ClosedByUser if holds(evidence, |fact| interrupted(subject, fact)) => {
            "it was interrupted (Ctrl-C)".to_owned()
        }
        Cause::ClosedByUser if holds(evidence, |fact| matches!(fact, Fact::Fleeting { .. })) => {
            "whoever opened it closed it again at once".to_owned()
        }
        Cause::ClosedByUser if holds(evidence, |fact| matches!(fact, Fact::Ended { .. })) => {
            "what ran there ended by itself: exit, Ctrl-D, or it was done".to_owned()
        }
        Cause::ClosedByUser => "it was closed: exit, Ctrl-D or a tmux command, or it was done".to_owned(),
        Cause::TerminalClosed => "its terminal was closed, or the connection lost; nothing died".to_owned(),
        Cause::Unknown => "nothing tells why".to_owned(),
    }
}

fn oom(subject: &Subject, evidence: &[Evidence]) -> String {
    let child = holds(evidence, |fact| matches!(fact, Fact::OomVictim { victim: Victim::Child, .. }));
    let stopped =
        holds(evidence, |fact| matches!(fact, Fact::UnitResult { result, .. } if result == "oom-kill"));
    match subject.kind {
        SubjectKind::Child => "the kernel killed it for want of memory".to_owned(),
        _ if child || stopped => {
            "the kernel killed a process for want of memory, and systemd then ended all of its unit"
                .to_owned()
        }
        _ => "the kernel killed it for want of memory".to_owned(),
    }
}

fn last_end(evidence: &[Evidence]) -> String {
    let end = evidence.iter().find_map(|one| match one.fact {
        Fact::Ended { end, .. } => Some(end),
        _ => None,
    });
    match end {
        Some(End::Exited(status)) => format!("its program ended with status {status}"),
        Some(End::Killed(signal)) => format!("{} ended its program", signal_name(signal)),
        None => "its program ended with an error".to_owned(),
    }
}

fn holds(evidence: &[Evidence], wanted: impl Fn(&Fact) -> bool) -> bool {
    evidence.iter().any(|one| wanted(&one.fact))
}

/// Returns whether a death is one that its user may wonder about.
pub fn is_unwanted(incident: &Incident) -> bool {
    let cause = incident.verdict.finding.cause;
    !matches!(cause, Cause::ClosedByUser | Cause::LastSession | Cause::TerminalClosed)
}

/// Returns what keeps such a thing from happening, with the id of the check of `keeperctl doctor` that applies.
pub fn prevention(cause: Cause) -> Option<(&'static str, &'static str)> {
    match cause {
        Cause::KilledAtLogout => Some(("server.place", "a server that lives in a scope of your own manager")),
        Cause::ManagerStopped => Some(("linger.enabled", "lingering, so that your manager does not stop")),
        Cause::LastSession => Some(("server.exit-empty", "a server that lives without sessions")),
        Cause::Shutdown | Cause::PowerLoss => {
            Some(("keeper.enabled", "nothing; a keeper that starts at boot brings it back"))
        }
        Cause::OomdKill
        | Cause::OomKill
        | Cause::UnitStopped
        | Cause::ServerCrashed
        | Cause::ServerKilled
        | Cause::SocketLost
        | Cause::Upgraded
        | Cause::StartLimitHit
        | Cause::ProgramFailed
        | Cause::ProgramKilled
        | Cause::ClosedByUser
        | Cause::TerminalClosed
        | Cause::Unknown => None,
    }
}
