//! What damage, interruption and rivals do to a store: nothing that is good is lost, nothing wrong is
//! returned, and nothing that cannot be read is touched.

use super::*;

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::time::SystemTime;

use proptest::prelude::*;
use tempfile::TempDir;

use super::retention::Retention;
use super::writer::OBJECT_GRACE;
use crate::model::{Aside, Closed, Reason, sample};

mod complaints;
mod faults;
mod pinning;
mod verifying;

/// Keeps nothing that it need not keep.
const LITTLE: Retention =
    Retention { newest: 1, hourly: 0, daily: 0, weekly: 0, lives: 0, sessions: 0, aside: 0 };

/// A store with three generations, each with a session more and with other text than the one before.
struct Three {
    _dir: TempDir,
    writer: Writer,
    snapshots: Vec<Snapshot>,
}

impl Three {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::open(dir.path()).unwrap();
        let names = ["web", "agents 😀", "it's: \"x\""];
        let snapshots: Vec<Snapshot> = (1..=3).map(|count| snapshot(&writer, &names[..count])).collect();
        for (snapshot, generation) in snapshots.iter().zip(1..) {
            assert_eq!(writer.save(snapshot).unwrap(), generation);
        }
        Self { _dir: dir, writer, snapshots }
    }

    fn store(&self) -> &Store {
        self.writer.store()
    }

    fn path(&self, generation: Generation) -> PathBuf {
        self.store().generation_path(generation)
    }

    /// Returns what is found when the newest generation's file holds these bytes.
    fn newest_with(&self, bytes: &[u8]) -> Newest {
        overwrite(&self.path(3), bytes);
        self.store().newest().unwrap()
    }

    /// Checks that the second generation is found, and the third one is named with what is wrong with it.
    #[track_caller]
    fn assert_passed_over(&self, newest: &Newest, why: &str) {
        assert_eq!(newest.good.as_ref(), Some(&(2, self.snapshots[1].clone())), "{why}");
        let named: Vec<&Path> = newest.passed_over.iter().map(|entry| entry.path.as_path()).collect();
        assert_eq!(named, [self.path(3)], "{why}");
        assert!(newest.passed_over[0].content.is_err(), "{why}");
    }

    /// Saves and cleans up as hard as can be, and checks that everything else is as it was.
    #[track_caller]
    fn assert_untouched_by_others(&self, bad: &Path, why: &str) {
        let (before, objects) = (content(bad), self.object_files());
        let next = self.writer.save(&self.snapshots[0]).unwrap();
        make_old(self.store());
        assert_eq!(self.writer.prune(&LITTLE).unwrap().1, 0, "{why}: objects it may name are removed");
        assert_eq!(content(bad), before, "{why}");
        assert_eq!(self.object_files(), objects, "{why}");
        assert_eq!(self.store().newest().unwrap().good.map(|(generation, _)| generation), Some(next));
    }

    fn object_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let paths = self.store().objects().into_iter().map(|object| object.path);
        paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }
}

/// Replaces the content of a file in place. Some file systems wait for the disk when a file is emptied first,
/// and these tests do this a thousand times.
fn overwrite(path: &Path, bytes: &[u8]) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
}

/// The content of a file, or nothing for a directory.
fn content(path: &Path) -> Option<Vec<u8>> {
    assert!(path.exists(), "{} is gone", path.display());
    fs::read(path).ok()
}

/// Returns a snapshot with sessions of these names, each with a text of its own in the store.
fn snapshot(writer: &Writer, names: &[&str]) -> Snapshot {
    let mut snapshot = sample::snapshot(sample::server(1, names));
    for (pane, number) in snapshot.server.panes_mut().zip(0..) {
        let text: String =
            (0..60).map(|line| format!("{number}: line {line} of {}\n", names.len())).collect();
        pane.scrollback = writer.put_text(text.as_bytes()).unwrap();
    }
    snapshot
}

