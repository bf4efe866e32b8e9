//! Adds windows to a session that lives, and touches nothing else of it.

use crate::cause::in_words;
use crate::model::Session;

use super::{Run, StepError};

impl Run<'_> {
    /// Makes the windows behind the user's back: the current window stays the current one.
    pub(super) async fn add_to_living(&mut self, session: &Session) -> Result<(), StepError> {
        let id = self.session_id(&session.name).await?;
        let mut failed = Vec::new();
        for window in &session.windows {
            if let Err(error) = self.further_window(id, window).await {
                failed.push((window.index, error));
            }
        }
        self.zoom().await;
        if failed.len() == session.windows.len()
            && let Some((_, error)) = failed.pop()
        {
            return Err(error);
        }
        self.problems
            .extend(failed.into_iter().map(|(index, error)| format!("window {index}: {}", in_words(error))));
        Ok(())
    }
}
