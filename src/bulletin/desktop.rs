//! Deaths as notifications on the desktop (Desktop Notifications Specification 1.2), one for a burst.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{sleep, timeout};
use tracing::debug;
use zbus::fdo::DBusProxy;
use zbus::names::BusName;
use zbus::{Variant, proxy};

use super::{Bulletin, burst};

/// Who shows notifications.
const NAME: &str = "org.freedesktop.Notifications";

/// How many deaths may wait.
const QUEUE_MAX: usize = 256;

/// How long others that die at the same time are waited for: they may be looked into one after the other.
const LONGER: Duration = Duration::from_secs(3);

/// The pause after a notification: what dies meanwhile is in the next one.
const PAUSE: Duration = Duration::from_secs(10);

/// How long the bus and whoever shows notifications may take.
const SHOW_MAX: Duration = Duration::from_secs(10);

/// How many deaths one notification names.
const NAMED_MAX: usize = 4;

#[proxy(
    interface = "org.freedesktop.Notifications",
    default_service = "org.freedesktop.Notifications",
    default_path = "/org/freedesktop/Notifications"
)]
trait Notifications {
    fn get_capabilities(&self) -> zbus::Result<Vec<String>>;
    #[expect(clippy::too_many_arguments, reason = "the specification has them")]
    fn notify(
        &self,
        app_name: &str,
        replaces_id: u32,
        app_icon: &str,
        summary: &str,
        body: &str,
        actions: &[&str],
        hints: HashMap<&str, Variant<'_>>,
        expire_timeout: i32,
    ) -> zbus::Result<u32>;
}

/// Starts to notify of what is sent.
pub(super) fn start() -> Sender<Arc<Bulletin>> {
    let (into, inbox) = channel(QUEUE_MAX);
    tokio::spawn(run(inbox));
    into
}

async fn run(mut inbox: Receiver<Arc<Bulletin>>) {
    while let Some(deaths) = burst::next(&mut inbox, LONGER).await {
        match timeout(SHOW_MAX, show(&deaths)).await {
            Ok(Ok(true)) => sleep(PAUSE).await,
            Ok(Ok(false)) => debug!("nobody here shows notifications"),
            Ok(Err(error)) => debug!(%error, "no notification was shown"),
            Err(_) => debug!("whoever shows notifications does not answer"),
        }
    }
}

/// Shows one notification. False when there is nobody who would: a service that bus activation could start has no
/// screen to show anything on when it does not run already, as on a machine that one reaches over ssh.
async fn show(deaths: &[Arc<Bulletin>]) -> zbus::Result<bool> {
    let bus = crate::systemd::user_bus().await?;
    if !DBusProxy::new(&bus).await?.name_has_owner(BusName::try_from(NAME)?).await? {
        return Ok(false);
    }
    let service = NotificationsProxy::new(&bus).await?;
    let markup = service.get_capabilities().await?.iter().any(|word| word == "body-markup");
    let (summary, body) = (summary(deaths), body(deaths, markup));
    // 1 is "normal".
    let hints = HashMap::from([("urgency", Variant::from(1u8))]);
    service.notify("agent-keeper", 0, "utilities-terminal", &summary, &body, &[], hints, -1).await?;
    Ok(true)
}

fn summary(deaths: &[Arc<Bulletin>]) -> String {
    match deaths {
        [one] => format!("tmux: {} died", one.subject()),
        many => format!("tmux: {} things died", many.len()),
    }
}

/// Returns the text. Whoever understands markup would take a `<` of ours for some.
fn body(deaths: &[Arc<Bulletin>], markup: bool) -> String {
    let mut lines: Vec<String> =
        deaths.iter().take(NAMED_MAX).map(|death| format!("{}.", death.sentence)).collect();
    if deaths.len() > NAMED_MAX {
        lines.push(format!("And {} more.", deaths.len() - NAMED_MAX));
    }
    lines.push(match deaths {
        [one] if one.incident.number > 0 => format!("More: keeperctl why {}", one.incident.number),
        _ => "More: keeperctl why --all".to_owned(),
    });
    let text = lines.join("\n");
    if markup { text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;

    #[test]
    fn a_burst_is_one_notification_that_names_the_first() {
        let deaths: Vec<_> = (1..=6).map(|n| Bulletin::of(sample::incident(n, &format!("<w{n}>")))).collect();
        assert_eq!(summary(&deaths), "tmux: 6 things died");
        let text = body(&deaths, true);
        assert_eq!(text.lines().count(), NAMED_MAX + 2);
        assert!(text.contains("session &lt;w1&gt; ended") && text.contains("And 2 more."), "{text}");
        assert_eq!(summary(&deaths[..1]), "tmux: session died");
        assert!(body(&deaths[..1], false).ends_with("More: keeperctl why 1"));
        assert!(body(&deaths[..1], false).contains("session <w1> ended"));
    }
}
