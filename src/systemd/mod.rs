//! The user's service manager: scopes for servers, the keeper's own unit, what the manager is about; and what it,
//! systemd-oomd and the journal tell of deaths.

pub mod ending;
pub mod journal;
pub mod manager;
pub mod oomd;
pub mod placement;
pub mod proxy;
pub mod unit_name;
pub mod watch;

pub use manager::{Manager, ManagerError};

use jiff::Timestamp;
use zbus::Connection;
use zbus::connection::Builder;

use crate::place::user_runtime_dir;

use proxy::{Manager1Proxy, Unit1Proxy};

/// Returns the address of the user bus where the environment does not name it: `bus` in the user's runtime
/// directory, which is there also after `su` and in a cron job.
pub fn user_bus_address() -> Option<String> {
    let named = std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some_and(|address| !address.is_empty());
    let dir = user_runtime_dir().filter(|_| !named)?;
    Some(format!("unix:path={}/bus", dir.display()))
}

/// Returns when a user's manager was started, as the system's manager tells everybody.
pub async fn manager_began(system_bus: &Connection, uid: u32) -> Option<Timestamp> {
    let system = Manager1Proxy::new(system_bus).await.ok()?;
    let path = system.get_unit(&format!("user@{uid}.service")).await.ok()?;
    let unit = Unit1Proxy::builder(system_bus).path(path).build().await.ok()?;
    let since_1970 = unit.active_enter_timestamp().await.ok()?;
    Timestamp::from_microsecond(i64::try_from(since_1970).ok()?).ok()
}

/// Reaches the user bus.
pub async fn user_bus() -> zbus::Result<Connection> {
    let address = user_bus_address();
    let bus = address.map_or_else(Builder::session, |address| Builder::address(address.as_str()));
    bus.build().await
}
