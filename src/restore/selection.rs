//! What of a saved state is meant: sessions by their names, windows by index or name, and a new name for one.
//!
//! Names mean themselves and are no patterns. What is not there is refused with what there is.

use crate::model::{Generation, Server, Session, Snapshot, Window, plural};
use crate::similar::nearest;

/// How many names are listed where one was not found.
const LISTED_MAX: usize = 20;

/// What to restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these sessions; empty for all, or for those of the windows.
    pub sessions: Vec<String>,
    /// Only these windows, as `session:index`, `session:name`, an index or a name; empty for all. What names no
    /// session is looked for in the sessions that are selected, or in all.
    pub windows: Vec<String>,
    /// The name that the one session gets instead of its own.
    pub rename: Option<String>,
    /// Whether a person asked. Then also what they had closed comes back.
    pub by_hand: bool,
}

impl Selection {
    /// Returns whether nothing is left out.
    pub fn is_everything(&self) -> bool {
        self.sessions.is_empty() && self.windows.is_empty() && self.rename.is_none()
    }
}

/// A selection that makes no sense for the generation, or for what lives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// A session that was asked for is not in the generation.
    #[error("snapshot {generation} holds no session {wanted:?}{}; it holds: {known}", meant(near.as_deref()))]
    UnknownSession {
        /// The generation.
        generation: Generation,
        /// What was asked for.
        wanted: String,
        /// What was probably meant.
        near: Option<String>,
        /// What there is.
        known: String,
    },
    /// A window that was asked for is not in the generation.
    #[error("snapshot {generation} holds no window {wanted:?}{}; it holds: {known}", meant(near.as_deref()))]
    UnknownWindow {
        /// The generation.
        generation: Generation,
        /// What was asked for.
        wanted: String,
        /// What was probably meant.
        near: Option<String>,
        /// What there is.
        known: String,
    },
    /// More than one window is called so.
    #[error("{wanted:?} can be several windows of snapshot {generation}: {found}")]
    AmbiguousWindow {
        /// The generation.
        generation: Generation,
        /// What was asked for.
        wanted: String,
        /// What it can be.
        found: String,
    },
    /// One name for several sessions.
    #[error("only one session can get another name, and {} are meant", plural(*sessions, "session"))]
    OneNameForMany {
        /// How many sessions are meant.
        sessions: usize,
    },
    /// A name that tmux would not keep as it is.
    #[error("{name:?} cannot be the name of a session: {why}")]
    BadName {
        /// The name.
        name: String,
        /// What tmux would do.
        why: String,
    },
    /// The name is taken.
    #[error("a session {name:?} is there already")]
    NameTaken {
        /// The name.
        name: String,
    },
}

fn meant(near: Option<&str>) -> String {
    near.map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default()
}

/// A session of which something is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted<'a> {
    /// The session.
    pub session: &'a Session,
    /// The windows that are meant, in the order of their indexes; empty for the whole session.
    pub windows: Vec<&'a Window>,
}

/// Finds what is meant, in the order of the generation.
pub(super) fn wanted<'a>(
    generation: Generation,
    saved: &'a Snapshot,
    selection: &Selection,
) -> Result<Vec<Wanted<'a>>, SelectionError> {
    let all = &saved.server.sessions;
    let selected = selected_sessions(generation, saved, selection)?;
    let scope = if selected.is_empty() { all.iter().collect() } else { selected.clone() };
    let mut windows = Vec::new();
    for text in &selection.windows {
        windows.push(the_window(generation, all, &scope, text)?);
    }
    let everything = selected.is_empty() && windows.is_empty();
    let mut wanted = Vec::new();
    for session in all {
        let mut own: Vec<&Window> = session.windows.iter().collect();
        own.retain(|window| {
            windows.iter().any(|(of, meant)| of.id == session.id && meant.index == window.index)
        });
        if everything || !own.is_empty() || selected.iter().any(|other| other.name == session.name) {
            wanted.push(Wanted { session, windows: own });
        }
    }
    Ok(wanted)
}

/// Returns whether a state holds everything that is asked for.
pub fn is_held(saved: &Snapshot, selection: &Selection) -> bool {
    use SelectionError::{UnknownSession, UnknownWindow};
    !matches!(wanted(0, saved, selection), Err(UnknownSession { .. } | UnknownWindow { .. }))
}

