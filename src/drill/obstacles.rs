//! What on this machine stands in the way of a restore although all of it is saved: programs and directories
//! that are gone. It is told and does not lower the score, because no snapshot could bring it back.

use std::collections::HashSet;

use crate::model::{ByteString, Server};
use crate::pane::not_as_it_was;
use crate::restore::compare::Comparison;

/// Returns in words what sessions and panes would not find; a pane that is seen in several places counts once.
pub(super) fn obstacles(server: &Server) -> Vec<String> {
    let lost = server.sessions.iter().filter(|session| is_gone(&session.directory));
    let mut found: Vec<String> =
        lost.map(|session| format!("{}: {} is gone", session.name, session.directory)).collect();
    let mut seen = HashSet::new();
    for (session, window, pane) in server.panes().filter(|(.., pane)| seen.insert(pane.id)) {
        let mut changes = not_as_it_was(&pane.program);
        if is_gone(&pane.directory) {
            changes.push(format!("{} is gone", pane.directory));
        }
        changes.sort();
        changes.dedup();
        let place = format!("{}:{}.{}", session.name, window.index, pane.index);
        found.extend(changes.into_iter().map(|change| format!("{place}: {change}")));
    }
    found
}

/// Returns the places whose directory is gone, as a comparison names them.
pub(super) fn without_directory(server: &Server) -> HashSet<String> {
    let sessions = server.sessions.iter().filter(|session| is_gone(&session.directory));
    let panes = server.panes().filter(|(.., pane)| is_gone(&pane.directory));
    let panes =
        panes.map(|(session, window, pane)| format!("{}:{}.{}", session.name, window.index, pane.index));
    sessions.map(|session| session.name.clone()).chain(panes).collect()
}

fn is_gone(directory: &ByteString) -> bool {
    !directory.as_path().is_dir()
}

/// Takes the differences away that are there because a directory is gone.
pub(super) fn forgive(comparison: &mut Comparison, gone: &HashSet<String>) {
    comparison.differences.retain(|found| found.field != "directory" || !gone.contains(&found.place));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Program, sample};
    use crate::restore::compare::compare;

    #[test]
    fn what_is_gone_is_told_and_is_no_difference() {
        let mut server = sample::server(1, &["web"]);
        let session = &mut server.sessions[0];
        session.directory = "/".into();
        let pane = &mut session.windows[0].panes[0];
        pane.directory = "/nonexistent/work".into();
        let mut gone = sample::process(&["serve", "-x"]);
        (gone.exe, gone.directory) = ("/nonexistent/serve".into(), "/nonexistent/work".into());
        let mut shell = sample::process(&["-sh"]);
        (shell.exe, shell.directory) = ("/bin/sh".into(), "/nonexistent/work".into());
        pane.program = Program::shell(shell, vec![gone]);
        assert_eq!(
            obstacles(&server),
            [
                "web:0.0: /nonexistent/serve is gone, so it would not start",
                "web:0.0: /nonexistent/work is gone"
            ]
        );
        let mut found = server.clone();
        found.sessions[0].windows[0].panes[0].directory = "/".into();
        found.sessions[0].directory = "/tmp".into();
        let mut comparison = compare(&server, &found);
        forgive(&mut comparison, &without_directory(&server));
        let left: Vec<&str> = comparison.differences.iter().map(|left| left.place.as_str()).collect();
        assert_eq!(left, ["web"]);
    }
}
