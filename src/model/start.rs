//! What a restored pane is started with.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ByteString, Dead, ObjectId, Process, Program, Scrollback};

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
    /// How the pane's program had ended, if the pane stayed nevertheless. A process that finds [`DIE_VARIABLE`]
    /// in its environment ends in the same way, whatever the mode says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<Dead>,
}

/// What a restored pane does with the program that ran in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartMode {
    /// Start plain shells at once; offer everything else and wait for Enter.
    Ask,
    /// Start everything at once: all of it is approved.
    Run,
    /// Start nothing and stay: a drill.
    Hold,
}

/// The first argument of the pane's process: `agent-keeper pane OBJECT STATE-DIRECTORY`.
pub const PANE_COMMAND: &str = "pane";

/// The option behind these that says which shell in a shell it is to become, from 1.
pub const LEVEL_OPTION: &str = "--level";

/// The variable that tells the process of a pane which was dead to end as its program had. It is given for one
/// start only (`respawn-pane -e`), so that a person who respawns the pane later gets a living one.
pub const DIE_VARIABLE: &str = "AGENT_KEEPER_PANE_ENDS";

/// Returns the object that a process was told to start with and the level at which it is, if it is one of our
/// pane processes. While it waits it is called like the program that it waits for, so that tmux names the
/// window after that; the executable says who it is.
pub fn start_order(process: &Process) -> Option<(ObjectId, usize)> {
    let [_, command, object, _state, rest @ ..] = process.argv.as_slice() else {
        return None;
    };
    let ours = process.exe.base_name() == b"agent-keeper" && command.as_bytes() == PANE_COMMAND.as_bytes();
    let number = |word: &ByteString| str::from_utf8(word.as_bytes()).ok()?.parse().ok();
    let level = match rest {
        [option, level, ..] if option.as_bytes() == LEVEL_OPTION.as_bytes() => number(level)?,
        _ => 0,
    };
    let object = ours.then(|| str::from_utf8(object.as_bytes()).ok()?.parse().ok())??;
    Some((object, level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pane_process_is_taken_for_one() {
        let object = "00ff".repeat(16);
        let seen = |exe: &str, argv: &[&str]| {
            let argv = argv.iter().map(|word| ByteString::from(*word)).collect();
            start_order(&Process { exe: exe.into(), argv, directory: "/".into() }).map(|(_, level)| level)
        };
        let ours = "/opt/bin/agent-keeper";
        assert_eq!(seen(ours, &[ours, "pane", &object, "/state"]), Some(0));
        assert_eq!(seen(ours, &["vim", "pane", &object, "/state"]), Some(0));
        assert_eq!(seen(ours, &["x", "pane", &object, "/state", "--level", "2", "--run"]), Some(2));
        for (exe, argv) in [
            (ours, &["agent-keeper", "pane"][..]),
            (ours, &["agent-keeper", "pane", "xyz", "/state"]),
            (ours, &["agent-keeper", "pane", &object, "/state", "--level", "x"]),
            ("/usr/bin/vim", &["agent-keeper", "pane", &object, "/state"]),
            (ours, &["agent-keeper", "run", &object, "/state"]),
            (ours, &[]),
        ] {
            assert_eq!(seen(exe, argv), None, "{argv:?}");
        }
    }
}
