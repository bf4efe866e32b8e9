//! Names what ran in a pane besides shells and waits for somebody to decide.

use std::io::{self, Read, Write};

use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};

use crate::model::{ByteString, Job, Process};

use super::pipeline;
use super::runnable::Runnable;
use super::say::say;
use super::terminal::key_by_key;

/// What somebody answered to "press Enter to run".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Run,
    Shell,
}

/// The programs that can be started again, and what is to be said of the others.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    job: Option<Commands<'a>>,
    background: Vec<Commands<'a>>,
    regrets: Vec<String>,
}

/// The processes of a job, each with what can be started in its place.
#[derive(Debug)]
struct Commands<'a> {
    job: &'a [Process],
    found: Vec<Runnable<'a>>,
}

impl<'a> Commands<'a> {
    fn find(job: &'a [Process]) -> Result<Self, String> {
        let found = job.iter().map(Runnable::find).collect::<io::Result<_>>();
        let found = found.map_err(|error| format!("cannot run {}: {error}", pipeline(job)))?;
        Ok(Self { job, found })
    }

    fn line(&self) -> String {
        pipeline(self.job)
    }

    /// Returns where it will run: one directory, or which process runs in which.
    fn place(&self) -> String {
        let shown = |runnable: &Runnable<'_>| ByteString::from(runnable.directory.as_path()).to_string();
        let mut places: Vec<String> = self.found.iter().map(shown).collect();
        places.dedup();
        if places.len() == 1 {
            return places.remove(0);
        }
        let each =
            self.found.iter().map(|found| format!("{} ({})", shown(found), found.process.command_line()));
        each.collect::<Vec<_>>().join(", ")
    }

    fn changes(&self) -> Vec<String> {
        let mut changes: Vec<String> = self.found.iter().flat_map(Runnable::changes).collect();
        changes.dedup();
        changes
    }
}

impl<'a> Offer<'a> {
    /// Sorts what ran into what can run again and what cannot.
    pub(super) fn new(job: &'a [Process], background: &'a [Job]) -> Self {
        let mut regrets = Vec::new();
        let mut find = |job| Commands::find(job).map_err(|regret| regrets.push(regret)).ok();
        let running = background.iter().filter(|job| !job.stopped);
        let job = if job.is_empty() { None } else { find(job) };
        let background_found = running.filter_map(|job| find(&job.processes)).collect();
        let stopped = background.iter().filter(|job| job.stopped);
        regrets.extend(stopped.map(|job| format!("was stopped: {}", pipeline(&job.processes))));
        Self { job, background: background_found, regrets }
    }

    fn is_empty(&self) -> bool {
        self.job.is_none() && self.background.is_empty()
    }

    /// Says what will run unasked.
    pub(super) fn announce(&self) -> Answer {
        self.say_regrets();
        if self.is_empty() {
            return Answer::Shell;
        }
        self.lines("runs as you approved it").iter().for_each(|line| say(&format!("   {line}")));
        Answer::Run
    }

    /// Waits for somebody to decide. Without a terminal nobody can: then it is a shell.
    pub(super) fn ask(&self) -> Answer {
        self.say_regrets();
        if self.is_empty() {
            return Answer::Shell;
        }
        let stdin = io::stdin();
        let Ok(before) = tcgetattr(&stdin) else {
            self.show_question();
            return Answer::Shell;
        };
        // Before the question is there to be seen: until then Ctrl-C is a signal, and it would end the pane.
        let _ = tcsetattr(&stdin, SetArg::TCSAFLUSH, &key_by_key(before.clone()));
        self.show_question();
        let answer = read_answer(&mut stdin.lock());
        let _ = tcsetattr(&stdin, SetArg::TCSAFLUSH, &before);
        answer
    }

    fn say_regrets(&self) {
        self.regrets.iter().for_each(|regret| say(&format!("   {regret}")));
    }

