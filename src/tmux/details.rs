//! What no format shows: options that are set for one session, window or pane, the global ones, and the
//! environments of sessions.
//!
//! They are printed by `show-options` and `show-environment`, one section per place, and each section is
//! announced by a line of ours. tmux quotes a value so that it could read it again (`args_escape` in
//! arguments.c, the same from 3.2a to 3.8); here that is undone. The commands of a hook it does not quote: it
//! prints them as they are typed, quotes within them and all, and as such they are kept and set again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::model::{ByteString, GlobalOptions, Options, PaneId, ServerId, SessionId, Variable, WindowId};
use crate::proc::Run;

use super::command::Command;
use super::escape::{undo_3_4, unvis};
use super::query::Answer;
use super::version::Version;
use super::{Tmux, TmuxError};

/// How many sections one client asks for, in ten words each: tmux refuses more than 1000 words since 3.7
/// (`cmd_unpack_argv`), and more than 16 KiB (`MAX_IMSGSIZE`).
const SECTIONS_MAX: usize = 90;

/// What begins the line that announces a section; no option or variable is called like that.
const ANNOUNCE: char = '=';

/// The line behind the last section of a batch. The exit status does not tell whether all were printed: a hook of
/// the user's that fails (`after-show-options`) makes it a failure.
const END: &str = "=";

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

    /// Returns the command that prints it, and that fails when the place is gone.
    fn command(self, hooks: bool) -> Command {
        let options = || {
            let show = Command::new("show-options");
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
    of: (ServerId, HashSet<Section>),
    read_at: Option<Instant>,
    /// What the server last answered.
    pub(super) answer: Option<Answer>,
    /// How much it had run when it had answered that, if the kernel tells.
    pub(super) answered: Option<Run>,
}

impl Known {
    /// Forgets when the details were read, so that they are read again.
    pub fn expire(&mut self) {
        self.read_at = None;
    }

    /// Takes what is known for read a moment ago: the server has not run since.
    pub fn renew(&mut self) {
        self.read_at = self.read_at.map(|_| Instant::now());
    }

    /// Returns the details of these places. Those are read that are not known, or not known well enough; `None` when
    /// one of the places has gone since they were listed.
    pub(super) async fn get(
        &mut self,
        tmux: &Tmux,
        server: &ServerId,
        version: &str,
        sections: Vec<Section>,
    ) -> Result<Option<&Details>, TmuxError> {
        let now = Instant::now();
        // What is not known well enough is not known, and nothing is until all is.
        let read_at = self.read_at.take().filter(|at| self.of.0 == *server && now < *at + AGE_MAX);
        let (mut details, known) = match read_at {
            Some(_) => (std::mem::take(&mut self.details), std::mem::take(&mut self.of.1)),
            None => Default::default(),
        };
        let new = sections.iter().filter(|section| !known.contains(section)).copied();
        for batch in commands(&new.collect::<Vec<_>>(), version) {
            let output = tmux.run_partly(&batch).await?;
            // What has gone ends the batch, and what stands behind it would seem to have nothing set.
            if !is_whole(&output) {
                return Ok(None);
            }
            parse(&output, version, &mut details);
        }
        let sections: HashSet<Section> = sections.into_iter().collect();
        details.retain(&sections);
        (self.details, self.of, self.read_at) = (details, (server.clone(), sections), read_at.or(Some(now)));
        Ok(Some(&self.details))
    }

    /// Returns how much the server had run when our last client had its answer and had gone, if the kernel tells.
    pub fn answered(&self) -> Option<Run> {
        self.answered
    }

    /// Returns what was read of a server the last time.
    pub(super) fn last(&self) -> Option<(&ServerId, &Details, &Answer)> {
        Some((&self.of.0, &self.details, self.answer.as_ref()?))
    }
}

/// Returns the commands that print sections, in batches that are each small enough for one client.
pub fn commands(sections: &[Section], version: &str) -> Vec<Vec<Command>> {
    // 3.2a prints the commands of a hook without the quotes within quotes, and what it prints could do
    // something else.
    let hooks = Version::parse(version).is_none_or(|version| (version.major, version.minor) >= (3, 3));
    let say = |text: &str| Command::new("display-message").arg("-p").arg(text);
    let batches = sections.chunks(SECTIONS_MAX).map(|batch| {
        let shown = batch.iter().flat_map(|section| [say(&section.title()), section.command(hooks)]);
        shown.chain([say(END)]).collect()
    });
    batches.collect()
}

/// Returns whether a batch printed all its sections.
fn is_whole(output: &[u8]) -> bool {
    output.split(|byte| *byte == b'\n').any(|line| line == END.as_bytes())
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
    /// Forgets what is set in other places than these.
    fn retain(&mut self, sections: &HashSet<Section>) {
        self.sessions.retain(|id, _| sections.contains(&Section::Session(*id)));
        self.environments.retain(|session, _| {
            sections.contains(&Section::Environment { session: *session, hidden: false })
        });
        self.windows.retain(|id, _| sections.contains(&Section::Window(*id)));
        self.panes.retain(|id, _| sections.contains(&Section::Pane(*id)));
    }

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

/// Arrays of tmux's whose elements are text, the same from 3.2a to 3.8. All others are hooks: their elements are
/// commands.
const TEXT_ARRAYS: [&str; 8] = [
    "codepoint-widths",
    "command-alias",
    "pane-colours",
    "status-format",
    "terminal-features",
    "terminal-overrides",
    "update-environment",
    "user-keys",
];

/// The option that holds commands and is no hook.
const COMMAND: &str = "default-client-command";

/// Reads `NAME VALUE`; an array without elements has no value.
///
/// tmux prints a name as it is, also one with a space (`@a b`). A user's option has a quoted value, and what
/// cannot be one is part of the name: such an option is left out.
fn option(line: &[u8]) -> Option<(String, ByteString)> {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let name = str::from_utf8(&line[..end]).ok()?.to_owned();
    let printed = after(line, end + 1);
    let value = match name.as_bytes().first()? {
        b'@' if is_quoted(printed) => unquote(printed),
        b'@' => return None,
        letter if !letter.is_ascii_alphabetic() => return None,
        _ if holds_commands(&name) => printed.to_vec(),
        _ => unquote(printed),
    };
    Some((name, value.into()))
}

/// Returns whether an option's value is printed as commands.
fn holds_commands(name: &str) -> bool {
    name == COMMAND || name.split_once('[').is_some_and(|(array, _)| !TEXT_ARRAYS.contains(&array))
}

/// Returns whether this can be what `args_escape` made of a text: something, in quotes where it has spaces.
fn is_quoted(printed: &[u8]) -> bool {
    match printed {
        [b'"', inner @ ..] => closing_quote(inner).is_some_and(|end| end + 1 == inner.len()),
        [b'\'', .., b'\''] => true,
        plain => !plain.is_empty() && !plain.contains(&b' '),
    }
}

/// Undoes `args_escape`. Numbers, keys and colours are printed as they are, and are not changed by this; the
/// commands of a hook would be.
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
    fn commands_are_kept_as_they_are_typed() {
        let output = br#"=S 1
client-attached[0] run-shell "echo \"x; kill-session -t bar\""
window-renamed[7] display-message "a \$HOME \\ b"
pane-focus-in[0] display-message \ttab
window-linked[0] 
default-client-command display-message "a b"
status-format[0] "a b"
command-alias[0] "x=display-message \"y\""
"#;
        let mut details = Details::default();
        parse(output, "3.5a", &mut details);
        let expected = [
            ("client-attached[0]", r#"run-shell "echo \"x; kill-session -t bar\"""#),
            ("command-alias[0]", r#"x=display-message "y""#),
            ("default-client-command", r#"display-message "a b""#),
            ("pane-focus-in[0]", r"display-message \ttab"),
            ("status-format[0]", "a b"),
            ("window-linked[0]", ""),
            ("window-renamed[7]", r#"display-message "a \$HOME \\ b""#),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), ByteString::from(value)));
        assert_eq!(details.sessions[&SessionId(1)], Options::from(expected));
    }

    #[test]
    fn a_batch_that_stopped_is_told() {
        assert!(is_whole(b"=S 3\nstatus off\n=E 3\n=\n"));
        assert!(is_whole(b"=S 3\n=\nprinted by a hook\n"));
        assert!(!is_whole(b"=S 3\nstatus off\n@x =\n=E 3\n"));
        assert!(!is_whole(b""));
    }

    #[test]
    fn an_option_with_a_space_in_its_name_is_no_other() {
        for line in ["@a b x", "@a b \"x y\"", "@a \"b \"c d\"", "@a \"b \\\"", "@a 'b x", "@d", "1 x"] {
            assert_eq!(option(line.as_bytes()), None, "{line}");
        }
        for (line, value) in
            [("@a 'b \"x'", "b \"x"), ("@a \"b x\"", "b x"), ("@a \\\"", "\""), ("@a ''", ""), ("@a b", "b")]
        {
            assert_eq!(option(line.as_bytes()), Some(("@a".to_owned(), value.into())), "{line}");
        }
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
        let environment = |id| Section::Environment { session: SessionId(id), hidden: true };
        let sections: Vec<Section> = (0..2000).map(|id| environment(u32::MAX - id)).collect();
        let batches = commands(&sections, "3.5a");
        assert_eq!(batches.iter().map(|batch| batch.len() - 1).sum::<usize>(), 4000);
        for batch in &batches {
            let words = super::super::command::join(batch);
            assert!(words.len() < 1000, "{}", words.len());
            assert!(words.iter().map(|word| word.len() + 1).sum::<usize>() < 16 * 1024);
        }
        assert!(batches.len() < 25, "{}", batches.len());
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
