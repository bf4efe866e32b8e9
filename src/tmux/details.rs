//! What no format shows: options that are set for one session, window or pane, the global ones, and the
//! environments of sessions.
//!
//! They are printed by `show-options` and `show-environment`, one section per place, and each section is
//! announced by a line of ours. tmux quotes what it prints so that it could read it again (`args_escape` in
//! arguments.c, the same from 3.2a to 3.8); here that is undone.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::model::{ByteString, GlobalOptions, Options, PaneId, ServerId, SessionId, Variable, WindowId};

use super::command::Command;
use super::escape::{undo_3_4, unvis};
use super::version::Version;
use super::{Tmux, TmuxError};

/// How many bytes of arguments one client may have: tmux refuses more than 16 KiB (`MAX_IMSGSIZE`).
const ARGUMENT_BYTES_MAX: usize = 14 * 1024;

/// What begins the line that announces a section; no option or variable is called like that.
const ANNOUNCE: char = '=';

/// How old what is known of the details may be when nothing else shows that they have changed: nothing does
/// show it, and asking costs as much as all the rest of a look.
const AGE_MAX: Duration = Duration::from_secs(5);

/// What a server has set where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Options of sessions.
    pub sessions: HashMap<SessionId, Options>,
    /// Environments of sessions.
    pub environments: HashMap<SessionId, BTreeMap<String, Variable>>,
    /// Options of windows.
    pub windows: HashMap<WindowId, Options>,
    /// Options of panes.
    pub panes: HashMap<PaneId, Options>,
    /// Options that hold everywhere.
    pub globals: GlobalOptions,
}

/// A place that has options of its own, or an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// `show-options -s`
    Server,
    /// `show-options -g`
    GlobalSession,
    /// `show-options -g -w`
    GlobalWindow,
    /// A session's options.
    Session(SessionId),
    /// A session's environment; the part that only formats see has a list of its own.
    Environment {
        /// Which session.
        session: SessionId,
        /// Which part.
        hidden: bool,
    },
    /// A window's options.
    Window(WindowId),
    /// A pane's options.
    Pane(PaneId),
}

impl Section {
    /// Returns the line that announces the section.
    fn title(self) -> String {
        match self {
            Section::Server => format!("{ANNOUNCE}s 0"),
            Section::GlobalSession => format!("{ANNOUNCE}g 0"),
            Section::GlobalWindow => format!("{ANNOUNCE}w 0"),
            Section::Session(SessionId(id)) => format!("{ANNOUNCE}S {id}"),
            Section::Environment { session: SessionId(id), hidden: false } => format!("{ANNOUNCE}E {id}"),
            Section::Environment { session: SessionId(id), hidden: true } => format!("{ANNOUNCE}H {id}"),
            Section::Window(WindowId(id)) => format!("{ANNOUNCE}W {id}"),
            Section::Pane(PaneId(id)) => format!("{ANNOUNCE}P {id}"),
        }
    }

    fn of_title(title: &str) -> Option<Self> {
        let (kind, id) = title.strip_prefix(ANNOUNCE)?.split_once(' ')?;
        let id = id.parse().ok()?;
        Some(match kind {
            "s" => Section::Server,
            "g" => Section::GlobalSession,
            "w" => Section::GlobalWindow,
            "S" => Section::Session(SessionId(id)),
            "E" => Section::Environment { session: SessionId(id), hidden: false },
            "H" => Section::Environment { session: SessionId(id), hidden: true },
            "W" => Section::Window(WindowId(id)),
            "P" => Section::Pane(PaneId(id)),
            _ => return None,
        })
    }

    /// Returns the command that prints it. -q: what is gone by now has none.
    fn command(self, hooks: bool) -> Command {
        let options = || {
            let show = Command::new("show-options").arg("-q");
            if hooks { show.arg("-H") } else { show }
        };
        match self {
            Section::Server => options().arg("-s"),
            Section::GlobalSession => Command::new("show-options").arg("-g"),
            Section::GlobalWindow => Command::new("show-options").arg("-g").arg("-w"),
            Section::Session(id) => options().flag("-t", id),
            Section::Window(id) => options().arg("-w").flag("-t", id),
            Section::Pane(id) => options().arg("-p").flag("-t", id),
            Section::Environment { session, hidden } => {
                let show = Command::new("show-environment").arg("-s").flag("-t", session);
                if hidden { show.arg("-h") } else { show }
            }
        }
    }
}

/// What is known of a server's details, and since when.
#[derive(Debug, Default)]
pub struct Known {
    details: Details,
    /// Of which server, and of which places.
    of: (ServerId, Vec<Section>),
    read_at: Option<Instant>,
}

