//! Words, tables, colours: pure functions from `api::wire`, and from the complaints of `config`, to text.

pub mod acted;
pub mod block;
pub mod console;
pub mod definition;
pub mod diagnostic;
pub mod doctor;
pub mod escape;
pub mod events;
pub mod failures;
pub mod json;
pub mod lines;
pub mod shown;
pub mod style;
pub mod table;
pub mod why;
pub mod words;
