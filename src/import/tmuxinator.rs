//! Projects of tmuxinator: <https://github.com/tmuxinator/tmuxinator>.
//!
//! A window is a map with one key, its name, and holds a command, a list of commands, or a map with `layout`,
//! `root`, `pre` and `panes`; a pane is a command, a list of them, or a map from a title to those.

use crate::model::Options;
use crate::tmux::arrange::MainSizes;

use super::command::typed;
use super::yaml::{self, Node, Value};
use super::{
    Draft, DraftPane, DraftSession, DraftWindow, Flaw, PANES_MAX, PLACES_MAX, Reader, Shape, as_text,
    clean_name, session_name,
};

const HINT: &str = "see the README of tmuxinator for what it expects there";

/// What tmuxinator runs by itself, on this machine and not in a pane.
const HOOKS: [&str; 8] = [
    "on_project_start",
    "on_project_first_start",
    "on_project_restart",
    "on_project_exit",
    "on_project_stop",
    "pre",
    "post",
    "tmux_command",
];

/// Reads a file.
pub fn parse(file: &[u8], reader: &Reader<'_>) -> Result<Draft, Flaw> {
    let text = as_text(file, "tmuxinator")?;
    refuse_templates(text)?;
    let root = yaml::parse(text)?;
    let mut draft = Draft::default();
    let Some(windows) = root.get("windows").or_else(|| root.get("tabs")) else {
        return Err(Flaw::at(root.line, "there is no \"windows\" in it", HINT));
    };
    let name =
        root.get("project_name").or_else(|| root.get("name")).and_then(Node::text).unwrap_or(reader.name);
    for key in HOOKS {
        if let Some(node) = root.get(key) {
            draft.note(format!(
                "line {}: {key:?} is left out: tmuxinator runs it, an import runs nothing",
                node.line
            ));
        }
    }
    let directory = root.get("project_root").or_else(|| root.get("root")).and_then(Node::text).unwrap_or("~");
    let directory = reader.directory(directory, reader.directory);
    let before = commands(root.get("pre_window").or_else(|| root.get("pre_tab")))?;
    let base = directory.to_string();
    let mut session =
        DraftSession { name: session_name(name), directory: Some(directory), ..DraftSession::default() };
    let items = windows.items();
    if items.is_empty() || items.len() > PLACES_MAX {
        return Err(Flaw::at(windows.line, "\"windows\" is not a list with something in it", HINT));
    }
    for node in items {
        session.windows.push(window(node, reader, &base, &before, &mut draft)?);
    }
    start_at(&root, &mut session, &mut draft);
    draft.sessions.push(session);
    Ok(draft)
}

/// tmuxinator takes its files for ERB templates, which run Ruby.
fn refuse_templates(text: &str) -> Result<(), Flaw> {
    let at = text.lines().position(|line| line.contains("<%") && !line.trim_start().starts_with('#'));
    at.map_or(Ok(()), |at| {
        let what = "a template (\"<% … %>\"), which would run Ruby; nothing is run";
        Err(Flaw::at(at + 1, what, "copy the file and write there what it stands for"))
    })
}

/// `startup_window` is a name or an index, `startup_pane` an index. They count from `base-index` and
/// `pane-base-index`, which are the user's and by tmux's default 0.
fn start_at(root: &Node, session: &mut DraftSession, draft: &mut Draft) {
    for (key, option) in [("startup_window", "base-index"), ("startup_pane", "pane-base-index")] {
        let node = root.get(key).filter(|node| node.text().is_some_and(|text| text.parse::<u32>().is_ok()));
        if let Some(node) = node {
            let line = node.line;
            draft.note(format!("line {line}: {key:?} is taken as if your {option} were 0, as tmux has it"));
        }
    }
    if let Some(wanted) = root.get("startup_window").and_then(Node::text) {
        let by_name = session.windows.iter().position(|window| window.name.as_deref() == Some(wanted));
        let by_index = || wanted.parse().ok().filter(|at| *at < session.windows.len());
        session.active = by_name.or_else(by_index).unwrap_or(0);
    }
    let pane = root.get("startup_pane").and_then(Node::text).and_then(|text| text.parse().ok());
    if let (Some(pane), Some(window)) = (pane, session.windows.get_mut(session.active))
        && pane < window.panes.len()
    {
        window.active = pane;
    }
}

