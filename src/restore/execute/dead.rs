//! Panes whose program had ended and that stayed nevertheless (`remain-on-exit`).

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::model::{DIE_VARIABLE, Pane, PaneId};
use crate::tmux::command::Command;

use super::{Run, StepError};

/// How long a pane may take to end. One that shows much text takes longer, and is not waited for.
const END_MAX: Duration = Duration::from_secs(2);

/// The pause between two looks at it.
const END_LOOK_EVERY: Duration = Duration::from_millis(20);

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
        self.run(&[self.with_order(again, &self.order(pane))?]).await?;
        self.let_end_be_seen(id).await
    }

    /// Sees to it that tmux notices the end. Once in a while 3.3a misses it when a pane was started again a moment
    /// before; the end of any other child makes it look.
    async fn let_end_be_seen(&self, id: PaneId) -> Result<(), StepError> {
        let look = Command::new("display-message").arg("-p").flag("-t", id);
        let look = look.arg("#{pane_dead}#{pane_dead_status}#{pane_dead_signal}");
        let deadline = Instant::now() + END_MAX;
        while Instant::now() < deadline {
            match self.run(std::slice::from_ref(&look)).await?.trim_ascii() {
                b"1" => return self.run(&[Command::new("run-shell").arg("true")]).await.map(drop),
                [b'1', ..] => return Ok(()),
                _ => sleep(END_LOOK_EVERY).await,
            }
        }
        Ok(())
    }
}