fn selected_sessions<'a>(
    generation: Generation,
    saved: &'a Snapshot,
    selection: &Selection,
) -> Result<Vec<&'a Session>, SelectionError> {
    let sessions = &saved.server.sessions;
    let find = |wanted: &String| {
        sessions.iter().find(|session| session.name == *wanted).ok_or_else(|| {
            let names = || sessions.iter().map(|session| session.name.as_str());
            SelectionError::UnknownSession {
                generation,
                wanted: wanted.clone(),
                near: nearest(wanted, names().map(|name| (name, name.to_owned()))),
                known: listed(names().map(str::to_owned).collect()),
            }
        })
    };
    selection.sessions.iter().map(find).collect()
}

/// Finds the one window that is meant. The index of a window goes before a name that looks like one.
fn the_window<'a>(
    generation: Generation,
    all: &'a [Session],
    scope: &[&'a Session],
    text: &str,
) -> Result<(&'a Session, &'a Window), SelectionError> {
    let qualified = all.iter().filter_map(|session| {
        let rest = text.strip_prefix(session.name.as_str())?.strip_prefix(':')?;
        Some((session, rest))
    });
    let mut found: Vec<_> = qualified.flat_map(|(session, rest)| in_session(session, rest)).collect();
    if found.is_empty() {
        found = scope.iter().flat_map(|session| in_session(session, text)).collect();
    }
    // A window that is linked or shared is the same wherever it is seen.
    let first = found.first().copied();
    match first {
        Some(first) if found.iter().all(|(_, window)| window.id == first.1.id) => Ok(first),
        Some(_) => Err(SelectionError::AmbiguousWindow {
            generation,
            wanted: text.to_owned(),
            found: listed(found.into_iter().map(called).collect()),
        }),
        None => Err(unknown_window(generation, scope, text)),
    }
}

fn in_session<'a>(session: &'a Session, text: &str) -> Vec<(&'a Session, &'a Window)> {
    let index = text.parse::<u32>().ok();
    let by_index = session.windows.iter().find(|window| Some(window.index) == index);
    match by_index {
        Some(window) => vec![(session, window)],
        None => {
            let named = session.windows.iter().filter(|window| window.name == text);
            named.map(|window| (session, window)).collect()
        }
    }
}

fn unknown_window(generation: Generation, scope: &[&Session], text: &str) -> SelectionError {
    let windows = || scope.iter().flat_map(|session| session.windows.iter().map(move |one| (*session, one)));
    let names = windows().flat_map(|(session, window)| {
        let full = format!("{}:{}", session.name, window.name);
        [(full.clone(), full), (window.name.clone(), window.name.clone())]
    });
    let names: Vec<(String, String)> = names.collect();
    SelectionError::UnknownWindow {
        generation,
        wanted: text.to_owned(),
        near: nearest(text, names.iter().map(|(name, full)| (name.as_str(), full.clone()))),
        known: listed(windows().map(called).collect()),
    }
}

/// Returns a window as a person would find it again: `web:2 "logs"`.
fn called((session, window): (&Session, &Window)) -> String {
    format!("{}:{} {:?}", session.name, window.index, window.name)
}

fn listed(mut names: Vec<String>) -> String {
    let more = names.len().saturating_sub(LISTED_MAX);
    names.truncate(LISTED_MAX);
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    format!("{}{more}", names.join(", "))
}

