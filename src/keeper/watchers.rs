//! Everybody who watches all the time for what ends sessions: the kernel's counters and processes' ends, the user's
//! manager, systemd-oomd. Each is worth having without the others.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use nix::unistd::{Uid, User};
use tokio::sync::mpsc;
use tracing::{debug, info};

use crate::cgroup::{MemoryWatch, ROOT};
use crate::ends::{EndWatch, ProcessId};
use crate::logind::{LINGER_DIR, Logind, Who, watch_linger, watch_logins};
use crate::model::entry::Happening;
use crate::model::evidence::Sighting;
use crate::proc::Proc;
use crate::signals::Listening;
use crate::systemd::placement::Placement;
use crate::systemd::watch::UnitWatch;
use crate::systemd::{oomd, user_bus, watch};
use crate::tmux::observe::Observation;

/// How many sightings may wait. Whoever sees more waits for room.
const SIGHTINGS_MAX: usize = 1024;

/// How many logins and the like may wait.
const HAPPENINGS_MAX: usize = 64;

/// Those who watch, and what they watch.
pub(super) struct Watchers {
    memory: Option<Arc<MemoryWatch>>,
    ends: Option<EndWatch>,
    units: Option<UnitWatch>,
    _oomd: Option<Listening>,
    _logins: Option<Listening>,
    _linger: Option<Listening>,
    proc: Proc,
    /// The processes that are followed, and when each started.
    followed: HashMap<u32, ProcessId>,
    cgroups: HashMap<u32, String>,
}

impl Watchers {
    /// Has everybody watch who can here.
    pub(super) async fn start() -> (Self, mpsc::Receiver<Sighting>, mpsc::Receiver<Happening>) {
        let (into, sightings) = mpsc::channel(SIGHTINGS_MAX);
        let (note, happenings) = mpsc::channel(HAPPENINGS_MAX);
        let uid = Uid::effective();
        let name = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
        let linger = watch_linger(LINGER_DIR.as_ref(), &name, note.clone());
        let who = Who { uid: uid.as_raw(), name };
        let memory = MemoryWatch::start(ROOT, into.clone());
        let ends = EndWatch::start(into.clone());
        let watchers = Self {
            memory: memory
                .inspect_err(|error| info!(%error, "kills for want of memory are not seen"))
                .ok()
                .map(Arc::new),
            ends: ends.inspect_err(|error| info!(%error, "how programs end is not seen")).ok(),
            units: watch_units(into.clone()).await,
            _oomd: watch_oomd(into.clone()).await,
            _logins: hear_logins(who, into, note).await,
            _linger: linger
                .inspect_err(|error| debug!(%error, "whether lingering is on is not watched"))
                .ok(),
            proc: Proc::default(),
            followed: HashMap::new(),
            cgroups: HashMap::new(),
        };
        (watchers, sightings, happenings)
    }

    /// Returns who hears of kills for want of memory, if somebody does.
    pub(super) fn memory(&self) -> Option<Arc<MemoryWatch>> {
        self.memory.clone()
    }

    /// Has them watch what there is now.
    pub(super) fn follow(&mut self, seen: &Observation) {
        if seen.cgroups == self.cgroups {
            return;
        }
        self.cgroups.clone_from(&seen.cgroups);
        self.follow_processes(seen);
        if let Some(memory) = &self.memory {
            memory.follow(
                seen.cgroups.values().flat_map(|cgroup| with_parents(cgroup)).collect::<BTreeSet<_>>(),
            );
        }
        if let Some(units) = &self.units {
            let unit = |cgroup: &String| Placement::of(cgroup).unit().map(str::to_owned);
            units.follow(seen.cgroups.values().filter_map(unit).collect());
        }
    }

    fn follow_processes(&mut self, seen: &Observation) {
        let Some(ends) = &self.ends else { return };
        self.followed.retain(|pid, _| seen.cgroups.contains_key(pid));
        for pid in seen.cgroups.keys() {
            if let Ok(stat) = self.proc.stat(*pid) {
                let process = ProcessId { pid: *pid, start_ticks: stat.start_ticks };
                self.followed.entry(*pid).or_insert(process);
            }
        }
        ends.follow(self.followed.values().copied());
    }
}

/// Returns a control group with those above it that are its user's: they count what happens in all below, also when
/// those are gone.
fn with_parents(cgroup: &str) -> Vec<String> {
    let mut all = vec![cgroup.to_owned()];
    let Some(manager) = cgroup.find("/user@").and_then(|at| Some(at + 1 + cgroup[at + 1..].find('/')?))
    else {
        return all;
    };
    let mut path = cgroup;
    while let Some((parent, _)) = path.rsplit_once('/').filter(|(parent, _)| parent.len() >= manager) {
        all.push(parent.to_owned());
        path = parent;
    }
    all
}

async fn watch_units(into: mpsc::Sender<Sighting>) -> Option<UnitWatch> {
    let bus = user_bus().await.ok()?;
    watch::watch(&bus, into).await.inspect_err(|error| debug!(%error, "units are not watched")).ok()
}

async fn hear_logins(
    who: Who,
    into: mpsc::Sender<Sighting>,
    note: mpsc::Sender<Happening>,
) -> Option<Listening> {
    // A connection of its own, as for each of these.
    let bus = zbus::Connection::system().await.ok()?;
    let logind = Logind::connect(&bus).await.ok()?;
    let listening = watch_logins(&logind, who, into, note).await;
    listening.inspect_err(|error| debug!(%error, "logins and logouts are not heard of")).ok()
}

async fn watch_oomd(into: mpsc::Sender<Sighting>) -> Option<Listening> {
    let bus = zbus::Connection::system().await.ok()?;
    oomd::watch(&bus, into).await.inspect_err(|error| debug!(%error, "systemd-oomd is not heard")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_for_others_is_the_users_own() {
        let slice = "/user.slice/user-1000.slice/user@1000.service";
        assert_eq!(
            with_parents(&format!("{slice}/app.slice/a.scope")),
            [format!("{slice}/app.slice/a.scope"), format!("{slice}/app.slice"), slice.to_owned()]
        );
        let login = "/user.slice/user-1000.slice/session-3.scope";
        assert_eq!(with_parents(login), [login]);
        assert_eq!(with_parents("/"), ["/"]);
        assert_eq!(with_parents(slice), [slice]);
    }
}
