//! Bringing back what was lost: a plan as a value, then its execution, then a look whether it is true.

pub mod compare;
pub mod diff;
pub mod execute;
pub mod plan;
pub mod selection;
