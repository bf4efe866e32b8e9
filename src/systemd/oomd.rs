//! Hears from systemd-oomd what it kills. A machine without it is nothing special: then nothing is ever heard.

use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::warn;
use zbus::{Connection, Message};

use super::placement::Placement;
use crate::model::evidence::{About, Fact, Sighting};
use crate::signals::{Listening, listen};

/// Hears what systemd-oomd kills, whoever's it is, until the returned value is dropped. The connection, to the
/// system's bus, is for this alone: nothing is read from it while `into` has no room.
pub async fn watch(bus: &Connection, into: mpsc::Sender<Sighting>) -> zbus::Result<Listening> {
    let mut signals = listen(bus, "org.freedesktop.oom1", |rule| {
        rule.path("/org/freedesktop/oom1").interface("org.freedesktop.oom1.Manager").member("Killed")
    })
    .await?;
    Ok(Listening::spawn(async move {
        while let Some(Ok(message)) = signals.next().await {
            let Some((about, fact)) = parse(&message) else { continue };
            if into.send(Sighting { at: Timestamp::now(), about, fact }).await.is_err() {
                return;
            }
        }
        warn!("the system's bus is gone; what systemd-oomd kills is not known from now on");
    }))
}

/// Reads `Killed` (org.freedesktop.oom1(5)).
fn parse(message: &Message) -> Option<(About, Fact)> {
    let (cgroup, reason): (String, String) = message.body().deserialize().ok()?;
    let unit = Placement::of(&cgroup).unit().unwrap_or(&cgroup).to_owned();
    Some((About::Unit(cgroup), Fact::OomdKill { unit, reason }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;
    use zbus::names::BusName;

    use super::*;
    use crate::signals::mock;

    const DEADLINE: Duration = Duration::from_secs(60);

    /// Serves nothing that we call.
    struct Oomd;

    #[zbus::interface(name = "org.freedesktop.oom1.Manager")]
    impl Oomd {}

    #[tokio::test]
    async fn kills_are_told_with_their_reason() {
        let (server, bus) = mock::serving("/org/freedesktop/oom1", Oomd).await;
        let (into, mut inbox) = mpsc::channel(1);
        let listening = watch(&bus, into).await.unwrap();
        let base = "/user.slice/user-1000.slice/user@1000.service/app.slice";
        let kills = [
            (format!("{base}/tmux-spawn-7.scope"), "memory-pressure", "tmux-spawn-7.scope"),
            ("/odd".into(), "memory-used", "/odd"),
        ];
        for (cgroup, reason, unit) in kills {
            let body = (cgroup.as_str(), reason);
            let interface = "org.freedesktop.oom1.Manager";
            server
                .emit_signal(None::<BusName<'_>>, "/org/freedesktop/oom1", interface, "Killed", &body)
                .await
                .unwrap();
            let sighting = timeout(DEADLINE, inbox.recv()).await.unwrap().unwrap();
            assert_eq!(sighting.about, About::Unit(cgroup.clone()));
            assert_eq!(sighting.fact, Fact::OomdKill { unit: unit.into(), reason: reason.into() });
        }
        drop(listening);
        assert_eq!(timeout(DEADLINE, inbox.recv()).await.unwrap(), None);
    }
}
