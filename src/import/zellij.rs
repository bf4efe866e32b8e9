//! Layouts of zellij, in KDL 1: <https://zellij.dev/documentation/creating-a-layout>.
//!
//! Both what people write and what zellij saves by itself of every session,
//! `~/.cache/zellij/…/session_info/NAME/session-layout.kdl`, beside which lies the text of panes
//! (`initial_contents_1` and so on, with `serialize_pane_viewport`).
//!
//! Plugins (zellij's own bars) are left out. tmux up to 3.6 has no floating panes, so those of a tab get a window
//! of their own behind it. Templates are refused: a saved session has none.

use std::collections::BTreeMap;

use kdl::{KdlDocument, KdlNode, KdlValue};

use crate::model::ByteString;
use crate::tmux::arrange::{Area, Share};

use super::{
    Draft, DraftPane, DraftSession, DraftWindow, Flaw, PANES_MAX, PLACES_MAX, Reader, Runs, Shape, as_text,
    clean_name, command, session_name,
};

const HINT: &str =
    "import a session that zellij saved: ~/.cache/zellij/…/session_info/NAME/session-layout.kdl";

/// How deep nodes may nest. The parser of KDL calls itself for each level.
const DEPTH_MAX: usize = 24;

/// Nodes of a layout or a tab that say how panes will be laid out later, or how tabs begin.
const LATER: [&str; 6] = [
    "swap_tiled_layout",
    "swap_floating_layout",
    "new_tab_template",
    "default_tab_template",
    "pane_template",
    "tab_template",
];

/// Reads a file. `contents` are the files of panes' texts beside it, by their names.
pub fn parse(file: &[u8], contents: &BTreeMap<String, Vec<u8>>, reader: &Reader<'_>) -> Result<Draft, Flaw> {
    let text = as_text(file, "zellij")?;
    let document: KdlDocument = bounded(text)?.parse().map_err(|error: kdl::KdlError| {
        let what = format!("it is not KDL: {error}");
        Flaw::at(
            line_of(text, error.span.offset()),
            what,
            "mend that line; zellij setup --check says the same of it",
        )
    })?;
    let Some(layout) = document.get("layout") else {
        return Err(Flaw::whole("there is no \"layout\" in it", HINT));
    };
    let mut reading = Reading { text, contents, reader, draft: Draft::default() };
    let session = reading.session(layout)?;
    let mut draft = reading.draft;
    draft.sessions.push(session);
    Ok(draft)
}

/// Returns a text that the parser can take without running out of stack. It calls itself for each level of nodes,
/// within comments, for which it gets spaces, and for `/-` before `/-`.
fn bounded(text: &str) -> Result<String, Flaw> {
    let mut bounded = String::with_capacity(text.len());
    let (mut depth, mut slashdash) = (0usize, false);
    while let Some(c) = text[bounded.len()..].chars().next() {
        let rest = &text[bounded.len()..];
        let flaw = |what| Err(Flaw::at(line_of(text, bounded.len()), what, HINT));
        if let Some(length) = comment_length(rest) {
            let Some(comment) = rest.get(..length) else { return flaw("a comment has no end") };
            bounded.extend(comment.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
            continue;
        }
        let starts_slashdash = rest.starts_with("/-");
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX || (starts_slashdash && slashdash) {
            return flaw("nodes nest too deeply");
        }
        let length = if starts_slashdash { 2 } else { string_length(rest).unwrap_or(c.len_utf8()) };
        bounded.push_str(&rest[..length]);
        slashdash = starts_slashdash || (slashdash && (c.is_whitespace() || "\\\u{feff}".contains(c)));
    }
    Ok(bounded)
}

/// Returns how long the string is, raw or not, that a text begins with.
fn string_length(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix('r').map(|rest| rest.len() - rest.trim_start_matches('#').len());
    let opened = 1 + hashes.map_or(0, |hashes| 1 + hashes);
    let inner = text.get(opened - 1..)?.strip_prefix('"')?;
    let end = match hashes {
        Some(hashes) => inner.find(&format!("\"{}", "#".repeat(hashes))).map(|end| end + 1 + hashes),
        None => {
            let mut escaped = false;
            let end = inner.bytes().position(|byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            });
            end.map(|end| end + 1)
        }
    };
    Some(opened + end.unwrap_or(inner.len()))
}

