//! Command lines in files: which of them are plain words, and what has to go through a shell.

use crate::model::{ByteString, Process, Program};

use super::Runs;

/// Commands of the shell itself, which no program can be started as.
const BUILTINS: [&str; 22] = [
    ".", ":", "[", "alias", "bind", "builtin", "cd", "command", "eval", "exec", "exit", "export", "pushd",
    "read", "set", "shopt", "source", "time", "trap", "type", "ulimit", "unset",
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

/// Returns the program of a pane. `shell` is the path of the user's shell.
///
/// A line that is no plain words is what its author wrote for a shell, and becomes `sh -c LINE`: like every program
/// of a restored pane it waits, shown word for word, and runs when somebody presses Enter.
pub(super) fn program(runs: &Runs, shell: &str, directory: &ByteString) -> Program {
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
        Runs::OtherShell(other) if base_name(other) == name => Program::shell(own(shell), Vec::new()),
        Runs::OtherShell(other) => Program::shell(own(other), Vec::new()),
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

/// Returns what a list of lines that were typed into a pane amounts to.
pub(super) fn typed(lines: Vec<String>) -> Runs {
    let lines: Vec<String> = lines.into_iter().filter(|line| !line.trim().is_empty()).collect();
    match &lines[..] {
        [] => Runs::Shell,
        [line] if is_shell(line.trim()) => Runs::OtherShell(line.trim().to_owned()),
        _ => Runs::Lines(lines),
    }
}

/// Returns whether a word names an interactive shell, a login shell's dash in front or not.
pub(super) fn is_shell(word: &str) -> bool {
    let name = base_name(word);
    crate::tmux::shell::SHELLS.contains(&name.strip_prefix('-').unwrap_or(name))
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(lines: &[&str]) -> String {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let program = program(&typed(lines), "/bin/zsh", &"/".into());
        crate::pane::pipeline(program.foreground())
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
        let program = program(&Runs::OtherShell("fish".into()), "/bin/zsh", &"/".into());
        assert!(!program.asks_before_start());
    }
}
