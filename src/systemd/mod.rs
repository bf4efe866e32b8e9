//! The user's service manager: scopes for servers, the keeper's own unit, what the manager is about.

pub mod manager;
pub mod proxy;
pub mod unit_name;

pub use manager::{Manager, ManagerError};
