//! What the kernel's files say of memory: the events of a control group, pressure, what is available.
//!
//! The formats are those of Documentation/admin-guide/cgroup-v2.rst ("Memory Interface Files"), Documentation/
//! accounting/psi.rst and proc_meminfo(5). Unknown keys are passed over: every kernel adds some.

use crate::model::evidence::Limit;

/// The counters of `memory.events` or `memory.events.local`, since the control group was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// How often its use was about to go over `memory.max`.
    pub max: u64,
    /// How often it was at its limit, and an allocation was about to fail.
    pub oom: u64,
    /// How many processes in it were killed for want of memory, its own or others'.
    pub oom_kill: u64,
    /// How often it was killed as a whole (`memory.oom.group`; Linux 5.17).
    pub oom_group_kill: u64,
}

impl MemoryEvents {
    /// Reads the text of the file; `None` when it does not count kills (before Linux 4.13), or is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let count = |key| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.find(|(found, _)| *found == key)?.1.trim().parse::<u64>().ok()
        };
        Some(Self {
            max: count("max").unwrap_or_default(),
            oom: count("oom").unwrap_or_default(),
            oom_kill: count("oom_kill")?,
            oom_group_kill: count("oom_group_kill").unwrap_or_default(),
        })
    }

    /// Returns what has happened since an earlier reading.
    pub fn since(self, before: Self) -> Self {
        Self {
            max: self.max.saturating_sub(before.max),
            oom: self.oom.saturating_sub(before.oom),
            oom_kill: self.oom_kill.saturating_sub(before.oom_kill),
            oom_group_kill: self.oom_group_kill.saturating_sub(before.oom_group_kill),
        }
    }
}

/// What has happened in a control group, read from both of its files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// `memory.events`: in it and in everything below, also in what is not there any more.
    pub whole: MemoryEvents,
    /// `memory.events.local`: in it alone. `None` before Linux 5.2.
    pub local: Option<MemoryEvents>,
}

impl Reading {
    /// Returns what has happened since an earlier reading.
    pub fn since(self, before: Self) -> Self {
        let local = self.local.zip(before.local).map(|(now, before)| now.since(before));
        Self { whole: self.whole.since(before.whole), local }
    }

    /// Returns whose limit was reached, of kills that are counted here.
    ///
    /// The kernel counts `oom` where the limit is, and `oom_kill` where the victim was (mm/memcontrol.c,
    /// `mem_cgroup_oom` and `memcg_memory_event_mm`); each also in everything above, but not in the local files.
    /// - `oom` counted here alone: the limit of this very group.
    /// - No `oom`, here or below: a limit above, or the machine's, for which no group counts one.
    /// - `oom` below only: that of some group below. Who looks at that one is told; from here nobody can tell.
    ///
    /// Before Linux 5.2 the first and the last cannot be told apart: then it is taken for this group's, which is
    /// right wherever nothing is below.
    pub fn limit(&self) -> Limit {
        match (self.whole.oom, self.local.map(|local| local.oom)) {
            (0, _) => Limit::Above,
            (_, None | Some(1..)) => Limit::Own,
            (_, Some(0)) => Limit::Unknown,
        }
    }
}

/// How much of the last ten seconds was spent waiting for memory, in percent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// At least one task waited.
    pub some_avg10: f32,
    /// Every task that was not idle waited.
    pub full_avg10: f32,
}

impl Pressure {
    /// Reads the text of `memory.pressure` of a control group, or of `/proc/pressure/memory`.
    pub fn parse(text: &str) -> Option<Self> {
        let avg10 = |kind| {
            let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
            line.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
        };
        Some(Self { some_avg10: avg10("some ")?, full_avg10: avg10("full ")? })
    }
}

/// Returns from the text of `/proc/meminfo` how much memory can be had without swapping, in bytes.
pub fn available_bytes(meminfo: &str) -> Option<u64> {
    bytes_of(meminfo, "MemAvailable:")
}

/// Returns from the text of `/proc/meminfo` how much memory there is, in bytes.
pub fn total_bytes(meminfo: &str) -> Option<u64> {
    bytes_of(meminfo, "MemTotal:")
}

