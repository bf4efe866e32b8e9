//! Hears of a user's logins and logouts.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::{debug, warn};
use zbus::{Message, MessageStream, OwnedObjectPath};

use super::Logind;
use super::proxy::Session1Proxy;
use crate::model::entry::Happening;
use crate::model::evidence::{About, Fact, Sighting};
use crate::signals::{Listening, listen};

/// Whose logins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The user's number.
    pub uid: u32,
    /// The user's name.
    pub name: String,
}

/// Hears of a user's logins and logouts until the returned value is dropped. A logout that ended what
/// was left of the login is a fact as well. The connection is for this alone: nothing is read from it while one of
/// the channels has no room.
pub async fn watch_logins(
    logind: &Logind,
    who: Who,
    facts: mpsc::Sender<Sighting>,
    changes: mpsc::Sender<Happening>,
) -> zbus::Result<Listening> {
    let bus = logind.proxy.inner().connection();
    let signals = listen(bus, "org.freedesktop.login1", |rule| {
        rule.path("/org/freedesktop/login1").interface("org.freedesktop.login1.Manager")
    })
    .await?;
    let mut watching = Watching { logind: logind.clone(), who, sessions: BTreeSet::new(), facts, changes };
    // Listened to before: a login meanwhile is in both and counts once.
    for (session, uid, .., object) in logind.proxy.list_sessions().await? {
        if uid == watching.who.uid && watching.is_own_login(object).await {
            watching.sessions.insert(session);
        }
    }
    Ok(Listening::spawn(watching.run(signals)))
}

/// What is heard of logind.
#[derive(Debug)]
enum Signal {
    New { session: String, object: OwnedObjectPath },
    Removed { session: String },
}

struct Watching {
    logind: Logind,
    who: Who,
    /// The user's logins; logind allows so many and no more (`SessionsMax=`, logind.conf(5)).
    sessions: BTreeSet<String>,
    facts: mpsc::Sender<Sighting>,
    changes: mpsc::Sender<Happening>,
}

impl Watching {
    async fn run(mut self, mut signals: MessageStream) {
        while let Some(Ok(message)) = signals.next().await {
            let Some(signal) = parse(&message) else { continue };
            if self.hear(signal, Timestamp::now()).await.is_none() {
                return;
            }
        }
        warn!("the system's bus is gone; logins and logouts are not known from now on");
    }

    /// Returns `None` when nobody listens to us any more.
    async fn hear(&mut self, signal: Signal, at: Timestamp) -> Option<()> {
        let change = match signal {
            Signal::New { session, object } => {
                if !self.is_own_login(object).await || !self.sessions.insert(session.clone()) {
                    return Some(());
                }
                Happening::Login { session }
            }
            Signal::Removed { session } => {
                if !self.sessions.remove(&session) {
                    return Some(());
                }
                if self.kills().await {
                    let about = About::Login(session.clone());
                    let fact = Fact::LoginEnded { session: session.clone() };
                    self.facts.send(Sighting { at, about, fact }).await.ok()?;
                }
                Happening::Logout { session }
            }
        };
        self.changes.send(change).await.ok()
    }

    /// Returns whether a logind session is a login of the user. The user's manager has a session as well since
    /// systemd 256, of the class `manager`.
    async fn is_own_login(&self, object: OwnedObjectPath) -> bool {
        let bus = self.logind.proxy.inner().connection();
        let ask = async {
            let session = Session1Proxy::builder(bus).path(object).build().await?;
            let (uid, _) = session.user().await?;
            Ok(uid == self.who.uid && !session.class().await?.starts_with("manager"))
        };
        ask.await.unwrap_or_else(|error: zbus::Error| {
            debug!(%error, "a logind session was over before it could be asked whose it is");
            false
        })
    }

    async fn kills(&self) -> bool {
        match self.logind.kill_rule().await {
            Ok(rule) => rule.hits(&self.who.name),
            Err(error) => {
                warn!(%error, "logind does not tell what it does at logout");
                false
            }
        }
    }
}

