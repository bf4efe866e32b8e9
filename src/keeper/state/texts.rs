//! The texts of the living server's panes: which are in the store, and which are to be read.

use std::time::Duration;

use crate::model::{Pane, PaneId, Scrollback, Snapshot};
use crate::tmux::observe::{Observation, OutputMark};

use super::super::action::Capture;
use super::super::changes::has_printed;
use super::super::event::Saved;
use super::State;

/// How many panes are read for one save, so that its state is not old when it is written.
const CAPTURES_MAX: usize = 16;

#[derive(Debug, Clone)]
pub(super) struct KnownText {
    /// The mark that the pane had when it was read.
    pub(super) mark: OutputMark,
    pub(super) read_at: Duration,
    pub(super) scrollback: Scrollback,
}

impl State {
    /// After a restart of the keeper the texts of the same server need not all be read again at once:
    /// they are taken as they were saved, marked as never read.
    pub(super) fn adopt_saved_texts(&mut self, observation: &Observation) {
        if !self.policy.scrollback {
            return;
        }
        let Some((_, head)) = self.head.as_ref().filter(|(_, head)| head.server.id == observation.server.id)
        else {
            return;
        };
        for (_, _, pane) in head.server.panes() {
            let text = KnownText {
                mark: OutputMark::default(),
                read_at: Duration::ZERO,
                scrollback: pane.scrollback.clone(),
            };
            self.texts.insert(pane.id, text);
        }
    }

    pub(super) fn never_read(&self, live: &Observation, pane: PaneId) -> bool {
        self.policy.scrollback
            && live.vitals.get(&pane).is_some_and(|vitals| vitals.keep_text && !vitals.waiting)
            && !self.texts.contains_key(&pane)
    }

    /// Returns the panes whose text is to be read now, those first that were read longest ago.
    pub(super) fn captures(&self, now: Duration, live: &Observation) -> Vec<Capture> {
        if !self.policy.scrollback {
            return Vec::new();
        }
        let mut due: Vec<(Option<Duration>, Capture)> = live
            .vitals
            .iter()
            .filter(|(_, vitals)| vitals.keep_text && !vitals.waiting)
            .filter_map(|(pane, vitals)| {
                let known = self.texts.get(pane);
                let capture = Capture { pane: *pane, mark: vitals.output };
                known
                    .is_none_or(|known| {
                        has_printed(known.mark, now.saturating_sub(known.read_at), vitals.output)
                    })
                    .then_some((known.map(|known| known.read_at), capture))
            })
            .collect();
        due.sort_by_key(|(read_at, capture)| (*read_at, capture.pane));
        due.into_iter().take(CAPTURES_MAX).map(|(_, capture)| capture).collect()
    }

    /// Returns whether a text was saved that may not be kept any more.
    pub(super) fn keeps_too_much(&self, saved: &Snapshot, live: &Observation) -> bool {
        let kept = |pane: &Pane| pane.scrollback != Scrollback::default();
        let spared = |pane: &Pane| live.vitals.get(&pane.id).is_some_and(|vitals| !vitals.keep_text);
        saved.server.panes().any(|(_, _, pane)| kept(pane) && spared(pane))
    }

    pub(super) fn learn_texts(&mut self, now: Duration, saved: &Saved) {
        for text in &saved.texts {
            let known = KnownText { mark: text.mark, read_at: now, scrollback: text.scrollback.clone() };
            self.texts.insert(text.pane, known);
        }
    }
}
