//! Every cause with the evidence that it leaves, and every subset of that.

use super::*;
use crate::model::evidence::{End, EndWitness, Fact, KillCommand, Limit, ShutdownWitness, Victim};
use crate::model::incident::{LostPane, SubjectKind};
use crate::model::{BootId, PaneId, ServerId};

const UNIT: &str = "tmux-spawn-1.scope";

fn ended(end: End) -> Fact {
    Fact::Ended { end, witness: EndWitness::Kernel }
}

fn oom_kill(own: bool) -> Fact {
    Fact::OomKill { unit: UNIT.into(), kills: 1, own, limit: Limit::Own }
}

fn result(result: &str) -> Fact {
    Fact::UnitResult { unit: UNIT.into(), result: result.into() }
}

fn victim(victim: Victim) -> Fact {
    Fact::OomVictim { victim, comm: "hog".into(), pid: 7, rss_bytes: 1 << 30, limit: None }
}

fn kill_command() -> Fact {
    Fact::KillCommand(KillCommand {
        client: "/dev/pts/3".into(),
        key: Some("x".into()),
        command: "kill-pane".into(),
    })
}

fn login_ended() -> Fact {
    Fact::LoginEnded { session: "3".into() }
}

fn other_boot() -> Fact {
    Fact::OtherBoot { before: BootId("one".into()) }
}

fn subject(kind: SubjectKind, shell: bool) -> Subject {
    let pane = LostPane { id: PaneId(1), place: "web:0.0".into(), program: "x".into(), shell };
    Subject { kind, server: ServerId::default(), place: "web".into(), panes: vec![pane] }
}

