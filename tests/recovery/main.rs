//! What outlives guardian and daemon, and what comes after them: faults from the outside, on the built binary, each named
//! after its scenario.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

#[path = "../common/namespace.rs"]
mod namespace;

mod adopted;
mod exits;
mod loss;
mod output;
mod places;
mod restarts;
mod reuse;
