//! Command lines in files: which of them are plain words, and what has to go through a shell.

use crate::model::{ByteString, Process, Program};

use super::{Draft, Runs, Surroundings};

/// Commands of the shell itself, which no program can be started as.
const BUILTINS: [&str; 22] = [
    ".", ":", "[", "alias", "bind", "builtin", "cd", "command", "eval", "exec", "exit", "export", "pushd",
    "read", "set", "shopt", "source", "time", "trap", "type", "ulimit", "unset",
];

/// Commands that change nothing but the shell that they are typed into.
const CHANGES: [&str; 16] = [
    ".", "alias", "bind", "cd", "export", "popd", "pushd", "set", "setopt", "shopt", "source", "trap",
    "ulimit", "umask", "unalias", "unset",
];

/// Tools that do so too with one of these words.
const SWITCHES: [(&str, &[&str]); 7] = [
    ("asdf", &["shell"]),
    ("conda", &["activate", "deactivate"]),
    ("deactivate", &[""]),
    ("nvm", &["deactivate", "use"]),
    ("pyenv", &["activate", "deactivate", "shell"]),
    ("rbenv", &["shell"]),
    ("rvm", &["use"]),
];

/// Returns the arguments of a line if it means the same to every shell and without one: words, with or without
/// quotes, and nothing that a shell replaces.
fn plain_words(line: &str) -> Option<Vec<String>> {
    let special = |c: char| c.is_control() || "|&;<>()$`*?[]{}#!".contains(c);
    if line.contains(special) || line.split_whitespace().any(|word| word.starts_with('~')) {
        return None;
    }
    let words = shlex::split(line)?;
    let first = words.first()?;
    (!first.contains('=') && !BUILTINS.contains(&first.as_str())).then_some(words)
}

/// Returns lines as one for `sh -c`, in which they follow each other as if they were typed.
fn joined(lines: &[String]) -> String {
    let hard = |line: &String| {
        line.contains(['#', '\n']) || line.contains("<<") || line.trim_end().ends_with(['&', '\\', ';'])
    };
    lines.join(if lines.iter().any(hard) { "\n" } else { "; " })
}

/// Returns the program of a pane.
///
/// A line that is no plain words is what its author wrote for a shell, and becomes `sh -c LINE`: like every program
/// of a restored pane it waits, shown word for word, and runs when somebody presses Enter.
pub(super) fn program(runs: &Runs, around: &Surroundings, directory: &ByteString) -> Program {
    let shell = around.shell.as_str();
    let process = |words: &[String]| Process {
        exe: words.first().map_or("", String::as_str).into(),
        argv: words.iter().map(|word| word.as_str().into()).collect(),
        directory: directory.clone(),
    };
    let name = base_name(shell).to_owned();
    let own = |exe: &str| Process {
        exe: exe.into(),
        argv: vec![format!("-{}", base_name(exe)).as_str().into()],
        directory: directory.clone(),
    };
    match runs {
        Runs::Shell => Program::shell(own(shell), Vec::new()),
        Runs::OtherShell(other) => match installed(other, around) {
            Some(path) => Program::shell(own(path), Vec::new()),
            // A restore would not start it unasked, but it may ask.
            None => Program::shell(own(shell), vec![process(std::slice::from_ref(other))]),
        },
        Runs::Words(words) => Program::shell(own(shell), vec![process(words)]),
        Runs::Instead(words) => Program::Command { process: process(words) },
        Runs::Lines(lines) => {
            let words = match &lines[..] {
                [line] => plain_words(line),
                _ => None,
            };
            let through_shell = || Process {
                exe: shell.into(),
                argv: vec![name.as_str().into(), "-c".into(), joined(lines).as_str().into()],
                directory: directory.clone(),
            };
            let job = words.map_or_else(through_shell, |words| process(&words));
            Program::shell(own(shell), vec![job])
        }
    }
}

/// Returns the path of a shell that is called so, the user's own before any other.
fn installed<'a>(word: &str, around: &'a Surroundings) -> Option<&'a str> {
    let word = word.trim_start_matches('-');
    let mut all = std::iter::once(&around.shell).chain(&around.shells).map(String::as_str);
    all.find(|path| *path == word || base_name(path) == word)
}

/// Returns what lines that were typed into a pane amount to. `at` is the line of the file that the pane is in.
///
/// Lines at the end that only change the shell are left out and said: started as a program, they change nothing.
pub(super) fn typed(lines: Vec<String>, at: usize, draft: &mut Draft) -> Runs {
    let mut lines: Vec<String> = lines.into_iter().filter(|line| !line.trim().is_empty()).collect();
    while let Some(line) = lines.pop_if(|line| only_changes_shell(line)) {
        draft.note(format!("line {at}: {line:?} changes the shell it is typed into; type it yourself"));
    }
    let words = match &lines[..] {
        [] => return Runs::Shell,
        [line] => shlex::split(line),
        _ => None,
    };
    match words.as_deref() {
        Some([word]) if is_shell(word) => Runs::OtherShell(word.clone()),
        _ => Runs::Lines(lines),
    }
}

