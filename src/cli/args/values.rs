//! How words behind flags are read.

use std::time::Duration;

/// Durations as in the file: `500ms`, `10s`, `1m30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    crate::config::duration(text)
}

/// ns since 1970.
pub fn instant(text: &str) -> Result<i64, String> {
    crate::api::query::instant(text, jiff::Timestamp::now())
}

/// The number of an event.
pub fn cursor(text: &str) -> Result<u64, String> {
    let wrong = "the number of an event is expected, as `events` shows it (a time is what `logs --since` takes)";
    text.parse().map_err(|_| wrong.to_owned())
}

pub fn end(text: &str) -> Result<i64, String> {
    crate::api::query::end(text, jiff::Timestamp::now())
}
