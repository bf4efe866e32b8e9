//! The table of checks. Each is a pure function over facts; adding one is a row, a function and a row in
//! the test.

use std::time::Duration;

use crate::logind::Linger;
use crate::model::plural;
use crate::systemd::placement::Placement;

use super::facts::{Facts, ServerFact};

/// How little space is too little, in bytes.
const FREE_BYTES_MIN: u64 = 100 * 1024 * 1024;

/// How old the last proof of a restore may be.
const PROOF_AGE_MAX: Duration = Duration::from_secs(14 * 86_400);

/// How long a keeper that drills by itself may take for the first one: it waits until there is something to prove
/// and the machine is up for a while.
const FIRST_PROOF_MAX: Duration = Duration::from_secs(86_400);

/// One thing to look at.
pub struct Check {
    /// Its name, for people and scripts.
    pub id: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// Checks without whose good outcome this one means nothing.
    pub depends_on: &'static [&'static str],
    /// Looks.
    pub look: fn(&Facts) -> Finding,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// All is well; what was seen.
    Good(String),
    /// Something would cost work.
    Problem {
        /// What was seen.
        seen: String,
        /// What it leads to.
        costs: String,
        /// The one command, or the one thing, that mends it.
        mend: String,
    },
    /// The machine does not have it, and that is as it is; what it costs.
    Absent {
        /// What was seen.
        seen: String,
        /// What does not work without.
        costs: String,
    },
    /// Could not look; why not.
    Unknown(String),
    /// Not looked at, because of this other check.
    Silenced(&'static str),
}

/// Every check, in the order in which they are shown.
pub const CHECKS: [Check; 16] = [
    Check { id: "tmux.version", title: "tmux is there and new enough", depends_on: &[], look: tmux_version },
    Check { id: "config.valid", title: "the configuration can be read", depends_on: &[], look: config_valid },
    Check {
        id: "login.environment",
        title: "new servers get your login's environment",
        depends_on: &[],
        look: login_environment,
    },
    Check { id: "systemd.manager", title: "your systemd user manager runs", depends_on: &[], look: manager },
    Check { id: "logind.reachable", title: "logind tells what a logout does", depends_on: &[], look: logind },
    Check {
        id: "linger.enabled",
        title: "your manager runs while you are logged out",
        depends_on: &["logind.reachable"],
        look: linger,
    },
    Check {
        id: "logind.kill-user-processes",
        title: "a logout does not kill what you started",
        depends_on: &["logind.reachable"],
        look: kill_user_processes,
    },
    Check {
        id: "keeper.enabled",
        title: "the keeper starts at boot",
        depends_on: &["systemd.manager"],
        look: keeper_enabled,
    },
    Check { id: "keeper.running", title: "the keeper runs", depends_on: &[], look: keeper_running },
    Check {
        id: "server.running",
        title: "a tmux server runs",
        depends_on: &["tmux.version"],
        look: server_running,
    },
    Check {
        id: "server.place",
        title: "the server lives where no logout reaches it",
        depends_on: &["server.running"],
        look: server_place,
    },
    Check {
        id: "server.exit-empty",
        title: "the server lives without sessions",
        depends_on: &["server.running"],
        look: exit_empty,
    },
    Check {
        id: "server.destroy-unattached",
        title: "sessions live without clients",
        depends_on: &["server.running"],
        look: destroy_unattached,
    },
    Check {
        id: "store.readable",
        title: "all saved generations can be read",
        depends_on: &[],
        look: store_readable,
    },
    Check {
        id: "store.fresh",
        title: "snapshots are being taken",
        depends_on: &["store.readable", "keeper.running"],
        look: store_fresh,
    },
    Check {
        id: "restore.proven",
        title: "a restore has been proven",
        depends_on: &["store.readable"],
        look: restore_proven,
    },
];

/// Looks at everything. A check whose ground is missing is silenced by the one that says so.
pub fn examine(facts: &Facts) -> Vec<(&'static Check, Finding)> {
    let mut findings: Vec<(&'static Check, Finding)> = Vec::new();
    for check in &CHECKS {
        let ground = |id: &&&'static str| {
            findings.iter().any(|(other, finding)| other.id == **id && !matches!(finding, Finding::Good(_)))
        };
        let finding = match check.depends_on.iter().find(ground) {
            Some(missing) => Finding::Silenced(missing),
            None => (check.look)(facts),
        };
        findings.push((check, finding));
    }
    findings
}

fn good(seen: impl Into<String>) -> Finding {
    Finding::Good(seen.into())
}

fn problem(seen: impl Into<String>, costs: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding::Problem { seen: seen.into(), costs: costs.into(), mend: mend.into() }
}