/// Returns how long the comment is that a text begins with, more than there is if it has no end. Comments of several
/// lines hold others.
fn comment_length(text: &str) -> Option<usize> {
    const NEWLINES: [char; 6] = ['\n', '\r', '\u{85}', '\u{c}', '\u{2028}', '\u{2029}'];
    if text.starts_with("//") {
        return Some(text.find(NEWLINES).unwrap_or(text.len()));
    }
    let (mut open, mut at) = (1usize, text.starts_with("/*").then_some(2)?);
    while open > 0 && at < text.len() {
        let step = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => Some(open + 1),
            [b'*', b'/', ..] => Some(open - 1),
            _ => None,
        };
        at += if step.is_some() { 2 } else { 1 };
        open = step.unwrap_or(open);
    }
    Some(if open == 0 { at } else { text.len() + 1 })
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

struct Reading<'a> {
    text: &'a str,
    contents: &'a BTreeMap<String, Vec<u8>>,
    reader: &'a Reader<'a>,
    draft: Draft,
}

impl Reading<'_> {
    fn flaw(&self, node: &KdlNode, what: impl Into<String>) -> Flaw {
        Flaw::at(line_of(self.text, node.span().offset()), what, HINT)
    }

    fn session(&mut self, layout: &KdlNode) -> Result<DraftSession, Flaw> {
        let directory = self.directory(layout, self.reader.directory);
        let base = directory.to_string();
        let mut session = DraftSession {
            name: session_name(self.reader.name),
            directory: Some(directory),
            ..DraftSession::default()
        };
        for node in children(layout).iter().filter(|node| node.name().value() == "tab") {
            if flag(node, "focus") {
                session.active = session.windows.len();
            }
            self.tab(node, &base, &mut session.windows)?;
            if session.windows.len() > PLACES_MAX {
                return Err(self.flaw(node, "more tabs than tmux can show"));
            }
        }
        if session.windows.is_empty() {
            // Panes without a tab are one.
            self.tab(layout, self.reader.directory, &mut session.windows)?;
        }
        Ok(session)
    }

    fn tab(&mut self, tab: &KdlNode, base: &str, windows: &mut Vec<DraftWindow>) -> Result<(), Flaw> {
        let base = self.directory(tab, base).to_string();
        let name = property(tab, "name").and_then(text_of).map(clean_name);
        let mut panes = Panes::default();
        let area = self.container(tab, &base, &mut panes)?;
        let mut floating = Panes::default();
        for node in children(tab).iter().filter(|node| node.name().value() == "floating_panes") {
            for pane in children(node).iter().filter(|node| node.name().value() == "pane") {
                self.pane(pane, &base, &mut floating)?;
            }
        }
        if panes.panes.is_empty() && floating.panes.is_empty() {
            panes.panes.push(DraftPane { directory: base.as_str().into(), ..DraftPane::default() });
        }
        if !panes.panes.is_empty() {
            windows.push(panes.window(name.clone(), Shape::Tree(area.unwrap_or(Area::Pane))));
        }
        if !floating.panes.is_empty() {
            let line = line_of(self.text, tab.span().offset());
            self.draft
                .note(format!("line {line}: floating panes are in a window of their own, \"floating\""));
            windows.push(floating.window(Some("floating".to_owned()), Shape::default()));
        }
        Ok(())
    }

    /// Reads the panes in a node and how they share its place; nothing when there are none.
    fn container(&mut self, node: &KdlNode, base: &str, panes: &mut Panes) -> Result<Option<Area>, Flaw> {
        let mut parts = Vec::new();
        for child in children(node) {
            match child.name().value() {
                "pane" => {
                    if let Some(area) = self.pane(child, base, panes)? {
                        parts.push((share(child), area));
                    }
                }
                "floating_panes" | "cwd" | "name" | "plugin" | "children" | "focus" => {}
                known if LATER.contains(&known) || is_property(known) => {}
                "tab" => {}
                other => {
                    return Err(self.flaw(child, format!("the template {other:?}: templates are not read")));
                }
            }
        }
        let side_by_side = property(node, "split_direction").and_then(text_of) == Some("vertical");
        Ok(match parts.len() {
            0 => None,
            _ if side_by_side => Some(Area::Row(parts)),
            _ => Some(Area::Column(parts)),
        })
    }

    /// Reads a pane, or what is in it; nothing for a plugin.
    fn pane(&mut self, node: &KdlNode, base: &str, panes: &mut Panes) -> Result<Option<Area>, Flaw> {
        let inner = children(node);
        if inner.iter().any(|child| child.name().value() == "plugin") || property(node, "plugin").is_some() {
            return Ok(None);
        }
        let directory = self.directory(node, base);
        let holds_panes = |child: &KdlNode| !is_property(child.name().value());
        if inner.iter().any(holds_panes) {
            return self.container(node, &directory.to_string(), panes);
        }
        if panes.panes.len() >= PANES_MAX {
            return Err(self.flaw(node, "more panes than tmux can show"));
        }
        if flag(node, "focus") {
            panes.active = panes.panes.len();
        }
        let text = property(node, "contents_file").and_then(text_of).and_then(|name| self.contents.get(name));
        panes.panes.push(DraftPane {
            title: property(node, "name").and_then(text_of).map(clean_name),
            runs: self.runs(node),
            directory,
            text: text.cloned().unwrap_or_default(),
            ..DraftPane::default()
        });
        Ok(Some(Area::Pane))
    }

    fn runs(&self, node: &KdlNode) -> Runs {
        let named = children(node).iter().find(|child| child.name().value() == "args");
        let arguments = named.into_iter().flat_map(KdlNode::entries).map(|entry| plain(entry.value()));
        match (property(node, "command").and_then(text_of), property(node, "edit").and_then(text_of)) {
            (Some(command), _) => {
                command::instead(std::iter::once(command.to_owned()).chain(arguments).collect())
            }
            (None, Some(file)) => Runs::Instead(vec![self.reader.editor.to_owned(), file.to_owned()]),
            (None, None) => Runs::Shell,
        }
    }

    fn directory(&self, node: &KdlNode, base: &str) -> ByteString {
        let written = property(node, "cwd").and_then(text_of).unwrap_or(".");
        self.reader.directory(written, base)
    }
}

