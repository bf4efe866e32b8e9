//! Tells a person who is attached what has happened, in one line where tmux shows its own messages.

use jiff::{Timestamp, Zoned};
use tracing::{debug, info};

use crate::cause::in_words;
use crate::model::incident::{Cause, Confidence, Incident};
use crate::model::plural;
use crate::tmux::command::Command;
use crate::tmux::version::Version;
use crate::tmux::{Tmux, TmuxError};

use super::event::Greeting;
use super::worker::Worker;

/// How long the line stays, in milliseconds; any key takes it away, and is not lost. Before 3.6 tmux does not draw
/// what panes print meanwhile (`display-message -C`, tmux(1)).
const SHOWN_FROZEN_MS: u32 = 5_000;
const SHOWN_MS: u32 = 15_000;

/// One line for each client; the name last, as it may hold anything.
const CLIENT: &str = "#{client_control_mode}\t#{client_created}\t#{client_width}\t#{version}\t#{client_name}";

/// An attached client.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Client {
    control_mode: bool,
    created: i64,
    width: usize,
    version: String,
    name: String,
}

impl Worker {
    /// Tells the first person who is attached. Returns whether there was one.
    pub(super) async fn greet(&self, greeting: &Greeting) -> bool {
        match greet(&self.tmux, greeting).await {
            Ok(Some(client)) => {
                info!(client, "told what was restored");
                true
            }
            Ok(None) => false,
            // It has left meanwhile, most likely.
            Err(error) => {
                debug!("nobody was told what was restored: {}", in_words(error));
                false
            }
        }
    }
}

async fn greet(tmux: &Tmux, greeting: &Greeting) -> Result<Option<String>, TmuxError> {
    let answer = tmux.run(&[Command::new("list-clients").arg("-F").arg(CLIENT)]).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let clients: Vec<Client> = answer.lines().filter_map(parse).collect();
    let people = clients.iter().filter(|client| !client.control_mode);
    let Some(first) = people.min_by_key(|client| client.created) else { return Ok(None) };
    let since = |minor| Version::parse(&first.version).is_none_or(|v| (v.major, v.minor) >= (3, minor));
    let mut show = Command::new("display-message");
    if since(3) {
        show = show.flag("-c", &first.name);
    } else if clients.iter().any(|client| client.control_mode) {
        // 3.2a takes no value for -c, and chooses the client that was active last: it must be a person's.
        return Ok(None);
    }
    if since(6) {
        show = show.arg("-C");
    }
    let time = if since(6) { SHOWN_MS } else { SHOWN_FROZEN_MS };
    let line = line(greeting, &Zoned::now(), first.width);
    tmux.run(&[show.flag("-d", time).literal(line.as_bytes())]).await?;
    Ok(Some(first.name.clone()))
}

fn parse(line: &str) -> Option<Client> {
    let fields: Vec<&str> = line.splitn(5, '\t').collect();
    let [control_mode, created, width, version, name] = fields[..] else { return None };
    Some(Client {
        control_mode: control_mode == "1",
        created: created.parse().ok()?,
        width: width.parse().ok()?,
        version: version.to_owned(),
        name: name.to_owned(),
    })
}

/// Returns the fullest line that fits.
fn line(greeting: &Greeting, now: &Zoned, width: usize) -> String {
    let Greeting { death, sessions, complete } = greeting;
    let (is, part) =
        (if *sessions == 1 { "is" } else { "are" }, if *complete { "" } else { ", not all of it" });
    let back = format!("{} {is} back{part}", plural(*sessions, "session"));
    let what = death
        .as_deref()
        .map_or_else(String::new, |death| format!("{}, {}; ", what(death), clock(death.at, now)));
    let lines = [
        format!("agent-keeper: {what}{back}. More: keeperctl why"),
        format!("{what}{back}. More: keeperctl why"),
        format!("{what}see: keeperctl why"),
    ];
    let shortest = "see: keeperctl why".to_owned();
    lines.into_iter().find(|line| line.chars().count() <= width).unwrap_or(shortest)
}

