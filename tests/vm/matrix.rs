//! What can end a session, each provoked for real on each release, and what `keeperctl why` says of it, with a keeper
//! that watches and with one that was killed before. The rows are data: `matrix.toml`. A campaign of its own:
//! `AGENT_KEEPER_MATRIX=1 cargo test --test vm causes -- --nocapture --test-threads=1`; the table is written to
//! `target/vm-logs/matrix-RELEASE.md`. `AGENT_KEEPER_MATRIX_ONLY=TEXT,…` runs the rows whose names have one of those in them,
//! `AGENT_KEEPER_MATRIX_PASS=watched` or `unwatched` one of both. `AGENT_KEEPER_VM_ONLY=sid` runs them on Debian's next
//! release.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::keeper::{LONG, agent, install, root, wait_for_logout};
use crate::machine::{Machine, Session, Suite, User, logs, say};
use crate::on;

/// The rows.
const MATRIX: &str = include_str!("matrix.toml");

/// How long the guest may take for one step of a row. Rows that are wrong are waited for so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// The server of all rows.
const SERVER: &str = "/tmp/tmux-1000/default";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Matrix {
    /// Goes before every script of a user's.
    prelude: String,
    /// Makes the machine ready for a row.
    ready: String,
    death: Vec<Row>,
}

impl Matrix {
    fn read() -> Result<Self> {
        toml::from_str(MATRIX).context("matrix.toml")
    }
}

/// One way to die.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    /// Root's preparations, and how they are undone.
    root: Option<String>,
    undo: Option<String>,
    /// Whether the user stays logged in on a terminal, and prepares there.
    #[serde(default)]
    login: bool,
    prepare: String,
    /// A script of the user's; of root's after `root:`; of the machine's after `@`.
    provoke: String,
    /// Root's script that goes on from there.
    then: Option<String>,
    place: String,
    /// The cause.
    cause: String,
    /// What is said when no keeper watched.
    unwatched: Option<String>,
    /// What is so when it has happened, told as a shell condition of the user's; the end of the server by default.
    happened: Option<String>,
    /// What is so when the keeper has done what it does about it.
    after: Option<String>,
    /// The same when no keeper watched, if that is something else.
    unwatched_after: Option<String>,
    /// On which releases only.
    only: Option<Vec<String>>,
    /// What is different on Debian 12, where panes have no scopes of their own.
    bookworm: Option<Differing>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Differing {
    unwatched_after: Option<String>,
    place: Option<String>,
    cause: Option<String>,
    unwatched: Option<String>,
    happened: Option<String>,
    after: Option<String>,
}

impl Row {
    /// Returns the row as it is on a release; `None` where there is nothing like it.
    fn on(&self, suite: Suite) -> Option<Self> {
        let mut row = self.clone();
        if row.only.as_ref().is_some_and(|only| !only.iter().any(|name| name == suite.name())) {
            return None;
        }
        if let Some(other) = row.bookworm.take().filter(|_| suite == Suite::Bookworm) {
            row.place = other.place.unwrap_or(row.place);
            row.cause = other.cause.unwrap_or(row.cause);
            row.unwatched = other.unwatched.or(row.unwatched);
            row.happened = other.happened.or(row.happened);
            row.after = other.after.or(row.after);
            row.unwatched_after = other.unwatched_after.or(row.unwatched_after);
        }
        row.place = row.place.replace("$SERVER", SERVER);
        Some(row)
    }
}

#[test]
fn the_causes_on_trixie() -> Result<()> {
    campaign(Suite::Trixie)
}

#[test]
fn the_causes_on_bookworm() -> Result<()> {
    campaign(Suite::Bookworm)
}

#[test]
fn the_causes_on_sid() -> Result<()> {
    campaign(Suite::Sid)
}

fn campaign(suite: Suite) -> Result<()> {
    if std::env::var_os("AGENT_KEEPER_MATRIX").is_none() {
        return Ok(());
    }
    on(suite, "causes", |machine| provoke_all(machine, suite))
}

