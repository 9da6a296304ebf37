//! What is wanted, as checked data.
//!
//! Law of the room: pure. Nothing here reads a file, a clock or the environment; whoever holds a value
//! of this room holds something that `config` has checked. Each key of a service stands here once, with its
//! type, its change class and its documentation.

mod common;
mod compare;
mod fingerprint;
pub mod keys;
mod outputs;
mod probe;
mod project;
mod remnant;
mod replica;
mod schedule;
mod service;
mod setup;
mod shape;
mod watch;
mod written;

pub use common::{Argv, Bytes, ServiceName, Signal};
pub use compare::{Difference, duration_text};
pub use fingerprint::Fingerprint;
pub use outputs::{Given, OutputName, as_template};
pub use probe::{Check, HttpCheck, Probe, StatusPattern, TcpTarget};
pub use project::{ExitPolicy, Project};
pub use remnant::Remnant;
pub use replica::{Group, Rollout, Scaled};
pub use schedule::{Schedule, ever_fires};
pub use service::{
    Backoff, Change, Condition, Dependency, Gate, Kind, Limit, LogFile, LogMemory, LogTarget, PidFile, PidFileMode,
    Port, PortConflict, Protocol, Resource, Restart, Rung, Service, StopScope, SupervisorExit,
};
pub use setup::{Hooks, PrepareStep, RenderedFile, Source};
pub use shape::{Key, Shape, TableShape};
pub use watch::{Watch, WatchAction, WatchGlob};