fn window(
    node: &Node,
    reader: &Reader<'_>,
    base: &str,
    before: &[String],
    draft: &mut Draft,
) -> Result<DraftWindow, Flaw> {
    let Some((name, content)) = node.entries().next() else {
        return Err(Flaw::at(node.line, "a window that is no \"name: …\"", HINT));
    };
    let directory = match content.get("root").and_then(Node::text) {
        Some(written) => reader.directory(written, base),
        None => base.into(),
    };
    let mut window = DraftWindow {
        name: Some(clean_name(name)).filter(|name| !name.is_empty()),
        shape: match content.get("layout") {
            Some(layout) => Shape::read(layout, MainSizes::default())?,
            None => Shape::default(),
        },
        options: synchronised(content),
        ..DraftWindow::default()
    };
    let pre = commands(content.get("pre"))?;
    let before: Vec<String> = before.iter().cloned().chain(pre).collect();
    let Some(panes) = content.get("panes") else {
        let own = if matches!(content.value, Value::Map(_)) { Vec::new() } else { commands(Some(content))? };
        let lines = before.into_iter().chain(own).collect();
        let runs = typed(lines, content.line, draft);
        window.panes.push(DraftPane { directory, runs, ..DraftPane::default() });
        return Ok(window);
    };
    let one = [panes];
    let items: Vec<&Node> = match &panes.value {
        Value::List(items) => items.iter().map(|item| &**item).collect(),
        _ => one.to_vec(),
    };
    if items.is_empty() || items.len() > PANES_MAX {
        return Err(Flaw::at(panes.line, "\"panes\" is not a list with something in it", HINT));
    }
    for node in items {
        let (title, content) = match &node.value {
            Value::Map(_) => {
                node.entries().next().map_or((None, None), |(title, node)| (Some(title), Some(node)))
            }
            _ => (None, Some(node)),
        };
        let lines = before.iter().cloned().chain(commands(content)?).collect();
        window.panes.push(DraftPane {
            title: title.map(clean_name),
            directory: directory.clone(),
            runs: typed(lines, node.line, draft),
            ..DraftPane::default()
        });
    }
    if let Some(wanted) = content.get("focused_pane").and_then(Node::text) {
        let by_title = window.panes.iter().position(|pane| pane.title.as_deref() == Some(wanted));
        window.active =
            by_title.or_else(|| wanted.parse().ok()).filter(|at| *at < window.panes.len()).unwrap_or(0);
    }
    Ok(window)
}

fn synchronised(content: &Node) -> Options {
    let wanted = content
        .get("synchronize")
        .is_some_and(|node| node.is_true() || matches!(node.text(), Some("before" | "after")));
    wanted.then(|| ("synchronize-panes".to_owned(), "on".into())).into_iter().collect()
}

fn commands(node: Option<&Node>) -> Result<Vec<String>, Flaw> {
    let Some(node) = node else { return Ok(Vec::new()) };
    match &node.value {
        Value::Null => Ok(Vec::new()),
        Value::Text(text) => Ok(vec![text.clone()]),
        Value::List(items) => items
            .iter()
            .filter(|item| !matches!(item.value, Value::Null))
            .map(|item| match item.text() {
                Some(text) => Ok(text.to_owned()),
                None => Err(Flaw::at(item.line, "a command that is no text", HINT)),
            })
            .collect(),
        Value::Map(_) => Err(Flaw::at(node.line, "a command that is no text", HINT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Runs;
    use proptest::prelude::*;

    const READER: Reader<'_> = Reader { home: "/home/ann", directory: "/work", name: "file", editor: "vi" };

    #[test]
    fn a_project_as_its_documentation_shows_them() {
        let text = "
# <%= comment %>
name: sample
root: ~/test
pre_window: rbenv shell 3.3
on_project_start: touch /tmp/x
startup_window: shell
startup_pane: 1
windows:
  - editor:
      layout: main-vertical
      synchronize: after
      root: ./web
      focused_pane: logs
      panes:
        - vim
        -
        - logs:
            - ssh server
            - echo hello
  - shell:
      panes: [null, top]
  - database: bundle exec rails db
  - git: [git pull, git merge]
  - capistrano:
";
        let draft = parse(text.as_bytes(), &READER).unwrap();
        let session = &draft.sessions[0];
        assert_eq!(session.windows.len(), 5);
        let editor = &session.windows[0];
        assert_eq!((editor.panes.len(), editor.active), (3, 2));
        assert_eq!(editor.panes[0].directory, "/home/ann/test/web".into());
        assert_eq!(editor.panes[2].title.as_deref(), Some("logs"));
        assert_eq!(editor.options.len(), 1);
        assert_eq!((session.active, session.windows[1].active), (1, 1));
        assert_eq!(
            session.windows[3].panes[0].runs,
            Runs::Lines(vec!["rbenv shell 3.3".into(), "git pull".into(), "git merge".into()])
        );
        // The hook, the index of a pane, and four panes in which nothing else was typed.
        let count = |word: &str| draft.notes.iter().filter(|note| note.contains(word)).count();
        let counts = ["on_project_start", "pane-base-index", "rbenv shell 3.3"].map(count);
        assert_eq!((counts, draft.notes.len()), ([1, 1, 3], 5), "{:#?}", draft.notes);
    }

    #[test]
    fn a_window_to_start_at_is_named_or_counted_as_tmux_counts_by_itself() {
        for (wanted, active, notes) in [("b", 1, 0), ("2", 2, 1), ("7", 0, 1), ("none", 0, 0)] {
            let text = format!("name: x\nstartup_window: {wanted}\nwindows: [a: vim, b: vim, c: vim]\n");
            let draft = parse(text.as_bytes(), &READER).unwrap();
            assert_eq!((draft.sessions[0].active, draft.notes.len()), (active, notes), "{wanted}");
        }
    }

    #[test]
    fn templates_are_refused_and_what_is_wrong_names_its_line() {
        let cases = [
            ("name: x\nroot: <%= `touch x` %>\nwindows:\n- a: b\n", 2),
            ("name: x\n", 1),
            ("name: x\nwindows:\n- just text\n", 3),
            ("name: x\nwindows:\n- a:\n    layout: odd\n", 4),
            ("name: x\nwindows:\n- a:\n    panes: []\n", 4),
        ];
        for (text, line) in cases {
            let flaw = parse(text.as_bytes(), &READER).unwrap_err();
            assert_eq!(flaw.line, Some(line), "{text:?}: {flaw}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            words in prop::collection::vec("(windows|panes|root|layout|pre|- |: |\n|  |\\[|\\{|\\}|\\]|,|x)", 0..40),
        ) {
            let _ = parse(words.concat().as_bytes(), &READER);
        }
    }
}
