//! What a keeper that was killed in the middle of a restore has left.

use crate::model::SessionId;
use crate::tmux::command::Command;

use super::{Run, StepError};

impl Run<'_> {
    /// Removes a session that a keeper was making when it was killed, unless somebody has been in it since:
    /// then what there is of it is somebody's.
    pub(super) async fn remove_unfinished(&mut self, id: SessionId) -> Result<(), StepError> {
        let ask = Command::new("display-message").arg("-p").flag("-t", id).arg("#{session_last_attached}");
        let attached = self.run(&[ask]).await?;
        if !attached.trim_ascii().is_empty() {
            return Err(StepError::Unfinished);
        }
        self.run(&[Command::new("kill-session").flag("-t", id)]).await.map(drop)
    }
}
