//! What can end a session, each provoked for real on each release, and what `keeperctl why` says of it, with a keeper
//! that watches and with one that was killed before. The rows are data: `matrix.toml`. A campaign of its own:
//! `AGENT_KEEPER_MATRIX=1 cargo test --test vm causes -- --nocapture --test-threads=1`; the table is written to
//! `target/vm-logs/matrix-RELEASE.md`. `AGENT_KEEPER_MATRIX_ONLY=TEXT` runs the rows whose names have that in them,
//! `AGENT_KEEPER_MATRIX_PASS=watched` or `unwatched` one of both.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::keeper::{LONG, agent, agent_any, ctl_json, install, root, wait_for_logout};
use crate::machine::{Machine, Session, Suite, User, logs, say};
use crate::on;

/// The rows.
const MATRIX: &str = include_str!("matrix.toml");

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
    place: String,
    /// The cause.
    cause: String,
    /// What is said when no keeper watched.
    unwatched: Option<String>,
    /// What is so when it has happened, told as a shell condition of the user's; the end of the server by default.
    happened: Option<String>,
    /// What is so when the keeper has done what it does about it.
    after: Option<String>,
    /// On which release only.
    only: Option<String>,
    /// What is different on Debian 12, where panes have no scopes of their own.
    bookworm: Option<Differing>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Differing {
    place: Option<String>,
    unwatched: Option<String>,
    happened: Option<String>,
    after: Option<String>,
}

impl Row {
    /// Returns the row as it is on a release; `None` where there is nothing like it.
    fn on(&self, suite: Suite) -> Option<Self> {
        let mut row = self.clone();
        if row.only.as_ref().is_some_and(|only| only != suite.name()) {
            return None;
        }
        if let Some(other) = row.bookworm.take().filter(|_| suite == Suite::Bookworm) {
            row.place = other.place.unwrap_or(row.place);
            row.unwatched = other.unwatched.or(row.unwatched);
            row.happened = other.happened.or(row.happened);
            row.after = other.after.or(row.after);
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

fn campaign(suite: Suite) -> Result<()> {
    if std::env::var_os("AGENT_KEEPER_MATRIX").is_none() {
        return Ok(());
    }
    on(suite, "causes", |machine| provoke_all(machine, suite))
}

/// Provokes every row, and fails at the end, when all of them have been seen.
fn provoke_all(machine: &mut Machine, suite: Suite) -> Result<()> {
    install(machine)?;
    agent(machine, "keeperctl setup")?;
    let matrix: Matrix = toml::from_str(MATRIX).context("matrix.toml")?;
    let only = std::env::var("AGENT_KEEPER_MATRIX_ONLY").unwrap_or_default();
    let mut table = "| cause | a keeper watched | none did |\n|---|---|---|\n".to_owned();
    let mut wrong = Vec::new();
    for row in matrix.death.iter().filter_map(|row| row.on(suite)).filter(|row| row.name.contains(&only)) {
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
        // Whatever went wrong, the next row begins with a keeper.
        self.agent("systemctl --user start agent-keeper")?;
        found
    }

    fn provoke_and_explain(&mut self, watched: bool, cause: &str) -> Result<String> {
        self.ready()?;
        if let Some(script) = &self.row.root {
            root(self.machine, script)?;
        }
        self.prepare()?;
        self.agent("keeperctl snapshot take")?;
        let known = self.numbers()?.into_iter().max().unwrap_or(0);
        let pid = self.agent("tmux display-message -p '#{pid}'")?;
        if !watched {
            self.agent(
                "systemctl --user kill -s KILL agent-keeper; systemctl --user stop agent-keeper; ! systemctl --user -q is-active agent-keeper",
            )?;
        }
        self.provoke()?;
        if !watched {
            let happened =
                self.row.happened.clone().unwrap_or_else(|| format!("! kill -0 {pid} 2>/dev/null"));
            self.wait_until(&happened)?;
            self.agent("systemctl --user reset-failed agent-keeper; systemctl --user start agent-keeper")?;
        }
        let death = self.told(known)?;
        let word = |name: &str| death[name].as_str().unwrap_or_default();
        let said = format!("{} ({})", word("cause"), word("confidence"));
        let right = cause.split(' ').any(|cause| death["cause"] == cause);
        ensure!(right, "{said}, and should be {cause}: {}", self.explained(&death)?);
        if let Some(condition) = &self.row.after {
            self.wait_until(condition)?;
        }
        Ok(said)
    }

    fn agent(&self, script: &str) -> Result<String> {
        agent(self.machine, &format!("{}\n{script}", self.matrix.prelude))
    }

    /// Waits until the keeper watches its own server, and nothing of other rows is left.
    fn ready(&self) -> Result<()> {
        self.agent(&self.matrix.ready)?;
        self.machine.wait_for("watching keeper", LONG, || {
            let status = ctl_json(self.machine, "status")?;
            ensure!(status["keeper"]["state"] == "watching", "{status}");
            Ok(())
        })?;
        self.agent("tmux has-session -t =other 2>/dev/null || tmux new-session -d -s other; ! tmux has-session -t =row 2>/dev/null || tmux kill-session -t =row; tmux set-option -s exit-empty off").map(drop)
    }

    fn prepare(&mut self) -> Result<()> {
        let script = &self.row.prepare;
        if !self.row.login {
            return self.agent(script).map(drop);
        }
        let mut session = self.machine.session(User::Agent)?;
        session.send(&format!("{script}; echo prepa''red"))?;
        session.expect("prepared", LONG)?;
        self.login = Some(session);
        Ok(())
    }

    fn provoke(&mut self) -> Result<()> {
        let script = self.row.provoke.as_str();
        match script {
            "@reboot" => self.machine.reboot(),
            "@power-cut" => self.machine.power_cut(),
            "@logout" => {
                // The last of the user's.

                self.login.take().context("nobody is logged in")?.logout()?;
                wait_for_logout(self.machine)
            }
            "@hang-up" => {
                self.login.take().context("nobody is logged in")?.cut();
                Ok(())
            }
            _ if script.starts_with('@') => bail!("{script} is nothing that a machine can do"),
            _ => match script.strip_prefix("root:") {
                Some(script) => root(self.machine, script).map(drop),
                // Whoever kills what it runs in does not report success.
                None => agent_any(self.machine, &format!("{}\n{script}", self.matrix.prelude)).map(drop),
            },
        }
    }

    fn wait_until(&self, condition: &str) -> Result<()> {
        self.machine.wait_for(condition, LONG, || self.agent(condition).map(drop))
    }

    fn deaths(&self) -> Result<Vec<Value>> {
        let list = ctl_json(self.machine, "why --all")?;
        Ok(list["incidents"].as_array().context("no list")?.clone())
    }

    fn numbers(&self) -> Result<Vec<u64>> {
        Ok(self.deaths()?.iter().filter_map(|death| death["number"].as_u64()).collect())
    }

    /// Waits until the death is told.
    fn told(&self, known: u64) -> Result<Value> {
        let place = self.row.place.as_str();
        self.machine.wait_for(&format!("death of {place}"), LONG, || {
            let deaths = self.deaths()?;
            let new = |death: &&Value| death["number"].as_u64() > Some(known);
            let found = deaths.iter().filter(new).find(|death| death["place"] == place);
            found
                .cloned()
                .with_context(|| format!("there are {:?}", deaths.iter().filter(new).collect::<Vec<_>>()))
        })
    }

    fn explained(&self, death: &Value) -> Result<Value> {
        ctl_json(self.machine, &format!("why {}", death["number"]))
    }
}
