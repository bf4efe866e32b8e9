//! Session files of tmuxp, in YAML or JSON: <https://tmuxp.git-pull.com/configuration/>.
//!
//! What `tmuxp freeze` writes and what people write by hand. It types `cd DIRECTORY` into panes that are elsewhere;
//! that is taken for what it means.

use crate::model::{ByteString, Options};
use crate::restore::foreign::is_harmless;
use crate::tmux::arrange::{MainSizes, Named};

use super::command::{instead, typed};
use super::yaml::{self, Node, Value};
use super::{
    Draft, DraftPane, DraftSession, DraftWindow, Flaw, PANES_MAX, PLACES_MAX, Reader, Runs, Shape, as_text,
    clean_name, session_name,
};

const HINT: &str = "see https://tmuxp.git-pull.com/configuration/ for what it expects there";

/// Reads a file.
pub fn parse(file: &[u8], reader: &Reader<'_>) -> Result<Draft, Flaw> {
    let root = yaml::parse(as_text(file, "tmuxp")?)?;
    let mut draft = Draft::default();
    let Some(windows) = root.get("windows") else {
        return Err(Flaw::at(root.line, "there is no \"windows\" in it", HINT));
    };
    let name = root.get("session_name").and_then(Node::text).unwrap_or(reader.name);
    for (key, node) in root.entries() {
        let left_out = match key {
            "before_script" | "plugins" => {
                "tmuxp runs it when it loads the file; it is left out, and nothing runs"
            }
            "global_options" => "it belongs to the whole server; put it into your tmux.conf",
            _ => continue,
        };
        draft.note(format!("line {}: {key:?}: {left_out}", node.line));
    }
    leave_out_variables(&root, &mut draft);
    let above = Above {
        directory: start_directory(&root, reader, reader.directory),
        before: commands(root.get("shell_command_before"))?,
    };
    let mut session = DraftSession {
        name: session_name(name),
        directory: Some(above.directory.clone()),
        options: options(&root, &["options"], &mut draft),
        ..DraftSession::default()
    };
    for (at, node) in list(windows, "windows", PLACES_MAX)?.iter().enumerate() {
        if node.get("focus").is_some_and(Node::is_true) {
            session.active = at;
        }
        session.windows.push(window(node, reader, &above, &mut draft)?);
    }
    draft.sessions.push(session);
    Ok(draft)
}

/// What a window or a pane takes from what it is in.
struct Above {
    directory: ByteString,
    before: Vec<String>,
}

impl Above {
    fn within(&self, node: &Node, reader: &Reader<'_>) -> Result<Self, Flaw> {
        let base = self.directory.to_string();
        let mut before = self.before.clone();
        before.extend(commands(node.get("shell_command_before"))?);
        Ok(Self { directory: start_directory(node, reader, &base), before })
    }
}

fn start_directory(node: &Node, reader: &Reader<'_>, base: &str) -> ByteString {
    let written = node.get("start_directory").and_then(Node::text).unwrap_or(".");
    reader.directory(written, base)
}

fn list<'a>(node: &'a Node, what: &str, most: usize) -> Result<&'a [std::rc::Rc<Node>], Flaw> {
    let items = node.items();
    if !matches!(node.value, Value::List(_)) || items.is_empty() {
        return Err(Flaw::at(node.line, format!("{what:?} is not a list with something in it"), HINT));
    }
    if items.len() > most {
        return Err(Flaw::at(node.line, format!("{what:?} has {} entries", items.len()), "split the file"));
    }
    Ok(items)
}

fn window(node: &Node, reader: &Reader<'_>, session: &Above, draft: &mut Draft) -> Result<DraftWindow, Flaw> {
    if !matches!(node.value, Value::Map(_)) {
        return Err(Flaw::at(node.line, "a window that is no map", HINT));
    }
    let above = session.within(node, reader)?;
    leave_out_variables(node, draft);
    let own = options(node, &["options", "options_after"], draft);
    let mut window = DraftWindow {
        index: number(node, "window_index")?,
        name: node.get("window_name").and_then(Node::text).map(clean_name),
        automatic_rename: own.get("automatic-rename").is_some_and(|value| value.as_bytes() == b"on"),
        shape: shape(node, &own)?,
        ..DraftWindow::default()
    };
    window.options = own.into_iter().filter(|(name, _)| name != "automatic-rename").collect();
    let shell = node.get("window_shell").and_then(Node::text).and_then(shlex::split);
    match node.get("panes") {
        None => window.panes.push(DraftPane { directory: above.directory.clone(), ..DraftPane::default() }),
        Some(panes) => {
            for (at, node) in list(panes, "panes", PANES_MAX)?.iter().enumerate() {
                if node.get("focus").is_some_and(Node::is_true) {
                    window.active = at;
                }
                window.panes.push(pane(node, reader, &above, draft)?);
            }
        }
    }
    if let Some((words, pane)) = shell.filter(|words| !words.is_empty()).zip(window.panes.first_mut())
        && pane.runs == Runs::Shell
    {
        pane.runs = instead(words);
    }
    Ok(window)
}