/// Gives all objects an age at which they may go.
pub(crate) fn make_old(store: &Store) {
    let long_ago = SystemTime::now() - 2 * OBJECT_GRACE;
    for path in object_paths(store) {
        File::options().append(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
}

/// Returns the files of all objects.
pub(crate) fn object_paths(store: &Store) -> Vec<PathBuf> {
    store.objects().into_iter().map(|object| object.path).collect()
}

/// Returns the bytes with one bit changed, for every bit.
fn flips(bytes: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..8 * bytes.len()).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        (format!("bit {} of byte {}", bit % 8, bit / 8), flipped)
    })
}

#[test]
fn a_name_that_format_1_keeps_is_kept_by_the_option_that_says_so() {
    let mut server = sample::server(1, &["web"]);
    for (at, automatic_rename) in [false, true].into_iter().enumerate() {
        let id = u32::try_from(at).unwrap();
        let window =
            crate::model::Window { automatic_rename, ..sample::window(id, id, vec![sample::pane(id, 0)]) };
        server.sessions[0].windows.insert(at, window);
    }
    server.sessions[0].windows.truncate(2);
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::open(dir.path()).unwrap();
    let saved = Snapshot { server, ..snapshot(&writer, &["web"]) };
    let options = |format: u32| {
        let file = file_in_format(format, &serde_json::to_string(&saved).unwrap());
        let read = format::parse(&file).unwrap();
        let windows = read.server.sessions[0].windows.iter();
        windows
            .map(|window| window.options.get("automatic-rename").map(ToString::to_string))
            .collect::<Vec<_>>()
    };
    assert_eq!(options(1), [Some("off".to_owned()), None]);
    assert_eq!(options(FORMAT), [None, None]);
}

/// A generation's file in some format, sealed as it should be.
fn file_in_format(format: u32, body: &str) -> Vec<u8> {
    let sum = object_id(body.as_bytes());
    format::compress(format!("agent-keeper generation {format} {sum}\n{body}\n").as_bytes()).unwrap()
}

#[test]
fn a_generation_cut_off_anywhere_is_passed_over() {
    let three = Three::new();
    let whole = fs::read(three.path(3)).unwrap();
    for length in 0..whole.len() {
        three.assert_passed_over(&three.newest_with(&whole[..length]), &format!("{length} bytes"));
    }
    assert_eq!(three.newest_with(&whole).good, Some((3, three.snapshots[2].clone())));
}

#[test]
fn no_bit_of_a_generation_can_change_without_notice() {
    let three = Three::new();
    let whole = fs::read(three.path(3)).unwrap();
    let mut harmless = 0;
    for (why, flipped) in flips(&whole) {
        let newest = three.newest_with(&flipped);
        if newest.passed_over.is_empty() {
            // A few bits of a zstd frame mean nothing. Then all must be as it was.
            assert_eq!(newest.good.as_ref(), Some(&(3, three.snapshots[2].clone())), "{why}");
            harmless += 1;
        } else {
            three.assert_passed_over(&newest, &why);
        }
    }
    let bits = 8 * whole.len();
    assert!(100 * harmless < bits, "{harmless} of {bits} bits do not matter");
}

