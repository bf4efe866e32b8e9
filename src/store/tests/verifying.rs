//! What a verification finds, whom it names, and that it changes nothing.

use super::*;
use crate::store::verify::{Hurt, Verification};

fn hurt(generation: Generation, places: &[&str]) -> Hurt {
    Hurt { generation, places: places.iter().map(ToString::to_string).collect() }
}

/// Checks that one file is named, with these generations.
#[track_caller]
fn assert_named(found: &Verification, path: &Path, hurts: &[Hurt], why: &str) {
    let paths: Vec<&Path> = found.problems.iter().map(|problem| problem.path.as_path()).collect();
    assert_eq!(paths, [path], "{why}");
    assert_eq!(found.problems[0].hurts, hurts, "{why}");
}

#[test]
fn a_whole_store_is_said_to_be_whole() {
    let three = Three::new();
    three.writer.put(b"named by nothing").unwrap();
    three.writer.pin(1, "note").unwrap();
    let found = three.store().verify(None).unwrap();
    assert_eq!(found.problems, []);
    assert_eq!((found.generations, found.objects), (3, three.store().objects().len()));
    assert_eq!((found.whole, found.newest_whole), (vec![1, 2, 3], Some(3)));
    assert!(found.bytes > 0);
    let one = three.store().verify(Some(&[2])).unwrap();
    assert_eq!((one.generations, one.newest_whole), (1, Some(2)));
    assert!(one.objects < found.objects);
    assert!(matches!(three.store().verify(Some(&[9])), Err(StoreError::NoGeneration { .. })));
    let nothing = Store::open("/nonexistent/agent-keeper").verify(None).unwrap();
    assert_eq!(nothing, Verification::default());
}

#[test]
fn a_damaged_generation_is_named_and_the_newest_whole_one_too() {
    let three = Three::new();
    let whole = fs::read(three.path(3)).unwrap();
    for length in 0..whole.len() {
        overwrite(&three.path(3), &whole[..length]);
        let found = three.store().verify(None).unwrap();
        assert_named(&found, &three.path(3), &[hurt(3, &[])], &format!("{length} bytes"));
        assert_eq!(found.newest_whole, Some(2));
    }
    overwrite(&three.path(3), &file_in_format(FORMAT + 1, "[]"));
    let found = three.store().verify(None).unwrap();
    assert_named(&found, &three.path(3), &[hurt(3, &[])], "newer");
    assert!(found.problems[0].what.contains("newer agent-keeper"));
}

#[test]
fn no_byte_of_a_text_is_damaged_without_being_named_with_its_pane() {
    let three = Three::new();
    let pane = &three.snapshots[2].server.sessions[1].windows[0].panes[0];
    let path = three.store().object_path(pane.scrollback.chunks[0]);
    let whole = fs::read(&path).unwrap();
    let cut = (0..whole.len()).map(|length| (format!("{length} bytes"), whole[..length].to_vec()));
    // One bit of each byte; that none of the others passes is tested where objects are read.
    let flipped = flips(&whole).enumerate().filter(|(n, _)| n % 8 == n / 8 % 8).map(|(_, flip)| flip);
    let mut harmless = 0;
    for (why, damaged) in cut.chain(flipped) {
        overwrite(&path, &damaged);
        let found = three.store().verify(None).unwrap();
        if found.problems.is_empty() {
            // A few bits of a zstd frame mean nothing.
            harmless += 1;
            continue;
        }
        assert_named(&found, &path, &[hurt(3, &["agents 😀:0.0"])], &why);
        assert_eq!((found.newest_whole, found.whole), (Some(2), vec![1, 2]), "{why}");
    }
    assert!(harmless < 8, "{harmless} bits do not matter");
    fs::remove_file(&path).unwrap();
    let found = three.store().verify(None).unwrap();
    assert_named(&found, &path, &[hurt(3, &["agents 😀:0.0"])], "missing");
    assert_eq!(found.problems[0].what, "missing");
    assert_eq!(three.store().newest().unwrap().good.unwrap().0, 3, "all but a text is whole, so it counts");
}

