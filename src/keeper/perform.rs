//! Starts what was decided, and tells the outcome as an event.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinError;
use tracing::{info, warn};

use crate::bulletin::{Bulletin, Tellers};
use crate::cgroup::MemoryWatch;
use crate::dbus::interface::Request;
use crate::logind::ShutdownWatch;
use crate::model::describe_counts;
use crate::model::entry::Happening;

use super::action::Action;
use super::event::{Answer, Asked, Event, Token};
use super::inquire::GoingDown;
use super::run::Startup;
use super::state::Summary;
use super::worker::Worker;

/// What became of a task. One that has panicked has no event, and the state would wait for it for ever.
pub(super) type Outcome = Result<Event, JoinError>;

/// Does what the loop hands over, and keeps what it needs for that.
pub(super) struct Performer {
    worker: Arc<Worker>,
    events: mpsc::Sender<Outcome>,
    summary: watch::Sender<Summary>,
    shutdown: Option<ShutdownWatch>,
    tellers: Tellers,
    /// When the state's clock was 0.
    started: Instant,
    waiting: HashMap<Token, oneshot::Sender<Answer>>,
    next_token: Token,
}

impl Performer {
    pub(super) fn new(
        startup: Startup,
        events: mpsc::Sender<Outcome>,
        summary: watch::Sender<Summary>,
        shutdown: Option<ShutdownWatch>,
        memory: Option<Arc<MemoryWatch>>,
        listeners: broadcast::Sender<Arc<Bulletin>>,
        started: Instant,
    ) -> Self {
        let tellers = Tellers::start(&startup.settings, &startup.login, listeners);
        let worker = Arc::new(Worker::new(startup, memory));
        let version = env!("CARGO_PKG_VERSION").to_owned();
        tokio::spawn(worker.clone().note(Happening::KeeperStarted { version }));
        Self { worker, events, summary, shutdown, tellers, started, waiting: HashMap::new(), next_token: 0 }
    }

    pub(super) fn asked(&mut self, request: Request) -> Event {
        self.next_token += 1;
        if let Asked::Restore { generation, selection, .. } = &request.asked {
            info!(generation, sessions = ?selection.sessions, windows = ?selection.windows, name = selection.rename, "asked to restore");
        }
        self.waiting.insert(self.next_token, request.reply);
        Event::Asked(self.next_token, request.asked)
    }

    pub(super) fn shutdown_event(&self, begins: bool) -> Event {
        if begins {
            info!("a shutdown begins");
            tokio::spawn(self.worker.clone().note(Happening::ShutdownBegins));
            let held = self.shutdown.as_ref().is_some_and(ShutdownWatch::holds);
            Event::ShutdownBegins { held }
        } else {
            info!("the shutdown was called off");
            tokio::spawn(self.worker.clone().note(Happening::ShutdownCancelled));
            Event::ShutdownCancelled
        }
    }

    pub(super) fn terminating(&self) -> Event {
        info!("asked to end");
        notify(&[sd_notify::NotifyState::Stopping]);
        Event::Terminate
    }

    /// Returns whether a server that was left alone for some time has run since it was looked at.
    pub(super) fn has_stirred(&self, alone: Duration) -> bool {
        self.worker.has_stirred(alone)
    }