fn shape(node: &Node, options: &Options) -> Result<Shape, Flaw> {
    let size = |name: &str| options.get(name).and_then(|value| value.to_string().parse().ok());
    let main = MainSizes { width: size("main-pane-width"), height: size("main-pane-height") };
    match node.get("layout") {
        Some(layout) => Shape::read(layout, main),
        // Each pane is split off below.
        None => Ok(Shape::Named(Named::EvenVertical, main)),
    }
}

fn pane(node: &Node, reader: &Reader<'_>, window: &Above, draft: &mut Draft) -> Result<DraftPane, Flaw> {
    let above = window.within(node, reader)?;
    let mut lines = above.before.clone();
    match &node.value {
        Value::Map(_) => {
            lines.extend(commands(node.get("shell_command"))?);
            leave_out_variables(node, draft);
            if let Some(shell) = node.get("shell") {
                draft.note(format!("line {}: \"shell\" of a single pane is left out", shell.line));
            }
        }
        _ => lines.extend(commands(Some(node))?),
    }
    // Words for a pane in which nothing is typed.
    lines.retain(|line| !matches!(line.as_str(), "blank" | "pane" | "null"));
    let mut directory = above.directory;
    while let Some(wanted) = lines.first().and_then(|line| line.strip_prefix("cd ")).map(str::trim) {
        let Some(path) = changed_to(wanted) else { break };
        directory = reader.directory(&path, &directory.to_string());
        lines.remove(0);
    }
    Ok(DraftPane { directory, runs: typed(lines, node.line, draft), ..DraftPane::default() })
}

/// Returns where a `cd` goes if that can be told. `tmuxp freeze` writes paths with spaces unquoted.
fn changed_to(wanted: &str) -> Option<String> {
    if wanted.is_empty() || wanted == "-" || wanted.contains(|c: char| "|&;<>()$`*?[]".contains(c)) {
        return None;
    }
    match shlex::split(wanted) {
        Some(words) if words.len() == 1 => words.into_iter().next(),
        _ if wanted.starts_with('/') => Some(wanted.to_owned()),
        _ => None,
    }
}

/// Returns command lines: a text, a map with `cmd`, or a list of those.
fn commands(node: Option<&Node>) -> Result<Vec<String>, Flaw> {
    let Some(node) = node else { return Ok(Vec::new()) };
    match &node.value {
        Value::Null => Ok(Vec::new()),
        Value::Text(text) => Ok(vec![text.clone()]),
        Value::Map(_) => Ok(node.get("cmd").and_then(Node::text).map(str::to_owned).into_iter().collect()),
        Value::List(items) => {
            let mut lines = Vec::new();
            for item in items {
                if matches!(item.value, Value::List(_)) {
                    return Err(Flaw::at(item.line, "a list of commands in a list of commands", HINT));
                }
                lines.extend(commands(Some(item))?);
            }
            Ok(lines)
        }
    }
}

fn number(node: &Node, key: &str) -> Result<Option<u32>, Flaw> {
    let Some(node) = node.get(key) else { return Ok(None) };
    let parsed = node.text().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| Flaw::at(node.line, format!("{key:?} is no number"), HINT))
}

fn options(node: &Node, keys: &[&str], draft: &mut Draft) -> Options {
    let mut options = Options::new();
    for (name, node) in keys.iter().filter_map(|key| node.get(key)).flat_map(Node::entries) {
        // YAML's words for what tmux calls on and off.
        let value = node.text().map(|value| match value {
            "true" | "True" | "yes" => "on",
            "false" | "False" | "no" => "off",
            other => other,
        });
        match value.filter(|value| is_harmless(name, value.as_bytes())) {
            Some(value) => drop(options.insert(name.to_owned(), value.into())),
            None => draft.note(format!(
                "line {}: the option {name:?} is left out: of a file only a few are set, none of which can run anything",
                node.line
            )),
        }
    }
    options
}