#[test]
fn what_cannot_be_read_is_passed_over_named_and_left_alone() {
    let body = serde_json::to_string(&sample::snapshot(sample::server(1, &["x"]))).unwrap();
    let zeros_within = |three: &Three| {
        let mut bytes = fs::read(three.path(3)).unwrap();
        let half = bytes.len() / 2;
        bytes[half..half + 64].fill(0);
        bytes
    };
    let followed = |three: &Three| [fs::read(three.path(3)).unwrap(), b"more".to_vec()].concat();
    let unsealed = || {
        let sum = object_id(b"something else");
        format::compress(format!("agent-keeper generation 1 {sum}\n{body}\n").as_bytes()).unwrap()
    };
    type Damage<'a> = (&'a str, Box<dyn Fn(&Three) -> Vec<u8> + 'a>, &'a str);
    let cases: [Damage; 10] = [
        ("empty", Box::new(|_| Vec::new()), "damaged"),
        ("zeros", Box::new(|three| vec![0; fs::read(three.path(3)).unwrap().len()]), "damaged"),
        ("zeros within", Box::new(zeros_within), "damaged"),
        ("something behind it", Box::new(followed), "damaged"),
        ("not compressed", Box::new(|_| body.clone().into_bytes()), "damaged"),
        ("another program's", Box::new(|_| format::compress(b"hello\nworld\n").unwrap()), "damaged"),
        (
            "no checksum",
            Box::new(|_| format::compress(b"agent-keeper generation 1\n{}\n").unwrap()),
            "damaged",
        ),
        ("another's checksum", Box::new(|_| unsealed()), "damaged"),
        ("sealed, and no snapshot", Box::new(|_| file_in_format(FORMAT, "{\"x\":1}")), "damaged"),
        (
            "of a newer agent-keeper",
            Box::new(|_| file_in_format(FORMAT + 1, "[\"of the future\"]")),
            "written in format 3 by a newer agent-keeper",
        ),
    ];
    for (what, damage, said) in cases {
        let three = Three::new();
        let newest = three.newest_with(&damage(&three));
        three.assert_passed_over(&newest, what);
        let flaw = newest.passed_over[0].content.as_ref().unwrap_err().to_string();
        assert!(flaw.starts_with(said), "{what}: {flaw}");
        let error = three.store().load(3).unwrap_err().to_string();
        assert!(error.contains("00000003.json.zst"), "{error}");
        three.assert_untouched_by_others(&three.path(3), what);
    }
}

#[test]
fn a_directory_in_the_place_of_a_generation_is_passed_over() {
    let three = Three::new();
    fs::remove_file(three.path(3)).unwrap();
    fs::create_dir(three.path(3)).unwrap();
    three.assert_passed_over(&three.store().newest().unwrap(), "a directory");
    three.assert_untouched_by_others(&three.path(3), "a directory");
}

#[test]
fn a_generation_under_another_name_is_named_and_left_alone() {
    let names = [
        "3.json.zst",
        "+0000003.json.zst",
        "000000003.json.zst",
        "00000003.json.zst.bak",
        "00000003.json",
        "keep this.json.zst",
        "18446744073709551615.json.zst",
        "99999999999999999999.json.zst",
    ];
    for name in names {
        let three = Three::new();
        let renamed = three.store().generations_dir().join(name);
        fs::rename(three.path(3), &renamed).unwrap();
        let newest = three.store().newest().unwrap();
        assert_eq!(newest.good.as_ref(), Some(&(2, three.snapshots[1].clone())), "{name}");
        assert_eq!(newest.strangers, [renamed.as_path()]);
        three.assert_untouched_by_others(&renamed, name);
    }
}

#[test]
fn no_bit_of_a_text_can_change_without_notice() {
    let three = Three::new();
    for object in three.store().objects() {
        let whole = fs::read(&object.path).unwrap();
        let plain = three.store().object(object.id).unwrap();
        let cut = (0..whole.len()).map(|length| (format!("{length} bytes"), whole[..length].to_vec()));
        for (why, damaged) in cut.chain(flips(&whole)) {
            overwrite(&object.path, &damaged);
            match three.store().object(object.id) {
                Ok(found) => assert_eq!(found, plain, "{why}"),
                Err(StoreError::Flaw { path, flaw: Flaw::Damaged(_) }) => assert_eq!(path, object.path),
                Err(other) => panic!("{why}: {other}"),
            }
        }
        overwrite(&object.path, &whole);
    }
    assert_eq!(three.store().newest().unwrap().good, Some((3, three.snapshots[2].clone())));
}

