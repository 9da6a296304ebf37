//! The small process that forks, reaps and holds descriptors.
//!
//! Law of the room: single-threaded, no runtime, decides nothing, dies of nothing (of a panic neither: `rescue`).
//!
//! It reads [`orders::Order`]s from a socket and answers with [`orders::Report`]s over [`link::Link`], which both ends
//! use. It is subreaper: whatever a service leaves behind becomes its child, and is traced to the service (`kin`).
//!
//! Where control groups can be made, each service has one of its own (`cgroups`): nothing that it starts leaves it.
//!
//! What is never touched: pid 0, 1 and negative numbers, the daemon, and another runner's tree. The last holds
//! because a guardian is started by `sys::detach` in a session of its own, on /dev/null, and without [`MARK`]: inside
//! a service it becomes our child as every orphan does, but nothing ties it to the service, so no sweep goes near it; and
//! its first act is to leave the service's control group. (One that may not, being another user's, ends with the service.)
//! A nested runner ends by its own rule, when its client does.

mod adopt;
pub mod alone;
mod begin;
mod cgroups;
mod closing;
mod daemons;
mod ends;
pub mod errands;
mod guard;
mod held;
mod kin;
mod launch;
pub mod link;
pub mod orders;
mod record;
pub mod records;
pub mod renewal;
mod rescue;
mod revival;
pub mod seal;
mod sockets;
mod sweep;
mod terminal;
mod writers;

pub use begin::{BARE_VERB, ORDER_DESCRIPTOR, Passed, VERB, Voice, run_bare, run_verb, words};

/// What `ps` calls a guardian and a daemon (prctl(2), PR_SET_NAME): by it one runner knows the processes of another.
pub const NAME: &std::ffi::CStr = c"runner-guardian";
pub const DAEMON_NAME: &std::ffi::CStr = c"runner-daemon";

/// Environment variable that the daemon gives to every launch, unique per ticket: `INSTANCE:TICKET`. A witness of
/// whose process it is, as long as the process does not overwrite its environment. A guardian is started without it.
pub const MARK: &str = "RUNNER_MARK";