/// No restore sets a variable that a file names: `LD_PRELOAD` is one.
fn leave_out_variables(node: &Node, draft: &mut Draft) {
    for (name, node) in node.get("environment").into_iter().flat_map(Node::entries) {
        draft.note(format!("line {}: the variable {name:?} is left out: of a file none is set", node.line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const READER: Reader<'_> = Reader { home: "/home/ann", directory: "/work", name: "file", editor: "vi" };

    #[test]
    fn what_freeze_writes_means_directories_and_shells() {
        let text = "session_name: dev\nwindows:\n- layout: b25d,80x24,0,0,0\n  options: {automatic-rename: false}\n  \
                    panes:\n  - shell_command: [cd /tmp/a b, bash]\n  - focus: 'true'\n    shell_command: [cd /usr, sleep]\n  \
                    window_name: ed\n";
        let draft = parse(text.as_bytes(), &READER).unwrap();
        let window = &draft.sessions[0].windows[0];
        assert_eq!(window.panes[0].directory, "/tmp/a b".into());
        assert_eq!(window.panes[0].runs, Runs::OtherShell("bash".into()));
        assert_eq!(window.panes[1].runs, Runs::Lines(vec!["sleep".into()]));
        assert_eq!((window.active, window.automatic_rename, window.options.len()), (1, false, 0));
        assert_eq!(window.shape, Shape::Saved("b25d,80x24,0,0,0".into()));
    }

    #[test]
    fn what_people_write_by_hand() {
        let text = "
session_name: 'a.b:c'
start_directory: ~/src
shell_command_before: [nvm use 20]
before_script: ./install.sh
options:
  default-command: touch x
  status: false
  client-attached: run-shell x
  '@theme': '#{E:#{a:35}(touch x)}'
  update-environment: [A]
environment: {RAILS_ENV: test}
windows:
  - window_name: ed
    window_index: 5
    focus: true
    layout: main-vertical
    options: {main-pane-width: 60, pane-border-format: x}
    environment: {A: b}
    start_directory: ./web
    panes:
      - null
      - vim
      - shell_command: [{cmd: 'tail -f x', enter: false}]
        start_directory: /etc
        environment: {LD_PRELOAD: x}
  - panes: [pane]
  - {}
";
        let draft = parse(text.as_bytes(), &READER).unwrap();
        let session = &draft.sessions[0];
        assert_eq!(
            (session.name.as_str(), session.directory.clone().unwrap()),
            ("a_b_c", "/home/ann/src".into())
        );
        assert_eq!(session.options, [("status".to_owned(), "off".into())].into());
        let window = &session.windows[0];
        assert_eq!(window.index, Some(5));
        assert_eq!(window.panes[1].directory, "/home/ann/src/web".into());
        assert_eq!(window.panes[1].runs, Runs::Lines(vec!["nvm use 20".into(), "vim".into()]));
        assert_eq!(window.panes[2].directory, "/etc".into());
        assert_eq!(session.windows[2].panes.len(), 1);
        let left_out = [
            "before_script",
            "RAILS_ENV",
            "default-command",
            "client-attached",
            "@theme",
            "update-environment",
            "\"A\"",
            "pane-border-format",
            // The first and the last pane, of which nothing else is left.
            "nvm use 20",
            "LD_PRELOAD",
            "nvm use 20",
        ];
        assert_eq!(draft.notes.len(), left_out.len(), "{:#?}", draft.notes);
        for (note, named) in draft.notes.iter().zip(left_out) {
            assert!(note.contains(named), "{named}: {note}");
        }
    }

    #[test]
    fn what_is_wrong_names_its_line() {
        let cases = [
            ("a: 1\n", 1),
            ("session_name: x\nwindows: y\n", 2),
            ("session_name: x\nwindows:\n- y\n", 3),
            ("session_name: x\nwindows:\n- panes: []\n", 3),
            ("session_name: x\nwindows:\n- layout: odd\n", 3),
            ("session_name: x\nwindows:\n- window_index: y\n", 3),
            ("session_name: x\nwindows: [\n", 3),
        ];
        for (text, line) in cases {
            let flaw = parse(text.as_bytes(), &READER).unwrap_err();
            assert_eq!(flaw.line, Some(line), "{text:?}: {flaw}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            words in prop::collection::vec("(windows|panes|shell_command|layout|options|focus|cd /x|- |: |\n|  |\\[|\\{|\\}|\\]|,|x)", 0..40),
        ) {
            let _ = parse(words.concat().as_bytes(), &READER);
        }
    }
}
