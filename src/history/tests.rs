//! What damage, interruption and a reader at the wrong moment do to the history: whatever was acknowledged is there,
//! nothing wrong is returned, and no incident's number is given twice.

use super::*;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;
use tempfile::TempDir;

use super::writer::{INCIDENT_BYTES_MIN, numbers_in};
use crate::model::entry::{Entry, Happening};
use crate::model::evidence::{End, EndWitness, Evidence, Fact, Gap, KillCommand, Limit};
use crate::model::incident::{
    Cause, Confidence, Deed, Finding, Incident, LostPane, Subject, SubjectKind, Verdict,
};
use crate::model::{BootId, PaneId, ServerId};
use crate::store::fault::{Plan, Step};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn entry(second: i64, what: Happening) -> Entry {
    Entry { at: time(second), boot: BootId("one".into()), what }
}

/// Returns an incident with as little in it as can be.
fn bare(number: u64) -> Incident {
    Incident {
        number,
        at: time(0),
        boot: BootId::default(),
        subject: Subject {
            kind: SubjectKind::Pane,
            server: ServerId::default(),
            place: String::new(),
            panes: Vec::new(),
        },
        evidence: Vec::new(),
        gaps: Vec::new(),
        verdict: Verdict { finding: finding(Cause::Unknown, 0), others: Vec::new() },
        last_seen_in: None,
        deed: Deed::Ask,
    }
}

/// Returns an explanation for which this many facts speak.
fn finding(cause: Cause, facts: usize) -> Finding {
    Finding { cause, confidence: Confidence::Likely, because: (0..facts).collect() }
}

fn pane(number: u32) -> LostPane {
    let program = format!("claude --resume {number:032x}");
    LostPane { id: PaneId(number), place: format!("web:{number}.0"), program, shell: false }
}

/// Returns an incident with something of everything.
fn incident(number: u64) -> Incident {
    let facts = [
        Fact::Cut.at(time(1)),
        Fact::Ended { end: End::Killed(9), witness: EndWitness::Kernel }.undated(),
        Fact::OomKill { unit: "tmux.scope".into(), kills: 2, own: true, limit: Limit::Unknown }.at(time(2)),
        Fact::OtherBoot { before: BootId("zero".into()) }.undated(),
    ];
    Incident {
        subject: Subject {
            kind: SubjectKind::Server,
            server: ServerId { boot: BootId("one".into()), pid: 7, start_ticks: u64::MAX },
            place: "/tmp/tmux-1000/default".into(),
            panes: vec![pane(0), LostPane { shell: true, ..pane(1) }],
        },
        evidence: facts.into(),
        gaps: vec![gap("the kernel's log")],
        verdict: Verdict {
            finding: finding(Cause::OomKill, 3),
            others: vec![finding(Cause::ServerKilled, 2)],
        },
        last_seen_in: Some(42),
        ..bare(number)
    }
}

fn gap(what: &str) -> Gap {
    Gap { what: what.into(), why: "not readable by agent".into(), remedy: "adduser agent adm".into() }
}

fn death(number: u64) -> Entry {
    entry(i64::try_from(number).unwrap(), Happening::Died(Box::new(incident(number))))
}

/// Returns one of everything that happens.
fn everything() -> Vec<Entry> {
    let server = ServerId { boot: BootId("one".into()), pid: 7, start_ticks: 8 };
    let session = || "c3 \"quoted\"\n".to_owned();
    let happenings = vec![
        Happening::KeeperStarted { version: "0.1.0".into() },
        Happening::KeeperEnded,
        Happening::ServerFound { server: server.clone(), unit: Some("tmux.scope".into()) },
        Happening::ServerFound { server, unit: None },
        Happening::Login { session: session() },
        Happening::Logout { session: session() },
        Happening::Linger { on: false },
        Happening::ShutdownBegins,
        Happening::ShutdownCancelled,
        Happening::Slept { secs: u64::MAX },
        Happening::Memory { unit: "häuser.scope".into(), kills: 3 },
        Happening::Restored {
            generation: 42,
            sessions: vec!["web".into(), "agents 😀".into()],
            complete: true,
        },
        Happening::Died(Box::new(incident(1))),
        Happening::Died(Box::new(bare(2))),
        Happening::Other { kind: "eclipse".into() },
    ];
    for happening in &happenings {
        // Whoever adds a kind adds it above too.
        match happening {
            Happening::KeeperStarted { .. } | Happening::KeeperEnded | Happening::ServerFound { .. } => {}
            Happening::Login { .. } | Happening::Logout { .. } | Happening::Linger { .. } => {}
            Happening::ShutdownBegins => {}
            Happening::ShutdownCancelled | Happening::Slept { .. } | Happening::Memory { .. } => {}
            Happening::Restored { .. } | Happening::Died(_) | Happening::Other { .. } => {}
        }
    }
    happenings.into_iter().zip(0..).map(|(what, second)| entry(second, what)).collect()
}

