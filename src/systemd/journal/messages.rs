//! What the entries of the user's own manager say of deaths, by their MESSAGE_ID.
//!
//! The ids are those of sd-messages.h and of systemd's message catalog (`journalctl --list-catalog`).

use super::entry::Entry;
use crate::model::evidence::{About, Fact, Limit, Sighting};
use crate::systemd::unit_name::END_TARGETS;

/// `SD_MESSAGE_UNIT_OUT_OF_MEMORY`: the kernel has killed a process of the unit.
pub const UNIT_OUT_OF_MEMORY: &str = "fe6faa94e7774663a0da52717891d8ef";

/// `SD_MESSAGE_UNIT_OOMD_KILL`: systemd-oomd has killed processes of the unit.
pub const UNIT_OOMD_KILL: &str = "d989611b15e44c9dbf31e3c81256e4ed";

/// `SD_MESSAGE_UNIT_FAILURE_RESULT`: the unit has failed, `UNIT_RESULT` says how.
pub const UNIT_FAILURE_RESULT: &str = "d9b373ed55a64feb8242e02dbe79a49c";

/// `SD_MESSAGE_UNIT_STOPPING`: a job to stop the unit has begun. One that fails, or ends by itself, has none.
pub const UNIT_STOPPING: &str = "de5b426a63be47a7b6ac3eaac82e2f6f";

/// `SD_MESSAGE_UNIT_STARTED`: a job to start the unit is done; a target is reached.
pub const UNIT_STARTED: &str = "39f53479d3a045ac8e11786248231fbf";

/// `SD_MESSAGE_COREDUMP`: systemd-coredump(8) has stored a core dump.
pub const COREDUMP: &str = "fc2e22bc6ee647b6b90729ab34a250b1";

/// The ids that [`sighting`] knows.
pub const KNOWN: [&str; 6] =
    [UNIT_OUT_OF_MEMORY, UNIT_OOMD_KILL, UNIT_FAILURE_RESULT, UNIT_STOPPING, UNIT_STARTED, COREDUMP];

/// Returns what an entry says of a death, if it does.
pub fn sighting(entry: &Entry) -> Option<Sighting> {
    let id = entry.text("MESSAGE_ID")?;
    let (about, fact) = if id == COREDUMP { core_dump(entry)? } else { of_unit(&id, entry)? };
    Some(Sighting { at: entry.at, about, fact })
}

fn of_unit(id: &str, entry: &Entry) -> Option<(About, Fact)> {
    // The system's manager writes UNIT instead.
    let unit = entry.text("USER_UNIT")?;
    let about = About::Unit(unit.clone());
    let fact = match id {
        // It does not say how many, nor whose limit it was.
        UNIT_OUT_OF_MEMORY => Fact::OomKill { unit, kills: 1, own: false, limit: Limit::Unknown },
        // The reason is in systemd-oomd's own words, which are the system's.
        UNIT_OOMD_KILL => Fact::OomdKill { unit, reason: "reason not told".to_owned() },
        UNIT_FAILURE_RESULT => Fact::UnitResult { unit, result: entry.text("UNIT_RESULT")? },
        UNIT_STOPPING => Fact::UnitStopped { unit },
        UNIT_STARTED if END_TARGETS.contains(&unit.as_str()) => {
            return Some((About::Manager, Fact::ManagerStopping));
        }
        _ => return None,
    };
    Some((about, fact))
}

