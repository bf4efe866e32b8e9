//! What can end a session, each provoked for real on each release, and what `keeperctl why` says of it. The rows are
//! data: `matrix.toml`. A campaign of its own:
//! `AGENT_KEEPER_MATRIX=1 cargo test --test vm causes -- --nocapture --test-threads=1`

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::keeper::{LONG, agent, ctl_json, install, root};
use crate::machine::{Machine, Suite, User, say};
use crate::on;

/// The rows.
const MATRIX: &str = include_str!("matrix.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Matrix {
    death: Vec<Row>,
}

/// One way to die.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    prepare: String,
    provoke: String,
    place: String,
    /// The causes that are right, separated by spaces.
    cause: String,
    after: Option<String>,
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
    on(suite, "causes", provoke_all)
}

/// Provokes every row, and fails at the end, when all of them have been seen.
fn provoke_all(machine: &mut Machine) -> Result<()> {
    install(machine)?;
    agent(machine, "keeperctl setup")?;
    let matrix: Matrix = toml::from_str(MATRIX).context("matrix.toml")?;
    let only = std::env::var("AGENT_KEEPER_MATRIX_ONLY").unwrap_or_default();
    let mut table = String::new();
    let mut wrong = 0;
    for row in matrix.death.iter().filter(|row| row.name.contains(&only)) {
        let (mark, said) = match provoke(machine, row) {
            Ok(said) => ("ok", said),
            Err(error) => {
                wrong += 1;
                ("WRONG", format!("{error:#}"))
            }
        };
        let line = format!("{mark:<5}  {}: {said}", row.name);
        say(&format!("{}: {line}", machine.name()));
        let _ = writeln!(table, "{line}");
    }
    ensure!(wrong == 0, "{wrong} wrong verdicts:\n{table}");
    Ok(())
}

/// Provokes one death and returns what is said of it.
fn provoke(machine: &mut Machine, row: &Row) -> Result<String> {
    ready(machine)?;
    let known = last_number(machine)?;
    agent(machine, &row.prepare)?;
    saved(machine)?;
    let server = server_place();
    match row.provoke.as_str() {
        "@reboot" => machine.reboot()?,
        "@power-cut" => machine.power_cut()?,
        "@terminate-user" => {
            root(machine, "loginctl terminate-user agent; sleep 1; systemctl start user@1000.service")?;
        }
        script => {
            // Whoever kills what it runs in does not report success.
            machine.command(User::Agent, script).login().deadline(LONG).run()?;
        }
    }
    let place = row.place.replace("$SERVER", &server);
    let death = machine.wait_for(&format!("death of {place}"), LONG, || {
        let list = ctl_json(machine, "why --all")?;
        let rows = list["incidents"].as_array().context("no list")?;
        let found = rows
            .iter()
            .find(|found| found["number"].as_u64() > Some(known) && found["place"] == place.as_str());
        found.cloned().with_context(|| format!("there are {list}"))
    })?;
    let said = format!(
        "{} ({})",
        death["cause"].as_str().unwrap_or_default(),
        death["confidence"].as_str().unwrap_or_default()
    );
    let right = row.cause.split(' ').any(|cause| death["cause"] == cause);
    ensure!(right, "{said}, and should be {}: {}", row.cause, explained(machine, &death)?);
    if let Some(condition) = &row.after {
        let as_user =
            format!("runuser -l agent -c \"{}\"", condition.replace('"', "\\\"").replace('$', "\\$"));
        machine.wait_until(&format!("{condition}, after {}", row.name), LONG, &as_user)?;
    }
    Ok(said)
}

fn server_place() -> String {
    "/tmp/tmux-1000/default".to_owned()
}

/// Waits until the keeper watches a server, and clears what other rows have left.
fn ready(machine: &Machine) -> Result<()> {
    machine.wait_for("watching keeper", LONG, || {
        let status = ctl_json(machine, "status")?;
        ensure!(status["keeper"]["state"] == "watching", "{status}");
        Ok(())
    })?;
    agent(
        machine,
        "tmux set-option -s exit-empty off; tmux kill-session -t =row 2>/dev/null || true; tmux new-session -A -d -s other",
    )?;
    saved(machine)
}

/// Waits until the newest snapshot has the sessions that there are.
fn saved(machine: &Machine) -> Result<()> {
    machine.wait_for("snapshot of all sessions", LONG, || {
        let names = agent(machine, "tmux list-sessions -F '#{session_name}' | sort | tr '\\n' ' '")?;
        let shown = ctl_json(machine, "snapshot show latest")?;
        let list = shown["snapshot"]["server"]["sessions"].as_array().context("no sessions")?;
        let mut saved: Vec<&str> = list.iter().filter_map(|session| session["name"].as_str()).collect();
        saved.sort_unstable();
        ensure!(saved.join(" ") == names.trim(), "{saved:?} are saved, and {names} are there");
        Ok(())
    })
}

fn last_number(machine: &Machine) -> Result<u64> {
    let list = ctl_json(machine, "why --all")?;
    let rows = list["incidents"].as_array().context("no list")?;
    Ok(rows.iter().filter_map(|row| row["number"].as_u64()).max().unwrap_or(0))
}

fn explained(machine: &Machine, death: &Value) -> Result<Value> {
    ctl_json(machine, &format!("why {}", death["number"]))
}
