//! Adds windows to a session that lives, and touches nothing else of it.

use crate::model::Session;

use super::{Run, StepError};

impl Run<'_> {
    /// Makes the windows behind the user's back: the current window stays the current one.
    pub(super) async fn add_to_living(&mut self, session: &Session) -> Result<(), StepError> {
        let id = self.session_id(&session.name).await?;
        let any = self.further_windows(id, session.windows.iter()).await;
        let made = if any { Ok(()) } else { Err(self.nothing()) };
        self.will_mark(id, session);
        self.zoom().await;
        made
    }
}