#[derive(Default)]
struct Panes {
    panes: Vec<DraftPane>,
    active: usize,
}

impl Panes {
    fn window(self, name: Option<String>, shape: Shape) -> DraftWindow {
        let Panes { panes, active } = self;
        DraftWindow { name, shape, panes, active, ..DraftWindow::default() }
    }
}

fn children(node: &KdlNode) -> &[KdlNode] {
    node.children().map_or(&[], KdlDocument::nodes)
}

/// Returns whether a child node of a pane says something of it instead of being in it.
fn is_property(name: &str) -> bool {
    const PROPERTIES: [&str; 21] = [
        "_allow_exec_host_cmd",
        "command",
        "args",
        "cwd",
        "edit",
        "exclude_from_sync",
        "name",
        "focus",
        "size",
        "borderless",
        "close_on_exit",
        "start_suspended",
        "split_direction",
        "stacked",
        "expanded",
        "contents_file",
        "x",
        "y",
        "width",
        "height",
        "pinned",
    ];
    PROPERTIES.contains(&name) || name.starts_with("default_")
}

/// Returns what a node says of itself: behind its name or as a node in it.
fn property<'a>(node: &'a KdlNode, name: &str) -> Option<&'a KdlValue> {
    let behind = || node.entries().iter().find(|entry| entry.name().is_some_and(|key| key.value() == name));
    let inside = || children(node).iter().find(|child| child.name().value() == name)?.entries().first();
    behind().or_else(inside).map(kdl::KdlEntry::value)
}

fn text_of(value: &KdlValue) -> Option<&str> {
    value.as_string()
}

fn plain(value: &KdlValue) -> String {
    value.as_string().map_or_else(|| value.to_string(), str::to_owned)
}

fn flag(node: &KdlNode, name: &str) -> bool {
    property(node, name).and_then(KdlValue::as_bool).unwrap_or(false)
}

