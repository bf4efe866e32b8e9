//! What an import takes and what it refuses. Whatever it refuses leaves no trace.

use super::*;

use std::io::{self, Cursor, Read};

use proptest::prelude::*;
use tempfile::TempDir;

use crate::model::{Aside, Buffer, Reason, Snapshot, sample};
use crate::store::retention::Retention;
use crate::store::tests::{make_old, object_paths};
use crate::store::{Store, Writer, format, object_id};

/// A file in the archive: its name and its content.
type Member = (String, Vec<u8>);

/// A store with one generation: two sessions with a text each, and a paste buffer.
struct Origin {
    _dir: TempDir,
    writer: Writer,
    snapshot: Snapshot,
}

impl Origin {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::open(dir.path()).unwrap();
        let mut snapshot = sample::snapshot(sample::server(1, &["web", "agents 😀"]));
        snapshot.host = "elsewhere".to_owned();
        for (pane, number) in snapshot.server.panes_mut().zip(0..) {
            pane.scrollback = writer.put_text(format!("text {number}\n").repeat(9).as_bytes()).unwrap();
            pane.start = Some(writer.put(b"an order").unwrap());
        }
        let content = writer.put(b"copied").unwrap();
        snapshot.server.buffers.push(Buffer { name: "buffer0".into(), content });
        writer.save(&snapshot).unwrap();
        Self { _dir: dir, writer, snapshot }
    }

    fn export(&self) -> Vec<u8> {
        let mut file = Vec::new();
        self.writer.store().export(1, &mut file).unwrap();
        file
    }

    /// Returns the members of the export, by name.
    fn members(&self) -> Vec<Member> {
        let plain = zstd::decode_all(&self.export()[..]).unwrap();
        let mut archive = tar::Archive::new(&plain[..]);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().to_str().unwrap().to_owned(), bytes)
        });
        entries.collect()
    }
}

/// Packs members as an export would.
fn pack(members: &[Member]) -> Vec<u8> {
    pack_as(members, tar::EntryType::Regular)
}

/// Packs them, the last one as something else.
fn pack_as(members: &[Member], last: tar::EntryType) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (at, (name, bytes)) in members.iter().enumerate() {
        let mut header = tar::Header::new_gnu();
        // Written into the header as it is: the crate refuses to make names like ../x.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        if at + 1 == members.len() {
            header.set_entry_type(last);
            if last.is_symlink() || last.is_hard_link() {
                header.set_link_name("/etc/passwd").unwrap();
            }
        }
        header.set_cksum();
        archive.append(&header, &bytes[..]).unwrap();
    }
    zstd::encode_all(&archive.into_inner().unwrap()[..], 3).unwrap()
}

fn import(file: &[u8]) -> (Result<Imported, CarryError>, TempDir, Writer) {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::open(dir.path()).unwrap();
    (Whole::check(Cursor::new(file)).and_then(|whole| writer.import(whole)), dir, writer)
}

/// Checks that a file is refused, with these words, and that nothing is in the store then.
#[track_caller]
fn assert_refused(file: &[u8], said: &str) {
    let (result, _dir, writer) = import(file);
    let error = crate::cause::in_words(result.unwrap_err());
    assert!(error.contains(said), "{error}");
    assert_eq!(writer.store().numbers().unwrap(), [0; 0], "{error}");
    assert!(writer.store().objects().is_empty(), "{error}");
}

#[test]
fn a_generation_comes_over_with_all_its_texts_and_stands_aside() {
    let origin = Origin::new();
    let (imported, _dir, writer) = import(&origin.export());
    let Imported { generation, snapshot } = imported.unwrap();
    let mut expected = origin.snapshot.clone();
    expected.reason = Reason::Imported;
    expected.aside = Some(Aside::Imported);
    expected.server.panes_mut().for_each(|pane| pane.start = None);
    assert_eq!((generation, &snapshot), (1, &expected));
    assert_eq!(writer.store().load(1).unwrap(), expected);
    for (pane, number) in expected.server.panes_mut().zip(0..) {
        let text = format!("text {number}\n").repeat(9);
        assert_eq!(writer.store().text(&pane.scrollback).0, text.as_bytes());
    }
    assert_eq!(writer.store().object(expected.server.buffers[0].content).unwrap(), b"copied");
    assert!(writer.store().newest().unwrap().good.is_none(), "no restore starts from it");
    assert_eq!(writer.store().verify(None).unwrap().problems, []);
    // Once more is another generation, and no second copy of its texts.
    let objects = writer.store().objects().len();
    assert_eq!(writer.import(Whole::check(Cursor::new(origin.export())).unwrap()).unwrap().generation, 2);
    assert_eq!(writer.store().objects().len(), objects);
}

