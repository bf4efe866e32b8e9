//! Paste buffers: what a server does not have by a name comes back; what it has stays as it is.

use std::collections::HashSet;

use tracing::warn;

use crate::cause::in_words;
use crate::model::{Buffer, ByteString};
use crate::tmux::TmuxError;
use crate::tmux::buffers::{list, load};

use super::{Executor, StepError};

impl Executor<'_> {
    /// Makes buffers, the oldest first, so that the newest is on top. What fails is logged: no session lacks it.
    pub(super) async fn restore_buffers(&self, buffers: &[Buffer], version: &str) {
        if buffers.is_empty() {
            return;
        }
        let living: Result<HashSet<ByteString>, TmuxError> =
            list(self.tmux, version).await.map(|list| list.into_iter().map(|one| one.name).collect());
        let living = match living {
            Ok(living) => living,
            Err(error) => return warn!("no paste buffer came back: {}", in_words(error)),
        };
        for buffer in buffers.iter().filter(|buffer| !living.contains(&buffer.name)) {
            if let Err(error) = self.restore_buffer(buffer).await {
                warn!("a paste buffer did not come back: {}", in_words(error));
            }
        }
    }

    async fn restore_buffer(&self, buffer: &Buffer) -> Result<(), StepError> {
        let content = self.store.store().object(buffer.content)?;
        Ok(load(self.tmux, &buffer.name, &content).await?)
    }
}