/// Refuses a new name that several sessions would get, that tmux would change, or that is taken.
pub(super) fn check_name(
    wanted: &[Wanted<'_>],
    live: Option<&Server>,
    selection: &Selection,
) -> Result<(), SelectionError> {
    let Some(name) = &selection.rename else { return Ok(()) };
    if wanted.len() != 1 {
        return Err(SelectionError::OneNameForMany { sessions: wanted.len() });
    }
    if let Some(why) = what_is_wrong_with(name) {
        return Err(SelectionError::BadName { name: name.clone(), why });
    }
    let taken = live.into_iter().flat_map(|server| &server.sessions).any(|session| session.name == *name);
    if taken { Err(SelectionError::NameTaken { name: name.clone() }) } else { Ok(()) }
}

/// What vis(3) encodes, which differs between versions, is stored encoded. Colons and dots become underscores up to
/// 3.6 (`session_check_name` in session.c); from 3.7 on they stay, and no target means such a session.
fn what_is_wrong_with(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("it is empty".to_owned());
    }
    if name.contains(|c: char| c.is_control() || c == '\\' || c == '$') {
        return Some("tmux does not keep control characters, backslashes and $ as they are".to_owned());
    }
    let separates = name.contains([':', '.']);
    separates.then(|| "to tmux a : or . begins the window or the pane behind a session's name".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;

    /// `web` with the windows 0 "edit", 2 "logs" and 3 "2"; `api` with 0 "edit" and 1 "logs:x".
    fn saved() -> Snapshot {
        let mut server = sample::server(1, &["web", "api"]);
        let window = |id: u32, index: u32, name: &str| Window {
            name: name.to_owned(),
            ..sample::window(id, index, vec![sample::pane(id, 0)])
        };
        server.sessions[0].windows = vec![window(0, 0, "edit"), window(1, 2, "logs"), window(2, 3, "2")];
        server.sessions[1].windows = vec![window(3, 0, "edit"), window(4, 1, "logs:x")];
        sample::snapshot(server)
    }

    fn select(sessions: &[&str], windows: &[&str]) -> Selection {
        let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        Selection {
            sessions: owned(sessions),
            windows: owned(windows),
            by_hand: true,
            ..Selection::default()
        }
    }

    fn told(sessions: &[&str], windows: &[&str]) -> String {
        match wanted(7, &saved(), &select(sessions, windows)) {
            Err(error) => error.to_string(),
            Ok(wanted) => {
                let one = |wanted: Wanted<'_>| match &wanted.windows[..] {
                    [] => wanted.session.name.clone(),
                    windows => {
                        let windows: Vec<_> = windows.iter().map(|window| window.index.to_string()).collect();
                        format!("{}:{}", wanted.session.name, windows.join("+"))
                    }
                };
                wanted.into_iter().map(one).collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn windows_are_found_by_index_and_by_name_in_the_sessions_that_are_meant() {
        let cases: [(&[&str], &[&str], &str); 14] = [
            (&[], &[], "web api"),
            (&["api"], &[], "api"),
            (&["web"], &["2"], "web:2"),
            (&["web"], &["logs"], "web:2"),
            (&["web"], &["logs", "0"], "web:0+2"),
            (&[], &["web:2"], "web:2"),
            (&[], &["web:logs"], "web:2"),
            (&[], &["logs"], "web:2"),
            (&[], &["logs:x"], "api:1"),
            (&[], &["api:logs:x", "web:3"], "web:3 api:1"),
            (&["api"], &["web:3"], "web:3 api"),
            (&[], &["edit"], "\"edit\" can be several windows of snapshot 7: web:0 \"edit\", api:0 \"edit\""),
            (
                &["web"],
                &["lgos"],
                "snapshot 7 holds no window \"lgos\" (did you mean \"logs\"?); it holds: web:0 \"edit\", \
                 web:2 \"logs\", web:3 \"2\"",
            ),
            (
                &["wbe"],
                &[],
                "snapshot 7 holds no session \"wbe\" (did you mean \"web\"?); it holds: web, api",
            ),
        ];
        for (sessions, windows, expected) in cases {
            assert_eq!(told(sessions, windows), expected, "{sessions:?} {windows:?}");
        }
    }

    #[test]
    fn a_window_that_is_linked_is_one() {
        let mut saved = saved();
        saved.server.sessions[1].windows[0].id = saved.server.sessions[0].windows[0].id;
        let selection = select(&[], &["edit"]);
        let wanted = wanted(7, &saved, &selection).unwrap();
        assert_eq!((wanted.len(), wanted[0].session.name.as_str()), (1, "web"));
    }

    #[test]
    fn whether_a_state_holds_what_is_asked_for() {
        let held = |sessions: &[&str], windows: &[&str]| is_held(&saved(), &select(sessions, windows));
        assert!(held(&[], &[]) && held(&["web"], &["2"]) && held(&[], &["edit"]), "ambiguous is there too");
        assert!(!held(&["nope"], &[]) && !held(&["api"], &["2"]) && !held(&[], &["api:9"]));
    }

    #[test]
    fn a_new_name_is_for_one_session_and_one_that_tmux_keeps() {
        let saved = saved();
        let check = |sessions: &[&str], name: &str| {
            let selection = Selection { rename: Some(name.to_owned()), ..select(sessions, &[]) };
            let wanted = wanted(7, &saved, &selection).unwrap();
            check_name(&wanted, Some(&sample::server(2, &["taken"])), &selection).map_err(|e| e.to_string())
        };
        assert_eq!(check(&["web"], "web 2"), Ok(()));
        let cases = [
            (&["web"][..], "", "\"\" cannot be the name of a session: it is empty"),
            (
                &["web"],
                "a.b:c",
                "\"a.b:c\" cannot be the name of a session: to tmux a : or . begins the window or \
 the pane behind a session's name",
            ),
            (&["web"], "taken", "a session \"taken\" is there already"),
            (&[], "x", "only one session can get another name, and 2 sessions are meant"),
        ];
        for (sessions, name, expected) in cases {
            assert_eq!(check(sessions, name).unwrap_err(), expected);
        }
        for name in ["a\tb", r"a\b", "$HOME"] {
            assert!(check(&["web"], name).unwrap_err().contains("as they are"), "{name}");
        }
    }
}
