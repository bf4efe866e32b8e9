//! The user's service manager: scopes for servers, the keeper's own unit, what the manager is about.

pub mod manager;
pub mod placement;
pub mod proxy;
pub mod unit_name;

pub use manager::{Manager, ManagerError};

use zbus::Connection;
use zbus::connection::Builder;

use crate::place::user_runtime_dir;

/// Reaches the user bus: the one that the environment names, or else the one in the user's runtime
/// directory, which is there also after `su` and in a cron job, where nothing names it.
pub async fn user_bus() -> zbus::Result<Connection> {
    let named = std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some_and(|address| !address.is_empty());
    match user_runtime_dir().filter(|_| !named) {
        None => Connection::session().await,
        Some(dir) => Builder::address(format!("unix:path={}/bus", dir.display()).as_str()).build().await,
    }
}
