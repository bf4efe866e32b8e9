//! Bringing back what was lost: a plan as a value, then its execution, then a look whether it is true.

pub mod approved;
pub mod compare;
pub mod execute;
pub mod plan;