/// Returns an entry of about 40 KiB; its number can be found again.
fn large(number: usize) -> Entry {
    let sessions = (0..40).map(|_| "x".repeat(1000)).collect();
    entry(0, Happening::Restored { generation: number as u64, sessions, complete: true })
}

fn all(state: &Path) -> History {
    read(state, &Range::default())
}

/// Reads everything, and checks that there is nothing but this.
#[track_caller]
fn assert_holds(state: &Path, entries: &[Entry], damaged: usize, why: &str) {
    let history = all(state);
    assert_eq!(history.entries, entries, "{why}");
    assert_eq!(history.damaged, damaged, "{why}");
    assert!(history.unread.is_empty(), "{why}: {:?}", history.unread);
}

/// A state directory with these entries in one file, and that file.
fn with(entries: &[Entry]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    Historian::open(dir.path()).unwrap().append(entries).unwrap();
    let path = path_of(&dir.path().join(DIR), 1);
    (dir, path)
}

fn numbers(state: &Path) -> Vec<u64> {
    files_in(&state.join(DIR)).unwrap().into_iter().map(|(number, _)| number).collect()
}

#[test]
fn everything_that_happens_comes_back() {
    let (dir, _) = with(&everything());
    assert_holds(dir.path(), &everything(), 0, "at once");
    let dir = tempfile::tempdir().unwrap();
    for (count, one) in everything().iter().enumerate() {
        let mut historian = Historian::open(dir.path()).unwrap();
        historian.append(std::slice::from_ref(one)).unwrap();
        historian.append(&[]).unwrap();
        assert_holds(dir.path(), &everything()[..=count], 0, "one by one");
    }
    assert_eq!(numbers(dir.path()), [1], "a restart goes on in the same file");
}

#[test]
fn only_the_owner_can_read_it() {
    let (dir, path) = with(&everything());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir.path().join(DIR)), mode(&path)), (0o700, 0o600));
}

#[test]
fn where_no_keeper_was_nothing_happened_and_what_cannot_be_looked_at_is_said() {
    let dir = tempfile::tempdir().unwrap();
    assert_holds(&dir.path().join("nothing"), &[], 0, "no directory");
    fs::write(dir.path().join(DIR), "a file").unwrap();
    assert_eq!(all(dir.path()).unread.len(), 1);
    // A directory stands for a file that the disk cannot read.
    let (dir, path) = with(&[death(1)]);
    let spoilt = path_of(path.parent().unwrap(), 2);
    fs::create_dir(&spoilt).unwrap();
    let mut historian = Historian::open(dir.path()).unwrap();
    let next = historian.next_incident();
    assert!(next > 1000, "so many may have been in it: {next}");
    historian.append(&[death(next)]).unwrap();
    let history = all(dir.path());
    assert_eq!(history.entries, [death(1), death(next)]);
    assert_eq!(history.unread.len(), 1);
    assert!(history.unread[0].to_string().contains("00000002.jsonl"), "{}", history.unread[0]);
}

