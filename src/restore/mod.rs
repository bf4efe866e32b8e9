//! Bringing back what was lost: a plan as a value, then its execution, then a look whether it is true.

pub mod approved;
pub mod compare;
pub mod diff;
pub mod execute;
pub mod foreign;
pub mod globals;
pub mod hog;
pub mod limit;
pub mod manner;
mod name;
pub mod pace;
pub mod pacer;
pub mod plan;
pub mod policy;
pub mod remains;
pub mod restart;
pub mod selection;

/// Options that are saved and compared but not set again, because they would end what has just come back: a
/// session that nobody is attached to yet would go with the first client that attaches anywhere
/// (`server_check_unattached`, server-fn.c).
const HELD_BACK: [&str; 1] = ["destroy-unattached"];

/// Returns whether an option is not set again: because it would do harm, or because it is a mark of ours.
pub fn held_back(option: &str) -> bool {
    HELD_BACK.contains(&option) || option == execute::MARK
}