/// What each cause leaves behind when everybody could look, and nothing was overlooked.
fn deaths() -> Vec<(SubjectKind, Cause, Vec<Fact>)> {
    use SubjectKind::{Child, Client, Pane, Server, Session, Window};
    let (by_keeper, by_journal) = (ShutdownWitness::Keeper, ShutdownWitness::Journal);
    let no_oom = || Fact::NoOomKill { unit: UNIT.into() };
    let dump = || Fact::CoreDump { signal: 11, exe: "/usr/bin/tmux".into() };
    let oomd = || Fact::OomdKill { unit: UNIT.into(), reason: "memory-pressure".into() };
    let stopped = || Fact::UnitStopped { unit: UNIT.into() };
    let shutdown = |witness| Fact::Shutdown { witness };
    let no_shutdown = |witness| Fact::NoShutdown { witness };
    vec![
        (
            Server,
            Cause::Shutdown,
            vec![Fact::GoneUnseen, other_boot(), shutdown(by_keeper), shutdown(by_journal)],
        ),
        (
            Server,
            Cause::Shutdown,
            vec![Fact::Goodbye, Fact::ManagerStopping, stopped(), shutdown(ShutdownWitness::Logind)],
        ),
        (
            Server,
            Cause::PowerLoss,
            vec![Fact::GoneUnseen, other_boot(), no_shutdown(by_journal), no_shutdown(by_keeper)],
        ),
        (
            Server,
            Cause::PowerLoss,
            vec![
                Fact::GoneUnseen,
                other_boot(),
                no_shutdown(ShutdownWitness::LostJournal),
                no_shutdown(by_keeper),
            ],
        ),
        (Server, Cause::KilledAtLogout, vec![Fact::Cut, login_ended(), ended(End::Exited(0))]),
        (Server, Cause::KilledAtLogout, vec![Fact::GoneUnseen, login_ended()]),
        (
            Server,
            Cause::ClosedByUser,
            vec![Fact::Goodbye, login_ended(), Fact::NothingStopping, Fact::PanesHungUp],
        ),
        (
            Server,
            Cause::ManagerStopped,
            vec![Fact::Goodbye, Fact::ManagerStopping, Fact::NotLingering, stopped()],
        ),
        (Server, Cause::ManagerStopped, vec![Fact::GoneUnseen, Fact::ManagerRestarted, Fact::NotLingering]),
        (Server, Cause::OomdKill, vec![Fact::Cut, ended(End::Killed(9)), oomd(), result("oom-kill")]),
        (
            Server,
            Cause::OomKill,
            vec![Fact::Cut, ended(End::Killed(9)), oom_kill(true), victim(Victim::Server)],
        ),
        (
            Server,
            Cause::OomKill,
            vec![
                Fact::Goodbye,
                ended(End::Exited(0)),
                oom_kill(false),
                result("oom-kill"),
                victim(Victim::Child),
            ],
        ),
        (Server, Cause::UnitStopped, vec![Fact::Goodbye, ended(End::Exited(0)), stopped(), no_oom()]),
        (Server, Cause::ServerCrashed, vec![Fact::Cut, ended(End::Killed(11)), dump(), no_oom()]),
        (
            Server,
            Cause::ServerKilled,
            vec![Fact::Cut, ended(End::Killed(9)), no_oom(), Fact::NothingStopping],
        ),
        (Server, Cause::ServerKilled, vec![Fact::Cut, Fact::EndUnknown, no_oom(), Fact::NothingStopping]),
        (Server, Cause::SocketLost, vec![Fact::SocketGone { pid: 7 }]),
        (Server, Cause::Upgraded, vec![Fact::VersionMismatch { said: "protocol version mismatch".into() }]),
        (Server, Cause::StartLimitHit, vec![Fact::StartLimitHit { starts: 5, within_secs: 60 }]),
        (
            Server,
            Cause::LastSession,
            vec![Fact::Goodbye, Fact::NoSessionLeft, ended(End::Exited(0)), Fact::NothingStopping],
        ),
        (
            Server,
            Cause::LastSession,
            vec![Fact::Goodbye, Fact::PanesEndedFirst, Fact::EndUnknown, Fact::NothingStopping],
        ),
        (
            Server,
            Cause::ClosedByUser,
            vec![
                Fact::Goodbye,
                ended(End::Exited(0)),
                Fact::NothingStopping,
                Fact::ExitEmptyOff,
                Fact::PanesHungUp,
                no_oom(),
            ],
        ),
        (Server, Cause::Unknown, vec![Fact::GoneUnseen]),
        (Pane, Cause::OomdKill, vec![Fact::Vanished, ended(End::Killed(9)), oomd(), result("oom-kill")]),
        (
            Pane,
            Cause::OomKill,
            vec![Fact::Vanished, ended(End::Killed(9)), oom_kill(true), victim(Victim::Program)],
        ),
        (
            Pane,
            Cause::OomKill,
            vec![Fact::Vanished, ended(End::Killed(1)), oom_kill(true), result("oom-kill")],
        ),
        (Pane, Cause::OomKill, vec![Fact::Vanished, ended(End::Killed(9)), oom_kill(false)]),
        (Pane, Cause::UnitStopped, vec![Fact::Vanished, ended(End::Killed(1)), stopped(), no_oom()]),
        (Pane, Cause::ProgramFailed, vec![Fact::Vanished, ended(End::Exited(3)), no_oom()]),
        (Pane, Cause::ProgramKilled, vec![Fact::Vanished, ended(End::Killed(11)), dump(), no_oom()]),
        (Pane, Cause::ClosedByUser, vec![Fact::Vanished, ended(End::Exited(0)), no_oom()]),
        (Pane, Cause::ClosedByUser, vec![Fact::Vanished, ended(End::Exited(129)), no_oom()]),
        (Pane, Cause::ClosedByUser, vec![Fact::Vanished, ended(End::Killed(2)), no_oom()]),
        (Pane, Cause::ClosedByUser, vec![Fact::Vanished, ended(End::Killed(1)), kill_command()]),
        (Window, Cause::ClosedByUser, vec![Fact::Vanished, ended(End::Killed(1)), kill_command(), no_oom()]),
        (Session, Cause::ClosedByUser, vec![Fact::Vanished, ended(End::Exited(0))]),
        (Pane, Cause::ClosedByUser, vec![Fact::Fleeting { first: PaneId(4), last: PaneId(6), panes: 3 }]),
        (Child, Cause::OomKill, vec![oom_kill(true), victim(Victim::Child)]),
        (
            Client,
            Cause::TerminalClosed,
            vec![Fact::ClientLost { terminal: "/dev/pts/3".into(), session: "web".into() }],
        ),
    ]
}

