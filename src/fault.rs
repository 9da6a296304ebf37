//! Named points at which a test makes this process die or panic (`CR-01`), compiled in with the feature `fault-points` alone.
//!
//! Law of the room: without the feature there is nothing of it, not even the names; with it, and without its variables,
//! nothing happens.
//!
//! - `RUNNER_FAULTS=guardian.forked=3*off->1*kill;store.kept=kill`: what happens at the first, second, ... hit of a
//!   point. Without a number an action holds for ever; behind the last one nothing happens any more.
//! - `RUNNER_FAULTS_HITS=FILE`: the name of every point that is hit is appended there, and hits are counted there, over
//!   all processes that have the variable. Without it each process counts its own.
//!
//! A crate for this is there (`fail`), but it counts within one process only, and its actions end at a panic.

/// A place worth dying at. Stands behind the step that it is named after.
macro_rules! point {
    ($name:literal) => {{
        #[cfg(feature = "fault-points")]
        $crate::fault::armed::hit($name);
    }};
}

pub(crate) use point;

#[cfg(feature = "fault-points")]
pub(crate) mod armed;
#[cfg(any(test, feature = "fault-points"))]
mod script;
