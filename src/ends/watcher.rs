//! The thread that waits for ends.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::mpsc::Sender;
use tracing::{info, warn};

use super::connector::Connector;
use super::status::{Life, end_of};
use super::{Order, Orders, ProcessId};
use crate::model::evidence::{About, EndWitness, Fact, Sighting};
use crate::proc::Proc;

/// How many ends are heard of at once; further ones the next time.
const EVENTS_AT_ONCE: usize = 256;

/// How long an announcement may take after the process has ended. The kernel makes it in the process's last moments,
/// right after others are told that it has ended (kernel/exit.c, `do_exit`); a busy machine may run something else
/// in between.
const ANNOUNCEMENT_MAX: Duration = Duration::from_secs(2);

/// The text of `/proc/PID/stat` is shorter, in bytes: 52 numbers and a name.
const STAT_BYTES_MAX: usize = 2048;

/// What epoll calls things that are not processes.
const BELL: u64 = u64::MAX;
const CONNECTOR: u64 = u64::MAX - 1;

/// Everything that the thread has.
pub(super) struct Watcher {
    epoll: Epoll,
    orders: Arc<Orders>,
    connector: Option<Connector>,
    /// Whether announcements come at all. Every program that ends anywhere shows that, our own tmux commands too.
    announces: bool,
    proc: Proc,
    /// How many processes may be followed.
    room: usize,
    into: Sender<Sighting>,
    /// Those that run, by their numbers.
    running: HashMap<u32, Running>,
    /// Those that have ended, and of which an announcement may still come; the oldest first.
    waiting: VecDeque<Waiting>,
    /// Those of the set that have ended.
    done: HashSet<ProcessId>,
    /// What is said once, and not at every order.
    bound_told: bool,
    refusal_told: bool,
}

struct Running {
    id: ProcessId,
    descriptor: OwnedFd,
    stat: File,
    /// Whether nothing of it was hidden from us when we began to follow it.
    open: bool,
}

struct Waiting {
    pid: u32,
    at: Timestamp,
    until: Instant,
}

impl Watcher {
    pub(super) fn new(
        orders: Arc<Orders>,
        connector: Option<Connector>,
        proc: Proc,
        room: usize,
        into: Sender<Sighting>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&orders.bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        if let Some(connector) = &connector {
            epoll.add(connector, EpollEvent::new(EpollFlags::EPOLLIN, CONNECTOR))?;
        }
        let (running, waiting, done) = (HashMap::new(), VecDeque::new(), HashSet::new());
        Ok(Self {
            epoll,
            orders,
            connector,
            announces: false,
            proc,
            room,
            into,
            running,
            waiting,
            done,
            bound_told: false,
            refusal_told: false,
        })
    }

