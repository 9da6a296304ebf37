//! The guardian through its order socket, with the fixture as service. Tests bear the ids of the faults that they show.
#![allow(clippy::unwrap_used)]

#[path = "../fixture/mod.rs"]
mod fixture;
#[path = "../common/namespace.rs"]
mod namespace;
mod nest;
mod reuse;

mod cgroups;
mod daemons;
mod exits;
mod fallbacks;
mod setup;
mod sockets;
mod spawn;
mod stops;