/// Reads a signal of logind (org.freedesktop.login1(5)).
fn parse(message: &Message) -> Option<Signal> {
    let body = message.body();
    match message.header().member()?.as_str() {
        "SessionNew" => {
            let (session, object) = body.deserialize().ok()?;
            Some(Signal::New { session, object })
        }
        "SessionRemoved" => {
            let (session, _): (String, OwnedObjectPath) = body.deserialize().ok()?;
            Some(Signal::Removed { session })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;
    use zbus::names::BusName;
    use zbus::{Connection, ObjectPath};

    use super::*;
    use crate::signals::mock;

    const DEADLINE: Duration = Duration::from_secs(60);
    const MANAGER: &str = "/org/freedesktop/login1";

    type Row = (String, u32, String, String, OwnedObjectPath);

    struct MockManager {
        kill: bool,
    }

    #[zbus::interface(name = "org.freedesktop.login1.Manager")]
    impl MockManager {
        async fn list_sessions(&self) -> Vec<Row> {
            [("1", 1000), ("2", 1001), ("m", 1000)]
                .map(|(id, uid)| (id.into(), uid, "x".into(), String::new(), object(id).into()))
                .into()
        }

        #[zbus(property)]
        async fn kill_user_processes(&self) -> bool {
            self.kill
        }

        #[zbus(property)]
        async fn kill_only_users(&self) -> Vec<String> {
            Vec::new()
        }

        #[zbus(property)]
        async fn kill_exclude_users(&self) -> Vec<String> {
            Vec::new()
        }
    }

    struct MockSession {
        uid: u32,
        class: &'static str,
    }

    #[zbus::interface(name = "org.freedesktop.login1.Session")]
    impl MockSession {
        #[zbus(property)]
        async fn user(&self) -> (u32, OwnedObjectPath) {
            (self.uid, object("u").into())
        }

        #[zbus(property)]
        async fn class(&self) -> String {
            self.class.into()
        }
    }

    fn object(id: &str) -> ObjectPath<'static> {
        ObjectPath::try_from(format!("{MANAGER}/session/_3{id}")).unwrap()
    }

    async fn tell(server: &Connection, member: &str, body: &(impl serde::Serialize + zbus::DynamicType)) {
        let interface = "org.freedesktop.login1.Manager";
        server.emit_signal(None::<BusName<'_>>, MANAGER, interface, member, body).await.unwrap();
    }

    async fn next<T>(inbox: &mut mpsc::Receiver<T>) -> Option<T> {
        timeout(DEADLINE, inbox.recv()).await.unwrap()
    }

    /// Two sessions are there at the start, one of them another user's; more come and go.
    async fn story(kill: bool) -> (Vec<Happening>, Vec<(About, Fact)>) {
        let (server, bus) = mock::serving(MANAGER, MockManager { kill }).await;
        for (id, uid, class) in
            [("1", 1000, "user"), ("2", 1001, "user"), ("3", 1000, "user"), ("m", 1000, "manager")]
        {
            server.object_server().at(object(id), MockSession { uid, class }).await.unwrap();
        }
        let logind = Logind::connect(&bus).await.unwrap();
        let (facts, mut seen) = mpsc::channel(8);
        let (changes, mut changed) = mpsc::channel(8);
        let who = Who { uid: 1000, name: "ann".into() };
        let listening = watch_logins(&logind, who, facts, changes).await.unwrap();
        tell(&server, "PrepareForShutdown", &true).await;
        for id in ["1", "3", "m", "gone"] {
            tell(&server, "SessionNew", &(id, object(id))).await;
        }
        for id in ["2", "m", "1", "gone", "3"] {
            tell(&server, "SessionRemoved", &(id, object(id))).await;
        }
        let mut told = Vec::new();
        while told.last() != Some(&Happening::Logout { session: "3".into() }) {
            told.push(next(&mut changed).await.unwrap());
        }
        drop(listening);
        let mut facts = Vec::new();
        while let Some(sighting) = next(&mut seen).await {
            facts.push((sighting.about, sighting.fact));
        }
        (told, facts)
    }

    #[tokio::test]
    async fn only_ones_own_logins_count_and_only_a_logout_that_kills_is_a_fact() {
        let (told, facts) = story(true).await;
        let expected = [
            Happening::Login { session: "3".into() },
            Happening::Logout { session: "1".into() },
            Happening::Logout { session: "3".into() },
        ];
        assert_eq!(told, expected);
        let ended = |id: &str| (About::Login(id.into()), Fact::LoginEnded { session: id.into() });
        assert_eq!(facts, [ended("1"), ended("3")]);
        assert_eq!(story(false).await, (expected.into(), Vec::new()));
    }
}
