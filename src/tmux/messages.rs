//! The server's message log: which client told it to close what.
//!
//! tmux notes every command that a client gives, and every key that runs one, `message-limit` of them (1,000 unless it
//! is set), and `show-messages` prints them, the newest first: `14:05: /dev/pts/3 key x: kill-pane`. Before 3.6 it does
//! so only while a client is attached; else it says "no current client" (tried with 3.2a to 3.7).

use crate::model::evidence::KillCommand;

use super::command::Command;
use super::server::{Tmux, TmuxError};

/// The commands that end something, as tmux writes their names whatever alias was typed.
const KILLS: [&str; 3] = ["kill-pane", "kill-window", "kill-session"];

/// How old a command may be to count, in minutes of the server's clock: whoever asks does so within seconds.
const AGE_MAX: u32 = 1;

/// How far the log has been read: its newest line then, which was our own question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark(Option<String>);

/// Reads what clients have ended lately and since a mark, the oldest first, and the mark for the next time.
pub async fn kills_since(tmux: &Tmux, mark: &Mark) -> Result<(Vec<KillCommand>, Mark), TmuxError> {
    let output = tmux.run(&[Command::new("show-messages")]).await?;
    Ok(parse(&String::from_utf8_lossy(&output), mark))
}

fn parse(log: &str, mark: &Mark) -> (Vec<KillCommand>, Mark) {
    let newest = log.lines().next();
    let now = newest.and_then(minute);
    let lately =
        |line: &&str| minute(line).zip(now).is_some_and(|(then, now)| (1440 + now - then) % 1440 <= AGE_MAX);
    let newer = log.lines().take_while(|line| mark.0.as_deref() != Some(*line));
    let mut kills: Vec<KillCommand> = newer.filter(lately).filter_map(kill).collect();
    kills.reverse();
    (kills, Mark(newest.map(str::to_owned)))
}

/// Returns the minute of its day in which a line was written.
fn minute(line: &str) -> Option<u32> {
    let (hours, minutes) = line.get(..5)?.split_once(':')?;
    Some(hours.parse::<u32>().ok()? * 60 + minutes.parse::<u32>().ok()?).filter(|minute| *minute < 1440)
}

/// Reads a line, if it is about one: `TIME: [CLIENT ]command: …` or `TIME: CLIENT key KEY: …` (`cmdq_add_message`,
/// cmd-queue.c, 3.2).
fn kill(line: &str) -> Option<KillCommand> {
    let (_, said) = line.split_once(": ")?;
    // Another command may have one of these as an argument: `confirm-before … kill-pane`.
    let (who, command) = KILLS.iter().find_map(|name| {
        let (who, _) = said.split_once(&format!(": {name}"))?;
        Some((who, &said[who.len() + 2..]))
    })?;
    let name = command.split(' ').next().unwrap_or_default();
    let (client, key) = match who.rsplit_once(" key ") {
        Some((client, key)) => (client, Some(key.to_owned())),
        None => (who.strip_suffix("command")?.trim_end(), None),
    };
    KILLS.contains(&name).then(|| KillCommand { client: client.to_owned(), key, command: command.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As 3.2a, 3.3a and 3.7c print it.
    const LOG: &str = "\
00:30: client-22313 command: show-messages
00:29: command: kill-session -t old
00:29: /dev/pts/2 key &: kill-window
00:29: /dev/pts/2 key &: confirm-before -p \"kill-window #W? (y/n)\" kill-window
00:29: client-77 command: kill-window -t \"my work:1\"
00:29: /dev/pts/2 key :: command-prompt
00:29: /dev/pts/2 command: kill-pane
00:29: client-70 command: list-panes -F \"kill-pane\"
00:28: client-22036 command: kill-pane
00:28: client-22036 command: new-window -d -t a \"sleep 100\"
";

    fn told(kills: &[KillCommand]) -> Vec<String> {
        let key = |kill: &KillCommand| kill.key.as_ref().map_or(String::new(), |key| format!(" [{key}]"));
        kills.iter().map(|kill| format!("{}{} {}", kill.client, key(kill), kill.command)).collect()
    }

    #[test]
    fn commands_that_end_something_are_found_with_whoever_gave_them() {
        let (kills, mark) = parse(LOG, &Mark::default());
        assert_eq!(
            told(&kills),
            [
                "/dev/pts/2 kill-pane",
                "client-77 kill-window -t \"my work:1\"",
                "/dev/pts/2 [&] kill-window",
                " kill-session -t old"
            ]
        );
        assert_eq!(mark, Mark(Some("00:30: client-22313 command: show-messages".into())));
    }

    #[test]
    fn what_was_read_is_not_read_again_nor_what_is_old() {
        let (_, mark) = parse(LOG, &Mark::default());
        assert_eq!(parse(LOG, &mark).0, []);
        let later =
            format!("00:31: client-9 command: show-messages\n00:30: client-8 command: kill-pane -a\n{LOG}");
        assert_eq!(told(&parse(&later, &mark).0), ["client-8 kill-pane -a"]);
        assert_eq!(parse(&format!("00:40: client-9 command: show-messages\n{LOG}"), &Mark::default()).0, []);
        let midnight = "00:00: client-9 command: show-messages\n23:59: client-8 command: kill-pane\n";
        assert_eq!(told(&parse(midnight, &Mark::default()).0), ["client-8 kill-pane"]);
        assert_eq!(parse("", &mark), (Vec::new(), Mark(None)));
    }

    #[test]
    fn a_key_may_be_a_colon() {
        let (kills, _) = parse("00:30: /dev/pts/2 key :: kill-window -t web:1\n", &Mark::default());
        assert_eq!(told(&kills), ["/dev/pts/2 [:] kill-window -t web:1"]);
    }
}
