//! Hears of kills for want of memory from the control groups in which they are counted.
//!
//! `memory.events` tells its watchers of every change (inotify(7), IN_MODIFY; the kernel's kernfs sends it), also
//! those who are not root. With `OOMPolicy=continue` nothing else tells of a kill while it is news.
//!
//! A control group that is gone has taken its counters along: a file of it that is still open reads as ENODEV, and
//! pane scopes of tmux are gone the moment they have failed. But what is counted in a group is counted in all above
//! it too, and stays. So the parent of every group is followed as well; of one kill both tell, each by its own path.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::memory::{MemoryEvents, Reading};
use crate::model::evidence::{About, Fact, Limit, Sighting};

/// Where the unified hierarchy is (cgroups(7)).
pub const ROOT: &str = "/sys/fs/cgroup";

/// How many control groups are watched, parents included: some for each of very many panes. The kernel's own bound
/// is per user and shared with everything that the user runs (`fs.inotify.max_user_watches`, 8192 on small machines).
pub const WATCHES_MAX: usize = 512;

/// How many groups are remembered that were watched.
const KNOWN_MAX: usize = 4 * WATCHES_MAX;

/// How long it may take from the moment at which a limit is reached, which is counted, to the kill that follows. Both
/// send a notice, so a look can fall in between; and not every limit that is reached ends in a kill.
const KILL_AFTER_LIMIT_MAX: Duration = Duration::from_secs(10);

/// The room for notices that are read at once, in bytes. Each takes 16; ours have no names in them.
const NOTICES_BYTES: usize = 4096;

/// Watches over a changing set of control groups. Dropping it ends that.
#[derive(Debug)]
pub struct MemoryWatch {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    notices: AsyncFd<OwnedFd>,
    groups: Mutex<Groups>,
    /// Somebody who was watched is not any more, and there is something to tell.
    forgotten: Notify,
}

impl MemoryWatch {
    /// Starts to watch below a root ([`ROOT`]), at first nothing. Belongs into a tokio runtime.
    pub fn start(root: impl Into<PathBuf>, into: Sender<Sighting>) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "its successor is unsafe (tokio 1.54); an OwnedFd is all that it asks for"
        )]
        let notices = AsyncFd::new(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?)?;
        let groups = Mutex::new(Groups::below(root.into()));
        let shared = Arc::new(Shared { notices, groups, forgotten: Notify::new() });
        let task = tokio::spawn(run(shared.clone(), into));
        Ok(Self { shared, task })
    }

    /// Sets the control groups that are watched, by their paths below the root; with each goes its parent. Only what
    /// happens from now on is told. One that is gone is only forgotten here: most kernels do not tell of that.
    pub fn follow(&self, paths: impl IntoIterator<Item = String>) {
        let mut groups = self.shared.groups();
        groups.follow(self.shared.notices.get_ref(), paths);
        if !groups.last_sightings.is_empty() {
            self.shared.forgotten.notify_one();
        }
    }

    /// Returns whether a control group is watched, or was until it went, so that silence means that nothing was killed
    /// there.
    pub fn would_tell(&self, path: &str) -> bool {
        self.shared.groups().known.iter().any(|known| known == path)
    }

    #[cfg(test)]
    fn follows(&self, path: &str) -> bool {
        self.shared.groups().watched.contains_key(path)
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for notices.
    async fn notices(&self) -> io::Result<Vec<Notice>> {
        loop {
            if let Ok(notices) = self.notices.readable().await?.try_io(|fd| read_notices(fd.get_ref())) {
                return notices;
            }
        }
    }
}

async fn run(shared: Arc<Shared>, into: Sender<Sighting>) {
    loop {
        let sightings = tokio::select! {
            notices = shared.notices() => match notices {
                Ok(notices) => shared.groups().look_at(&notices, Instant::now()),
                Err(error) => {
                    warn!(%error, "cannot hear of kills for want of memory any more");
                    return;
                }
            },
            () = shared.forgotten.notified() => std::mem::take(&mut shared.groups().last_sightings),
        };
        for sighting in sightings {
            if into.send(sighting).await.is_err() {
                return;
            }
        }
    }
}

/// What is said of one watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notice {
    /// Its file has changed.
    Changed(i32),
    /// It is not there any more.
    Ended(i32),
    /// More happened than the kernel remembers: anything may have changed.
    Lost,
}

