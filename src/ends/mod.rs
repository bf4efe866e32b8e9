//! How processes end that are not our children: servers, and what runs in their panes.
//!
//! Only a parent is told how its child ended, by wait(2). Others have three ways, none of them sure:
//! - A process descriptor (pidfd_open(2)) tells *that* a process has ended, at once, and never means another one.
//! - `/proc/PID/stat` shows *how* to those who could trace it, until the parent has taken note: a race with tmux that
//!   was won for 75 % of exits and 37 % of kills on a busy machine.
//! - The process connector (`connector.rs`) announces it to everybody, from Linux 6.6 on and outside containers.
//!
//! Where the last two say nothing it is told that the process ended, and that nobody could see how. That is not the
//! same as "it exited with 0".

mod connector;
mod status;
mod watcher;

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};
use rustix::process::{Resource, getrlimit};
use tokio::sync::mpsc::Sender;

use crate::model::evidence::Sighting;
use crate::proc::Proc;

use connector::Connector;
use watcher::Watcher;

/// How many processes are followed: a server, and what runs in very many panes.
pub const PROCESSES_MAX: usize = 1024;

/// How many files a followed process takes.
const FILES_EACH: u64 = 2;

/// Which part of the files that we may have open goes to that. A service may have 1024 (systemd-system.conf(5),
/// `DefaultLimitNOFILE=`), so for 256 processes; for more we would have to raise what every server then inherits.
const FILES_SHARE: u64 = 2;

/// A process: its number, and when it started, since numbers are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// Its process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot (field 22 of proc_pid_stat(5)).
    pub start_ticks: u64,
}

/// Watches over a changing set of processes, in a thread of its own that does nothing else: it has microseconds.
/// Dropping it ends the thread, at the latest when that can send what it holds.
///
/// Each end is told once, as [`Fact::Ended`] or [`Fact::EndUnknown`]. A process of the set that is not there, or is
/// another by now, has ended unseen.
///
/// [`Fact::Ended`]: crate::model::evidence::Fact::Ended
/// [`Fact::EndUnknown`]: crate::model::evidence::Fact::EndUnknown
#[derive(Debug)]
pub struct EndWatch {
    orders: Arc<Orders>,
}

impl EndWatch {
    /// Starts to watch, at first nothing.
    pub fn start(into: Sender<Sighting>) -> io::Result<Self> {
        Self::with(Connector::listen(), Proc::default(), into)
    }

    fn with(connector: Option<Connector>, proc: Proc, into: Sender<Sighting>) -> io::Result<Self> {
        let orders = Orders::new()?;
        let watcher = Watcher::new(orders.clone(), connector, proc, room(), into)?;
        std::thread::Builder::new().name("ends".to_owned()).spawn(move || watcher.run())?;
        Ok(Self { orders })
    }

    /// Sets the processes that are watched. The end of one that is not among them any more is told only if it has ended
    /// by now.
    pub fn follow(&self, processes: impl IntoIterator<Item = ProcessId>) {
        self.orders.give(Order::Follow(processes.into_iter().collect()));
    }
}

impl Drop for EndWatch {
    fn drop(&mut self) {
        self.orders.give(Order::End);
    }
}

/// What the thread is told, the newest only.
#[derive(Debug)]
struct Orders {
    bell: EventFd,
    newest: Mutex<Option<Order>>,
}

#[derive(Debug)]
enum Order {
    Follow(HashSet<ProcessId>),
    End,
}

impl Orders {
    fn new() -> io::Result<Arc<Self>> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Arc::new(Self { bell: EventFd::from_flags(flags)?, newest: Mutex::default() }))
    }

    fn give(&self, order: Order) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(order);
        // It is full only when it has not been heard for 2^64 orders.
        let _ = self.bell.write(1);
    }

    fn take(&self) -> Option<Order> {
        // Nothing to read when it has not rung.
        let _ = self.bell.read();
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Returns how many processes may be followed with the files that we may have open.
fn room() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / FILES_SHARE / FILES_EACH).unwrap_or(usize::MAX).min(PROCESSES_MAX)
}

#[cfg(test)]
mod tests;
