//! Words, tables, colours: pure functions from `api::wire`, and from the complaints of `config`, to text.

pub mod console;
pub mod diagnostic;
pub mod doctor;
mod escape;
pub mod lines;
pub mod style;
pub mod table;
pub mod words;