#[test]
fn files_with_other_names_are_left_alone() {
    let (dir, path) = with(&[death(1)]);
    for name in ["notes.txt", "1.jsonl", "00000001.jsonl~", "+0000009.jsonl", "x.jsonl"] {
        fs::write(path.with_file_name(name), "mine").unwrap();
    }
    Historian::open(dir.path()).unwrap().append(&[death(2)]).unwrap();
    assert_holds(dir.path(), &[death(1), death(2)], 0, "");
    assert_eq!(fs::read_dir(dir.path().join(DIR)).unwrap().count(), 6);
}

#[test]
fn a_line_torn_anywhere_costs_itself() {
    let before = [death(1), entry(2, Happening::KeeperEnded)];
    let torn = entry(3, Happening::Slept { secs: 3 });
    let after = [death(99), entry(4, Happening::ShutdownBegins)];
    let (dir, path) = with(&before);
    let whole = fs::read(&path).unwrap();
    let line = line::seal(&serde_json::to_vec(&torn).unwrap());
    for length in 0..=line.len() {
        let why = format!("{length} bytes");
        fs::write(&path, [&whole[..], &line[..length]].concat()).unwrap();
        // Only its end is missing.
        let last = (length + 1 >= line.len()).then(|| torn.clone());
        let found: Vec<Entry> = before.iter().cloned().chain(last).collect();
        assert_holds(dir.path(), &found, 0, &why);
        let mut historian = Historian::open(dir.path()).unwrap();
        assert!(historian.next_incident() > 1, "{why}");
        historian.append(&after).unwrap();
        let damaged = usize::from(length > 0 && found.len() == before.len());
        assert_holds(dir.path(), &[&found[..], &after].concat(), damaged, &why);
        assert_eq!(numbers_in(&dir.path().join(DIR)).unwrap(), (99, true), "{why}");
    }
}

#[test]
fn a_torn_line_in_a_file_that_is_done_is_a_damaged_one() {
    let (dir, path) = with(&[death(1), death(2)]);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 10]).unwrap();
    fs::copy(&path, path_of(&dir.path().join(DIR), 2)).unwrap();
    assert_holds(dir.path(), &[death(1), death(1)], 1, "the second file may be being written");
}

#[test]
fn no_bit_can_change_without_notice() {
    let entries = [death(1), death(2), death(3)];
    let (dir, path) = with(&entries);
    let whole = fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == b'\n').collect();
    // In place: some file systems wait for the disk when a file is emptied first.
    let file = File::options().write(true).open(&path).unwrap();
    for bit in 0..8 * whole.len() {
        let why = format!("bit {bit}");
        file.write_all_at(&[whole[bit / 8] ^ 1 << (bit % 8)], bit as u64 / 8).unwrap();
        let history = all(dir.path());
        let hit = ends.iter().filter(|end| **end < bit / 8).count();
        let at_an_end = ends.contains(&(bit / 8));
        let staying = entries.iter().zip(1..).filter(|(_, line)| {
            // Without its end a line is one with the next; the last one's is not needed, though what it became is.
            *line != hit && !(at_an_end && *line == hit + 1)
        });
        assert_eq!(history.entries, staying.map(|(entry, _)| entry.clone()).collect::<Vec<_>>(), "{why}");
        let unfinished = bit / 8 == whole.len() - 1;
        assert_eq!(history.damaged == 0, unfinished, "{why}: {}", history.damaged);
        let (highest, _) = numbers_in(&dir.path().join(DIR)).unwrap();
        assert!(highest >= 3, "{why}: {highest}");
        file.write_all_at(&whole[bit / 8..=bit / 8], bit as u64 / 8).unwrap();
    }
}

#[test]
fn a_destroyed_stretch_costs_numbers_and_what_was_in_it() {
    let entries: Vec<Entry> = (1..=20).map(death).collect();
    let (dir, path) = with(&entries);
    let mut bytes = fs::read(&path).unwrap();
    let third = bytes.len() / 3;
    bytes[third..].fill(0);
    fs::write(&path, &bytes).unwrap();
    let mut historian = Historian::open(dir.path()).unwrap();
    let next = historian.next_incident();
    assert!(next > 20, "{next}");
    historian.append(&[death(next)]).unwrap();
    let history = all(dir.path());
    assert_eq!(history.damaged, 1);
    assert_eq!(history.entries.last(), Some(&death(next)));
    assert!(history.entries.len() > 5 && history.entries[..5] == entries[..5]);
}

