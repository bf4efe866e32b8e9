//! Files of tmux-resurrect: one line per pane and window, fields between tabs.
//!
//! ```text
//! pane    SESSION  WINDOW  ACTIVE  :FLAGS  PANE  TITLE  :DIRECTORY  ACTIVE  PROGRAM  :COMMAND LINE
//! window  SESSION  WINDOW  :NAME  ACTIVE  :FLAGS  LAYOUT  AUTOMATIC-RENAME
//! grouped_session  SESSION  OF  :LAST WINDOW  :WINDOW
//! state   SESSION  LAST SESSION
//! ```
//!
//! As `scripts/save.sh` of <https://github.com/tmux-plugins/tmux-resurrect> writes them (2023); the older form, in
//! which panes carry the window's name and have no title, is read too. The text of panes is beside it, in
//! `pane_contents.tar.gz`: a file `pane_contents/pane-SESSION:WINDOW.PANE` for each.

use std::collections::BTreeMap;

use flate2::read::MultiGzDecoder;

use super::{Draft, DraftPane, DraftSession, DraftWindow, Flaw, PANES_MAX, PLACES_MAX, Runs, Shape, archive};
use super::{as_text, command};

const HINT: &str =
    "save again with tmux-resurrect (prefix Ctrl-s), or name an older file of the same directory";

/// Reads a file, and the archive of pane contents that belongs to it.
pub fn parse(file: &[u8], contents: Option<&[u8]>) -> Result<Draft, Flaw> {
    let lossy;
    let text = match as_text(file, "tmux-resurrect") {
        Ok(text) => text,
        // Names and directories need not be UTF-8.
        Err(_) if file.starts_with(b"pane\t") || file.starts_with(b"grouped_session\t") => {
            lossy = String::from_utf8_lossy(file);
            &lossy
        }
        Err(flaw) => return Err(flaw),
    };
    let mut texts = match contents {
        Some(archive) => archive::files(MultiGzDecoder::new(archive)).map_err(|why| {
            Flaw::whole(
                format!("pane_contents.tar.gz cannot be read: {why}"),
                "to import without the text of the panes: --no-contents",
            )
        })?,
        None => BTreeMap::new(),
    };
    let mut reading = Reading { draft: Draft::default(), groups: Vec::new(), in_pane: false };
    for (at, line) in text.split('\n').enumerate() {
        reading.line(at + 1, line, &mut texts)?;
    }
    reading.finish()
}

struct Reading {
    draft: Draft,
    groups: Vec<(usize, Grouped)>,
    /// Whether the line before belonged to a pane: its command line may go on.
    in_pane: bool,
}

struct Grouped {
    name: String,
    of: String,
    last: Option<u32>,
    active: Option<u32>,
}

impl Reading {
    fn line(&mut self, at: usize, line: &str, texts: &mut BTreeMap<String, Vec<u8>>) -> Result<(), Flaw> {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[0] {
            "pane" if fields.len() > 1 => {
                self.in_pane = true;
                let pane = Line::pane(&fields).map_err(|what| Flaw::at(at, what, HINT))?;
                self.add_pane(at, pane, texts)
            }
            "window" if fields.len() > 1 => {
                self.in_pane = false;
                self.window(&fields).map_err(|what| Flaw::at(at, what, HINT))
            }
            "grouped_session" if fields.len() > 2 => {
                let number = |at: usize| fields.get(at).and_then(|field| unmarked(field).parse().ok());
                let (name, of) = (fields[1].to_owned(), fields[2].to_owned());
                self.groups.push((at, Grouped { name, of, last: number(3), active: number(4) }));
                Ok(())
            }
            "state" => Ok(()),
            "" if line.is_empty() => Ok(()),
            _ if self.in_pane => {
                // A pane with several processes: which belongs to which was not saved.
                self.draft.note(format!(
                    "line {at}: a further process of the pane above; tmux-resurrect does not tell how they belonged \
                     together, so only the first one is taken"
                ));
                Ok(())
            }
            _ => Err(Flaw::at(
                at,
                "it is not a line of tmux-resurrect",
                "name a file tmux_resurrect_….txt, or its directory",
            )),
        }
    }