#[test]
fn the_file_is_what_the_specification_says() {
    let members = Origin::new().members();
    assert_eq!(members[0], (HEAD_NAME.to_owned(), b"agent-keeper export 1\nobjects 3\n".to_vec()));
    assert_eq!(members[1].0, "generation.json");
    assert!(members[1].1.starts_with(b"agent-keeper generation 2 "));
    assert_eq!(members.len(), 5);
    assert!(members[2..].iter().all(|(name, bytes)| *name == format!("objects/{}", object_id(bytes))));
    assert_eq!(import(&pack(&members)).0.unwrap().generation, 1, "anybody may pack it");
}

#[test]
fn what_was_lost_before_is_said_and_the_rest_comes_over() {
    let origin = Origin::new();
    let lost = origin.snapshot.server.sessions[0].windows[0].panes[0].scrollback.chunks[0];
    std::fs::write(origin.writer.store().object_path(lost), "x").unwrap();
    let mut file = Vec::new();
    let exported = origin.writer.store().export(1, &mut file).unwrap();
    assert_eq!((exported.objects, exported.lost.len()), (2, 1));
    assert_eq!(exported.lost[0].place, "web:0.0");
    let (imported, _dir, writer) = import(&file);
    let lost = writer.store().lost_texts(&imported.unwrap().snapshot);
    assert_eq!(lost.iter().map(|lost| lost.place.as_str()).collect::<Vec<_>>(), ["web:0.0"]);
}

#[test]
fn what_is_not_a_whole_export_is_refused() {
    let origin = Origin::new();
    let members = origin.members();
    let with = |change: &dyn Fn(&mut Vec<Member>)| {
        let mut members = members.clone();
        change(&mut members);
        pack(&members)
    };
    let head = |text: &str| (HEAD_NAME.to_owned(), text.as_bytes().to_vec());
    let stranger = || (format!("objects/{}", object_id(b"stranger")), b"stranger".to_vec());
    let newer = {
        let sum = object_id(b"[]");
        format!("agent-keeper generation {} {sum}\n[]\n", FORMAT + 1).into_bytes()
    };
    let cases: [(Vec<u8>, &str); 17] = [
        (Vec::new(), "not a whole export"),
        (b"hello".to_vec(), "not a whole export"),
        (zstd::encode_all(&b"hello"[..], 3).unwrap(), "not a whole export"),
        (pack(&[]), "agent-keeper-export is missing"),
        (with(&|m| m.swap(0, 1)), "agent-keeper-export is missing"),
        (with(&|m| m.swap(1, 2)), "generation.json is missing"),
        (with(&|m| m[0] = head("agent-keeper export 2\nobjects 3\n")), "newer agent-keeper"),
        (with(&|m| m[0] = head("agent-keeper export 1\n")), "\"objects\" and a number"),
        (with(&|m| m[0] = head("something else\nobjects 3\n")), "\"agent-keeper export\" and a number"),
        (with(&|m| m[0].1 = vec![b' '; HEAD_BYTES_MAX as usize + 1]), "larger than it can be"),
        (with(&|m| m[1].1 = newer.clone()), "in format 3, written by a newer agent-keeper"),
        (with(&|m| m[1].1[80] ^= 1), "the checksum does not match"),
        (with(&|m| m[2].1[0] ^= 1), "is not what its name says"),
        (with(&|m| m[2] = stranger()), "belongs to nothing in it"),
        (with(&|m| m[3] = m[2].clone()), "belongs to nothing in it"),
        (with(&|m| m.truncate(4)), "an object is missing"),
        (with(&|m| m.push(stranger())), "larger than it can be"),
    ];
    for (file, said) in cases {
        assert_refused(&file, said);
    }
    assert_refused(&[origin.export(), b"more".to_vec()].concat(), "not a whole export");
    let more = zstd::encode_all(&b"more"[..], 3).unwrap();
    assert_refused(&[origin.export(), more].concat(), "something behind its end");
}

