//! Which of the facts that were seen lately are about a death: those of its processes and units, and those of what
//! ends everything.

use jiff::{SignedDuration, Timestamp};

use crate::model::evidence::{About, EVIDENCE_MAX, Evidence, Fact, Sighting};

/// How long before a death is noticed what explains it may have happened. A look comes once a second, a busy server
/// answers late, and a unit that is stopped gives its processes time.
const BEFORE: SignedDuration = SignedDuration::from_secs(30);

/// How much later a fact may be told than the death is noticed.
const AFTER: SignedDuration = SignedDuration::from_secs(10);

/// Where something lived, which tells what is about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its processes.
    pub pids: Vec<u32>,
    /// Their control groups, by their paths.
    pub cgroups: Vec<String>,
    /// Whether nothing else lived in those.
    pub alone: bool,
    /// The logind session it lived in, if it did in one.
    pub login: Option<String>,
}

/// Returns the facts that are about something that was noticed to be dead at a time, in the order of their times.
pub fn relevant(whereabouts: &Whereabouts, noticed: Timestamp, sightings: &[Sighting]) -> Vec<Evidence> {
    let near = |sighting: &&Sighting| {
        let age = noticed.duration_since(sighting.at);
        age <= BEFORE && -age <= AFTER
    };
    let near: Vec<&Sighting> = sightings.iter().filter(near).collect();
    let mut found: Vec<Evidence> = Vec::new();
    for sighting in &near {
        if let Some(fact) = about(whereabouts, sighting, &near)
            && !found.iter().any(|one| one.fact == fact)
        {
            found.push(fact.at(sighting.at));
        }
    }
    found.sort_by_key(|one| one.at);
    // The last ones are nearest to the death.
    found.drain(..found.len().saturating_sub(EVIDENCE_MAX));
    found
}

/// Returns the fact as it is for what lived there, if it is about that.
fn about(whereabouts: &Whereabouts, sighting: &Sighting, near: &[&Sighting]) -> Option<Fact> {
    let mut fact = sighting.fact.clone();
    match &sighting.about {
        About::Process(pid) => whereabouts.pids.contains(pid).then_some(fact),
        About::Manager | About::Machine => Some(fact),
        About::Login(session) => (whereabouts.login.as_ref() == Some(session)).then_some(fact),
        About::Unit(unit) => {
            let direct = whereabouts.cgroups.iter().any(|cgroup| is_unit(cgroup, unit));
            if let Fact::OomKill { own, .. } = &mut fact {
                // A control group counts what happens in those below it. If one of those tells itself, that is it.
                let below = || whereabouts.cgroups.iter().any(|cgroup| is_below(cgroup, unit));
                let elsewhere = || near.iter().any(|other| is_oom_kill_below(other, unit));
                *own = direct && whereabouts.alone;
                return (direct || below() && !elsewhere()).then_some(fact);
            }
            direct.then_some(fact)
        }
    }
}

/// Returns whether a control group is that of a unit, which some tell by its name and some by its path.
fn is_unit(cgroup: &str, unit: &str) -> bool {
    cgroup == unit || !unit.contains('/') && cgroup.rsplit('/').next() == Some(unit)
}

fn is_below(cgroup: &str, parent: &str) -> bool {
    cgroup.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'))
}

fn is_oom_kill_below(sighting: &Sighting, parent: &str) -> bool {
    matches!(&sighting.about, About::Unit(unit) if is_below(unit, parent))
        && matches!(sighting.fact, Fact::OomKill { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::evidence::{End, EndWitness, Limit};

    const SLICE: &str = "/user.slice/user@1000.service/app.slice";

    fn seen(secs: i64, about: About, fact: Fact) -> Sighting {
        Sighting { at: Timestamp::from_second(1000 + secs).unwrap(), about, fact }
    }

    fn unit(name: &str) -> About {
        About::Unit(format!("{SLICE}/{name}"))
    }

    fn oom(about: About) -> Sighting {
        let unit = match &about {
            About::Unit(unit) => unit.clone(),
            other => panic!("{other:?} is no unit"),
        };
        seen(0, about, Fact::OomKill { unit, kills: 1, own: false, limit: Limit::Own })
    }

    fn ended(pid: u32) -> Sighting {
        seen(0, About::Process(pid), Fact::Ended { end: End::Killed(9), witness: EndWitness::Kernel })
    }

    fn pane(alone: bool) -> Whereabouts {
        Whereabouts { pids: vec![7], cgroups: vec![format!("{SLICE}/a.scope")], alone, login: None }
    }

    fn facts(whereabouts: &Whereabouts, sightings: &[Sighting]) -> Vec<Fact> {
        let noticed = Timestamp::from_second(1001).unwrap();
        relevant(whereabouts, noticed, sightings).into_iter().map(|one| one.fact).collect()
    }

    fn owns(facts: &[Fact]) -> Vec<bool> {
        facts.iter().map(|fact| matches!(fact, Fact::OomKill { own: true, .. })).collect()
    }

    #[test]
    fn only_what_is_about_it_counts() {
        let others = [ended(8), oom(unit("b.scope")), seen(0, About::Login("3".into()), Fact::Goodbye)];
        assert_eq!(facts(&pane(true), &others), []);
        assert_eq!(facts(&pane(true), &[ended(7), ended(8)]).len(), 1);
        assert_eq!(
            facts(&pane(true), &[seen(0, About::Manager, Fact::ManagerStopping)]),
            [Fact::ManagerStopping]
        );
        let named = seen(0, About::Unit("a.scope".into()), Fact::UnitStopped { unit: "a.scope".into() });
        assert_eq!(facts(&pane(true), &[named]).len(), 1);
        let login = Whereabouts { login: Some("3".into()), ..Whereabouts::default() };
        assert_eq!(facts(&login, &others), [Fact::Goodbye]);
    }

    #[test]
    fn a_kill_counted_above_is_ones_own_only_if_nobody_below_tells_of_it() {
        let above = || oom(About::Unit(SLICE.into()));
        assert_eq!(owns(&facts(&pane(true), &[oom(unit("a.scope"))])), [true]);
        assert_eq!(owns(&facts(&pane(false), &[oom(unit("a.scope"))])), [false]);
        assert_eq!(owns(&facts(&pane(true), &[above()])), [false], "it may have been here");
        assert_eq!(owns(&facts(&pane(true), &[above(), oom(unit("b.scope"))])), [false; 0], "it was there");
        assert_eq!(owns(&facts(&pane(true), &[above(), oom(unit("a.scope"))])), [true]);
        assert_eq!(
            facts(&pane(true), &[oom(About::Unit("/user.slice/user@1000.service/app.sl".into()))]),
            []
        );
    }

    #[test]
    fn what_was_long_ago_or_comes_late_is_another_matter() {
        let at = |secs| seen(secs, About::Process(7), Fact::Goodbye);
        for (secs, counts) in [(-30, false), (-29, true), (1, true), (11, true), (12, false)] {
            assert_eq!(!facts(&pane(true), &[at(secs)]).is_empty(), counts, "{secs}");
        }
        assert_eq!(facts(&pane(true), &[at(0), at(1)]).len(), 1, "told twice");
        let many: Vec<Sighting> = (0..200)
            .map(|core| seen(0, About::Process(7), Fact::CoreDump { signal: 11, exe: core.to_string() }))
            .collect();
        assert_eq!(facts(&pane(true), &many).len(), EVIDENCE_MAX);
    }
}
