//! Reads the configuration files and merges them, weakest first: `/etc/agent-keeper/config.toml`,
//! `/etc/agent-keeper/config.toml.d/*.toml`, then the same two in the user's own directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::similar::nearest;

use super::{Fragment, KEYS, Settings};

/// The directory of the machine's administrator.
const SYSTEM_DIR: &str = "/etc/agent-keeper";

/// How serde calls what a time is read into.
const SERDE_DURATION: &str = "expected a signed duration string";

/// How jiff begins when a text is not a time.
const JIFF_DURATION: &str = "failed to parse input in the \"friendly\"";

/// How we call it.
const TIME: &str = "expected a time such as \"5s\" or \"2min\"";

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// That file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Content {
        /// That file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// A value is out of its bounds.
    #[error("in the configuration below {}: {message}", dir.display())]
    Value {
        /// The user's directory.
        dir: PathBuf,
        /// Which key, and what it may be.
        message: String,
    },
}

/// Reads all files there are; none is needed.
pub fn load(user_dir: &Path) -> Result<Settings, ConfigError> {
    let mut merged = Fragment::default();
    for path in files_below(Path::new(SYSTEM_DIR))?.into_iter().chain(files_below(user_dir)?) {
        merged = read(&path)?.over(merged);
    }
    Settings::check(merged).map_err(|message| ConfigError::Value { dir: user_dir.to_owned(), message })
}

/// Returns the configuration files of a directory that are there, weakest first.
fn files_below(dir: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let main = dir.join("config.toml");
    // Also one that cannot be read is there, and so is a link to nothing: somebody meant something by it.
    let mut files: Vec<PathBuf> = fs::symlink_metadata(&main).is_ok().then_some(main).into_iter().collect();
    let drop_ins = dir.join("config.toml.d");
    let entries = match fs::read_dir(&drop_ins) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        Err(source) => return Err(ConfigError::Read { path: drop_ins, source }),
    };
    let mut named: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    named.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    named.sort();
    files.extend(named);
    Ok(files)
}

fn read(path: &Path) -> Result<Fragment, ConfigError> {
    let text =
        fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text).map_err(|(offset, message)| {
        let (line, column) = position(&text, offset);
        ConfigError::Content { path: path.to_owned(), line, column, message }
    })
}

/// Reads the text of a file. The error is the offset of what is wrong, and what is.
fn parse(text: &str) -> Result<Fragment, (usize, String)> {
    toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let mut message = match error.message() {
            message if message.starts_with(JIFF_DURATION) => TIME.to_owned(),
            message => message.replace(SERDE_DURATION, TIME),
        };
        if let Some(key) = text.get(span.clone()).and_then(|word| nearest_key(word, &message)) {
            message = format!("{message}; did you mean {key}?");
        }
        (span.start, message)
    })
}

