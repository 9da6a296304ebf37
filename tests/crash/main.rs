//! Runner is killed or panics, again and again, and afterwards nothing is amiss (CR-01, CR-14).
//!
//! `cargo test --features fault-points --test crash` for the short form. The long one is a command:
//! `RUNNER_CHAOS_KILLS=5000 cargo test --features fault-points --test crash chaos`; `RUNNER_CHAOS_SEED=N` makes the same
//! choices again (what the kernel does with them is another matter). `RUNNER_CRASH_POINT=NAME` enumerates the hits of one point alone.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../fixture/mod.rs"]
mod fixture;

mod bed;
mod chaos;
mod enumerate;
mod oracles;
mod scenario;
#[cfg(feature = "source")]
mod source;