fn bytes_of(meminfo: &str, key: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scope of which one process was killed at its own `MemoryMax=` (Linux 6.12).
    const OWN_LIMIT: &str = "low 0\nhigh 0\nmax 47\noom 1\noom_kill 1\noom_group_kill 0\nsock_throttled 0\n";

    /// A scope of which one process was killed when the machine had no memory left (Linux 6.1).
    const MACHINE: &str = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\noom_group_kill 0\n";

    /// A scope with `OOMPolicy=kill`, which systemd makes `memory.oom.group`.
    const GROUP: &str = "low 0\nhigh 0\nmax 52\noom 1\noom_kill 4\noom_group_kill 1\n";

    const NOTHING: &str = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n";

    fn parsed(text: &str) -> MemoryEvents {
        MemoryEvents::parse(text).unwrap()
    }

    fn reading(whole: &str, local: &str) -> Reading {
        Reading { whole: parsed(whole), local: MemoryEvents::parse(local) }
    }

    #[test]
    fn events_are_read() {
        let one = MemoryEvents { max: 47, oom: 1, oom_kill: 1, oom_group_kill: 0 };
        assert_eq!(parsed(OWN_LIMIT), one);
        assert_eq!(parsed(GROUP), MemoryEvents { max: 52, oom: 1, oom_kill: 4, oom_group_kill: 1 });
        assert_eq!(parsed("oom_kill 2\n"), MemoryEvents { oom_kill: 2, ..MemoryEvents::default() });
        for text in [
            "",
            "oom 1\n",
            "oom_kill\n",
            "oom_kill x\n",
            "oom_kill -1\n",
            "under_oom 0\noom_kill_disable 0\n",
        ] {
            assert_eq!(MemoryEvents::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_difference_is_never_negative() {
        let (nothing, group) = (parsed(NOTHING), parsed(GROUP));
        assert_eq!(group.since(nothing), group);
        assert_eq!(group.since(group), nothing);
        assert_eq!(nothing.since(group), nothing);
    }

    #[test]
    fn it_is_told_whose_limit_was_reached() {
        for (whole, local, limit) in [
            (OWN_LIMIT, OWN_LIMIT, Limit::Own),
            (GROUP, GROUP, Limit::Own),
            (MACHINE, MACHINE, Limit::Above),
            // A slice, with the scope below it whose own limit was reached.
            (OWN_LIMIT, NOTHING, Limit::Unknown),
            // A slice whose own limit was reached: the victim was in a scope below it.
            (OWN_LIMIT, "max 47\noom 1\noom_kill 0\n", Limit::Own),
            (MACHINE, NOTHING, Limit::Above),
            (OWN_LIMIT, "", Limit::Own),
            (MACHINE, "", Limit::Above),
        ] {
            assert_eq!(reading(whole, local).limit(), limit, "{whole:?} {local:?}");
        }
    }

    #[test]
    fn only_what_is_new_says_whose_limit_it_was() {
        let before = reading(OWN_LIMIT, OWN_LIMIT);
        let after = "low 0\nhigh 0\nmax 47\noom 1\noom_kill 2\noom_group_kill 0\n";
        let new = reading(after, after).since(before);
        assert_eq!((new.whole.oom_kill, new.limit()), (1, Limit::Above));
    }

    #[test]
    fn pressure_is_read() {
        let text = "some avg10=12.03 avg60=0.06 avg300=0.01 total=16340315\n\
                    full avg10=0.50 avg60=0.00 avg300=0.00 total=7415883\n";
        assert_eq!(Pressure::parse(text), Some(Pressure { some_avg10: 12.03, full_avg10: 0.5 }));
        for text in ["", "some avg10=1.00\n", "some avg10=x\nfull avg10=0.00\n"] {
            assert_eq!(Pressure::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn available_memory_is_read() {
        let text = "MemTotal:       24684096 kB\nMemFree:        13740548 kB\nMemAvailable:   22145136 kB\n";
        assert_eq!(available_bytes(text), Some(22_145_136 * 1024));
        assert_eq!(total_bytes(text), Some(24_684_096 * 1024));
        for text in [
            "",
            "MemTotal:       24684096 kB\n",
            "MemAvailable: much kB\n",
            "MemAvailable: 18446744073709551615 kB\n",
        ] {
            assert_eq!(available_bytes(text), None, "{text:?}");
        }
    }
}
