//! Saving what there is, and that there is nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Closed, Generation, Reason, Scrollback, Snapshot};
use crate::tmux::observe::Observation;

use super::super::action::{Action, SaveJob};
use super::super::changes::{details, lacks, structure};
use super::super::event::{Answer, Saved};
use super::{Doubt, Phase, SETTLE, State, VERDICT_MAX};

/// How long it holds that nothing is to be saved of a server that is as it was. Some of it becomes due with time.
const AT_REST_MAX: Duration = Duration::from_secs(10);

impl State {
    /// What was saved last, if it shows this life of the server.
    pub(super) fn base(&self) -> Option<&(Generation, Arc<Snapshot>)> {
        let live = self.live.as_ref()?;
        self.latest.as_ref().filter(|(_, latest)| latest.server.id == live.server.id)
    }

    pub(super) fn consider_save(&mut self, now: Duration) -> Vec<Action> {
        let Some(live) = self.live.clone() else {
            return Vec::new();
        };
        if self.saving.is_some() || self.doubt.is_some() {
            return Vec::new();
        }
        if self.wanted.is_some() && !self.closely {
            return self.look();
        }
        if self.is_at_rest(now, &live) {
            return Vec::new();
        }
        let saved = self.base().map(|(_, head)| head.clone());
        let asked = self.wanted.is_some_and(|(reason, _)| reason == Reason::Asked);
        let doubted = self.guard.is_some() && self.unsaved.is_empty();
        if live.server.sessions.is_empty() && doubted && !asked {
            // There is nothing to save, so nothing to ask about either.
            return self.refuse_wanted("the tmux server has no sessions, so there is nothing to save");
        }
        if self.has_shrunk(&live) {
            let since = *self.shrunk_since.get_or_insert(now);
            // What was lost may come back.
            let known = !self.deaths.are_unjudged(since) || now >= since + VERDICT_MAX;
            return if now >= since + SETTLE && known { self.ask(Doubt::Shrunk) } else { Vec::new() };
        }
        self.shrunk_since = None;
        self.review_guard(now, &live, asked);
        if live.server.sessions.is_empty() {
            return self.refuse_wanted("the tmux server has no sessions, so there is nothing to save");
        }
        match self.reason_to_save(now, saved.as_deref(), &live) {
            Some(reason) => self.save(now, reason, &live),
            None => {
                let generation = self.base().map(|(generation, _)| *generation);
                self.at_rest = self.has_rested(now).then_some((live, generation, now));
                Vec::new()
            }
        }
    }

    /// Returns whether this very look was weighed a moment ago and nothing was to be saved. To find that out again and
    /// again would be most of what a server that does nothing costs.
    fn is_at_rest(&self, now: Duration, live: &Arc<Observation>) -> bool {
        let free = self.wanted.is_none() && self.guard.is_none() && self.unsaved.is_empty();
        let generation = self.base().map(|(generation, _)| *generation);
        free && self.at_rest.as_ref().is_some_and(|(seen, base, at)| {
            Arc::ptr_eq(seen, live) && *base == generation && now < *at + AT_REST_MAX
        })
    }

    fn has_rested(&self, now: Duration) -> bool {
        self.output_saved_at.is_none_or(|at| now >= at + self.policy.output_interval)
    }

    /// Returns whether something is gone that the head has, or that was restored and is in no save yet.
    pub(super) fn has_shrunk(&self, live: &Observation) -> bool {
        let alive = |name: &String| live.server.sessions.iter().any(|session| session.name == *name);
        let lacks_saved = self.base().is_some_and(|(_, head)| lacks(&head.server, &live.server));
        lacks_saved || !self.unsaved.iter().all(alive)
    }

    /// Answers whoever waits for a save that will not be.
    pub(super) fn refuse_wanted(&mut self, why: &str) -> Vec<Action> {
        let token = self.wanted.take().and_then(|(_, token)| token);
        token.map(|token| Action::Reply(token, Answer::Refused(why.to_owned()))).into_iter().collect()
    }