#[test]
fn names_that_lead_elsewhere_and_what_is_no_plain_file_are_refused() {
    let members = Origin::new().members();
    let id = members[2].0.strip_prefix("objects/").unwrap().to_owned();
    for name in [
        format!("../{id}"),
        format!("/objects/{id}"),
        format!("objects/../objects/{id}"),
        format!("./objects/{id}"),
        format!("objects/{}", id.to_uppercase()),
        "objects/".to_owned(),
        String::new(),
    ] {
        let mut members = members.clone();
        members[2].0 = name;
        assert_refused(&pack(&members), "is not what its name says");
    }
    use tar::EntryType as T;
    for kind in [
        T::Symlink,
        T::Link,
        T::Char,
        T::Block,
        T::Fifo,
        T::Directory,
        T::GNUSparse,
        T::GNULongName,
        T::XHeader,
        T::XGlobalHeader,
    ] {
        for length in 1..=3 {
            assert_refused(&pack_as(&members[..length], kind), "is no plain file");
        }
    }
}

#[test]
fn a_file_that_says_to_be_huge_is_refused_before_it_is_unpacked() {
    let members = Origin::new().members();
    let plain = zstd::decode_all(&pack(&members[..2])[..]).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_path(&members[2].0).unwrap();
    header.set_size(OBJECT_BYTES_MAX + 1);
    header.set_cksum();
    // Without the end of the archive, with the announcement of a giant and some of its zeros.
    let body = &plain[..plain.len() - 1024];
    let bomb = [body, header.as_bytes(), &vec![0; 1 << 20]].concat();
    assert_refused(&zstd::encode_all(&bomb[..], 3).unwrap(), "larger than it can be");
}

#[test]
fn a_small_file_that_names_a_text_over_and_over_is_refused() {
    let origin = Origin::new();
    let chunk = vec![b'x'; CHUNK_BYTES_MAX];
    let id = object_id(&chunk);
    let with = |times: usize, objects: &[&[u8]]| {
        let mut snapshot = origin.snapshot.clone();
        snapshot.server.buffers.clear();
        let mut panes = snapshot.server.panes_mut();
        panes.next().unwrap().scrollback.chunks = vec![id; times];
        panes.for_each(|pane| pane.scrollback.chunks.clear());
        let lines = format::decompress(&format::render(&snapshot).unwrap()).unwrap();
        let head = format!("agent-keeper export 1\nobjects {}\n", objects.len()).into_bytes();
        let mut members = vec![(HEAD_NAME.to_owned(), head), (GENERATION_NAME.to_owned(), lines)];
        members.extend(objects.iter().map(|bytes| (format!("objects/{}", object_id(bytes)), bytes.to_vec())));
        pack(&members)
    };
    let most = TEXT_BYTES_MAX as usize / chunk.len();
    assert!(import(&with(most, &[&chunk])).0.is_ok());
    assert_refused(&with(most + 1, &[&chunk]), "more than 1073741824 bytes of text");
    assert_refused(&with(200_000, &[]), "a text of 200000 pieces");
}

/// Removes the texts of a store as soon as anything is written.
struct Removing<'a>(&'a Store);

impl io::Write for Removing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        object_paths(self.0).iter().for_each(|path| std::fs::remove_file(path).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_clean_up_while_an_export_is_written_does_not_matter() {
    let origin = Origin::new();
    let mut snapshot = origin.snapshot.clone();
    // So much that nothing compresses that the first is written before the last is packed.
    for seed in 1..=4u64 {
        let mut state = seed;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        });
        let content = origin.writer.put(&noise.take(512 * 1024).collect::<Vec<u8>>()).unwrap();
        snapshot.server.buffers.push(Buffer { name: format!("noise{seed}").as_str().into(), content });
    }
    let generation = origin.writer.save(&snapshot).unwrap();
    let exported = origin.writer.store().export(generation, Removing(origin.writer.store())).unwrap();
    assert_eq!((exported.objects, exported.lost.len()), (7, 0));
    assert!(object_paths(origin.writer.store()).is_empty());
}

