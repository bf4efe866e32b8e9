//! Names of snapshots as people type them, and finding the one that is meant.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::cli::output::note;
use crate::cli::{CliError, Context};
use crate::model::{Aside, Closed, Generation, Snapshot};
use crate::store::{Store, StoreError};

use super::moment::{self, MomentError};

/// What is said where something else is typed.
const EXPECTED: &str = "expected \"latest\", \"previous\", a number from \"keeperctl snapshot list\", or a time \
                        such as \"14:05\", \"yesterday 18:00\", \"2026-11-21 14:05\" or \"2 hours ago\"";

/// A generation as people name it.
///
/// Those that are kept aside are meant by their number, and else only where there is no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The newest one with sessions in it.
    Latest,
    /// The one with sessions in it before that.
    Previous,
    /// By its number.
    Number(Generation),
    /// The newest one with sessions in it that had been taken by then.
    At(Timestamp),
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Which::parse(text, &Zoned::now())
    }
}

impl Which {
    /// Reads what was typed at a time.
    pub fn parse(text: &str, now: &Zoned) -> Result<Self, String> {
        let text = text.trim();
        match text {
            "latest" => return Ok(Which::Latest),
            "previous" => return Ok(Which::Previous),
            _ => {}
        }
        if let Ok(number) = text.strip_prefix('#').unwrap_or(text).parse() {
            return Ok(Which::Number(number));
        }
        moment::parse(text, now).map(Which::At).map_err(|error| match error {
            MomentError::NoTime => EXPECTED.to_owned(),
            MomentError::Future(_) => error.to_string(),
        })
    }

    /// Finds the generation and reads it.
    pub fn load(self, context: &Context) -> Result<(Generation, Snapshot), CliError> {
        let store = context.store();
        match self {
            Which::Number(generation) => Ok((generation, store.load(generation)?)),
            Which::Latest => newest(&store, |_| true)?.ok_or_else(|| {
                CliError::failed(anyhow::Error::msg("no snapshot has been taken yet"))
                    .hint("the keeper takes one as soon as there is a session; does it run? keeperctl status")
            }),
            Which::Previous => previous(&store)?.ok_or_else(|| {
                let message = "there is no snapshot before the latest one";
                CliError::failed(anyhow::Error::msg(message)).hint("what there is: keeperctl snapshot list")
            }),
            Which::At(moment) => taken_by(&store, moment),
        }
    }
}

fn previous(store: &Store) -> Result<Option<(Generation, Snapshot)>, CliError> {
    let mut met = 0;
    newest(store, |_| {
        met += 1;
        met == 2
    })
}

/// Returns the newest snapshot that has sessions and is a wanted one; one that is kept aside only where there is
/// no other. What cannot be read is passed over and said; where there is nothing else, that is the error.
pub fn newest(
    store: &Store,
    mut wanted: impl FnMut(&Snapshot) -> bool,
) -> Result<Option<(Generation, Snapshot)>, CliError> {
    let mut search = Search::default();
    if let Some(found) = search.run(store, None, &mut wanted)? {
        search.tell();
        return Ok(Some(found));
    }
    for (generation, _) in std::mem::take(&mut search.asides) {
        if let Ok(snapshot) = store.load(generation)
            && wanted(&snapshot)
        {
            search.tell();
            return Ok(Some((generation, snapshot)));
        }
    }
    search.flaws.into_iter().next().map_or(Ok(None), |flaw| Err(flaw.into()))
}

/// Returns the state at a time. What was not readable, aside or without a session then is passed over and said.
fn taken_by(store: &Store, moment: Timestamp) -> Result<(Generation, Snapshot), CliError> {
    let mut search = Search::default();
    let found = search.run(store, Some(moment), &mut |_| true)?;
    search.tell();
    if let Some(found) = found {
        if let Some((generation, closed, taken_at)) = search.closed {
            let how = closed.map_or("there was no session", how_closed);
            note(&format!("at {} {how} (snapshot {generation})", shown(taken_at)));
            note(&format!(
                "  this is what there was before: snapshot {}, {}",
                found.0,
                shown(found.1.taken_at)
            ));
        }
        return Ok(found);
    }
    let message = match search.oldest {
        Some((generation, taken_at)) => format!(
            "nothing with a session in it had been saved by {}; the oldest snapshot, {generation}, is of {}",
            shown(moment),
            shown(taken_at)
        ),
        None => format!("nothing had been saved by {}", shown(moment)),
    };
    Err(CliError::failed(anyhow::Error::msg(message)).hint("what there is: keeperctl snapshot list"))
}

/// What is met on the way from the newest generation to the older ones.
#[derive(Default)]
struct Search {
    /// Newer ones that cannot be read.
    flaws: Vec<StoreError>,
    /// Those with sessions that are kept aside.
    asides: Vec<(Generation, Aside)>,
    /// The newest without a session.
    closed: Option<(Generation, Option<Closed>, Timestamp)>,
    /// The oldest that was met.
    oldest: Option<(Generation, Timestamp)>,
}

