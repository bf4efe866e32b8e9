//! What we ask a server about itself, and the parser of what it answers: each format string stands
//! beside the reader of its lines.
//!
//! Values that users choose are printed behind their length (`#{n:name}:#{name}`), so that a tab, a
//! newline or anything else in them cannot be taken for a separator.

use crate::model::{PaneId, SessionId, WindowId};

use super::command::Command;
use super::escape::{encodes, split_printed, undo_3_4};

/// How many lines of an answer are read; a server with more panes than this is refused, not cut.
const ROWS_MAX: usize = 20_000;

const SERVER: &str = "V\t#{pid}\t#{start_time}\t#{version}";

const SESSION: &str = "S\t#{session_id}\t#{session_created}\t#{session_attached}\t\
    #{n:session_name}:#{session_name}\t#{n:session_group}:#{session_group}\t\
    #{n:session_path}:#{session_path}";

const CLIENT: &str = "C\t#{session_id}\t#{client_pid}\t#{client_control_mode}\t#{client_tty}";

const PANE: &str = "P\t#{session_id}\t#{window_id}\t#{window_index}\t#{window_active}\t#{window_last_flag}\t\
    #{automatic-rename}\t#{window_zoomed_flag}\t#{window_width}\t#{window_height}\t#{window_layout}\t\
    #{window_activity}\t#{pane_id}\t#{pane_index}\t#{pane_active}\t#{pane_last}\t#{pane_pid}\t\
    #{pane_dead}\t#{pane_dead_status}\t#{pane_dead_signal}\t#{pane_marked}\t#{alternate_on}\t#{history_size}\t#{cursor_y}\t#{cursor_x}\t\
    #{==:#{@keeper-scrollback},off}\t#{n:window_name}:#{window_name}\t#{n:pane_title}:#{pane_title}\t\
    #{n:pane_start_path}:#{pane_start_path}";

/// An answer that is not what tmux prints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A line does not have the fields it was asked for.
    #[error("unexpected line from tmux: {line:?} ({what})")]
    Line {
        /// What is wrong with it.
        what: &'static str,
        /// The line, cut.
        line: String,
    },
    /// The server's own line is missing.
    #[error("tmux did not say which server it is")]
    NoServer,
    /// There is more than we are prepared to look at.
    #[error("the server has more than {ROWS_MAX} panes")]
    TooMany,
}

/// Everything a server said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub pid: u32,
    /// When the server started, in seconds since the epoch.
    pub began: i64,
    pub version: String,
    pub sessions: Vec<SessionRow>,
    pub clients: Vec<ClientRow>,
    pub panes: Vec<PaneRow>,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    pub id: SessionId,
    pub created: i64,
    pub attached: u32,
    pub name: Vec<u8>,
    pub group: Vec<u8>,
    pub directory: Vec<u8>,
}

/// One client that is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRow {
    pub session: SessionId,
    pub pid: u32,
    /// Whether it is a program (tmux(1), CONTROL MODE).
    pub control_mode: bool,
    /// The device; empty for what has none.
    pub terminal: String,
}

/// One pane, as seen through one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaneRow {
    pub session: SessionId,
    pub window: WindowRow,
    pub id: PaneId,
    pub index: u32,
    pub active: bool,
    pub last: bool,
    pub pid: u32,
    pub dead: bool,
    /// `None` while it runs, when it was killed, and when tmux has missed its end.
    pub exit_status: Option<u8>,
    /// 0 for none, and before 3.3 always.
    pub exit_signal: u8,
    pub marked: bool,
    pub alternate: bool,
    pub history: u64,
    pub cursor: (u64, u64),
    /// Whether the user's option `@keeper-scrollback` is `off` for it, its window, its session or globally.
    pub scrollback_off: bool,
    pub title: Vec<u8>,
    pub start_directory: Vec<u8>,
}

/// The window that a pane is in; the same in all rows of its panes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowRow {
    pub id: WindowId,
    pub index: u32,
    pub active: bool,
    pub last: bool,
    pub automatic_rename: bool,
    pub zoomed: bool,
    pub width: u32,
    pub height: u32,
    pub layout: String,
    pub activity: i64,
    pub name: Vec<u8>,
}

/// Returns the commands whose output `parse` reads. The last fails on a server without sessions, and
/// says nothing; the others' output is complete by then.
pub fn commands() -> [Command; 4] {
    [
        Command::new("display-message").arg("-p").arg(SERVER),
        Command::new("list-sessions").arg("-F").arg(SESSION),
        Command::new("list-clients").arg("-F").arg(CLIENT),
        Command::new("list-panes").arg("-a").arg("-F").arg(PANE),
    ]
}

