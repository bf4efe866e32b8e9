//! Which of the facts that were seen lately are about a death: those of its processes and units, and those of what
//! ends everything.

use jiff::{SignedDuration, Timestamp};

use super::habitat::Whereabouts;
use crate::model::evidence::{About, EVIDENCE_MAX, End, Evidence, Fact, Sighting};

/// How long before a death is noticed what explains it may have happened. A look comes once a second, a busy server
/// answers late, and a unit that is stopped gives its processes time.
const BEFORE: SignedDuration = SignedDuration::from_secs(30);

/// How far a kill for want of memory may be from the end of a process that was seen: the kernel kills at once, and both are
/// told a moment later. What systemd stops because of the kill has its unit's result for a witness.
const KILL_TO_END: SignedDuration = SignedDuration::from_secs(5);

/// SIGHUP.
const HUNG_UP: u8 = 1;

/// How much later a fact may be told than the death is noticed.
const AFTER: SignedDuration = SignedDuration::from_secs(10);

/// Returns the facts that are about something that was noticed to be dead at a time, in the order of their times.
/// `alive` is when it was last seen alive, if that is long ago.
pub fn relevant(
    whereabouts: &Whereabouts,
    alive: Option<Timestamp>,
    noticed: Timestamp,
    sightings: &[Sighting],
) -> Vec<Evidence> {
    let near: Vec<&Sighting> = near(whereabouts, alive, noticed, sightings).collect();
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

/// Returns what was seen around the time at which something was noticed to be dead.
fn near<'a>(
    whereabouts: &'a Whereabouts,
    alive: Option<Timestamp>,
    noticed: Timestamp,
    sightings: &'a [Sighting],
) -> impl Iterator<Item = &'a Sighting> {
    sightings.iter().filter(move |sighting| {
        let age = noticed.duration_since(sighting.at);
        let since = alive.is_some_and(|alive| sighting.at >= alive);
        // A clock that was set back since tells nothing.
        let began = whereabouts.began.filter(|began| *began <= noticed);
        let another = began.is_some_and(|began| sighting.at < began);
        (age <= BEFORE || since) && -age <= AFTER && !another
    })
}

/// Returns how the panes of a server ended that has said goodbye: before it, or because of it. `emptied`: whether it
/// ends with its last session.
pub fn end_of_panes(
    whereabouts: &Whereabouts,
    emptied: bool,
    noticed: Timestamp,
    sightings: &[Sighting],
) -> Option<Fact> {
    let near: Vec<&Sighting> = near(whereabouts, None, noticed, sightings).collect();
    let end_of = |pid: &u32| {
        let is_end = |one: &&&Sighting| {
            one.about == About::Process(*pid) && matches!(one.fact, Fact::Ended { .. } | Fact::EndUnknown)
        };
        near.iter().rfind(is_end).copied()
    };
    let how = |sighting: &Sighting| match sighting.fact {
        Fact::Ended { end, .. } => Some(end),
        _ => None,
    };
    let panes: Vec<Option<&Sighting>> = whereabouts.inmates.iter().map(end_of).collect();
    if panes.iter().flatten().any(|pane| how(pane) == Some(End::Killed(HUNG_UP))) {
        return Some(Fact::PanesHungUp);
    }
    let server = whereabouts.pids.first().and_then(end_of)?;
    let panes: Vec<&Sighting> = panes.into_iter().collect::<Option<_>>()?;
    if !emptied || panes.is_empty() || panes.iter().any(|pane| pane.at > server.at) {
        return None;
    }
    let all_exited = panes.iter().all(|pane| matches!(how(pane), Some(End::Exited(_))));
    Some(if all_exited { Fact::NoSessionLeft } else { Fact::PanesEndedFirst })
}