/// Provokes some rows on a machine that is set up, with a keeper that watches and without.
pub(crate) fn provoke_some(machine: &mut Machine, suite: Suite, names: &[&str]) -> Result<()> {
    let matrix = Matrix::read()?;
    for name in names {
        let row =
            matrix.death.iter().find(|row| row.name == *name).with_context(|| format!("no row {name}"))?;
        let Some(row) = row.on(suite) else { continue };
        let mut trial = Trial { machine, matrix: &matrix, row: &row, login: None };
        for (watched, cause) in [(true, Some(&row.cause)), (false, row.unwatched.as_ref())] {
            let Some(cause) = cause else { continue };
            trial.run(watched, cause).with_context(|| format!("{name}, watched: {watched}"))?;
        }
    }
    Ok(())
}

/// Provokes every row, and fails at the end, when all of them have been seen.
fn provoke_all(machine: &mut Machine, suite: Suite) -> Result<()> {
    install(machine)?;
    agent(machine, "keeperctl setup")?;
    let matrix = Matrix::read()?;
    let only = std::env::var("AGENT_KEEPER_MATRIX_ONLY").unwrap_or_default();
    let mut table = "| cause | a keeper watched | none did |\n|---|---|---|\n".to_owned();
    let mut wrong = Vec::new();
    let is_wanted = |row: &Row| only.split(',').any(|part| row.name.contains(part));
    for row in matrix.death.iter().filter_map(|row| row.on(suite)).filter(is_wanted) {
        let mut trial = Trial { machine, matrix: &matrix, row: &row, login: None };
        let mut said = Vec::new();
        for (pass, cause) in [("watched", Some(&row.cause)), ("unwatched", row.unwatched.as_ref())] {
            let Some(cause) = cause.filter(|_| is_pass_wanted(pass)) else {
                said.push("–".to_owned());
                continue;
            };
            said.push(match trial.run(pass == "watched", cause) {
                Ok(said) => said,
                Err(error) => {
                    wrong.push(format!("{} ({pass}): {error:#}", row.name));
                    format!("**wrong**: {error:#}")
                }
            });
            say(&format!("{suite} {pass}: {}: {}", row.name, said[said.len() - 1]));
        }
        let _ = writeln!(table, "| {} | {} |", row.name, said.join(" | "));
    }
    let path = logs().join(format!("matrix-{suite}.md"));
    fs::create_dir_all(logs())?;
    fs::write(&path, &table)?;
    say(&format!("{}:\n{table}", path.display()));
    ensure!(wrong.is_empty(), "{} wrong verdicts:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

fn is_pass_wanted(pass: &str) -> bool {
    std::env::var("AGENT_KEEPER_MATRIX_PASS").map_or(true, |only| only == pass)
}

/// One row on one machine.
struct Trial<'a> {
    machine: &'a mut Machine,
    matrix: &'a Matrix,
    row: &'a Row,
    login: Option<Session>,
}

impl Trial<'_> {
    /// Provokes the death and returns what is said of it.
    fn run(&mut self, watched: bool, cause: &str) -> Result<String> {
        let found = self.provoke_and_explain(watched, cause);
        if let Some(undo) = &self.row.undo {
            root(self.machine, undo)?;
        }
        self.login = None;
        found
    }

    fn provoke_and_explain(&mut self, watched: bool, cause: &str) -> Result<String> {
        let (known, server) = self.prepare()?;
        if !watched {
            self.user("systemctl --user kill -s KILL agent-keeper; systemctl --user stop agent-keeper")?;
        }
        self.provoke()?;
        if let Some(script) = &self.row.then {
            root(self.machine, script)?;
        }
        if !watched {
            let gone = format!("! kill -0 {server} 2>/dev/null");
            let happened = self.row.happened.as_ref().unwrap_or(&gone);
            self.user(&format!(
                "{}; systemctl --user reset-failed agent-keeper; systemctl --user start agent-keeper",
                until(happened)
            ))?;
        }
        let death = self.told(known)?;
        let word = |name: &str| death[name].as_str().unwrap_or_default();
        let said = format!("{} ({})", word("cause"), word("confidence"));
        let right = cause.split(' ').any(|cause| death["cause"] == cause);
        ensure!(
            right,
            "{said}, and should be {cause}: {}\n{}",
            self.user(&format!("keeperctl why {}", death["number"]))?,
            root(self.machine, "journalctl --no-pager -o short-precise --since -30s | tail -n 60")?
        );
        let unwatched = self.row.unwatched_after.as_ref().filter(|_| !watched);
        if let Some(condition) = unwatched.or(self.row.after.as_ref()) {
            self.user(&until(condition)).with_context(|| format!("no {condition} afterwards"))?;
        }
        Ok(said)
    }

    /// Runs a script as the user without a login, which would take the guest seconds.
    fn user(&self, script: &str) -> Result<String> {
        let script = format!("{}\n{script}", self.matrix.prelude);
        let script = format!(
            "runuser -u agent -- env -i HOME=/home/agent USER=agent SHELL=/bin/bash PATH=/home/agent/.local/bin:/usr/bin:/bin \
            LANG=C.UTF-8 XDG_RUNTIME_DIR=/run/user/1000 bash -c \"$(cat <<'SCRIPT'\ncd\n{script}\nSCRIPT\n)\""
        );
        self.machine.command(User::Root, &script).deadline(PATIENCE).ok()
    }

    /// Makes ready, prepares, and has a snapshot show it. Returns the number of the last death, and the server.
    fn prepare(&mut self) -> Result<(u64, String)> {
        if let Some(script) = &self.row.root {
            root(self.machine, script)?;
        }
        let script = &self.row.prepare;
        if self.row.login {
            let Matrix { prelude, ready, .. } = self.matrix;
            self.user(&format!("{ready}\ncat > prelude <<'END'\n{prelude}\nEND"))?;
            let mut session = self.machine.session(User::Agent)?;
            session.send(&format!(". ./prelude; {script}; echo prepa''red"))?;
            session.expect("prepared", LONG)?;
            self.login = Some(session);
        } else {
            self.user(&format!("{}\n{script}", self.matrix.ready))?;
        }
        let said = self.user(
            "keeperctl snapshot take >&2 && keeperctl why --all --json | jq '[.incidents[].number] | max // 0' && server",
        )?;
        let (known, server) = said.split_once('\n').with_context(|| said.clone())?;
        Ok((known.parse()?, server.to_owned()))
    }

    fn provoke(&mut self) -> Result<()> {
        let script = self.row.provoke.as_str();
        match script {
            "@reboot" => self.machine.reboot(),
            "@power-cut" => self.machine.power_cut(),
            "@logout" => {
                self.login.take().context("nobody is logged in")?.logout()?;
                wait_for_logout(self.machine)
            }
            "@hang-up" => {
                let mut session = self.login.take().context("nobody is logged in")?;
                session.send("tmux attach -t row")?;
                self.user(&format!("{}; keeperctl snapshot take", until("tmux list-clients | grep -q row")))?;
                session.cut();
                Ok(())
            }
            _ if script.starts_with('@') => bail!("{script} is nothing that a machine can do"),
            _ => match script.strip_prefix("root:") {
                Some(script) => root(self.machine, script).map(drop),
                None => self.user(&format!("{script}\ntrue")).map(drop),
            },
        }
    }

    /// Waits until the death is told.
    fn told(&self, known: u64) -> Result<Value> {
        let place = self.row.place.as_str();
        let new = format!(".number > {known}");
        let found = format!(
            "[.incidents[] | select({new} and (.place | test(\"^{place}$\")))] | max_by(.number) // empty"
        );
        let list = "XDG_RUNTIME_DIR=/run/user/1000 keeperctl why --all --json";
        let wait = format!("until {list} | jq -ce '{found}'; do sleep 0.5; done");
        let told = self.user(&wait).or_else(|error| {
            let others =
                self.user(&format!("{list} | jq -c '.incidents[] | select({new})'; keeperctl status"))?;
            Err(error.context(format!("no death of {place}; there are {others}")))
        })?;
        serde_json::from_str(&told).with_context(|| told.clone())
    }
}

/// Returns a script that waits for a condition.
fn until(condition: &str) -> String {
    format!("until {condition}\ndo sleep 0.5; done")
}