/// `size` is so many cells, or a text with so much of a hundred.
fn share(node: &KdlNode) -> Share {
    let size = property(node, "size").map(plain);
    size.and_then(|size| size.parse().ok()).unwrap_or(Share::Rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const READER: Reader<'_> =
        Reader { home: "/home/ann", directory: "/work", name: "my.session", editor: "vi" };

    fn read(text: &str) -> Result<Draft, Flaw> {
        parse(
            text.as_bytes(),
            &BTreeMap::from([("initial_contents_1".to_owned(), b"text\n".to_vec())]),
            &READER,
        )
    }

    /// In the form in which zellij 0.40 and later saves a session.
    const SAVED: &str = r#"
layout {
    cwd "/srv"
    tab name="Tab #1" focus=true hide_floating_panes=true {
        pane size=1 borderless=true {
            plugin location="zellij:tab-bar"
        }
        pane split_direction="vertical" {
            pane cwd="web app" size="30%" contents_file="initial_contents_1"
            pane size="70%" {
                pane command="cargo" cwd="/tmp" focus=true size="50%" {
                    args "watch" "-x" "run -- 1"
                    start_suspended true
                }
                pane edit="a b.txt" size="50%"
            }
        }
        pane size=2 borderless=true {
            plugin location="zellij:status-bar"
        }
        floating_panes {
            pane command="top" {
                height 10
                width "50%"
                x 1
                y 2
            }
        }
    }
    tab name="two" {
        pane command="bash"
    }
    new_tab_template {
        pane
    }
    swap_tiled_layout name="vertical" {
        tab max_panes=5 {
            pane { children; }
        }
    }
}
"#;

    #[test]
    fn a_saved_session_becomes_windows_with_its_shares() {
        let draft = read(SAVED).unwrap();
        let session = &draft.sessions[0];
        assert_eq!((session.name.as_str(), session.windows.len(), session.active), ("my_session", 3, 0));
        let first = &session.windows[0];
        assert_eq!(first.panes[0].directory, "/srv/web app".into());
        assert_eq!(first.panes[0].text, b"text\n");
        let words = ["cargo", "watch", "-x", "run -- 1"].map(str::to_owned).to_vec();
        assert_eq!((first.active, &first.panes[1].runs), (1, &Runs::Instead(words)));
        assert_eq!(first.panes[2].runs, Runs::Instead(vec!["vi".into(), "a b.txt".into()]));
        let Shape::Tree(area) = &first.shape else { panic!("{first:?}") };
        let layout = crate::tmux::arrange::place(area, (101, 41)).render();
        assert!(
            layout.ends_with("101x41,0,0{30x41,0,0,0,70x41,31,0[70x20,31,0,1,70x20,31,21,2]}"),
            "{layout}"
        );
        assert_eq!(session.windows[1].panes[0].runs, Runs::Instead(vec!["top".into()]));
        assert_eq!(session.windows[2].panes[0].runs, Runs::OtherShell("bash".into()));
        assert_eq!(draft.notes.len(), 1);
    }

    #[test]
    fn panes_without_a_tab_are_one_window() {
        let draft = read(
            "layout {\n pane\n pane split_direction=\"vertical\" {\n pane\n pane command=\"htop\"\n }\n}\n",
        );
        assert_eq!(draft.unwrap().sessions[0].windows[0].panes.len(), 3);
    }

    #[test]
    fn what_says_something_of_a_pane_is_no_template() {
        let text = "layout {\n pane { exclude_from_sync true; }\n pane { _allow_exec_host_cmd true; }\n}\n";
        assert_eq!(read(text).unwrap().sessions[0].windows[0].panes.len(), 2);
    }

    #[test]
    fn braces_in_strings_and_comments_nest_nothing() {
        let braces = "{".repeat(30);
        let texts = [
            format!("layout {{\n{}}}", "pane command=\"ls\" { args \"src/*\"; }\n".repeat(30)),
            format!("layout {{\npane command=\"jq\" {{ args \"{braces}\\\"{braces}\"; }}\n}}"),
            format!("layout {{\npane command=\"jq\" {{ args r#\"{braces}\"{braces}\"#; }}\n}}"),
            format!("// it's \" {braces}\nlayout {{\n/* \" {braces} /* x */ ** / */ pane // {braces}\n}}"),
            format!("/{}/\nlayout {{ pane; }}", "*".repeat(100_000)),
        ];
        for text in texts {
            assert!(read(&text).is_ok(), "{:?}: {text:.200}", read(&text));
        }
        let words = |text: &str| read(text).unwrap().sessions[0].windows[0].panes[0].runs.clone();
        let runs = words("layout {\n pane command=\"x\" { args \"/* no comment */\" r\"// \\\"; }\n}");
        assert_eq!(runs, Runs::Instead(["x", "/* no comment */", "// \\"].map(str::to_owned).to_vec()));
        let flaw = read("layout {\n/*\n é */ tab {\n mine\n }\n}\n").unwrap_err();
        assert_eq!(flaw.line, Some(4), "what stands for a comment is as long: {flaw}");
    }

    #[test]
    fn what_is_wrong_names_its_line() {
        let cases = [
            ("panes\n", None),
            ("layout {\n  pane size=\n}\n", Some(2)),
            ("layout {\n  tab {\n    my_template\n  }\n}\n", Some(3)),
        ];
        for (text, line) in cases {
            let flaw = read(text).unwrap_err();
            assert_eq!(flaw.line, line, "{text:?}: {flaw}");
        }
        assert!(read(&"a {".repeat(100_000)).is_err());
        assert!(read(&"/*".repeat(100_000)).is_err());
        assert!(read(&"/-".repeat(100_000)).is_err());
        assert!(read(&"/- ".repeat(100_000)).is_err());
        assert!(read(&format!("layout {{ pane {} }}", "/- ".repeat(100_000))).is_err());
        assert!(read(&"layout {\npane {".repeat(12)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            words in prop::collection::vec("(layout|tab|pane|command=|size=|\"50%\"|\"x\"|floating_panes|args| |\n|\\{|\\}|;|=|/\\*|\\*/|#)", 0..30),
        ) {
            let _ = read(&words.concat());
            let _ = read(&format!("layout {{\n{}\n}}", words.concat()));
        }
    }
}
