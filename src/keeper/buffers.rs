//! Reads paste buffers for a snapshot: a bounded number, each once.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Mutex;
use tracing::debug;

use crate::cause::in_words;
use crate::model::{Buffer, ObjectId, Server, ServerId};
use crate::redact::redacted;
use crate::store::Writer;
use crate::tmux::buffers::{BUFFER_BYTES_MAX, BUFFERS_MAX, Listed, list, read};
use crate::tmux::{Tmux, TmuxError};

use super::worker::blocking;

/// Reads buffers and remembers where their contents are.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    redact: bool,
    known: Mutex<(ServerId, HashMap<Listed, ObjectId>)>,
}

/// Why buffers could not be saved.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuffersError {
    #[error(transparent)]
    Tmux(#[from] TmuxError),
    /// The store; in words.
    #[error("{0}")]
    Store(String),
}

impl Buffers {
    /// Returns a reader that covers credentials, or does not.
    pub(super) fn new(redact: bool) -> Self {
        Self { redact, ..Self::default() }
    }

    /// Returns the newest buffers of a server that are not too large, the oldest first. Those that were read before
    /// are not read again.
    pub(super) async fn record(
        &self,
        tmux: &Tmux,
        writer: &Arc<Writer>,
        server: &Server,
    ) -> Result<Vec<Buffer>, BuffersError> {
        let mut known = self.known.lock().await;
        if known.0 != server.id {
            *known = (server.id.clone(), HashMap::new());
        }
        let mut read_now = HashMap::new();
        let mut buffers = Vec::new();
        let listed = list(tmux, &server.version).await?;
        for one in listed.into_iter().take(BUFFERS_MAX).filter(|one| one.size <= BUFFER_BYTES_MAX) {
            let content = match known.1.get(&one) {
                Some(content) => *content,
                None => match read(tmux, &one.name).await {
                    Ok(text) => {
                        let (writer, redact) = (writer.clone(), self.redact);
                        let put = move || writer.put(&redacted(&text, redact));
                        blocking(put).await.map_err(BuffersError::Store)?
                    }
                    // One that has gone meanwhile is none.
                    Err(error) => {
                        debug!("a paste buffer was not read: {}", in_words(error));
                        continue;
                    }
                },
            };
            buffers.push(Buffer { name: one.name.clone(), content });
            read_now.insert(one, content);
        }
        known.1 = read_now;
        buffers.reverse();
        Ok(buffers)
    }
}
