//! Faults from the outside, on the built binary: each test is named after its scenario. What a lower level can show stands
//! there.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../fixture/mod.rs"]
mod fixture;

mod console;
mod deps;
mod groups;
mod output;
mod pid_files;
mod points;
mod roles;
mod runs;
mod several;
mod signals;
