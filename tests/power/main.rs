//! The power goes while a big server changes all the time, again and again: whatever the disk had flushed by then
//! is a store that opens, is whole, and is hardly older than the cut.
//!
//! It needs root, FUSE and a loop device, so only the virtual machines run it by themselves (`tests/vm/inside.rs`).
//! By hand: `AGENT_KEEPER_POWER_CUTS=100 cargo test --test power -- --ignored --nocapture`. How old a snapshot may
//! be is only asked where time is real: `AGENT_KEEPER_POWER_AGE_MAX_MS=0` asks nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may panic and tell"
)]

mod chance;
mod disk;
mod load;
#[path = "../support/mod.rs"]
mod support;

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use agent_keeper::store::{Store, Writer};
use chance::Chance;
use disk::{Cut, Disk, Fate};
use jiff::Timestamp;
use load::Load;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use support::{Keeper, PrivateTmux, session_names, text};

/// How long anything may take here, which is more than elsewhere: emulated machines run this.
const LONG: Duration = Duration::from_secs(400);

/// How the file system is mounted. Without `auto_da_alloc` ext4 flushes nothing that nobody asked it to flush, as
/// other file systems do not, and with a long `commit` nothing gets to the disk by the way either.
const MOUNT: &str = "loop,noauto_da_alloc,commit=60";

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |value| value.parse().expect(variable))
}

/// What was found after a cut; ages in milliseconds.
struct Found {
    generation: u64,
    /// The newest generation that a restore would start from.
    age: i64,
    /// The last change that it shows.
    change: i64,
    /// The oldest of its texts. Nothing is promised of them: a few panes are read at a time, by turns.
    text: i64,
    generations: usize,
    texts: u64,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, age, change, text, generations, texts } = self;
        write!(
            f,
            "snapshot {generation} is {age} ms old, its last change {change}, its oldest text {text}; "
        )?;
        write!(f, "{generations} snapshots and {texts} texts are whole")
    }
}

#[test]
#[ignore = "mounts file systems on the host as root, which nobody expects of cargo test: tests/vm/inside.rs runs it in a machine of its own, without the limit on age"]
fn power_cuts() {
    let (cuts, panes) = (number("AGENT_KEEPER_POWER_CUTS", 10), number("AGENT_KEEPER_POWER_PANES", 100));
    let age_max = number("AGENT_KEEPER_POWER_AGE_MAX_MS", 5000).cast_signed();
    let is_late = |age: &i64| age_max > 0 && *age > age_max;
    let seed = number("AGENT_KEEPER_POWER_SEED", u64::from(std::process::id()));
    eprintln!("AGENT_KEEPER_POWER_SEED={seed}: {cuts} cuts, {panes} panes");
    let mut chance = Chance::new(seed);
    own_mounts();
    let mut keeper = Keeper::prepare();
    let place = keeper.path("disk");
    let disk = Disk::serve(&place).unwrap();
    run("mount", &["-o", MOUNT], &[&place, &keeper.path("state")]);
    keeper.start_watching();
    load::build(&keeper.tmux, panes);
    let load = Load::start(PrivateTmux::at(&keeper.tmux.socket), panes, chance.clone());
    first_snapshot(&keeper, panes);

    let revived = Keeper::prepare();
    let all: Vec<Found> = (1..=cuts)
        .map(|number| {
            let found = cut_and_revive(&keeper, &disk, &revived, number, &mut chance);
            if number < cuts {
                put_away(&revived);
            }
            found
        })
        .collect();
    let changes = load.stop();
    let spread_of = |age: fn(&Found) -> i64| spread(all.iter().map(age).collect());
    eprintln!("{cuts} cuts, {changes} changes: all opened, all whole");
    eprintln!("snapshots: {}", spread_of(|found| found.age));
    eprintln!("last change shown: {}", spread_of(|found| found.change));
    eprintln!("oldest text: {}", spread_of(|found| found.text));
    let unread = keeper.log().lines().filter(|line| line.contains("a text was not read")).count();
    eprintln!("{unread} times a text could not be read");
    let late: Vec<i64> = all.iter().map(|found| found.age).filter(is_late).collect();
    assert!(late.is_empty(), "older than {age_max} ms: {late:?}");
    keeper.stop_daemon("KILL");
    keeper.tmux.kill_server_hard();
    unmount(&keeper.path("state"));
    comes_back(revived);
}

/// Cuts the power at a moment that nothing here decides, or, every other time, while the keeper writes next.
fn cut_and_revive(keeper: &Keeper, disk: &Disk, revived: &Keeper, number: u64, chance: &mut Chance) -> Found {
    std::thread::sleep(Duration::from_millis(200 + chance.below(3000)));
    let asked = number.is_multiple_of(10).then(|| asked_for(keeper));
    let there = Store::open(keeper.store_dir()).numbers().unwrap().last().copied().unwrap_or(0);
    let writing = (!number.is_multiple_of(2)).then(|| 1 + chance.below(200));
    let fate = match chance.below(4) {
        0 => Fate::Lost,
        1 => Fate::Kept,
        _ => Fate::Torn,
    };
    let cut = disk.cut(writing, fate, chance);
    let found = revive(revived, &cut);
    let when = if writing.is_some() { " while it writes" } else { "" };
    eprintln!("cut {number}{when}: {} of {} unflushed sectors lost; {found}", cut.lost, cut.unflushed);
    // The newest one may have got its name a moment ago; the one before it lasts.
    let promised = asked.unwrap_or(there.saturating_sub(1));
    assert!(found.generation >= promised, "snapshot {promised} was promised, {} is there", found.generation);
    found
}