/// Returns a time as one says it on that day.
fn clock(at: Timestamp, now: &Zoned) -> String {
    let at = at.to_zoned(now.time_zone().clone());
    let form = if at.date() == now.date() { "%H:%M" } else { "%a %-d %b %H:%M" };
    at.strftime(form).to_string()
}

/// Returns what happened to a server in a few words, without the user's.
fn what(death: &Incident) -> String {
    let finding = &death.verdict.finding;
    let cause = match finding.cause {
        Cause::Shutdown => "the machine was shut down",
        Cause::PowerLoss => "the machine lost power or crashed",
        Cause::KilledAtLogout => "logind ended tmux at logout",
        Cause::ManagerStopped => "your systemd manager stopped",
        Cause::OomdKill => "systemd-oomd killed tmux",
        Cause::OomKill => "the kernel killed tmux (memory)",
        Cause::UnitStopped => "systemd was told to stop tmux",
        Cause::ServerCrashed => "tmux crashed",
        Cause::ServerKilled => "tmux was killed",
        Cause::ClosedByUser => "tmux was told to end",
        Cause::LastSession => "the last session ended",
        Cause::SocketLost
        | Cause::Upgraded
        | Cause::StartLimitHit
        | Cause::ProgramFailed
        | Cause::ProgramKilled
        | Cause::TerminalClosed
        | Cause::Unknown => return "tmux ended, nothing tells why".to_owned(),
    };
    match finding.confidence {
        Confidence::Certain => cause.to_owned(),
        Confidence::Likely => format!("probably {cause}"),
        Confidence::Possible | Confidence::None => format!("perhaps {cause}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use jiff::tz::TimeZone;

    use crate::model::sample;

    fn greeting(sessions: usize, complete: bool) -> Greeting {
        let mut death = sample::incident(7, "web");
        death.verdict.finding.cause = Cause::ServerKilled;
        death.verdict.finding.confidence = Confidence::Likely;
        Greeting { death: Some(Box::new(death)), sessions, complete }
    }

    #[test]
    fn the_line_is_as_full_as_there_is_room() {
        let now = Timestamp::from_second(7200).unwrap().to_zoned(TimeZone::UTC);
        let full = "agent-keeper: probably tmux was killed, 00:00; 2 sessions are back. More: keeperctl why";
        assert_eq!(line(&greeting(2, true), &now, full.len()), full);
        let at_80 = "probably tmux was killed, 00:00; 2 sessions are back. More: keeperctl why";
        assert_eq!(line(&greeting(2, true), &now, 80), at_80);
        let in_part = "probably tmux was killed, 00:00; see: keeperctl why";
        assert_eq!(line(&greeting(1, false), &now, 80), in_part);
        assert_eq!(line(&greeting(1, false), &now, 10), "see: keeperctl why");
        let unknown = Greeting { death: None, sessions: 1, complete: true };
        assert_eq!(line(&unknown, &now, 80), "agent-keeper: 1 session is back. More: keeperctl why");
        let later = Timestamp::from_second(90_000).unwrap().to_zoned(TimeZone::UTC);
        assert!(line(&greeting(2, true), &later, 200).contains("killed, Thu 1 Jan 00:00; "));
    }

    #[test]
    fn every_cause_fits_a_terminal_of_80_columns() {
        let now = Timestamp::from_second(90_000).unwrap().to_zoned(TimeZone::UTC);
        for cause in Cause::ALL {
            let mut greeting = greeting(12, false);
            greeting.death.iter_mut().for_each(|death| death.verdict.finding.cause = cause);
            let line = line(&greeting, &now, 80);
            assert!(line.contains("Thu 1 Jan") && line.contains("keeperctl why"), "{line}");
        }
    }

    #[test]
    fn clients_are_read() {
        let client = parse("0\t1795253899\t80\t3.3a\t/dev/pts/3").unwrap();
        assert_eq!((client.width, client.name.as_str(), client.control_mode), (80, "/dev/pts/3", false));
        assert!(parse("1\t1\t\t3.3a\tclient-7").is_none_or(|client| client.control_mode));
        assert_eq!(parse("garbage"), None);
    }
}
