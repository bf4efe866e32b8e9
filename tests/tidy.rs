//! The rules of this repository that a machine can check.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// The longest file, without its tests, in lines.
const FILE_LINES_MAX: usize = 600;

/// The longest function, in lines.
const FUNCTION_LINES_MAX: usize = 70;

/// What decides. It gets values and returns values. A name that ends in / is a folder.
const PURE: [&str; 34] = [
    "src/cgroup/memory.rs",
    "src/diagnosis/",
    "src/doctor/checks.rs",
    "src/ends/status.rs",
    "src/history/fit.rs",
    "src/import/",
    "src/keeper/action.rs",
    "src/keeper/changes.rs",
    "src/keeper/event.rs",
    "src/keeper/room.rs",
    "src/keeper/state/",
    "src/redact/",
    "src/restore/approved.rs",
    "src/restore/compare.rs",
    "src/restore/diff.rs",
    "src/restore/hog.rs",
    "src/restore/limit.rs",
    "src/restore/manner.rs",
    "src/restore/pace.rs",
    "src/restore/plan.rs",
    "src/restore/plan/",
    "src/restore/policy.rs",
    "src/restore/remains.rs",
    "src/restore/restart.rs",
    "src/restore/selection.rs",
    "src/store/retention.rs",
    "src/systemd/ending.rs",
    "src/systemd/journal/boot.rs",
    "src/systemd/journal/entry.rs",
    "src/systemd/journal/kernel.rs",
    "src/systemd/journal/messages.rs",
    "src/tmux/arrange.rs",
    "src/tmux/layout.rs",
    "src/tmux/text.rs",
];

/// What a pure file does without: the disk, other processes, the clock, waiting.
const IMPURE: [&str; 9] = [
    "std::fs",
    "std::process",
    "std::env",
    "tokio",
    "nix::",
    "zbus",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
];

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> = sources().into_iter().filter(|source| !source.text.starts_with("//!")).collect();
    assert!(silent.is_empty(), "these do not begin with a //! line: {:?}", names(&silent));
}

#[test]
fn files_and_functions_are_small() {
    let mut long = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let code = source.code();
        if code.lines().count() > FILE_LINES_MAX {
            long.push(format!("{}: {} lines", source.name, code.lines().count()));
        }
        for (name, lines) in functions(code).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX) {
            long.push(format!("{}: fn {name} has {lines} lines", source.name));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn what_decides_is_pure() {
    let sources = sources();
    let mut found = Vec::new();
    for place in PURE {
        let files: Vec<_> =
            sources.iter().filter(|source| source.is_at(place) && !source.is_test()).collect();
        assert!(!files.is_empty(), "{place} is gone; mend the list in {}", file!());
        for source in files {
            let code = source.code().lines().filter(|line| !line.trim_start().starts_with("//"));
            let code: String = code.collect::<Vec<_>>().join("\n");
            let words = IMPURE.iter().filter(|word| code.contains(*word));
            found.extend(words.map(|word| format!("{}: {word}", source.name)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn functions_are_measured_right() {
    let code =
        "fn a() {\n}\n\nimpl X {\n    pub async fn b(\n        x: u8,\n    ) -> u8 {\n        x\n    }\n}\n";
    assert_eq!(functions(code), [("a".to_owned(), 2), ("b".to_owned(), 5)]);
}

/// A file of the sources.
#[derive(Debug)]
struct Source {
    name: String,
    text: String,
}

impl Source {
    /// Whether it is nothing but tests; those may be long.
    fn is_test(&self) -> bool {
        self.name.starts_with("tests/") || self.name.contains("/tests/") || self.name.ends_with("/tests.rs")
    }

    fn is_at(&self, place: &str) -> bool {
        if place.ends_with('/') { self.name.starts_with(place) } else { self.name == place }
    }

    /// Returns what is not a test.
    fn code(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod tests {").next().unwrap()
    }
}

fn names(sources: &[Source]) -> Vec<&str> {
    sources.iter().map(|source| source.name.as_str()).collect()
}

/// Every Rust file of the repository.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut folders: Vec<PathBuf> = ["src", "tests", "benches"].map(|folder| root.join(folder)).into();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") {
                sources.push(Source { text: fs::read_to_string(&path).unwrap(), name });
            }
        }
    }
    assert!(sources.len() > 50, "looked in the wrong place");
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    sources
}

/// Returns name and length of every function; the layout that rustfmt gives makes this simple.
fn functions(code: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.trim_start().split(' ').collect();
        let starts = words.iter().position(|word| *word == "fn").filter(|at| {
            words[..*at].iter().all(|word| ["async", "const"].contains(word) || word.starts_with("pub"))
        });
        let (Some(starts), false) = (starts, line.ends_with(';') || line.ends_with('}')) else { continue };
        let name = words[starts + 1].split(['(', '<']).next().unwrap();
        let end = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[at..].iter().position(|line| *line == end) {
            found.push((name.to_owned(), length + 1));
        }
    }
    found
}
