//! Tests of ours that need a machine of their own, or another tmux than this host has: they run inside one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::machine::{Machine, Suite, User, say};
use crate::{keeper, on, push_program, skip};

/// How many panes the server has whose machine loses its power. Emulated, the keeper is slower than what is promised
/// of its age anyway; by hand there are a hundred, and the age counts (`tests/power/main.rs`).
const PANES: u32 = 20;

/// How many random servers are brought back on this tmux; this host's own tmux is tried with more.
const SERVERS: u32 = 10;

/// Power cuts and random servers take minutes in here.
const LONG: Duration = Duration::from_secs(1200);

#[test]
fn our_tests_inside_trixie() -> Result<()> {
    on(Suite::Trixie, "inside", inside)
}

fn inside(machine: &mut Machine) -> Result<()> {
    // The tests know the programs by where they were built.
    for built in [env!("CARGO_BIN_EXE_agent-keeper"), env!("CARGO_BIN_EXE_keeperctl")] {
        push_program(machine, User::Root, Path::new(built), Path::new(built))?;
    }
    if let Some(why) = keeper::cannot_run(machine, env!("CARGO_BIN_EXE_keeperctl"))? {
        return skip(machine.name(), why);
    }
    let cuts = std::env::var("AGENT_KEEPER_POWER_CUTS").unwrap_or_else(|_| "6".to_owned());
    let power = format!("AGENT_KEEPER_POWER_CUTS={cuts} AGENT_KEEPER_POWER_PANES={PANES}");
    run(machine, "power", &format!("{power} AGENT_KEEPER_POWER_AGE_MAX_MS=0"))?;
    let servers = std::env::var("AGENT_KEEPER_TEST_SERVERS").unwrap_or_else(|_| SERVERS.to_string());
    // A failure must be told before the deadline: each server takes many seconds in here.
    let few = "PROPTEST_MAX_SHRINK_ITERS=5";
    run(machine, "fidelity", &format!("{few} AGENT_KEEPER_TEST_SERVERS={servers}"))
}

/// Runs one of our test programs as root, ignored tests too, and shows what it says.
fn run(machine: &Machine, name: &str, variables: &str) -> Result<()> {
    let started = std::time::Instant::now();
    let remote = Path::new("/root").join(name);
    push_program(machine, User::Root, &build(name)?, &remote)?;
    let script = format!("{variables} {} --include-ignored --nocapture 2>&1", remote.display());
    let output = machine.command(User::Root, &script).deadline(LONG).run()?;
    say(&output.stdout);
    ensure!(output.success(), "{name} failed inside: {output}");
    say(&format!("{}: {name}: {:.0?}", machine.name(), started.elapsed()));
    Ok(())
}

/// Builds a test program, unless it is built, and returns its path, which only cargo knows.
fn build(name: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["test", "--locked", "--no-run", "--message-format=json", "--test", name])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    ensure!(output.status.success(), "build {name}: {}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout)?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| Some(message["executable"].as_str()?.into()))
        .with_context(|| format!("cargo names no program for {name}"))
}
