//! Whether the machine has room for more panes: what a restore that nobody asked for waits for. Pure.

use std::time::Duration;

use crate::model::plural;

/// A machine under pressure is asked again this often.
pub const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long a restore waits in all. What waits longer helps nobody: then it goes on, a few panes at a time, and what
/// took most memory comes back as text that waits for Enter.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How many panes are started at once.
    pub panes: u32,
    /// How much memory must be there, in bytes; of a small machine's at most a tenth counts.
    pub min_available: u64,
    /// How much of the last ten seconds somebody may have waited for memory, in percent.
    pub max_pressure: u8,
}

/// What the kernel says of memory. What cannot be read holds nobody up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Readings {
    /// The highest `some avg10` there is: of the machine, or of the user's own slice.
    pub pressure: Option<f32>,
    /// `MemAvailable`, in bytes.
    pub available: Option<u64>,
    /// `MemTotal`, in bytes.
    pub total: Option<u64>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Start the next panes.
    Go,
    /// Ask again; in words, why.
    Wait(String),
    /// Start them although there is no room: it has waited long enough. In words, why it waited.
    GoAnyway(String),
}

impl Pace {
    /// Decides. `waits` tells whether the restore is waiting already, and `waited` for how long in all. One that waits
    /// goes on when there is a quarter more than it needs: else each pane would make it wait again.
    pub fn decide(&self, readings: Readings, waits: bool, waited: Duration) -> Step {
        match self.lacking(readings, waits) {
            None => Step::Go,
            Some(why) if waited >= PATIENCE => Step::GoAnyway(why),
            Some(why) => Step::Wait(why),
        }
    }

    fn lacking(&self, readings: Readings, waits: bool) -> Option<String> {
        let needed = readings.total.map_or(self.min_available, |total| self.min_available.min(total / 10));
        let enough = if waits { needed.saturating_add(needed / 4) } else { needed };
        if let Some(available) = readings.available.filter(|available| *available < enough) {
            return Some(format!(
                "{} MiB of memory can be had, and {} MiB are wanted",
                available >> 20,
                enough.div_ceil(1 << 20)
            ));
        }
        let calm = f32::from(self.max_pressure) * if waits { 0.75 } else { 1.0 };
        let pressure = readings.pressure.filter(|pressure| *pressure > calm)?;
        Some(format!(
            "programs waited for memory {pressure:.0} % of the last 10 s, and {calm:.0} % are the most"
        ))
    }

    /// Returns in words that a restore waits.
    pub fn waiting(&self, why: &str) -> String {
        format!("the restore waits for memory, {} at a time: {why}", plural(self.panes as usize, "pane"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const PACE: Pace = Pace { panes: 4, min_available: 512 * MIB, max_pressure: 20 };

    fn read(pressure: f32, available: u64) -> Readings {
        Readings { pressure: Some(pressure), available: Some(available * MIB), total: Some(16 << 30) }
    }

    #[test]
    fn it_waits_for_room_and_not_for_ever() {
        let word = |step| match step {
            Step::Go => "go",
            Step::Wait(_) => "wait",
            Step::GoAnyway(_) => "anyway",
        };
        let cases = [
            (read(0.0, 8000), false, 0, "go"),
            (read(20.0, 512), false, 0, "go"),
            (read(20.1, 512), false, 0, "wait"),
            (read(0.0, 511), false, 0, "wait"),
            // Hysteresis.
            (read(15.1, 8000), true, 1, "wait"),
            (read(15.0, 8000), true, 1, "go"),
            (read(0.0, 600), true, 1, "wait"),
            (read(0.0, 640), true, 1, "go"),
            // Patience has an end.
            (read(99.0, 1), true, 119, "wait"),
            (read(99.0, 1), true, 120, "anyway"),
            (read(0.0, 8000), true, 120, "go"),
            // Who cannot look does not wait.
            (Readings::default(), false, 0, "go"),
            (Readings { available: Some(1), ..Readings::default() }, false, 0, "wait"),
            (Readings { total: Some(1024 * MIB), ..read(0.0, 103) }, false, 0, "go"),
            (Readings { total: Some(1024 * MIB), ..read(0.0, 101) }, false, 0, "wait"),
        ];
        for (readings, waits, secs, expected) in cases {
            let step = PACE.decide(readings, waits, Duration::from_secs(secs));
            assert_eq!(word(step), expected, "{readings:?} {waits} {secs}");
        }
    }

    #[test]
    fn it_says_what_it_waits_for() {
        let Step::Wait(why) = PACE.decide(read(0.0, 100), false, Duration::ZERO) else { panic!("it goes") };
        assert_eq!(
            PACE.waiting(&why),
            "the restore waits for memory, 4 panes at a time: 100 MiB of memory can be had, and 512 MiB are wanted"
        );
        let Step::Wait(why) = PACE.decide(read(50.0, 8000), true, Duration::ZERO) else { panic!("it goes") };
        assert_eq!(why, "programs waited for memory 50 % of the last 10 s, and 15 % are the most");
    }
}