#[test]
fn of_a_damaged_text_the_rest_is_shown_and_what_is_lost_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::open(dir.path()).unwrap();
    let text: String = (0..3000).map(|line| format!("line {line}\n")).collect();
    let scrollback = writer.put_text(text.as_bytes()).unwrap();
    assert!(scrollback.chunks.len() > 2);
    let lost = writer.store().object(scrollback.chunks[1]).unwrap();
    let path = writer.store().object_path(scrollback.chunks[1]);
    for damage in [&b""[..], b"x"] {
        fs::write(&path, damage).unwrap();
        let (shown, missing) = writer.store().text(&scrollback);
        assert_eq!(shown.len(), text.len() - lost.len());
        assert_eq!(missing.len(), 1);
        assert!(missing[0].to_string().contains(path.to_str().unwrap()));
        // The pane still shows it, so the next save mends it.
        assert_eq!(writer.put_text(text.as_bytes()).unwrap(), scrollback);
        assert_eq!(writer.store().text(&scrollback).0, text.as_bytes());
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(writer.store().text(&scrollback).1.len(), 1);
}

#[test]
fn only_a_state_that_was_closed_on_purpose_hides_the_one_before() {
    let three = Three::new();
    let empty = sample::snapshot(sample::server(1, &[]));
    three.writer.save(&empty).unwrap();
    assert_eq!(three.store().newest().unwrap().good, Some((3, three.snapshots[2].clone())));
    let closed = Snapshot { closed: Some(Closed::Server), reason: Reason::Closed, ..empty };
    three.writer.save(&closed).unwrap();
    assert_eq!(three.store().newest().unwrap().good, Some((5, closed)));
    assert_eq!(three.store().newest_restorable().unwrap().good, Some((3, three.snapshots[2].clone())));
    three.writer.prune(&LITTLE).unwrap();
    assert_eq!(three.store().numbers().unwrap(), [3, 5]);
}

#[test]
fn what_an_interrupted_write_leaves_behind_does_no_harm_and_goes() {
    let three = Three::new();
    let shelf = three.store().objects()[0].path.parent().unwrap().to_owned();
    let leftovers: Vec<PathBuf> = [three.store().dir(), &three.store().generations_dir(), &shelf]
        .iter()
        .map(|dir| dir.join(".new-Ab12"))
        .collect();
    let half = fs::read(three.path(3)).unwrap();
    for leftover in &leftovers {
        fs::write(leftover, &half[..half.len() / 2]).unwrap();
    }
    // The objects of a generation that was never written.
    three.writer.put(b"text of a generation that never was").unwrap();
    let newest = three.store().newest().unwrap();
    assert_eq!(newest.good, Some((3, three.snapshots[2].clone())));
    assert!(newest.passed_over.is_empty() && newest.strangers.is_empty());
    let dir = three.store().dir().to_owned();
    drop(three.writer);
    let writer = Writer::open(dir).unwrap();
    assert!(leftovers.iter().all(|leftover| !leftover.exists()));
    assert_eq!(writer.save(&three.snapshots[0]).unwrap(), 4);
}

#[test]
fn no_text_is_read_beyond_what_one_can_have() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::open(dir.path()).unwrap();
    let piece = writer.put(b"0123456789").unwrap();
    let scrollback = Scrollback { lines: 3, chunks: vec![piece; 3] };
    let (text, missing) = writer.store().text_within(&scrollback, 25);
    assert_eq!((text.len(), missing.len()), (20, 1));
    assert!(missing[0].to_string().contains("more than 25 bytes"), "{}", missing[0]);
    assert_eq!(writer.store().text_within(&scrollback, 30).0.len(), 30);
}

#[test]
fn another_writer_passes_and_a_store_of_a_newer_keeper_does_not() {
    let path = PathBuf::from("/store");
    assert!(StoreError::Locked { path: path.clone(), pid: "1".to_owned() }.may_pass());
    assert!(!StoreError::Newer { path, found: FORMAT + 1 }.may_pass());
}

#[test]
fn a_second_writer_is_refused_and_told_who_the_first_is() {
    let three = Three::new();
    let dir = three.store().dir().to_owned();
    let own_pid = std::process::id();
    assert_eq!(writer_of(&dir), Some(own_pid));
    let refused = Writer::open(&dir).unwrap_err();
    assert!(matches!(&refused, StoreError::Locked { pid, .. } if *pid == own_pid.to_string()), "{refused}");
    assert!(refused.to_string().contains(&format!("pid {own_pid}")));
    assert_eq!(Store::open(&dir).newest().unwrap().good.unwrap().0, 3, "anybody may read");
    drop(three.writer);
    assert_eq!(writer_of(&dir), None);
    Writer::open(&dir).unwrap();
}