    /// Runs until it is told to end, or nobody listens any more.
    pub(super) fn run(mut self) {
        let mut events = [EpollEvent::empty(); EVENTS_AT_ONCE];
        loop {
            let count = match self.epoll.wait(&mut events, self.patience()) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(error) => {
                    warn!(%error, "cannot hear of the ends of processes any more");
                    return;
                }
            };
            // What cannot wait comes first, sending last.
            let pids = events[..count].iter().filter_map(|event| u32::try_from(event.data()).ok());
            let mut sightings: Vec<Sighting> = pids.filter_map(|pid| self.ended(pid)).collect();
            sightings.extend(self.hear());
            sightings.extend(self.give_up(Instant::now()));
            match self.orders.take() {
                Some(Order::Follow(wanted)) => sightings.extend(self.follow(&wanted)),
                Some(Order::End) => return,
                None => {}
            }
            if sightings.into_iter().any(|sighting| self.into.blocking_send(sighting).is_err()) {
                return;
            }
        }
    }

    /// Returns how long there is nothing to do unless something happens.
    fn patience(&self) -> EpollTimeout {
        let left = self.waiting.front().map(|ended| ended.until.saturating_duration_since(Instant::now()));
        // A millisecond more, so that it is over then.
        left.and_then(|left| EpollTimeout::try_from(left + Duration::from_millis(1)).ok())
            .unwrap_or(EpollTimeout::NONE)
    }

    /// A process has ended: reads how while it can be read, or leaves it to an announcement.
    fn ended(&mut self, pid: u32) -> Option<Sighting> {
        let fact = self.running.get(&pid)?.end(&self.proc);
        let at = Timestamp::now();
        self.forget(pid);
        if fact.is_none() && self.announces {
            self.waiting.push_back(Waiting { pid, at, until: Instant::now() + ANNOUNCEMENT_MAX });
            return None;
        }
        Some(seen(pid, at, fact.unwrap_or(Fact::EndUnknown)))
    }

    /// Hears the announcements that have come. They are of all processes of the machine.
    fn hear(&mut self) -> Vec<Sighting> {
        let announced = self.connector.as_ref().map(Connector::announced).unwrap_or_default();
        self.announces |= !announced.is_empty();
        announced.into_iter().filter_map(|(pid, status)| self.announced(pid, told(status))).collect()
    }

    fn announced(&mut self, pid: u32, fact: Fact) -> Option<Sighting> {
        if let Some(place) = self.waiting.iter().position(|ended| ended.pid == pid) {
            return self.waiting.remove(place).map(|ended| seen(pid, ended.at, fact));
        }
        // A main thread can end before the others do (pthread_exit(3)): that is not the process's end.
        if !self.running.get(&pid)?.has_ended() {
            return None;
        }
        self.forget(pid)?;
        Some(seen(pid, Timestamp::now(), fact))
    }

    /// Tells of those of which no announcement came.
    fn give_up(&mut self, now: Instant) -> Vec<Sighting> {
        let late = self.waiting.iter().take_while(|ended| ended.until <= now).count();
        self.waiting.drain(..late).map(|ended| seen(ended.pid, ended.at, Fact::EndUnknown)).collect()
    }

    fn follow(&mut self, wanted: &HashSet<ProcessId>) -> Vec<Sighting> {
        let unwanted: Vec<u32> =
            self.running.values().filter(|one| !wanted.contains(&one.id)).map(|one| one.id.pid).collect();
        let mut sightings = Vec::new();
        for pid in unwanted {
            // Perhaps it is not wanted because somebody saw before us that it is gone.
            if self.running.get(&pid).is_some_and(Running::has_ended) {
                sightings.extend(self.ended(pid));
            } else {
                self.forget(pid);
            }
        }
        self.done.retain(|id| wanted.contains(id));
        for id in wanted {
            if self.done.contains(id) || self.running.get(&id.pid).is_some_and(|one| one.id == *id) {
                continue;
            }
            if self.running.len() >= self.room {
                self.no_room(wanted.len());
                break;
            }
            match Running::open(*id, &self.proc) {
                Ok(Some(running)) => sightings.extend(self.watch(running)),
                Ok(None) => {
                    self.done.insert(*id);
                    sightings.push(seen(id.pid, Timestamp::now(), Fact::EndUnknown));
                }
                Err(error) => self.refused(id.pid, &error),
            }
        }
        sightings
    }

    /// Begins to follow a process; returns the end of the one that had its number before.
    fn watch(&mut self, running: Running) -> Option<Sighting> {
        let pid = running.id.pid;
        let before = self.ended(pid);
        match self.epoll.add(&running.descriptor, EpollEvent::new(EpollFlags::EPOLLIN, pid.into())) {
            Ok(()) => _ = self.running.insert(pid, running),
            Err(error) => self.refused(pid, &error.into()),
        }
        before
    }

    /// Follows a process no more. It is taken from epoll by name: a child that is being started has a copy of the
    /// descriptor for a moment, which would keep it there.
    fn forget(&mut self, pid: u32) -> Option<Running> {
        let running = self.running.remove(&pid)?;
        let _ = self.epoll.delete(&running.descriptor);
        self.done.insert(running.id);
        Some(running)
    }

    fn no_room(&mut self, wanted: usize) {
        if !self.bound_told {
            self.bound_told = true;
            warn!("watching {} processes and not {wanted}: how the others end is not seen", self.room);
        }
    }

    fn refused(&mut self, pid: u32, error: &io::Error) {
        if !self.refusal_told {
            self.refusal_told = true;
            info!(pid, %error, "cannot watch a process; how it ends is not seen");
        }
    }
}

impl Running {
    /// Begins to follow a process; `None` when it has ended. It runs under this number after the descriptor was
    /// opened, and did so when somebody noted its start: then in between too, and the descriptor is its.
    fn open(id: ProcessId, proc: &Proc) -> io::Result<Option<Self>> {
        let Some(pid) = i32::try_from(id.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let opened = || {
            let descriptor = pidfd_open(pid, PidfdFlags::empty())?;
            let stat = proc.open_stat(id.pid)?;
            let life = read_life(&stat)?;
            Ok((descriptor, stat, life))
        };
        match opened() {
            Ok((_, _, life)) if life.start_ticks != id.start_ticks => Ok(None),
            Ok((descriptor, stat, life)) => {
                Ok(Some(Self { id, descriptor, stat, open: life.open || life.wait_status.is_some() }))
            }
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn has_ended(&self) -> bool {
        let mut this = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
        poll(&mut this, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Returns how it ended, unless its parent was faster. The kernel shows 0 to those who may not know, so a 0 is
    /// believed only of a process of our own (proc_pid_stat(5), `exit_code`; ptrace(2), "Ptrace access mode checking").
    fn end(&self, proc: &Proc) -> Option<Fact> {
        let status = read_life(&self.stat).ok()?.wait_status?;
        (status != 0 || self.open && proc.is_ours(self.id.pid)).then(|| told(status))
    }
}

/// Reads the state of a process by a file that has been open: so it is faster, and never another's.
fn read_life(stat: &File) -> io::Result<Life> {
    let mut room = [0; STAT_BYTES_MAX];
    let length = stat.read_at(&mut room, 0)?;
    Life::parse(&room[..length]).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// ENOENT is /proc's word for it, ESRCH that of everything else.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ESRCH as i32)
}

fn told(wait_status: u32) -> Fact {
    Fact::Ended { end: end_of(wait_status), witness: EndWitness::Kernel }
}

fn seen(pid: u32, at: Timestamp, fact: Fact) -> Sighting {
    Sighting { at, about: About::Process(pid), fact }
}
