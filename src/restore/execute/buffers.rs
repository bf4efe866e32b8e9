//! Paste buffers: what a server does not have by a name, or without one, comes back; what it has stays as it is.

use tracing::warn;

use crate::cause::in_words;
use crate::model::Buffer;
use crate::tmux::TmuxError;
use crate::tmux::buffers::{Listed, list, load, read};

use super::{Executor, StepError};

impl Executor<'_> {
    /// Makes buffers, the oldest first, so that the newest is on top. What fails is logged: no session lacks it.
    pub(super) async fn restore_buffers(&self, buffers: &[Buffer], version: &str) {
        if buffers.is_empty() {
            return;
        }
        let living = match list(self.tmux, version).await {
            Ok(living) => living,
            Err(error) => return warn!("no paste buffer came back: {}", in_words(error)),
        };
        for buffer in buffers {
            if let Err(error) = self.restore_buffer(buffer, &living).await {
                warn!("a paste buffer did not come back: {}", in_words(error));
            }
        }
    }

    async fn restore_buffer(&self, buffer: &Buffer, living: &[Listed]) -> Result<(), StepError> {
        let content = self.store.store().object(buffer.content)?;
        if !self.is_there(buffer, &content, living).await? {
            load(self.tmux, &buffer.name, &content).await?;
        }
        Ok(())
    }

    /// Returns whether a server has a buffer: one of its name, or for a name of tmux's own, one of its content.
    async fn is_there(&self, buffer: &Buffer, content: &[u8], living: &[Listed]) -> Result<bool, TmuxError> {
        if !Buffer::is_automatic(&buffer.name) {
            return Ok(living.iter().any(|one| one.name == buffer.name));
        }
        let may_be = |one: &&Listed| Buffer::is_automatic(&one.name) && one.size == content.len() as u64;
        for one in living.iter().filter(may_be) {
            if read(self.tmux, &one.name).await? == content {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
