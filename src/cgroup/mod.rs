//! Control groups: what the kernel counts in them of memory, and the kills among it.
//!
//! Reads the unified hierarchy (v2) only. With the older ones, or where the memory controller is off, there is nothing
//! to read, and [`MemoryWatch::follows`] says so.

pub mod memory;
mod watch;

pub use watch::{MemoryWatch, ROOT, WATCHES_MAX};
