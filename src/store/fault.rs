//! Makes an operation on the disk fail on purpose, in tests only: without `cfg(test)` nothing of this is left.

/// One step on the way to a file that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// mkdir(2).
    MakeDir,
    /// open(2) of a new file.
    Create,
    /// write(2).
    Write,
    /// fsync(2) of a file.
    Flush,
    /// rename(2).
    Rename,
    /// fsync(2) of a directory.
    FlushDir,
    /// unlink(2).
    Remove,
    /// ftruncate(2).
    Truncate,
}

#[cfg(not(test))]
mod real {
    use std::fs::File;
    use std::io::{self, Write};

    use super::Step;

    #[inline(always)]
    pub(in super::super) fn point(_: Step) -> io::Result<()> {
        Ok(())
    }

    #[inline(always)]
    pub(in super::super) fn write(file: &mut File, bytes: &[u8]) -> io::Result<()> {
        point(Step::Write)?;
        file.write_all(bytes)
    }
}

#[cfg(not(test))]
pub(super) use real::{point, write};

#[cfg(test)]
pub(crate) use plan::Plan;
#[cfg(test)]
pub(super) use plan::{point, write};

#[cfg(test)]
mod plan {
    //! What is to fail in this thread.

    use std::cell::RefCell;
    use std::fs::File;
    use std::io::{self, Write};

    use super::Step;

    /// What fails, and what has happened so far.
    #[derive(Debug, Clone)]
    pub(crate) struct Plan {
        /// Which step fails, from 0.
        pub(crate) at: usize,
        /// The error number, as errno(3).
        pub(crate) errno: i32,
        /// Whether everything after it fails too, as when the process had been killed there.
        pub(crate) for_good: bool,
        /// What was met.
        pub(crate) met: Vec<Step>,
    }

    thread_local! {
        static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
    }

    impl Plan {
        /// Runs something in this thread under the plan, and returns what was met too.
        pub(crate) fn run<T>(self, work: impl FnOnce() -> T) -> (T, Vec<Step>) {
            PLAN.set(Some(self));
            let result = work();
            let met = PLAN.take().map(|plan| plan.met).unwrap_or_default();
            (result, met)
        }
    }

    pub(in super::super) fn point(step: Step) -> io::Result<()> {
        PLAN.with_borrow_mut(|plan| {
            let Some(plan) = plan else { return Ok(()) };
            let number = plan.met.len();
            plan.met.push(step);
            match number == plan.at || plan.for_good && number > plan.at {
                true => Err(io::Error::from_raw_os_error(plan.errno)),
                false => Ok(()),
            }
        })
    }

    /// A write that fails has written the first half.
    pub(in super::super) fn write(file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let fate = point(Step::Write);
        let share = if fate.is_err() { bytes.len() / 2 } else { bytes.len() };
        file.write_all(&bytes[..share])?;
        fate
    }
}
