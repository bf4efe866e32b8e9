//! What a restored pane is started with.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ByteString, ObjectId, Program, Scrollback};

/// The order that a restored pane's process reads when it starts: what to show, where to go, what to
/// become. It lies in the store as an object, because tmux takes no more than 16 KiB of arguments
/// (`MAX_IMSGSIZE`) and because nothing of the user's may be read as a command on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaneStart {
    /// The version of this form; the same number as a snapshot's.
    pub format: u32,
    /// When the state that is restored was taken.
    pub saved_at: Timestamp,
    /// The directory to start in.
    pub directory: ByteString,
    /// The text to show first.
    pub scrollback: Scrollback,
    /// What ran in the pane.
    pub program: Program,
    /// What to do about it.
    pub mode: StartMode,
}

/// What a restored pane does with the program that ran in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartMode {
    /// Start a plain shell at once; offer everything else and wait for Enter.
    Ask,
    /// Start nothing and stay: a drill.
    Hold,
}

/// The first argument of the pane's process: `agent-keeper pane OBJECT STATE-DIRECTORY`.
pub const PANE_COMMAND: &str = "pane";

/// Returns the object that a process was told to start with, if it is one of our pane processes.
pub fn start_object(argv: &[ByteString]) -> Option<ObjectId> {
    let [program, command, object, ..] = argv else {
        return None;
    };
    (program.base_name() == b"agent-keeper" && command.as_bytes() == PANE_COMMAND.as_bytes())
        .then(|| str::from_utf8(object.as_bytes()).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pane_process_is_taken_for_one() {
        let object = "00ff".repeat(16);
        let argv = |words: &[&str]| words.iter().map(|w| ByteString::from(*w)).collect::<Vec<_>>();
        assert!(start_object(&argv(&["/opt/bin/agent-keeper", "pane", &object, "/state"])).is_some());
        for other in [
            &["agent-keeper", "pane"][..],
            &["agent-keeper", "pane", "xyz", "/state"],
            &["vim", "pane", &object],
            &["agent-keeper", "run", &object],
            &[],
        ] {
            assert_eq!(start_object(&argv(other)), None, "{other:?}");
        }
    }
}
