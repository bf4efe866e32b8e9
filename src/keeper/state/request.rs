//! What somebody asks for.

use std::sync::Arc;

use super::super::action::Action;
use super::super::event::{Answer, Asked, Token};
use super::{Phase, State};
use crate::model::{Generation, Reason, Snapshot};
use crate::restore::plan::Selection;

/// A restore that somebody asked for and that waits for a look at the server.
#[derive(Debug)]
pub(super) struct Wish {
    token: Token,
    generation: Generation,
    snapshot: Arc<Snapshot>,
    selection: Selection,
}

impl State {
    pub(super) fn asked(&mut self, token: Token, asked: Asked) -> Vec<Action> {
        // Where it is asked whether everything goes down, the answer decides, and comes in a moment.
        if self.phase != Phase::Watching {
            let why = match &self.problem {
                Some(problem) => problem.clone(),
                None => format!("the keeper is {}; try again in a moment", self.summary().state),
            };
            return vec![Action::Reply(token, Answer::Refused(why))];
        }
        match asked {
            Asked::Snapshot => self.asked_for_snapshot(token),
            Asked::Restore { generation, snapshot, selection } => {
                let earlier = self.refuse_wish("another restore was asked for at the same time");
                self.wish = Some(Wish { token, generation, snapshot, selection });
                [earlier, self.look()].concat()
            }
        }
    }

    /// Returns what to do about a restore that somebody asked for, if somebody did. What is planned must be planned
    /// for the server as it is now, not as it was a second ago.
    pub(super) fn consider_wish(&mut self) -> Option<Vec<Action>> {
        if self.wish.is_some() && !self.closely {
            return Some(self.look());
        }
        if self.wish.is_some() && self.saving.is_some() {
            // After a save old generations may go. The next look decides.
            return Some(Vec::new());
        }
        let Wish { token, generation, snapshot, selection } = self.wish.take()?;
        Some(self.asked_to_restore(token, generation, &snapshot, &selection))
    }

    /// Answers whoever asked for something while the server cannot be looked at. What we want ourselves waits.
    pub(super) fn refuse_asked(&mut self, why: &str) -> Vec<Action> {
        let token = self.wanted.take_if(|(_, token)| token.is_some()).and_then(|(_, token)| token);
        let refused = token.map(|token| Action::Reply(token, Answer::Refused(why.to_owned())));
        refused.into_iter().chain(self.refuse_wish(why)).collect()
    }

    /// Answers whoever asked for a restore that will not be.
    pub(super) fn refuse_wish(&mut self, why: &str) -> Vec<Action> {
        let wish = self.wish.take();
        wish.map(|wish| Action::Reply(wish.token, Answer::Refused(why.to_owned()))).into_iter().collect()
    }

    fn asked_for_snapshot(&mut self, token: Token) -> Vec<Action> {
        match self.wanted.replace((Reason::Asked, Some(token))) {
            Some((_, Some(earlier))) => {
                let why = "another snapshot was asked for at the same time".to_owned();
                [vec![Action::Reply(earlier, Answer::Refused(why))], self.look()].concat()
            }
            _ => self.look(),
        }
    }
}
