//! Bulletins: deaths as they are told to others, in the journal, on D-Bus, to the user's own command and on the desktop.
//! What looks like a credential is covered in them.
//!
//! | to whom | where |
//! |---|---|
//! | whoever reads the journal | `journal` |
//! | the user's own command | `command` |
//! | the desktop's notifications | `desktop` |
//! | whoever listens on D-Bus | [`dbus`](crate::dbus) |
//! | all of them at once | [`Tellers`] |

use std::sync::Arc;

use serde::Serialize;

use crate::diagnosis::explain;
use crate::model::evidence::Fact;
use crate::model::incident::Incident;
use crate::redact::redacted;

mod burst;
mod command;
mod desktop;
pub mod journal;
mod tellers;

pub use tellers::{TOLD_MAX, Tellers};

/// How many of the programs that ended are named.
pub const PROGRAMS_MAX: usize = 20;

/// A death as others are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bulletin {
    /// What is known of it.
    pub incident: Incident,
    /// The verdict in one sentence without its full stop.
    pub sentence: String,
    /// Whether its user may wonder about it.
    pub unwanted: bool,
}

impl Bulletin {
    /// Returns the bulletin of an incident.
    pub fn of(incident: Incident) -> Arc<Self> {
        let incident = covered(incident);
        let sentence = explain::sentence(&incident);
        let unwanted = explain::is_unwanted(&incident);
        Arc::new(Self { incident, sentence, unwanted })
    }

    /// Returns the word for what kind of thing died: `server`, `session`, …
    pub fn subject(&self) -> String {
        word(&self.incident.subject.kind)
    }

    /// Returns the word for the cause: `oom-kill`, …
    pub fn cause(&self) -> &'static str {
        self.incident.verdict.finding.cause.word()
    }

    /// Returns the word for how sure that is: `none`, `possible`, `likely` or `certain`.
    pub fn confidence(&self) -> String {
        word(&self.incident.verdict.finding.confidence)
    }

    /// Returns the word for what is done about it: `restore`, `nothing`, …
    pub fn deed(&self) -> String {
        word(&self.incident.deed)
    }

    /// Returns where it was.
    pub fn place(&self) -> &str {
        &self.incident.subject.place
    }

    /// Returns what ran there, as far as it is named.
    pub fn programs(&self) -> Vec<&str> {
        let panes = self.incident.subject.panes.iter().take(PROGRAMS_MAX);
        panes.map(|pane| pane.program.as_str()).collect()
    }
}

/// Returns the word that a value has where programs read it.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// Covers what a person has typed.
fn covered(mut incident: Incident) -> Incident {
    let cover = |text: &mut String| *text = String::from_utf8_lossy(&redacted(text.as_bytes(), true)).into();
    cover(&mut incident.subject.place);
    for pane in &mut incident.subject.panes {
        cover(&mut pane.place);
        cover(&mut pane.program);
    }
    for evidence in &mut incident.evidence {
        if let Fact::KillCommand(kill) = &mut evidence.fact {
            cover(&mut kill.command);
        }
    }
    incident
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::evidence::KillCommand;
    use crate::model::sample;

    #[test]
    fn what_looks_like_a_credential_is_covered_wherever_it_is() {
        let secret = "token=hunter2hunter2hunter2";
        let mut incident = sample::incident(7, "web");
        incident.subject.place = format!("web {secret}");
        incident.subject.panes[0].program = format!("curl -H {secret}");
        let command = format!("kill-session -t {secret}");
        let kill = KillCommand { client: String::new(), key: None, command };
        incident.evidence.push(Fact::KillCommand(kill).undated());
        let bulletin = Bulletin::of(incident);
        let told = format!("{bulletin:?}{:?}", bulletin.programs());
        assert!(!told.contains("hunter2"), "{told}");
        assert!(told.contains("curl -H token="), "{told}");
    }

    #[test]
    fn words_are_those_of_the_history() {
        let bulletin = Bulletin::of(sample::incident(7, "web"));
        let words = [bulletin.subject(), bulletin.cause().into(), bulletin.confidence(), bulletin.deed()];
        assert_eq!(words, ["session", "unknown", "none", "nothing"]);
        assert_eq!(bulletin.programs(), ["sleep 100"]);
        assert!(bulletin.unwanted);
    }
}
