//! The project's API: serialised shapes, server, client. HTTP/1.1 over the project's Unix socket.
//!
//! Law of the room: translates and transports; decides nothing. Whoever calls here is a client of [`wire`] and of
//! nothing else; whoever serves it answers [`server::Call`]s.

pub mod attach;
pub mod boot;
pub mod client;
pub mod events;
pub mod frames;
pub mod history;
pub mod lines;
pub mod metrics;
pub mod openapi;
mod params;
pub mod past;
pub mod prepared;
pub mod query;
mod routes;
pub mod schema;
pub mod server;
mod verbs;
pub mod wire;
pub mod wishes;
