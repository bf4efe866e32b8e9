//! The keeper as seen by `keeperctl`.
#![expect(missing_docs, reason = "documented where they are served: dbus::interface")]

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;
use zbus::Variant;
use zbus::connection::Builder;
use zbus::proxy;

use crate::place::{PlaceError, check_socket_path};

use super::interface::RestoreRow;

/// How long the keeper may take to say hello.
const HELLO_MAX: Duration = Duration::from_secs(5);

/// The options of `RestoreSelected` by their names.
type Options<'a> = HashMap<&'a str, Variant<'a>>;

#[proxy(interface = "org.agentkeeper.Keeper1", default_path = "/org/agentkeeper/Keeper1")]
pub trait Keeper1 {
    fn take_snapshot(&self) -> zbus::Result<u64>;
    fn restore(&self, generation: u64, sessions: &[String]) -> zbus::Result<Vec<RestoreRow>>;
    fn restore_selected(&self, generation: u64, options: Options<'_>) -> zbus::Result<Vec<RestoreRow>>;
    fn import(&self, file: zbus::Fd<'_>) -> zbus::Result<u64>;
    fn pin(&self, generation: u64, note: &str) -> zbus::Result<()>;
    fn unpin(&self, generation: u64) -> zbus::Result<bool>;
    fn remove(&self, generations: &[u64]) -> zbus::Result<()>;

    #[zbus(property(emits_changed_signal = "false"))]
    fn version(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"), name = "ProcessID")]
    fn process_id(&self) -> zbus::Result<u32>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn socket(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn state(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn problem(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"), name = "ServerPID")]
    fn server_pid(&self) -> zbus::Result<u32>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn generation(&self) -> zbus::Result<u64>;
    #[zbus(property(emits_changed_signal = "false"), name = "GenerationUSec")]
    fn generation_usec(&self) -> zbus::Result<u64>;
}

/// Why the keeper cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Its socket cannot be where it should.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Nobody listens.
    #[error("agent-keeper is not running (nobody listens on {})", path.display())]
    NotRunning {
        /// Its socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Somebody listens and does not answer.
    #[error("agent-keeper does not answer on {}", path.display())]
    Silent {
        /// Its socket.
        path: PathBuf,
    },
    /// Something else listens.
    #[error("agent-keeper cannot be talked to on {}", path.display())]
    Protocol {
        /// Its socket.
        path: PathBuf,
        /// What is wrong.
        source: zbus::Error,
    },
}

/// Connects to the keeper on its own socket.
pub async fn connect(socket: &Path) -> Result<Keeper1Proxy<'static>, ConnectError> {
    check_socket_path(socket)?;
    let path = || socket.to_owned();
    let stream = UnixStream::connect(socket)
        .await
        .and_then(UnixStream::into_std)
        .map_err(|source| ConnectError::NotRunning { path: path(), source })?;
    let hello = async {
        let connection = Builder::unix_stream(stream).p2p().build().await?;
        Keeper1Proxy::builder(&connection).destination(super::BUS_NAME).build().await
    };
    match timeout(HELLO_MAX, hello).await {
        Ok(proxy) => proxy.map_err(|source| ConnectError::Protocol { path: path(), source }),
        Err(_) => Err(ConnectError::Silent { path: path() }),
    }
}
