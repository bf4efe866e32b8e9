//! Which generations are kept, and why.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Entry;
use super::pins::Pins;
use crate::model::{Aside, Generation, ServerId};

/// How many of each kind are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The newest ones.
    pub newest: usize,
    /// The last one of an hour.
    pub hourly: usize,
    /// The last one of a day.
    pub daily: usize,
    /// The last one of a week.
    pub weekly: usize,
    /// The last one of a server's life: what was there before a crash or a reboot.
    pub lives: usize,
    /// The last one that holds a session of some name: what was there before it was closed.
    pub sessions: usize,
    /// The newest ones of each kind that stands aside. These count here only, so that they push out none of
    /// the others, nor those of another kind.
    pub aside: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { newest: 30, hourly: 24, daily: 14, weekly: 8, lives: 8, sessions: 20, aside: 10 }
    }
}

/// What is known of a generation when it is decided about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub generation: Generation,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// Which life of the server it shows.
    pub server: ServerId,
    /// The names of its sessions; without any it cannot be restored.
    pub sessions: Vec<String>,
    /// Whether it stands aside, and why.
    pub aside: Option<Aside>,
    /// Whether somebody wants it kept.
    pub pinned: bool,
}

/// Why a generation is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeepReason {
    /// Somebody pinned it.
    Pinned,
    /// It is the one that a restore would use.
    Latest,
    /// It is among the newest.
    Newest,
    /// It is the last of an hour.
    Hourly,
    /// It is the last of a day.
    Daily,
    /// It is the last of a week.
    Weekly,
    /// It is the last of a server's life.
    LastOfServer,
    /// It is the last that holds a session of some name.
    LastOfSession,
    /// It is among the newest of those that stand aside for the same reason.
    Aside,
}

impl KeepReason {
    /// Returns the word for it in tables.
    pub fn word(self) -> &'static str {
        match self {
            KeepReason::Pinned => "pinned",
            KeepReason::Latest => "latest",
            KeepReason::Newest => "newest",
            KeepReason::Hourly => "hourly",
            KeepReason::Daily => "daily",
            KeepReason::Weekly => "weekly",
            KeepReason::LastOfServer => "last-of-server",
            KeepReason::LastOfSession => "last-of-session",
            KeepReason::Aside => "aside",
        }
    }
}

/// Returns the reasons for which each generation that can be read is kept.
pub fn retention_of(entries: &[Entry], pins: &Pins, keep: &Retention) -> Vec<(Generation, Vec<KeepReason>)> {
    let candidates: Vec<Candidate> = entries
        .iter()
        .filter_map(|entry| {
            let snapshot = entry.content.as_ref().ok()?;
            Some(Candidate {
                generation: entry.generation,
                taken_at: snapshot.taken_at,
                server: snapshot.server.id.clone(),
                sessions: snapshot.server.sessions.iter().map(|session| session.name.clone()).collect(),
                aside: snapshot.aside,
                pinned: pins.of(entry.generation).is_some(),
            })
        })
        .collect();
    decide(&candidates, keep)
}

/// Decides about every candidate and returns the reasons for which each is kept; one without a reason
/// goes. Days and weeks are UTC's, so that a journey does not delete anything.
pub fn decide(candidates: &[Candidate], keep: &Retention) -> Vec<(Generation, Vec<KeepReason>)> {
    let mut newest_first: Vec<&Candidate> = candidates.iter().collect();
    newest_first.sort_by_key(|candidate| std::cmp::Reverse(candidate.generation));
    let last = newest_first.first().map(|candidate| candidate.generation);
    let restorable = |candidate: &&&Candidate| candidate.aside.is_none() && !candidate.sessions.is_empty();
    let latest = newest_first.iter().find(restorable).map(|candidate| candidate.generation);
    let mut rules = Rules::new(keep);
    newest_first
        .into_iter()
        .map(|candidate| {
            let mut reasons = Vec::new();
            if candidate.pinned {
                reasons.push(KeepReason::Pinned);
            }
            if latest == Some(candidate.generation) {
                reasons.push(KeepReason::Latest);
            }
            reasons.extend(rules.claim(candidate));
            if reasons.is_empty() && last == Some(candidate.generation) {
                // It says what happened last, and its number must not be given again.
                reasons.push(KeepReason::Newest);
            }
            (candidate.generation, reasons)
        })
        .collect()
}

/// All rules, and what they have met.
struct Rules {
    row: [Buckets; 6],
    aside: [(Aside, Buckets); 3],
}

