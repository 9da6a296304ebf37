//! Places in which a container may leave us: nothing to write, no home, no /proc, a filter before the kernel, no privileges,
//! little memory (`EN-01` to `EN-08`). For root, who alone can make them; others run what they can.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/namespace.rs"]
mod namespace;

#[path = "../fixture/mod.rs"]
mod fixture;

mod bed;
mod disks;
mod filters;
mod privileges;
mod processes;
mod surroundings;
