//! How often something may be started within a time, in the words of systemd.unit(5): `StartLimitIntervalSec=` and
//! `StartLimitBurst=`. Pure: time comes in as a number.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How many things are counted at most. Of more the one that was started longest ago is forgotten.
const KEYS_MAX: usize = 512;

/// How often, within which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartLimit {
    /// How many starts there may be within the interval, at least 1.
    pub burst: u32,
    /// The interval.
    pub interval: Duration,
}

/// What was started, and when each of those starts ceases to count.
#[derive(Debug, Default)]
pub struct Starts(HashMap<String, VecDeque<Duration>>);

impl Starts {
    /// Returns how many starts of something count.
    pub fn count(&mut self, now: Duration, key: &str) -> usize {
        let Some(starts) = self.0.get_mut(key) else { return 0 };
        starts.retain(|until| now < *until);
        starts.len()
    }

    /// Notes a start, if there may be one more.
    pub fn start(&mut self, now: Duration, key: &str, limit: StartLimit) -> bool {
        let may = self.count(now, key) < usize::try_from(limit.burst).unwrap_or(usize::MAX);
        if may {
            self.note(now + limit.interval, key);
        }
        may
    }

    /// Notes a start that counts until some time.
    pub fn note(&mut self, until: Duration, key: &str) {
        if self.0.len() >= KEYS_MAX && !self.0.contains_key(key) {
            let oldest = self.0.iter().min_by_key(|(_, starts)| starts.back().copied());
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        self.0.entry(key.to_owned()).or_default().push_back(until);
    }
}

/// Returns how long to wait before a start, when so many came shortly before: twice as long each time
/// (`RestartSec=`, `RestartMaxDelaySec=` in systemd.service(5)).
pub fn back_off(first: Duration, longest: Duration, starts: usize) -> Duration {
    let times = u32::try_from(starts).unwrap_or(u32::MAX).min(16);
    first.saturating_mul(1 << times).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn so_many_starts_within_a_time_and_no_more() {
        let limit = StartLimit { burst: 2, interval: secs(10) };
        let mut starts = Starts::default();
        let story = [(0, true), (3, true), (4, false), (9, false), (10, true), (11, false), (13, true)];
        for (at, may) in story {
            assert_eq!(starts.start(secs(at), "web", limit), may, "{at}");
        }
        assert!(starts.start(secs(13), "api", limit), "another thing");
        assert_eq!(starts.count(secs(13), "web"), 2);
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let mut starts = Starts::default();
        for at in 0..2 * KEYS_MAX {
            starts.note(secs(at as u64 + 10_000), &at.to_string());
        }
        assert_eq!(starts.0.len(), KEYS_MAX);
        assert_eq!(starts.count(secs(0), "0"), 0);
        assert_eq!(starts.count(secs(0), &(2 * KEYS_MAX - 1).to_string()), 1);
    }

    #[test]
    fn the_pause_doubles_up_to_a_bound() {
        let pauses = [0, 1, 2, 3, 4, 100].map(|starts| back_off(secs(1), secs(10), starts).as_secs());
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
    }
}