#[test]
fn no_clean_up_takes_what_an_import_has_put_before_its_generation_is_there() {
    let origin = Origin::new();
    let store = origin.writer.store();
    origin.writer.put(b"of the next generation").unwrap();
    make_old(store);
    let before = object_paths(store).len();
    let all = || origin.writer.prune(&Retention::default()).unwrap().1;
    assert_eq!(origin.writer.bring(all), 0);
    assert_eq!(object_paths(store).len(), before);
    assert_eq!(all(), 1);
}

#[test]
fn a_state_that_no_server_can_have_is_refused() {
    let origin = Origin::new();
    let with = |change: &dyn Fn(&mut Snapshot)| {
        let mut snapshot = origin.snapshot.clone();
        change(&mut snapshot);
        let lines = format::decompress(&format::render(&snapshot).unwrap()).unwrap();
        let head = b"agent-keeper export 1\nobjects 0\n".to_vec();
        pack(&[(HEAD_NAME.to_owned(), head), (GENERATION_NAME.to_owned(), lines)])
    };
    assert!(import(&with(&|_| {})).0.is_ok());
    let cases: [(Vec<u8>, &str); 11] = [
        (with(&|s| s.server.sessions.clear()), "holds no session"),
        (with(&|s| s.server.sessions[1].name = "web".to_owned()), "is called \"web\""),
        (with(&|s| s.server.sessions[1].name.clear()), "is called \"\""),
        (with(&|s| s.server.sessions[0].windows.clear()), "has no current window"),
        (with(&|s| s.server.sessions[0].active_window = 7), "has no current window"),
        (with(&|s| s.server.sessions[0].last_window = Some(7)), "has no last window"),
        (with(&|s| s.server.sessions[0].windows[0].index = u32::MAX), "a window 4294967295, which it cannot"),
        (with(&|s| s.server.sessions[0].windows[0].panes.clear()), "has no current pane"),
        (with(&|s| s.server.sessions[0].windows[0].active_pane = 1), "has no current pane"),
        (with(&|s| s.server.sessions[0].windows[0].last_pane = Some(9)), "has no current pane"),
        (with(&|s| s.server.sessions[0].windows[0].width = 0), "has no size"),
    ];
    for (file, said) in cases {
        assert_refused(&file, said);
    }
}

#[test]
fn an_export_cut_off_anywhere_is_refused() {
    let whole = Origin::new().export();
    for length in 0..whole.len() {
        assert!(import::read(&whole[..length], |_| Ok(())).is_err(), "{length} bytes");
    }
}

#[test]
fn no_bit_of_an_export_can_change_without_notice() {
    let origin = Origin::new();
    let whole = origin.export();
    let expected = import::read(&whole[..], |_| Ok(())).unwrap();
    for bit in 0..8 * whole.len() {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(read) = import::read(&flipped[..], |_| Ok(())) {
            assert_eq!(read, expected, "bit {bit}");
        }
    }
}

#[test]
fn a_reader_that_fails_is_an_error() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    assert!(import::read(Broken, |_| Ok(())).is_err());
    assert!(Store::open("/nonexistent").export(1, io::sink()).is_err());
}

proptest! {
    #[test]
    fn whatever_a_file_holds_it_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(import::read(&bytes[..], |_| Ok(())).is_err());
        let packed = zstd::encode_all(&bytes[..], 1).unwrap();
        prop_assert!(import::read(&packed[..], |_| Ok(())).is_err());
    }

}

proptest! {
    // Each case makes a store, and waits for the disk.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_damaged_archive_is_read_as_it_was_or_not_at_all(
        at in any::<prop::sample::Index>(),
        with in prop::collection::vec(any::<u8>(), 1..600),
    ) {
        let origin = Origin::new();
        let expected = import::read(&origin.export()[..], |_| Ok(())).unwrap();
        let mut plain = zstd::decode_all(&origin.export()[..]).unwrap();
        let at = at.index(plain.len());
        let end = (at + with.len()).min(plain.len());
        plain.splice(at..end, with);
        let packed = zstd::encode_all(&plain[..], 1).unwrap();
        if let Ok(read) = import::read(&packed[..], |_| Ok(())) {
            prop_assert_eq!(read, expected);
        }
    }
}
