//! Keeps a tmux server and the work in it alive on Linux, and brings it back after a crash or a reboot.
//!
//! Two programs share this library: `agent-keeper`, a user service, and `keeperctl`, the command line.
//! The library is theirs; its Rust interface may change with any release. What scripts may rely on is the
//! command line, the exit codes, the D-Bus interface and the paths.
//!
//! # From what is seen to what is done
//!
//! ```text
//!   tmux/  systemd/  logind/  proc      observe: outside systems, one folder each, in their own words
//!      └──────┬─────────┘
//!             ▼ Event
//!   keeper::State::step                 decide: pure; no clock, no I/O
//!             │ Action                  (asks restore::plan, store::retention, keeper::changes)
//!             ▼
//!   keeper::perform                     act: tmux, store, systemd; what came of it is an Event again
//! ```
//!
//! `keeperctl` talks to the daemon over [`dbus`] for what must not be done twice at a time (taking a snapshot,
//! restoring) and reads tmux and the store itself for the rest, so most of it works without a daemon.
//!
//! # Where things are
//!
//! | what | where |
//! |---|---|
//! | the words everything is written in: servers, sessions, panes, snapshots | [`model`] |
//! | talking to tmux: running commands, reading a server, capturing text, layouts | [`tmux`] |
//! | units, scopes and where a process lives; what logind will do at logout | [`systemd`], [`logind`] |
//! | what systemd, systemd-oomd, logind and the journal tell of deaths; hearing signals on a bus | [`systemd`], [`logind`], [`signals`] |
//! | why something died: rules over evidence, where it lived, the verdict in words | [`diagnosis`] |
//! | processes, and how those end that are not our children | [`proc`], [`ends`] |
//! | memory: what control groups count, and the kills among it | [`cgroup`] |
//! | what of a text must not be written down: credentials | [`redact`] |
//! | generations on disk: writing, damage, retention, pins, verification, carrying to another host | [`store`] |
//! | what happened, on disk: deaths, restores, logins | [`history`] |
//! | deaths as others are told of them: the journal, the user's command, the desktop | [`bulletin`] |
//! | what a restore will do, doing it, and comparing the result | [`restore`], [`drill`] |
//! | the process that waits in a restored pane | [`pane`] |
//! | the daemon: its state machine, its loop, its command line | [`keeper`], [`daemon`] |
//! | the bus interface, its server and its client | [`dbus`] |
//! | the checks of `keeperctl doctor` | [`doctor`] |
//! | installing and removing units | [`setup`] |
//! | snapshots out of the files of other tools | [`import`] |
//! | `keeperctl`, one file per command | [`cli`] |
//! | configuration, directories, the socket that is meant, the login's environment | [`config`], [`place`], [`socket`], [`environment`] |
//! | errors in words, the name that was meant | [`cause`], [`similar`] |
//!
//! # Words
//!
//! *Session*, *window*, *pane*, *layout* are tmux's; a login is a *logind session*. A *generation* is one
//! snapshot in the store. To *found* a server is to start one where there was none. A server was *lost* when
//! it ended although nobody wanted it to, and *closed* when its user ended it.

pub mod bulletin;
pub mod cause;
pub mod cgroup;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dbus;
pub mod diagnosis;
pub mod doctor;
pub mod drill;
pub mod ends;
pub mod environment;
pub mod history;
pub mod import;
pub mod keeper;
pub mod logging;
pub mod logind;
pub mod model;
pub mod pane;
pub mod place;
pub mod proc;
pub mod redact;
pub mod restore;
pub mod setup;
pub mod signals;
pub mod similar;
pub mod socket;
pub mod store;
pub mod systemd;
pub mod tmux;
