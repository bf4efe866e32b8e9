//! What only a real systemd shows: logout, linger, reboot, power cut, on Debian 13 and Debian 12 as they are.
//!
//! Each release has one machine, which goes through a story in which every chapter needs the one before; a
//! chapter's name is in its error. `AGENT_KEEPER_VM_ONLY=trixie` runs one release.
#![allow(clippy::print_stderr, reason = "how long things take is worth reading")]

mod inside;
mod keeper;
mod machine;
mod matrix;
mod smoke;

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use machine::{Lab, Machine, Suite, User};

/// Runs a scenario on a release's machine.
fn on(suite: Suite, name: &str, scenario: impl FnOnce(&mut Machine) -> Result<()>) -> Result<()> {
    if !suite.is_wanted() {
        return Ok(());
    }
    match Lab::open()? {
        Ok(lab) => Machine::run(&lab, suite, name, scenario),
        Err(why) => skip(&format!("{name} on {suite}"), &why.to_string()),
    }
}

/// Copies a program into a guest, without what only debuggers read.
fn push_program(machine: &Machine, user: User, built: &Path, remote: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let small = folder.path().join("program");
    let stripped = Command::new("strip").arg("-o").arg(&small).arg(built).status()?;
    ensure!(stripped.success(), "strip {}", built.display());
    machine.push(user, &small, remote, 0o755)
}

/// Says loudly what does not run here and why: it proves nothing. With `CI=true` that is a failure.
fn skip(what: &str, why: &str) -> Result<()> {
    machine::say(&format!("SKIPPED: {what}: {why}"));
    let is_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    ensure!(!is_ci, "cannot run here, and CI=true: {what}: {why}");
    Ok(())
}
