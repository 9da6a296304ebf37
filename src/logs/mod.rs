//! Pump, index, rotation, query of what services print.
//!
//! Law of the room: knows streams and runs, never states. Files get every byte, and so does a [`Sink`]; whoever only watches is a
//! lossy, counted subscriber.

mod chunks;
mod cut;
mod follow;
mod index;
mod journal;
mod last;
mod lines;
mod place;
mod pump;
mod query;
mod read;
mod seam;
mod sink;
mod subscribe;
mod tap;
#[cfg(test)]
mod tests;
mod turn;

pub use cut::{Line, Partial};
pub use follow::{Follow, Told};
pub use last::{last_lines, latest_run};
pub use lines::LINE_CAP;
pub use place::{LogPlace, Tail, is_file_of};
pub use pump::Pump;
pub use query::{Query, Which, pattern};
pub use read::{Lines, read, read_to};
pub use seam::Seam;
pub use sink::{Origin, Render, Sink};
pub use subscribe::{Filter, Subscription};

use std::os::fd::OwnedFd;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::spec::{LogTarget, ServiceName};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Out,
    Err,
}

/// The two streams of one run, as handed to the pump. The descriptors are read ends, non-blocking.
#[derive(Debug)]
pub struct OpenRun {
    pub service: ServiceName,
    pub run: u32,
    /// It was begun before this pump: what comes goes on with what the log has of the last run of this number.
    pub adopted: bool,
    pub out: OwnedFd,
    pub err: OwnedFd,
    pub target: LogTarget,
    /// Regexes (bytes) whose first match in this run is reported, each once, by its place here.
    pub matchers: Vec<String>,
}

/// What the pump tells the daemon.
#[derive(Debug)]
pub enum LogFact {
    /// `matchers[index]` matched a line of this run.
    Matched {
        service: ServiceName,
        run: u32,
        index: usize,
        line: Vec<u8>,
    },
    /// Everything written before the question was asked is in the log (the answer to `drain`).
    Drained { service: ServiceName, run: u32 },
    /// Somebody has deleted the log; it goes on in a new file.
    Deleted { service: ServiceName },
    /// The log could not be written (disk full, say), or can be again (`None`). Services wait meanwhile.
    Trouble {
        service: ServiceName,
        problem: Option<String>,
    },
}

/// What a subscriber gets. Bytes are as written; a chunk may end in the middle of a line.
#[derive(Clone, Debug)]
pub enum Output {
    Chunk {
        service: ServiceName,
        run: u32,
        stream: Stream,
        /// Wall clock, ns since 1970, when it was taken.
        time_ns: i64,
        bytes: Bytes,
    },
    /// The subscriber was too slow and missed this much since the last chunk of that stream.
    Skipped {
        service: ServiceName,
        /// Of the last of it, as `time_ns`.
        run: u32,
        stream: Stream,
        time_ns: i64,
        /// Line ends.
        lines: u64,
        bytes: u64,
        /// It ends within a line: the next bytes are the rest of that.
        within_line: bool,
    },
    /// Nothing more will come of this run.
    Ended { service: ServiceName, run: u32 },
}
