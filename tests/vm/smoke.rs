//! The lab itself: what every other scenario takes for granted, on each release.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::machine::{Machine, Suite, User};
use crate::on;

const TMUX: &str = "tmux -L smoke";

#[test]
fn lab_works_on_trixie() -> Result<()> {
    on(Suite::Trixie, "smoke", |machine| {
        lab_works(machine)?;
        // What QEMU does is the same whatever runs in it.
        power_cut_keeps_what_was_flushed(machine)?;
        nobody_is_there_but_linger(machine)?;
        off_and_on(machine)
    })
}

#[test]
fn lab_works_on_bookworm() -> Result<()> {
    on(Suite::Bookworm, "smoke", |machine| lab_works(machine))
}

fn lab_works(machine: &Machine) -> Result<()> {
    clock_is_right(machine)?;
    shells_differ(machine)?;
    files_travel(machine)?;
    errors_say_what_happened(machine)?;
    scope_survives_logout(machine)
}

fn clock_is_right(machine: &Machine) -> Result<()> {
    let guest: u64 = machine.ssh_ok(User::Root, "date +%s")?.parse()?;
    let host = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    ensure!(host.abs_diff(guest) <= 10, "the guest's clock says {guest}, this host's {host}");
    Ok(())
}

fn shells_differ(machine: &Machine) -> Result<()> {
    let ask = "echo \"${FROM_PROFILE-none} $(tty)\"";
    ensure!(machine.ssh_ok(User::Agent, ask)? == "none not a tty");
    let login = machine.command(User::Agent, ask).login().tty().ok()?;
    ensure!(login.starts_with("1 /dev/pts/"), "a login shell on a terminal says {login:?}");
    let path = machine.command(User::Agent, "echo $PATH").login().ok()?;
    ensure!(path.starts_with("/home/agent/.local/bin:"), "PATH is {path}");
    Ok(())
}

fn files_travel(machine: &Machine) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (there, back) = (folder.path().join("there"), folder.path().join("back"));
    let bytes: Vec<u8> = (0..=255).collect();
    fs::write(&there, &bytes)?;
    let remote = Path::new("/home/agent/a folder/it's here");
    machine.push(User::Agent, &there, remote, 0o750)?;
    machine.pull(User::Agent, remote, &back)?;
    ensure!(fs::read(&back)? == bytes, "a file came back changed");
    ensure!(machine.ssh_ok(User::Agent, "stat -c '%a %U' 'a folder'/*")? == "750 agent");
    Ok(())
}

fn errors_say_what_happened(machine: &Machine) -> Result<()> {
    ensure!(machine.ssh(User::Agent, "exit 3")?.code == 3);
    let Err(slow) =
        machine.command(User::Root, "echo early; sleep 99").deadline(Duration::from_secs(5)).run()
    else {
        anyhow::bail!("a deadline passed unnoticed");
    };
    let slow = format!("{slow:#}");
    ensure!(slow.contains("early") && slow.contains(machine.name()), "not helpful: {slow}");
    Ok(())
}

fn scope_survives_logout(machine: &Machine) -> Result<()> {
    machine.ssh_ok(User::Agent, "loginctl enable-linger")?;
    let mut session = machine.session(User::Agent)?;
    let here = machine.ssh_ok(User::Root, &format!("loginctl show-session -P Name {}", session.id()))?;
    ensure!(here == "agent", "session {} belongs to {here:?}", session.id());
    session.send(&format!("systemd-run --user --scope -q --unit=smoke {TMUX} new -d; echo st''arted"))?;
    session.expect("started", Duration::from_secs(60))?;
    ensure!(session.is_open()?);
    session.logout()?;
    machine.session(User::Agent)?.cut();
    let gone = "[ -z \"$(loginctl --no-legend list-sessions | grep -v manager | grep agent)\" ]";
    machine.wait_until("end of agent's sessions", Duration::from_secs(60), gone)?;
    machine.ssh_ok(User::Root, &format!("runuser -u agent -- {TMUX} has-session"))?;
    Ok(())
}

/// After a boot: the manager of a user who lingers runs, and nothing else of that user.
fn nobody_is_there_but_linger(machine: &Machine) -> Result<()> {
    machine.wait_for("active user@1000", Duration::from_secs(120), || {
        let state = machine.ssh_ok(User::Root, "systemctl is-active user@1000.service || true")?;
        ensure!(state == "active", "it is {state}");
        Ok(())
    })?;
    let sessions = machine
        .ssh_ok(User::Root, "loginctl --no-legend list-sessions | grep -v manager | grep -c agent || true")?;
    ensure!(sessions == "0", "{sessions} sessions of agent after a boot");
    ensure!(
        !machine.ssh(User::Agent, &format!("{TMUX} has-session"))?.success(),
        "tmux cannot have survived a boot"
    );
    Ok(())
}

fn power_cut_keeps_what_was_flushed(machine: &mut Machine) -> Result<()> {
    let boot_id = "cat /proc/sys/kernel/random/boot_id";
    let before = machine.ssh_ok(User::Root, boot_id)?;
    machine.settle()?;
    machine.ssh_ok(User::Agent, "echo kept >flushed; sync flushed .; echo lost >fresh")?;
    machine.power_cut()?;
    ensure!(machine.ssh_ok(User::Root, boot_id)? != before, "it never went down");
    ensure!(machine.ssh_ok(User::Root, "cat ~agent/flushed")? == "kept");
    ensure!(
        !machine.ssh(User::Root, "grep -q lost ~agent/fresh")?.success(),
        "an unflushed file survived: not a power cut"
    );
    Ok(())
}

fn off_and_on(machine: &mut Machine) -> Result<()> {
    let session = machine.session(User::Agent)?;
    machine.shutdown()?;
    session.wait_closed(Duration::from_secs(60))?;
    machine.power_on()?;
    ensure!(machine.ssh_ok(User::Agent, "cat flushed")? == "kept");
    Ok(())
}
