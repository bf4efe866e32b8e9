//! Names of things: tmux's own ids, and ours.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A text that is not an id of the kind that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {kind}")]
pub struct InvalidId {
    kind: &'static str,
    text: String,
}

macro_rules! tmux_id {
    ($name:ident, $sigil:literal, $kind:literal) => {
        #[doc = concat!("tmux's id of ", $kind, ", as in tmux(1): unique while one server lives, never reused by it.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($sigil, "{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($sigil)
                    .and_then(|digits| digits.parse().ok())
                    .map(Self)
                    .ok_or_else(|| InvalidId {
                        kind: concat!("the id of ", $kind),
                        text: text.to_owned(),
                    })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

tmux_id!(SessionId, "$", "a session");
tmux_id!(WindowId, "@", "a window");
tmux_id!(PaneId, "%", "a pane");

/// The kernel's id of one boot: `/proc/sys/kernel/random/boot_id` (random(4)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub String);

/// One life of one tmux server.
///
/// A process id alone is reused; together with the process's start time (clock ticks since boot,
/// field 22 of proc_pid_stat(5)) and the boot it names one process for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerId {
    /// The boot in which the server ran.
    pub boot: BootId,
    /// Its process id.
    pub pid: u32,
    /// When it started, in clock ticks since that boot.
    pub start_ticks: u64,
}

/// The name of an object in the store: the SHA-256 of its uncompressed bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId([u8; 32]);

impl ObjectId {
    /// Returns the id of an object with this digest.
    pub fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for ObjectId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId { kind: "the id of an object", text: text.chars().take(80).collect() };
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let mut digest = [0; 32];
        for (at, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| invalid())?;
        }
        Ok(Self(digest))
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_tmux_sigils() {
        assert_eq!("$3".parse(), Ok(SessionId(3)));
        assert_eq!(WindowId(7).to_string(), "@7");
        for wrong in ["3", "@3", "$", "$x", "$-1", ""] {
            assert!(wrong.parse::<SessionId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn object_ids_are_64_hex_digits() {
        let text = "00ff".repeat(16);
        assert_eq!(text.parse::<ObjectId>().unwrap().to_string(), text);
        for wrong in ["", "00", &"zz".repeat(32), &"é".repeat(32), &text[1..]] {
            assert!(wrong.parse::<ObjectId>().is_err(), "{wrong:?}");
        }
    }
}
