//! Whether the machine has slept: of two clocks one goes on meanwhile (clock_gettime(2), CLOCK_BOOTTIME). That needs
//! nobody who tells of it.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// What differs less is no sleep, in seconds.
const SLEPT_MIN_SECS: i64 = 1;

/// Knows how long the machine has slept so far.
#[derive(Debug)]
pub(super) struct SleepClock {
    slept_ms: i64,
}

impl SleepClock {
    pub(super) fn start() -> Self {
        Self { slept_ms: slept_ms() }
    }

    /// Returns for how many seconds the machine has slept since this was asked last, if it has.
    pub(super) fn slept(&mut self) -> Option<u64> {
        self.since(slept_ms())
    }

    fn since(&mut self, slept_ms: i64) -> Option<u64> {
        let secs = (slept_ms - self.slept_ms) / 1000;
        if secs < SLEPT_MIN_SECS {
            return None;
        }
        self.slept_ms = slept_ms;
        u64::try_from(secs).ok()
    }
}

/// Returns how long the machine has slept since it was booted, in milliseconds.
fn slept_ms() -> i64 {
    let ms = |time: Timespec| time.tv_sec * 1000 + time.tv_nsec / 1_000_000;
    // In this order, so that being held up between the two is no sleep.
    let all = ms(clock_gettime(ClockId::Boottime));
    all - ms(clock_gettime(ClockId::Monotonic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_told_once() {
        let mut clock = SleepClock { slept_ms: 5_000 };
        assert_eq!(clock.since(5_900), None);
        assert_eq!(clock.since(69_400), Some(64));
        assert_eq!(clock.since(69_400), None);
        assert_eq!(SleepClock::start().slept(), None, "awake in a test");
    }
}
