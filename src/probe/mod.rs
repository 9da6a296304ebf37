//! Performs one attempt of one probe, of each kind, with a deadline.
//!
//! Law of the room: knows no states and counts no thresholds; one attempt in, one `Outcome` out.

mod check;
mod http;
mod notify;
mod reach;
mod words;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::reconcile::{Outcome, ProbeKind};
use crate::spec::Argv;

pub use check::{attempt, attempt_gates};
pub use notify::{Message, Notification, NotifySocket};
pub use words::describe;

/// What an attempt needs from the daemon, so that this room neither forks nor reads logs.
pub trait Surroundings {
    /// Runs the command as the service (user, environment, folder) through the guardian; ended as a tree at `timeout`.
    ///
    /// Dropping the future ends the tree too: an attempt is dropped when it was cancelled, or when another member of
    /// its `any` has succeeded.
    fn exec<'a>(&'a self, command: &'a Argv, timeout: Duration) -> Pin<Box<dyn Future<Output = Executed> + 'a>>;
    /// Whether the pattern has matched a line of the current run (`Check::Log`).
    fn log_matched(&self, pattern: &str) -> bool;
    /// For `ready`: whether `READY=1` came. For `health`: whether `WATCHDOG=1` (or `READY=1`) came within `within`.
    fn notified(&self, kind: ProbeKind, within: Duration) -> bool;
    /// Whether the current run's process tree holds a listening TCP or Unix socket (`Check::Listen`), or one on this TCP
    /// port (`Check::Binds`).
    fn listens(&self, port: Option<u16>) -> Pin<Box<dyn Future<Output = Outcome> + '_>>;
    /// The main process of the current run.
    fn pid(&self) -> Option<u32>;
}

/// How an exec probe went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executed {
    /// Exit code 0.
    Success,
    /// Exit code or signal in words, and the first bytes of what it printed (capped at 4 KiB).
    Failed {
        how: String,
        output: Vec<u8>,
    },
    TimedOut {
        output: Vec<u8>,
    },
    /// It could not be started for a reason that says nothing about the service.
    Unknown(String),
}
