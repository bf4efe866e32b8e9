//! The daemon: what happens comes in as an [`Event`], [`State::step`] decides, [`Action`]s go out.
//!
//! ```text
//!                     no server              found        something was lost
//!   ┌────────────► Seeking ──────► Founding ──────► Seeking ──────────────► Restoring
//!   │                  │ a server, nothing lost                                 │
//!   │  lost            ▼                                                        │
//!   ├─────────────  Watching ◄──────────────────────────────────────────────────┘
//!   │                  │ ended in an orderly way
//!   │  closed by user  ▼               going down
//!   └───────────────  Ended ───────────────────────► Frozen   (nothing is saved or started any more)
//!
//!   from anywhere: a shutdown begins → Finishing → Frozen;  SIGTERM → Finishing → the process ends
//! ```
//!
//! The state machine has no clock and does no I/O, so that a test can run it through anything.

mod action;
mod asleep;
mod buffers;
mod changes;
mod chronicle;
mod drill;
mod event;
mod greet;
mod guardian;
mod habitat;
mod inquire;
mod perform;
mod recorder;
mod room;
mod run;
mod sleep;
mod state;
mod watchers;
mod worker;

pub use action::{Action, Capture, SaveJob};
pub use chronicle::Chronicle;
pub use event::{Answer, Asked, Ending, Event, Greeting, Inquiry, Look, Proven, Saved, Text, Token};
pub use recorder::{Bounds, Recorder};
pub use run::{Startup, StartupError, run};
pub use state::{Death, Past, Policy, State, Summary};
