//! Which global options are not as they were. They are the configuration's, so a restore names them and
//! changes none.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::model::{ByteString, Options, Server};

use super::diff::cut;

/// How many options are named in a sentence.
const NAMED_MAX: usize = 8;

/// A global option that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GlobalDifference {
    /// Which table of tmux's it is in.
    pub scope: Scope,
    /// Its name.
    pub option: String,
    /// Its value in the earlier state; `None` when it was not set.
    pub was: Option<ByteString>,
    /// Its value in the later state; `None` when it is not set.
    pub is: Option<ByteString>,
}

/// A table of global options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// `show-options -s`
    Server,
    /// `show-options -g`
    Session,
    /// `show-options -g -w`
    Window,
}

/// Returns the global options that are not the same in two states, by table and name.
///
/// A table that nobody could read differs in nothing. Between two versions of tmux only options are compared that
/// both know, and those of the user (`@name`), which no version knows.
pub fn differing(old: &Server, new: &Server) -> Vec<GlobalDifference> {
    let same_version = old.version == new.version;
    let (was, is) = (&old.globals, &new.globals);
    let tables = [
        (Scope::Server, &was.server, &is.server),
        (Scope::Session, &was.session, &is.session),
        (Scope::Window, &was.window, &is.window),
    ];
    tables.into_iter().flat_map(|(scope, was, is)| of_table(scope, was, is, same_version)).collect()
}

fn of_table(scope: Scope, was: &Options, is: &Options, same_version: bool) -> Vec<GlobalDifference> {
    if was.is_empty() || is.is_empty() {
        return Vec::new();
    }
    let comparable = |name: &&String| {
        same_version || name.starts_with('@') || was.contains_key(*name) && is.contains_key(*name)
    };
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).filter(comparable).collect();
    let differ = names.into_iter().filter(|name| was.get(*name) != is.get(*name));
    differ
        .map(|name| GlobalDifference {
            scope,
            option: name.clone(),
            was: was.get(name).cloned(),
            is: is.get(name).cloned(),
        })
        .collect()
}

impl GlobalDifference {
    /// Returns `history-limit was 50000, is 2000`; long values are cut.
    fn in_words(&self) -> String {
        let told =
            |value: &Option<ByteString>| value.as_ref().map_or("not set".to_owned(), |v| cut(&v.to_string()));
        format!("{} was {}, is {}", self.option, told(&self.was), told(&self.is))
    }
}

/// Returns the sentence that a restore ends with; `None` when nothing differs. It names a few, and counts the rest.
/// `dry_run` tells whether it is about what would happen.
pub fn sentence(differences: &[GlobalDifference], dry_run: bool) -> Option<String> {
    let verb = match (differences.len(), dry_run) {
        (0, _) => return None,
        (1, false) => "option is not as it was and was not",
        (1, true) => "option is not as it was and would not be",
        (_, false) => "options are not as they were and were not",
        (_, true) => "options are not as they were and would not be",
    };
    let named: Vec<String> = differences.iter().take(NAMED_MAX).map(GlobalDifference::in_words).collect();
    let rest = match differences.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Some(format!("{} global {verb} changed: {}{rest}", differences.len(), named.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::model::{GlobalOptions, sample};

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
    }

    fn server(version: &str, session: &[(&str, &str)], window: &[(&str, &str)]) -> Server {
        let globals = GlobalOptions {
            server: options(&[("escape-time", "500")]),
            session: options(session),
            window: options(window),
        };
        Server { version: version.to_owned(), globals, ..sample::server(1, &["web"]) }
    }

    #[test]
    fn what_differs_is_told_once_and_in_order() {
        let plain = [("history-limit", "2000"), ("status", "on")];
        let other = [("history-limit", "50000"), ("status", "on")];
        let one = "1 global option is not as it was and was not changed: history-limit was 50000, is 2000";
        let cases: [(&str, Server, Server, Option<&str>); 7] = [
            ("nothing", server("3.5a", &plain, &[]), server("3.5a", &plain, &[]), None),
            ("one", server("3.5a", &other, &[]), server("3.5a", &plain, &[]), Some(one)),
            ("one, of another version", server("3.5a", &other, &[]), server("3.3a", &plain, &[]), Some(one)),
            (
                "what one does not set, and what is empty",
                server("3.5a", &[("@a", "x"), ("status-left", "")], &[("mode-keys", "vi")]),
                server(
                    "3.5a",
                    &[("status-left", "y"), ("update-environment[9]", "z")],
                    &[("mode-keys", "emacs")],
                ),
                Some(
                    "4 global options are not as they were and were not changed: @a was x, is not set; \
                     status-left was \"\", is y; update-environment[9] was not set, is z; \
                     mode-keys was vi, is emacs",
                ),
            ),
            (
                "what another version does not know, beside a user's own",
                server("3.5a", &[("@a", "x"), ("prefix-timeout", "0")], &[]),
                server("3.3a", &[("old-one", "1")], &[]),
                Some("1 global option is not as it was and was not changed: @a was x, is not set"),
            ),
            (
                "an old snapshot, which has none",
                Server { globals: GlobalOptions::default(), ..server("3.5a", &[], &[]) },
                server("3.5a", &plain, &[]),
                None,
            ),
            (
                "a server at which nobody could look",
                server("3.5a", &plain, &[]),
                Server { globals: GlobalOptions::default(), ..server("3.5a", &[], &[]) },
                None,
            ),
        ];
        for (what, old, new, expected) in cases {
            assert_eq!(sentence(&differing(&old, &new), false).as_deref(), expected, "{what}");
        }
    }

    #[test]
    fn the_sentence_is_bounded() {
        let named = |value: &str| -> Options {
            (0..100).map(|n| (format!("@{n:02}"), value.repeat(1000).as_str().into())).collect()
        };
        let [old, new] = ["x", "y"].map(|value| {
            let mut server = server("3.5a", &[], &[]);
            server.globals.session = named(value);
            server
        });
        let words = sentence(&differing(&old, &new), true).unwrap();
        assert!(
            words.starts_with("100 global options are not as they were and would not be changed: @00 was xx")
        );
        assert!(words.ends_with("…; and 92 more") && words.len() < 2000, "{words}");
    }
}
