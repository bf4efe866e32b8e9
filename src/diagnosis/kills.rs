//! Which command closed what: a server tells what its clients told it to kill, and not always by a name that can be
//! known from outside.

use crate::model::evidence::KillCommand;
use crate::model::incident::{Subject, SubjectKind};

/// What the commands end, the largest first.
const LARGEST_FIRST: [(&str, SubjectKind); 3] = [
    ("kill-session", SubjectKind::Session),
    ("kill-window", SubjectKind::Window),
    ("kill-pane", SubjectKind::Pane),
];

/// Returns for each thing that went between two looks the command that ended it, if one of those did that came
/// meanwhile. A command that names what it ends is believed first. The others explain what is left only if they are
/// enough for all of it: else one of those may have died by itself.
pub fn attribute<'a>(subjects: &[Subject], kills: &'a [KillCommand]) -> Vec<Option<&'a KillCommand>> {
    let mut by: Vec<Option<&KillCommand>> = vec![None; subjects.len()];
    let mut free: Vec<&KillCommand> = Vec::new();
    for kill in kills {
        let mut named = false;
        for (subject, by) in subjects.iter().zip(&mut by).filter(|(_, by)| by.is_none()) {
            if ends_others(kill) && can_end(kill, subject.kind) || names(kill, subject) {
                *by = Some(kill);
                named = true;
            }
        }
        // One that names something else has ended that, or nothing.
        if !named && !ends_others(kill) && target(kill).is_none() {
            free.push(kill);
        }
    }
    for (own, kind) in LARGEST_FIRST {
        let open: Vec<usize> =
            (0..subjects.len()).filter(|at| by[*at].is_none() && subjects[*at].kind == kind).collect();
        let fit = free.iter().filter(|kill| can_end(kill, kind)).count();
        if fit < open.len() {
            continue;
        }
        for at in open {
            let its_own = free.iter().position(|kill| name_of(kill) == own);
            if let Some(kill) = its_own.or_else(|| free.iter().position(|kill| can_end(kill, kind))) {
                by[at] = Some(free.remove(kill));
            }
        }
    }
    by
}

/// Returns whether a command can have ended something of a kind: what has one window ends with that, and a window
/// with its last pane.
fn can_end(kill: &KillCommand, kind: SubjectKind) -> bool {
    let rank = |wanted: SubjectKind| LARGEST_FIRST.iter().position(|(_, kind)| *kind == wanted);
    let of = LARGEST_FIRST.iter().position(|(name, _)| *name == name_of(kill));
    of.zip(rank(kind)).is_some_and(|(of, rank)| of >= rank)
}

fn name_of(kill: &KillCommand) -> &str {
    kill.command.split(' ').next().unwrap_or_default()
}

/// Returns whether it ends all but what it names (`-a`).
fn ends_others(kill: &KillCommand) -> bool {
    kill.command.split(' ').skip(1).any(|word| word == "-a")
}

/// Returns what it names.
fn target(kill: &KillCommand) -> Option<&str> {
    kill.command.split_once("-t ").map(|(_, target)| target)
}

/// Returns whether it names something that died, as tmux targets are written: `web:1`, `=web`, `%5`.
fn names(kill: &KillCommand, subject: &Subject) -> bool {
    if ends_others(kill) || !can_end(kill, subject.kind) {
        return false;
    }
    let Some(target) = target(kill) else { return false };
    let target = target.trim_matches('"').trim_start_matches('=').trim_end_matches(':');
    let pane = |id: String| subject.panes.len() == 1 && id == target;
    target == subject.place || subject.panes.first().is_some_and(|lost| pane(lost.id.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::incident::LostPane;
    use crate::model::{PaneId, ServerId};

    fn subject(kind: SubjectKind, place: &str, pane: u32) -> Subject {
        let pane =
            LostPane { id: PaneId(pane), place: format!("{place}.0"), program: String::new(), shell: true };
        Subject { kind, server: ServerId::default(), place: place.into(), panes: vec![pane] }
    }

    /// Returns which of the commands ended each of the things, by its place.
    fn attributed(subjects: &[(SubjectKind, &str)], commands: &[&str]) -> Vec<Option<usize>> {
        let subjects: Vec<Subject> =
            subjects.iter().zip(5..).map(|((kind, place), pane)| subject(*kind, place, pane)).collect();
        let kill = |command: &&str| KillCommand { client: "c".into(), key: None, command: (*command).into() };
        let kills: Vec<KillCommand> = commands.iter().map(kill).collect();
        let at = |kill: &KillCommand| kills.iter().position(|other| std::ptr::eq(other, kill));
        attribute(&subjects, &kills).into_iter().map(|kill| kill.and_then(at)).collect()
    }

    #[test]
    fn what_is_named_was_meant_and_what_is_not_named_must_suffice() {
        use SubjectKind::{Pane, Session, Window};
        let (web, api) = ((Session, "web"), (Session, "api"));
        assert_eq!(attributed(&[web, api], &["kill-session -t api"]), [None, Some(0)]);
        assert_eq!(attributed(&[web], &["kill-session"]), [Some(0)], "the client's own");
        assert_eq!(attributed(&[web, api], &["kill-session"]), [None, None], "which of them?");
        assert_eq!(attributed(&[web, api], &["kill-session -t =api", "kill-window"]), [Some(1), Some(0)]);
        assert_eq!(
            attributed(&[web], &["kill-session -t build"]),
            [None],
            "that failed, or was a moment ago"
        );
        assert_eq!(attributed(&[web, api], &["kill-session -a -t other"]), [Some(0), Some(0)]);
        assert_eq!(attributed(&[(Window, "web:1")], &["kill-window -t web:1"]), [Some(0)]);
        assert_eq!(attributed(&[(Pane, "web:1.0")], &["kill-pane -t %5"]), [Some(0)]);
        assert_eq!(attributed(&[(Pane, "web:1.0")], &["kill-window -t web:1"]), [None], "the window lives");
        assert_eq!(attributed(&[web, (Pane, "b:0.1")], &["kill-pane", "kill-session"]), [Some(1), Some(0)]);
        assert_eq!(attributed(&[], &["kill-pane"]), []);
        assert_eq!(attributed(&[web], &[]), [None]);
    }
}
