//! What stands in an image: the static program alone in an empty folder, the examples' Dockerfiles, nginx with PHP and MariaDB.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../fixture/mod.rs"]
mod fixture;

mod container;
mod dockerfiles;
mod health;
mod lemp;
mod panics;
mod program;
mod scratch;
