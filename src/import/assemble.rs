//! Makes a snapshot out of what files hold.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use crate::model::{
    Aside, BootId, ByteString, GlobalOptions, Pane, PaneId, Reason, Scrollback, Server, ServerId, Session,
    SessionId, Snapshot, Window, WindowId,
};
use crate::tmux::arrange::{Named, named, place};
use crate::tmux::layout::Layout;

use super::{Draft, DraftPane, DraftSession, DraftWindow, Flaw, PLACES_MAX, Runs, Shape, command, text};

/// Columns and rows of a window whose size no file tells: room enough that shares stay near what was meant. A
/// client that attaches resizes it to its own.
const SIZE: (u32, u32) = (200, 50);

/// What a snapshot says besides what is in a file.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Now.
    pub now: Timestamp,
    /// The host's name.
    pub host: String,
    /// The path of the user's shell.
    pub shell: String,
    /// The paths of the shells that are installed where a restore takes them from.
    pub shells: Vec<String>,
}

/// What one file holds.
#[derive(Debug)]
pub struct Source {
    /// What to call the file.
    pub file: String,
    /// What is in it.
    pub draft: Draft,
}

/// A snapshot, and the texts that have to be put into a store for it.
#[derive(Debug)]
pub struct Assembled {
    /// The snapshot; its panes have no text yet.
    pub snapshot: Snapshot,
    /// The texts, by the panes they belong to; a pane that is seen in several sessions has one.
    pub texts: BTreeMap<PaneId, Vec<u8>>,
    /// What was left out or is not exact, in sentences.
    pub notes: Vec<String>,
}

/// Makes a snapshot that holds the sessions of all files.
pub fn assemble(sources: Vec<Source>, around: &Surroundings) -> Result<Assembled, Flaw> {
    let mut making = Making { around, texts: BTreeMap::new(), notes: Vec::new(), windows: 0 };
    let mut known: HashMap<String, String> = HashMap::new();
    let mut sessions = Vec::new();
    for source in sources {
        making.notes.extend(source.draft.notes.iter().map(|note| format!("{}: {note}", source.file)));
        let mut shared = HashMap::new();
        for draft in source.draft.sessions {
            if draft.name.is_empty() {
                return Err(Flaw::whole("a session without a name", "give it one"));
            }
            if let Some(other) = known.insert(draft.name.clone(), source.file.clone()) {
                let what =
                    format!("two sessions are called {:?}: in {other} and in {}", draft.name, source.file);
                return Err(Flaw::whole(what, "import one file at a time, or rename one of the sessions"));
            }
            let id = SessionId(u32::try_from(sessions.len()).unwrap_or(u32::MAX));
            sessions.push(making.session(id, draft, &source.file, &mut shared)?);
        }
    }
    if sessions.is_empty() {
        return Err(Flaw::whole("there is no session in it", "name a file with a session in it"));
    }
    let Making { texts, notes, .. } = making;
    Ok(Assembled { snapshot: snapshot(sessions, around), texts, notes })
}

fn snapshot(sessions: Vec<Session>, around: &Surroundings) -> Snapshot {
    Snapshot {
        taken_at: around.now,
        reason: Reason::Imported,
        host: around.host.clone(),
        boot: BootId::default(),
        keeper_version: env!("CARGO_PKG_VERSION").to_owned(),
        closed: None,
        aside: Some(Aside::Imported),
        server: Server {
            // Of no life: nothing in it can be taken for what lives.
            id: ServerId::default(),
            version: "unknown".to_owned(),
            socket: ByteString::default(),
            sessions,
            globals: GlobalOptions::default(),
            buffers: Vec::new(),
        },
    }
}

struct Making<'a> {
    around: &'a Surroundings,
    texts: BTreeMap<PaneId, Vec<u8>>,
    notes: Vec<String>,
    windows: u32,
}

/// Windows that may be met again in other sessions of the same file, by their keys.
type Shared = HashMap<String, Window>;