    fn reason_to_save(
        &mut self,
        now: Duration,
        saved: Option<&Snapshot>,
        live: &Observation,
    ) -> Option<Reason> {
        if let Some((reason, token)) = self.wanted.take() {
            self.saving_for = token;
            return Some(reason);
        }
        let Some(saved) = saved.filter(|saved| saved.closed.is_none()) else {
            return Some(Reason::Changed);
        };
        if saved.aside.is_some() && self.guard.is_none() {
            return Some(Reason::Changed);
        }
        if structure(&saved.server) != structure(&live.server) || self.keeps_too_much(saved, live) {
            return Some(Reason::Changed);
        }
        let rested = self.has_rested(now);
        let details = || details(&saved.server) != details(&live.server);
        if rested && details() {
            return Some(Reason::Changed);
        }
        let unread = live.server.panes().any(|(_, _, pane)| self.never_read(live, pane.id));
        let printed = || !self.captures(now, live).is_empty();
        (unread || rested && printed()).then_some(Reason::Output)
    }

    pub(super) fn save(&mut self, now: Duration, reason: Reason, live: &Observation) -> Vec<Action> {
        let mut server = live.server.clone();
        for pane in server.panes_mut() {
            let waiting = live.vitals.get(&pane.id).is_some_and(|vitals| vitals.waiting);
            if let Some(known) = self.texts.get(&pane.id).filter(|_| !waiting) {
                pane.scrollback = known.scrollback.clone();
            }
            let keep = live.vitals.get(&pane.id).is_none_or(|vitals| vitals.keep_text);
            if !self.policy.scrollback || !keep {
                // Nor what was kept of it before that was switched off.
                pane.scrollback = Scrollback::default();
            }
        }
        self.unsaved.clear();
        let capture = self.captures(now, live);
        self.texts.retain(|pane, _| live.vitals.get(pane).is_some_and(|vitals| vitals.keep_text));
        // What was closed in this server is past: there is work in it again.
        self.closed.take_if(|closed| *closed == live.server.id);
        self.saving = Some(live.server.id.clone());
        self.output_saved_at = Some(now);
        let previous = self.base().cloned();
        let aside = self.guard.as_ref().map(|guard| guard.aside);
        vec![Action::Save(SaveJob { reason, server, capture, closed: None, aside, previous })]
    }

    /// Records that the user closed everything, so that nothing comes back unasked.
    pub(super) fn save_closed(&mut self, closed: Closed) -> Vec<Action> {
        // Only what was seen alive in this server can have been closed in it.
        let Some((_, head)) = self.base().filter(|(_, head)| head.closed.is_none()) else {
            return Vec::new();
        };
        let mut server = head.server.clone();
        server.sessions.clear();
        // Remembered here too: the file may come too late for the next server, or fail.
        self.closed = Some(server.id.clone());
        self.saving = Some(server.id.clone());
        let job = SaveJob {
            reason: Reason::Closed,
            server,
            capture: Vec::new(),
            closed: Some(closed),
            aside: None,
            previous: None,
        };
        vec![Action::Save(job)]
    }

    pub(super) fn saved(&mut self, now: Duration, result: Result<Saved, String>) -> Vec<Action> {
        let server = self.saving.take();
        let waiting = self.saving_for.take();
        let answer = match result {
            Ok(saved) => {
                if server.as_ref() == self.live.as_ref().map(|live| &live.server.id) {
                    self.learn_texts(now, &saved);
                }
                if let Some(new) = saved.head {
                    self.head = Some(new.clone()).filter(|(_, new)| new.aside.is_none()).or(self.head.take());
                    self.latest = Some(new);
                }
                self.save_problem = None;
                match &self.latest {
                    Some((generation, _)) => Answer::Snapshot(*generation),
                    None => Answer::Refused("nothing was saved".to_owned()),
                }
            }
            Err(why) => {
                self.save_problem = Some(format!("the last snapshot failed: {why}"));
                Answer::Refused(why)
            }
        };
        let mut actions: Vec<Action> =
            waiting.map(|token| Action::Reply(token, answer)).into_iter().collect();
        if matches!(self.phase, Phase::Finishing(..)) {
            actions.extend(if self.last_saving { self.finish_now(now) } else { self.last_look(now) });
        }
        actions
    }
}