/// Returns the fact as it is for what lived there, if it is about that.
fn about(whereabouts: &Whereabouts, sighting: &Sighting, near: &[&Sighting]) -> Option<Fact> {
    let mut fact = whereabouts.name_victim(sighting.fact.clone());
    match &sighting.about {
        About::Process(pid) => whereabouts.pids.contains(pid).then_some(fact),
        About::Manager | About::Machine => Some(fact),
        About::Login(session) => (whereabouts.login.as_ref() == Some(session)).then_some(fact),
        About::Unit(unit) => {
            let direct = whereabouts.cgroups.iter().any(|cgroup| is_unit(cgroup, unit));
            if let Fact::OomKill { own, .. } = &mut fact {
                if is_far_from_the_end(whereabouts, sighting.at, near) {
                    return None;
                }
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

/// Returns whether something ended at another time than this: a kill then was another's.
fn is_far_from_the_end(whereabouts: &Whereabouts, at: Timestamp, near: &[&Sighting]) -> bool {
    let is_end = |one: &&&Sighting| {
        let own = matches!(one.about, About::Process(pid) if whereabouts.pids.contains(&pid));
        own && matches!(one.fact, Fact::Ended { .. } | Fact::EndUnknown)
    };
    let mut ends = near.iter().filter(is_end).peekable();
    ends.peek().is_some() && ends.all(|end| end.at.duration_since(at).abs() > KILL_TO_END)
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
        let cgroups = vec![format!("{SLICE}/a.scope")];
        Whereabouts { pids: vec![7], cgroups, alone, ..Whereabouts::default() }
    }

    fn facts(whereabouts: &Whereabouts, sightings: &[Sighting]) -> Vec<Fact> {
        let noticed = Timestamp::from_second(1001).unwrap();
        relevant(whereabouts, None, noticed, sightings).into_iter().map(|one| one.fact).collect()
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

    #[test]
    fn a_kill_long_before_an_end_was_anothers() {
        let end = |secs| seen(secs, About::Process(7), Fact::EndUnknown);
        let told = |sightings: &[Sighting]| {
            let noticed = Timestamp::from_second(1020).unwrap();
            let found = relevant(&pane(true), None, noticed, sightings);
            found.iter().filter(|one| matches!(one.fact, Fact::OomKill { .. })).count()
        };
        let kill = || oom(unit("a.scope"));
        assert_eq!(told(&[kill(), end(5)]), 1);
        assert_eq!(told(&[kill(), end(6)]), 0);
        assert_eq!(told(&[kill(), end(6), end(1)]), 1, "one of them ended then");
        assert_eq!(told(&[kill(), seen(6, About::Process(8), Fact::EndUnknown)]), 1, "another's end");
        assert_eq!(told(&[kill()]), 1, "nobody saw when it ended");
    }

    #[test]
    fn what_befell_one_of_the_same_name_before_is_another_matter() {
        let told = |began| {
            let began = Some(Timestamp::from_second(began).unwrap());
            facts(&Whereabouts { began, ..pane(true) }, &[oom(unit("a.scope"))]).len()
        };
        // It was noticed at 1001, and happened at 1000.
        assert_eq!([999, 1000, 1001].map(told), [1, 1, 0]);
        assert_eq!(told(2000), 1, "the clock was set back");
    }

    #[test]
    fn what_was_written_while_nobody_watched_counts_from_the_last_look_on() {
        let noticed = Timestamp::from_second(9000).unwrap();
        let told = |alive: i64| {
            let alive = Timestamp::from_second(alive).unwrap();
            relevant(&pane(true), Some(alive), noticed, &[oom(unit("a.scope"))]).len()
        };
        assert_eq!((told(900), told(1000), told(1001)), (1, 1, 0));
    }

    #[test]
    fn a_server_that_says_goodbye_was_empty_or_was_told_to_end() {
        let server = Whereabouts { pids: vec![1], inmates: vec![7, 8], ..Whereabouts::default() };
        let at = |pid| i64::from(pid == 1);
        let end =
            |pid, end| seen(at(pid), About::Process(pid), Fact::Ended { end, witness: EndWitness::Kernel });
        let exits = |pid| end(pid, End::Exited(130));
        let unknown = |pid| seen(at(pid), About::Process(pid), Fact::EndUnknown);
        let late = seen(2, About::Process(8), Fact::EndUnknown);
        let noticed = |secs: i64| Timestamp::from_second(1000 + secs).unwrap();
        let told = |sightings: &[Sighting]| end_of_panes(&server, true, noticed(2), sightings);
        assert_eq!(told(&[exits(7), exits(8), exits(1)]), Some(Fact::NoSessionLeft));
        assert_eq!(told(&[exits(7), unknown(8), unknown(1)]), Some(Fact::PanesEndedFirst));
        assert_eq!(told(&[exits(7), exits(1), late]), None, "one was still there");
        assert_eq!(told(&[exits(7), exits(1)]), None, "nobody knows of the other");
        assert_eq!(told(&[exits(1), exits(7), end(8, End::Killed(1))]), Some(Fact::PanesHungUp));
        let all = [exits(7), exits(8), exits(1)];
        assert_eq!(end_of_panes(&server, false, noticed(2), &all), None, "exit-empty is off");
        assert_eq!(end_of_panes(&server, true, noticed(99), &all), None, "others of these numbers");
        assert_eq!(end_of_panes(&Whereabouts::default(), true, noticed(2), &all), None);
    }
}
