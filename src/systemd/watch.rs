//! Hears from the user's service manager how units end, and that it ends itself.
//!
//! A scope that fails is unloaded at once where it is told to be (`CollectMode=inactive-or-failed`, as tmux tells for
//! its panes): what became of it stands in the signals and nowhere else afterwards.
//!
//! When the manager stops, the bus stops as well. The keeper's unit is `After=dbus.service`, so its bus outlives it and
//! it hears of this first; a keeper that is no unit may find the bus gone without a word (seen with systemd 252).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch as latest};
use tracing::{debug, warn};
use zbus::{Connection, Message, MessageStream, OwnedObjectPath, Variant};

use super::ending::{Change, Ending};
use super::manager::{Manager, ManagerError};
use super::unit_name::{END_TARGETS, is_of_tmux, of_object};
use crate::model::evidence::{About, Fact, Sighting};
use crate::signals::{Listening, listen};

/// How many units may be ending at the same time; of more nothing is told. A manager that stops ends all its units.
const ENDING_MAX: usize = 4096;

/// The user's manager while it is heard.
#[derive(Debug)]
pub struct UnitWatch {
    follow: latest::Sender<BTreeSet<String>>,
    _listening: Listening,
}

impl UnitWatch {
    /// Says which units are of interest besides the scopes of tmux servers and panes.
    pub fn follow(&self, units: BTreeSet<String>) {
        self.follow.send_replace(units);
    }
}

/// Hears from the user's manager until the returned value is dropped. The connection is for this alone: nothing is
/// read from it while `into` has no room.
pub async fn watch(bus: &Connection, into: mpsc::Sender<Sighting>) -> Result<UnitWatch, ManagerError> {
    let manager = Manager::connect(bus).await?;
    let signals =
        listen(bus, "org.freedesktop.systemd1", |rule| rule.path_namespace("/org/freedesktop/systemd1"));
    let signals = signals.await.map_err(ManagerError::Unreachable)?;
    manager.subscribe().await?;
    let (follow, followed) = latest::channel(BTreeSet::new());
    let watching = Watching { followed, into, ending: BTreeMap::new(), manager_stops: false };
    Ok(UnitWatch { follow, _listening: Listening::spawn(watching.run(signals)) })
}

/// What is heard of the manager.
#[derive(Debug, PartialEq, Eq)]
enum Signal {
    Changed { unit: String, change: Change },
    Unloaded { unit: String },
    Stopping,
}

struct Watching {
    followed: latest::Receiver<BTreeSet<String>>,
    into: mpsc::Sender<Sighting>,
    /// The units to which something has happened.
    ending: BTreeMap<String, Ending>,
    manager_stops: bool,
}

impl Watching {
    async fn run(mut self, mut signals: MessageStream) {
        while let Some(Ok(message)) = signals.next().await {
            let Some(signal) = parse(&message, |unit| self.is_of_interest(unit)) else { continue };
            for sighting in self.hear(signal, Timestamp::now()) {
                if self.into.send(sighting).await.is_err() {
                    return;
                }
            }
        }
        // The user's bus ends with the manager.
        match self.manager_stops {
            true => debug!("the user's service manager is gone"),
            false => warn!("systemd is not heard any more; how units end is not known from now on"),
        }
    }

    fn is_of_interest(&self, unit: &str) -> bool {
        is_of_tmux(unit) || self.followed.borrow().contains(unit)
    }

    fn hear(&mut self, signal: Signal, at: Timestamp) -> Vec<Sighting> {
        match signal {
            Signal::Changed { unit, change } => {
                let facts = self.change(&unit, &change).into_iter();
                facts.map(|fact| Sighting { at, about: About::Unit(unit.clone()), fact }).collect()
            }
            Signal::Unloaded { unit } => {
                self.ending.remove(&unit);
                Vec::new()
            }
            Signal::Stopping if self.manager_stops => Vec::new(),
            Signal::Stopping => {
                self.manager_stops = true;
                vec![Sighting { at, about: About::Manager, fact: Fact::ManagerStopping }]
            }
        }
    }

