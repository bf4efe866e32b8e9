//! Kills for want of memory, for the history. One kill is counted in its control group and in all above that.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::entry::Happening;
use crate::model::evidence::{About, Fact, Sighting};

/// How long the others that count the same kill may take.
const SETTLE: Duration = Duration::from_secs(2);

/// How many control groups are remembered that long.
const GROUPS_MAX: usize = 256;

/// What was counted lately, by the paths of control groups.
#[derive(Debug, Default)]
pub(super) struct Kills {
    since: Duration,
    counted: BTreeMap<String, u64>,
}

impl Kills {
    pub(super) fn sighted(&mut self, now: Duration, sighting: &Sighting) {
        // What systemd tells by a unit's name is counted in its control group too.
        let (About::Unit(path), Fact::OomKill { kills, .. }) = (&sighting.about, &sighting.fact) else {
            return;
        };
        if !path.starts_with('/') || self.counted.len() >= GROUPS_MAX {
            return;
        }
        if self.counted.is_empty() {
            self.since = now;
        }
        *self.counted.entry(path.clone()).or_default() += kills;
    }

    /// Returns what is to be noted, once nobody else will count the same.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Happening> {
        if self.counted.is_empty() || now < self.since + SETTLE {
            return Vec::new();
        }
        let counted = std::mem::take(&mut self.counted);
        let mut own: Vec<(&str, u64)> = Vec::new();
        // A group stands before those below it; from the end, those below come first.
        for (path, kills) in counted.iter().rev() {
            let below = own.iter().filter(|(other, _)| is_below(other, path)).map(|(_, kills)| kills);
            let rest = kills.saturating_sub(below.sum());
            if rest > 0 {
                own.push((path, rest));
            }
        }
        let memory = |(path, kills): (&str, u64)| Happening::Memory { unit: unit(path).to_owned(), kills };
        own.into_iter().map(memory).collect()
    }
}

fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent.trim_end_matches('/'))
        .is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
}

fn unit(path: &str) -> &str {
    path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::evidence::Limit;
    use jiff::Timestamp;

    fn noted(counted: &[(&str, u64)]) -> Vec<(String, u64)> {
        let mut seen = Kills::default();
        for (path, kills) in counted {
            let fact =
                Fact::OomKill { unit: (*path).to_owned(), kills: *kills, own: false, limit: Limit::Own };
            let about = About::Unit((*path).to_owned());
            seen.sighted(Duration::ZERO, &Sighting { at: Timestamp::UNIX_EPOCH, about, fact });
        }
        assert_eq!(seen.due(Duration::from_secs(1)), []);
        let due = seen.due(Duration::from_secs(2));
        assert_eq!(seen.due(Duration::from_secs(9)), [], "it was told");
        let pair = |what| match what {
            Happening::Memory { unit, kills } => (unit, kills),
            other => panic!("{other:?}"),
        };
        due.into_iter().map(pair).collect()
    }

    #[test]
    fn a_kill_is_noted_once_and_where_it_was() {
        let all = [("/u", 3), ("/u/app.slice", 3), ("/u/app.slice/a.scope", 1), ("/u/app.slice/b.scope", 1)];
        let expected = [("b.scope", 1), ("a.scope", 1), ("app.slice", 1)].map(|(u, k)| (u.to_owned(), k));
        assert_eq!(noted(&all), expected);
        assert_eq!(noted(&[("/u/a", 1), ("/u/ab", 1), ("/", 2)]).len(), 2, "names that begin alike");
        assert_eq!(noted(&[("a.scope", 1)]), []);
        assert_eq!(noted(&[("/u/a", 1), ("/u/a", 1)]), [("a".to_owned(), 2)]);
    }
}
