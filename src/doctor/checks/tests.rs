//! Each check at facts that are well, and at facts that are not.

use super::*;

use crate::doctor::facts::{KeeperFact, ProvenFact, StoreFact};
use crate::logind::{KillRule, Policy};

/// A machine on which everything is as it should be.
fn healthy() -> Facts {
    Facts {
        user: "ann".to_owned(),
        systemd: true,
        manager: Ok("257".to_owned()),
        policy: Ok(Policy {
            linger: Linger::On,
            kill: KillRule { kill: false, only: Vec::new(), exclude: Vec::new() },
        }),
        config: Ok(()),
        login_problem: None,
        tmux: Ok("3.5a (/usr/bin/tmux)".to_owned()),
        server: running(Placement::UserUnit("agent-keeper-tmux-default.scope".to_owned())),
        keeper: KeeperFact {
            answers: Some(("watching".to_owned(), None)),
            version: Some("0.1.0".to_owned()),
            active_state: Some("active".to_owned()),
            file_state: Some("enabled".to_owned()),
        },
        state: "/home/ann/.local/state/agent-keeper".into(),
        store: Ok(StoreFact {
            newest: Some(7),
            age: 3 * DAY,
            flaws: Vec::new(),
            writable: true,
            free_bytes: Some(10_000_000_000),
        }),
        proven: proven(3, true),
        drills: true,
    }
}

const DAY: Duration = Duration::from_secs(86_400);

fn proven(days_ago: u64, perfect: bool) -> Option<ProvenFact> {
    let age = Duration::from_secs(days_ago * DAY.as_secs());
    let score = if perfect { 100 } else { 97 };
    Some(ProvenFact { age, perfect, result: format!("snapshot 42, {score} %") })
}

/// The first snapshot is of today, and no drill will come by itself.
fn not_proven_today(facts: &mut Facts) {
    facts.proven = None;
    facts.drills = false;
    facts.store = store(|s| s.age = DAY / 2);
}

fn running(placement: Placement) -> ServerFact {
    ServerFact::Running {
        pid: 4711,
        placement: Ok(placement),
        exit_empty: Some(false),
        destroy_unattached: Some(false),
    }
}

fn in_login() -> ServerFact {
    running(Placement::LogindSession("session-9.scope".to_owned()))
}

/// Changes what the store is like.
fn store(change: impl FnOnce(&mut StoreFact)) -> Result<StoreFact, String> {
    let mut store = healthy().store.unwrap();
    change(&mut store);
    Ok(store)
}

fn found(id: &str, facts: &Facts) -> Finding {
    examine(facts).into_iter().find(|(check, _)| check.id == id).map(|(_, finding)| finding).unwrap()
}

/// Programs that a mend may tell one to run.
const COMMANDS: [&str; 12] = [
    "apt-get",
    "df",
    "env",
    "journalctl",
    "keeperctl",
    "kill",
    "loginctl",
    "ls",
    "man",
    "mv",
    "sudo",
    "tmux",
];

/// Returns the command in a mend: all of it, or what is behind a colon.
fn command(mend: &str) -> Option<&str> {
    let parts = std::iter::once(mend).chain(mend.split(": ").skip(1));
    parts.into_iter().find(|part| part.split(' ').next().is_some_and(|word| COMMANDS.contains(&word)))
}

type Change = fn(&mut Facts);

