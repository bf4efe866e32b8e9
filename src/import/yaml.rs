//! YAML as a tree of texts with the lines they are in.
//!
//! Scalars stay what was written: `1.10` is a name with four letters, not a number. Tags are refused, anchors and
//! merge keys work, and what aliases would blow up to is counted before anybody walks through it.

use std::borrow::Cow;
use std::rc::Rc;

use regex::{Captures, Regex};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::Flaw;

/// How deep lists and maps may nest.
const DEPTH_MAX: usize = 40;

/// The most bytes and nodes that a document may have once all aliases are put in.
const WEIGHT_MAX: u64 = 8 * 1024 * 1024;

/// A value and where it is.
#[derive(Debug)]
pub(super) struct Node {
    /// The line it begins in, counted from 1.
    pub line: usize,
    pub value: Value,
    /// Bytes and nodes in it, aliases put in.
    weight: u64,
}

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    /// Nothing was written, or `null`.
    Null,
    Text(String),
    List(Vec<Rc<Node>>),
    Map(Vec<(String, Rc<Node>)>),
}

impl Node {
    /// Returns the value of a key of a map; nothing where it is missing, null, or this is no map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        let (_, node) = entries.iter().find(|(name, _)| name == key)?;
        (!matches!(node.value, Value::Null)).then_some(node)
    }

    /// Returns the entries of a map, or none.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        let entries = if let Value::Map(entries) = &self.value { &entries[..] } else { &[] };
        entries.iter().map(|(key, node)| (key.as_str(), &**node))
    }

    /// Returns the text, if it is one.
    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// Returns the items of a list, or none.
    pub fn items(&self) -> &[Rc<Node>] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    /// Returns whether a text says yes, as tmux options, Python and Ruby write it.
    pub fn is_true(&self) -> bool {
        matches!(self.text(), Some("true" | "True" | "yes" | "on" | "1"))
    }
}

/// What is being read.
struct Open {
    line: usize,
    anchor: usize,
    items: Vec<Rc<Node>>,
    map: bool,
}

/// Reads the one document of a text, which can be JSON too.
pub(super) fn parse(text: &str) -> Result<Node, Flaw> {
    let text = &*with_whole_characters(text);
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: Vec<(usize, Rc<Node>)> = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(scan_flaw)?;
        let line = span.start.line();
        let (anchor, done) = match event {
            Event::SequenceStart(anchor, tag) => {
                refuse(tag.is_some(), &span)?;
                open.push(Open { line, anchor, items: Vec::new(), map: false });
                (0, None)
            }
            Event::MappingStart(anchor, tag) => {
                refuse(tag.is_some(), &span)?;
                open.push(Open { line, anchor, items: Vec::new(), map: true });
                (0, None)
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse(tag.is_some(), &span)?;
                (anchor, Some(Rc::new(scalar(&text, style, line))))
            }
            Event::Alias(anchor) => (0, Some(aliased(&anchors, anchor, line)?)),
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(closed) => (closed.anchor, Some(Rc::new(closed.close()?))),
                None => (0, None),
            },
            Event::DocumentStart(_) if root.is_some() => {
                return Err(Flaw::at(line, "a second document begins here", "keep one document in a file"));
            }
            _ => (0, None),
        };
        if open.len() > DEPTH_MAX {
            return Err(Flaw::at(line, "lists and maps nest too deeply", "flatten them"));
        }
        let Some(node) = done else { continue };
        if anchor > 0 {
            anchors.push((anchor, Rc::clone(&node)));
        }
        match open.last_mut() {
            Some(parent) => parent.items.push(node),
            None => root = Some(node),
        }
    }
    drop(anchors);
    let root = root.and_then(Rc::into_inner);
    root.ok_or_else(|| Flaw::whole("it is empty", "name a file with a session in it"))
}

/// JSON is YAML but for one thing: characters that UTF-16 has in two halves are written so (`\ud83d\ude80`), and
/// Python writes all that is not ASCII as escapes.
fn with_whole_characters(text: &str) -> Cow<'_, str> {
    let is_json =
        text.trim_start().starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    // A backslash that is escaped itself is passed over.
    let halves = Regex::new(r"\\\\|\\u([dD][89abAB][[:xdigit:]]{2})\\u([dD][c-fC-F][[:xdigit:]]{2})");
    let (true, Ok(halves)) = (is_json, halves) else { return Cow::Borrowed(text) };
    halves.replace_all(text, |found: &Captures<'_>| {
        let half = |at| u16::from_str_radix(found.get(at)?.as_str(), 16).ok();
        match half(1).zip(half(2)) {
            Some((high, low)) => String::from_utf16_lossy(&[high, low]),
            None => found[0].to_owned(),
        }
    })
}

fn scan_flaw(error: ScanError) -> Flaw {
    let what = format!("it is not YAML: {}", error.info());
    Flaw::at(
        error.marker().line(),
        what,
        "mend that line; the program that the file is for says the same of it",
    )
}

fn refuse(tagged: bool, span: &Span) -> Result<(), Flaw> {
    let flaw =
        || Flaw::at(span.start.line(), "a YAML tag (\"!…\")", "take the tag away: none is interpreted");
    if tagged { Err(flaw()) } else { Ok(()) }
}

fn scalar(text: &str, style: ScalarStyle, line: usize) -> Node {
    let null = style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
    let value = if null { Value::Null } else { Value::Text(text.to_owned()) };
    Node { line, value, weight: 1 + text.len() as u64 }
}

