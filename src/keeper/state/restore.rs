//! Bringing back what was lost.

use std::time::Duration;

use crate::model::{Generation, Reason, ServerId, Snapshot};
use crate::restore::execute::{Outcome, Report};
use crate::restore::plan::{self, Plan, Selection, SkipReason};
use crate::restore::policy::brings_back;

use super::super::action::Action;
use super::super::event::{Answer, Token};
use super::{Phase, State, VERDICT_MAX};

impl State {
    /// Returns whether it is found out yet why the server ended that was there before this one, in the same boot, and
    /// while no keeper watched. A machine that has booted since ended everything, whatever else there is to know.
    pub(super) fn awaits_verdict(&mut self, now: Duration, living: &ServerId) -> bool {
        let head = self.head.as_ref().map(|(_, head)| head);
        let head = head.filter(|head| head.closed.is_none() && head.server.id.boot == living.boot);
        let Some(gone) = head.map(|head| head.server.id.clone()).filter(|gone| gone != living) else {
            return false;
        };
        self.note_server_gone(now, living);
        let since = *self.unjudged_since.get_or_insert(now);
        self.verdict_on(&gone).is_none() && now < since + VERDICT_MAX
    }

    /// Decides what a server that was not known yet lacks.
    pub(super) fn reconcile(&mut self, now: Duration, id: ServerId) -> Vec<Action> {
        self.unjudged_since = None;
        self.note_server_gone(now, &id);
        self.reconciled = Some(id);
        self.heed_tombstones();
        self.heed_verdict();
        self.guard_predecessor(now);
        let live = self.live.as_ref().map(|live| &live.server);
        let unasked = self
            .head
            .as_ref()
            .filter(|(_, head)| self.policy.restore && self.closed.as_ref() != Some(&head.server.id));
        let plan = unasked.map(|(generation, head)| plan::plan_unasked(*generation, head, live));
        match plan.filter(|plan| !plan.is_empty()) {
            Some(plan) => {
                let server = self.head.as_ref().map(|(_, head)| head.server.id.clone()).unwrap_or_default();
                let manner = self.manner_of(now, &server);
                self.start_restore(plan.in_manner(manner))
            }
            None => {
                self.phase = Phase::Watching;
                self.consider_save(now)
            }
        }
    }

    /// Leaves a server ended whose end was a wish.
    fn heed_verdict(&mut self) {
        let head = self.head.as_ref().map(|(_, head)| head.server.id.clone());
        let gone = head.filter(|head| self.reconciled.as_ref() != Some(head));
        if let Some(gone) = gone.filter(|gone| self.verdict_on(gone).is_some_and(|cause| !brings_back(cause)))
        {
            self.closed = Some(gone);
        }
    }

    /// Forgets of the head what was closed since it was saved, if its server is gone.
    fn heed_tombstones(&mut self) {
        let Some(head) = self.head.clone() else { return };
        let server = head.1.server.id.clone();
        if self.reconciled.as_ref() == Some(&server) || head.1.closed.is_some() {
            return;
        }
        let left = self.tombstones.without(&head);
        if self.tombstones.has_server(&server) || left.1.server.sessions.is_empty() {
            self.bury(&server);
        } else {
            self.head = Some(left);
        }
    }

    pub(super) fn start_restore(&mut self, plan: Plan) -> Vec<Action> {
        let alive = plan.skips.iter().filter(|skip| skip.why == SkipReason::Alive);
        self.unsaved = alive.map(|skip| skip.session.clone()).collect();
        self.phase = Phase::Restoring;
        self.restoring = true;
        self.restoring_parts = plan.steps.is_empty();
        self.deaths.restore_begins();
        vec![Action::Restore(plan)]
    }

    pub(super) fn restored(&mut self, now: Duration, generation: Generation, report: Report) -> Vec<Action> {
        self.restoring = false;
        self.restore_waits = None;
        let made = report.sessions.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Failed(_)));
        self.unsaved.extend(made.map(|(name, _)| name.clone()));
        self.restore_problem = (!report.complete()).then(|| {
            let names: Vec<&str> = report
                .sessions
                .iter()
                .filter(|(_, outcome)| *outcome != Outcome::Restored)
                .map(|(name, _)| name.as_str())
                .collect();
            format!(
                "not all of snapshot {generation} came back: {}; try: keeperctl restore {generation}",
                names.join(", ")
            )
        });
        // Whoever looks at a server sees for himself that a part of it is back.
        if let (None, false, Some(live)) = (&self.restoring_for, self.restoring_parts, &self.live) {
            self.greet.restored(now, &live.server.id, &report);
        }
        let mut actions = Vec::new();
        if let Some((token, skips)) = self.restoring_for.take() {
            actions.push(Action::Reply(token, Answer::Restored(report, skips)));
        }
        match self.phase {
            Phase::Restoring => {
                self.phase = Phase::Watching;
                self.wanted.get_or_insert((Reason::Restored, None));
                actions.extend(self.look());
            }
            Phase::Finishing(then, _) => actions.extend(self.finish_after_restore(now, then)),
            _ => {}
        }
        actions
    }

    pub(super) fn asked_to_restore(
        &mut self,
        token: Token,
        generation: Generation,
        snapshot: &Snapshot,
        selection: &Selection,
    ) -> Vec<Action> {
        let live = self.live.as_ref().map(|live| &live.server);
        match plan::plan(generation, snapshot, live, selection) {
            Err(unknown) => vec![Action::Reply(token, Answer::Unknown(unknown))],
            Ok(plan) if plan.is_empty() => {
                vec![Action::Reply(token, Answer::Restored(Report::default(), plan.skips))]
            }
            Ok(plan) => {
                self.restoring_for = Some((token, plan.skips.clone()));
                self.start_restore(plan)
            }
        }
    }
}
