//! The pure core: decides everything, performs nothing.
//!
//! Law of the room: no clock, files, environment, threads, tokio, nix, hash-map order or randomness. Time comes
//! in as [`Now`], what happened as [`Fact`], and what to do goes out as [`Action`]. Given the same facts the
//! room gives the same actions, which is what makes a failing simulation replay.

mod action;
mod event;
mod exit;
mod fact;
mod failure;
#[cfg(test)]
mod golden;
pub mod graph;
mod health;
mod machine;
mod plan;
mod ports;
mod quiet;
mod restart;
#[cfg(test)]
pub(crate) mod sim;
mod snapshot;
#[cfg(test)]
mod tests;
mod timers;
mod wish;
mod words;
mod world;

pub use action::{Action, Ending, Purpose};
pub use event::{Author, Cause, Event, EventKind};
pub use exit::Ends;
pub use fact::{ExitStatus, Fact, Incarnation, Now, Outcome, ProbeKind, Request, ServiceId};
pub use failure::{Failure, Reason};
pub use machine::Memory;
pub use plan::{Intent, Plan, Step};
pub use ports::{Holder, PortTaken};
pub use quiet::Quiet;
pub use snapshot::{Blocker, Due, RunEnd, ServiceSnapshot, Snapshot, StateName};
pub use wish::{ByHand, Wishes};
pub use world::{Goal, Link, Progress, Recalled, Recollection, Remembered, Why, World};