impl Known {
    /// Forgets when the details were read, so that they are read again.
    pub fn expire(&mut self) {
        self.read_at = None;
    }

    /// Returns the details of these places, which are read unless they are known well enough.
    pub(super) async fn get(
        &mut self,
        tmux: &Tmux,
        server: &ServerId,
        version: &str,
        sections: Vec<Section>,
    ) -> Result<&Details, TmuxError> {
        let young = self.read_at.is_some_and(|at| at.elapsed() < AGE_MAX);
        if !young || self.of.0 != *server || self.of.1 != sections {
            let mut details = Details::default();
            for batch in commands(&sections, version) {
                // What has gone since the list was made ends the batch; the next look finds another list.
                parse(&tmux.run_partly(&batch).await?, version, &mut details);
            }
            *self = Self { details, of: (server.clone(), sections), read_at: Some(Instant::now()) };
        }
        Ok(&self.details)
    }
}

/// Returns the commands that print sections, in batches that are each small enough for one client.
pub fn commands(sections: &[Section], version: &str) -> Vec<Vec<Command>> {
    // 3.2a prints the commands of a hook without the quotes within quotes, and what it prints could do
    // something else.
    let hooks = Version::parse(version).is_none_or(|version| (version.major, version.minor) >= (3, 3));
    let mut batches: Vec<Vec<Command>> = Vec::new();
    let mut used = ARGUMENT_BYTES_MAX;
    for section in sections {
        let announce = Command::new("display-message").arg("-p").arg(section.title());
        let show = section.command(hooks);
        // Each word ends in a NUL, and a semicolon stands between commands.
        let cost = announce.bytes() + show.bytes() + 4;
        if used + cost > ARGUMENT_BYTES_MAX {
            batches.push(Vec::new());
            used = 0;
        }
        used += cost;
        if let Some(batch) = batches.last_mut() {
            batch.extend([announce, show]);
        }
    }
    batches
}

/// Reads what `commands` printed into `details`. What cannot be understood is left out: an option is no
/// reason to save nothing.
pub fn parse(output: &[u8], version: &str, details: &mut Details) {
    let output = undo_3_4(output, version);
    let mut rest = output.as_slice();
    let mut section = None;
    while !rest.is_empty() {
        let line = until_newline(rest);
        if let Some(next) = str::from_utf8(line).ok().and_then(Section::of_title) {
            section = Some(next);
            details.open(next);
            rest = after(rest, line.len() + 1);
            continue;
        }
        let used = match section {
            Some(Section::Environment { session, hidden }) => match variable(rest) {
                Some((name, value, used)) => {
                    let environment = details.environments.entry(session).or_default();
                    // One that is taken away is neither seen nor hidden, whatever it was before.
                    let hidden = hidden && value.is_some();
                    environment.insert(name, Variable { value, hidden });
                    used
                }
                None => line.len() + 1,
            },
            Some(section) => {
                if let (Some(options), Some((name, value))) = (details.options(section), option(line)) {
                    options.insert(name, value);
                }
                line.len() + 1
            }
            None => line.len() + 1,
        };
        rest = after(rest, used);
    }
}

impl Details {
    fn open(&mut self, section: Section) {
        if let Section::Environment { session, .. } = section {
            self.environments.entry(session).or_default();
        }
        self.options(section);
    }

    fn options(&mut self, section: Section) -> Option<&mut Options> {
        match section {
            Section::Server => Some(&mut self.globals.server),
            Section::GlobalSession => Some(&mut self.globals.session),
            Section::GlobalWindow => Some(&mut self.globals.window),
            Section::Session(id) => Some(self.sessions.entry(id).or_default()),
            Section::Window(id) => Some(self.windows.entry(id).or_default()),
            Section::Pane(id) => Some(self.panes.entry(id).or_default()),
            Section::Environment { .. } => None,
        }
    }
}

