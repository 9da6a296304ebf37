//! Which lines somebody wants.

use regex::bytes::{Regex, RegexBuilder};

use super::Stream;
use super::cut::Line;

/// A longer pattern is not one that a person typed.
const PATTERN_BYTES: usize = 2048;
/// What a compiled pattern may hold, and as much again for its cache.
const PATTERN_MEMORY: usize = 1 << 20;

/// Which run. Where lives of the project have used a number again, the newest run with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Number(u32),
    /// The run before the newest one that has written anything.
    Previous,
}

/// Which lines. The default is all of them.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub run: Option<Which>,
    pub stream: Option<Stream>,
    /// Wall clock, ns since 1970; both ends belong to it.
    pub since_ns: Option<i64>,
    pub until_ns: Option<i64>,
    pub grep: Option<Regex>,
    /// Only the last lines of those.
    pub tail: Option<usize>,
}

impl Query {
    pub(super) fn is_in_time(&self, time_ns: i64) -> bool {
        self.since_ns.is_none_or(|since| since <= time_ns) && self.until_ns.is_none_or(|until| time_ns <= until)
    }

    pub(super) fn is_in_stream(&self, stream: Stream) -> bool {
        self.stream.is_none_or(|wanted| wanted == stream)
    }

    pub(super) fn matches(&self, line: &Line) -> bool {
        let text = line.bytes.strip_suffix(b"\r").unwrap_or(&line.bytes);
        self.grep.as_ref().is_none_or(|pattern| pattern.is_match(text))
    }
}

/// A pattern for [`Query::grep`]. Matching takes time in proportion to the line, whatever the pattern (`AP-13`).
///
/// # Errors
/// In words, for a person.
pub fn pattern(text: &str) -> Result<Regex, String> {
    if text.len() > PATTERN_BYTES {
        return Err(format!("a pattern may have {PATTERN_BYTES} bytes"));
    }
    let pattern = RegexBuilder::new(text)
        .size_limit(PATTERN_MEMORY)
        .dfa_size_limit(PATTERN_MEMORY)
        .build();
    pattern.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "the pattern is too large".to_owned(),
        other => other.to_string(),
    })
}
