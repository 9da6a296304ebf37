//! The control plane as a hostile or unlucky client meets it: the built binary, spoken to over its socket byte by byte.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod door;
mod fuzz;
mod hostile;
mod raw;
#[cfg(feature = "openapi")]
mod routes;
#[cfg(feature = "openapi")]
mod shape;
mod stream;