#[test]
fn no_incident_is_shorter_than_what_is_counted_for_one() {
    let mut shortest = Incident { at: Timestamp::UNIX_EPOCH, ..bare(1) };
    shortest.verdict.finding.confidence = Confidence::None;
    let shortest = Entry {
        at: Timestamp::UNIX_EPOCH,
        boot: BootId::default(),
        what: Happening::Died(Box::new(shortest)),
    };
    let line = line::seal(&serde_json::to_vec(&shortest).unwrap());
    assert!(line.len() as u64 >= INCIDENT_BYTES_MIN, "{} bytes", line.len());
}

#[test]
fn the_newest_files_are_kept_and_none_is_larger_than_it_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let mut historian = Historian::open(dir.path()).unwrap();
    let entries: Vec<Entry> = (0..300).map(large).collect();
    for batch in entries.chunks(6) {
        historian.append(batch).unwrap();
    }
    let history = all(dir.path());
    assert!(entries.ends_with(&history.entries) && history.damaged == 0);
    assert!(history.entries.len() > 150, "{}", history.entries.len());
    let there = numbers(dir.path());
    assert_eq!(there.len(), FILES_MAX);
    assert!(there[0] > 1 && there.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{there:?}");
    for number in there {
        let bytes = fs::metadata(path_of(&dir.path().join(DIR), number)).unwrap().len();
        assert!(bytes <= FILE_BYTES_MAX, "{bytes}");
    }
}

#[test]
fn a_batch_that_is_too_large_for_a_file_is_in_several() {
    let (dir, _) = with(&(0..60).map(large).collect::<Vec<_>>());
    assert_eq!(numbers(dir.path()), [1, 2, 3]);
    assert_holds(dir.path(), &(0..60).map(large).collect::<Vec<_>>(), 0, "");
}

#[test]
fn a_thousand_deaths_cost_one_flush() {
    let (dir, _) = with(&[entry(0, Happening::KeeperEnded)]);
    let mut historian = Historian::open(dir.path()).unwrap();
    let deaths: Vec<Entry> = (1..=1000).map(death).collect();
    let plan = Plan { at: usize::MAX, errno: EIO, for_good: false, met: Vec::new() };
    let (result, met) = plan.run(|| historian.append(&deaths));
    result.unwrap();
    assert_eq!(met, [Step::Write, Step::Flush]);
    assert_eq!((all(dir.path()).incidents().len(), historian.next_incident()), (1000, 1001));
}

#[test]
fn no_number_is_given_twice_whatever_is_removed() {
    let (dir, _) = with(&[death(1), death(7)]);
    let mut historian = Historian::open(dir.path()).unwrap();
    assert_eq!(historian.next_incident(), 8);
    for number in 0..=FILES_MAX {
        historian.append(&(0..20).map(large).collect::<Vec<_>>()).unwrap();
        assert_eq!(Historian::open(dir.path()).unwrap().next_incident(), 8, "after {number} more files");
    }
    assert!(all(dir.path()).incidents().is_empty(), "their file is removed");
    historian.append(&[death(8)]).unwrap();
    assert_eq!(historian.next_incident(), 9);
    fs::remove_dir_all(dir.path().join(DIR)).unwrap();
    historian.append(&[death(9)]).unwrap();
    assert_holds(dir.path(), &[death(9)], 0, "somebody has cleared it away");
    assert_eq!(Historian::open(dir.path()).unwrap().next_incident(), 10);
}

#[test]
fn of_two_incidents_with_one_number_the_later_counts() {
    let later = Incident { deed: Deed::Restore, ..incident(1) };
    let (dir, _) = with(&[death(1), death(2), entry(3, Happening::Died(Box::new(later.clone())))]);
    let history = all(dir.path());
    assert_eq!(history.incidents(), [&later, &incident(2)]);
    assert_eq!(history.incident(1), Some(&later));
    assert_eq!(history.incident(3), None);
}