impl Search {
    /// Returns the newest with sessions that is wanted, was taken by a time and is not kept aside.
    fn run(
        &mut self,
        store: &Store,
        by: Option<Timestamp>,
        wanted: &mut impl FnMut(&Snapshot) -> bool,
    ) -> Result<Option<(Generation, Snapshot)>, CliError> {
        for generation in store.numbers()?.into_iter().rev() {
            let snapshot = match store.load(generation) {
                Ok(snapshot) => snapshot,
                // Cleaned up a moment ago.
                Err(StoreError::NoGeneration { .. }) => continue,
                Err(flaw) => {
                    self.flaws.push(flaw);
                    continue;
                }
            };
            self.oldest = Some((generation, snapshot.taken_at));
            match snapshot.aside {
                _ if by.is_some_and(|by| snapshot.taken_at > by) => {
                    // What is newer than this one is later still.
                    self.flaws.clear();
                    self.asides.clear();
                }
                _ if snapshot.server.sessions.is_empty() => {
                    self.closed.get_or_insert((generation, snapshot.closed, snapshot.taken_at));
                }
                Some(aside) => self.asides.push((generation, aside)),
                None if wanted(&snapshot) => return Ok(Some((generation, snapshot))),
                None => {}
            }
        }
        Ok(None)
    }

    fn tell(&self) {
        self.flaws.iter().for_each(|flaw| note(&format!("passed over: {flaw}")));
        for (generation, aside) in &self.asides {
            note(&format!("passed over: snapshot {generation}: {}", aside.sentence()));
        }
    }
}

fn how_closed(closed: Closed) -> &'static str {
    match closed {
        Closed::LastSession => "you had closed the last session",
        Closed::Server => "you had ended the server",
    }
}

fn shown(moment: Timestamp) -> String {
    moment.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;
    use crate::store::Writer;

    #[test]
    fn names_and_numbers_and_times_are_told_apart() {
        let now: Zoned = "2026-11-21T14:30:00+00:00[UTC]".parse().unwrap();
        let parse = |text: &str| Which::parse(text, &now);
        assert_eq!(parse("latest"), Ok(Which::Latest));
        assert_eq!(parse("previous"), Ok(Which::Previous));
        assert_eq!((parse("42"), parse("#42")), (Ok(Which::Number(42)), Ok(Which::Number(42))));
        assert_eq!(parse("1 hour ago"), Ok(Which::At("2026-11-21T13:30:00Z".parse().unwrap())));
        for wrong in ["", "#", "##4", "-1", "newest", "4x"] {
            assert_eq!(parse(wrong), Err(EXPECTED.to_owned()), "{wrong:?}");
        }
        assert!(parse("2030-01-01").unwrap_err().ends_with("is in the future"));
    }

    /// A store with one generation per entry: the second at which it was taken, its sessions, why it is aside.
    fn store(entries: &[(i64, &[&str], Option<Aside>)]) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::open(dir.path().join("state")).unwrap();
        for (second, names, aside) in entries {
            let taken_at = Timestamp::from_second(*second).unwrap();
            let closed = names.is_empty().then_some(Closed::LastSession);
            let snapshot = sample::snapshot(sample::server(1, names));
            writer.save(&Snapshot { taken_at, aside: *aside, closed, ..snapshot }).unwrap();
        }
        let store = writer.store().clone();
        (dir, store)
    }

    #[test]
    fn a_time_means_the_state_that_there_was_then() {
        let entries: [(i64, &[&str], Option<Aside>); 5] = [
            (100, &["a"], None),
            (200, &["a", "b"], None),
            (300, &[], None),
            (400, &["c"], Some(Aside::Shrunk)),
            (500, &["c"], None),
        ];
        let (_dir, store) = store(&entries);
        let at = |second| taken_by(&store, Timestamp::from_second(second).unwrap()).map(|(found, _)| found);
        let cases = [(100, 1), (199, 1), (200, 2), (299, 2), (300, 2), (450, 2), (500, 5), (9999, 5)];
        for (second, expected) in cases {
            assert_eq!(at(second).unwrap(), expected, "{second}");
        }
        let error = at(99).unwrap_err();
        assert!(error.source.to_string().contains("the oldest snapshot, 1, is of"), "{}", error.source);
    }

    #[test]
    fn what_is_aside_is_taken_where_there_is_no_other() {
        let found = |store: &Store| newest(store, |_| true).unwrap().map(|(generation, _)| generation);
        let (_dir, mixed) = store(&[(1, &["a"], None), (2, &["b"], Some(Aside::Imported))]);
        assert_eq!(found(&mixed), Some(1));
        let with_b = newest(&mixed, |snapshot| snapshot.server.sessions[0].name == "b").unwrap();
        assert_eq!(with_b.unwrap().0, 2, "only it holds b");
        let (_dir, only) = store(&[(1, &["b"], Some(Aside::Imported))]);
        assert_eq!(found(&only), Some(1));
    }
}
