//! Every step on the way to the disk fails once, and each time the store is what it was or what it should be.

use super::*;
use crate::store::carry::Whole;
use crate::store::fault::{Plan, Step};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A text that makes two objects at the least.
fn text(of: &str) -> String {
    (0..1500).map(|line| format!("{of}: line {line}\n")).collect()
}

/// Saves one session with this text.
fn save(writer: &Writer, name: &str) -> Result<(Generation, Snapshot), StoreError> {
    let mut snapshot = sample::snapshot(sample::server(1, &[name]));
    for pane in snapshot.server.panes_mut() {
        pane.scrollback = writer.put_text(text(name).as_bytes())?;
    }
    Ok((writer.save(&snapshot)?, snapshot))
}

/// A store in format 1 with a pinned generation, one that no rule keeps, and the newest.
struct Before {
    dir: TempDir,
    newest: Snapshot,
    export: Vec<u8>,
}

impl Before {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::open(dir.path()).unwrap();
        save(&writer, "pinned").unwrap();
        writer.pin(1, "do not lose it").unwrap();
        save(&writer, "goes").unwrap();
        let newest = save(&writer, "newest").unwrap().1;
        writer.pin(2, "").unwrap();
        writer.store().numbers().unwrap();
        fs::rename(dir.path().join("pins/00000002"), dir.path().join("pins/00000777")).unwrap();
        fs::write(dir.path().join("format"), "1\n").unwrap();
        let other = tempfile::tempdir().unwrap();
        let elsewhere = Writer::open(other.path()).unwrap();
        save(&elsewhere, "imported").unwrap();
        let mut export = Vec::new();
        elsewhere.store().export(1, &mut export).unwrap();
        Self { dir, newest, export }
    }

    /// Returns a copy, and all objects in it are old.
    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for (path, bytes) in everything_in(self.dir.path()) {
            let path = copy.path().join(path.strip_prefix(self.dir.path()).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        make_old(&Store::open(copy.path()));
        copy
    }
}

fn import(writer: &Writer, export: &[u8]) -> Option<Generation> {
    let whole = Whole::check(io::Cursor::new(export)).unwrap();
    writer.import(whole).ok().map(|imported| imported.generation)
}

/// What a day's work came to; what failed is none.
#[derive(Default)]
struct Done {
    saved: Option<Generation>,
    pinned: bool,
    imported: Option<Generation>,
    removed: bool,
}

/// Everything that a keeper does to its store; it goes on after an error, as a keeper does.
fn work(dir: &Path, export: &[u8]) -> Done {
    let mut done = Done::default();
    let Ok(writer) = Writer::open(dir) else { return done };
    done.saved = save(&writer, "saved").ok().map(|(generation, _)| generation);
    done.pinned = writer.pin(3, "the last good one").is_ok();
    let _ = writer.prune(&LITTLE);
    let _ = writer.unpin(1);
    done.imported = import(&writer, export);
    done.removed = done.imported.is_some_and(|generation| writer.remove(&[generation]).is_ok());
    // It is gone, or may be.
    done.imported = None;
    if done.removed {
        done.imported = import(&writer, export);
    }
    done
}

#[track_caller]
fn assert_old_or_new(dir: &Path, before: &Before, done: &Done, why: &str) {
    let store = Store::open(dir);
    let found = store.verify(None).unwrap();
    assert_eq!(found.problems, [], "{why}");
    let (generation, newest) = store.newest().unwrap().good.unwrap();
    let name = newest.server.sessions[0].name.as_str();
    match done.saved {
        Some(saved) => assert_eq!((generation, name), (saved, "saved"), "{why}"),
        None => assert!(newest == before.newest || name == "saved", "{why}: {name}"),
    }
    for snapshot in store.entries().unwrap().into_iter().map(|entry| entry.content.unwrap()) {
        let name = &snapshot.server.sessions[0].name;
        let scrollback = &snapshot.server.sessions[0].windows[0].panes[0].scrollback;
        assert_eq!(store.text(scrollback).0, text(name).as_bytes(), "{why}");
    }
    let numbers = store.numbers().unwrap();
    assert!(numbers.contains(&3) || done.saved.is_some() && !done.pinned, "{why}: {numbers:?}");
    assert!(!done.pinned || store.pins().unwrap().of(3).is_some(), "{why}");
    assert!(numbers.contains(&1), "{why}: it was pinned when all was cleaned up");
    let aside = done.imported.map(|generation| store.load(generation).unwrap().aside);
    assert!(aside.is_none_or(|aside| aside == Some(Aside::Imported)), "{why}");
}

