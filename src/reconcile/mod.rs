//! The pure core: decides everything, performs nothing.
//!
//! Law of the room: no clock, files, environment, threads, tokio, nix, hash-map order or randomness. Time comes
//! in as [`Now`], what happened as [`Fact`], and what to do goes out as [`Action`]. Given the same facts the
//! room gives the same actions, which is what makes a failing simulation replay.

mod action;
mod event;
mod fact;
mod failure;
mod snapshot;

pub use action::{Action, Ending, Purpose};
pub use event::{Author, Cause, Event, EventKind};
pub use fact::{ExitStatus, Fact, Incarnation, Now, Outcome, ProbeKind, Request, ServiceId};
pub use failure::{Failure, Reason};
pub use snapshot::{Blocker, ServiceSnapshot, Snapshot, StateName};
