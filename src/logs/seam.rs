//! The place in a log at which what was becomes what comes.

use std::fs::File;

use super::chunks::open_if_there;
use super::index::RunId;
use super::place::LogPlace;

/// Where a log ended when the pump was asked. Reading up to here and following from here gives every byte once.
#[derive(Debug)]
pub struct Seam {
    /// The current file, held so that no other can get its inode, and its length; `None` where there was no file.
    pub(super) end: Option<(File, u64)>,
    /// Runs that may still write.
    pub(super) open: Vec<RunId>,
    /// Somebody follows from here: a line that an open run has begun is no line yet.
    pub(super) goes_on: bool,
}

impl Seam {
    /// The open run of this number.
    pub(super) fn open_run(&self, number: u32) -> Option<RunId> {
        self.open.iter().copied().find(|run| run.number == number)
    }
}

/// The end of a log that nobody writes.
pub(super) fn end_of(log: &LogPlace) -> Option<(File, u64)> {
    let file = match log {
        // What can't be opened is told by whoever reads it.
        LogPlace::Files(path) => open_if_there(path).ok()??,
        LogPlace::Memory(tail) => tail.parts().ok()?.pop()?.log,
    };
    let length = file.metadata().ok()?.len();
    Some((file, length))
}