fn until_newline(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

fn after(text: &[u8], used: usize) -> &[u8] {
    text.get(used..).unwrap_or_default()
}

/// Reads `NAME VALUE`; an array without elements has no value.
fn option(line: &[u8]) -> Option<(String, ByteString)> {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let name = str::from_utf8(&line[..end]).ok()?.to_owned();
    let first = *name.as_bytes().first()?;
    (first == b'@' || first.is_ascii_alphabetic()).then(|| (name, unquote(after(line, end + 1)).into()))
}

/// Undoes `args_escape`. Numbers, keys and colours are printed as they are, and are not changed by this.
fn unquote(printed: &[u8]) -> Vec<u8> {
    match printed {
        [b'\'', inner @ .., b'\''] => unvis(inner),
        [b'"', b'\\', b'~', inner @ .., b'"'] => [b"~", unvis(inner).as_slice()].concat(),
        [b'"', inner @ .., b'"'] => unvis(inner),
        [b'\\', only] if b" #';${}%\"~".contains(only) => vec![*only],
        [b'\\', b'~', inner @ ..] => [b"~", unvis(inner).as_slice()].concat(),
        plain => unvis(plain),
    }
}

/// Reads a variable as `show-environment -s` prints it for a shell, and returns its name, its value and how
/// many bytes it took. A value may hold newlines.
fn variable(text: &[u8]) -> Option<(String, Option<ByteString>, usize)> {
    let line = until_newline(text);
    if let Some(name) = line.strip_prefix(b"unset ").and_then(|rest| rest.strip_suffix(b";")) {
        return Some((str::from_utf8(name).ok()?.to_owned(), None, line.len() + 1));
    }
    let equals = line.iter().position(|byte| *byte == b'=')?;
    let name = str::from_utf8(&text[..equals]).ok()?.to_owned();
    let quoted = text[equals + 1..].strip_prefix(b"\"")?;
    let end = closing_quote(quoted)?;
    let tail = format!("\"; export {name};");
    quoted[end..].starts_with(tail.as_bytes()).then(|| {
        let used = equals + 2 + end + tail.len() + 1;
        (name, Some(unvis(&quoted[..end]).into()), used)
    })
}

/// Returns where the quote is that no backslash stands before.
fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    text.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_read_as_tmux_writes_them() {
        let cases: [(&str, &str); 14] = [
            ("''", ""),
            ("on", "on"),
            ("\"a b\"", "a b"),
            ("'a\"'", "a\""),
            ("\"#(touch x) \\\"q\\\" '\"", "#(touch x) \"q\" '"),
            ("\\#", "#"),
            ("\\~", "~"),
            ("\\~/x", "~/x"),
            ("\"\\~ x\"", "~ x"),
            ("a\\\\b", "a\\b"),
            ("\\\\", "\\"),
            ("a\\tb\\nc", "a\tb\nc"),
            ("\"\\$HOME x\"", "$HOME x"),
            ("\"", "\""),
        ];
        for (printed, value) in cases {
            assert_eq!(unquote(printed.as_bytes()), value.as_bytes(), "{printed}");
        }
    }

    #[test]
    fn sections_of_a_real_server() {
        let output = b"=S 3\nstatus off\nstatus-format[0] \"#{pane_id} x\"\n@user 'a\"b'\n\
            =E 3\nA=\"x\\\"; export A;\nnext\"; export A;\nunset DISPLAY;\n=H 3\n=W 7\n=P 12\n@agent claude\nbroken\n";
        let mut details = Details::default();
        parse(output, "3.3a", &mut details);
        let session = &details.sessions[&SessionId(3)];
        assert_eq!(session.len(), 3);
        assert_eq!(session["status-format[0]"], "#{pane_id} x".into());
        let environment = &details.environments[&SessionId(3)];
        assert_eq!(environment["A"].value, Some("x\"; export A;\nnext".into()));
        assert_eq!(environment["DISPLAY"].value, None);
        assert_eq!(details.windows[&WindowId(7)], Options::new());
        assert_eq!(details.panes[&PaneId(12)]["@agent"], "claude".into());
    }

    #[test]
    fn only_3_4_marks_dollars() {
        let mut details = Details::default();
        parse(
            br#"=P 1
@x "\\$HOME \\\\$HOME 5\$""#,
            "3.4",
            &mut details,
        );
        assert_eq!(details.panes[&PaneId(1)]["@x"], r"$HOME \$HOME 5$".into());
    }

    #[test]
    fn batches_are_small_enough_for_one_client() {
        let sections: Vec<Section> = (0..2000).map(|id| Section::Pane(PaneId(id))).collect();
        let batches = commands(&sections, "3.5a");
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 4000);
        for batch in &batches {
            let words = super::super::command::join(batch);
            assert!(words.iter().map(|word| word.len() + 1).sum::<usize>() < 16 * 1024);
        }
        assert!(batches.len() < 20, "{}", batches.len());
    }

    proptest! {
        #[test]
        fn no_output_makes_it_panic(noise in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..9) {
            let titles = ["=S 3\n", "=E 3\n", "=P 1\n"];
            let mut output = titles[at % 3].as_bytes().to_vec();
            output.extend(noise);
            parse(&output, if at > 4 { "3.4" } else { "3.5a" }, &mut Details::default());
        }
    }
}