fn read_notices(fd: &OwnedFd) -> io::Result<Vec<Notice>> {
    let mut room = [MaybeUninit::uninit(); NOTICES_BYTES];
    let mut reader = Reader::new(fd, &mut room);
    let mut notices = Vec::new();
    loop {
        let event = reader.next()?;
        notices.push(match event.events() {
            mask if mask.contains(ReadFlags::QUEUE_OVERFLOW) => Notice::Lost,
            mask if mask.contains(ReadFlags::IGNORED) => Notice::Ended(event.wd()),
            _ => Notice::Changed(event.wd()),
        });
        if reader.is_buffer_empty() {
            return Ok(notices);
        }
    }
}

/// The groups that are watched, and what was last read of each.
#[derive(Debug)]
struct Groups {
    root: PathBuf,
    watched: HashMap<String, Group>,
    paths: HashMap<i32, String>,
    /// The groups that were watched last, the newest first.
    known: VecDeque<String>,
    /// What was seen in groups when they were forgotten, and is still to be told.
    last_sightings: Vec<Sighting>,
    /// What is said once, and not at every look.
    refusal_told: bool,
    bound_told: bool,
}

#[derive(Debug)]
struct Group {
    watch: i32,
    /// Which file it is: a group that is made anew under the same path has another.
    file: u64,
    seen: Reading,
    /// When it was seen that a limit had been reached, without a kill so far, and what had been read before that.
    before_limit: Option<(Instant, Reading)>,
}

impl Group {
    /// Takes note of a reading, and returns how many kills are new, and whose limit it was.
    fn compare(&mut self, seen: Reading, now: Instant) -> Option<(u64, Limit)> {
        let before = std::mem::replace(&mut self.seen, seen);
        let new = seen.since(before).whole;
        if new.oom_kill == 0 {
            if new.oom > 0 {
                self.before_limit = Some((now, before));
            }
            return None;
        }
        let recent =
            self.before_limit.take().filter(|(at, _)| now.duration_since(*at) < KILL_AFTER_LIMIT_MAX);
        let before_limit = recent.map_or(before, |(_, before)| before);
        Some((new.oom_kill, seen.since(before_limit).limit()))
    }
}

impl Groups {
    fn below(root: PathBuf) -> Self {
        let (watched, paths, last_sightings) = (HashMap::new(), HashMap::new(), Vec::new());
        let known = VecDeque::new();
        Self { root, watched, paths, known, last_sightings, refusal_told: false, bound_told: false }
    }

    fn follow(&mut self, notices: &OwnedFd, paths: impl IntoIterator<Item = String>) {
        let paths: BTreeSet<String> = paths.into_iter().filter(|path| is_below_root(path)).collect();
        let parents: BTreeSet<String> = paths.iter().filter_map(|path| parent(path)).collect();
        // Parents first: where there is no room for all, they count what happens in the others.
        let others = paths.into_iter().filter(|path| !parents.contains(path)).collect::<Vec<_>>();
        let wanted: Vec<String> = parents.into_iter().chain(others).collect();
        if wanted.len() > WATCHES_MAX && !self.bound_told {
            self.bound_told = true;
            warn!("watching the memory of {WATCHES_MAX} control groups and not of {}", wanted.len());
        }
        let wanted = &wanted[..wanted.len().min(WATCHES_MAX)];
        self.forget_all_but(wanted, notices);
        for path in wanted {
            if !self.watched.contains_key(path)
                && let Err(error) = self.watch(notices, path)
            {
                self.refused(path, &error);
            }
        }
    }

    /// Forgets what is not wanted any more, after a last look, and what is gone, or was made anew under its old name.
    fn forget_all_but(&mut self, wanted: &[String], notices: &OwnedFd) {
        let wanted: BTreeSet<&String> = wanted.iter().collect();
        for path in self.watched.keys().cloned().collect::<Vec<_>>() {
            let same = self.file(&path).ok() == self.watched.get(&path).map(|group| group.file);
            if same && wanted.contains(&path) {
                continue;
            }
            if same {
                // Perhaps it is not wanted because somebody saw before us what has died there.
                let last = self.look(&path, Instant::now());
                self.last_sightings.extend(last);
            }
            if let Some(group) = self.watched.remove(&path) {
                self.paths.remove(&group.watch);
                // One that has ended by itself is not there to be removed.
                let _ = inotify::remove_watch(notices, group.watch);
            }
        }
    }