/// Reads what `commands` printed.
pub fn parse(output: &[u8]) -> Result<Answer, ParseError> {
    let mut server = None;
    let mut sessions = Vec::new();
    let mut clients = Vec::new();
    let mut panes = Vec::new();
    let version = version_in(output);
    let (output, encoded) = (undo_3_4(output, version), encodes(version));
    let mut rest = output.as_slice();
    while !rest.is_empty() {
        let mut row = Row { start: rest, rest, encoded };
        match row.field()? {
            "V" => server = Some((row.number()?, row.number()?, row.last_field()?.to_owned())),
            "S" => sessions.push(row.session()?),
            "C" => clients.push(row.client()?),
            "P" => panes.push(row.pane()?),
            _ => return Err(row.error("unknown kind of line")),
        }
        rest = row.rest;
        if panes.len() + sessions.len() + clients.len() > ROWS_MAX {
            return Err(ParseError::TooMany);
        }
    }
    let (pid, began, version) = server.ok_or(ParseError::NoServer)?;
    Ok(Answer { pid, began, version, sessions, clients, panes })
}

/// Returns the version that the server's own line, the first one, names.
fn version_in(output: &[u8]) -> &str {
    let line = output.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let version = line.rsplit(|byte| *byte == b'\t').next().unwrap_or_default();
    str::from_utf8(version).unwrap_or_default()
}

/// Returns whether a row can begin here, or there is no other.
fn begins_row(rest: &[u8]) -> bool {
    rest.is_empty() || [b"S\t", b"C\t", b"P\t"].iter().any(|kind| rest.starts_with(*kind))
}

/// A line that is being read from left to right.
struct Row<'a> {
    start: &'a [u8],
    rest: &'a [u8],
    /// Whether control characters in its values are encoded.
    encoded: bool,
}

impl<'a> Row<'a> {
    fn error(&self, what: &'static str) -> ParseError {
        let line = &self.start[..self.start.len().min(200)];
        ParseError::Line { what, line: String::from_utf8_lossy(line).into_owned() }
    }

