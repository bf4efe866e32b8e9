//! The journal, with a journalctl of our own that prints what it is given.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::model::evidence::Victim;

const PANE: &str = "/user.slice/user-1000.slice/user@1000.service/tmux-spawn-27b3.scope";

/// Prints the file that is meant for the entries that are asked for, and notes what it was asked.
const JOURNALCTL: &str = r#"
dir=${0%/*}
echo "$*" >>"$dir/asked"
case "$*" in
    *_TRANSPORT=kernel*) cat "$dir/kernel" ;;
    *d93fb3c9c24d451a97cea615ce59c00b*) cat "$dir/marks" ;;
    *_BOOT_ID=*) cat "$dir/boot" ;;
    *) cat "$dir/own" ;;
esac
"#;

/// A machine with a journal.
struct Machine {
    dir: TempDir,
}

impl Machine {
    /// Its files are there, and are whoever's it is.
    fn with(files: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("var/log/journal/0123");
        fs::create_dir_all(&journal).unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/machine-id"), "0123\n").unwrap();
        fs::write(dir.path().join("journalctl"), JOURNALCTL).unwrap();
        for file in files {
            fs::write(journal.join(file), "").unwrap();
        }
        if !files.contains(&"system.journal") {
            // Not readable by anybody, root included.
            std::os::unix::fs::symlink("system.journal", journal.join("system.journal")).unwrap();
        }
        Self { dir }
    }

    /// Returns the journal when it has these entries, the newest first as journalctl was told.
    fn journal(&self, answers: &[(&str, &[&str])]) -> Journal {
        for (name, entries) in answers {
            fs::write(self.dir.path().join(name), entries.join("\n")).unwrap();
        }
        // The shell reads the script: one that was written a moment ago cannot always be executed (ETXTBSY).
        let program = vec!["/bin/sh".into(), self.dir.path().join("journalctl").into()];
        Journal { program, root: self.dir.path().to_owned(), uid: 1000, user: "ann".into() }
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.dir.path().join("asked")).unwrap()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn entry(second: i64, fields: &str) -> String {
    format!(r#"{{"__REALTIME_TIMESTAMP":"{second}000000",{fields}}}"#)
}

fn own_entries() -> [String; 2] {
    let unit = r#""USER_UNIT":"tmux-spawn-27b3.scope""#;
    [
        entry(
            103,
            &format!(r#"{unit},"MESSAGE_ID":"d9b373ed55a64feb8242e02dbe79a49c","UNIT_RESULT":"oom-kill""#),
        ),
        entry(101, &format!(r#"{unit},"MESSAGE_ID":"fe6faa94e7774663a0da52717891d8ef""#)),
    ]
}

fn kernel_entries() -> [String; 2] {
    let kill = "Memory cgroup out of memory: Killed process 530 (hog) total-vm:9kB, anon-rss:8kB, file-rss:0kB, shmem-rss:0kB, UID:1000 pgtables:8kB oom_score_adj:0";
    let choice = format!(
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg={PANE},task_memcg={PANE},task=hog,pid=530,uid=1000"
    );
    [kill, &choice].map(|line| entry(102, &format!(r#""_TRANSPORT":"kernel","MESSAGE":"{line}""#)))
}

fn strs(entries: &[String]) -> Vec<&str> {
    entries.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn whoever_may_read_everything_hears_of_everything() {
    let machine = Machine::with(&["system.journal"]);
    let (own, kernel) = (own_entries(), kernel_entries());
    let journal = machine.journal(&[("own", &strs(&own)), ("kernel", &strs(&kernel))]);
    let Findings { sightings, gaps } = journal.deaths(at(100), at(110)).await;
    assert_eq!(gaps, []);
    let times: Vec<i64> = sightings.iter().map(|sighting| sighting.at.as_second()).collect();
    assert_eq!(times, [101, 102, 103]);
    assert!(matches!(sightings[0].fact, Fact::OomKill { .. }));
    assert!(
        matches!(&sightings[1].fact, Fact::OomVictim { pid: 530, limit: Some(limit), victim: Victim::Child, .. } if limit == PANE)
    );
    assert!(matches!(sightings[2].fact, Fact::UnitResult { .. }));
    let asked = machine.asked();
    for expected in
        ["--since=@100 --until=@111 _UID=1000 MESSAGE_ID=", "COREDUMP_UID=1000", "--lines=500 ", "--reverse"]
    {
        assert!(asked.contains(expected), "{asked}");
    }
}

#[tokio::test]
async fn what_may_not_be_read_is_a_gap_with_its_remedy() {
    let machine = Machine::with(&["user-1000.journal"]);
    let own = own_entries();
    let Findings { sightings, gaps } =
        machine.journal(&[("own", &strs(&own))]).deaths(at(100), at(110)).await;
    assert_eq!(sightings.len(), 2);
    let kernel = Gap {
        what: "the kernel's log".into(),
        why: "not readable by ann".into(),
        remedy: "sudo usermod -aG systemd-journal ann".into(),
    };
    assert_eq!(gaps, [kernel]);
    assert!(!machine.asked().contains("kernel"));

    let machine = Machine::with(&[]);
    let Findings { sightings, gaps } = machine.journal(&[]).deaths(at(100), at(110)).await;
    assert_eq!((sightings.len(), gaps.len(), gaps[0].what.as_str()), (0, 1, "the journal"));
    assert!(gaps[0].remedy.contains("systemd-journal"));
}

#[tokio::test]
async fn a_machine_without_a_journal_or_journalctl_has_a_gap() {
    let nothing = tempfile::tempdir().unwrap();
    let machine = Machine::with(&["system.journal"]);
    let journal = machine.journal(&[]);
    let cases = [
        (Journal { root: nothing.path().to_owned(), ..journal.clone() }, "this machine keeps none", 1),
        (Journal { program: vec!["/no/such/journalctl".into()], ..journal.clone() }, "cannot be run", 2),
        // Its script finds no file to print.
        (journal, "journalctl ended with exit status: 1: cat: ", 2),
    ];
    for (journal, why, count) in cases {
        let Findings { sightings, gaps } = journal.deaths(at(100), at(110)).await;
        assert_eq!((sightings.len(), gaps.len()), (0, count), "{gaps:?}");
        assert!(gaps[0].why.contains(why), "{gaps:?}");
        let gap = journal.end_of(&BootId("x".into()), at(1)).await.unwrap_err();
        assert!(gap.why.contains(why), "{gap:?}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_read_up_to_a_bound() {
    let machine = Machine::with(&["system.journal"]);
    let script = format!("yes '{}'", entry(5, r#""MESSAGE":"x""#));
    let journal =
        Journal { program: ["/bin/sh", "-c", &script].map(Into::into).into(), ..machine.journal(&[]) };
    let entries = journal.read(1000, []).await.unwrap();
    assert_eq!(entries.len(), 1000);
}

#[tokio::test]
async fn a_boot_that_ended_is_told_from_one_that_was_cut() {
    let boot = BootId("12345678-9abc-def0-1234-56789abcdef0".into());
    let down = entry(1000, r#""USER_UNIT":"exit.target","MESSAGE_ID":"39f53479d3a045ac8e11786248231fbf""#);
    let up = entry(10, r#""MESSAGE_ID":"eed00a68ffd84e31882105fd973abdd1""#);
    let last = |second| entry(second, r#""MESSAGE":"x""#);
    let witness = ShutdownWitness::Journal;
    let cases = [
        (vec![last(1002)], vec![down.clone()], Some((1000, Fact::Shutdown { witness }))),
        (vec![last(1002)], vec![up], Some((1002, Fact::NoShutdown { witness }))),
        (vec![last(2000)], vec![down], None),
        (vec![], vec![], None),
    ];
    for (last, marks, expected) in cases {
        let machine = Machine::with(&["user-1000.journal"]);
        let journal = machine.journal(&[("boot", &strs(&last)), ("marks", &strs(&marks))]);
        let told = journal.end_of(&boot, at(1001)).await;
        match (told, expected) {
            (Ok(sighting), Some((second, fact))) => {
                assert_eq!(sighting, Sighting { at: at(second), about: About::Machine, fact });
            }
            (Err(gap), None) => assert_eq!(gap.what, "the journal of the boot before"),
            (told, expected) => panic!("{told:?} instead of {expected:?}"),
        }
        assert!(machine.asked().contains("_BOOT_ID=123456789abcdef0123456789abcdef0"));
    }
}

#[tokio::test]
async fn a_journal_that_lacks_a_boot_and_has_older_ones_was_not_written_out() {
    let older = entry(7, r#""MESSAGE":"x""#);
    let machine = Machine::with(&["user-1000.journal"]);
    let journal = machine.journal(&[("boot", &[]), ("marks", &[]), ("own", &[older.as_str()])]);
    let boot = BootId("x".into());
    let end = || journal.end_of(&boot, at(1001));
    let fact = Fact::NoShutdown { witness: ShutdownWitness::LostJournal };
    assert_eq!(end().await, Ok(Sighting { at: at(1001), about: About::Machine, fact }));
    assert!(machine.asked().contains("--until=@1001"), "{}", machine.asked());
    let in_memory = machine.dir.path().join("run/log/journal/0123");
    fs::create_dir_all(&in_memory).unwrap();
    fs::write(in_memory.join("system.journal"), "").unwrap();
    assert!(end().await.is_err(), "it has no entry of that boot");
}
