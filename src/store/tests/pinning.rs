//! Pins, and removing by hand.

use super::*;
use crate::store::pins::NOTE_BYTES_MAX;

fn note(store: &Store, generation: Generation) -> Option<String> {
    store.pins().unwrap().of(generation).map(|pin| pin.note.clone())
}

#[test]
fn what_is_pinned_outlives_every_clean_up() {
    let three = Three::new();
    three.writer.pin(1, "before the upgrade").unwrap();
    make_old(three.store());
    assert_eq!(three.writer.prune(&LITTLE).unwrap().0, 1);
    assert_eq!(three.store().numbers().unwrap(), [1, 3]);
    assert!(three.store().lost_texts(&three.snapshots[0]).is_empty(), "its text stays too");
    assert_eq!(note(three.store(), 1).unwrap(), "before the upgrade");
    three.writer.pin(1, "better words").unwrap();
    assert_eq!(note(three.store(), 1).unwrap(), "better words");
    assert!(three.writer.unpin(1).unwrap());
    assert!(!three.writer.unpin(1).unwrap());
    three.writer.prune(&LITTLE).unwrap();
    assert_eq!(three.store().numbers().unwrap(), [3]);
}

#[test]
fn a_pin_can_be_made_by_hand_and_nothing_in_it_frees_a_generation() {
    for (name, bytes) in [("1", &b""[..]), ("00000001", &[0xff; 2000]), ("+1", b"\x1b[31m"), ("01", b"x\n")] {
        let three = Three::new();
        fs::write(three.store().dir().join("pins").join(name), bytes).unwrap();
        three.writer.prune(&LITTLE).unwrap();
        assert_eq!(three.store().numbers().unwrap(), [1, 3], "{name}");
        assert!(three.writer.unpin(1).unwrap());
        three.writer.prune(&LITTLE).unwrap();
        assert_eq!(three.store().numbers().unwrap(), [3], "{name}");
    }
}