fn core_dump(entry: &Entry) -> Option<(About, Fact)> {
    let exe = entry.text("COREDUMP_EXE").or_else(|| entry.text("COREDUMP_COMM"))?;
    let fact = Fact::CoreDump { signal: entry.number("COREDUMP_SIGNAL")?, exe };
    Some((About::Process(entry.number("COREDUMP_PID")?), fact))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::journal::entry::parse_entry;

    const UNIT: &str = "tmux-spawn-27b3.scope";

    fn about_unit(fact: Fact) -> Option<(About, Fact)> {
        Some((About::Unit(UNIT.into()), fact))
    }

    /// Made by hand after systemd.journal-fields(7) and the texts that Debian 12 and 13 write.
    fn entries() -> Vec<(&'static str, Option<(About, Fact)>)> {
        let unit = || UNIT.to_owned();
        vec![
            (
                r#""_UID":"1000","_COMM":"systemd","USER_UNIT":"tmux-spawn-27b3.scope","MESSAGE_ID":"fe6faa94e7774663a0da52717891d8ef","MESSAGE":"tmux-spawn-27b3.scope: A process of this unit has been killed by the OOM killer.""#,
                about_unit(Fact::OomKill { unit: unit(), kills: 1, own: false, limit: Limit::Unknown }),
            ),
            (
                r#""USER_UNIT":"tmux-spawn-27b3.scope","MESSAGE_ID":"d9b373ed55a64feb8242e02dbe79a49c","UNIT_RESULT":"oom-kill","MESSAGE":"tmux-spawn-27b3.scope: Failed with result 'oom-kill'.""#,
                about_unit(Fact::UnitResult { unit: unit(), result: "oom-kill".into() }),
            ),
            (
                r#""USER_UNIT":"tmux-spawn-27b3.scope","MESSAGE_ID":"d989611b15e44c9dbf31e3c81256e4ed","N_PROCESSES":"2","MESSAGE":"tmux-spawn-27b3.scope: systemd-oomd killed 2 process(es) in this unit.""#,
                about_unit(Fact::OomdKill { unit: unit(), reason: "reason not told".into() }),
            ),
            (
                r#""USER_UNIT":"tmux-spawn-27b3.scope","JOB_TYPE":"stop","MESSAGE_ID":"de5b426a63be47a7b6ac3eaac82e2f6f","MESSAGE":"Stopping tmux-spawn-27b3.scope - tmux child pane 530 launched by process 472...""#,
                about_unit(Fact::UnitStopped { unit: unit() }),
            ),
            (
                r#""USER_UNIT":"exit.target","JOB_TYPE":"start","JOB_RESULT":"done","MESSAGE_ID":"39f53479d3a045ac8e11786248231fbf","MESSAGE":"Reached target exit.target - Exit the Session.""#,
                Some((About::Manager, Fact::ManagerStopping)),
            ),
            (
                r#""MESSAGE_ID":"fc2e22bc6ee647b6b90729ab34a250b1","COREDUMP_PID":"638","COREDUMP_UID":"1000","COREDUMP_SIGNAL":"11","COREDUMP_COMM":"tmux: server","COREDUMP_EXE":"/usr/bin/tmux","MESSAGE":"Process 638 (tmux: server) of user 1000 dumped core.""#,
                Some((About::Process(638), Fact::CoreDump { signal: 11, exe: "/usr/bin/tmux".into() })),
            ),
            (
                r#""MESSAGE_ID":"fc2e22bc6ee647b6b90729ab34a250b1","COREDUMP_PID":"638","COREDUMP_SIGNAL":"6","COREDUMP_COMM":"x""#,
                Some((About::Process(638), Fact::CoreDump { signal: 6, exe: "x".into() })),
            ),
            (r#""USER_UNIT":"basic.target","MESSAGE_ID":"39f53479d3a045ac8e11786248231fbf""#, None),
            (r#""UNIT":"session-3.scope","MESSAGE_ID":"de5b426a63be47a7b6ac3eaac82e2f6f""#, None),
            (r#""USER_UNIT":"x.scope","MESSAGE_ID":"d9b373ed55a64feb8242e02dbe79a49c""#, None),
            (
                r#""USER_UNIT":"x.scope","MESSAGE_ID":"ae8f7b866b0347b9af31fe1c80b127c0","MESSAGE":"x.scope: Consumed 1.2s CPU time.""#,
                None,
            ),
            (
                r#""MESSAGE_ID":"fc2e22bc6ee647b6b90729ab34a250b1","COREDUMP_PID":"638","COREDUMP_SIGNAL":"SIGSEGV","COREDUMP_EXE":"x""#,
                None,
            ),
            (r#""MESSAGE":"no id""#, None),
        ]
    }

    #[test]
    fn entries_are_known_by_their_ids() {
        for (fields, expected) in entries() {
            let line = format!(r#"{{"__REALTIME_TIMESTAMP":"1763712000000000",{fields}}}"#);
            let entry = parse_entry(line.as_bytes()).unwrap();
            let told = sighting(&entry).map(|sighting| (sighting.about, sighting.fact));
            assert_eq!(told, expected, "{fields}");
        }
        for id in KNOWN {
            assert!(entries().iter().any(|(fields, told)| told.is_some() && fields.contains(id)), "{id}");
        }
    }
}
