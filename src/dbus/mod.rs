//! The keeper on D-Bus: `org.agentkeeper.Keeper1`.
//!
//! The same interface is served twice: peer to peer on a socket in the runtime directory, which is what
//! `keeperctl` uses, because it is there with and without systemd and in every environment; and on the
//! user bus where there is one, for everybody else. The contract is
//! `packaging/dbus/org.agentkeeper.Keeper1.xml`; a test compares it with what is served.

pub mod client;
pub mod interface;
pub mod serve;

/// The name on the user bus.
pub const BUS_NAME: &str = "org.agentkeeper.Keeper1";

/// The path of the one object.
pub const OBJECT_PATH: &str = "/org/agentkeeper/Keeper1";
