//! What a server has lost between two looks: each thing once, the largest that is gone as a whole.

use std::collections::{BTreeSet, HashSet};

use crate::model::incident::{LostPane, Subject, SubjectKind};
use crate::model::{Pane, PaneId, Process, Program, Server, Session, Window};

/// Returns what is gone from a server that lives on.
pub fn gone(before: &Server, after: &Server) -> Vec<Subject> {
    let still = Still::of(after);
    let mut lost = Lost { server: before, seen: HashSet::new(), subjects: Vec::new() };
    for session in &before.sessions {
        if !after.sessions.iter().any(|other| other.id == session.id) {
            let panes = |window| lost_panes(session, window);
            let panes = session.windows.iter().flat_map(panes).filter(|pane| !still.panes.contains(&pane.id));
            lost.add(SubjectKind::Session, session.name.clone(), panes.collect());
            continue;
        }
        for window in &session.windows {
            let gone = |pane: &LostPane| !still.panes.contains(&pane.id);
            let panes: Vec<LostPane> = lost_panes(session, window).into_iter().filter(gone).collect();
            if panes.len() == window.panes.len() {
                lost.add(SubjectKind::Window, format!("{}:{}", session.name, window.index), panes);
            } else {
                panes
                    .into_iter()
                    .for_each(|pane| lost.add(SubjectKind::Pane, pane.place.clone(), vec![pane]));
            }
        }
    }
    lost.subjects
}

/// Returns the panes of a server whose program has ended since it was seen before, and that stay (`remain-on-exit`):
/// those that lived, and those that were not there yet. `dead` are those whose programs have ended; how, tmux 3.3a does
/// not always know.
pub fn newly_dead(before: &Server, after: &Server, dead: &HashSet<PaneId>) -> Vec<(Subject, Pane)> {
    let mut seen = HashSet::new();
    let dead = after.panes().filter(|(_, _, pane)| dead.contains(&pane.id));
    dead.filter(|(_, _, pane)| seen.insert(pane.id))
        .map(|(session, window, pane)| {
            // What ran in it stands in the look before.
            let was =
                before.panes().find(|(_, _, other)| other.id == pane.id).map_or(pane, |(_, _, was)| was);
            let lost = lost_pane(session, window, pane, was);
            let place = lost.place.clone();
            let subject =
                Subject { kind: SubjectKind::Pane, server: after.id.clone(), place, panes: vec![lost] };
            (subject, pane.clone())
        })
        .collect()
}

/// Returns a server as something that has died.
pub fn whole(server: &Server) -> Subject {
    let mut seen = HashSet::new();
    let panes = server.sessions.iter().flat_map(|session| {
        session.windows.iter().flat_map(|window| lost_panes(session, window)).collect::<Vec<_>>()
    });
    Subject {
        kind: SubjectKind::Server,
        server: server.id.clone(),
        place: server.socket.to_string(),
        panes: panes.filter(|pane| seen.insert(pane.id)).collect(),
    }
}

/// Returns a pane that a server has, as one of something that has died.
pub fn lost_pane_of(server: &Server, id: PaneId) -> Option<LostPane> {
    let mut panes = server.sessions.iter().flat_map(|session| {
        session.windows.iter().flat_map(|window| lost_panes(session, window)).collect::<Vec<_>>()
    });
    panes.find(|pane| pane.id == id)
}

/// Returns the greatest number that a pane of a server has; tmux counts them up and never uses one again.
pub fn numbered(server: &Server) -> u32 {
    server.panes().map(|(_, _, pane)| pane.id.0 + 1).max().unwrap_or(0)
}

/// Returns the panes that a server has numbered from `known` on and does not have any more: the first, the last, and
/// how many they are.
pub fn fleeting(known: u32, after: &Server) -> Option<(PaneId, PaneId, usize)> {
    let newer: BTreeSet<u32> =
        after.panes().map(|(_, _, pane)| pane.id.0).filter(|id| *id >= known).collect();
    let gone = |id: &u32| !newer.contains(id);
    let numbers = known..*newer.last()?;
    let panes = numbers.len() + 1 - newer.len();
    Some((PaneId(numbers.clone().find(gone)?), PaneId(numbers.rev().find(gone)?), panes))
}

struct Still {
    panes: HashSet<PaneId>,
}

impl Still {
    fn of(server: &Server) -> Self {
        Self { panes: server.panes().map(|(_, _, pane)| pane.id).collect() }
    }
}

struct Lost<'a> {
    server: &'a Server,
    /// A pane may be in several sessions.
    seen: HashSet<PaneId>,
    subjects: Vec<Subject>,
}

impl Lost<'_> {
    fn add(&mut self, kind: SubjectKind, place: String, panes: Vec<LostPane>) {
        let panes: Vec<LostPane> = panes.into_iter().filter(|pane| self.seen.insert(pane.id)).collect();
        if !panes.is_empty() {
            self.subjects.push(Subject { kind, server: self.server.id.clone(), place, panes });
        }
    }
}

