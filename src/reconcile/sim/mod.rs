//! A simulated machine under the World: tests of the room as a whole.
//!
//! Each history is made from one seed: a random project, random orders and edits, and a machine on which spawns fail,
//! processes end or ignore signals, answers come late, twice or from an older life. After every step the laws in
//! `laws` are judged. `RUNNER_SIM_HISTORIES=n` lives through more of them, `RUNNER_SIM_SEED=s` through that one.

mod body;
pub mod build;
mod dice;
mod drafts;
mod history;
mod host;
mod laws;
mod sight;
pub mod stage;
mod tests;
pub mod text;
mod wishes;