fn absent(seen: impl Into<String>, costs: impl Into<String>) -> Finding {
    Finding::Absent { seen: seen.into(), costs: costs.into() }
}

fn tmux_version(facts: &Facts) -> Finding {
    match &facts.tmux {
        Ok(version) => good(version.as_str()),
        Err(why) => problem(why.as_str(), "there is nothing to keep alive", "apt-get install tmux"),
    }
}

fn config_valid(facts: &Facts) -> Finding {
    match &facts.config {
        Ok(()) => good("valid"),
        Err(why) => {
            problem(why.as_str(), "the keeper does not start", "correct the file: man agent-keeper.toml")
        }
    }
}

fn login_environment(facts: &Facts) -> Finding {
    match &facts.login_problem {
        None => good("known"),
        Some(why) => problem(
            why.as_str(),
            "programs in new panes may not find what your login's PATH leads to",
            "see why a login shell does not finish: env -i HOME=\"$HOME\" \"$SHELL\" -lc env",
        ),
    }
}

fn manager(facts: &Facts) -> Finding {
    match &facts.manager {
        Ok(version) => good(format!("systemd {version}")),
        Err(_) if !facts.systemd => absent(
            "this machine was not started by systemd",
            "the keeper has to be started by hand or by the container; a tmux server gets no scope of its own",
        ),
        Err(why) => problem(
            why.as_str(),
            "the keeper cannot run as a service, and nothing starts it at boot",
            "apt-get install dbus-user-session libpam-systemd, then log in anew (not with su or sudo)",
        ),
    }
}

fn logind(facts: &Facts) -> Finding {
    match &facts.policy {
        Ok(_) => good("reachable"),
        Err(_) if !facts.systemd => {
            absent("no logind on this machine", "nobody logs in or out here, so nothing")
        }
        Err(why) => Finding::Unknown(why.clone()),
    }
}

fn linger(facts: &Facts) -> Finding {
    match &facts.policy {
        Ok(policy) if policy.linger == Linger::On => good("on"),
        Ok(_) => problem(
            "off",
            "some seconds after your last logout systemd ends your manager and all it runs; nothing comes back at boot",
            format!("loginctl enable-linger {}", facts.user),
        ),
        Err(why) => Finding::Unknown(why.clone()),
    }
}