    fn add_pane(
        &mut self,
        at: usize,
        line: Line<'_>,
        texts: &mut BTreeMap<String, Vec<u8>>,
    ) -> Result<(), Flaw> {
        let many = || Flaw::at(at, "more panes than tmux can show", HINT);
        let place = format!("{}:{}.{}", line.session, line.window, line.index);
        let text = texts.remove(&format!("pane_contents/pane-{place}")).unwrap_or_default();
        let session = session(&mut self.draft, line.session).ok_or_else(many)?;
        let window = window(session, line.window).ok_or_else(many)?;
        if window.panes.len() >= PANES_MAX {
            return Err(many());
        }
        if line.active {
            window.active = window.panes.len();
        }
        if let Some(name) = line.name_of_window {
            window.name = Some(name.to_owned());
        }
        window.zoomed |= line.flags.contains('Z');
        window.panes.push(DraftPane {
            index: Some(line.index),
            title: line.title.map(str::to_owned),
            directory: line.directory.as_str().into(),
            runs: runs(line.program, line.command),
            text,
        });
        Ok(())
    }

    /// The lines of windows come behind those of their panes.
    fn window(&mut self, fields: &[&str]) -> Result<(), String> {
        let older = fields.get(3).is_some_and(|field| !field.starts_with(':'));
        let (name, rest) = if older { (None, 3) } else { (fields.get(3).map(|name| unmarked(name)), 4) };
        let (Some(name_of_session), Some(index)) = (fields.get(1), fields.get(2)) else {
            return Err("a window without its place".to_owned());
        };
        let index = number(index, "the index of a window")?;
        let (Some(active), Some(flags), Some(layout)) =
            (fields.get(rest), fields.get(rest + 1), fields.get(rest + 2))
        else {
            return Err("a window without its layout".to_owned());
        };
        let (_, named) = self.named_session(name_of_session);
        let Some(session) = named else {
            return Err(format!("a window of the session {name_of_session:?}, which has no panes"));
        };
        let Some(at) = session.windows.iter().position(|window| window.index == Some(index)) else {
            return Err(format!("the window {index} has no panes"));
        };
        if *active == "1" {
            session.active = at;
        }
        if flags.contains('-') {
            session.last = Some(at);
        }
        let window = &mut session.windows[at];
        window.shape = Shape::Saved((*layout).to_owned());
        if let Some(name) = name {
            window.name = Some(name.to_owned());
            // A colon says that the option is not set, and then it is on.
            window.automatic_rename = fields.get(rest + 3).is_none_or(|value| *value != "off");
        }
        Ok(())
    }

    fn named_session(&mut self, name: &str) -> (usize, Option<&mut DraftSession>) {
        let at = self.draft.sessions.iter().position(|session| session.name == name).unwrap_or(usize::MAX);
        (at, self.draft.sessions.get_mut(at))
    }

    fn finish(mut self) -> Result<Draft, Flaw> {
        for (at, grouped) in std::mem::take(&mut self.groups) {
            let (_, Some(peer)) = self.named_session(&grouped.of) else {
                let what = format!("a session grouped with {:?}, which has no panes", grouped.of);
                return Err(Flaw::at(at, what, HINT));
            };
            peer.group.get_or_insert_with(|| grouped.of.clone());
            let place = |index: Option<u32>| {
                peer.windows.iter().position(|window| index.is_some() && window.index == index)
            };
            let copy = DraftSession {
                name: grouped.name,
                active: place(grouped.active).unwrap_or(0),
                last: place(grouped.last),
                ..peer.clone()
            };
            if self.draft.sessions.len() >= PLACES_MAX {
                return Err(Flaw::at(at, "more sessions than tmux can show", HINT));
            }
            self.draft.sessions.push(copy);
        }
        for session in &mut self.draft.sessions {
            // What is in several sessions is the same window by its place in the first.
            let group = session.group.clone();
            for window in &mut session.windows {
                window.key = group.as_ref().map(|group| format!("{group}:{:?}", window.index));
            }
        }
        if self.draft.sessions.is_empty() {
            return Err(Flaw::whole(
                "it holds no session",
                "name a file tmux_resurrect_….txt, or its directory",
            ));
        }
        Ok(self.draft)
    }
}

/// The line of a pane.
struct Line<'a> {
    session: &'a str,
    window: u32,
    /// In the older form.
    name_of_window: Option<&'a str>,
    flags: &'a str,
    index: u32,
    title: Option<&'a str>,
    directory: String,
    active: bool,
    program: &'a str,
    command: &'a str,
}