    pub(super) async fn perform(&mut self, action: Action) {
        let worker = self.worker.clone();
        match action {
            Action::Look { closely } => {
                self.task(async move { Event::Looked(worker.look(closely).await) });
            }
            Action::AwaitEnd(id) => self.task(async move {
                let ending = worker.await_end(&id).await;
                Event::ServerEnded(id, ending)
            }),
            Action::AskGoingDown => self.task(async { Event::GoingDown(GoingDown::ask().await.is_so()) }),
            Action::Remember(habitat) => worker.remember(habitat),
            Action::Inquire(deaths) => {
                let started = self.started;
                self.task(async move {
                    let (inquiries, found) = worker.inquire(started, deaths).await;
                    Event::Inquired(inquiries, found)
                });
            }
            Action::Record(incidents) => {
                self.task(async move {
                    let (incidents, result) = worker.record(incidents).await;
                    Event::Recorded(incidents, result)
                });
            }
            Action::Tell(incidents) => self.tellers.tell(incidents),
            Action::Greet(greeting) => {
                self.task(async move { Event::Greeted(worker.greet(&greeting).await) });
            }
            Action::Note(what) => {
                tokio::spawn(worker.note(what));
            }
            Action::BringBackSocket { pid } => {
                self.task(async move { Event::Signalled(worker.bring_back_socket(pid)) });
            }
            Action::Found => self.task(async move { Event::Founded(worker.found().await) }),
            Action::Save(job) => self.task(async move { Event::Saved(worker.save(job).await) }),
            Action::Restore(plan) => {
                let waits = self.hear_waits();
                self.task(async move {
                    let report = worker.restore(&plan, waits).await;
                    Event::Restored(plan.generation, report)
                });
            }
            Action::ReviewDrills => self.task(async move { Event::Reviewed(worker.review_drills().await) }),
            Action::Drill => self.task(async move { Event::Drilled(worker.drill().await) }),
            Action::Reply(token, answer) => {
                // Whoever asked may have gone.
                let _ = self.waiting.remove(&token).map(|waiting| waiting.send(answer));
            }
            Action::Publish(summary) => self.publish(summary),
            Action::HoldShutdown => {
                if let Some(shutdown) = &mut self.shutdown {
                    shutdown.delay().await;
                }
            }
            Action::ReleaseShutdown => {
                if let Some(shutdown) = &mut self.shutdown {
                    shutdown.release();
                }
            }
            // The loop ends before it gets here.
            Action::Exit => {}
        }
    }

    fn task(&self, work: impl Future<Output = Event> + Send + 'static) {
        run_task(self.events.clone(), work);
    }

    /// Returns where a restore says that it waits.
    fn hear_waits(&self) -> mpsc::Sender<Option<String>> {
        let (waits, mut heard) = mpsc::channel::<Option<String>>(4);
        let events = self.events.clone();
        tokio::spawn(async move {
            while let Some(why) = heard.recv().await {
                let _ = events.send(Ok(Event::RestoreWaits(why))).await;
            }
        });
        waits
    }

    fn publish(&self, summary: Summary) {
        let before = self.summary.send_replace(summary.clone());
        match &summary.problem {
            Some(problem) if before.problem.as_ref() != Some(problem) => warn!("{problem}"),
            None if before.problem.is_some() => info!("the problem is gone"),
            _ => {}
        }
        if before.state != summary.state {
            info!(server_pid = summary.server, "{}", summary.state);
        }
        notify(&[sd_notify::NotifyState::Status(&status_line(&summary))]);
    }

    /// Lets the waiting client go, so that nothing of ours is left at the server.
    pub(super) async fn leave(self) {
        self.worker.stop_waiting().await;
        self.worker.note(Happening::KeeperEnded).await;
        info!("ending; the tmux server goes on");
    }
}

fn run_task(events: mpsc::Sender<Outcome>, work: impl Future<Output = Event> + Send + 'static) {
    let task = tokio::spawn(work);
    tokio::spawn(async move {
        // The loop only goes away when the process does.
        let _ = events.send(task.await).await;
    });
}

/// Tells the service manager, if there is one.
pub(super) fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::trace!(%error, "the service manager cannot be told");
    }
}

fn status_line(summary: &Summary) -> String {
    let mut line = summary.state.to_owned();
    if summary.server.is_some() {
        line.push_str(&format!(": {}", describe_counts(summary.counts)));
    }
    if let Some((generation, taken_at)) = summary.head {
        let local = taken_at.to_zoned(jiff::tz::TimeZone::system());
        line.push_str(&format!("; snapshot {generation} of {}", local.strftime("%H:%M:%S")));
    }
    if let Some(problem) = &summary.problem {
        line.push_str(&format!("; problem: {problem}"));
    }
    if let Some(notice) = &summary.notice {
        line.push_str(&format!("; {notice}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_told_and_not_waited_for() {
        let (events, mut inbox) = mpsc::channel(1);
        run_task(events.clone(), async { Event::Tick });
        assert!(matches!(inbox.recv().await, Some(Ok(Event::Tick))));
        run_task(events, async { panic!("on purpose") });
        assert!(matches!(inbox.recv().await, Some(Err(error)) if error.is_panic()));
    }
}
