//! The small process that forks, reaps and holds descriptors.
//!
//! Law of the room: single-threaded, no runtime, decides nothing, dies of nothing.

pub mod orders;