/// Returns what a pane runs that was started with a program instead of a shell.
pub(super) fn instead(words: Vec<String>) -> Runs {
    match &words[..] {
        [word] if is_shell(word) => Runs::OtherShell(word.clone()),
        _ => Runs::Instead(words),
    }
}

/// Returns whether every command of a line is one that changes the shell and does nothing else.
fn only_changes_shell(line: &str) -> bool {
    let changes = |command: &str| {
        let mut words = command.split_whitespace();
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        CHANGES.contains(&first)
            || SWITCHES.iter().any(|(tool, words)| *tool == first && words.contains(&second))
    };
    line.split(['|', '&', ';', '\n']).filter(|command| !command.trim().is_empty()).all(changes)
}

/// Returns whether a word names an interactive shell, a login shell's dash in front or not.
pub(super) fn is_shell(word: &str) -> bool {
    let name = base_name(word);
    !word.contains(char::is_whitespace)
        && crate::tmux::shell::SHELLS.contains(&name.strip_prefix('-').unwrap_or(name))
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around() -> Surroundings {
        Surroundings {
            now: jiff::Timestamp::UNIX_EPOCH,
            host: "host".into(),
            shell: "/bin/zsh".into(),
            shells: vec!["/usr/bin/fish".into(), "/bin/bash".into()],
        }
    }

    /// What these lines become, and how many notes are made of them.
    fn said(lines: &[&str]) -> (String, usize) {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let mut draft = Draft::default();
        let program = program(&typed(lines, 7, &mut draft), &around(), &"/".into());
        assert!(draft.notes.iter().all(|note| note.starts_with("line 7: \"")), "{:?}", draft.notes);
        (crate::pane::pipeline(program.foreground()), draft.notes.len())
    }

    fn shown(lines: &[&str]) -> String {
        said(lines).0
    }

    #[test]
    fn plain_words_need_no_shell_and_everything_else_names_it() {
        let cases: [(&[&str], &str); 10] = [
            (&["vim 'a b.txt'"], "vim 'a b.txt'"),
            (&["tail -f log/x.log"], "tail -f log/x.log"),
            (&["git log | less"], "zsh -c 'git log | less'"),
            (&["ls *.rs"], "zsh -c 'ls *.rs'"),
            (&["cd src", "vim"], "zsh -c 'cd src; vim'"),
            (&["sleep 1 &", "vim"], "zsh -c $'sleep 1 &\\nvim'"),
            (&["RAILS_ENV=test rails s"], "zsh -c 'RAILS_ENV=test rails s'"),
            (&["it's"], "zsh -c \"it's\""),
            (&["zsh"], "-zsh"),
            (&[], "-zsh"),
        ];
        for (lines, expected) in cases {
            assert_eq!(shown(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_shell_of_another_name_is_that_shell() {
        assert_eq!(shown(&["fish"]), "-fish");
        let program = program(&Runs::OtherShell("fish".into()), &around(), &"/".into());
        assert!(!program.asks_before_start());
    }

    #[test]
    fn a_command_that_ends_in_the_name_of_a_shell_is_no_shell() {
        for line in ["docker exec -it web /bin/bash", "ssh box -t /usr/bin/fish", "sudo -i -u ann /bin/zsh"] {
            assert_eq!(shown(&[line]), line);
        }
        assert_eq!(instead(vec!["my shells/bash".into()]), Runs::Instead(vec!["my shells/bash".into()]));
    }

    #[test]
    fn what_only_changes_the_shell_is_said_and_no_program() {
        let nothing: [&[&str]; 9] = [
            &["source venv/bin/activate"],
            &["export A=b"],
            &["nvm use 20"],
            &["conda activate x"],
            &["cd $X"],
            &["alias l=ls"],
            &["deactivate"],
            &["cd a && . ./env; rbenv shell 3.3"],
            &["asdf shell ruby 3", "unset A"],
        ];
        for lines in nothing {
            assert_eq!(said(lines), ("-zsh".to_owned(), lines.len()), "{lines:?}");
        }
        let programs: [(&[&str], &str); 5] = [
            (&["nvm install 20"], "nvm install 20"),
            (&["source x && vim"], "zsh -c 'source x && vim'"),
            (&["source x", "vim"], "zsh -c 'source x; vim'"),
            (&["conda run x"], "conda run x"),
            (&["cdk deploy"], "cdk deploy"),
        ];
        for (lines, expected) in programs {
            assert_eq!(said(lines), (expected.to_owned(), 0));
        }
        assert_eq!(said(&["git pull", "nvm use"]), ("git pull".to_owned(), 1));
    }
}
