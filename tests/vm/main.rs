//! What only a real systemd shows: logout, linger, reboot, power cut, on Debian 13 and Debian 12 as they are.
//!
//! Each release has one machine, which goes through a story in which every chapter needs the one before; a
//! chapter's name is in its error. `AGENT_KEEPER_VM_ONLY=trixie` runs one release.
#![allow(clippy::print_stderr, reason = "how long things take is worth reading")]

mod keeper;
mod machine;
mod smoke;