impl Rules {
    fn new(keep: &Retention) -> Self {
        let aside = |kind| (kind, Buckets::new(KeepReason::Aside, keep.aside));
        Self {
            row: [
                // The newest one says what happened last, also when that was that everything was closed.
                Buckets::new(KeepReason::Newest, keep.newest.max(1)),
                Buckets::new(KeepReason::Hourly, keep.hourly),
                Buckets::new(KeepReason::Daily, keep.daily),
                Buckets::new(KeepReason::Weekly, keep.weekly),
                Buckets::new(KeepReason::LastOfServer, keep.lives),
                Buckets::new(KeepReason::LastOfSession, keep.sessions),
            ],
            aside: [Aside::Shrunk, Aside::Restoring, Aside::Imported].map(aside),
        }
    }

    fn claim(&mut self, candidate: &Candidate) -> Vec<KeepReason> {
        match candidate.aside {
            None => self.row.iter_mut().filter_map(|rule| rule.claim(candidate)).collect(),
            Some(why) => {
                let own = self.aside.iter_mut().filter(|(kind, _)| *kind == why);
                own.filter_map(|(_, rule)| rule.claim(candidate)).collect()
            }
        }
    }
}

/// A rule that keeps the first candidate it meets in each of so many buckets.
struct Buckets {
    reason: KeepReason,
    left: usize,
    seen: HashSet<String>,
}

impl Buckets {
    fn new(reason: KeepReason, left: usize) -> Self {
        Self { reason, left, seen: HashSet::new() }
    }

    fn claim(&mut self, candidate: &Candidate) -> Option<KeepReason> {
        let mut unseen = 0;
        for bucket in buckets(self.reason, candidate) {
            unseen += usize::from(self.seen.insert(bucket));
        }
        if self.left == 0 || unseen == 0 {
            return None;
        }
        self.left -= 1;
        Some(self.reason)
    }
}

