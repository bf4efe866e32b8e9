//! What would kill the work, what is missing, and what mends it.
//!
//! Facts are gathered once ([`facts`]); each check is a small function over them ([`checks`]). Doctor runs
//! inside `keeperctl`, so that it works when the daemon does not.

pub mod checks;
pub mod facts;

pub use checks::{CHECKS, Check, Finding, examine};
pub use facts::Facts;
