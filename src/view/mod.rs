//! Words, tables, colours: pure functions from `api::wire` to text.
