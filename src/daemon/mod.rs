//! The one loop that owns the `World`.
//!
//! Law of the room: decides nothing (that is `reconcile`'s) and has no children (they are the guardian's). `run` waits
//! for one thing at a time and names it as a fact; `hands` performs what the `World` answers; `story` numbers events;
//! `present` turns snapshots into the shapes of `api::wire`. Everything lives on one thread. The log pump has
//! another, so that a slow disk can't stall a decision; the watcher of the files has its own, and so has what services want watched; whatever reads files at length
//! (a definition, logs, the history) is done by threads that only read.

mod alarm;
mod begin;
mod book;
mod census;
mod console;
mod errand;
mod events;
mod files;
mod hands;
mod launch;
mod link;
mod ports;
mod preparation;
mod present;
mod reading;
mod rebirth;
mod recovery;
mod run;
mod showing;
mod store;
mod story;
mod surroundings;
mod terminal;
#[cfg(test)]
mod tests;
mod turns;
mod upward;
mod waiting;
mod watching;

pub use begin::main;
pub use preparation::FILL_VERB;
