//! Which variables of a session's environment are worth keeping.

use std::collections::BTreeMap;

use crate::model::{SessionId, Variable};
use crate::redact::redacted;

use super::details::Details;

/// Parts of names that say that a value is a secret. Secrets stay out of snapshots; whoever needs one in a
/// session sets it again.
const SECRET: [&str; 15] = [
    "ACCESS_KEY",
    "APIKEY",
    "API_KEY",
    "AUTH_TOKEN",
    "BEARER",
    "CONNECTION_STRING",
    "COOKIE",
    "CREDENTIAL",
    "DATABASE_URL",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PRIVATE_KEY",
    "SECRET",
    "TOKEN",
];

/// Words, or the ends of words, in such names: `OPENAI_KEY`, `DB_PASS`, `MYSQL_PWD`, `GH_PAT`.
const SECRET_ENDS: [&str; 2] = ["KEY", "PASS"];
/// See [`SECRET_ENDS`].
const SECRET_WORDS: [&str; 2] = ["PAT", "PWD"];

/// Names that have such words and hold no secret.
const HARMLESS: [&str; 1] = ["PWD"];

/// Returns what a session has in its environment of its own: without what tmux copies from each client that
/// attaches (`update-environment`: a dead client's agent socket or display helps nobody), and without secrets.
pub(super) fn kept(details: &Details, session: SessionId) -> BTreeMap<String, Variable> {
    let copied = copied_from_clients(details, session);
    let all = details.environments.get(&session).into_iter().flatten();
    all.filter(|(name, _)| !copied.iter().any(|pattern| matches(pattern, name)))
        .filter(|(name, variable)| !is_secret(name) && !holds_secret(name, variable))
        .map(|(name, variable)| (name.clone(), variable.clone()))
        .collect()
}

/// Returns whether a variable of this name probably holds a secret.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let secret_word =
        |word: &str| SECRET_ENDS.iter().any(|end| word.ends_with(end)) || SECRET_WORDS.contains(&word);
    SECRET.iter().any(|part| name.contains(part))
        || name.split('_').any(secret_word) && !HARMLESS.contains(&name.as_str())
}

/// Returns whether a value looks like a credential, whatever it is called.
fn holds_secret(name: &str, variable: &Variable) -> bool {
    variable.value.as_ref().is_some_and(|value| {
        let shown = [name.as_bytes(), b"=", value.as_bytes()].concat();
        redacted(&shown, true) != shown
    })
}

/// The names in `update-environment`, which may be patterns (since 3.4).
fn copied_from_clients(details: &Details, session: SessionId) -> Vec<String> {
    let is_name = |option: &&String| option.split('[').next() == Some("update-environment");
    let own = details.sessions.get(&session).filter(|options| options.keys().any(|key| is_name(&key)));
    let options = own.unwrap_or(&details.globals.session);
    options.iter().filter(|(option, _)| is_name(option)).map(|(_, value)| value.to_string()).collect()
}

/// Matches `*` and `?` as fnmatch(3) does.
fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.chars().next(), name.chars().next()) {
        (None, None) => true,
        (Some('*'), first) => {
            matches(&pattern[1..], name)
                || first.is_some_and(|first| matches(pattern, &name[first.len_utf8()..]))
        }
        (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
            matches(&pattern[wanted.len_utf8()..], &name[found.len_utf8()..])
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_bring_and_what_is_secret_is_left_out() {
        let mut details = Details::default();
        let session = SessionId(1);
        let global = [("update-environment[0]", "DISPLAY"), ("update-environment[1]", "SSH_*")];
        details.globals.session = global.map(|(name, value)| (name.to_owned(), value.into())).into();
        let names = ["DISPLAY", "SSH_AUTH_SOCK", "SSHX", "PROJECT", "GITHUB_TOKEN", "db_password"];
        let variable = Variable { value: Some("x".into()), hidden: false };
        let environment = names.map(|name| (name.to_owned(), variable.clone())).into();
        details.environments.insert(session, environment);
        let kept = |details: &Details| kept(details, session).into_keys().collect::<Vec<_>>();
        assert_eq!(kept(&details), ["PROJECT", "SSHX"]);
        let own = [("update-environment[0]".to_owned(), "PROJECT".into())].into();
        details.sessions.insert(session, own);
        assert_eq!(kept(&details), ["DISPLAY", "SSHX", "SSH_AUTH_SOCK"]);
    }

    #[test]
    fn secrets_are_known_by_their_names_or_by_their_values() {
        let secret = [
            "OPENAI_KEY",
            "STRIPE_KEY",
            "DB_PASS",
            "MYSQL_PWD",
            "GH_PAT",
            "DATABASE_URL",
            "SIGNING_KEY",
            "SSHPASS",
            "SESSION_COOKIE",
            "openai_key",
            "AZURE_CONNECTION_STRING",
            "OPENAI_KEY_2",
        ];
        for name in secret {
            assert!(is_secret(name), "{name}");
        }
        for name in ["PWD", "OLDPWD", "PATH", "KEYMAP", "KEYBOARD_LAYOUT", "PASSIVE", "PATTERN", "EDITOR"] {
            assert!(!is_secret(name), "{name}");
        }
        let holds = |value: &str| {
            let variable = Variable { value: Some(value.into()), hidden: false };
            holds_secret("PLAIN", &variable)
        };
        assert!(holds("postgres://me:hunter22@db/x") && holds("AKIAIOSFODNN7EXAMPLE"));
        assert!(!holds("postgres://me@db/x") && !holds("/usr/bin:/bin"));
        assert!(!holds_secret("GONE", &Variable { value: None, hidden: false }));
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        let cases =
            [("A", "A", true), ("A", "AB", false), ("A*", "AB", true), ("*", "", true), ("?A", "éA", true)];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
