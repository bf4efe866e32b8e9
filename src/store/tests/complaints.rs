//! The worst that was said about tools of this kind, by its number in the list that this project started from.

use super::*;

use std::os::unix::fs::MetadataExt;

use crate::store::fault::Plan;

/// "The good save is silently destroyed by an empty or partial one."
#[test]
fn complaint_1_a_good_save_is_never_replaced_by_an_empty_or_partial_one() {
    let three = Three::new();
    let identity = |path: &Path| (content(path), fs::metadata(path).unwrap().ino());
    let good = identity(&three.path(3));
    let assert_good = |why: &str| {
        assert_eq!(three.store().newest().unwrap().good, Some((3, three.snapshots[2].clone())), "{why}");
        assert_eq!(identity(&three.path(3)), good, "{why}");
        let texts = three.store().lost_texts(&three.snapshots[2]);
        assert!(texts.is_empty(), "{why}");
    };
    // A server that has just started and has no session yet.
    let empty = sample::snapshot(sample::server(2, &[]));
    three.writer.save(&empty).unwrap();
    assert_good("empty");
    // One session of many, and nobody closed the others.
    let shrunk = Snapshot { aside: Some(Aside::Shrunk), ..three.snapshots[0].clone() };
    three.writer.save(&shrunk).unwrap();
    assert_good("shrunk");
    // A restore that is not at its end.
    let half = Snapshot { aside: Some(Aside::Restoring), ..three.snapshots[1].clone() };
    three.writer.save(&half).unwrap();
    assert_good("half restored");
    // A write that ends in the middle, wherever that is: on a full disk, and in a process that is killed.
    for (at, for_good) in (0..3).flat_map(|at| [(at, false), (at, true)]) {
        let plan = Plan { at, errno: 28, for_good, met: Vec::new() };
        plan.run(|| three.writer.save(&three.snapshots[0]).unwrap_err());
        assert_good("cut off");
    }
    for _ in 0..100 {
        three.writer.save(&shrunk).unwrap();
        three.writer.save(&empty).unwrap();
    }
    make_old(three.store());
    three.writer.prune(&Retention::default()).unwrap();
    assert_good("cleaned up");
}

/// "After power loss it cannot even start": the newest file has no bytes, or zeros, or ends in the middle.
#[test]
fn complaint_12_after_a_power_cut_the_next_older_state_is_used_and_the_start_works() {
    let whole = fs::read(Three::new().path(3)).unwrap();
    let damages: [&[u8]; 4] = [b"", &[0; 4096], &whole[..whole.len() / 2], &whole[..whole.len() - 1]];
    for damage in damages {
        let three = Three::new();
        let dir = three.store().dir().to_owned();
        overwrite(&three.path(3), damage);
        three.writer.pin(1, "").unwrap();
        // Whatever else was written last may be empty too.
        for file in ["format", "lock", "pins/00000001"] {
            let zeros = vec![0; damage.len().min(2)];
            fs::write(dir.join(file), zeros).unwrap();
        }
        fs::write(dir.join("last"), b"").unwrap();
        let Three { _dir, writer, snapshots } = three;
        drop(writer);
        let newest = Store::open(&dir).newest().unwrap();
        assert_eq!(newest.good.as_ref(), Some(&(2, snapshots[1].clone())));
        assert_eq!(newest.passed_over.len(), 1);
        let writer = Writer::open(&dir).unwrap();
        assert_eq!(writer.store().check_format().unwrap(), Some(FORMAT));
        assert!(writer.store().pins().unwrap().of(1).is_some());
        assert_eq!(writer.save(&snapshots[2]).unwrap(), 4, "the damaged one keeps its number");
        assert_eq!(writer.store().newest().unwrap().good, Some((4, snapshots[2].clone())));
    }
}

#[test]
fn complaint_12_an_empty_text_costs_its_lines_and_nothing_else() {
    let three = Three::new();
    let objects = three.store().objects();
    objects.iter().for_each(|object| overwrite(&object.path, b""));
    let newest = three.store().newest().unwrap();
    assert_eq!(newest.good, Some((3, three.snapshots[2].clone())));
    assert_eq!(three.store().lost_texts(&three.snapshots[2]).len(), 3, "and it is said of each pane");
    assert_eq!(three.store().verify(None).unwrap().newest_whole, None);
}