/// Makes mounts that nobody else sees, and that go a little later than this process, however it ends: a disk
/// that was unmounted by the end of the very process that serves it would wait for that process for ever.
fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("only root can mount");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let holder = Command::new("sh").args(["-c", "cat; sleep 5"]).stdin(Stdio::piped()).spawn().unwrap();
    // Its input ends with us.
    std::mem::forget(holder);
}

fn run(program: &str, words: &[&str], paths: &[&Path]) {
    let output = Command::new(program).args(words).args(paths).output().unwrap();
    assert!(output.status.success(), "{program} {words:?} {paths:?}: {}", text(&output.stderr));
}

fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {LONG:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until all of the server is in a snapshot.
fn first_snapshot(keeper: &Keeper, panes: u64) {
    wait("a snapshot of all panes", || {
        let newest = keeper.generations().last()?["panes"].as_u64()?;
        (newest + 4 >= panes).then_some(())
    });
}

/// Asks for a snapshot and returns its number: it was promised to last.
fn asked_for(keeper: &Keeper) -> u64 {
    let said = keeper.ctl_json(&["snapshot", "take"]);
    said["generation"].as_u64().unwrap_or_else(|| panic!("no generation in {said}"))
}

/// Mounts what the cut has left and checks it as its user would.
fn revive(revived: &Keeper, cut: &Cut) -> Found {
    let image = revived.path("image");
    cut.write_to(&image).unwrap();
    run("mount", &["-o", MOUNT], &[&image, &revived.path("state")]);
    let list = revived.ctl_json(&["snapshot", "list"]);
    let verified = revived.ctl_json(&["snapshot", "verify"]);
    assert_eq!(verified["problems"], Value::Array(Vec::new()), "{verified}");
    revived.ctl_json(&["restore", "--dry-run"]);
    // A keeper opens it and tidies up; that must not cost anything either.
    let writer = Writer::open(revived.store_dir()).unwrap();
    let store = writer.store();
    let problems = store.verify(None).unwrap().problems;
    assert!(problems.is_empty(), "{problems:?}");
    let (generation, snapshot) = store.newest().unwrap().good.expect("a snapshot");
    let windows = snapshot.server.sessions.iter().flat_map(|session| &session.windows);
    let clocks = windows.filter_map(|window| window.name.to_string().strip_prefix(load::CLOCK)?.parse().ok());
    let change: i64 = clocks.max().expect("a window that says when the last change was");
    let texts = snapshot.server.panes().filter_map(|(_, _, pane)| told(&store.text(&pane.scrollback).0));
    let now = cut.at.as_millisecond();
    Found {
        generation,
        age: now - snapshot.taken_at.as_millisecond(),
        change: now - change,
        text: now - 1000 * texts.min().expect("a text"),
        generations: list["snapshots"].as_array().map_or(0, Vec::len),
        texts: verified["objects"].as_u64().unwrap_or_default(),
    }
}

/// Unmounts what a cut has left. The file system is sound too, or the cut was none that a disk can have.
fn put_away(revived: &Keeper) {
    unmount(&revived.path("state"));
    run("e2fsck", &["-f", "-n"], &[&revived.path("image")]);
}

/// Unmounts as soon as nothing is open there. A process that the load is just starting holds for a moment what this
/// one has open.
fn unmount(place: &Path) {
    wait("an end of all use", || {
        Command::new("umount").arg("-q").arg(place).status().ok()?.success().then_some(())
    });
}

/// Returns the last time that a pane told, in seconds since 1970.
fn told(text: &[u8]) -> Option<i64> {
    let text = String::from_utf8_lossy(text);
    let told = |line: &str| line.split_once("now ")?.1.split_whitespace().next()?.parse().ok();
    text.lines().rev().find_map(told)
}

fn spread(mut times: Vec<i64>) -> String {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    format!("at most {} ms, median {} ms, 95 % below {} ms", at(100), at(50), at(95))
}

/// A keeper that starts on what the last cut has left brings all of it back.
fn comes_back(mut revived: Keeper) {
    let shown = revived.ctl_json(&["snapshot", "show", "latest"]);
    let panes = |server: &Value| {
        let sessions = server["sessions"].as_array().into_iter().flatten();
        let windows = sessions.flat_map(|session| session["windows"].as_array().into_iter().flatten());
        windows.map(|window| window["panes"].as_array().map_or(0, Vec::len)).sum::<usize>()
    };
    let (mut names, panes) = (session_names(&shown["snapshot"]), panes(&shown["snapshot"]["server"]));
    names.sort_unstable();
    let started = Timestamp::now();
    revived.start_daemon();
    wait("everything to be back", || {
        let found = revived.tmux.sessions();
        (revived.state() == "watching" && found == names && revived.tmux.panes("x").len() == panes)
            .then_some(())
    });
    eprintln!(
        "{} sessions, {panes} panes back after {:#}",
        names.len(),
        Timestamp::now().duration_since(started)
    );
    revived.stop_daemon("TERM");
}
