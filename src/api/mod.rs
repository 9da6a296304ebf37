//! The project's API: serialised shapes, server, client.
//!
//! Law of the room: translates and transports; decides nothing.

pub mod wire;