impl<'a> Line<'a> {
    fn pane(fields: &[&'a str]) -> Result<Self, String> {
        let field = |at: usize| fields.get(at).copied().unwrap_or_default();
        if fields.len() < 9 {
            return Err("a pane without its directory".to_owned());
        }
        // In the older form the window's name stands where later the active window is marked.
        let older = field(3).starts_with(':');
        let (flags, index, behind) = if older { (field(5), field(6), 7) } else { (field(4), field(5), 6) };
        // bash's read takes two tabs for one: of a pane without a title the rest stands one field earlier.
        let untitled = !older && !field(7).starts_with(':') && field(6).starts_with(":/");
        let (title, directory) = match (older, untitled) {
            (true, _) => (None, behind),
            (false, true) => (Some(""), behind),
            (false, false) => (Some(field(6)), behind + 1),
        };
        // In that case the process id stands where the program should, and the command line is that of another.
        let (program, command) = if untitled {
            (field(directory + 2), "")
        } else {
            (field(directory + 2), unmarked(field(directory + 3)))
        };
        let path = unmarked(field(directory)).replacen("\\ ", " ", 1);
        if !path.starts_with('/') {
            return Err(format!("the directory of a pane is {path:?}, which is no whole path"));
        }
        Ok(Line {
            session: field(1),
            window: number(field(2), "the index of a window")?,
            name_of_window: older.then(|| unmarked(field(3))),
            flags,
            index: number(index, "the index of a pane")?,
            title,
            directory: path,
            active: field(directory + 1) == "1",
            program,
            command,
        })
    }
}

fn number(field: &str, what: &str) -> Result<u32, String> {
    field.parse().map_err(|_| format!("{what} is {field:?}"))
}

/// A field that may be empty has a colon in front.
fn unmarked(field: &str) -> &str {
    field.strip_prefix(':').unwrap_or(field)
}

/// What ran in a pane. The command line is `ps`'s: the arguments with spaces between them. So only spaces part
/// them again; quotes in it were part of an argument. The other strategy, `linux_procfs`, writes each argument
/// for a shell and a space behind it.
fn runs(program: &str, command: &str) -> Runs {
    let words = match command.strip_suffix(' ').and_then(shlex::split) {
        Some(words) => words,
        None => command.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
    };
    match &words[..] {
        [] if program.is_empty() || program.bytes().all(|byte| byte.is_ascii_digit()) => Runs::Shell,
        [] if command::is_shell(program) => Runs::OtherShell(program.to_owned()),
        [] => Runs::Words(vec![program.to_owned()]),
        [word] if command::is_shell(word) => Runs::OtherShell(word.trim_start_matches('-').to_owned()),
        _ => Runs::Words(words),
    }
}

fn session<'a>(draft: &'a mut Draft, name: &str) -> Option<&'a mut DraftSession> {
    let at = draft.sessions.iter().rposition(|session| session.name == name);
    let at = at.unwrap_or(draft.sessions.len());
    if at >= PLACES_MAX {
        return None;
    }
    if at == draft.sessions.len() {
        draft.sessions.push(DraftSession { name: name.to_owned(), ..DraftSession::default() });
    }
    draft.sessions.get_mut(at)
}

