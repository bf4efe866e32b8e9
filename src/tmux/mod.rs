//! The tmux server: how to ask it, what it answers, how to start one.
//!
//! We are an ordinary client: one short-lived `tmux` process per question, the path that every status
//! script takes. A control-mode client would have to sit in a session, where the user would see it.

pub mod arrange;
pub mod buffers;
pub mod capture;
pub mod command;
pub mod details;
pub mod escape;
pub mod found;
pub mod layout;
pub mod messages;
pub mod observe;
mod program;
mod query;
pub mod server;
pub(crate) mod shell;
pub mod text;
pub mod variables;
pub mod version;
pub mod waiter;

pub use server::{Tmux, TmuxError};