/// Returns the names of the buckets that a candidate falls into.
fn buckets(reason: KeepReason, candidate: &Candidate) -> Vec<String> {
    let date = candidate.taken_at.to_zoned(TimeZone::UTC);
    let one = match reason {
        KeepReason::Pinned | KeepReason::Latest | KeepReason::Newest | KeepReason::Aside => {
            candidate.generation.to_string()
        }
        KeepReason::Hourly => format!("{} {}", date.date(), date.hour()),
        KeepReason::Daily => date.date().to_string(),
        KeepReason::Weekly => {
            let week = date.date().iso_week_date();
            format!("{} {}", week.year(), week.week())
        }
        KeepReason::LastOfServer => format!("{:?}", candidate.server),
        KeepReason::LastOfSession => return candidate.sessions.clone(),
    };
    vec![one]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(generation: Generation, second: i64, life: u32) -> Candidate {
        Candidate {
            generation,
            taken_at: Timestamp::from_second(second).unwrap(),
            server: ServerId { pid: life, ..ServerId::default() },
            sessions: vec!["main".to_owned()],
            aside: None,
            pinned: false,
        }
    }

    fn kept(candidates: &[Candidate], keep: &Retention) -> Vec<Generation> {
        decide(candidates, keep).into_iter().filter(|(_, why)| !why.is_empty()).map(|(n, _)| n).collect()
    }

    const NOTHING: Retention =
        Retention { newest: 0, hourly: 0, daily: 0, weekly: 0, lives: 0, sessions: 0, aside: 0 };

    #[test]
    fn each_rule_alone() {
        // One generation every half hour for three days, the server restarted after each day.
        let all: Vec<Candidate> = (0..144).map(|n| candidate(n, n as i64 * 1800, n as u32 / 48)).collect();
        let rule = |keep: Retention| kept(&all, &keep);
        assert_eq!(rule(NOTHING), [143]);
        assert_eq!(rule(Retention { newest: 3, ..NOTHING }), [143, 142, 141]);
        assert_eq!(rule(Retention { hourly: 3, ..NOTHING }), [143, 141, 139]);
        assert_eq!(rule(Retention { daily: 9, ..NOTHING }), [143, 95, 47]);
        assert_eq!(rule(Retention { lives: 2, ..NOTHING }), [143, 95]);
        assert_eq!(rule(Retention { weekly: 2, ..NOTHING }), [143]);
    }

    #[test]
    fn a_session_that_was_closed_stays_in_the_last_that_had_it() {
        let named = |generation: Generation, names: &[&str]| Candidate {
            sessions: names.iter().map(ToString::to_string).collect(),
            ..candidate(generation, generation as i64, 1)
        };
        let mut all = vec![named(1, &["old", "gone"]), named(2, &["old", "gone"]), named(3, &["old"])];
        all.extend((4..99).map(|generation| named(generation, &["new"])));
        assert_eq!(kept(&all, &Retention { sessions: 9, ..NOTHING }), [98, 3, 2]);
        assert_eq!(kept(&all, &Retention { sessions: 2, ..NOTHING }), [98, 3], "the newest first");
    }

    #[test]
    fn the_latest_that_can_be_restored_stays_under_any_rule() {
        let mut all = vec![candidate(1, 0, 1), candidate(2, 1, 1), candidate(3, 2, 1)];
        all[1].sessions.clear();
        all[2].sessions.clear();
        assert_eq!(kept(&all, &Retention { newest: 1, ..NOTHING }), [3, 1]);
    }

    #[test]
    fn what_is_pinned_stays_under_any_rule() {
        let mut all: Vec<Candidate> = (1..=9).map(|n| candidate(n, n as i64, 1)).collect();
        all[2].pinned = true;
        let decided = decide(&all, &NOTHING);
        assert_eq!(decided[6], (3, vec![KeepReason::Pinned]));
        assert_eq!(kept(&all, &NOTHING), [9, 3]);
    }

    #[test]
    fn what_stands_aside_pushes_out_nothing_and_is_bounded_by_itself() {
        let mut all: Vec<Candidate> = (1..=40).map(|n| candidate(n, n as i64, 1)).collect();
        all[4].aside = Some(Aside::Imported);
        all[10..].iter_mut().for_each(|candidate| candidate.aside = Some(Aside::Shrunk));
        let keep = Retention { newest: 3, lives: 1, aside: 2, ..NOTHING };
        assert_eq!(kept(&all, &keep), [40, 39, 10, 9, 8, 5]);
        let latest = decide(&all, &keep).into_iter().find(|(_, why)| why.contains(&KeepReason::Latest));
        assert_eq!(latest.unwrap().0, 10);
        assert_eq!(kept(&all, &NOTHING), [40, 10], "the last number is never free again");
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let sessions = proptest::sample::subsequence(vec!["a", "b", "c", "d"], 0..=4);
        let aside = proptest::option::weighted(
            0.3,
            prop_oneof![Just(Aside::Shrunk), Just(Aside::Restoring), Just(Aside::Imported)],
        );
        let one = (0i64..10_000_000, 0u32..9, sessions, aside, proptest::bool::weighted(0.1));
        proptest::collection::vec(one, 0..200).prop_map(|rows| {
            type Row<'a> = (i64, u32, Vec<&'a str>, Option<Aside>, bool);
            let number = |(n, (second, life, sessions, aside, pinned)): (usize, Row)| Candidate {
                sessions: sessions.into_iter().map(str::to_owned).collect(),
                aside,
                pinned,
                ..candidate(n as Generation, second, life)
            };
            rows.into_iter().enumerate().map(number).collect()
        })
    }

    fn rules() -> impl Strategy<Value = Retention> {
        let some = || prop_oneof![Just(0), 0usize..9];
        let all = (some(), some(), some(), some(), some(), some(), some());
        all.prop_map(|(newest, hourly, daily, weekly, lives, sessions, aside)| Retention {
            newest,
            hourly,
            daily,
            weekly,
            lives,
            sessions,
            aside,
        })
    }

    proptest! {
        #[test]
        fn few_are_kept_and_always_those_that_matter(all in candidates(), keep in rules()) {
            let decided = decide(&all, &keep);
            prop_assert_eq!(decided.len(), all.len());
            let kept = kept(&all, &keep);
            let Retention { newest, hourly, daily, weekly, lives, sessions, aside } = keep;
            let pinned = all.iter().filter(|candidate| candidate.pinned);
            let row = 2 + newest.max(1) + hourly + daily + weekly + lives + sessions;
            prop_assert!(kept.len() <= row + 3 * aside + pinned.clone().count());
            prop_assert!(pinned.clone().all(|candidate| kept.contains(&candidate.generation)));
            let last = all.last().map(|candidate| candidate.generation);
            prop_assert_eq!(kept.iter().copied().max(), last);
            let last_good = all.iter()
                .rfind(|candidate| candidate.aside.is_none() && !candidate.sessions.is_empty())
                .map(|c| c.generation);
            let latest = decided.iter().find(|(_, why)| why.contains(&KeepReason::Latest)).map(|(n, _)| *n);
            prop_assert_eq!(latest, last_good);
        }

        /// What a clean-up keeps, the next one keeps too: otherwise cleaning up often would lose the past.
        #[test]
        fn cleaning_up_twice_removes_no_more(all in candidates(), keep in rules()) {
            let once = kept(&all, &keep);
            let rest: Vec<Candidate> =
                all.into_iter().filter(|candidate| once.contains(&candidate.generation)).collect();
            prop_assert_eq!(kept(&rest, &keep), once);
        }
    }
}