/// Returns the key that was probably meant: one that may stand in this place, else one of another table.
fn nearest_key(word: &str, message: &str) -> Option<String> {
    // serde words it so; should it change, only the suggestion is lost.
    let rest = message.strip_prefix("unknown field ")?;
    let here = rest.split('`').skip(1).step_by(2).skip(1).map(|name| (name, name.to_owned()));
    let elsewhere = KEYS.iter().map(|key| (key.name, format!("{}.{}", key.table, key.name)));
    nearest(word, here).or_else(|| nearest(word, elsewhere))
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().len() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TmuxSocket;
    use std::time::Duration;

    fn error(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.toml"), text).unwrap();
        let error = load(dir.path()).unwrap_err().to_string();
        error.replace(dir.path().to_str().unwrap(), "DIR")
    }

    #[test]
    fn nothing_is_needed_and_defaults_are_as_documented() {
        let dir = tempfile::tempdir().unwrap();
        let settings = load(dir.path()).unwrap();
        let written: String = KEYS
            .iter()
            .filter(|key| key.default != "(none)")
            .fold(String::new(), |text, key| format!("{text}{}.{} = {}\n", key.table, key.name, key.default));
        fs::write(dir.path().join("config.toml"), written).unwrap();
        assert_eq!(load(dir.path()).unwrap(), settings);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let cases = [
            (
                "[snapshot]\nintervall = \"1s\"\n",
                "DIR/config.toml:2:1: unknown field `intervall`, expected one of `interval`, `output_interval`, `scrollback_lines`, `scrollback_total`, `redact`, `buffers`; did you mean interval?",
            ),
            (
                "[tmux]\nfound = \"yes\"\n",
                "DIR/config.toml:2:9: invalid type: string \"yes\", expected a boolean",
            ),
            (
                "[snapshots]\n",
                "DIR/config.toml:1:2: unknown field `snapshots`, expected one of `tmux`, `snapshot`, `restore`, `restart`, `session`, `drill`, `notify`; did you mean snapshot?",
            ),
            (
                "[restore]\nfuond = true\n",
                "DIR/config.toml:2:1: unknown field `fuond`, expected one of `auto`, `approved`, `pace`, `min_available`, `max_pressure`, `still_yours`; did you mean tmux.found?",
            ),
            (
                "intervall = 3\n",
                "DIR/config.toml:1:1: unknown field `intervall`, expected one of `tmux`, `snapshot`, `restore`, `restart`, `session`, `drill`, `notify`; did you mean snapshot.interval?",
            ),
            (
                "[snapshot]\ninterval = 5\n",
                "DIR/config.toml:2:12: invalid type: integer `5`, expected a time such as \"5s\" or \"2min\"",
            ),
            (
                "[snapshot]\ninterval = \"soon\"\n",
                "DIR/config.toml:2:12: expected a time such as \"5s\" or \"2min\"",
            ),
            (
                "[snapshot]\ninterval = \"1ms\"\n",
                "in the configuration below DIR: snapshot.interval must be 200ms to 60s, not 1ms",
            ),
            (
                "[snapshot]\nscrollback_lines = 60000\n",
                "in the configuration below DIR: snapshot.scrollback_lines must be 0 to 50000, not 60000",
            ),
            (
                "[restore]\napproved = [\"top\", \"'\"]\n",
                "in the configuration below DIR: restore.approved: \"'\" is no command",
            ),
            (
                "[snapshot]\nscrollback_total = \"2 GiB\"\n",
                "in the configuration below DIR: snapshot.scrollback_total must be 1 MiB to 1 GiB, not 2.0 GiB",
            ),
            (
                "[session.\"a*\"]\nscrolback = false\n",
                "DIR/config.toml:2:1: unknown field `scrolback`, expected `scrollback`; did you mean scrollback?",
            ),
            (
                "[drill]\nevery = \"often\"\n",
                "DIR/config.toml:2:9: expected a time such as \"7d\" or \"2 weeks\", or \"off\"",
            ),
            ("[restore]\npace = 0\n", "in the configuration below DIR: restore.pace must be 1 to 100, not 0"),
            (
                "[restore]\nstill_yours = \"5min\"\n",
                "in the configuration below DIR: restore.still_yours must be 1h to 365d, or \"off\", not 5m",
            ),
            (
                "[restart]\nagents = \"sometimes\"\n",
                "DIR/config.toml:2:10: unknown variant `sometimes`, expected one of `never`, `on-failure`, `always`",
            ),
            (
                "[restart]\nstart_limit_burst = 0\n",
                "in the configuration below DIR: restart.start_limit_burst must be 1 to 1000, not 0",
            ),
            (
                "[restart]\nstart_limit_interval_sec = \"1ms\"\n",
                "in the configuration below DIR: restart.start_limit_interval_sec must be 1s to 86400s, not 1ms",
            ),
            (
                "[drill]\nevery = \"5min\"\n",
                "in the configuration below DIR: drill.every must be 1h to 365d, or \"off\", not 5m",
            ),
            (
                "[notify]\ncommand = \"mail-me\"\n",
                "DIR/config.toml:2:11: invalid type: string \"mail-me\", expected a sequence",
            ),
            (
                "[notify]\ncommand = [\"\"]\n",
                "in the configuration below DIR: notify.command must be a program and its arguments, as in [\"mail-me\", \"--now\"]",
            ),
            (
                "[tmux]\nsocket_name = \"a/b\"\n",
                "in the configuration below DIR: tmux.socket_name must be a name without /, not \"a/b\"",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(error(text), expected);
        }
        assert!(error("[tmux\n").starts_with("DIR/config.toml:1:6: "), "{}", error("[tmux\n"));
        assert!(error("[snapshot]\ninterval = \"soon\"\n").starts_with("DIR/config.toml:2:12: "));
    }

    #[test]
    fn drop_ins_win_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let drop_ins = dir.path().join("config.toml.d");
        fs::create_dir(&drop_ins).unwrap();
        fs::write(dir.path().join("config.toml"), "[tmux]\nsocket_path = \"/a\"\nfound = false\n").unwrap();
        fs::write(drop_ins.join("20.toml"), "[tmux]\nsocket_name = \"work\"\n").unwrap();
        fs::write(
            drop_ins.join("10.toml"),
            "[tmux]\nsocket_name = \"home\"\n[snapshot]\ninterval = \"2s\"\n",
        )
        .unwrap();
        fs::write(drop_ins.join("notes.txt"), "not toml").unwrap();
        let settings = load(dir.path()).unwrap();
        assert_eq!(settings.socket, TmuxSocket::Name("work".to_owned()));
        assert_eq!((settings.found, settings.interval), (false, Duration::from_secs(2)));
    }
}