#[test]
fn a_store_that_is_not_understood_is_read_and_not_touched() {
    let newer = format!("{}\n", FORMAT + 1);
    for (content, said) in [
        (newer.as_str(), "is in format 3, written by a newer agent-keeper"),
        ("", "is in format 3, written by a newer agent-keeper"),
        ("one", "it must hold a number"),
    ] {
        let three = Three::new();
        let dir = three.store().dir().to_owned();
        overwrite(&three.path(3), &file_in_format(FORMAT + 1, "[\"of the future\"]"));
        let snapshots = three.snapshots.clone();
        drop(three.writer);
        fs::write(dir.join("format"), content).unwrap();
        fs::write(dir.join(".new-Ab12"), "another's leftover").unwrap();
        let before = everything_in(&dir);
        let store = Store::open(&dir);
        let newest = store.newest().unwrap();
        assert_eq!(newest.good.as_ref(), Some(&(2, snapshots[1].clone())), "{content:?}");
        assert_eq!(newest.passed_over[0].content, Err(Flaw::Newer { found: FORMAT + 1 }));
        for error in [store.check_format().map(drop).unwrap_err(), Writer::open(&dir).map(drop).unwrap_err()]
        {
            assert!(error.to_string().contains(said), "{content:?}: {error}");
        }
        assert_eq!(everything_in(&dir), before);
    }
}

/// A snapshot as version 0.1.0 wrote it, in format 1.
const SNAPSHOT_OF_FORMAT_1: &str = r#"{"taken_at":"2026-11-21T14:05:00Z","reason":"changed","host":"box","boot":"b","keeper_version":"0.1.0","server":{"id":{"boot":"b","pid":7,"start_ticks":9},"version":"3.5a","socket":"/tmp/tmux-1000/default","sessions":[{"id":"$0","name":"main","created":1700000000,"directory":"/home/ann","group":null,"windows":[{"id":"@0","index":0,"name":"bash","automatic_rename":true,"width":80,"height":24,"layout":"b25d,80x24,0,0,0","zoomed":false,"panes":[{"id":"%0","index":0,"title":"box","directory":"/home/ann","program":{"kind":"shell","shell":{"exe":"/usr/bin/bash","argv":["-bash"],"directory":"/home/ann"},"job":[]},"scrollback":{"lines":0,"chunks":[]}}],"active_pane":0,"last_pane":null}],"active_window":0,"last_window":null}]}}"#;

#[test]
fn a_store_of_format_1_is_read_and_becomes_one_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    drop(Writer::open(dir.path()).unwrap());
    fs::write(dir.path().join("format"), "1\n").unwrap();
    fs::remove_dir(dir.path().join("pins")).unwrap();
    let path = dir.path().join("generations/00000001.json.zst");
    fs::write(&path, file_in_format(1, SNAPSHOT_OF_FORMAT_1)).unwrap();
    let before = fs::read(&path).unwrap();
    let store = Store::open(dir.path());
    let (generation, snapshot) = store.newest().unwrap().good.unwrap();
    assert_eq!((generation, snapshot.server.sessions[0].name.as_str()), (1, "main"));
    assert_eq!(fs::read_to_string(dir.path().join("format")).unwrap(), "1\n", "reading changes nothing");
    let writer = Writer::open(dir.path()).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("format")).unwrap(), "2\n");
    assert_eq!(fs::read(&path).unwrap(), before, "what is there stays as it is");
    assert_eq!(writer.save(&snapshot).unwrap(), 2);
    assert_eq!(store.entries().unwrap().into_iter().filter_map(|entry| entry.content.ok()).count(), 2);
}