#[test]
fn what_a_newer_version_wrote_is_kept_and_counted() {
    let (dir, path) = with(&[death(1)]);
    let death = serde_json::to_string(&death(5)).unwrap();
    let lines = [
        death.replace(r#""fact":"cut""#, r#""fact":"struck-by-lightning","volts":9"#),
        r#"{"at":"2027-01-15T08:00:00Z","boot":"one","what":{"kind":"eclipse","number":"two"},"more":1}"#
            .into(),
        r#"{"another":"form"}"#.into(),
    ];
    let mut file = File::options().append(true).open(path).unwrap();
    lines.iter().for_each(|line| file.write_all(&line::seal(line.as_bytes())).unwrap());
    let history = all(dir.path());
    let kinds: Vec<&Happening> = history.entries[1..].iter().map(|entry| &entry.what).collect();
    let other = |kind: &str| Happening::Other { kind: kind.into() };
    assert_eq!(kinds, [&other("died"), &other("eclipse")]);
    assert_eq!((history.damaged, history.incidents().len()), (1, 1));
    assert_eq!(Historian::open(dir.path()).unwrap().next_incident(), 7, "5, and one that may have been");
}

#[test]
fn a_range_is_read_with_both_its_ends() {
    let entries: Vec<Entry> = (0..10).map(|second| entry(second, Happening::KeeperEnded)).collect();
    let (dir, path) = with(&entries);
    let within = |since: Option<i64>, until: Option<i64>| {
        let range = Range { since: since.map(time), until: until.map(time) };
        read(dir.path(), &range).entries.len()
    };
    assert_eq!(within(None, None), 10);
    assert_eq!(within(Some(3), None), 7);
    assert_eq!(within(None, Some(3)), 4);
    assert_eq!(within(Some(3), Some(3)), 1);
    assert_eq!(within(Some(10), None), 0);
    // A file that was last changed long before is not even read; one that was changed just before is.
    let since = Range { since: Some(time(0)), until: None };
    let changed = |hours: i64| SystemTime::from(time(0).checked_sub(hours.hours()).unwrap());
    fs::write(&path, "x\n").unwrap();
    for (hours, damaged) in [(23, 1), (25, 0)] {
        File::options().write(true).open(&path).unwrap().set_modified(changed(hours)).unwrap();
        assert_eq!(read(dir.path(), &since).damaged, damaged, "{hours} hours before");
    }
}

#[test]
fn a_reader_beside_the_writer_sees_whole_entries_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let done = AtomicBool::new(false);
    let mut reads = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut historian = Historian::open(dir.path()).unwrap();
            for batch in (0..260).collect::<Vec<_>>().chunks(4) {
                let batch: Vec<Entry> = batch.iter().map(|number| large(*number)).collect();
                historian.append(&batch).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        loop {
            let last = done.load(Ordering::Acquire);
            let history = all(dir.path());
            assert_eq!((history.damaged, history.unread.len()), (0, 0), "read {reads}");
            let restored = history.entries.iter().filter_map(|entry| match entry.what {
                Happening::Restored { generation, .. } => Some(generation),
                _ => None,
            });
            assert!(restored.is_sorted_by(|one, next| one < next), "read {reads}");
            reads += 1;
            if last {
                break;
            }
        }
    });
    assert_eq!(all(dir.path()).entries.last(), Some(&large(259)));
}

/// A history with as many files as are kept, of which the newest has room for a few entries, and what is in it.
struct Before {
    dir: TempDir,
    entries: Vec<Entry>,
}

impl Before {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut entries: Vec<Entry> = (0..FILES_MAX).map(large).collect();
        fs::create_dir(dir.path().join(DIR)).unwrap();
        for (one, number) in entries.iter().zip(1..) {
            let lines = [br#"{"incidents":0}"#.to_vec(), serde_json::to_vec(one).unwrap()];
            let lines = lines.map(|json| line::seal(&json)).concat();
            fs::write(path_of(&dir.path().join(DIR), number), lines).unwrap();
        }
        let newest: Vec<Entry> = (FILES_MAX..FILES_MAX + 20).map(large).chain([death(1)]).collect();
        Historian::open(dir.path()).unwrap().append(&newest).unwrap();
        entries.extend(newest);
        assert_eq!(numbers(dir.path()).len(), FILES_MAX);
        Self { dir, entries }
    }