#[test]
fn a_text_that_several_share_hurts_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::open(dir.path()).unwrap();
    let mut snapshot = sample::snapshot(sample::server(1, &["a", "b"]));
    let shared = writer.put_text(b"the same\n").unwrap();
    snapshot.server.panes_mut().for_each(|pane| pane.scrollback = shared.clone());
    let content = writer.put(b"copied").unwrap();
    snapshot.server.buffers.push(crate::model::Buffer { name: "buffer0".into(), content });
    writer.save(&snapshot).unwrap();
    writer.save(&snapshot).unwrap();
    make_old(writer.store());
    writer.prune(&LITTLE).unwrap();
    writer.save(&snapshot).unwrap();
    let store = writer.store();
    assert_eq!(store.verify(None).unwrap().problems, [], "what a paste buffer names is not swept away");
    overwrite(&store.object_path(shared.chunks[0]), b"x");
    let both = [hurt(2, &["a:0.0", "b:0.0"]), hurt(3, &["a:0.0", "b:0.0"])];
    assert_named(&store.verify(None).unwrap(), &store.object_path(shared.chunks[0]), &both, "shared");
    writer.put_text(b"the same\n").unwrap();
    overwrite(&store.object_path(content), b"");
    let both = [hurt(2, &["buffer buffer0"]), hurt(3, &["buffer buffer0"])];
    assert_named(&store.verify(None).unwrap(), &store.object_path(content), &both, "buffer");
}

#[test]
fn what_belongs_to_nobody_is_looked_at_too() {
    let three = Three::new();
    let dir = three.store().dir().to_owned();
    let unnamed = three.writer.put(b"on its way").unwrap();
    overwrite(&three.store().object_path(unnamed), b"x");
    let shelf = three.store().object_path(unnamed).parent().unwrap().to_owned();
    fs::write(shelf.join("notes.txt"), "x").unwrap();
    fs::write(shelf.join(".new-Ab12"), "being written").unwrap();
    fs::write(dir.join("generations/keep this"), "x").unwrap();
    fs::write(dir.join("pins/two"), "x").unwrap();
    fs::write(dir.join("format"), "x").unwrap();
    let before = everything_in(&dir);
    let found = three.store().verify(None).unwrap();
    let mut named: Vec<PathBuf> = found.problems.iter().map(|problem| problem.path.clone()).collect();
    let mut expected = vec![
        dir.join("format"),
        dir.join("generations/keep this"),
        three.store().object_path(unnamed),
        shelf.join("notes.txt"),
        dir.join("pins/two"),
    ];
    named.sort();
    expected.sort();
    assert_eq!(named, expected);
    assert_eq!(found.newest_whole, Some(3));
    assert_eq!(everything_in(&dir), before, "nothing is changed");
}

proptest! {
    #[test]
    fn whatever_a_generation_or_a_text_holds_it_is_told_apart(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(format::parse(&bytes).is_err());
        prop_assert!(format::parse_plain(&bytes).is_err());
        let packed = format::compress(&bytes).unwrap();
        prop_assert!(format::parse(&packed).is_err());
        prop_assert_eq!(format::decompress(&packed).unwrap(), bytes);
    }

    #[test]
    fn whatever_is_sealed_is_read_without_a_panic(body in "(\\{|\\[|\"[a-z_]{0,9}\"|:|,|[0-9]{1,3}|\\}|\\]){0,40}") {
        let file = file_in_format(FORMAT, &body);
        prop_assert!(format::parse(&file).is_err());
    }

    #[test]
    fn a_damaged_generation_is_read_as_it_was_or_not_at_all(at in any::<prop::sample::Index>(), with in prop::collection::vec(any::<u8>(), 1..40)) {
        let snapshot = sample::snapshot(sample::server(1, &["a", "b"]));
        let mut file = format::render(&snapshot).unwrap();
        let at = at.index(file.len());
        let end = (at + with.len()).min(file.len());
        file.splice(at..end, with);
        if let Ok(read) = format::parse(&file) {
            prop_assert_eq!(read, snapshot);
        }
    }
}
