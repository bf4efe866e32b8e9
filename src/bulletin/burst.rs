//! Several deaths at once, for somebody who is told of them once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};

use super::Bulletin;

/// Waits for a death, and then a little longer for those that come with it. `None` when nobody tells any more.
pub(super) async fn next(
    inbox: &mut Receiver<Arc<Bulletin>>,
    longer: Duration,
) -> Option<Vec<Arc<Bulletin>>> {
    let mut burst = vec![inbox.recv().await?];
    let end = Instant::now() + longer;
    while let Ok(Some(bulletin)) = timeout_at(end, inbox.recv()).await {
        burst.push(bulletin);
    }
    Some(burst)
}