fn window(session: &mut DraftSession, index: u32) -> Option<&mut DraftWindow> {
    let at = session.windows.iter().rposition(|window| window.index == Some(index));
    let at = at.unwrap_or(session.windows.len());
    if at >= PLACES_MAX {
        return None;
    }
    if at == session.windows.len() {
        session.windows.push(DraftWindow { index: Some(index), ..DraftWindow::default() });
    }
    session.windows.get_mut(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LAYOUT: &str = "b25d,80x24,0,0,0";

    fn one(pane: &str) -> DraftPane {
        let draft =
            parse(format!("{pane}\nwindow\ts\t1\t:n\t1\t:*\t{LAYOUT}\t:\n").as_bytes(), None).unwrap();
        draft.sessions[0].windows[0].panes[0].clone()
    }

    #[test]
    fn a_pane_is_read_in_all_its_forms() {
        let pane = one("pane\ts\t1\t1\t:*\t0\ttitle\t:/a\\ b c\t1\tvim\t:vim it's \"x\"");
        assert_eq!((pane.title.as_deref(), &pane.directory), (Some("title"), &"/a b c".into()));
        assert_eq!(pane.runs, Runs::Words(vec!["vim".into(), "it's".into(), "\"x\"".into()]));
        let quoted = one("pane\ts\t1\t1\t:*\t0\tt\t:/\t1\tvim\t:vim a\\ b ");
        assert_eq!(quoted.runs, Runs::Words(vec!["vim".into(), "a b".into()]));
        let untitled = one("pane\ts\t1\t1\t:*\t0\t:/usr\t1\tbash\t4711\t:/sbin/init");
        assert_eq!((untitled.title.as_deref(), &untitled.directory), (Some(""), &"/usr".into()));
        assert_eq!(untitled.runs, Runs::OtherShell("bash".into()));
        let older = one("pane\ts\t1\t:name\t1\t:*\t0\t:/usr\t1\tbash\t:");
        assert_eq!((older.title, older.runs), (None, Runs::OtherShell("bash".into())));
    }

    #[test]
    fn windows_of_the_older_form_have_their_names() {
        let text = format!(
            "pane\ts\t1\t:a b\t1\t:*\t0\t:/usr\t1\tvim\t:vim x\nwindow\ts\t1\t1\t:*\t{LAYOUT}\nstate\ts\t\n"
        );
        let window = &parse(text.as_bytes(), None).unwrap().sessions[0].windows[0];
        assert_eq!((window.name.as_deref(), window.automatic_rename), (Some("a b"), false));
        assert_eq!(window.shape, Shape::Saved(LAYOUT.to_owned()));
    }

    #[test]
    fn windows_groups_and_the_processes_that_cannot_be_told_apart() {
        let text = format!(
            "grouped_session\tcopy\ts\t:\t:4\n\
             pane\ts\t1\t0\t:-Z\t0\tt\t:/\t0\tbash\t:\npane\ts\t1\t0\t:-Z\t1\tt\t:/\t1\tcat\t:cat\nless x\n\
             pane\ts\t4\t1\t:*\t0\tt\t:/\t1\tbash\t:\n\
             window\ts\t1\t:a b\t0\t:-Z\t{LAYOUT}\toff\nwindow\ts\t4\t:n\t1\t:*\t{LAYOUT}\t:\nstate\ts\t\n"
        );
        let draft = parse(text.as_bytes(), None).unwrap();
        let [session, copy] = &draft.sessions[..] else { panic!("{draft:?}") };
        assert_eq!((session.active, session.last, copy.active, copy.last), (1, Some(0), 1, None));
        assert_eq!((session.group.as_deref(), copy.group.as_deref()), (Some("s"), Some("s")));
        assert_eq!(session.windows[0].key, copy.windows[0].key);
        assert!(session.windows[0].zoomed && session.windows[0].active == 1);
        assert_eq!(session.windows[0].name.as_deref(), Some("a b"));
        assert_eq!((session.windows[0].automatic_rename, session.windows[1].automatic_rename), (false, true));
        assert!(draft.notes[0].starts_with("line 4: "), "{:?}", draft.notes);
    }

    #[test]
    fn what_is_wrong_names_its_line() {
        let cases = [
            ("hello\n", Some(1)),
            ("pane\ts\tx\t1\t:*\t0\tt\t:/\t1\tbash\t:\n", Some(1)),
            ("\npane\ts\t1\t1\t:*\t0\tt\t:relative\t1\tbash\t:\n", Some(2)),
            ("window\ts\t1\t:n\t1\t:*\tb25d\t:\n", Some(1)),
            ("grouped_session\ta\tb\t:\t:\n", Some(1)),
            ("", None),
        ];
        for (text, line) in cases {
            assert_eq!(parse(text.as_bytes(), None).unwrap_err().line, line, "{text:?}");
        }
        let flaw = parse(b"pane\ts\t1\t1\t:*\t0\tt\t:/\t1\tbash\t:\n", Some(b"no gzip")).unwrap_err();
        assert!(flaw.what.contains("pane_contents.tar.gz"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, Some(&bytes));
        }

        #[test]
        fn no_lines_make_it_panic(
            lines in prop::collection::vec("(pane|window|grouped_session|x)(\t(:?[s0-9/ *Z-]{0,4})){0,12}", 0..12),
        ) {
            let _ = parse(lines.join("\n").as_bytes(), None);
        }
    }
}