    fn change(&mut self, unit: &str, change: &Change) -> Vec<Fact> {
        let known = self.ending.remove(unit).unwrap_or_default();
        if self.ending.len() >= ENDING_MAX {
            return Vec::new();
        }
        let (after, facts) = known.after(unit, change);
        if after != Ending::default() {
            self.ending.insert(unit.to_owned(), after);
        }
        facts
    }
}

/// Reads a signal of the manager (org.freedesktop.systemd1(5)).
fn parse(message: &Message, is_of_interest: impl Fn(&str) -> bool) -> Option<Signal> {
    let header = message.header();
    match (header.interface()?.as_str(), header.member()?.as_str()) {
        ("org.freedesktop.DBus.Properties", "PropertiesChanged") => {
            let unit = of_object(header.path()?.as_str()).filter(|unit| is_of_interest(unit))?;
            Some(Signal::Changed { unit, change: parse_change(message)? })
        }
        ("org.freedesktop.systemd1.Manager", "UnitRemoved") => {
            let body = message.body();
            let (unit, _): (String, OwnedObjectPath) = body.deserialize().ok()?;
            Some(Signal::Unloaded { unit })
        }
        ("org.freedesktop.systemd1.Manager", "JobNew") => {
            let body = message.body();
            let (_, _, unit): (u32, OwnedObjectPath, String) = body.deserialize().ok()?;
            END_TARGETS.contains(&unit.as_str()).then_some(Signal::Stopping)
        }
        _ => None,
    }
}

