//! The manual pages are made from the command line and the table of keys, so that they cannot lag behind.
//!
//! `AGENT_KEEPER_UPDATE=1 cargo test --test docs` writes them anew.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use agent_keeper::config::KEYS;
use agent_keeper::redact::RULES;
use agent_keeper::{cli, daemon};
use clap::CommandFactory;

const PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/man");

#[test]
fn the_manual_pages_are_up_to_date() {
    let pages = [
        ("keeperctl.1", keeperctl()),
        ("agent-keeper.8", agent_keeper()),
        ("agent-keeper.toml.5", settings()),
    ];
    for (name, page) in pages {
        let path = Path::new(PAGES).join(name);
        if std::env::var_os("AGENT_KEEPER_UPDATE").is_some() {
            fs::create_dir_all(PAGES).unwrap();
            fs::write(&path, &page).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == page,
            "{} is not up to date; AGENT_KEEPER_UPDATE=1 cargo test --test docs",
            path.display()
        );
    }
}

#[test]
fn the_readme_has_every_key_with_its_default() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let block = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let shown: toml::Table = block.parse().unwrap();
    for key in KEYS {
        let name = format!("{}.{}", key.table, key.name);
        match format!("x = {}", key.default).parse::<toml::Table>() {
            Ok(default) => {
                let table = shown.get(key.table).and_then(toml::Value::as_table);
                assert_eq!(table.and_then(|table| table.get(key.name)), Some(&default["x"]), "{name}");
            }
            // There is none.
            Err(_) => assert!(block.contains(key.name), "{name}"),
        }
    }
}

fn keeperctl() -> String {
    let mut command = cli::Arguments::command();
    command.build();
    let synopsis = ".B keeperctl\n[options] command";
    let mut page = head(&mut command, "1", synopsis);
    page.push_str(".SH COMMANDS\n");
    leaves(&command, &mut page);
    page.push_str(EXIT_STATUS);
    page.push_str(PLACES);
    see_also(&mut page, &["agent-keeper(8)", "agent-keeper.toml(5)", "tmux(1)", "loginctl(1)"]);
    page
}

fn agent_keeper() -> String {
    let mut command = daemon::Arguments::command();
    command.build();
    let synopsis = ".B systemctl \\-\\-user start agent\\-keeper\n.br\n.B agent\\-keeper\n[options]";
    let mut page = head(&mut command, "8", synopsis);
    page.push_str(DAEMON);
    page.push_str(PLACES);
    see_also(&mut page, &["keeperctl(1)", "agent-keeper.toml(5)", "tmux(1)", "systemd.service(5)"]);
    page
}

fn settings() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = format!(".TH agent-keeper.toml 5 \"\" \"agent-keeper {version}\"\n{SETTINGS}");
    for key in KEYS {
        writeln!(page, ".TP\n\\fB{}.{}\\fR = {}", escape(key.table), escape(key.name), escape(key.default))
            .unwrap();
        writeln!(page, "{}", escape(key.meaning)).unwrap();
    }
    page.push_str(SESSIONS);
    page.push_str(NOTIFICATIONS);
    page.push_str(REDACTION);
    for rule in RULES {
        writeln!(page, ".TP\n{}\n{}", escape(rule.name), escape(rule.source)).unwrap();
    }
    page.push_str(SETTINGS_EXAMPLE);
    see_also(&mut page, &["agent-keeper(8)", "keeperctl(1)"]);
    page
}

/// The part that every page of a program begins with.
fn head(command: &mut clap::Command, section: &str, synopsis: &str) -> String {
    let (name, version) = (escape(command.get_name()), env!("CARGO_PKG_VERSION"));
    let about = escape(&command.get_about().unwrap().to_string());
    let long = command.get_long_about().map_or_else(|| format!("{about}."), |long| escape(&long.to_string()));
    let mut page = format!(".TH {name} {section} \"\" \"agent-keeper {version}\"\n");
    writeln!(page, ".SH NAME\n{name} \\- {about}\n.SH SYNOPSIS\n{synopsis}").unwrap();
    writeln!(page, ".SH DESCRIPTION\n{}\n.SH OPTIONS", long.replace("\n\n", ".\n.PP\n")).unwrap();
    command.get_arguments().for_each(|argument| option(argument, &mut page));
    page
}

