//! Which processes are shells that wait for commands. They are the only programs that start unasked in a
//! restored pane without standing on the user's list, so whoever is in doubt says no.

use crate::model::{ByteString, Process};

/// The names of programs that are interactive shells when they are called without a script.
pub(crate) const SHELLS: [&str; 16] = [
    "ash", "bash", "csh", "dash", "elvish", "fish", "ksh", "ksh93", "mksh", "nu", "osh", "rbash", "sh",
    "tcsh", "xonsh", "zsh",
];

/// Programs that are a shell when they are called by the name of one.
const MULTI_CALL: [&str; 2] = ["busybox", "toybox"];

/// Long options that neither make a shell run something nor take a file. `--rcfile FILE` or
/// `--init-command=COMMAND` do, and a file in /tmp may be somebody else's by now.
const LONG_OPTIONS: [&str; 16] = [
    "--interactive",
    "--login",
    "--no-config",
    "--no-config-file",
    "--no-history",
    "--no-rc",
    "--no-rcs",
    "--no-std-lib",
    "--noediting",
    "--noprofile",
    "--norc",
    "--posix",
    "--private",
    "--restricted",
    "--verbose",
    "--",
];

/// Returns whether a process is an interactive shell: a shell by name and by program (any program can be called
/// `-bash`), called with nothing but options, none of which makes it run a command (`-c`, fish's `-C`) or read one
/// from elsewhere.
pub(crate) fn is_shell(process: &Process) -> bool {
    let Some((name, arguments)) = process.argv.split_first() else {
        return false;
    };
    let name = name.base_name();
    let name = name.strip_prefix(b"-").unwrap_or(name);
    SHELLS.iter().any(|shell| shell.as_bytes() == name) && is_shells(&process.exe) && only_options(arguments)
}

/// Returns whether a program is a shell's: `dash`, and with a version or a wrapper's marks `bash5`, `zsh-5.9`,
/// `.fish-wrapped`. Where nobody may look it is the name it was called by, `-bash`.
fn is_shells(exe: &ByteString) -> bool {
    let name = exe.base_name();
    let name = name.strip_prefix(b"-").or_else(|| name.strip_prefix(b".")).unwrap_or(name);
    let letters = name.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    SHELLS.iter().chain(&MULTI_CALL).any(|shell| shell.as_bytes() == &name[..letters])
}

fn only_options(arguments: &[ByteString]) -> bool {
    let mut arguments = arguments.iter().map(ByteString::as_bytes);
    while let Some(argument) = arguments.next() {
        let harmless = match argument {
            [b'-', b'-', ..] => LONG_OPTIONS.iter().any(|option| option.as_bytes() == argument),
            // The name of an option of the shell's own follows: `-o vi`, `+O extglob`.
            [b'-' | b'+', b'o' | b'O'] => arguments.next().is_some(),
            [b'-' | b'+', flags @ ..] => {
                flags.iter().all(u8::is_ascii_alphanumeric) && !flags.iter().any(runs)
            }
            _ => false,
        };
        if !harmless {
            return false;
        }
    }
    true
}

/// -c and fish's -C run a command, -e does in some shells, and -o swallows the next word wherever it stands.
fn runs(flag: &u8) -> bool {
    b"cCeoO".contains(flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(argv: &[&str]) -> Process {
        let exe = argv.first().unwrap_or(&"").trim_start_matches('-');
        called(&format!("/bin/{exe}"), argv)
    }

    fn called(exe: &str, argv: &[&str]) -> Process {
        Process {
            exe: exe.into(),
            argv: argv.iter().map(|word| ByteString::from(*word)).collect(),
            directory: "/".into(),
        }
    }

    #[test]
    fn a_shell_is_one_by_its_program_too() {
        let cases = [
            ("/usr/bin/bash", "rbash", true),
            ("/usr/bin/dash", "sh", true),
            ("/bin/busybox", "-ash", true),
            ("/usr/local/bin/bash5", "bash", true),
            ("/bin/zsh-5.9", "-zsh", true),
            ("/usr/bin/ksh93", "ksh", true),
            ("/nix/store/x-fish-3.7/bin/.fish-wrapped", "fish", true),
            ("-bash", "-bash", true),
            ("/usr/bin/vim", "-bash", false),
            ("/tmp/bashful", "bash", false),
            ("/tmp/93", "bash", false),
            ("", "bash", false),
        ];
        for (exe, name, expected) in cases {
            assert_eq!(is_shell(&called(exe, &[name])), expected, "{exe} as {name}");
        }
    }

    #[test]
    fn a_shell_is_one_that_waits_for_commands() {
        let shells: [&[&str]; 9] = [
            &["-bash"],
            &["bash"],
            &["/usr/bin/zsh", "-l"],
            &["bash", "--login", "-i"],
            &["-fish"],
            &["sh", "-i"],
            &["bash", "-o", "vi", "+O", "extglob"],
            &["bash", "--norc", "+m"],
            &["fish", "--private"],
        ];
        let others: [&[&str]; 17] = [
            &["bash", "-c", "sleep 1"],
            &["sh", "-lc", "x"],
            &["bash", "script.sh"],
            &["bash", "--rcfile", "/tmp/rc"],
            &["bash", "--init-file=/tmp/rc"],
            &["fish", "--init-command=rm x"],
            &["fish", "-Crm"],
            &["nu", "-e", "rm x"],
            &["bash", "-lo", "vi", "script.sh"],
            &["bash", "-o"],
            &["bash", "--", "script.sh"],
            &["bash", ""],
            &["bash", "-;"],
            &["vim"],
            &["bashful"],
            &["--"],
            &[],
        ];
        for argv in shells {
            assert!(is_shell(&process(argv)), "{argv:?}");
        }
        for argv in others {
            assert!(!is_shell(&process(argv)), "{argv:?}");
        }
    }
}
