//! The project's API: serialised shapes, server, client. HTTP/1.1 over the project's Unix socket.
//!
//! Law of the room: translates and transports; decides nothing. Whoever calls here is a client of [`wire`] and of
//! nothing else; whoever serves it answers [`server::Call`]s.

pub mod boot;
pub mod client;
pub mod frames;
pub mod past;
pub mod query;
pub mod server;
pub mod wire;
