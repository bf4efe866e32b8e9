//! The configuration: read, checked, and from then on complete.
//!
//! Three stages, so that nobody downstream sees an `Option`: a [`Fragment`] is one file as it was
//! written; fragments are merged, later ones win; [`Settings`] are valid and whole.

mod every;
mod fragment;
mod load;
mod session;
mod settings;

pub use every::Every;
pub use fragment::{Fragment, KEYS, Key};
pub use load::{ConfigError, load};
pub use session::{SessionSettings, Sessions};
pub use settings::{Settings, TmuxSocket};
