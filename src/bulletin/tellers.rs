//! Everybody who is told of deaths. Telling never waits: who is too slow misses some.

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::mpsc::Sender;
use tracing::warn;

use crate::config::Settings;
use crate::environment::Login;
use crate::model::incident::Incident;

use super::{Bulletin, command, desktop, journal};

/// How many deaths may wait for a listener on D-Bus: as many as are told at once.
pub const TOLD_MAX: usize = 2048;

/// Everybody who is told of deaths.
#[derive(Debug)]
pub struct Tellers {
    listeners: broadcast::Sender<Arc<Bulletin>>,
    command: Option<Sender<Arc<Bulletin>>>,
    desktop: Option<Sender<Arc<Bulletin>>>,
}

impl Tellers {
    /// Starts those that the settings ask for. Belongs into a tokio runtime.
    pub fn start(settings: &Settings, login: &Login, listeners: broadcast::Sender<Arc<Bulletin>>) -> Self {
        let command = (!settings.notify_command.is_empty())
            .then(|| command::start(settings.notify_command.clone(), login.clone()));
        let desktop = settings.notify_desktop.then(desktop::start);
        Self { listeners, command, desktop }
    }

    /// Tells of deaths.
    pub fn tell(&self, incidents: Vec<Incident>) {
        let mut missed = 0;
        for bulletin in incidents.into_iter().map(Bulletin::of) {
            journal::tell(&bulletin);
            if bulletin.unwanted {
                let queues = [&self.command, &self.desktop].into_iter().flatten();
                missed += queues.filter(|queue| queue.try_send(bulletin.clone()).is_err()).count();
            }
            // Nobody may be listening.
            let _ = self.listeners.send(bulletin);
        }
        if missed > 0 {
            warn!(missed, "too many deaths at once: not all of them are notified of");
        }
    }
}