    fn show_question(&self) {
        let lines = self.lines("Press Enter to run");
        let mut question = String::new();
        for (at, line) in lines.iter().enumerate() {
            match line.split_once(':').filter(|_| at == 0) {
                Some((head, command)) => question.push_str(&format!("\x1b[1m{head}:\x1b[0m{command}\n")),
                None => question.push_str(&format!("\x1b[2m   {line}\x1b[0m\n")),
            }
        }
        question.push_str("\x1b[2m   Ctrl-C for a shell\x1b[0m\n");
        let mut out = io::stdout().lock();
        let _ = out.write_all(question.as_bytes()).and_then(|()| out.flush());
    }

    /// Returns what runs and where, one thing a line; the first begins with `head`.
    fn lines(&self, head: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let job = self.job.iter().map(|job| (String::new(), job));
        let background = self.background.iter().map(|job| (" in the background".to_owned(), job));
        for (at, (how, commands)) in job.chain(background).enumerate() {
            let head = if at == 0 { head } else { "and" };
            lines.push(format!("{head}{how}: {}", commands.line()));
            lines.push(format!("in {}", commands.place()));
            lines.extend(commands.changes());
        }
        lines
    }
}

/// Enter alone runs; Ctrl-C, Ctrl-D and the end of input do not. A line of text with an Enter behind it was
/// meant for somebody else and decides nothing.
fn read_answer(keys: &mut impl Read) -> Answer {
    let mut key = [0];
    let mut typed = false;
    loop {
        match keys.read(&mut key) {
            Ok(1) if matches!(key[0], b'\r' | b'\n') && typed => {
                typed = false;
                say("Nothing was run. Press Enter alone to run it, Ctrl-C for a shell.");
            }
            Ok(1) if matches!(key[0], b'\r' | b'\n') => return Answer::Run,
            Ok(1) if !matches!(key[0], 3 | 4) => typed = true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return Answer::Shell,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_enter_alone_runs_and_only_ctrl_c_or_ctrl_d_gives_a_shell() {
        let cases: [(&[u8], Answer); 8] = [
            (b"\r", Answer::Run),
            (b"abc\n", Answer::Shell),
            (b"rm -r x\rls\r\x03", Answer::Shell),
            (b"abc\n\n", Answer::Run),
            (b"\x03", Answer::Shell),
            (b"ab\x04\r", Answer::Shell),
            (b"q", Answer::Shell),
            (b"", Answer::Shell),
        ];
        for (keys, expected) in cases {
            assert_eq!(read_answer(&mut &keys[..]), expected, "{keys:?}");
        }
    }

    fn process(exe: &str, argv: &[&str], directory: &str) -> Process {
        Process {
            exe: exe.into(),
            argv: argv.iter().map(|word| (*word).into()).collect(),
            directory: directory.into(),
        }
    }

    #[test]
    fn an_offer_says_exactly_what_runs_and_where() {
        let (here, elsewhere) =
            (process("/bin/cat", &["cat", "a b"], "/usr"), process("/bin/cat", &["cat"], "/"));
        let gone = process("/gone/cat", &["cat"], "/gone/x");
        let lost = process("/gone/lost", &["/gone/lost", "x"], "/");
        let background = |processes: &[&Process], stopped| Job {
            processes: processes.iter().map(|process| (*process).clone()).collect(),
            stopped,
        };
        let jobs =
            [background(&[&elsewhere], false), background(&[&lost], false), background(&[&here], true)];
        let pipeline = [here.clone(), elsewhere.clone()];
        let offer = Offer::new(&pipeline, &jobs);
        assert_eq!(
            offer.lines("Run"),
            ["Run: cat 'a b' | cat", "in /usr (cat 'a b'), / (cat)", "and in the background: cat", "in /"]
        );
        assert_eq!(
            offer.regrets,
            ["cannot run /gone/lost x: the program is not there", "was stopped: cat 'a b'"]
        );
        let moved = [gone];
        let lines = Offer::new(&moved, &[]).lines("Run");
        assert_eq!((lines[1].as_str(), lines[3].as_str()), ("in /", "/gone/x is gone"));
        assert!(lines[2].starts_with("/gone/cat is gone; /"), "{lines:?}");
        assert!(Offer::new(std::slice::from_ref(&lost), &jobs[2..]).is_empty());
        assert_eq!(Offer::new(&[lost], &jobs[2..]).announce(), Answer::Shell);
    }
}