#[test]
fn whichever_step_fails_the_old_state_or_the_new_one_is_there() {
    let before = Before::new();
    let mut met = Vec::new();
    for (errno, for_good) in [(EIO, false), (ENOSPC, false), (EIO, true)] {
        for at in 0.. {
            let copy = before.copy();
            let plan = Plan { at, errno, for_good, met: Vec::new() };
            let (done, steps) = plan.run(|| work(copy.path(), &before.export));
            if steps.len() <= at {
                assert!(done.saved.is_some() && done.pinned && done.removed && done.imported.is_some());
                break;
            }
            let why = format!("step {at}, {:?}, error {errno}, for good: {for_good}", steps[at]);
            assert_old_or_new(copy.path(), &before, &done, &why);
            let writer = Writer::open(copy.path()).unwrap();
            let highest = writer.store().numbers().unwrap().pop();
            let (next, snapshot) = save(&writer, "saved after all").unwrap();
            assert!(Some(next) > highest, "{why}");
            assert_eq!(writer.store().newest().unwrap().good, Some((next, snapshot)), "{why}");
            assert_eq!(writer.store().verify(None).unwrap().problems, [], "{why}");
            met.push(steps[at]);
        }
    }
    for step in
        [Step::MakeDir, Step::Create, Step::Write, Step::Flush, Step::Rename, Step::FlushDir, Step::Remove]
    {
        assert!(met.contains(&step), "{step:?} never failed");
    }
    assert!(met.len() > 150, "only {} steps", met.len());
}

#[test]
fn a_text_whose_directory_could_not_be_flushed_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::open(dir.path()).unwrap();
    let (id, steps) = Plan { at: usize::MAX, errno: EIO, for_good: false, met: Vec::new() }
        .run(|| writer.put(b"text").and_then(|id| writer.flush().map(|()| id)).unwrap());
    let flushes = |steps: &[Step]| steps.iter().filter(|step| **step == Step::FlushDir).count();
    assert_eq!(flushes(&steps), 2, "the shelf, and the folder of shelves");
    let (again, steps) = Plan { at: usize::MAX, errno: EIO, for_good: false, met: Vec::new() }
        .run(|| writer.put(b"text").unwrap());
    assert_eq!((again, steps.len()), (id, 0), "it is there");
    fs::remove_file(writer.store().object_path(id)).unwrap();
    writer.put(b"text").unwrap();
    let (failed, _) =
        Plan { at: 0, errno: EIO, for_good: false, met: Vec::new() }.run(|| writer.flush().unwrap_err());
    assert!(failed.to_string().starts_with("cannot flush"), "{failed}");
    let (_, steps) = Plan { at: usize::MAX, errno: EIO, for_good: false, met: Vec::new() }
        .run(|| writer.put(b"text").and_then(|_| writer.flush()).unwrap());
    assert!(steps.contains(&Step::Rename), "{steps:?}");
    assert_eq!(flushes(&steps), 1, "{steps:?}");
}

#[test]
fn a_text_that_is_put_while_it_is_swept_away_is_there_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::open(dir.path()).unwrap();
    for _ in 0..200 {
        let id = writer.put(b"wanted once more").unwrap();
        make_old(writer.store());
        let start = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                writer.prune(&LITTLE).unwrap();
            });
            start.wait();
            assert_eq!(writer.put(b"wanted once more").unwrap(), id);
        });
        writer.store().object(id).unwrap();
    }
}

#[test]
fn what_a_killed_writer_has_not_flushed_is_flushed_by_the_next_that_counts_on_it() {
    let dir = tempfile::tempdir().unwrap();
    Writer::open(dir.path()).unwrap().put(b"a text").unwrap();
    let writer = Writer::open(dir.path()).unwrap();
    let put_and_flush = || {
        writer.put(b"a text").unwrap();
        writer.flush().unwrap();
    };
    let nothing_fails = || Plan { at: usize::MAX, errno: EIO, for_good: false, met: Vec::new() };
    let ((), met) = nothing_fails().run(put_and_flush);
    assert_eq!(met, [Step::FlushDir; 2], "the shelf, and the shelves");
    let ((), met) = nothing_fails().run(put_and_flush);
    assert_eq!(met, [], "it lasts now");
}