/// Returns every selection of some of the facts; the last is all of them.
fn subsets(facts: &[Fact]) -> impl Iterator<Item = Vec<Evidence>> {
    (0..1_u32 << facts.len()).map(|chosen| {
        let kept = facts.iter().enumerate().filter(move |(at, _)| chosen & (1 << at) != 0);
        kept.map(|(_, fact)| fact.clone().undated()).collect()
    })
}

#[test]
fn every_cause_is_told_by_what_it_leaves() {
    for (kind, cause, facts) in deaths() {
        let evidence: Vec<Evidence> = facts.iter().cloned().map(Fact::undated).collect();
        let verdict = diagnose(&subject(kind, false), &evidence);
        assert_eq!(verdict.finding.cause, cause, "{kind:?} {facts:?}: {verdict:?}");
    }
    for cause in Cause::ALL {
        assert!(deaths().iter().any(|(_, told, _)| *told == cause), "nothing shows {cause}");
    }
    for rule in RULES {
        assert!(rule.on.iter().all(|kind| deaths().iter().any(|(on, ..)| on == kind)), "{}", rule.cause);
    }
}

#[test]
fn less_evidence_never_makes_a_verdict_surer() {
    for (kind, _, facts) in deaths() {
        for shell in [false, true] {
            let subject = subject(kind, shell);
            for evidence in subsets(&facts) {
                let all = diagnose(&subject, &evidence);
                check(&all, &evidence);
                for without in 0..evidence.len() {
                    let mut less = evidence.clone();
                    less.remove(without);
                    let verdict = diagnose(&subject, &less);
                    assert!(
                        verdict.finding.confidence <= all.finding.confidence,
                        "{evidence:?} without {without}: {verdict:?}, and with it {all:?}"
                    );
                }
            }
        }
    }
}

/// What is true of every verdict.
fn check(verdict: &Verdict, evidence: &[Evidence]) {
    let Verdict { finding, others } = verdict;
    assert_eq!(finding.cause == Cause::Unknown, finding.confidence == Confidence::None, "{verdict:?}");
    assert_eq!(
        finding.because.is_empty(),
        finding.cause == Cause::Unknown,
        "no verdict without its evidence"
    );
    for one in others {
        assert!(one.confidence <= finding.confidence && one.cause != Cause::Unknown, "{verdict:?}");
        assert!(one.because.iter().all(|at| *at < evidence.len()));
    }
    assert!(finding.because.iter().all(|at| *at < evidence.len()));
}

/// Facts of several deaths at once, as they come when everything goes wrong within a second.
#[test]
fn facts_in_any_mixture_have_one_verdict() {
    let all: Vec<Fact> = deaths().into_iter().flat_map(|(.., facts)| facts).collect();
    for kind in [SubjectKind::Server, SubjectKind::Session, SubjectKind::Pane, SubjectKind::Child] {
        for first in &all {
            for second in &all {
                let pair = [first, second].map(|fact| fact.clone().undated());
                let (one, both) =
                    (diagnose(&subject(kind, false), &pair[..1]), diagnose(&subject(kind, false), &pair));
                check(&both, &pair);
                assert!(one.finding.confidence <= both.finding.confidence, "{pair:?}");
            }
        }
    }
}

#[test]
fn a_shells_status_is_not_its_own() {
    let evidence = [Fact::Vanished.undated(), ended(End::Exited(7)).undated()];
    let told = |shell| diagnose(&subject(SubjectKind::Pane, shell), &evidence).finding;
    assert_eq!((told(true).cause, told(true).confidence), (Cause::ClosedByUser, Confidence::Likely));
    assert_eq!((told(false).cause, told(false).confidence), (Cause::ProgramFailed, Confidence::Certain));
}

#[test]
fn weaker_explanations_are_kept_in_order() {
    let evidence = [Fact::Cut, ended(End::Killed(9)), oom_kill(false)].map(Fact::undated);
    let verdict = diagnose(&subject(SubjectKind::Server, false), &evidence);
    assert_eq!((verdict.finding.cause, verdict.finding.confidence), (Cause::OomKill, Confidence::Likely));
    assert_eq!(verdict.finding.because, [1, 2]);
    let others: Vec<Cause> = verdict.others.iter().map(|finding| finding.cause).collect();
    assert_eq!(others, [Cause::ServerKilled]);
}