impl Making<'_> {
    fn session(
        &mut self,
        id: SessionId,
        draft: DraftSession,
        file: &str,
        shared: &mut Shared,
    ) -> Result<Session, Flaw> {
        let place = format!("session {:?}", draft.name);
        if draft.windows.is_empty() || draft.windows.len() > PLACES_MAX {
            let what = format!("the {place} has {} windows", draft.windows.len());
            return Err(Flaw::whole(what, "take it out of the file, or save again"));
        }
        let first = draft.windows.iter().flat_map(|window| &window.panes).next();
        let directory =
            draft.directory.or_else(|| Some(first?.directory.clone())).unwrap_or_else(|| "/".into());
        let indexes = indexes(&draft.windows).map_err(|index| {
            Flaw::whole(format!("the {place} has two windows {index}"), "give one another index")
        })?;
        let mut windows = Vec::new();
        for (window, index) in draft.windows.into_iter().zip(&indexes) {
            windows.push(self.window(window, *index, &format!("{file}: {place}"), shared)?);
        }
        let active = indexes.get(draft.active).copied().unwrap_or(indexes[0]);
        let last = draft.last.and_then(|at| indexes.get(at)).copied().filter(|index| *index != active);
        // tmux lists them by index.
        windows.sort_by_key(|window| window.index);
        Ok(Session {
            id,
            name: draft.name,
            created: self.around.now.as_second(),
            directory,
            group: draft.group,
            windows,
            active_window: active,
            last_window: last,
            options: draft.options,
            environment: BTreeMap::new(),
        })
    }

    fn window(
        &mut self,
        mut draft: DraftWindow,
        index: u32,
        place: &str,
        shared: &mut Shared,
    ) -> Result<Window, Flaw> {
        if let Some(known) = draft.key.as_ref().and_then(|key| shared.get(key)) {
            return Ok(Window { index, ..known.clone() });
        }
        if draft.panes.is_empty() {
            return Err(Flaw::whole(format!("{place} has a window {index} without panes"), "save again"));
        }
        if matches!(
            draft.shape,
            Shape::Named(
                Named::MainHorizontal { mirrored: true } | Named::MainVertical { mirrored: true },
                _
            )
        ) {
            // A layout gives its cells to the panes in order, and there the large one is the last.
            draft.panes.rotate_left(1);
            draft.active = draft.active.checked_sub(1).unwrap_or(draft.panes.len() - 1);
        }
        let id = WindowId(self.windows);
        self.windows += 1;
        let (layout, (width, height)) = self.layout(&draft, place, index);
        let active_pane = draft.active.min(draft.panes.len() - 1);
        let automatic_rename = draft.automatic_rename || draft.name.is_none();
        if !automatic_rename {
            // tmux keeps that as an option of the window.
            draft.options.insert("automatic-rename".to_owned(), "off".into());
        }
        let name =
            draft.name.clone().unwrap_or_else(|| usual_name(&draft.panes[active_pane], &self.around.shell));
        let panes: Vec<Pane> =
            draft.panes.into_iter().enumerate().map(|(at, pane)| self.pane(pane, at)).collect();
        let window = Window {
            id,
            index,
            name,
            automatic_rename,
            width,
            height,
            layout,
            zoomed: draft.zoomed && panes.len() > 1,
            panes,
            active_pane,
            last_pane: None,
            options: draft.options,
        };
        if let Some(key) = draft.key {
            shared.insert(key, window.clone());
        }
        Ok(window)
    }

    /// Returns the layout of a window and its size. One that does not fit the panes is replaced, and that is said.
    fn layout(&mut self, draft: &DraftWindow, place_name: &str, index: u32) -> (String, (u32, u32)) {
        let panes = u32::try_from(draft.panes.len()).unwrap_or(u32::MAX);
        let layout = match &draft.shape {
            Shape::Named(kind, main) => named(*kind, panes, SIZE, *main),
            Shape::Tree(area) => place(area, SIZE),
            Shape::Saved(text) => match Layout::parse(text).ok().filter(Layout::fits) {
                Some(layout) => layout,
                None => named(Named::Tiled, panes, SIZE, Default::default()),
            },
        };
        let whole = layout.panes().len() == draft.panes.len();
        let replaced = matches!(&draft.shape, Shape::Saved(text) if *text != layout.render());
        if replaced || !whole {
            self.notes.push(format!(
                "{place_name}: the layout of window {index} does not fit its panes; they are tiled"
            ));
        }
        let layout = if whole { layout } else { named(Named::Tiled, panes, SIZE, Default::default()) };
        (layout.render(), layout.size())
    }

    fn pane(&mut self, draft: DraftPane, at: usize) -> Pane {
        let id = PaneId(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        self.texts.insert(id, text::clean(&draft.text));
        Pane {
            id,
            index: draft.index.unwrap_or(u32::try_from(at).unwrap_or(u32::MAX)),
            title: super::clean_name(draft.title.as_deref().unwrap_or(&self.around.host)),
            program: command::program(&draft.runs, self.around, &draft.directory),
            directory: draft.directory,
            scrollback: Scrollback::default(),
            options: BTreeMap::new(),
            marked: false,
            dead: None,
            start: None,
        }
    }
}

/// Returns the index of each window: its own, or the next one behind the window before it; the one that two want.
fn indexes(windows: &[DraftWindow]) -> Result<Vec<u32>, u32> {
    let mut taken: HashSet<u32> = HashSet::new();
    for index in windows.iter().filter_map(|window| window.index) {
        if !taken.insert(index) || index > i32::MAX.cast_unsigned() {
            return Err(index);
        }
    }
    let mut next = 0;
    let mut indexes = Vec::new();
    for window in windows {
        let index = window.index.unwrap_or_else(|| {
            while !taken.insert(next) {
                next += 1;
            }
            next
        });
        next = index.saturating_add(1);
        indexes.push(index);
    }
    Ok(indexes)
}

