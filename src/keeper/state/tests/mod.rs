//! What is decided: a table of stories, and a world in which anything may happen at any time.

use super::*;

use std::fmt::Write;

use crate::keeper::action::SaveJob;
use crate::keeper::event::{Answer, Asked, Ending, Proven, Saved, Text};
use crate::model::{Closed, Scrollback, Server, sample};
use crate::restore::execute::{Outcome, Report};
use crate::restore::limit::StartLimit;
use crate::restore::plan::Selection;
use crate::restore::restart::RestartOn;
use crate::tmux::observe::{OutputMark, Vitals};

mod deaths;
mod drills;
mod greet;
mod guard;
mod policy;
mod stories;
mod world;

const POLICY: Policy = Policy {
    found: true,
    restore: true,
    output_interval: Duration::from_secs(5),
    scrollback: true,
    drill_every: None,
    restart: Restart {
        shells: RestartOn::Never,
        agents: RestartOn::Never,
        programs: RestartOn::OnFailure,
        agent_names: Vec::new(),
        delay: Duration::from_secs(1),
        delay_max: Duration::from_secs(60),
        limit: StartLimit { burst: 5, interval: Duration::from_secs(60) },
    },
    still_yours: None,
};

/// Returns what a look at a server sees; every pane has printed `printed` lines.
fn observation(server: Server, printed: u64) -> Arc<Observation> {
    let output = OutputMark { history: printed, cursor: (0, 0), activity: 0 };
    let vitals = Vitals { pid: 0, dead: false, alternate: false, waiting: false, keep_text: true, output };
    let vitals = |pane: &crate::model::Pane| Vitals { dead: pane.dead.is_some(), ..vitals };
    let vitals = server.panes().map(|(_, _, pane)| (pane.id, vitals(pane))).collect();
    Arc::new(Observation {
        server,
        vitals,
        attached: HashMap::new(),
        clients: Vec::new(),
        cut_off: Vec::new(),
        began: None,
        cgroups: HashMap::new(),
        kills: Vec::new(),
    })
}

/// Returns the actions but for what is only published, as a person would tell them.
fn told(actions: &[Action]) -> String {
    let words = actions.iter().filter_map(|action| {
        Some(match action {
            Action::Look { .. } => "look".to_owned(),
            Action::AwaitEnd(id) => format!("await end of {}", id.pid),
            Action::AskGoingDown => "ask".to_owned(),
            Action::Found => "found".to_owned(),
            Action::BringBackSocket { pid } => format!("signal {pid}"),
            Action::Save(job) => told_save(job),
            Action::Restore(plan) => {
                let sessions = plan.steps.iter().map(|step| step.session.name.clone());
                let panes = plan.panes.iter().map(|step| format!("panes of {}", step.session));
                let respawns = plan.respawns.iter().map(|respawn| format!("respawn {}", respawn.pane.id));
                format!("restore {}", sessions.chain(panes).chain(respawns).collect::<Vec<_>>().join("+"))
            }
            Action::ReviewDrills => "review drills".to_owned(),
            Action::Drill => "drill".to_owned(),
            Action::Reply(token, Answer::Snapshot(generation)) => {
                format!("tell {token} snapshot {generation}")
            }
            Action::Reply(token, Answer::Restored(..)) => format!("tell {token} restored"),
            Action::Reply(token, Answer::Unknown(_)) => format!("tell {token} unknown"),
            Action::Reply(token, Answer::Refused(_)) => format!("refuse {token}"),
            // Deaths have tests of their own.
            Action::Publish(_) | Action::Inquire(_) | Action::Record(_) | Action::Tell(_) => return None,
            Action::Greet(_) | Action::Note(_) | Action::Remember(_) => return None,
            Action::HoldShutdown => "hold".to_owned(),
            Action::ReleaseShutdown => "release".to_owned(),
            Action::Exit => "exit".to_owned(),
        })
    });
    words.collect::<Vec<_>>().join(", ")
}

fn told_save(job: &SaveJob) -> String {
    let mut words = format!("save {}", job.reason.word());
    if let Some(aside) = job.aside {
        let _ = write!(words, " ({})", aside.word());
    }
    for session in &job.server.sessions {
        let _ = write!(words, " {}", session.name);
    }
    words
}

/// Returns what is remembered of a drill that was held so many hours ago.
fn proven(hours_ago: u64, notice: Option<String>) -> Proven {
    Proven { age: Some(Duration::from_secs(hours_ago * 3600)), same_versions: true, notice }
}
