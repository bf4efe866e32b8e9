//! Panes whose program had ended and that stayed nevertheless (`remain-on-exit`).

use crate::model::{DIE_VARIABLE, Pane, PaneId};
use crate::tmux::command::Command;

use super::{Run, StepError};

impl Run<'_> {
    /// Lets a pane end as it had ended: it is started once more, shows its text and ends with the same status. If
    /// nothing makes it stay then, which may have been a setting of the other server, it is told to.
    pub(super) async fn end_pane(&self, id: PaneId, pane: &Pane) -> Result<(), StepError> {
        let ask = Command::new("display-message").arg("-p").flag("-t", id).arg("#{remain-on-exit}");
        // A flag is printed as 1 up to 3.2a, as the word since then.
        if matches!(self.run(&[ask]).await?.trim_ascii(), b"" | b"0" | b"off") {
            let stay = Command::new("set-option").arg("-p").flag("-t", id).arg("remain-on-exit").arg("on");
            self.run(&[stay]).await?;
        }
        let again =
            Command::new("respawn-pane").arg("-k").flag("-e", format!("{DIE_VARIABLE}=1")).flag("-t", id);
        self.run(&[self.with_order(again, &self.order(pane))?]).await.map(drop)
    }
}
