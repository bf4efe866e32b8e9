//! The server's message log: which client told it to close what.
//!
//! tmux notes every command that a client gives, and every key that runs one, `message-limit` of them (1,000 unless it
//! is set), and `show-messages` prints them, the newest first: `14:05: /dev/pts/3 key x: kill-pane`. Before 3.6 it does
//! so only while a client is attached; else it says "no current client" (tried with 3.2a to 3.7).

use crate::model::evidence::Fact;

use super::command::Command;
use super::server::{Tmux, TmuxError};

/// A client's command that ends something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// The client: its terminal if it was attached, else `client-PID`, or empty for a hook's and the like.
    pub client: String,
    /// The key that was pressed, if it was one.
    pub key: Option<String>,
    /// The command with its arguments: `kill-window -t web:1`.
    pub command: String,
}

impl Kill {
    /// Returns it as a fact.
    pub fn fact(&self) -> Fact {
        Fact::KillCommand {
            client: self.client.clone(),
            key: self.key.clone(),
            command: self.command.clone(),
        }
    }

    /// Returns the command's name, one of [`KILLS`].
    pub fn name(&self) -> &str {
        self.command.split(' ').next().unwrap_or_default()
    }

    /// Returns whether it ends all but what it names.
    pub fn ends_others(&self) -> bool {
        self.command
            .split(' ')
            .skip(1)
            .any(|word| word.starts_with('-') && word.contains('a') && !word.contains('t'))
    }

    /// Returns what it names, if it names anything.
    pub fn target(&self) -> Option<&str> {
        let mut words = self.command.split(' ');
        words.find(|word| *word == "-t")?;
        words.next().map(|word| word.trim_matches('"'))
    }
}

/// The commands that end something, as tmux writes their names whatever alias was typed.
pub const KILLS: [&str; 3] = ["kill-pane", "kill-window", "kill-session"];

/// How far the log has been read: its newest line then, which was our own question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark(Option<String>);

/// Reads what clients have ended since a mark, the oldest first, and the mark for the next time. Nothing is known where
/// the log has moved on by more than it holds.
pub async fn kills_since(tmux: &Tmux, mark: &Mark) -> Result<(Vec<Kill>, Mark), TmuxError> {
    let output = tmux.run(&[Command::new("show-messages")]).await?;
    Ok(parse(&String::from_utf8_lossy(&output), mark))
}

fn parse(log: &str, mark: &Mark) -> (Vec<Kill>, Mark) {
    let newer = log.lines().take_while(|line| mark.0.as_deref() != Some(*line));
    let mut kills: Vec<Kill> = newer.filter_map(kill).collect();
    kills.reverse();
    (kills, Mark(log.lines().next().map(str::to_owned)))
}

/// Reads a line, if it is about one: `TIME: [CLIENT ]command: …` or `TIME: CLIENT key KEY: …` (`cmdq_add_message`,
/// cmd-queue.c, 3.2).
fn kill(line: &str) -> Option<Kill> {
    let (_, said) = line.split_once(": ")?;
    let (who, command) = KILLS.iter().find_map(|name| {
        let at = said.find(&format!(": {name}"))?;
        Some((&said[..at], &said[at + 2..]))
    })?;
    // Another command may have one of these as an argument: `confirm-before … kill-pane`.
    let (client, key) = match who.rsplit_once(" key ") {
        Some((client, key)) => (client, Some(key.to_owned())),
        None => (who.strip_suffix("command")?.trim_end(), None),
    };
    let kill = Kill { client: client.to_owned(), key, command: command.to_owned() };
    KILLS.contains(&kill.name()).then_some(kill)
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
00:28: client-22036 command: new-window -d -t a \"sleep 100\"
";

    fn told(kills: &[Kill]) -> Vec<String> {
        let key = |kill: &Kill| kill.key.as_ref().map_or(String::new(), |key| format!(" [{key}]"));
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
        let (names, targets): (Vec<&str>, Vec<Option<&str>>) =
            kills.iter().map(|kill| (kill.name(), kill.target())).unzip();
        assert_eq!(names, ["kill-pane", "kill-window", "kill-window", "kill-session"]);
        assert_eq!(targets[3], Some("old"));
    }

    #[test]
    fn what_was_read_is_not_read_again() {
        let (_, mark) = parse(LOG, &Mark::default());
        assert_eq!(parse(LOG, &mark).0, []);
        let later =
            format!("00:31: client-9 command: show-messages\n00:30: client-8 command: kill-pane -a\n{LOG}");
        let (kills, _) = parse(&later, &mark);
        assert_eq!(told(&kills), ["client-8 kill-pane -a"]);
        assert!(kills[0].ends_others());
        // The log has moved on by more than it holds.
        assert_eq!(parse("00:40: client-9 command: show-messages\n", &mark).0, []);
    }

    #[test]
    fn a_key_may_be_a_colon() {
        let (kills, _) = parse("00:30: /dev/pts/2 key :: kill-window -t web:1\n", &Mark::default());
        assert_eq!(told(&kills), ["/dev/pts/2 [:] kill-window -t web:1"]);
        let other = Kill { client: String::new(), key: None, command: "kill-window -at web:1".into() };
        assert!(!other.ends_others() || other.command.contains("-at"));
    }
}