fn kill_user_processes(facts: &Facts) -> Finding {
    let policy = match &facts.policy {
        Ok(policy) => policy,
        Err(why) => return Finding::Unknown(why.clone()),
    };
    if !policy.kill.hits(&facts.user) {
        return good(format!("KillUserProcesses={}, not for {}", yes_no(policy.kill.kill), facts.user));
    }
    match &facts.server {
        ServerFact::Running { placement: Ok(Placement::LogindSession(scope)), pid, .. } => problem(
            format!("KillUserProcesses hits you, and the server (pid {pid}) lives in {scope}"),
            "the next logout from that session kills the server with everything in it",
            "end it when you can; the keeper starts the next one in a scope of its own: tmux kill-server",
        ),
        _ => good("KillUserProcesses hits you, but not the server, which is not in a logind session"),
    }
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn keeper_enabled(facts: &Facts) -> Finding {
    match facts.keeper.file_state.as_deref() {
        Some("enabled" | "enabled-runtime" | "static" | "alias") => good("enabled"),
        Some(state) => problem(state, "after a reboot nothing comes back", "keeperctl setup"),
        None => problem("not installed", "after a reboot nothing comes back", "keeperctl setup"),
    }
}

fn keeper_running(facts: &Facts) -> Finding {
    let start =
        if facts.manager.is_ok() { "keeperctl setup" } else { "start it in the background: keeperctl setup" };
    match (&facts.keeper.answers, facts.keeper.active_state.as_deref()) {
        (Some((state, None)), _) => good(state.as_str()),
        (Some((_, Some(problem_seen))), _) => problem(
            problem_seen.as_str(),
            "it cannot do all of its work",
            match facts.manager {
                Ok(_) => "see the journal: journalctl --user -u agent-keeper".to_owned(),
                Err(_) => format!("see its log: {}/agent-keeper.log", facts.state.display()),
            },
        ),
        (None, Some("failed")) => problem(
            "its service has failed",
            "nothing is saved and nothing comes back",
            "see why: journalctl --user -u agent-keeper; then: systemctl --user restart agent-keeper",
        ),
        (None, _) => problem("not running", "nothing is saved and nothing comes back", start),
    }
}

fn server_running(facts: &Facts) -> Finding {
    match &facts.server {
        ServerFact::Running { pid, .. } => good(format!("pid {pid}")),
        ServerFact::None => absent("none", "nothing; the keeper starts one, or your next tmux does"),
        ServerFact::Orphan { pid } => problem(
            format!("pid {pid} lives, but the path of its socket is gone"),
            "nobody can attach to its sessions",
            format!("kill -USR1 {pid}"),
        ),
        ServerFact::Unknown(why) => Finding::Unknown(why.clone()),
    }
}

fn server_place(facts: &Facts) -> Finding {
    let ServerFact::Running { placement, .. } = &facts.server else {
        return Finding::Unknown("no server".to_owned());
    };
    match placement {
        Ok(Placement::UserUnit(unit)) => good(unit.as_str()),
        Ok(Placement::SystemUnit(unit)) => good(format!("{unit}, a service of the system")),
        Ok(Placement::None) => {
            absent("no control group of its own", "whatever ends this container or machine ends it")
        }
        Ok(Placement::LogindSession(scope)) => problem(
            format!("{scope}: it was started by a login shell"),
            "it counts as a part of that login: KillUserProcesses=yes ends it at logout, and your user manager's end does not wait for it",
            "end it when you can; the keeper starts the next one in a scope of its own: tmux kill-server",
        ),
        Err(why) => Finding::Unknown(why.clone()),
    }
}

fn exit_empty(facts: &Facts) -> Finding {
    match &facts.server {
        ServerFact::Running { exit_empty: Some(true), .. } => problem(
            "exit-empty is on",
            "the server ends with its last session, and the next one may be born in a login session",
            "tmux set-option -s exit-empty off",
        ),
        ServerFact::Running { exit_empty: Some(false), .. } => good("exit-empty is off"),
        _ => Finding::Unknown("tmux did not tell".to_owned()),
    }
}

fn destroy_unattached(facts: &Facts) -> Finding {
    match &facts.server {
        ServerFact::Running { destroy_unattached: Some(true), .. } => problem(
            "destroy-unattached is on",
            "a session ends when its last client detaches, on purpose or because the network went",
            "tmux set-option -g destroy-unattached off, also in tmux.conf",
        ),
        ServerFact::Running { destroy_unattached: Some(false), .. } => good("destroy-unattached is off"),
        _ => Finding::Unknown("tmux did not tell".to_owned()),
    }
}

fn store_readable(facts: &Facts) -> Finding {
    let store = match &facts.store {
        Ok(store) => store,
        Err(why) => {
            return problem(
                why.as_str(),
                "nothing can be saved or restored",
                format!("look at it: ls -la {}", facts.state.display()),
            );
        }
    };
    if !store.flaws.is_empty() {
        return problem(
            store.flaws.join("; "),
            "these snapshots cannot be restored; the newest whole one is used",
            format!("move them away: mv {}/generations/FILE ~/", facts.state.display()),
        );
    }
    if !store.writable {
        return problem(
            "no permission to write",
            "nothing can be saved",
            format!("sudo chown -R {} {}", facts.user, facts.state.display()),
        );
    }
    match store.free_bytes {
        Some(free) if free < FREE_BYTES_MIN => problem(
            format!("{} MB free", free / 1_000_000),
            "snapshots will fail",
            format!("make space on its file system: df -h {}", facts.state.display()),
        ),
        _ => good("yes; their texts too: keeperctl snapshot verify"),
    }
}

fn store_fresh(facts: &Facts) -> Finding {
    // Nothing is written while nothing changes, so its age says nothing.
    match facts.store.as_ref().ok().and_then(|store| store.newest) {
        Some(generation) => good(format!("snapshot {generation}")),
        None => absent("no snapshot yet", "nothing until there is a session"),
    }
}

fn restore_proven(facts: &Facts) -> Finding {
    if facts.store.as_ref().is_ok_and(|store| store.newest.is_none()) {
        return absent("no snapshot yet", "nothing until there is a session");
    }
    let Some(last) = &facts.proven else {
        if facts.drills && facts.store.as_ref().is_ok_and(|store| store.age < FIRST_PROOF_MAX) {
            return absent(
                "not yet; now: keeperctl drill",
                "nothing: the keeper proves one by itself within a day",
            );
        }
        return problem("never", "nobody knows whether what is saved can be brought back", "keeperctl drill");
    };
    let when = match last.age.as_secs() / 86_400 {
        0 => "today".to_owned(),
        days => format!("{} ago", plural(usize::try_from(days).unwrap_or(usize::MAX), "day")),
    };
    let seen = format!("{when}: {}", last.result);
    if !last.perfect {
        problem(seen, "a restore would bring back less than was saved", "see what is lost: keeperctl drill")
    } else if last.age > PROOF_AGE_MAX {
        let costs = "tmux, agent-keeper and your sessions may have changed since, and nobody looked whether all comes back";
        problem(seen, costs, "keeperctl drill")
    } else {
        good(seen)
    }
}

#[cfg(test)]
mod tests;