#[test]
fn what_stands_aside_is_not_what_a_restore_starts_from() {
    for aside in [Aside::Shrunk, Aside::Restoring, Aside::Imported] {
        let three = Three::new();
        let beside = Snapshot { aside: Some(aside), ..three.snapshots[0].clone() };
        assert_eq!(three.writer.save(&beside).unwrap(), 4);
        let good = |newest: Newest| newest.good.map(|(generation, _)| generation);
        assert_eq!(good(three.store().newest().unwrap()), Some(3));
        assert_eq!(good(three.store().newest_restorable().unwrap()), Some(3));
        three.writer.prune(&LITTLE).unwrap();
        assert_eq!(three.store().numbers().unwrap(), [3, 4]);
        fs::remove_file(three.path(3)).unwrap();
        assert_eq!(good(three.store().newest().unwrap()), None);
        assert_eq!(good(three.store().newest_restorable().unwrap()), Some(4), "where there is nothing else");
    }
}

/// Every file below a directory, by path.
fn everything_in(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    found
}

#[test]
fn young_objects_stay_until_the_generation_that_names_them_can_have_come() {
    let three = Three::new();
    let id = three.writer.put(b"on its way").unwrap();
    assert_eq!(three.writer.prune(&Retention::default()).unwrap(), (0, 0));
    make_old(three.store());
    // Putting it once more makes it young again.
    three.writer.put(b"on its way").unwrap();
    assert_eq!(three.writer.prune(&Retention::default()).unwrap(), (0, 0));
    make_old(three.store());
    assert_eq!(three.writer.prune(&Retention::default()).unwrap(), (0, 1));
    assert!(three.store().object(id).is_err());
}

/// One generation: seconds since the last, which life, which texts (none for no sessions), and whether a
/// pane waits.
type Row = (i64, u32, Vec<u8>, bool);

fn save_row(writer: &Writer, second: i64, (_, life, texts, waits): &Row) {
    let names: Vec<String> = (0..texts.len()).map(|n| format!("session {n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut snapshot = sample::snapshot(sample::server(*life, &names));
    snapshot.taken_at = jiff::Timestamp::from_second(second).unwrap();
    for (pane, text) in snapshot.server.panes_mut().zip(texts) {
        let text = format!("{text}\n").repeat(40 * usize::from(*text));
        pane.scrollback = writer.put_text(text.as_bytes()).unwrap();
        pane.start = waits.then(|| writer.put(format!("order for {text}").as_bytes()).unwrap());
    }
    writer.save(&snapshot).unwrap();
}

proptest! {
    // Every case writes some dozens of files and waits for the disk.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn cleaning_up_never_removes_what_is_needed(
        rows in prop::collection::vec(
            (0i64..100_000, 0u32..3, prop::collection::vec(0u8..6, 0..3), any::<bool>()),
            1..10,
        ),
        (newest, hourly, lives) in (0usize..3, 0usize..3, 0usize..3),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::open(dir.path()).unwrap();
        let store = writer.store();
        let mut second = 0;
        for row in &rows {
            second += row.0;
            save_row(&writer, second, row);
        }
        make_old(store);
        let best = |store: &Store| store.newest_restorable().unwrap().good;
        let (best_before, last_before) = (best(store), store.numbers().unwrap().pop());
        let keep = Retention { newest, hourly, lives, ..LITTLE };
        let (removed, _) = writer.prune(&keep).unwrap();
        let left = store.entries().unwrap();
        prop_assert_eq!(removed + left.len(), rows.len());
        prop_assert!(left.len() <= 1 + newest.max(1) + hourly + lives);
        prop_assert_eq!(best(store), best_before);
        prop_assert_eq!(store.numbers().unwrap().pop(), last_before);
        let panes = left.iter().flat_map(|entry| entry.content.as_ref().unwrap().server.panes());
        let objects = panes.flat_map(|(_, _, pane)| [&pane.scrollback.chunks[..], pane.start.as_slice()].concat());
        let named: HashSet<ObjectId> = objects.collect();
        prop_assert!(named.iter().all(|id| store.object(*id).is_ok()));
        let there: HashSet<ObjectId> = store.objects().into_iter().map(|object| object.id).collect();
        prop_assert_eq!(there, named);
    }
}
