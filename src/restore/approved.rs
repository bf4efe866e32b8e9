//! Which programs start unasked in a restored pane, besides shells: those on the user's list.

use crate::model::{ByteString, Process, Program, StartMode};

/// The list while the user has none. These only show or edit something, whatever their arguments are. vim,
/// emacs, less, man, watch and ssh are not among them: with the right arguments (`vim -c`, `less +!`) they run
/// commands, and a command may do harm the second time.
pub const DEFAULT: [&str; 6] = ["btop", "htop", "more", "nano", "tail", "top"];

/// The programs that somebody approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved(Vec<Vec<String>>);

impl Approved {
    /// Returns the list on which nothing is.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Reads entries such as `tail -f`, each in words as a shell splits them. The error says which is none.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, String> {
        let words = |entry: &S| {
            let entry = entry.as_ref();
            let words =
                shlex::split(entry).filter(|words| words.first().is_some_and(|name| !name.is_empty()));
            words.ok_or_else(|| format!("{entry:?} is no command"))
        };
        entries.iter().map(words).collect::<Result<_, _>>().map(Self)
    }

    /// Returns whether everything that a program starts besides shells is approved, and that there is something.
    pub fn covers(&self, program: &Program) -> bool {
        let mut jobs = program.to_be_started().peekable();
        jobs.peek().is_some()
            && jobs.flatten().all(|process| self.0.iter().any(|entry| matches(entry, process)))
    }

    /// Returns what a pane does with a program where, without approval, it would do `otherwise`.
    pub fn mode(&self, otherwise: StartMode, program: &Program) -> StartMode {
        match otherwise {
            StartMode::Ask if self.covers(program) => StartMode::Run,
            mode => mode,
        }
    }
}

/// Returns whether a process was called with the words of an entry, and perhaps more behind them. The name
/// counts without its directory, unless the entry has one; then it is that of the executable, or what was typed.
fn matches(entry: &[String], process: &Process) -> bool {
    let (Some((name, words)), Some((called, arguments))) = (entry.split_first(), process.argv.split_first())
    else {
        return false;
    };
    let named = match name.contains('/') {
        true => [called, &process.exe].iter().any(|path| path.as_bytes() == name.as_bytes()),
        false => called.base_name() == name.as_bytes(),
    };
    let same = |(word, argument): (&String, &ByteString)| word.as_bytes() == argument.as_bytes();
    named && words.len() <= arguments.len() && words.iter().zip(arguments).all(same)
}

impl Default for Approved {
    fn default() -> Self {
        Self(DEFAULT.iter().map(|name| vec![(*name).to_owned()]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Job;
    use crate::model::sample::process;

    fn shell(job: &[&[&str]], background: &[(&[&str], bool)]) -> Program {
        Program::Shell {
            shell: process(&["-bash"]),
            nested: vec![process(&["sh"])],
            job: job.iter().map(|argv| process(argv)).collect(),
            background: background
                .iter()
                .map(|(argv, stopped)| Job { processes: vec![process(argv)], stopped: *stopped })
                .collect(),
        }
    }

    #[test]
    fn what_runs_by_itself() {
        let list = ["htop", "tail -f", "/usr/bin/top", "grep 'a b'"];
        let cases: [(&[&str], bool); 17] = [
            (&["htop"], true),
            (&["/usr/local/bin/htop", "-d", "5"], true),
            (&["htop-evil"], false),
            (&["-htop"], false),
            (&["tail", "-f", "/var/log/syslog"], true),
            (&["tail", "-F", "-f"], false),
            (&["tail"], false),
            (&["tail -f"], false),
            (&["tail -f", "x"], false),
            (&["/usr/bin/top"], true),
            (&["top"], true),
            (&["grep", "a b", "x"], true),
            (&["grep", "a", "b"], false),
            (&["sh", "-c", "htop"], false),
            (&["sudo", "htop"], false),
            (&[""], false),
            (&["x", "htop"], false),
        ];
        let approved = Approved::parse(&list).unwrap();
        for (argv, expected) in cases {
            assert_eq!(approved.covers(&shell(&[argv], &[])), expected, "{argv:?}");
            assert_eq!(approved.covers(&Program::Command { process: process(argv) }), expected, "{argv:?}");
            assert!(!Approved::none().covers(&shell(&[argv], &[])));
        }
    }

    #[test]
    fn everything_must_be_approved_and_there_must_be_something() {
        let approved = Approved::default();
        let tail: &[&str] = &["tail", "-f", "x"];
        let cases = [
            (shell(&[], &[]), false),
            (shell(&[tail, &["more"]], &[]), true),
            (shell(&[tail, &["tee", "y"]], &[]), false),
            (shell(&[tail], &[(tail, false)]), true),
            (shell(&[tail], &[(&["make"], false)]), false),
            (shell(&[tail], &[(&["make"], true)]), true),
            (shell(&[], &[(tail, false)]), true),
            (shell(&[], &[(tail, true)]), false),
            (Program::Unknown, false),
        ];
        for (program, expected) in cases {
            assert_eq!(approved.covers(&program), expected, "{program:?}");
            let mode = if expected { StartMode::Run } else { StartMode::Ask };
            assert_eq!(approved.mode(StartMode::Ask, &program), mode);
            assert_eq!(approved.mode(StartMode::Hold, &program), StartMode::Hold, "a drill starts nothing");
        }
    }

    #[test]
    fn an_entry_must_be_words() {
        for bad in ["", "  ", "'htop", "''", "# htop"] {
            assert_eq!(Approved::parse(&["top", bad]), Err(format!("{bad:?} is no command")));
        }
        assert_eq!(Approved::parse(&DEFAULT), Ok(Approved::default()));
    }
}