    /// Returns a copy; the older files are only linked, for they are never written to.
    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        fs::create_dir(copy.path().join(DIR)).unwrap();
        let files = files_in(&self.dir.path().join(DIR)).unwrap();
        for (number, path) in &files {
            let to = path_of(&copy.path().join(DIR), *number);
            match files.last() == Some(&(*number, path.clone())) {
                true => fs::copy(path, to).map(drop),
                false => fs::hard_link(path, to),
            }
            .unwrap();
        }
        copy
    }
}

/// An entry for which there is room, a batch for which there is none, and some more.
fn batches() -> [Vec<Entry>; 4] {
    [vec![death(2)], (1000..1008).map(large).collect(), vec![death(3), death(4)], vec![death(5)]]
}

/// A keeper's work. Returns what was acknowledged; it goes on after an error, as a keeper does.
fn work(state: &Path) -> Vec<Entry> {
    let mut acknowledged = Vec::new();
    let Ok(mut historian) = Historian::open(state) else { return acknowledged };
    for batch in batches() {
        if historian.append(&batch).is_ok() {
            acknowledged.extend(batch);
        }
    }
    acknowledged
}

#[test]
fn whichever_step_fails_what_was_acknowledged_is_there() {
    let before = Before::new();
    let mut met = Vec::new();
    for (errno, for_good) in [(EIO, false), (ENOSPC, false), (EIO, true)] {
        for at in 0.. {
            let copy = before.copy();
            let plan = Plan { at, errno, for_good, met: Vec::new() };
            let (acknowledged, steps) = plan.run(|| work(copy.path()));
            if steps.len() <= at {
                assert_eq!(acknowledged.len(), 12);
                break;
            }
            let why = format!("step {at}, {:?}, error {errno}, for good: {for_good}", steps[at]);
            check_after_failure(copy.path(), &before, &acknowledged, for_good, &why);
            met.push(steps[at]);
        }
    }
    for step in
        [Step::MakeDir, Step::Create, Step::Write, Step::Flush, Step::Rename, Step::FlushDir, Step::Remove]
    {
        assert!(met.contains(&step), "{step:?} never failed");
    }
    assert!(met.len() > 30, "only {} steps", met.len());
}

#[track_caller]
fn check_after_failure(state: &Path, before: &Before, acknowledged: &[Entry], for_good: bool, why: &str) {
    let history = all(state);
    let (damaged, unread) = (history.damaged, &history.unread);
    assert!(unread.is_empty() && (damaged == 0 || for_good), "{why}: {damaged} {unread:?}");
    // The oldest file may have gone.
    assert!(contains(&history.entries, &before.entries[1..]), "{why}: something from before is missing");
    assert!(contains(&history.entries, acknowledged), "{why}: something acknowledged is missing");
    let noted = [&before.entries[..], &batches().concat()].concat();
    assert!(history.entries.iter().all(|entry| noted.contains(entry)), "{why}: something was never noted");
    if !for_good {
        assert!(
            history.entries.ends_with(acknowledged),
            "{why}: something is left that was to be taken back"
        );
    }
    let mut historian = Historian::open(state).unwrap();
    let next = historian.next_incident();
    assert!(acknowledged.iter().all(|entry| *entry != death(next)) && next > 1, "{why}");
    historian.append(&[death(next)]).unwrap();
    let after = all(state);
    assert!(after.damaged == 0 || for_good, "{why}: {}", after.damaged);
    assert_eq!(after.entries, [&history.entries[..], &[death(next)]].concat(), "{why}");
    assert!(numbers(state).len() <= FILES_MAX + 1, "{why}");
}

/// Returns whether these entries are among all in this order.
fn contains(all: &[Entry], entries: &[Entry]) -> bool {
    let mut all = all.iter();
    entries.iter().all(|entry| all.any(|one| one == entry))
}