/// Every command that can be run, with the options of its own.
fn leaves(command: &clap::Command, page: &mut String) {
    for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
        if child.has_subcommands() {
            leaves(child, page);
            continue;
        }
        let mut child = child.clone();
        let usage = child.render_usage().to_string().replace("Usage: ", "").replace(" [OPTIONS]", "");
        writeln!(page, ".SS \"{}\"\n{}.", escape(&usage), escape(&child.get_about().unwrap().to_string()))
            .unwrap();
        child.get_arguments().filter(|argument| !argument.is_global_set()).for_each(|own| option(own, page));
        if let Some(example) = child.get_after_help() {
            writeln!(page, ".PP\n{}", escape(&example.to_string())).unwrap();
        }
    }
}

fn option(argument: &clap::Arg, page: &mut String) {
    if ["help", "version"].contains(&argument.get_id().as_str()) {
        return;
    }
    let short = argument.get_short().filter(|_| argument.get_long().is_some());
    let short = short.map_or_else(String::new, |short| format!("-{short}, "));
    let help = escape(&argument.get_help().unwrap().to_string());
    let help = format!("{help}{}", escape(&values(argument)));
    writeln!(page, ".TP\n\\fB{}\\fR\n{help}.", escape(&format!("{short}{argument}"))).unwrap();
}

/// What an argument may be, if there is a list.
fn values(argument: &clap::Arg) -> String {
    let named = |value: &clap::builder::PossibleValue| match value.get_help() {
        Some(help) => format!("{} ({help})", value.get_name()),
        None => value.get_name().to_owned(),
    };
    let takes_value = argument.get_action().takes_values();
    let values: Vec<String> =
        argument.get_possible_values().iter().filter(|_| takes_value).map(named).collect();
    if values.is_empty() { String::new() } else { format!(": {}", values.join("; ")) }
}

fn see_also(page: &mut String, pages: &[&str]) {
    writeln!(page, ".SH \"SEE ALSO\"").unwrap();
    for named in pages {
        let (name, section) = named.split_once('(').unwrap();
        let comma = if named == pages.last().unwrap() { "" } else { "," };
        writeln!(page, ".BR {} ({section}{comma}", escape(name)).unwrap();
    }
}

/// Text as roff reads it: a hyphen that can be typed, no request by accident.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

const EXIT_STATUS: &str = r#".SH "EXIT STATUS"
.TP
0
Done.
.TP
1
Failed.
.TP
2
Wrong usage.
.TP
3
Done in part, or problems found: a doctor with a finding, a drill below 100 %, a restore that skipped a session
that was asked for.
.TP
4
The daemon is needed and cannot be reached.
"#;

const DAEMON: &str = r#".SH "WHAT IT DOES"
When no server answers on the watched tmux socket, it starts one in a scope of its own, outside its own cgroup and
outside every login's, so that neither a logout nor anything that happens to agent\-keeper ends it.
A server that is there already is left as it is.
.PP
It saves sessions, windows, panes, layouts, directories, programs and a bounded amount of text shortly after each
change.
After a reboot, a power cut or the death of the server, what was lost comes back.
What its user closed does not.
.PP
Once a week it proves that: it restores the newest snapshot on a throw\-away server with stubs in place of the programs, compares
all with what was saved, and remembers the result for keeperctl status and keeperctl doctor.
That runs with the lowest priority and touches nothing of yours; see drill.every in
.BR agent\-keeper.toml (5).
.PP
What dies it looks into, and tells with its cause: in the history that keeperctl why and keeperctl timeline read, in the
journal, as the D\-Bus signal Died, and as the configuration says (NOTIFICATIONS in
.BR agent\-keeper.toml (5)).
After a restore that nobody asked for the first person who attaches sees one line.
.PP
Stopping, restarting or killing agent\-keeper never touches the server.
.SH SIGNALS
.TP
SIGTERM, SIGINT
Takes a last snapshot and ends.
.SH "EXIT STATUS"
.TP
0
Ended as it was asked to.
.TP
1
Failed; the service manager starts it again.
.TP
78
Something that a person has to mend first, such as an error in the configuration, a tmux that is too old, or another
agent\-keeper that runs already.
The service manager does not try again.
.SH ENVIRONMENT
.TP
AGENT_KEEPER_LOG
As \fB\-\-log\fR.
.TP
XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR
As in the XDG base directory specification.
.TP
TMUX_TMPDIR
As for tmux; the value of your login shell counts.
"#;

