//! The guardian through its order socket, with the fixture as service. Tests bear the ids of the faults that they show.
#![allow(clippy::unwrap_used)]

#[path = "../fixture/mod.rs"]
mod fixture;
mod nest;

mod cgroups;
mod daemons;
mod exits;
mod fallbacks;
mod setup;
mod spawn;
mod stops;
