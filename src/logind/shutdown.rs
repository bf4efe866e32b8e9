//! Hears of a shutdown before it happens, and holds it up for the moment that a last snapshot takes.

use futures_util::StreamExt;
use tokio::sync::mpsc;
use zbus::OwnedFd;

use super::Logind;

/// A shutdown that is being watched for.
#[derive(Debug)]
pub struct ShutdownWatch {
    logind: Logind,
    /// While this is open logind waits with the shutdown, `InhibitDelayMaxSec=` at most (5 s).
    lock: Option<OwnedFd>,
}

impl ShutdownWatch {
    /// Asks logind to wait for us. Without polkit it refuses; then a shutdown is only heard of.
    pub async fn delay(&mut self) {
        let (what, who, why) = ("shutdown", "agent-keeper", "take a last snapshot of tmux");
        self.lock = self.logind.proxy.inhibit(what, who, why, "delay").await.ok();
    }

    /// Lets the shutdown go on.
    pub fn release(&mut self) {
        self.lock = None;
    }

    /// Returns whether logind waits for us.
    pub fn holds(&self) -> bool {
        self.lock.is_some()
    }
}

/// Watches for shutdowns: `true` is sent when one begins, `false` when it is called off.
pub async fn watch_shutdown(logind: &Logind, into: mpsc::Sender<bool>) -> zbus::Result<ShutdownWatch> {
    let mut signals = logind.proxy.receive_prepare_for_shutdown().await?;
    tokio::spawn(async move {
        while let Some(signal) = signals.next().await {
            let Ok(args) = signal.args() else { continue };
            if into.send(args.start).await.is_err() {
                return;
            }
        }
    });
    let mut watch = ShutdownWatch { logind: logind.clone(), lock: None };
    watch.delay().await;
    Ok(watch)
}