#[test]
fn no_damage_to_a_pin_frees_a_generation() {
    let three = Three::new();
    three.writer.pin(1, "note").unwrap();
    let path = three.store().dir().join("pins/00000001");
    let whole = fs::read(&path).unwrap();
    let cut = (0..whole.len()).map(|length| (String::new(), whole[..length].to_vec()));
    for (why, damaged) in cut.chain(flips(&whole)) {
        overwrite(&path, &damaged);
        assert!(note(three.store(), 1).is_some(), "{why}");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    three.writer.prune(&LITTLE).unwrap();
    assert_eq!(three.store().numbers().unwrap(), [1, 3], "a directory");
}

#[test]
fn while_pins_cannot_be_read_nothing_is_removed() {
    let three = Three::new();
    let pins = three.store().dir().join("pins");
    fs::remove_dir(&pins).unwrap();
    fs::write(&pins, "a file").unwrap();
    assert!(three.writer.prune(&LITTLE).is_err());
    assert!(three.writer.remove(&[1]).is_err());
    assert_eq!(three.store().numbers().unwrap(), [1, 2, 3]);
}

#[test]
fn a_pin_goes_with_the_clean_up_after_its_generation_and_not_before() {
    let three = Three::new();
    three.writer.pin(2, "").unwrap();
    let aside = three.store().dir().join("kept.json.zst");
    fs::rename(three.path(2), &aside).unwrap();
    let stranger = three.store().generations_dir().join("2.json.zst");
    fs::copy(&aside, &stranger).unwrap();
    three.writer.prune(&LITTLE).unwrap();
    assert!(note(three.store(), 2).is_some(), "it may only have another name");
    fs::remove_file(stranger).unwrap();
    three.writer.prune(&LITTLE).unwrap();
    assert_eq!(note(three.store(), 2), None);
}

#[test]
fn only_what_is_there_and_can_be_read_is_pinned() {
    let three = Three::new();
    assert!(matches!(three.writer.pin(9, ""), Err(StoreError::NoGeneration { generation: 9, .. })));
    overwrite(&three.path(2), b"x");
    assert!(matches!(three.writer.pin(2, ""), Err(StoreError::Flaw { .. })));
    three.writer.pin(3, &"ü".repeat(NOTE_BYTES_MAX)).unwrap();
    assert_eq!(note(three.store(), 3).unwrap(), "ü".repeat(NOTE_BYTES_MAX / 2));
}

#[test]
fn all_that_are_named_are_removed_or_none() {
    let three = Three::new();
    three.writer.pin(2, "").unwrap();
    let refused = |generations: &[Generation]| match three.writer.remove(generations).unwrap_err() {
        StoreError::Kept { generation, why } => (generation, why),
        other => panic!("{other}"),
    };
    assert_eq!(refused(&[1, 3]), (3, Kept::Newest));
    assert_eq!(refused(&[1, 2]), (2, Kept::Pinned));
    assert!(matches!(three.writer.remove(&[1, 8]), Err(StoreError::NoGeneration { generation: 8, .. })));
    assert_eq!(three.store().numbers().unwrap(), [1, 2, 3]);
    three.writer.unpin(2).unwrap();
    three.writer.remove(&[1, 2]).unwrap();
    assert_eq!(three.store().numbers().unwrap(), [3]);
}

#[test]
fn what_says_that_all_was_closed_stays_with_what_was_closed() {
    let three = Three::new();
    let empty = sample::snapshot(sample::server(1, &[]));
    let closed = Snapshot { closed: Some(Closed::Server), reason: Reason::Closed, ..empty };
    three.writer.save(&closed).unwrap();
    for generation in [3, 4] {
        let refused = three.writer.remove(&[generation]).unwrap_err();
        assert!(matches!(refused, StoreError::Kept { why: Kept::Newest, .. }), "{refused}");
    }
}

#[test]
fn damaged_ones_can_be_removed_by_hand_and_those_of_a_newer_keeper_cannot() {
    let three = Three::new();
    overwrite(&three.path(1), b"x");
    three.writer.remove(&[1]).unwrap();
    overwrite(&three.path(2), &file_in_format(FORMAT + 1, "[]"));
    let refused = three.writer.remove(&[2]).unwrap_err();
    assert!(matches!(refused, StoreError::Kept { generation: 2, why: Kept::Newer }), "{refused}");
}

#[test]
fn no_number_is_given_twice() {
    let three = Three::new();
    let beside = Snapshot { aside: Some(Aside::Imported), ..three.snapshots[0].clone() };
    assert_eq!(three.writer.save(&beside).unwrap(), 4);
    three.writer.remove(&[4]).unwrap();
    assert_eq!(three.writer.save(&beside).unwrap(), 5);
    three.writer.remove(&[5]).unwrap();
    let dir = three.store().dir().to_owned();
    let Three { _dir, writer, snapshots } = three;
    drop(writer);
    assert_eq!(Writer::open(dir).unwrap().save(&snapshots[0]).unwrap(), 6);
}

#[test]
fn what_is_being_restored_stays_with_its_texts() {
    let three = Three::new();
    assert_eq!(three.writer.protect(1).unwrap(), three.snapshots[0]);
    make_old(three.store());
    let refused = three.writer.remove(&[2, 1]).unwrap_err();
    assert!(matches!(refused, StoreError::Kept { generation: 1, why: Kept::Restoring }), "{refused}");
    three.writer.prune(&LITTLE).unwrap();
    assert_eq!(three.store().numbers().unwrap(), [1, 3]);
    assert!(three.store().lost_texts(&three.snapshots[0]).is_empty());
    assert!(matches!(three.writer.protect(2), Err(StoreError::NoGeneration { .. })));
}

#[test]
fn who_pins_again_without_a_note_keeps_the_note() {
    let three = Three::new();
    let note = || three.store().pins().unwrap().of(1).map(|pin| pin.note.clone());
    for (said, kept) in [("first", "first"), ("", "first"), ("second", "second")] {
        three.writer.pin(1, said).unwrap();
        assert_eq!(note().as_deref(), Some(kept));
    }
}
