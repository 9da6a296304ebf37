//! The house of `runner`: a map.
//!
//! ```text
//!  services.toml ──text──▶ config::Document ──check──▶ spec::Project ─────────────┐  wishes go down
//!                                                                                 ▼
//!  CLI · TUI · web ──request──▶ api ──▶ daemon ──Fact──▶ reconcile::World::step(now, Fact) ──▶ [Action]
//!         ▲                              ▲                                                       │
//!         └──────── snapshot, events ────┤                                                       ▼
//!                                        └── facts come up ◀── logs · probe · guardian ◀── daemon::hands
//! ```
//!
//! | room | what lives there | may never |
//! |---|---|---|
//! | `main.rs` | parse, call the verb, turn the outcome into words and an exit code | hold logic |
//! | [`cli`] | clap types and one file per verb; a verb is a client of `api` (or of `config` for offline verbs) | touch `daemon`, processes |
//! | [`daemon`] | the one loop that owns the `World`; `hands` (performs actions); watching and reading the files; the history and the durable wishes; lock and records | decide; have children |
//! | [`view`] | words, tables, colours, console lines: pure functions from `api::wire` (and complaints of `config`) to text | ask anybody |
//! | `convert` | files of other tools, and what a folder holds, to the text of a services.toml and a report; behind the feature `convert` | read or write files |
//! | [`guardian`] | the small process that forks, reaps and holds descriptors | decide; use an async runtime |
//! | [`api`] | `wire` (the serialised shapes), server, client | decide |
//! | [`logs`] | pump, index, rotation, query | know states |
//! | [`probe`] | performs one probe of each kind, with a deadline | count thresholds |
//! | [`sys`] | every talk with the kernel: fork and exec, identity, signals, ports, users, usage | know services' meaning |
//! | [`reconcile`] | pure: `World`, plan, one service's `Machine`, graph, restart, health, failure; `Fact` and `Action` | clock, files, threads, tokio |
//! | [`config`] | text to checked `Project`: find, read, merge, template, check; complaints with places | default silently, stop at the first error |
//! | [`spec`] | pure data: what is wanted, as checked types | I/O |
//! | `fault` | points at which tests kill us or make us panic; nothing without the feature `fault-points` | be in a release |
//!
//! Arrows of import only point down this table (`tests/tidy.rs` checks it).

pub mod api;
pub mod cli;
pub mod config;
#[cfg(feature = "convert")]
pub mod convert;
pub mod daemon;
mod fault;
pub mod guardian;
pub mod logs;
pub mod probe;
pub mod reconcile;
pub mod spec;
pub mod sys;
pub mod view;
