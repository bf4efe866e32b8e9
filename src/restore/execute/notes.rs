//! What a restore leaves different on purpose.

use crate::model::Session;
use crate::restore::HELD_BACK;
use crate::restore::name::{is_3_7, printable, typed};
use crate::restore::plan::{Step, Target};
use crate::tmux::escape::unvis;

/// Returns in words what of a step is not as it was, on a server of this version.
pub(super) fn notes(step: &Step, version: &str) -> String {
    let session = &step.session;
    let mut notes = vec![step.note.clone()];
    if step.target != Target::Living {
        notes.extend(options_held_back(session));
        notes.extend(other_session_name(session, version));
    }
    if !matches!(step.target, Target::Sharing(_)) {
        notes.extend(other_window_names(session, version));
    }
    notes.retain(|note| !note.is_empty());
    notes.join("; ")
}

fn options_held_back(session: &Session) -> impl Iterator<Item = String> {
    let set = session
        .options
        .iter()
        .filter(|(name, value)| HELD_BACK.contains(&name.as_str()) && !is_off(value.as_bytes()));
    set.map(|(name, value)| format!("{name} {value} is not set again, it would end what has just come back"))
}

/// A flag is printed as 0 by some versions, as the word by others.
fn is_off(value: &[u8]) -> bool {
    matches!(value, b"off" | b"0")
}

fn other_session_name(session: &Session, version: &str) -> Option<String> {
    let name = typed(&session.name, version);
    (name != unvis(session.name.as_bytes())).then(|| called("it", &name, version))
}

fn other_window_names(session: &Session, version: &str) -> Vec<String> {
    let windows = session.windows.iter().filter(|_| is_3_7(version));
    let others = windows.filter_map(|window| {
        let name = unvis(window.name.as_bytes());
        let allowed = printable(&name);
        (name != allowed).then(|| called(&format!("window {}", window.index), &allowed, version))
    });
    others.collect()
}

fn called(what: &str, name: &[u8], version: &str) -> String {
    let name = String::from_utf8_lossy(name);
    format!("{what} is called {name:?}, because tmux {version} takes no control characters in names")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;

    #[test]
    fn what_is_left_different_on_purpose_is_said() {
        let mut session = sample::session(1, r"a\tb");
        session.windows[0].name = "log\u{1b}".to_owned();
        session.options.insert("destroy-unattached".to_owned(), "keep-last".into());
        let told = |target: Target, version: &str| {
            notes(&Step { session: session.clone(), target, note: "it was x".to_owned() }, version)
        };
        let option = "destroy-unattached keep-last is not set again, it would end what has just come back";
        let (name, window) = ("it is called \"a_b\", because", "window 0 is called \"log_\", because");
        assert_eq!(told(Target::New, "3.6"), format!("it was x; {option}"));
        let all = told(Target::New, "3.7c");
        assert!([option, name, window].iter().all(|part| all.contains(part)), "{all}");
        let living = told(Target::Living, "3.7c");
        assert!(living.contains(window) && !living.contains(option) && !living.contains(name), "{living}");
        assert!(!told(Target::Sharing("x".to_owned()), "3.7c").contains(window));
        session.options.insert("destroy-unattached".to_owned(), "off".into());
        assert_eq!(notes(&Step { session, target: Target::New, note: String::new() }, "3.6"), "");
    }
}
