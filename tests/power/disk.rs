//! A disk with a write cache that forgets when its power is cut.
//!
//! For the kernel it is an ordinary disk: a loop device over a file that this process serves by FUSE. What is
//! written goes into a cache; a flush, which is what fsync(2) ends in, makes it last. A cut is a picture of the
//! disk at one moment with everything that was flushed, and of the rest as much as the disk happened to get
//! done, in any order. That is what a disk may do and more than one that only stops does (dm-flakey).

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyWrite, Request, WriteFlags,
};
use jiff::Timestamp;

use crate::LONG;
use crate::chance::Chance;

/// What a disk writes whole or not at all, in bytes; also the block size of the file system.
const SECTOR: usize = 4096;

/// The size of the disk in bytes.
const SIZE: u64 = 192 * 1024 * 1024;

type Sector = Arc<[u8; SECTOR]>;

/// What the disk holds. A sector that is missing is full of zeros.
#[derive(Debug, Default)]
struct Content {
    /// What it answers when it is read.
    seen: HashMap<u64, Sector>,
    /// What lasts.
    flushed: HashMap<u64, Sector>,
    /// What was written since the last flush, in that order.
    cache: Vec<(u64, Sector)>,
    /// The cut that comes after so many more sectors were written.
    armed: Option<Armed>,
}

#[derive(Debug)]
struct Armed {
    sectors: u64,
    fate: Fate,
    chance: Chance,
    done: mpsc::Sender<Cut>,
}

impl Content {
    fn read(&self, offset: u64, size: usize) -> Vec<u8> {
        let size = size.min(usize::try_from(SIZE.saturating_sub(offset)).unwrap_or(usize::MAX));
        let mut bytes = vec![0; size];
        for (sector, within, part) in parts(offset, size) {
            if let Some(found) = self.seen.get(&sector) {
                let length = part.len();
                bytes[part].copy_from_slice(&found[within..within + length]);
            }
        }
        bytes
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (sector, within, part) in parts(offset, bytes.len()) {
            let mut whole = self.seen.get(&sector).map_or([0; SECTOR], |found| **found);
            whole[within..within + part.len()].copy_from_slice(&bytes[part]);
            let whole = Arc::new(whole);
            self.seen.insert(sector, whole.clone());
            self.cache.push((sector, whole));
            self.count_down();
        }
    }

    fn count_down(&mut self) {
        if let Some(armed) = &mut self.armed {
            armed.sectors = armed.sectors.saturating_sub(1);
        }
        if let Some(mut armed) = self.armed.take_if(|armed| armed.sectors == 0) {
            // Whoever waits may have given up.
            let _ = armed.done.send(self.cut(armed.fate, &mut armed.chance));
        }
    }

    fn cut(&self, fate: Fate, chance: &mut Chance) -> Cut {
        let at = Timestamp::now();
        let mut content = self.flushed.clone();
        let mut lost = 0;
        for (sector, bytes) in &self.cache {
            let kept = match fate {
                Fate::Lost => false,
                Fate::Kept => true,
                Fate::Torn => chance.below(2) == 0,
            };
            if kept {
                content.insert(*sector, bytes.clone());
            } else {
                lost += 1;
            }
        }
        Cut { at, unflushed: self.cache.len(), lost, content }
    }

    fn flush(&mut self) {
        self.flushed.extend(self.cache.drain(..));
    }
}

/// Cuts a range into sectors: which one, where in it, and which part of the range.
fn parts(offset: u64, size: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = usize::try_from(at % SECTOR as u64).unwrap_or_default();
        let length = (SECTOR - within).min(size - done);
        let part = done..done + length;
        done += length;
        (length > 0).then_some((at / SECTOR as u64, within, part))
    })
}

/// What becomes of that which was written and not flushed.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    /// The disk had done nothing of it.
    Lost,
    /// It had done all of it.
    Kept,
    /// It had done some of it, which is decided for each sector.
    Torn,
}

/// A disk at the moment of a power cut.
#[derive(Debug)]
pub struct Cut {
    /// When the power went.
    pub at: Timestamp,
    /// How many sectors were not flushed, and how many of them were lost.
    pub unflushed: usize,
    pub lost: usize,
    content: HashMap<u64, Sector>,
}