    /// Watches a group, and only then reads what is counted already: so nothing is missed in between.
    fn watch(&mut self, notices: &OwnedFd, path: &str) -> io::Result<()> {
        let flags = WatchFlags::MODIFY | WatchFlags::DELETE_SELF;
        let file = self.file(path)?;
        let watch = inotify::add_watch(notices, self.events_file(path), flags)?;
        match self.read(path) {
            Ok(seen) => {
                self.watched.insert(path.to_owned(), Group { watch, file, seen, before_limit: None });
                self.paths.insert(watch, path.to_owned());
                self.remember(path);
                Ok(())
            }
            Err(error) => {
                let _ = inotify::remove_watch(notices, watch);
                Err(error)
            }
        }
    }

    fn remember(&mut self, path: &str) {
        if !self.known.iter().any(|known| known == path) {
            self.known.truncate(KNOWN_MAX - 1);
            self.known.push_front(path.to_owned());
        }
    }

    /// A group that has just gone is nothing to speak of.
    fn refused(&mut self, path: &str, error: &io::Error) {
        let gone = error.kind() == io::ErrorKind::NotFound && !self.directory(path).exists();
        if !gone && !self.refusal_told {
            self.refusal_told = true;
            info!(cgroup = path, %error, "cannot watch what a control group counts of memory");
        }
    }

    fn look_at(&mut self, notices: &[Notice], now: Instant) -> Vec<Sighting> {
        let mut changed = BTreeSet::new();
        for notice in notices {
            match notice {
                Notice::Changed(watch) => changed.extend(self.paths.get(watch).cloned()),
                Notice::Lost => changed.extend(self.watched.keys().cloned()),
                Notice::Ended(watch) => {
                    if let Some(path) = self.paths.remove(watch) {
                        self.watched.remove(&path);
                    }
                }
            }
        }
        changed.into_iter().filter_map(|path| self.look(&path, now)).collect()
    }

    /// Looks at one group, and tells of kills since the last look. What is gone meanwhile tells nothing: its parent
    /// does.
    fn look(&mut self, path: &str, now: Instant) -> Option<Sighting> {
        let seen = self.read(path).ok()?;
        let (kills, limit) = self.watched.get_mut(path)?.compare(seen, now)?;
        let fact = Fact::OomKill { unit: path.to_owned(), kills, own: false, limit };
        Some(Sighting { at: Timestamp::now(), about: About::Unit(path.to_owned()), fact })
    }

    /// Reads both files; the local one last, so that what the other counts is counted there too.
    fn read(&self, path: &str) -> io::Result<Reading> {
        let whole = fs::read_to_string(self.events_file(path))?;
        let whole = MemoryEvents::parse(&whole).ok_or(io::ErrorKind::InvalidData)?;
        let local = fs::read_to_string(self.directory(path).join("memory.events.local"));
        Ok(Reading { whole, local: local.ok().and_then(|text| MemoryEvents::parse(&text)) })
    }

    fn file(&self, path: &str) -> io::Result<u64> {
        fs::metadata(self.events_file(path)).map(|meta| meta.ino())
    }

