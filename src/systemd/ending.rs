//! What the changes of a unit say of its end.
//!
//! The manager signals them in an order that may be relied upon: first those of the scope or service, then those of
//! the unit, each with all properties that can change (`bus_unit_send_change_signal`, dbus-unit.c). So `Result` is
//! known when the state that it led to is told.

use crate::model::evidence::Fact;

/// What one signal says of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// `Result` of the scope or service.
    pub result: Option<String>,
    /// `ActiveState` of the unit.
    pub active_state: Option<String>,
    /// Whether there is a `Job` for it, that is: whether it does what somebody wants.
    pub has_job: Option<bool>,
}

/// What is known of a unit that ends. The default is that of one to which nothing has happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ending {
    /// `Result`, if it is not `success`.
    result: Option<String>,
    /// Whether it stops because somebody asked for that.
    stopped: bool,
}

impl Ending {
    /// Returns what is known after a change, and what the change says.
    pub fn after(&self, unit: &str, change: &Change) -> (Ending, Vec<Fact>) {
        let mut facts = Vec::new();
        let result = match change.result.as_deref() {
            None => self.result.clone(),
            Some("success") => None,
            Some(word) => Some(word.to_owned()),
        };
        if let Some(result) = result.as_ref().filter(|_| result != self.result) {
            facts.push(Fact::UnitResult { unit: unit.to_owned(), result: result.clone() });
        }
        let stopped = match change.active_state.as_deref() {
            None => self.stopped,
            // Processes that end by themselves take a scope to "inactive" at once. A service whose main process ends
            // by itself is "deactivating" while the others are ended, and one with OOMPolicy=stop too; nobody asked
            // for that, so there is no job.
            Some("deactivating") => self.stopped || result.is_none() && change.has_job != Some(false),
            Some(_) => false,
        };
        if stopped && !self.stopped {
            facts.push(Fact::UnitStopped { unit: unit.to_owned() });
        }
        (Ending { result, stopped }, facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "x.scope";

    fn scope(result: &str) -> Change {
        Change { result: Some(result.into()), ..Change::default() }
    }

    fn unit(state: &str, has_job: bool) -> Change {
        Change { active_state: Some(state.into()), has_job: Some(has_job), ..Change::default() }
    }

    fn stopped() -> Fact {
        Fact::UnitStopped { unit: UNIT.into() }
    }

    fn result(word: &str) -> Fact {
        Fact::UnitResult { unit: UNIT.into(), result: word.into() }
    }

    /// The signals of units that end, after what was seen on systemd 252 and 257.
    fn stories() -> Vec<(&'static str, Vec<Change>, Vec<Fact>)> {
        let well = || scope("success");
        vec![
            ("a scope begins", vec![well(), unit("activating", true), well(), unit("active", false)], vec![]),
            ("its processes end by themselves", vec![well(), unit("inactive", false)], vec![]),
            (
                "it is stopped",
                vec![well(), unit("deactivating", true), well(), unit("inactive", false)],
                vec![stopped()],
            ),
            (
                "it is stopped, and told again while it ends",
                vec![unit("deactivating", true), well(), unit("deactivating", true), unit("inactive", false)],
                vec![stopped()],
            ),
            (
                "OOMPolicy=stop",
                vec![
                    scope("oom-kill"),
                    unit("deactivating", false),
                    scope("oom-kill"),
                    unit("failed", false),
                    scope("oom-kill"),
                    unit("failed", false),
                ],
                vec![result("oom-kill")],
            ),
            ("systemd-oomd", vec![scope("oom-kill"), unit("failed", false)], vec![result("oom-kill")]),
            (
                "it is stopped, and does not want to",
                vec![well(), unit("deactivating", true), scope("timeout"), unit("failed", false)],
                vec![stopped(), result("timeout")],
            ),
            (
                "RuntimeMaxSec=",
                vec![scope("timeout"), unit("deactivating", false), unit("failed", false)],
                vec![result("timeout")],
            ),
            (
                "the main process of a service ends by itself",
                vec![well(), unit("deactivating", false), well(), unit("inactive", false)],
                vec![],
            ),
            (
                "a service is killed, started again and stopped",
                vec![
                    scope("signal"),
                    unit("failed", false),
                    well(),
                    unit("activating", true),
                    unit("active", false),
                    unit("deactivating", true),
                ],
                vec![result("signal"), stopped()],
            ),
            (
                "it is stopped twice",
                vec![
                    unit("deactivating", true),
                    unit("inactive", false),
                    unit("active", false),
                    unit("deactivating", true),
                ],
                vec![stopped(), stopped()],
            ),
            (
                "a manager that tells of no jobs",
                vec![Change { has_job: None, ..unit("deactivating", true) }],
                vec![stopped()],
            ),
        ]
    }

    #[test]
    fn what_signals_say_of_a_unit() {
        for (story, changes, expected) in stories() {
            let mut known = Ending::default();
            let mut told = Vec::new();
            for change in &changes {
                let (after, facts) = known.after(UNIT, change);
                known = after;
                told.extend(facts);
            }
            assert_eq!(told, expected, "{story}");
        }
    }
}