fn lost_panes(session: &Session, window: &Window) -> Vec<LostPane> {
    window.panes.iter().map(|pane| lost_pane(session, window, pane, pane)).collect()
}

fn lost_pane(session: &Session, window: &Window, pane: &Pane, ran: &Pane) -> LostPane {
    let running = ran.program.foreground();
    LostPane {
        id: pane.id,
        place: format!("{}:{}.{}", session.name, window.index, pane.index),
        program: running.iter().map(Process::command_line).collect::<Vec<_>>().join(" | "),
        shell: matches!(&ran.program, Program::Shell { .. }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dead, sample};

    fn told(subjects: &[Subject]) -> Vec<String> {
        let panes = |subject: &Subject| subject.panes.len();
        subjects.iter().map(|one| format!("{:?} {} {}", one.kind, one.place, panes(one))).collect()
    }

    /// `web` with a window of two panes and one of one, and `api`.
    fn server() -> Server {
        let mut server = sample::server(1, &["web", "api"]);
        server.sessions[0].windows = vec![
            sample::window(10, 0, vec![sample::pane(10, 0), sample::pane(11, 1)]),
            sample::window(11, 3, vec![sample::pane(12, 0)]),
        ];
        server
    }

    #[test]
    fn the_largest_thing_that_is_gone_is_told_once() {
        let before = server();
        assert_eq!(told(&gone(&before, &before)), [""; 0]);
        let mut after = before.clone();
        after.sessions[0].windows[0].panes.remove(1);
        assert_eq!(told(&gone(&before, &after)), ["Pane web:0.1 1"]);
        after.sessions[0].windows.remove(0);
        assert_eq!(told(&gone(&before, &after)), ["Window web:0 2"]);
        after.sessions.remove(0);
        assert_eq!(told(&gone(&before, &after)), ["Session web 3"]);
        after.sessions.clear();
        assert_eq!(told(&gone(&before, &after)), ["Session web 3", "Session api 1"]);
        assert_eq!(told(&[whole(&before)]), ["Server /tmp/tmux-1000/default 4"]);
    }

    #[test]
    fn what_is_only_elsewhere_now_is_not_gone() {
        let before = server();
        let mut after = before.clone();
        let moved = after.sessions[0].windows.remove(0);
        after.sessions[1].windows.push(moved);
        assert_eq!(told(&gone(&before, &after)), [""; 0]);
        // A window that two sessions show dies once.
        let both = after.clone();
        let mut linked = both.clone();
        linked.sessions[0].windows.push(both.sessions[1].windows[1].clone());
        assert_eq!(
            told(&gone(&linked, &sample::server(1, &["x", "api"]))),
            ["Window web:3 1", "Window web:0 2"]
        );
        // A session that ends while its windows live on in its group has lost nothing.
        let mut grouped = before.clone();
        grouped.sessions[1].windows = before.sessions[0].windows.clone();
        let mut left = grouped.clone();
        left.sessions.remove(1);
        assert_eq!(told(&gone(&grouped, &left)), [""; 0]);
    }

    #[test]
    fn panes_that_nobody_saw_are_known_by_their_numbers() {
        let mut server = server();
        let last = numbered(&server);
        assert_eq!(fleeting(last, &server), None, "nothing new");
        server.sessions[0].windows[0].panes.push(sample::pane(last, 2));
        assert_eq!(fleeting(last, &server), None, "the next one");
        server.sessions[0].windows[0].panes.push(sample::pane(last + 4, 3));
        assert_eq!(fleeting(last, &server), Some((PaneId(last + 1), PaneId(last + 3), 3)));
        assert_eq!(fleeting(last + 8, &server), None, "those are told already");
    }

    #[test]
    fn a_pane_that_was_never_seen_alive_is_told_when_it_stays() {
        let before = server();
        let mut after = before.clone();
        let mut pane = sample::pane(77, 2);
        pane.dead = Some(Dead::Exited(1));
        after.sessions[0].windows[0].panes.push(pane);
        let dead = newly_dead(&before, &after, &[PaneId(77)].into());
        assert_eq!(told(&[dead[0].0.clone()]), ["Pane web:0.2 1"]);
    }

    #[test]
    fn a_pane_that_stays_is_told_when_its_program_ends() {
        let before = server();
        let mut after = before.clone();
        after.sessions[0].windows[0].panes[1].dead = Some(Dead::Exited(3));
        after.sessions[0].windows[0].panes[1].program = Program::Unknown;
        let pane = after.sessions[0].windows[0].panes[1].id;
        let dead = newly_dead(&before, &after, &[pane].into());
        assert_eq!(told(&[dead[0].0.clone()]), ["Pane web:0.1 1"]);
        assert_eq!((dead[0].0.panes[0].program.as_str(), dead[0].0.panes[0].shell), ("-bash", true));
        assert!(newly_dead(&before, &after, &HashSet::new()).is_empty());
    }
}
