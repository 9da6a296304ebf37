//! Pump, index, rotation, query of what services print.
//!
//! Law of the room: knows streams and runs, never states. Files get every byte; whoever only watches is a lossy,
//! counted subscriber.

mod chunks;
mod index;
mod journal;
mod lines;
mod pump;
mod query;
mod subscribe;
mod tap;
#[cfg(test)]
mod tests;
mod turn;

pub use lines::LINE_CAP;
pub use pump::Pump;
pub use query::{Line, Lines, Query, last_lines, latest_run, read};
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
        bytes: Bytes,
    },
    /// The subscriber was too slow and missed this much since the last chunk of that stream.
    Skipped {
        service: ServiceName,
        stream: Stream,
        lines: u64,
        bytes: u64,
    },
}
