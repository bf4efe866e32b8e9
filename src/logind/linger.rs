//! Hears of lingering being switched on or off. logind has no signal for that; it makes and removes a file.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tracing::warn;

use crate::model::entry::Happening;
use crate::signals::Listening;

/// The room for notices that are read at once, in bytes: each has a file's name in it.
const NOTICES_BYTES: usize = 8192;

/// Hears of changes for a user until the returned value is dropped. `dir` has a file for each user who lingers
/// ([`LINGER_DIR`](super::LINGER_DIR)); logind makes it for the first one. Belongs into a tokio runtime.
pub fn watch_linger(dir: &Path, user: &str, into: mpsc::Sender<Happening>) -> io::Result<Listening> {
    #[expect(deprecated, reason = "its successor is unsafe (tokio 1.54); an OwnedFd is all that it asks for")]
    let notices = AsyncFd::new(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?)?;
    let mut watching = Watching { notices, dir: dir.to_owned(), file: dir.join(user), on: false };
    watching.watch()?;
    watching.on = watching.file.exists();
    Ok(Listening::spawn(async move {
        if let Err(error) = watching.run(into).await {
            warn!(%error, "whether lingering is on is not watched any more");
        }
    }))
}

struct Watching {
    notices: AsyncFd<OwnedFd>,
    dir: PathBuf,
    file: PathBuf,
    on: bool,
}

impl Watching {
    /// Watches the directory, and the one that it is made in. A watch that is there already stays.
    fn watch(&self) -> io::Result<()> {
        let changes = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR;
        let add = |dir: &Path| inotify::add_watch(self.notices.get_ref(), dir, changes);
        let parent = self.dir.parent().map(add);
        match (add(&self.dir), parent) {
            (Ok(_), _) | (_, Some(Ok(_))) => Ok(()),
            (Err(error), _) => Err(error.into()),
        }
    }

    async fn run(mut self, into: mpsc::Sender<Happening>) -> io::Result<()> {
        loop {
            if let Ok(drained) = self.notices.readable().await?.try_io(|fd| drain(fd.get_ref())) {
                drained?;
            }
            // The directory may be new.
            self.watch()?;
            let on = self.file.exists();
            if on != std::mem::replace(&mut self.on, on) && into.send(Happening::Linger { on }).await.is_err()
            {
                return Ok(());
            }
        }
    }
}

/// Reads all notices; what they say is looked up.
fn drain(fd: &OwnedFd) -> io::Result<()> {
    let mut room = [MaybeUninit::uninit(); NOTICES_BYTES];
    let mut reader = Reader::new(fd, &mut room);
    loop {
        reader.next()?;
        if reader.is_buffer_empty() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_change_is_heard_also_when_the_directory_is_new() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("linger");
        let (into, mut heard) = mpsc::channel(4);
        let _listening = watch_linger(&dir, "ann", into).unwrap();
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("bob"), "").unwrap();
        for on in [true, false, true] {
            match on {
                true => fs::write(dir.join("ann"), "").unwrap(),
                false => fs::remove_file(dir.join("ann")).unwrap(),
            }
            let told = timeout(Duration::from_secs(60), heard.recv()).await.unwrap();
            assert_eq!(told, Some(Happening::Linger { on }));
        }
    }
}
