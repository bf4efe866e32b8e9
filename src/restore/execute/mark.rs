//! The server's marked pane, of which there is one at most.

use crate::cause::in_words;
use crate::model::{PaneId, Session, SessionId};
use crate::tmux::command::Command;

use super::Run;

/// A pane that is to be marked.
#[derive(Debug)]
pub(super) struct ToMark {
    /// The session as it is called in the plan.
    session: String,
    target: String,
    /// The pane that fills the window.
    zoomed: Option<PaneId>,
}

impl Run<'_> {
    /// Notes the marked pane, if it is in this session. A pane is marked in one session even if its window is linked
    /// into others.
    pub(super) fn will_mark(&mut self, id: SessionId, session: &Session) {
        for window in &session.windows {
            let marked = window.panes.iter().find(|pane| pane.marked);
            if let Some(made) = marked.and_then(|pane| self.made_panes.get(&pane.id)) {
                let active = window.panes.get(window.active_pane);
                let active = active.and_then(|pane| self.made_panes.get(&pane.id)).copied();
                self.to_mark = Some(ToMark {
                    session: session.name.clone(),
                    target: format!("{id}:{}.{made}", window.index),
                    zoomed: active.filter(|_| window.zoomed),
                });
            }
        }
    }

    /// Marks it, and returns what went wrong, and in which session. After all else, because tmux 3.6 and newer forget
    /// the mark when its window is linked into another session.
    pub(super) async fn mark(&mut self) -> Vec<(String, String)> {
        let Some(ToMark { session, target, zoomed }) = self.to_mark.take() else {
            return Vec::new();
        };
        let zoom = zoomed.map(|pane| Command::new("resize-pane").arg("-Z").flag("-t", pane));
        let mark = Command::new("select-pane").arg("-m").flag("-t", target);
        let mut problems = Vec::new();
        // A pane that is hidden by another one cannot be marked. Each command changes one state to the other, so none
        // is tried again.
        for command in [zoom.clone(), Some(mark), zoom].into_iter().flatten() {
            if let Err(error) = self.run(&[command]).await {
                problems.push((session.clone(), format!("mark: {}", in_words(error))));
            }
        }
        problems
    }
}
