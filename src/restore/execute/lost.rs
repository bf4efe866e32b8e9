//! Puts panes back into windows that live, and starts programs again in panes that stayed.

use std::collections::BTreeMap;

use crate::cause::in_words;
use crate::model::{PANE_COMMAND, PaneId, PaneStart, Scrollback};
use crate::restore::plan::{PaneStep, Respawn};
use crate::tmux::command::Command;

use super::{Run, StepError, parse};

impl Run<'_> {
    /// Makes the panes that a window has lost, each behind the one that it followed. What lives is only made smaller
    /// again, as it was; the active pane stays the active one.
    pub(super) async fn lost_panes(&mut self, step: &PaneStep) -> Result<(), StepError> {
        let mut panes: BTreeMap<usize, PaneId> = step.alive.iter().copied().collect();
        let mut made = BTreeMap::new();
        let before = self.layout(&panes).await;
        for at in step.missing.iter().copied() {
            match self.beside(&panes, at, step).await {
                Ok(pane) => {
                    panes.insert(at, pane);
                    made.insert(at, pane);
                }
                Err(error) => {
                    let pane = &step.window.panes[at];
                    let place = format!("window {}, pane {}", step.window.index, pane.index);
                    self.problems.push(format!("{place}: {}", in_words(error)));
                }
            }
        }
        if made.is_empty() {
            if let Some((pane, layout)) = before {
                self.try_all("", vec![Command::new("select-layout").flag("-t", pane).arg(layout)]).await;
            }
            self.to_zoom.extend(step.zoomed);
            self.zoom().await;
            return Err(self.nothing());
        }
        let place = format!("window {}", step.window.index);
        let whole = made.len() == step.missing.len();
        if let (Some(layout), Some((_, pane))) = (&step.layout, panes.first_key_value()) {
            let layout = if whole { layout } else { "tiled" };
            self.try_all(&place, vec![Command::new("select-layout").flag("-t", pane).arg(layout)]).await;
        }
        let finishing = self.finishing(&made, &step.window, false);
        self.try_all(&place, finishing).await;
        self.to_zoom.extend(step.zoomed);
        self.zoom().await;
        Ok(())
    }

    /// Returns one of some panes and the layout of the window that they are in.
    async fn layout(&self, panes: &BTreeMap<usize, PaneId>) -> Option<(PaneId, String)> {
        let (_, pane) = panes.first_key_value()?;
        let ask = Command::new("display-message").arg("-p").flag("-t", pane).arg("#{window_layout}");
        let layout = self.run(&[ask]).await.ok()?;
        Some((*pane, String::from_utf8_lossy(&layout).trim().to_owned()))
    }

    async fn beside(
        &self,
        panes: &BTreeMap<usize, PaneId>,
        at: usize,
        step: &PaneStep,
    ) -> Result<PaneId, StepError> {
        let pane = &step.window.panes[at];
        let split = Command::new("split-window").arg("-d").arg("-P").flag("-F", "#{pane_id}");
        let (split, target) = match (panes.range(..at).next_back(), panes.range(at..).next()) {
            (Some((_, before)), _) => (split, *before),
            (None, Some((_, after))) => (split.arg("-b"), *after),
            (None, None) => return Err(StepError::Nothing("the window is gone".to_owned())),
        };
        self.pace(pane).await;
        let split = self.with_program(split.flag("-t", target), pane)?;
        let directory = pane.directory.as_path();
        let first = self.make(split.clone(), directory).await;
        let [id] = match first {
            // The pane beside it is too small; all of them together may have room.
            Err(_) if step.layout.is_some() => {
                let even = Command::new("select-layout").flag("-t", target).arg("tiled");
                self.run(&[even]).await?;
                self.make(split, directory).await?
            }
            made => made?,
        };
        parse(&id)
    }

    /// Starts the program of a pane again that stayed when it ended (`respawn-pane`, tmux(1)).
    pub(super) async fn respawn(&self, respawn: &Respawn) -> Result<(), StepError> {
        let id = respawn.pane.id;
        self.pace(&respawn.pane).await;
        let ask = Command::new("display-message").arg("-p").flag("-t", id).arg("#{pane_start_command}");
        let started = self.run(&[ask]).await?;
        let again = Command::new("respawn-pane").flag("-t", id);
        // What nobody wants started asks first; and what asked first when it was restored need not ask again.
        let as_it_was = self.manner.running.contains(&id) && !is_ours(&String::from_utf8_lossy(&started));
        let again = match as_it_was {
            true => again,
            false => {
                let order = PaneStart { scrollback: Scrollback::default(), ..self.order(&respawn.pane) };
                self.with_order(again, &order)?
            }
        };
        self.run(&[again]).await.map(drop)
    }
}

/// Returns whether a pane was started with our own process, as a restore does.
fn is_ours(command: &str) -> bool {
    let mut words = command.split_ascii_whitespace();
    let program = words.next().unwrap_or_default().trim_matches('"');
    program.ends_with("/agent-keeper") && words.next() == Some(PANE_COMMAND)
}
