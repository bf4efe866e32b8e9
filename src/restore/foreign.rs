//! What is believed of a state that came from a file: of another host, or of another tool.
//!
//! A snapshot of our own holds what its user had set. A file may hold what somebody wants to run here, so of
//! such a state only what cannot run anything is set: layouts, names, directories and texts, and options that
//! are known to be harmless. Every program waits for Enter, and shells are the ones that are installed here.

use crate::model::{Options, Process, Program, Session};
use crate::tmux::shell::is_shell;

/// Options that are set also if a file says so: they change how things look and count, and run nothing.
const HARMLESS: [&str; 26] = [
    "aggressive-resize",
    "allow-rename",
    "allow-set-title",
    "alternate-screen",
    "automatic-rename",
    "base-index",
    "default-size",
    "history-limit",
    "main-pane-height",
    "main-pane-width",
    "mode-keys",
    "monitor-activity",
    "monitor-bell",
    "monitor-silence",
    "other-pane-height",
    "other-pane-width",
    "pane-base-index",
    "pane-border-status",
    "remain-on-exit",
    "renumber-windows",
    "status",
    "synchronize-panes",
    "window-active-style",
    "window-size",
    "window-style",
    "wrap-search",
];

/// Where the shells of a system are (hier(7)).
const SHELL_PLACES: [&[u8]; 3] = [b"/bin/", b"/usr/bin/", b"/usr/local/bin/"];

/// Returns a session of a file as far as it is believed, and in words what was left out.
pub fn believed(session: &Session) -> (Session, String) {
    let mut session = session.clone();
    let mut left_out = Vec::new();
    keep_harmless(&mut session.options, &mut left_out);
    left_out.extend(session.environment.keys().map(|name| format!("${name}")));
    session.environment.clear();
    for window in &mut session.windows {
        keep_harmless(&mut window.options, &mut left_out);
        for pane in &mut window.panes {
            keep_harmless(&mut pane.options, &mut left_out);
            pane.program = with_shells_from_here(std::mem::replace(&mut pane.program, Program::Unknown));
        }
    }
    left_out.sort_unstable();
    left_out.dedup();
    let note = match left_out.as_slice() {
        [] => String::new(),
        names => format!("not set, because it came from a file: {}", names.join(", ")),
    };
    (session, note)
}

fn keep_harmless(options: &mut Options, left_out: &mut Vec<String>) {
    options.retain(|name, value| {
        let stays = is_harmless(name, value.as_bytes());
        if !stays {
            left_out.push(name.clone());
        }
        stays
    });
}

/// Returns whether an option may be set because a file says so.
///
/// Options of the user's (`@name`) do nothing by themselves, but a status line may expand them as often as it likes
/// (`#{E:@name}`), and what is no command yet is one then: `#{a:35}` makes the `#` of `#(…)`. So a `#` stands for
/// nothing but a colour (`#1e1e2e`) in what is believed.
pub fn is_harmless(name: &str, value: &[u8]) -> bool {
    let mut after_hashes = value.split(|byte| *byte == b'#').skip(1);
    let only_colours = after_hashes.all(|after| after.first().is_some_and(u8::is_ascii_hexdigit));
    (name.starts_with('@') || HARMLESS.contains(&name)) && only_colours
}

/// A shell is started unasked, so it must be one of the system's, and no file must tell it what to do.
fn with_shells_from_here(program: Program) -> Program {
    match program {
        Program::Shell { shell, nested, job, background } if is_plain(&shell) => {
            let nested = nested.into_iter().filter(is_plain).collect();
            Program::Shell { shell, nested, job, background }
        }
        // The job is all that is left of it; it waits for Enter, and a login shell comes behind it.
        Program::Shell { job, background, .. } if !job.is_empty() || !background.is_empty() => {
            let shell = Process { exe: "/bin/sh".into(), argv: vec!["-sh".into()], directory: "/".into() };
            Program::Shell { shell, nested: Vec::new(), job, background }
        }
        Program::Shell { .. } => Program::Unknown,
        other => other,
    }
}

fn is_plain(shell: &Process) -> bool {
    let exe = shell.exe.as_bytes();
    let place = exe.len() - shell.exe.base_name().len();
    let called = Process { argv: vec![shell.exe.base_name().into()], ..shell.clone() };
    let known = shell.argv.len() == 1 && [shell, &called].into_iter().all(is_shell);
    SHELL_PLACES.contains(&&exe[..place]) && known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ByteString, Variable, sample};

    #[test]
    fn nothing_that_runs_something_is_believed() {
        let mut session = sample::session(1, "web");
        let option = |name: &str, value: &str| (name.to_owned(), ByteString::from(value));
        session.options = [
            option("status-left", "#(touch pwned)"),
            option("default-command", "touch pwned"),
            option("client-attached[0]", "run-shell 'touch pwned'"),
            option("@note", "kept"),
            option("@colour", "bg=#1e1e2e,fg=#FFF"),
            option("@trap", "x #(touch pwned)"),
            option("@theme_session", "#{E:#{a:35}(touch pwned)}"),
            option("@half", "x #"),
            option("@twice", "##a"),
            option("window-style", "#{E:#{a:35}(touch pwned)}"),
            option("history-limit", "5000"),
        ]
        .into();
        let preload = Variable { value: Some("/tmp/evil.so".into()), hidden: false };
        session.environment.insert("LD_PRELOAD".to_owned(), preload);
        let (believed, note) = believed(&session);
        assert_eq!(believed.options.keys().collect::<Vec<_>>(), ["@colour", "@note", "history-limit"]);
        assert!(believed.environment.is_empty());
        for name in [
            "$LD_PRELOAD",
            "@half",
            "@theme_session",
            "@trap",
            "@twice",
            "client-attached[0]",
            "default-command",
            "status-left",
            "window-style",
        ] {
            assert!(note.contains(name), "{note}");
        }
    }

    #[test]
    fn only_the_systems_own_shells_start_unasked() {
        let shell = |exe: &str, argv: &[&str]| Process { exe: exe.into(), ..sample::process(argv) };
        let cases = [
            (shell("/usr/bin/bash", &["-bash"]), true),
            (shell("/bin/sh", &["sh"]), true),
            (shell("/bin/zsh", &["-zsh"]), true),
            (shell("/usr/bin/fish", &["fish"]), true),
            (shell("/usr/local/bin/fish", &["/usr/local/bin/fish"]), true),
            // A name alone is looked up in directories that may be anybody's.
            (shell("fish", &["fish"]), false),
            (shell("/tmp/bash", &["-bash"]), false),
            (shell("/usr/bin/touch", &["touch", "pwned"]), false),
            (shell("/usr/bin/bash", &["bash", "--rcfile", "/tmp/evil"]), false),
            (shell("/usr/bin/bash/../../../tmp/sh", &["sh"]), false),
        ];
        for (process, expected) in cases {
            let before = Program::shell(process.clone(), Vec::new());
            let after = with_shells_from_here(before.clone());
            assert_eq!(after == before, expected, "{process:?}");
            let job = Program::shell(process, vec![sample::process(&["make"])]);
            assert!(with_shells_from_here(job).asks_before_start());
        }
    }
}