const PLACES: &str = r#".SH FILES
.TP
~/.config/agent\-keeper/config.toml, ~/.config/agent\-keeper/config.toml.d/*.toml, /etc/agent\-keeper/
Configuration, see
.BR agent\-keeper.toml (5).
.TP
~/.local/state/agent\-keeper/
Snapshots.
They hold what was on your screens: the folder is open to you only.
A file pins/NUMBER in it keeps that snapshot, and proven.json remembers the last drill.
.TP
$XDG_RUNTIME_DIR/agent\-keeper/bus
The socket on which keeperctl reaches the daemon; the same interface is on the user bus as org.agentkeeper.Keeper1.
"#;

const SETTINGS: &str = r#".SH NAME
agent\-keeper.toml \- configuration of agent\-keeper
.SH SYNOPSIS
~/.config/agent\-keeper/config.toml
.br
~/.config/agent\-keeper/config.toml.d/*.toml
.br
/etc/agent\-keeper/config.toml
.br
/etc/agent\-keeper/config.toml.d/*.toml
.SH DESCRIPTION
All files are optional.
A key in a file of a folder config.toml.d wins over the same key in config.toml, a later file over an earlier one, and
your own files win over those in /etc.
An unknown key or a value of a wrong type is an error that names file, line and column.
Changes count from the next start of agent\-keeper.
.SH KEYS
"#;

const SESSIONS: &str = r#".SH SESSIONS
A table [session."PATTERN"] holds for the sessions whose names the pattern matches: * stands for any text, ? for one
character, [ab] for one of these, {a,b} for one of these texts.
Of several patterns that match, the longest counts.
.PP
Text is kept of a pane only if all sessions that it is in allow it, and if the tmux option @keeper\-scrollback is not
off for the pane, its window, its session or globally:
.PP
.nf
tmux set\-option \-p @keeper\-scrollback off
.fi
.PP
When it is switched off, later snapshots have none of the text that was saved before.
Older snapshots keep theirs until they go.
"#;

const NOTIFICATIONS: &str = r#".SH NOTIFICATIONS
What is run and shown by the keys of [notify] is each death that was not its user's wish; keeperctl timeline has the
others too.
The command runs in your login's environment with these variables:
.TP
AGENT_KEEPER_NUMBER
The number for keeperctl why; 0 when the death could not be written down.
.TP
AGENT_KEEPER_AT
When it happened, like 2026\-11\-21T14:05:00Z.
.TP
AGENT_KEEPER_SUBJECT, AGENT_KEEPER_PLACE
What died (server, session, window, pane, child or client), and where: web, web:1, web:1.0; the path of a server's
socket; the terminal of a client.
.TP
AGENT_KEEPER_CAUSE, AGENT_KEEPER_CONFIDENCE
The cause in one word, such as oom\-kill, and how sure that is: none, possible, likely or certain.
.TP
AGENT_KEEPER_SENTENCE
Both in words.
.TP
AGENT_KEEPER_DEED
What the keeper does about it: nothing, restore, restore\-paced, ask, signal or keep.
.TP
AGENT_KEEPER_SERVER_PID
The tmux server.
.TP
AGENT_KEEPER_SNAPSHOT
The last snapshot that shows it alive; empty if there is none.
.PP
On its standard input is all that is known as JSON, in the form of keeperctl why \-\-json.
What looks like a credential is covered in both.
.PP
It runs in a process group of its own, at most four of them at once, and is ended after 30 seconds.
What it prints, up to 8 KiB, is in the log of agent\-keeper.
When more than 256 deaths wait, further ones are left out, which the log says too.
"#;

const REDACTION: &str = r#".SH REDACTION
Before text is saved, each character of what looks like a credential is replaced, and what it was is said in its
place.
What is looked at is the text that is seen, colours or none, and the targets of links; a line that wraps is one line.
The lines of a private key between its first and its last are covered too.
This finds what has a documented form, and values that are assigned to names such as password, token or api_key.
It cannot find a secret that looks like any other word: switch text off where such are shown.
Programs' arguments are not text and are saved as they are.
The forms, and where they are documented:
"#;

const SETTINGS_EXAMPLE: &str = r#".SH EXAMPLE
.nf
[snapshot]
interval = "1s"
scrollback_lines = 5000

[session."bank*"]
scrollback = false

[restore]
auto = true
.fi
"#;