    fn until(&mut self, end: u8) -> Result<&'a str, ParseError> {
        let at = self.rest.iter().position(|b| *b == end).ok_or_else(|| self.error("a field is missing"))?;
        let (field, rest) = self.rest.split_at(at);
        self.rest = &rest[1..];
        str::from_utf8(field).map_err(|_| self.error("not text"))
    }

    fn field(&mut self) -> Result<&'a str, ParseError> {
        self.until(b'\t')
    }

    fn last_field(&mut self) -> Result<&'a str, ParseError> {
        self.until(b'\n')
    }

    /// Numbers that tmux leaves empty (`pane_pid` of an empty pane, flags that are off) are 0.
    fn number<T: std::str::FromStr + Default>(&mut self) -> Result<T, ParseError> {
        match self.field()? {
            "" => Ok(T::default()),
            digits => digits.parse().map_err(|_| self.error("a number was expected")),
        }
    }

    fn optional<T: std::str::FromStr>(&mut self) -> Result<Option<T>, ParseError> {
        match self.field()? {
            "" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| self.error("a number was expected")),
        }
    }

    fn flag(&mut self) -> Result<bool, ParseError> {
        Ok(self.number::<u32>()? != 0)
    }

    fn id<T: std::str::FromStr>(&mut self) -> Result<T, ParseError> {
        self.field()?.parse().map_err(|_| self.error("an id was expected"))
    }

    /// Reads `LENGTH:VALUE` and the separator behind it. Names and titles are stored without control characters, and
    /// what looks like an encoded one in them is their own; only directories, which end a row, can hold any.
    fn value(&mut self, end: u8) -> Result<Vec<u8>, ParseError> {
        let length = self.until(b':')?.parse().map_err(|_| self.error("a length was expected"))?;
        let ends =
            |rest: &[u8]| rest.strip_prefix(&[end]).is_some_and(|rest| end != b'\n' || begins_row(rest));
        let (value, rest) = split_printed(self.rest, length, self.encoded && end == b'\n', ends)
            .ok_or_else(|| self.error("a value does not have the length it was announced with"))?;
        self.rest = &rest[1..];
        Ok(value)
    }

    fn session(&mut self) -> Result<SessionRow, ParseError> {
        Ok(SessionRow {
            id: self.id()?,
            created: self.number()?,
            attached: self.number()?,
            name: self.value(b'\t')?,
            group: self.value(b'\t')?,
            directory: self.value(b'\n')?,
        })
    }

    fn client(&mut self) -> Result<ClientRow, ParseError> {
        Ok(ClientRow {
            session: self.id()?,
            pid: self.number()?,
            control_mode: self.flag()?,
            terminal: self.last_field()?.to_owned(),
        })
    }

    fn pane(&mut self) -> Result<PaneRow, ParseError> {
        let session = self.id()?;
        let mut window = self.window()?;
        let mut pane = PaneRow {
            session,
            id: self.id()?,
            index: self.number()?,
            active: self.flag()?,
            last: self.flag()?,
            pid: self.number()?,
            dead: self.flag()?,
            exit_status: self.optional()?,
            exit_signal: self.number()?,
            marked: self.flag()?,
            alternate: self.flag()?,
            history: self.number()?,
            cursor: (self.number()?, self.number()?),
            scrollback_off: self.flag()?,
            window: window.clone(),
            title: Vec::new(),
            start_directory: Vec::new(),
        };
        window.name = self.value(b'\t')?;
        pane.window = window;
        pane.title = self.value(b'\t')?;
        pane.start_directory = self.value(b'\n')?;
        Ok(pane)
    }

    fn window(&mut self) -> Result<WindowRow, ParseError> {
        Ok(WindowRow {
            id: self.id()?,
            index: self.number()?,
            active: self.flag()?,
            last: self.flag()?,
            automatic_rename: self.flag()?,
            zoomed: self.flag()?,
            width: self.number()?,
            height: self.number()?,
            layout: self.field()?.to_owned(),
            activity: self.number()?,
            name: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANSWER: &str = "V\t10251\t1763800000\t3.3a\n\
        S\t$0\t1795253899\t1\t3:web\t0:\t4:/tmp\n\
        C\t$0\t4712\t0\t/dev/pts/3\n\
        P\t$0\t@0\t0\t1\t0\t1\t0\t80\t24\tb25d,80x24,0,0,0\t1795253899\t%0\t0\t1\t0\t4711\t0\t\t\t0\t0\t12\t5\t0\t0\t4:bash\t2:vm\t4:/tmp\n";

    #[test]
    fn an_answer_of_a_real_server() {
        let answer = parse(ANSWER.as_bytes()).unwrap();
        assert_eq!((answer.pid, answer.version.as_str()), (10251, "3.3a"));
        assert_eq!(answer.sessions[0].name, b"web");
        let client = &answer.clients[0];
        assert_eq!((client.pid, client.control_mode, client.terminal.as_str()), (4712, false, "/dev/pts/3"));
        let pane = &answer.panes[0];
        assert_eq!((pane.pid, pane.history, pane.cursor), (4711, 12, (5, 0)));
        assert_eq!(pane.window.name, b"bash");
        assert!(pane.window.automatic_rename && pane.active && !pane.last);
    }

    #[test]
    fn names_may_hold_every_separator() {
        let text = ANSWER.replace("3:web", "9:w\tb\nP\t$1:").replace("2:vm", "5:a:b:c");
        let answer = parse(text.as_bytes()).unwrap();
        assert_eq!(answer.sessions[0].name, b"w\tb\nP\t$1:");
        assert_eq!(answer.panes[0].title, b"a:b:c");
    }

    #[test]
    fn a_directory_may_hold_what_looks_like_its_end() {
        let printed = b"d\\033a\nbc";
        for (version, length, expected) in [("3.5a", 6, &b"d\x1ba\nbc"[..]), ("3.3a", 9, printed)] {
            let answer = ANSWER.replace("3.3a", version);
            let before = answer.strip_suffix("4:/tmp\n").unwrap();
            let text = [before.as_bytes(), format!("{length}:").as_bytes(), printed, b"\n"].concat();
            assert_eq!(parse(&text).unwrap().panes[0].start_directory, expected, "{version}");
        }
    }

    #[test]
    fn a_name_that_is_stored_encoded_is_read_as_it_is_stored() {
        for version in ["3.3a", "3.4", "3.5a", "3.7"] {
            let text = format!("V\t1\t7\t{version}\nS\t$0\t7\t0\t8:a\\tb\\033\t0:\t10:/work/main\n");
            let answer = parse(text.as_bytes()).unwrap();
            assert_eq!(answer.sessions[0].name, br"a\tb\033", "{version}");
        }
    }

    #[test]
    fn a_broken_answer_names_the_line() {
        let cut = &ANSWER[..ANSWER.len() - 3];
        for text in [cut, "X\tx\n", "V\tx\t3\n", "S\t$0\n", ""] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(noise in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..200) {
            let _ = parse(&noise);
            let mut mixed = ANSWER.as_bytes().to_vec();
            mixed.splice(at.min(mixed.len()).., noise);
            let _ = parse(&mixed);
        }
    }
}