    fn directory(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn events_file(&self, path: &str) -> PathBuf {
        self.directory(path).join("memory.events")
    }
}

/// Returns whether a path names a group below the root. `/proc/PID/cgroup` shows one that we cannot see as
/// `/../x` (cgroup_namespaces(7)), and the root itself counts nothing.
fn is_below_root(path: &str) -> bool {
    let mut parts = Path::new(path).components().filter(|part| *part != Component::RootDir).peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

fn parent(path: &str) -> Option<String> {
    let (parent, _) = path.trim_end_matches('/').rsplit_once('/')?;
    is_below_root(parent).then(|| parent.to_owned())
}

#[cfg(test)]
mod tests {

    use tempfile::TempDir;
    use tokio::sync::mpsc::{Receiver, channel};
    use tokio::time::timeout;

    use super::*;

    /// How long anything may take. Nothing waits for it to pass.
    const DEADLINE: Duration = Duration::from_secs(60);

    struct Lab {
        root: TempDir,
        watch: MemoryWatch,
        told: Receiver<Sighting>,
    }

    impl Lab {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let (into, told) = channel(1);
            let watch = MemoryWatch::start(root.path(), into).unwrap();
            Self { root, watch, told }
        }

        fn write(&self, path: &str, file: &str, oom: u64, oom_kill: u64) {
            let text = format!("low 0\nhigh 0\nmax 9\noom {oom}\noom_kill {oom_kill}\noom_group_kill 0\n");
            fs::write(self.dir(path).join(file), text).unwrap();
        }

        fn dir(&self, path: &str) -> PathBuf {
            self.root.path().join(path.trim_start_matches('/'))
        }

        /// Makes a group in which nothing was killed so far.
        fn make(&self, path: &str) {
            fs::create_dir_all(self.dir(path)).unwrap();
            self.write(path, "memory.events.local", 0, 0);
            self.write(path, "memory.events", 0, 0);
        }

        /// Counts a kill at the own limit of a group.
        fn kill(&self, path: &str, kills: u64) {
            self.write(path, "memory.events.local", 1, kills);
            self.write(path, "memory.events", 1, kills);
        }

        fn follow(&self, paths: &[&str]) {
            self.watch.follow(paths.iter().map(|path| (*path).to_owned()));
        }

        async fn next(&mut self) -> (String, u64, Limit) {
            let sighting = timeout(DEADLINE, self.told.recv()).await.expect("nothing told").unwrap();
            let Fact::OomKill { unit, kills, own: false, limit } = sighting.fact else {
                panic!("{sighting:?}")
            };
            assert_eq!(sighting.about, About::Unit(unit.clone()));
            (unit, kills, limit)
        }
    }

    fn told(unit: &str, kills: u64, limit: Limit) -> (String, u64, Limit) {
        (unit.to_owned(), kills, limit)
    }

    #[tokio::test]
    async fn every_kill_is_told_once_with_whose_limit_it_was() {
        let mut lab = Lab::new();
        lab.make("/u.slice");
        lab.make("/u.slice/x.scope");
        lab.kill("/u.slice/x.scope", 4);
        lab.follow(&["/u.slice/x.scope"]);
        lab.kill("/u.slice/x.scope", 4);
        lab.write("/u.slice", "memory.events", 1, 1);
        assert_eq!(lab.next().await, told("/u.slice", 1, Limit::Unknown));
        lab.write("/u.slice/x.scope", "memory.events", 1, 6);
        assert_eq!(lab.next().await, told("/u.slice/x.scope", 2, Limit::Above));
        lab.write("/u.slice/x.scope", "memory.events.local", 2, 7);
        lab.write("/u.slice/x.scope", "memory.events", 2, 7);
        assert_eq!(lab.next().await, told("/u.slice/x.scope", 1, Limit::Own));
    }

    #[tokio::test]
    async fn what_is_gone_is_told_by_what_is_above() {
        let mut lab = Lab::new();
        lab.make("/u.slice");
        lab.make("/u.slice/x.scope");
        lab.follow(&["/u.slice/x.scope"]);
        assert!(lab.watch.follows("/u.slice/x.scope") && lab.watch.follows("/u.slice"));
        fs::remove_dir_all(lab.dir("/u.slice/x.scope")).unwrap();
        lab.write("/u.slice", "memory.events", 1, 1);
        assert_eq!(lab.next().await, told("/u.slice", 1, Limit::Unknown));
        lab.follow(&["/u.slice/x.scope"]);
        assert!(!lab.watch.follows("/u.slice/x.scope") && lab.watch.follows("/u.slice"));
        // Made anew under its old name, it starts from nothing.
        lab.make("/u.slice/x.scope");
        lab.follow(&["/u.slice/x.scope"]);
        lab.kill("/u.slice/x.scope", 1);
        assert_eq!(lab.next().await, told("/u.slice/x.scope", 1, Limit::Own));
    }

    #[tokio::test]
    async fn what_is_not_followed_any_more_is_not_told() {
        let mut lab = Lab::new();
        for path in ["/u.slice", "/u.slice/x.scope", "/u.slice/y.scope"] {
            lab.make(path);
        }
        lab.follow(&["/u.slice/x.scope", "/u.slice/y.scope"]);
        // What happened before that is.
        lab.kill("/u.slice/x.scope", 3);
        lab.follow(&["/u.slice/y.scope"]);
        assert_eq!(lab.next().await, told("/u.slice/x.scope", 3, Limit::Own));
        lab.kill("/u.slice/x.scope", 4);
        lab.kill("/u.slice/y.scope", 2);
        assert_eq!(lab.next().await, told("/u.slice/y.scope", 2, Limit::Own));
        assert!(!lab.watch.follows("/u.slice/x.scope"));
    }

    #[tokio::test]
    async fn many_at_once_are_all_told_up_to_the_bound() {
        let mut lab = Lab::new();
        let scopes: Vec<String> = (0..WATCHES_MAX + 9).map(|n| format!("/u.slice/{n:04}.scope")).collect();
        lab.make("/u.slice");
        for scope in &scopes {
            lab.make(scope);
        }
        lab.watch.follow(scopes.iter().cloned());
        // One watch is the slice's.
        let (watched, left_out) = scopes.split_at(WATCHES_MAX - 1);
        assert!(watched.iter().all(|path| lab.watch.follows(path)));
        assert!(!left_out.iter().any(|path| lab.watch.follows(path)));
        for scope in &scopes {
            lab.kill(scope, 1);
        }
        let mut heard = BTreeSet::new();
        for _ in watched {
            let (unit, kills, limit) = lab.next().await;
            assert_eq!((kills, limit), (1, Limit::Own));
            heard.insert(unit);
        }
        assert_eq!(heard.len(), watched.len());
        lab.write("/u.slice", "memory.events", 9, 520);
        assert_eq!(lab.next().await, told("/u.slice", 520, Limit::Unknown));
    }

    #[tokio::test]
    async fn what_cannot_be_watched_is_not_followed() {
        let mut lab = Lab::new();
        lab.make("/u.slice");
        fs::create_dir(lab.dir("/u.slice/no-controller.scope")).unwrap();
        let odd =
            ["/u.slice/no-controller.scope", "/u.slice/gone.scope", "/", "", "/../x", "/u.slice/../../x"];
        lab.follow(&odd);
        assert!(!odd.iter().any(|path| lab.watch.follows(path)));
        lab.write("/u.slice", "memory.events", 0, 1);
        assert_eq!(lab.next().await, told("/u.slice", 1, Limit::Above));
    }

    #[test]
    fn notices_that_were_lost_mean_a_look_at_all() {
        let root = tempfile::tempdir().unwrap();
        let notices = inotify::init(CreateFlags::NONBLOCK).unwrap();
        let mut groups = Groups::below(root.path().to_owned());
        fs::create_dir(root.path().join("x.scope")).unwrap();
        let events = root.path().join("x.scope/memory.events");
        fs::write(&events, "oom 0\noom_kill 0\n").unwrap();
        groups.follow(&notices, ["/x.scope".to_owned()]);
        fs::write(&events, "oom 1\noom_kill 1\n").unwrap();
        let now = Instant::now();
        assert_eq!(groups.look_at(&[Notice::Changed(-7)], now), []);
        assert_eq!(groups.look_at(&[Notice::Lost], now).len(), 1);
        assert_eq!(groups.look_at(&[Notice::Lost], now), []);
        let watch = groups.watched["/x.scope"].watch;
        assert_eq!(groups.look_at(&[Notice::Ended(watch)], now), []);
        assert!(groups.watched.is_empty() && groups.paths.is_empty());
    }

    #[test]
    fn a_limit_is_counted_before_the_kill() {
        let reading = |oom, oom_kill| {
            let events = MemoryEvents { oom, oom_kill, ..MemoryEvents::default() };
            Reading { whole: events, local: Some(events) }
        };
        let (now, late) = (Instant::now(), Instant::now() + KILL_AFTER_LIMIT_MAX);
        for (kill_at, limit) in [(now, Limit::Own), (late, Limit::Above)] {
            let mut group = Group { watch: 1, file: 1, seen: reading(0, 0), before_limit: None };
            assert_eq!(group.compare(reading(1, 0), now), None);
            assert_eq!(group.compare(reading(1, 0), now), None);
            assert_eq!(group.compare(reading(1, 1), kill_at), Some((1, limit)));
            assert_eq!(group.compare(reading(1, 2), kill_at), Some((1, Limit::Above)));
        }
    }

    #[test]
    fn parents_are_below_the_root_too() {
        for (path, above) in
            [("/a/b/x.scope", Some("/a/b")), ("/a", None), ("/a/", None), ("/", None), ("a/b", Some("a"))]
        {
            assert_eq!(parent(path).as_deref(), above, "{path:?}");
        }
    }
}
