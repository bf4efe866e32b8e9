//! What somebody asks for.

use super::super::action::Action;
use super::super::event::{Answer, Asked, Token};
use super::{Phase, State};
use crate::model::Reason;

impl State {
    pub(super) fn asked(&mut self, token: Token, asked: Asked) -> Vec<Action> {
        if self.phase != Phase::Watching || self.doubt.is_some() {
            let why = match &self.problem {
                Some(problem) => problem.clone(),
                None => format!("the keeper is {}; try again in a moment", self.summary().state),
            };
            return vec![Action::Reply(token, Answer::Refused(why))];
        }
        match asked {
            Asked::Snapshot => self.asked_for_snapshot(token),
            Asked::Restore { generation, snapshot, selection } => {
                self.asked_to_restore(token, generation, &snapshot, &selection)
            }
        }
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