fn aliased(anchors: &[(usize, Rc<Node>)], anchor: usize, line: usize) -> Result<Rc<Node>, Flaw> {
    let found = anchors.iter().rev().find(|(id, _)| *id == anchor).map(|(_, node)| Rc::clone(node));
    found.ok_or_else(|| Flaw::at(line, "an alias (\"*…\") to what holds it", "write it out"))
}

impl Open {
    fn close(self) -> Result<Node, Flaw> {
        let weight = self.items.iter().fold(1u64, |sum, item| sum.saturating_add(item.weight));
        let line = self.line;
        let heavy = || Flaw::at(line, "aliases make this far too large", "write out what is meant");
        if weight > WEIGHT_MAX {
            return Err(heavy());
        }
        let value = if self.map { Value::Map(entries(&self.items)?) } else { Value::List(self.items) };
        let merged = if let Value::Map(entries) = &value {
            entries.iter().fold(1u64, |sum, (key, node)| sum.saturating_add(key.len() as u64 + node.weight))
        } else {
            0
        };
        if merged > WEIGHT_MAX {
            return Err(heavy());
        }
        Ok(Node { line, value, weight: weight.max(merged) })
    }
}

/// Pairs keys with values and puts in what `<<` names, which counts less than what is written.
fn entries(items: &[Rc<Node>]) -> Result<Vec<(String, Rc<Node>)>, Flaw> {
    let mut entries: Vec<(String, Rc<Node>)> = Vec::new();
    let mut merged: Vec<&Rc<Node>> = Vec::new();
    for pair in items.chunks(2) {
        let [key, value] = pair else { continue };
        let name = match &key.value {
            Value::Text(text) if text == "<<" => {
                merged.push(value);
                continue;
            }
            Value::Text(text) => text.clone(),
            Value::Null => String::new(),
            _ => {
                return Err(Flaw::at(
                    key.line,
                    "a key that is no text",
                    "write a name in front of the colon",
                ));
            }
        };
        entries.push((name, Rc::clone(value)));
    }
    let sources = merged.iter().flat_map(|node| match &node.value {
        Value::List(items) => items.iter().collect(),
        _ => vec![*node],
    });
    let mut known: std::collections::HashSet<String> = entries.iter().map(|(name, _)| name.clone()).collect();
    for source in sources {
        let Value::Map(more) = &source.value else { continue };
        for (name, node) in more {
            if known.insert(name.clone()) {
                entries.push((name.clone(), Rc::clone(node)));
            }
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scalars_are_what_was_written_and_know_their_line() {
        let node = parse("a: 1.10\nb:\n- 'null'\n- null\n-\nc: 0x10\n").unwrap();
        assert_eq!(node.get("a").unwrap().text(), Some("1.10"));
        let items = node.get("b").unwrap().items();
        assert_eq!((items[0].text(), items[1].text(), items[2].text()), (Some("null"), None, None));
        assert_eq!(items[1].line, 4);
        assert_eq!(node.get("c").unwrap().text(), Some("0x10"));
    }

    #[test]
    fn json_is_read_as_python_writes_it() {
        let node = parse(
            "{\n\t\"a\": \"\\ud83d\\uDE80 \\u00e9 \\\\ud83d\\\\ude80 \\/\",\n\t\"b\" : [1.10, null]\n}",
        )
        .unwrap();
        assert_eq!(node.get("a").unwrap().text(), Some("🚀 é \\ud83d\\ude80 /"));
        assert_eq!(
            (node.get("b").unwrap().line, node.get("b").unwrap().items()[0].text()),
            (3, Some("1.10"))
        );
        // No JSON: the quotes are YAML's, in which no backslash means anything.
        let node = parse(r"{a: '\ud83d\ude80'}").unwrap();
        assert_eq!(node.get("a").unwrap().text(), Some(r"\ud83d\ude80"));
        assert!(parse(r#"{"a": "\ud83d"}"#).is_err());
    }

    #[test]
    fn anchors_and_merge_keys_work() {
        let node = parse("d: &d {x: 1, y: 2}\na:\n  <<: *d\n  y: 3\nb: *d\n").unwrap();
        let a = node.get("a").unwrap();
        assert_eq!((a.get("x").unwrap().text(), a.get("y").unwrap().text()), (Some("1"), Some("3")));
        assert_eq!(node.get("b").unwrap().get("y").unwrap().text(), Some("2"));
    }

    #[test]
    fn what_is_refused_names_its_line() {
        let cases = [
            ("a: 1\nb: [", 3),
            ("a: 1\nb: !ruby/object:File x\n", 2),
            ("a: b\n---\nc: d\n", 2),
            ("a: 1\n? [x]\n: 2\n", 2),
        ];
        for (text, line) in cases {
            let flaw = parse(text).unwrap_err();
            assert_eq!(flaw.line, Some(line), "{text:?}: {flaw}");
        }
        assert!(parse("").is_err());
    }

    #[test]
    fn a_document_that_blows_up_is_refused() {
        let mut text = format!("a0: &a0 [{}]\n", vec!["lol"; 20].join(", "));
        for n in 1..20 {
            let list = vec![format!("*a{}", n - 1); 20].join(", ");
            text.push_str(&format!("a{n}: &a{n} [{list}]\n"));
        }
        assert!(parse(&text).unwrap_err().what.contains("too large"));
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&"- ".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([-:?&*!|>'\"{}\\[\\],#%@`\n \ta-c]|\\PC){0,80}") {
            let _ = parse(&text);
        }
    }
}
