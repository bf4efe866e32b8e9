//! What happened, one thing at a time: what the history holds.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::incident::Incident;
use super::{BootId, Generation, ServerId};

/// Something that happened, and when the keeper came to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was noted. A death has a time of its own, which can be long before.
    pub at: Timestamp,
    /// The boot in which it was noted.
    pub boot: BootId,
    /// What.
    pub what: Happening,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Happening {
    /// A keeper started.
    KeeperStarted {
        /// Its version.
        version: String,
    },
    /// A keeper ended in an orderly way.
    KeeperEnded,
    /// A tmux server is there that was not there before.
    ServerFound {
        /// Its life.
        server: ServerId,
        /// The unit it lives in, as far as that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
    },
    /// A logind session of the user began.
    Login {
        /// logind's name of it.
        session: String,
    },
    /// A logind session of the user ended.
    Logout {
        /// logind's name of it.
        session: String,
    },
    /// Lingering was switched on or off for the user.
    Linger {
        /// Whether it is on now.
        on: bool,
    },
    /// The machine is about to go down.
    ShutdownBegins,
    /// It is not, after all.
    ShutdownCancelled,
    /// The machine was suspended and is awake again.
    Slept {
        /// For how many seconds.
        secs: u64,
    },
    /// The kernel killed processes for want of memory where we look.
    Memory {
        /// The unit in which they were.
        unit: String,
        /// How many.
        kills: u64,
    },
    /// Sessions were brought back.
    Restored {
        /// The snapshot they came from.
        generation: Generation,
        /// Their names.
        sessions: Vec<String>,
        /// Whether nothing is missing.
        complete: bool,
    },
    /// Something died.
    Died(Box<Incident>),
    /// Something that this version does not understand: a kind that it does not know, or one that it knows with
    /// something in it that it does not know, as a newer version writes it.
    #[serde(untagged)]
    Other {
        /// What the newer version calls it.
        kind: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(what: &str) -> serde_json::Result<Happening> {
        let entry = format!(r#"{{"at":"2026-11-21T14:05:00Z","boot":"b","what":{what}}}"#);
        serde_json::from_str::<Entry>(&entry).map(|entry| entry.what)
    }

    #[test]
    fn what_a_newer_version_writes_is_something_unknown() {
        let other = |kind: &str| Happening::Other { kind: kind.to_owned() };
        assert_eq!(read(r#"{"kind":"eclipse","of":["sun"]}"#).unwrap(), other("eclipse"));
        assert_eq!(read(r#"{"kind":"memory","unit":7,"kills":"many"}"#).unwrap(), other("memory"));
        assert_eq!(
            read(r#"{"kind":"slept","secs":7,"well":true}"#).unwrap(),
            Happening::Slept { secs: 7 },
            "more is known of it than we understand"
        );
        assert!(read(r#"{"no":"kind"}"#).is_err());
    }

    #[test]
    fn a_kind_is_one_word() {
        let json = serde_json::to_string(&Happening::ShutdownBegins).unwrap();
        assert_eq!(json, r#"{"kind":"shutdown-begins"}"#);
    }
}
