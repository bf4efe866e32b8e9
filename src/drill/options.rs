//! What the server of a drill is told so that the comparison is fair: those global options of the saved server
//! that decide what a restore makes, and nothing that starts anything.

use crate::cause::in_words;
use crate::model::{Options, Snapshot};
use crate::tmux::command::Command;
use crate::tmux::{Tmux, TmuxError};

/// Session options that decide how many lines a pane keeps and how large and where new windows are. A pane would
/// keep 2,000 lines without the first.
const SESSION: [&str; 4] = ["history-limit", "base-index", "default-size", "renumber-windows"];

/// Window options that decide how panes are numbered, whose names change by themselves, what happens to a pane
/// whose program ends, and how much room panes have.
const WINDOW: [&str; 10] = [
    "pane-base-index",
    "automatic-rename",
    "allow-rename",
    "remain-on-exit",
    "window-size",
    "aggressive-resize",
    "pane-border-status",
    "main-pane-width",
    "main-pane-height",
    "tiled-layout-max-columns",
];

/// Gives a server the global options that a snapshot has, and returns in words what it does not take: one of
/// another version may not know an option. A snapshot of format 1 has none; then its panes are at least numbered
/// as they were.
pub(super) async fn match_globals(snapshot: &Snapshot, tmux: &Tmux) -> Result<Vec<String>, TmuxError> {
    let mut refused = Vec::new();
    for command in commands(snapshot) {
        match tmux.run(std::slice::from_ref(&command)).await {
            Err(error @ TmuxError::Refused { .. }) => refused.push(in_words(error)),
            result => drop(result?),
        }
    }
    Ok(refused)
}

fn commands(snapshot: &Snapshot) -> Vec<Command> {
    let set = || Command::new("set-option").arg("-g");
    let globals = &snapshot.server.globals;
    if globals.is_empty() {
        let first = snapshot.server.panes().map(|(_, _, pane)| pane.index).min().unwrap_or(0);
        return vec![set().arg("-w").arg("pane-base-index").arg(first.to_string())];
    }
    let session = chosen(&SESSION, &globals.session).map(|(name, value)| set().arg(name).arg(value));
    let window = chosen(&WINDOW, &globals.window).map(|(name, value)| set().arg("-w").arg(name).arg(value));
    session.chain(window).collect()
}

/// Returns those of some options that are set to a plain word or number: no format, and nothing that tmux or a
/// shell would obey.
fn chosen<'a>(names: &'a [&str], options: &'a Options) -> impl Iterator<Item = (&'a str, &'a str)> {
    let plain =
        |value: &&str| value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-%".contains(&byte));
    names.iter().filter_map(move |name| {
        let value = str::from_utf8(options.get(*name)?.as_bytes()).ok().filter(plain)?;
        Some((*name, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;
    use crate::tmux::command::join;

    fn lines(snapshot: &Snapshot) -> Vec<String> {
        let words = |command| {
            let words = join(&[command]);
            words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        commands(snapshot).into_iter().map(words).collect()
    }

    #[test]
    fn only_what_decides_and_starts_nothing_is_set() {
        let mut snapshot = sample::snapshot(sample::server(1, &["web"]));
        let globals = &mut snapshot.server.globals;
        for (name, value) in [
            ("history-limit", "50000"),
            ("base-index", "#(touch pwned)"),
            ("default-command", "touch pwned"),
            ("default-shell", "/bin/evil"),
            ("status-left", "#(date)"),
        ] {
            globals.session.insert(name.to_owned(), value.into());
        }
        globals.window.insert("pane-base-index".to_owned(), "1".into());
        globals.window.insert("main-pane-width".to_owned(), "60%".into());
        globals.window.insert("remain-on-exit-format".to_owned(), "#(date)".into());
        assert_eq!(
            lines(&snapshot),
            [
                "set-option -g history-limit 50000",
                "set-option -g -w pane-base-index 1",
                "set-option -g -w main-pane-width 60%"
            ]
        );
    }

    #[test]
    fn without_any_panes_are_numbered_as_they_were() {
        let mut snapshot = sample::snapshot(sample::server(1, &["web"]));
        snapshot.server.panes_mut().for_each(|pane| pane.index = 1);
        assert_eq!(lines(&snapshot), ["set-option -g -w pane-base-index 1"]);
    }
}