fn parse_change(message: &Message) -> Option<Change> {
    let body = message.body();
    let (interface, properties, _): (&str, HashMap<&str, Variant<'_>>, Vec<&str>) =
        body.deserialize().ok()?;
    let text = |name| properties.get(name).and_then(|value| String::try_from(value).ok());
    match interface {
        "org.freedesktop.systemd1.Scope" | "org.freedesktop.systemd1.Service" => {
            Some(Change { result: text("Result"), ..Change::default() })
        }
        "org.freedesktop.systemd1.Unit" => {
            let has_job = properties.get("Job").and_then(has_job);
            Some(Change { active_state: text("ActiveState"), has_job, ..Change::default() })
        }
        _ => None,
    }
}

/// `Job` is a number and an object; the number is 0 where there is none.
fn has_job(job: &Variant<'_>) -> Option<bool> {
    match job {
        Variant::Structure(job) => match job.fields() {
            [Variant::U32(number), ..] => Some(*number != 0),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;
    use zbus::names::BusName;

    use super::*;
    use crate::signals::mock;

    const UNIT: &str = "tmux-spawn-1f.scope";
    const OBJECT: &str = "/org/freedesktop/systemd1/unit/tmux_2dspawn_2d1f_2escope";
    const MANAGER: &str = "/org/freedesktop/systemd1";

    /// What a test waits for comes; this is for the day on which it does not.
    const DEADLINE: Duration = Duration::from_secs(60);

    #[derive(Debug, zbus::DBusError)]
    #[zbus(prefix = "org.freedesktop.systemd1")]
    enum Refusal {
        #[zbus(error)]
        ZBus(zbus::Error),
        AlreadySubscribed(String),
    }

    /// A manager that does as the real one does, as far as we use it.
    #[derive(Default)]
    struct Mock {
        subscribed: bool,
    }

    #[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
    impl Mock {
        async fn subscribe(&mut self) -> Result<(), Refusal> {
            if std::mem::replace(&mut self.subscribed, true) {
                return Err(Refusal::AlreadySubscribed("Client is already subscribed.".into()));
            }
            Ok(())
        }

        #[zbus(property)]
        async fn version(&self) -> String {
            "257".into()
        }
    }

    /// The other end.
    struct Systemd(Connection);

    impl Systemd {
        async fn tell(
            &self,
            path: &str,
            interface: &str,
            member: &str,
            body: &(impl serde::Serialize + zbus::DynamicType),
        ) {
            self.0.emit_signal(None::<BusName<'_>>, path, interface, member, body).await.unwrap();
        }

        async fn change(&self, object: &str, kind: &str, properties: &[(&str, Variant<'_>)]) {
            let properties: HashMap<&str, &Variant<'_>> =
                properties.iter().map(|(name, value)| (*name, value)).collect();
            let body = (format!("org.freedesktop.systemd1.{kind}"), properties, Vec::<&str>::new());
            self.tell(object, "org.freedesktop.DBus.Properties", "PropertiesChanged", &body).await;
        }

        async fn state(&self, object: &str, result: &str, state: &str, job: u32) {
            let path = zbus::ObjectPath::try_from("/").unwrap();
            self.change(object, "Scope", &[("Result", Variant::from(result))]).await;
            let job = Variant::from((job, path));
            self.change(object, "Unit", &[("ActiveState", Variant::from(state)), ("Job", job)]).await;
        }

        async fn job(&self, unit: &str) {
            let path = zbus::ObjectPath::try_from("/org/freedesktop/systemd1/job/7").unwrap();
            self.tell(MANAGER, "org.freedesktop.systemd1.Manager", "JobNew", &(7_u32, path, unit)).await;
        }

        async fn remove(&self, object: &str, unit: &str) {
            let path = zbus::ObjectPath::try_from(object).unwrap();
            self.tell(MANAGER, "org.freedesktop.systemd1.Manager", "UnitRemoved", &(unit, path)).await;
        }
    }

    async fn heard(inbox: &mut mpsc::Receiver<Sighting>) -> Option<(About, Fact)> {
        let sighting = timeout(DEADLINE, inbox.recv()).await.unwrap()?;
        Some((sighting.about, sighting.fact))
    }

    fn of(unit: &str, fact: Fact) -> Option<(About, Fact)> {
        Some((About::Unit(unit.into()), fact))
    }

    fn result(unit: &str) -> Option<(About, Fact)> {
        of(unit, Fact::UnitResult { unit: unit.into(), result: "oom-kill".into() })
    }

    async fn start() -> (Systemd, Connection, UnitWatch, mpsc::Receiver<Sighting>) {
        let (server, bus) = mock::serving(MANAGER, Mock::default()).await;
        // Somebody else on this connection has subscribed before.
        Manager::connect(&bus).await.unwrap().subscribe().await.unwrap();
        let (into, inbox) = mpsc::channel(1);
        let watch = watch(&bus, into).await.unwrap();
        (Systemd(server), bus, watch, inbox)
    }

    #[tokio::test]
    async fn ends_of_units_are_taken_from_the_signals_themselves() {
        let (systemd, _bus, watch, mut inbox) = start().await;
        let other = "/org/freedesktop/systemd1/unit/x_2escope";
        systemd.state(other, "oom-kill", "failed", 0).await;
        systemd.state(OBJECT, "oom-kill", "deactivating", 0).await;
        systemd.state(OBJECT, "oom-kill", "failed", 0).await;
        systemd.remove(OBJECT, UNIT).await;
        assert_eq!(heard(&mut inbox).await, result(UNIT));
        // Another one of the same name.
        systemd.state(OBJECT, "success", "deactivating", 7).await;
        assert_eq!(heard(&mut inbox).await, of(UNIT, Fact::UnitStopped { unit: UNIT.into() }));
        watch.follow(BTreeSet::from(["x.scope".to_owned()]));
        systemd.state(other, "oom-kill", "failed", 0).await;
        assert_eq!(heard(&mut inbox).await, result("x.scope"));
    }

    #[tokio::test]
    async fn a_manager_that_stops_is_told_once() {
        let (systemd, bus, _watch, mut inbox) = start().await;
        for unit in ["default.target", "exit.target", "shutdown.target"] {
            systemd.job(unit).await;
        }
        systemd.state(OBJECT, "success", "deactivating", 7).await;
        assert_eq!(heard(&mut inbox).await, Some((About::Manager, Fact::ManagerStopping)));
        assert_eq!(heard(&mut inbox).await, of(UNIT, Fact::UnitStopped { unit: UNIT.into() }));
        drop((systemd, bus));
    }

    #[tokio::test]
    async fn nothing_is_heard_after_the_watch_was_dropped_or_the_bus_is_gone() {
        let (_systemd, _bus, watch, mut inbox) = start().await;
        drop(watch);
        assert_eq!(heard(&mut inbox).await, None);
        let (systemd, _bus, _watch, mut inbox) = start().await;
        systemd.0.close().await.unwrap();
        assert_eq!(heard(&mut inbox).await, None);
    }
}
