//! Whether a boot ended in an orderly way, by what its journal has near its end.

use jiff::{SignedDuration, Timestamp};

use super::entry::Entry;
use super::messages::UNIT_STARTED;
use crate::systemd::unit_name::END_TARGETS;

/// `SD_MESSAGE_JOURNAL_STOP`: the journal itself ends; its last entry in a shutdown.
pub const JOURNAL_STOP: &str = "d93fb3c9c24d451a97cea615ce59c00b";

/// `SD_MESSAGE_USER_STARTUP_FINISHED`: a user's manager has started all that it should.
pub const USER_STARTUP_FINISHED: &str = "eed00a68ffd84e31882105fd973abdd1";

/// The targets that the system's manager reaches when the machine goes down (systemd.special(7)).
pub const SYSTEM_END_TARGETS: [&str; 2] = ["shutdown.target", "final.target"];

/// How long after the mark of an end a boot's last entry may be, so that it is the end of the boot:
/// `TimeoutStopSec=` of `user@.service`, which is what may take longest afterwards.
const END_MAX: SignedDuration = SignedDuration::from_secs(120);

/// What is marked in a boot's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The user's manager was up.
    Up,
    /// It, or the system's, had ended everything.
    Down,
}

/// How a boot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootEnd {
    /// In an orderly way, at this time.
    Orderly(Timestamp),
    /// Its journal just ends.
    Cut,
    /// The user's manager was not there at the end, and nobody else may be asked.
    Unknown,
}

/// Returns what an entry marks.
pub fn mark(entry: &Entry) -> Option<Mark> {
    let ends = |field, targets: &[&str]| targets.iter().any(|target| entry.is(field, target));
    match entry.text("MESSAGE_ID")?.as_str() {
        USER_STARTUP_FINISHED => Some(Mark::Up),
        JOURNAL_STOP => Some(Mark::Down),
        UNIT_STARTED if ends("USER_UNIT", &END_TARGETS) => Some(Mark::Down),
        UNIT_STARTED if ends("UNIT", &SYSTEM_END_TARGETS) => Some(Mark::Down),
        _ => None,
    }
}

/// Returns how a boot ended, from the newest mark in its journal and the time of its last entry. Whoever may read the
/// system's part would have seen its mark.
pub fn boot_end(newest: Option<(Timestamp, Mark)>, last: Timestamp, with_system: bool) -> BootEnd {
    match newest {
        Some((at, Mark::Down)) if last.duration_since(at) <= END_MAX => BootEnd::Orderly(at),
        Some((_, Mark::Up)) => BootEnd::Cut,
        _ if with_system => BootEnd::Cut,
        _ => BootEnd::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::journal::entry::parse_entry;

    #[test]
    fn marks_are_known_by_their_ids() {
        let cases = [
            (
                r#""USER_UNIT":"exit.target","MESSAGE_ID":"39f53479d3a045ac8e11786248231fbf""#,
                Some(Mark::Down),
            ),
            (r#""UNIT":"shutdown.target","MESSAGE_ID":"39f53479d3a045ac8e11786248231fbf""#, Some(Mark::Down)),
            (r#""UNIT":"final.target","MESSAGE_ID":"39f53479d3a045ac8e11786248231fbf""#, Some(Mark::Down)),
            (
                r#""MESSAGE":"Journal stopped","MESSAGE_ID":"d93fb3c9c24d451a97cea615ce59c00b""#,
                Some(Mark::Down),
            ),
            (
                r#""MESSAGE":"Startup finished in 310ms.","MESSAGE_ID":"eed00a68ffd84e31882105fd973abdd1""#,
                Some(Mark::Up),
            ),
            (r#""UNIT":"exit.target","MESSAGE_ID":"39f53479d3a045ac8e11786248231fbf""#, None),
            (r#""USER_UNIT":"exit.target","MESSAGE_ID":"7d4958e842da4a758f6c1cdc7b36dcc5""#, None),
            (r#""MESSAGE":"Reached target exit.target""#, None),
        ];
        for (fields, expected) in cases {
            let line = format!(r#"{{"__REALTIME_TIMESTAMP":"1",{fields}}}"#);
            assert_eq!(parse_entry(line.as_bytes()).and_then(|entry| mark(&entry)), expected, "{fields}");
        }
    }

    #[test]
    fn a_boot_ends_with_its_last_mark() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let cases = [
            // A reboot; a power cut while the manager ran, with and without the system's part.
            (Some((1000, Mark::Down)), 1002, false, BootEnd::Orderly(at(1000))),
            (Some((1000, Mark::Down)), 1120, true, BootEnd::Orderly(at(1000))),
            (Some((10, Mark::Up)), 1000, false, BootEnd::Cut),
            (Some((10, Mark::Up)), 1000, true, BootEnd::Cut),
            // The user had logged out long before, with lingering off.
            (Some((10, Mark::Down)), 1000, false, BootEnd::Unknown),
            (Some((10, Mark::Down)), 1000, true, BootEnd::Cut),
            // The user's manager never ran.
            (None, 1000, false, BootEnd::Unknown),
            (None, 1000, true, BootEnd::Cut),
        ];
        for (newest, last, with_system, expected) in cases {
            let newest_at = newest.map(|(second, mark)| (at(second), mark));
            assert_eq!(
                boot_end(newest_at, at(last), with_system),
                expected,
                "{newest:?} {last} {with_system}"
            );
        }
    }
}
