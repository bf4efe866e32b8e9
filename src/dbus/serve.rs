//! Serves the interface on a socket of our own and on the user bus.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Uid;
use tokio::net::UnixListener;
use zbus::connection::Builder;
use zbus::{Connection, Guid};

use crate::place::{PlaceError, check_socket_path, make_private_dir};

use super::interface::{Keeper, announce};
use super::{BUS_NAME, OBJECT_PATH};

/// How many peers may be connected at once; each is a short visit of `keeperctl`.
const PEERS_MAX: usize = 64;

/// Why the interface cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket's place cannot be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The socket cannot be made.
    #[error("cannot listen on {}", path.display())]
    Listen {
        /// Its path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Serves peers on a socket until the returned guard is dropped. The caller holds the lock of the store, so
/// a socket that is already there is a dead keeper's.
pub fn serve_peers(path: &Path, keeper: Keeper) -> Result<PeerSocket, ServeError> {
    check_socket_path(path)?;
    if let Some(dir) = path.parent() {
        make_private_dir(dir)?;
    }
    let failed = |source| ServeError::Listen { path: path.to_owned(), source };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let accepting = tokio::spawn(accept(listener, keeper));
    Ok(PeerSocket { path: path.to_owned(), accepting })
}

/// The socket while it is served.
#[derive(Debug)]
pub struct PeerSocket {
    path: PathBuf,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for PeerSocket {
    fn drop(&mut self) {
        self.accepting.abort();
        // One that stays behind is removed by the next keeper.
        let _ = fs::remove_file(&self.path);
    }
}

async fn accept(listener: UnixListener, keeper: Keeper) {
    let peers = std::sync::Arc::new(tokio::sync::Semaphore::new(PEERS_MAX));
    loop {
        let Ok(place) = peers.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely; a pause instead of a spin.
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            continue;
        };
        let keeper = keeper.clone();
        tokio::spawn(async move {
            if let Err(error) = serve_peer(stream, keeper).await {
                tracing::debug!(%error, "a peer went away");
            }
            drop(place);
        });
    }
}

async fn serve_peer(stream: tokio::net::UnixStream, keeper: Keeper) -> zbus::Result<()> {
    let stream: UnixStream = stream.into_std()?;
    let peer = getsockopt(&stream, PeerCredentials).map_err(io::Error::from)?;
    // The directory is closed to others; this is the second lock.
    if Uid::from_raw(peer.uid()) != Uid::effective() && !Uid::from_raw(peer.uid()).is_root() {
        return Err(zbus::Error::Unsupported);
    }
    let (summary, bulletins) = (keeper.summary.clone(), keeper.bulletins.subscribe());
    let peer = Builder::unix_stream(stream).server(Guid::generate()).p2p().serve_at(OBJECT_PATH, keeper);
    let connection = peer.build().await?;
    tokio::select! {
        () = connection.closed() => Ok(()),
        result = announce(connection.clone(), summary, bulletins) => result,
    }
}

/// Serves on the user bus under our name. Fails where there is no bus, and when the name is taken.
pub async fn serve_on_bus(keeper: Keeper) -> zbus::Result<Connection> {
    let (summary, bulletins) = (keeper.summary.clone(), keeper.bulletins.subscribe());
    let address = crate::systemd::user_bus_address();
    let bus = address.map_or_else(Builder::session, |address| Builder::address(address.as_str()));
    let connection = bus.serve_at(OBJECT_PATH, keeper).name(BUS_NAME).build().await?;
    tokio::spawn(announce(connection.clone(), summary, bulletins));
    Ok(connection)
}
