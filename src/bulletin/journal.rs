//! Deaths in the journal, with fields of their own and an id that `journalctl -x` explains.
//!
//! The fields go through the log like everything else: it gives them to journald under these very names, in capitals
//! (`logging`). On a terminal and in a log file they are left out.

use tracing::{info, warn};

use super::Bulletin;

/// `MESSAGE_ID` of a death that nobody wanted.
pub const DIED: &str = "2944bec4d15e4eeaa1b5fc6a1bd24dae";

/// `MESSAGE_ID` of something that its user closed.
pub const CLOSED: &str = "6103fd300b274039b20533b99f75f516";

/// How the names of our own fields begin, as they are written here.
pub const PREFIX: &str = "agent_keeper_";

/// What explains both ids: journald's message catalog.
pub const CATALOG: &str = include_str!("../../packaging/catalog/agent-keeper.catalog");

/// Writes a death into the log.
pub fn tell(bulletin: &Bulletin) {
    let Bulletin { incident, sentence, unwanted } = bulletin;
    let programs = Some(bulletin.programs().join("\n")).filter(|programs| !programs.is_empty());
    let programs = programs.as_deref();
    macro_rules! write {
        ($level:ident, $id:expr) => {
            $level!(
                message_id = $id,
                agent_keeper_number = incident.number,
                agent_keeper_subject = bulletin.subject(),
                agent_keeper_place = bulletin.place(),
                agent_keeper_cause = bulletin.cause(),
                agent_keeper_confidence = bulletin.confidence(),
                agent_keeper_deed = bulletin.deed(),
                agent_keeper_server_pid = incident.subject.server.pid,
                agent_keeper_snapshot = incident.last_seen_in,
                agent_keeper_programs = programs,
                "{sentence}"
            )
        };
    }
    if *unwanted {
        write!(warn, DIED);
    } else {
        write!(info, CLOSED);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Command, Output};

    use super::*;
    use crate::setup::catalog_file;

    fn journalctl(arguments: &[&str]) -> std::io::Result<Output> {
        Command::new("journalctl").args(arguments).output()
    }

    #[test]
    fn the_catalog_explains_both_ids_with_fields_that_are_written() {
        let ids: Vec<&str> =
            CATALOG.lines().filter_map(|line| line.strip_prefix("-- ")).map(str::trim).collect();
        assert_eq!(ids, [DIED, CLOSED]);
        let source = include_str!("journal.rs");
        let names = CATALOG.split('@').skip(1).step_by(2);
        let names: Vec<&str> = names.collect();
        assert!(names.len() > 4, "{names:?}");
        for name in names {
            assert!(source.contains(&format!("{} = ", name.to_lowercase())), "{name} is not written");
        }
    }

    #[test]
    fn journald_can_read_the_catalog() {
        if journalctl(&["--version"]).is_err() {
            use std::io::Write as _;
            // Not eprintln!, which the test harness hides when a test passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED the message catalog: there is no journalctl here");
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("usr/local/lib/systemd/catalog");
        catalog_file(&dir).expect("no package brings it").write().unwrap();
        fs::create_dir_all(root.path().join("var/lib/systemd/catalog")).unwrap();
        let place = format!("--root={}", root.path().display());
        let output = journalctl(&[&place, "--update-catalog"]).unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        for id in [DIED, CLOSED] {
            let output = journalctl(&[&place, "--dump-catalog", id]).unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(text.contains("keeperctl why @AGENT_KEEPER_NUMBER@"), "{text}");
        }
    }
}