/// Returns what tmux calls a window by itself: its program.
fn usual_name(pane: &DraftPane, shell: &str) -> String {
    let first = |words: &[String]| words.first().cloned().unwrap_or_default();
    let program = match &pane.runs {
        Runs::Shell => shell.to_owned(),
        Runs::OtherShell(name) => name.clone(),
        Runs::Words(words) | Runs::Instead(words) => first(words),
        Runs::Lines(lines) => {
            lines.first().and_then(|line| line.split_whitespace().next()).unwrap_or(shell).to_owned()
        }
    };
    super::clean_name(program.rsplit('/').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::session_name;
    use crate::model::Program;
    use crate::restore::plan;

    fn around() -> Surroundings {
        Surroundings {
            now: Timestamp::UNIX_EPOCH,
            host: "host".into(),
            shell: "/bin/bash".into(),
            shells: vec!["/usr/bin/fish".into(), "/usr/local/bin/zsh".into()],
        }
    }

    fn source(file: &str, name: &str, windows: Vec<DraftWindow>) -> Source {
        let session = DraftSession { name: session_name(name), windows, ..DraftSession::default() };
        Source { file: file.into(), draft: Draft { sessions: vec![session], notes: Vec::new() } }
    }

    fn window(panes: usize) -> DraftWindow {
        DraftWindow {
            panes: vec![DraftPane { directory: "/".into(), ..DraftPane::default() }; panes],
            ..DraftWindow::default()
        }
    }

    #[test]
    fn every_window_gets_an_index_and_every_pane_a_cell() {
        let windows = vec![
            DraftWindow { index: Some(1), ..window(1) },
            window(3),
            DraftWindow { index: Some(0), ..window(2) },
        ];
        let made = assemble(vec![source("f", "s", windows)], &around()).unwrap();
        let session = &made.snapshot.server.sessions[0];
        assert_eq!(session.windows.iter().map(|w| w.index).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(session.active_window, 1);
        for window in &session.windows {
            let layout = Layout::parse(&window.layout).unwrap();
            assert!(layout.fits() && layout.panes().len() == window.panes.len());
        }
        assert_eq!(made.texts.len(), 6);
        assert_eq!(made.snapshot.aside, Some(Aside::Imported));
    }

    /// A restore starts a shell only from where the system has them, so the bare name of a file is not enough.
    #[test]
    fn another_shell_is_still_one_when_a_restore_plans_it() {
        let restored = |word: &str| {
            let pane = DraftPane { runs: Runs::OtherShell(word.into()), ..window(1).panes[0].clone() };
            let windows = vec![DraftWindow { panes: vec![pane], ..DraftWindow::default() }];
            let made = assemble(vec![source("f", "s", windows)], &around()).unwrap();
            let plan = plan::plan(1, &made.snapshot, None, &plan::Selection::default()).unwrap();
            plan.steps[0].session.windows[0].panes[0].program.clone()
        };
        let shells = [
            ("fish", "/usr/bin/fish"),
            ("-zsh", "/usr/local/bin/zsh"),
            ("/usr/bin/fish", "/usr/bin/fish"),
            ("bash", "/bin/bash"),
        ];
        for (word, expected) in shells {
            let Program::Shell { shell, job, .. } = restored(word) else { panic!("{word} is lost") };
            assert_eq!((shell.exe, job), (expected.into(), vec![]), "{word}");
        }
        for word in ["tcsh", "/opt/fish/bin/fish"] {
            let Program::Shell { job, .. } = restored(word) else { panic!("{word} is lost") };
            assert_eq!(job[0].argv, [word.into()], "what is not installed here is asked for");
        }
    }

    #[test]
    fn a_layout_that_does_not_fit_is_replaced_and_said() {
        for text in ["b25d,80x24,0,0,0", "nonsense", "0000,80x24,0,0,0"] {
            let odd = DraftWindow { shape: Shape::Saved(text.into()), ..window(2) };
            let made = assemble(vec![source("f", "s", vec![odd])], &around()).unwrap();
            assert_eq!(made.notes.len(), 1, "{text}");
            assert_eq!(
                Layout::parse(&made.snapshot.server.sessions[0].windows[0].layout).unwrap().panes().len(),
                2
            );
        }
    }

    #[test]
    fn two_sessions_of_one_name_and_sessions_without_windows_are_refused() {
        let twice = vec![source("a", "s", vec![window(1)]), source("b", "s", vec![window(1)])];
        assert!(assemble(twice, &around()).unwrap_err().what.contains("in a and in b"));
        assert!(assemble(vec![source("a", "s", vec![])], &around()).is_err());
        assert!(assemble(vec![], &around()).is_err());
        let same = DraftWindow { index: Some(3), ..window(1) };
        assert!(assemble(vec![source("a", "s", vec![same.clone(), same])], &around()).is_err());
    }
}
