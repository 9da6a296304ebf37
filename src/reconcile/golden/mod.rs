//! Golden files of the room.

mod tests;