impl Cut {
    /// Writes what is left into a file.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(SIZE)?;
        for (sector, bytes) in &self.content {
            file.write_all_at(&bytes[..], sector * SECTOR as u64)?;
        }
        Ok(())
    }
}

/// The disk. It is served until this value goes.
pub struct Disk {
    content: Arc<Mutex<Content>>,
    _served: BackgroundSession,
}

impl Disk {
    /// Makes a disk with an empty ext4 and serves it in place of a file.
    pub fn serve(place: &Path) -> io::Result<Self> {
        File::create(place)?.set_len(SIZE)?;
        // As few inodes as will do: the journal and the tables are most of what is copied for each cut.
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-F", "-b", "4096", "-J", "size=8", "-E", "lazy_itable_init=1"])
            .arg(place)
            .status()?;
        if !made.success() {
            return Err(io::Error::other(format!("mkfs.ext4: {made}")));
        }
        let content = Arc::new(Mutex::new(load(&File::open(place)?)?));
        let served = fuser::spawn_mount(Served(content.clone()), place, &Config::default())?;
        Ok(Self { content, _served: served })
    }

    /// Cuts the power now, or in the middle of writing: after so many more sectors were written. The disk itself
    /// goes on, so that the next cut needs no new start.
    pub fn cut(&self, after_sectors: Option<u64>, fate: Fate, chance: &mut Chance) -> Cut {
        let Some(sectors) = after_sectors else {
            return locked(&self.content).cut(fate, chance);
        };
        let (done, cut) = mpsc::channel();
        let armed = Armed { sectors, fate, chance: Chance::new(chance.next()), done };
        locked(&self.content).armed = Some(armed);
        cut.recv_timeout(LONG).expect("nothing is written to the disk")
    }
}

fn load(file: &File) -> io::Result<Content> {
    let mut content = Content::default();
    let mut sector = [0; SECTOR];
    for number in 0..SIZE / SECTOR as u64 {
        file.read_exact_at(&mut sector, number * SECTOR as u64)?;
        if sector.iter().any(|byte| *byte != 0) {
            content.flushed.insert(number, Arc::new(sector));
        }
    }
    content.seen = content.flushed.clone();
    Ok(content)
}

fn locked(content: &Mutex<Content>) -> MutexGuard<'_, Content> {
    content.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A FUSE file system that is a single file.
struct Served(Arc<Mutex<Content>>);

impl Filesystem for Served {
    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let attributes = FileAttr {
            ino,
            size: SIZE,
            blocks: SIZE / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: FileType::RegularFile,
            perm: 0o600,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        reply.attr(&Duration::from_secs(3600), &attributes);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        reply.data(&locked(&self.0).read(offset, size as usize));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if offset + data.len() as u64 > SIZE {
            return reply.error(Errno::ENOSPC);
        }
        locked(&self.0).write(offset, data);
        reply.written(u32::try_from(data.len()).unwrap_or_default());
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Sent when the file is closed: says nothing about the disk.
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        locked(&self.0).flush();
        reply.ok();
    }
}

#[test]
fn a_cut_keeps_what_was_flushed_and_no_more() {
    let mut content = Content::default();
    content.write(10, b"flushed");
    content.flush();
    content.write(4090, b"over a border");
    assert_eq!(content.read(8, 10), b"\0\0flushed\0");
    assert_eq!(content.read(4088, 16), b"\0\0over a border\0");
    assert_eq!(content.cache.len(), 2);
    assert_eq!(&content.flushed[&0][10..17], b"flushed");
    let mut chance = Chance::new(1);
    let (lost, kept) = (content.cut(Fate::Lost, &mut chance), content.cut(Fate::Kept, &mut chance));
    assert!(!lost.content.contains_key(&1) && lost.content[&0][4090] == 0 && lost.lost == 2);
    assert_eq!((&kept.content[&1][..7], kept.lost), (&b" border"[..], 0));
    let torn: Vec<usize> = (0..40).map(|_| content.cut(Fate::Torn, &mut chance).lost).collect();
    assert!((0..3).all(|lost| torn.contains(&lost)), "{torn:?}");
}