/// A check, the change of healthy facts that it finds fault with, and parts of what it has seen and of the
/// command that it names.
type Case = (&'static str, Change, &'static str, &'static str);

const PROBLEMS: [Case; 27] = [
    ("tmux.version", |f| f.tmux = Err("tmux 2.8 is too old".to_owned()), "2.8", "apt-get install tmux"),
    (
        "config.valid",
        |f| f.config = Err("config.toml:3:1: what?".to_owned()),
        ":3:1",
        "man agent-keeper.toml",
    ),
    ("login.environment", |f| f.login_problem = Some("it hangs".to_owned()), "it hangs", "-lc env"),
    (
        "systemd.manager",
        |f| f.manager = Err("no bus".to_owned()),
        "no bus",
        "apt-get install dbus-user-session",
    ),
    (
        "linger.enabled",
        |f| f.policy.as_mut().unwrap().linger = Linger::Off,
        "off",
        "loginctl enable-linger ann",
    ),
    (
        "logind.kill-user-processes",
        |f| {
            f.policy.as_mut().unwrap().kill.kill = true;
            f.server = in_login();
        },
        "pid 4711) lives in session-9.scope",
        "tmux kill-server",
    ),
    (
        "logind.kill-user-processes",
        |f| {
            f.policy.as_mut().unwrap().kill.only = vec!["ann".to_owned()];
            f.server = in_login();
        },
        "session-9.scope",
        "tmux kill-server",
    ),
    ("keeper.enabled", |f| f.keeper.file_state = Some("disabled".to_owned()), "disabled", "keeperctl setup"),
    ("keeper.enabled", |f| f.keeper.file_state = None, "not installed", "keeperctl setup"),
    ("keeper.running", |f| f.keeper.answers = None, "not running", "keeperctl setup"),
    (
        "keeper.running",
        |f| {
            f.keeper.answers = None;
            f.keeper.active_state = Some("failed".to_owned());
        },
        "failed",
        "journalctl --user -u agent-keeper",
    ),
    (
        "keeper.running",
        |f| f.keeper.answers = Some(("watching".to_owned(), Some("disk full".to_owned()))),
        "disk full",
        "journalctl --user",
    ),
    (
        "keeper.running",
        |f| {
            f.manager = Err("none".to_owned());
            f.systemd = false;
            f.keeper = KeeperFact::default();
        },
        "not running",
        "keeperctl setup",
    ),
    ("server.running", |f| f.server = ServerFact::Orphan { pid: 4711 }, "pid 4711", "kill -USR1 4711"),
    ("server.place", |f| f.server = in_login(), "session-9.scope", "tmux kill-server"),
    (
        "server.exit-empty",
        |f| {
            if let ServerFact::Running { exit_empty, .. } = &mut f.server {
                *exit_empty = Some(true);
            }
        },
        "on",
        "tmux set-option -s exit-empty off",
    ),
    (
        "server.destroy-unattached",
        |f| {
            if let ServerFact::Running { destroy_unattached, .. } = &mut f.server {
                *destroy_unattached = Some(true);
            }
        },
        "on",
        "tmux set-option -g destroy-unattached off",
    ),
    (
        "store.readable",
        |f| f.store = store(|s| s.flaws = vec!["/x/00000003.json.zst: damaged".to_owned()]),
        "00000003.json.zst: damaged",
        "mv /home/ann/.local/state/agent-keeper/generations/FILE",
    ),
    (
        "store.readable",
        |f| f.store = store(|s| s.writable = false),
        "permission",
        "sudo chown -R ann /home/ann/",
    ),
    ("store.readable", |f| f.store = store(|s| s.free_bytes = Some(5_000_000)), "5 MB", "df -h /home/ann/"),
    ("store.readable", |f| f.store = Err("format 2".to_owned()), "format 2", "ls -la /home/ann/.local/state"),
    ("restore.proven", |f| f.proven = None, "never", "keeperctl drill"),
    ("restore.proven", not_proven_today, "never", "keeperctl drill"),
    ("restore.proven", |f| f.proven = proven(15, true), "15 days ago", "keeperctl drill"),
    ("restore.proven", |f| f.proven = proven(0, false), "today: snapshot 42, 97 %", "keeperctl drill"),
    // Nobody could look at everything at once, and what was seen is still said.
    (
        "server.place",
        |f| {
            f.policy = Err("no answer".to_owned());
            f.server = in_login();
        },
        "session-9.scope",
        "tmux kill-server",
    ),
    (
        "keeper.enabled",
        |f| {
            f.server = ServerFact::None;
            f.keeper.file_state = Some("masked".to_owned());
        },
        "masked",
        "keeperctl setup",
    ),
];

#[test]
fn nothing_is_wrong_with_a_healthy_machine() {
    for (check, finding) in examine(&healthy()) {
        assert!(matches!(finding, Finding::Good(_)), "{}: {finding:?}", check.id);
    }
}

#[test]
fn every_problem_comes_with_what_was_seen_what_it_costs_and_a_command() {
    for (id, change, expected_seen, expected_command) in PROBLEMS {
        let mut facts = healthy();
        change(&mut facts);
        let Finding::Problem { seen, costs, mend } = found(id, &facts) else {
            panic!("{id} finds {:?}", found(id, &facts));
        };
        assert!(seen.contains(expected_seen), "{id}: {seen}");
        assert!(!costs.is_empty(), "{id}");
        let command = command(&mend).unwrap_or_else(|| panic!("{id}: no command in {mend:?}"));
        assert!(command.contains(expected_command), "{id}: {command}");
    }
}

#[test]
fn what_the_machine_does_not_have_or_does_not_tell_is_no_problem() {
    let cases: [(&str, Change, &str); 15] = [
        (
            "systemd.manager",
            |f| {
                f.systemd = false;
                f.manager = Err("none".to_owned());
            },
            "absent",
        ),
        (
            "logind.reachable",
            |f| {
                f.systemd = false;
                f.policy = Err("none".to_owned());
            },
            "absent",
        ),
        ("logind.reachable", |f| f.policy = Err("no answer".to_owned()), "unknown"),
        ("server.running", |f| f.server = ServerFact::None, "absent"),
        ("server.running", |f| f.server = ServerFact::Unknown("too slow".to_owned()), "unknown"),
        ("server.place", |f| f.server = running(Placement::None), "absent"),
        (
            "server.place",
            |f| {
                if let ServerFact::Running { placement, .. } = &mut f.server {
                    *placement = Err("no cgroup".to_owned());
                }
            },
            "unknown",
        ),
        ("server.place", |f| f.server = running(Placement::SystemUnit("tmux.service".to_owned())), "good"),
        (
            "server.exit-empty",
            |f| {
                if let ServerFact::Running { exit_empty, .. } = &mut f.server {
                    *exit_empty = None;
                }
            },
            "unknown",
        ),
        ("logind.kill-user-processes", |f| f.policy.as_mut().unwrap().kill.kill = true, "good"),
        ("store.readable", |f| f.store = store(|s| s.free_bytes = None), "good"),
        ("store.fresh", |f| f.store = store(|s| s.newest = None), "absent"),
        (
            "restore.proven",
            |f| {
                f.proven = None;
                f.store = store(|s| s.newest = None);
            },
            "absent",
        ),
        (
            "restore.proven",
            |f| {
                f.proven = None;
                f.store = store(|s| s.age = DAY / 2);
            },
            "absent",
        ),
        ("restore.proven", |f| f.proven = proven(13, true), "good"),
    ];
    for (id, change, expected) in cases {
        let mut facts = healthy();
        change(&mut facts);
        let word = match found(id, &facts) {
            Finding::Good(_) => "good",
            Finding::Problem { .. } => "problem",
            Finding::Absent { .. } => "absent",
            Finding::Unknown(_) => "unknown",
            Finding::Silenced(_) => "silenced",
        };
        assert_eq!(word, expected, "{id}");
        let problems = examine(&facts).into_iter().filter(|(_, one)| matches!(one, Finding::Problem { .. }));
        assert_eq!(problems.map(|(check, _)| check.id).collect::<Vec<_>>(), [""; 0], "{id}");
    }
}

#[test]
fn a_check_whose_ground_is_missing_is_silenced_by_the_one_that_says_so() {
    let cases: [(Change, &str, &[&str]); 5] = [
        (
            |f| f.policy = Err("no answer".to_owned()),
            "logind.reachable",
            &["linger.enabled", "logind.kill-user-processes"],
        ),
        (|f| f.manager = Err("no bus".to_owned()), "systemd.manager", &["keeper.enabled"]),
        (|f| f.keeper.answers = None, "keeper.running", &["store.fresh"]),
        (
            |f| f.server = ServerFact::None,
            "server.running",
            &["server.place", "server.exit-empty", "server.destroy-unattached"],
        ),
        (|f| f.tmux = Err("none".to_owned()), "tmux.version", &["server.running"]),
    ];
    for (change, ground, silenced) in cases {
        let mut facts = healthy();
        change(&mut facts);
        for id in silenced {
            assert_eq!(found(id, &facts), Finding::Silenced(ground), "{id}");
        }
    }
}

#[test]
fn the_table_is_in_order_and_every_check_is_tested() {
    for (at, check) in CHECKS.iter().enumerate() {
        assert!(CHECKS[..at].iter().all(|other| other.id != check.id), "{} is there twice", check.id);
        for ground in check.depends_on {
            assert!(
                CHECKS[..at].iter().any(|other| other.id == *ground),
                "{} needs {ground} before",
                check.id
            );
        }
        // These two only ever say that something is not there.
        let mild = ["logind.reachable", "store.fresh"].contains(&check.id);
        assert!(mild || PROBLEMS.iter().any(|(id, ..)| *id == check.id), "{} is not tested", check.id);
    }
}
