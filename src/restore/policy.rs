//! What is done about a death. Only what was lost comes back; what its user closed stays closed.

use crate::model::incident::{Cause, Deed, SubjectKind};

/// What is done about each cause: about a server with all that was in it, and about a part of one that lives on.
const TABLE: [(Cause, Deed, Deed); 18] = [
    (Cause::Shutdown, Deed::RestorePaced, Deed::Nothing),
    (Cause::PowerLoss, Deed::RestorePaced, Deed::Nothing),
    (Cause::KilledAtLogout, Deed::Restore, Deed::Nothing),
    (Cause::ManagerStopped, Deed::Restore, Deed::Nothing),
    (Cause::OomdKill, Deed::RestorePaced, Deed::RestorePaced),
    (Cause::OomKill, Deed::RestorePaced, Deed::RestorePaced),
    // Somebody wanted that, and said so to systemd.
    (Cause::UnitStopped, Deed::Nothing, Deed::Nothing),
    (Cause::ServerCrashed, Deed::Restore, Deed::Nothing),
    (Cause::ServerKilled, Deed::Restore, Deed::Nothing),
    (Cause::SocketLost, Deed::Signal, Deed::Nothing),
    (Cause::Upgraded, Deed::Ask, Deed::Nothing),
    (Cause::StartLimitHit, Deed::Wait, Deed::Ask),
    (Cause::LastSession, Deed::Nothing, Deed::Nothing),
    (Cause::ProgramFailed, Deed::Nothing, Deed::Keep),
    (Cause::ProgramKilled, Deed::Nothing, Deed::Keep),
    (Cause::ClosedByUser, Deed::Nothing, Deed::Nothing),
    (Cause::TerminalClosed, Deed::Nothing, Deed::Nothing),
    // What is not known to be closed is lost.
    (Cause::Unknown, Deed::Restore, Deed::Nothing),
];

/// Returns what is done about something that died of a cause.
pub fn deed(cause: Cause, kind: SubjectKind) -> Deed {
    let row = TABLE.iter().find(|(of, ..)| *of == cause);
    row.map_or(Deed::Nothing, |(_, server, part)| if kind == SubjectKind::Server { *server } else { *part })
}

/// Returns what is done, in words.
pub fn in_words(deed: Deed, cause: Cause, kind: SubjectKind) -> &'static str {
    match deed {
        Deed::Nothing if kind == SubjectKind::Child => "nothing: what it was a child of goes on",
        Deed::Nothing if kind == SubjectKind::Client => "nothing: its session goes on",
        Deed::Nothing if matches!(cause, Cause::ClosedByUser | Cause::LastSession | Cause::UnitStopped) => {
            "nothing: what its user closed stays closed"
        }
        Deed::Nothing => "nothing",
        Deed::Restore => "it is brought back, with all that was in it",
        Deed::RestorePaced => {
            "it is brought back as the memory allows, what took most of it last; if that runs out again soon, it \
             comes back as text that waits for Enter"
        }
        Deed::Ask => {
            "nothing starts by itself: if its pane is back, press Enter there; if it stayed, tmux respawn-pane starts it \
             again; else restore it by hand"
        }
        Deed::Wait => "the next one is started when the time is over within which that was too often",
        Deed::Signal => "the server was told to make its socket again",
        Deed::Keep => "it is not brought back by itself; what is known of it is kept",
        Deed::Restart => "its program is started again, after a pause that grows ([restart] in config.toml)",
    }
}

/// Returns whether a server that ended is brought back.
pub fn brings_back(cause: Cause) -> bool {
    matches!(deed(cause, SubjectKind::Server), Deed::Restore | Deed::RestorePaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_row() {
        let listed: Vec<Cause> = TABLE.iter().map(|(cause, ..)| *cause).collect();
        assert_eq!(listed, Cause::ALL);
        let closed = [
            Cause::UnitStopped,
            Cause::SocketLost,
            Cause::Upgraded,
            Cause::StartLimitHit,
            Cause::LastSession,
            Cause::ProgramFailed,
            Cause::ProgramKilled,
            Cause::ClosedByUser,
            Cause::TerminalClosed,
        ];
        for cause in Cause::ALL {
            assert_eq!(brings_back(cause), !closed.contains(&cause), "{cause}");
        }
    }
}
