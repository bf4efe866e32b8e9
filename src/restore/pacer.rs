//! Lets panes be started as the machine's memory allows.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::unistd::Uid;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep};

use crate::cgroup::memory::{Pressure, available_bytes, total_bytes};

use super::pace::{ASK_EVERY, Pace, Readings, Step};

/// Waits where there is too little memory, and says so.
#[derive(Debug)]
pub struct Pacer {
    pace: Pace,
    /// Why it waits, or that it does not any more.
    told: mpsc::Sender<Option<String>>,
    progress: Mutex<Progress>,
    read: fn() -> Readings,
    pressed: AtomicBool,
}

#[derive(Debug, Default)]
struct Progress {
    /// How many panes may still be started before it is asked again.
    left: u32,
    waited: Duration,
    waits: bool,
}

impl Pacer {
    /// Returns one that has not waited yet.
    pub fn new(pace: Pace, told: mpsc::Sender<Option<String>>) -> Self {
        Self { pace, told, progress: Mutex::default(), read: readings, pressed: AtomicBool::new(false) }
    }

    /// Waits until one more pane may be started. Before one that took much memory it is asked in any case.
    pub(super) async fn admit(&self, heavy: bool) {
        let mut progress = self.progress.lock().await;
        if progress.left == 0 || heavy {
            self.wait(&mut progress).await;
            progress.left = self.pace.panes;
        }
        progress.left -= 1;
    }

    /// Returns whether panes are started although there is too little memory.
    pub(super) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Relaxed)
    }

    async fn wait(&self, progress: &mut Progress) {
        loop {
            let pressed = match self.pace.decide((self.read)(), progress.waits, progress.waited) {
                Step::Go => false,
                Step::GoAnyway(_) => true,
                Step::Wait(why) => {
                    if !progress.waits {
                        // Whoever listens has a newer one to read, or is gone.
                        let _ = self.told.try_send(Some(self.pace.waiting(&why)));
                    }
                    progress.waits = true;
                    let begun = Instant::now();
                    sleep(ASK_EVERY).await;
                    progress.waited += begun.elapsed();
                    continue;
                }
            };
            self.pressed.store(pressed, Ordering::Relaxed);
            if pressed {
                // Few at a time, as before.
                sleep(ASK_EVERY).await;
            } else if progress.waits {
                progress.waits = false;
                let _ = self.told.try_send(None);
            }
            return;
        }
    }
}

/// Returns what the kernel says now.
fn readings() -> Readings {
    let slice = format!("/sys/fs/cgroup/user.slice/user-{}.slice/memory.pressure", Uid::effective());
    let pressure = [PathBuf::from("/proc/pressure/memory"), slice.into()].into_iter().filter_map(|path| {
        let text = fs::read_to_string(path).ok()?;
        Some(Pressure::parse(&text)?.some_avg10)
    });
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    Readings {
        pressure: pressure.reduce(f32::max),
        available: available_bytes(&memory),
        total: total_bytes(&memory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::pace::PATIENCE;

    #[test]
    fn this_machine_tells_what_memory_it_has() {
        let readings = readings();
        assert!(readings.available < readings.total, "{readings:?}");
    }

    #[tokio::test]
    async fn who_waits_says_so_and_is_not_waited_for_when_nobody_listens() {
        let pacer = |read| {
            let (told, heard) = mpsc::channel(1);
            let pace = Pace { panes: 2, min_available: 1000, max_pressure: 20 };
            (Pacer { read, ..Pacer::new(pace, told) }, heard)
        };
        let (free, mut heard) = pacer(|| Readings { available: Some(1000), ..Readings::default() });
        for _ in 0..5 {
            free.admit(false).await;
        }
        assert!(!free.is_pressed() && heard.try_recv().is_err());

        let (full, mut heard) = pacer(|| Readings { available: Some(999), ..Readings::default() });
        let told = tokio::select! {
            () = full.admit(true) => panic!("there is no memory"),
            told = heard.recv() => told,
        };
        assert!(told.unwrap().unwrap().contains("waits for memory"));

        // Its patience is at an end.
        let (full, _) = pacer(|| Readings { available: Some(999), ..Readings::default() });
        full.progress.lock().await.waited = PATIENCE;
        full.admit(true).await;
        assert!(full.is_pressed());
    }
}