#[test]
fn a_disk_without_room_costs_nothing_of_what_was_there() {
    let (dir, path) = with(&[death(1)]);
    let mut historian = Historian::open(dir.path()).unwrap();
    let whole = fs::read(&path).unwrap();
    for step in [0, 1] {
        for _ in 0..3 {
            let plan = Plan { at: step, errno: ENOSPC, for_good: false, met: Vec::new() };
            let (result, met) = plan.run(|| historian.append(&[death(2), death(3)]));
            assert!(result.unwrap_err().to_string().starts_with("cannot write"), "{met:?}");
            assert_eq!(met.last(), Some(&Step::Truncate));
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }
    assert_eq!(historian.next_incident(), 2);
    historian.append(&[death(2), death(3)]).unwrap();
    assert_holds(dir.path(), &[death(1), death(2), death(3)], 0, "there is room again");
}

/// Returns an entry as it is kept within so many bytes.
fn fitted(entry: &Entry, bytes_max: usize) -> Entry {
    let json = fit::render(entry, bytes_max).unwrap();
    assert!(json.len() <= bytes_max, "{} of {bytes_max} bytes", json.len());
    serde_json::from_slice(&json).unwrap()
}

fn fitted_incident(incident: &Incident, bytes_max: usize) -> Incident {
    match fitted(&entry(0, Happening::Died(Box::new(incident.clone()))), bytes_max).what {
        Happening::Died(incident) => *incident,
        other => panic!("{other:?}"),
    }
}

fn bytes(incident: &Incident) -> usize {
    serde_json::to_vec(&entry(0, Happening::Died(Box::new(incident.clone())))).unwrap().len()
}

#[test]
fn what_fits_is_kept_as_it_is() {
    for one in everything() {
        assert_eq!(fitted(&one, serde_json::to_vec(&one).unwrap().len()), one);
    }
}

#[test]
fn what_is_too_large_loses_what_matters_least() {
    let panes = |count: u32| (0..count).map(pane).collect::<Vec<_>>();
    let large = Incident { subject: Subject { panes: panes(1000), ..incident(1).subject }, ..incident(1) };
    let kept = fitted_incident(&large, ENTRY_BYTES_MAX);
    let left = kept.subject.panes.len();
    assert!(left > 400 && large.subject.panes.starts_with(&kept.subject.panes), "{left}");
    assert_eq!((&kept.evidence, &kept.verdict), (&large.evidence, &large.verdict));
    let said = &kept.gaps[1];
    assert_eq!(said.what, format!("{} panes", 1000 - left));
    assert_eq!(said.why, "they were left out: the record of a death has at most 65536 bytes");

    // The less room there is, the more goes, in this order.
    let whole = Incident { subject: Subject { panes: panes(3), ..incident(1).subject }, ..incident(1) };
    let mut states = Vec::new();
    for bytes_max in (700..bytes(&whole)).rev() {
        let kept = fitted_incident(&whole, bytes_max);
        let counts = [kept.subject.panes.len(), kept.verdict.others.len(), kept.evidence.len()];
        assert_eq!(kept.verdict.finding.cause, Cause::OomKill);
        assert!(kept.verdict.finding.because.iter().all(|at| *at < kept.evidence.len()));
        if states.last() != Some(&counts) {
            states.push(counts);
        }
    }
    assert!(
        states.is_sorted_by(|more, less| more.iter().zip(less).all(|(more, less)| more >= less)),
        "{states:?}"
    );
    for [panes, others, evidence] in &states {
        assert!((*panes == 0 || *others == 1) && (*others == 0 || *evidence == 4), "{states:?}");
    }
    assert_eq!(states.last(), Some(&[0, 0, 0]), "{states:?}");
}

#[test]
fn texts_that_are_too_long_are_cut_before_anything_goes() {
    let long = "ä".repeat(100_000);
    let mut large = incident(1);
    large.subject.place.clone_from(&long);
    large.subject.panes[0].program.clone_from(&long);
    large.evidence[0].fact = Fact::VersionMismatch { said: format!("x{long}") };
    let kept = fitted_incident(&large, ENTRY_BYTES_MAX);
    let cut = format!("{}…", &long[..1024]);
    assert_eq!((&kept.subject.place, &kept.subject.panes[0].program), (&cut, &cut));
    assert_eq!(kept.evidence[0].fact, Fact::VersionMismatch { said: format!("x{}…", &long[..1022]) });
    assert_eq!((kept.subject.panes.len(), kept.evidence.len(), kept.gaps), (2, 4, large.gaps));
}

#[test]
fn a_long_list_of_sessions_says_how_many_more() {
    let sessions = |names: Vec<String>| {
        entry(0, Happening::Restored { generation: 1, sessions: names, complete: false })
    };
    let names: Vec<String> = (0..2000).map(|number| format!("{number:050}")).collect();
    let Happening::Restored { sessions: kept, .. } = fitted(&sessions(names.clone()), ENTRY_BYTES_MAX).what
    else {
        panic!("another kind")
    };
    let left = kept.len() - 1;
    assert!(left > 1000 && names[..left] == kept[..left], "{left}");
    assert_eq!(kept[left], format!("… and {} more", 2000 - left));
}

prop_compose! {
    /// A text of some length, in which each byte may take six.
    fn a_text()(unit in "[a-z \"\u{1}ä]", count in prop_oneof![0..20usize, 0..3000usize]) -> String {
        unit.repeat(count)
    }
}

prop_compose! {
    fn an_incident()(
        panes in proptest::collection::vec((a_text(), a_text()), 0..60),
        facts in proptest::collection::vec((a_text(), a_text()), 0..64),
        gaps in proptest::collection::vec((a_text(), a_text()), 0..20),
        others in proptest::collection::vec(0..64usize, 0..18),
        because in 0..64usize,
        place in a_text(),
        boot in a_text(),
    ) -> Incident {
        let panes = panes.into_iter().map(|(place, program)| {
            LostPane { id: PaneId(u32::MAX), place, program, shell: true }
        });
        let count = facts.len();
        let facts = facts.into_iter().map(|(client, command)| {
            Fact::KillCommand(KillCommand { client, key: None, command }).undated()
        });
        let gaps = gaps.into_iter().map(|(what, why)| Gap { what, why, remedy: String::new() });
        let others = others.into_iter().map(|facts| finding(Cause::ServerKilled, facts.min(count)));
        Incident {
            boot: BootId(boot.clone()),
            subject: Subject {
                kind: SubjectKind::Window,
                server: ServerId { boot: BootId(boot), pid: 7, start_ticks: 8 },
                place,
                panes: panes.collect(),
            },
            evidence: facts.collect::<Vec<Evidence>>(),
            gaps: gaps.collect(),
            verdict: Verdict { finding: finding(Cause::ClosedByUser, because.min(count)), others: others.collect() },
            ..bare(u64::MAX)
        }
    }
}

proptest! {
    // Each is some 100 kB.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_died_and_why_is_never_lost(incident in an_incident(), bytes_max in 32_000..=ENTRY_BYTES_MAX) {
        let kept = fitted_incident(&incident, bytes_max);
        prop_assert_eq!(kept.number, incident.number);
        let (verdict, was) = (&kept.verdict.finding, &incident.verdict.finding);
        prop_assert_eq!((verdict.cause, verdict.confidence), (was.cause, was.confidence));
        prop_assert!(was.because.starts_with(&verdict.because));
        let findings = kept.verdict.others.iter().chain([verdict]);
        prop_assert!(findings.flat_map(|one| &one.because).all(|at| *at < kept.evidence.len()));
        let (subject, was) = (&kept.subject, &incident.subject);
        prop_assert_eq!((subject.kind, subject.server.pid), (was.kind, was.server.pid));
        prop_assert!(was.place.starts_with(subject.place.trim_end_matches('…')));
        let left_out = subject.panes.len() < was.panes.len()
            || kept.verdict.others.len() < incident.verdict.others.len()
            || kept.evidence.len() < incident.evidence.len();
        prop_assert!(!left_out || kept.gaps.last().is_some_and(|gap| gap.why.starts_with("they were left out")));
    }
}
