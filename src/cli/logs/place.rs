//! How far a follower has come, so that it can go on with another daemon: every line once.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::api::wire::LogLine;
use crate::logs::Stream;

/// Streams are read side by side, so that the lines of one may come this much later than those of another (ns).
const APART: i64 = 10_000_000_000;

#[derive(Default)]
pub struct Place {
    /// The instant of the last line of each stream, and how many of its lines have that instant: a piece has one.
    streams: HashMap<(String, Stream), (i64, u64)>,
    /// While we go on: how many of those are still to be passed over.
    known: HashMap<(String, Stream), (i64, u64)>,
}

impl Place {
    /// Whether a line is a new one.
    pub fn is_new(&mut self, line: &LogLine) -> bool {
        let Some(at) = instant(&line.time) else { return true };
        let key = (line.service.clone(), line.stream);
        if let Some((last, left)) = self.known.get_mut(&key) {
            if at < *last {
                return false;
            }
            if at == *last && *left > 0 {
                *left -= 1;
                return false;
            }
        }
        let (last, count) = self.streams.entry(key).or_insert((at, 0));
        *count = if *last == at { *count + 1 } else { 1 };
        *last = at;
        true
    }

    /// From when on it has to be read again. `None`: nothing has come yet.
    pub fn begin_again(&mut self) -> Option<i64> {
        self.known = self.streams.clone();
        let latest = self.streams.values().map(|(last, _)| *last).max()?;
        Some(latest.saturating_sub(APART))
    }
}

fn instant(time: &str) -> Option<i64> {
    let instant: Timestamp = time.parse().ok()?;
    i64::try_from(instant.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(service: &str, second: u32) -> LogLine {
        LogLine {
            time: format!("2026-01-01T00:00:{second:02}Z"),
            service: service.to_owned(),
            run: 1,
            stream: Stream::Out,
            line: Some(String::new()),
            line_base64: None,
            continued: false,
            skipped: None,
        }
    }

    #[test]
    fn what_comes_again_is_passed_over_and_nothing_else() {
        let mut place = Place::default();
        assert_eq!(place.begin_again(), None);
        for (service, second) in [("a", 1), ("a", 2), ("a", 2), ("b", 5)] {
            assert!(place.is_new(&line(service, second)));
        }
        let since = place.begin_again().unwrap();
        assert_eq!(since, instant("2025-12-31T23:59:55Z").unwrap());
        let again = [
            ("a", 1),
            ("a", 2),
            ("a", 2),
            ("a", 2),
            ("b", 5),
            ("b", 5),
            ("c", 1),
            ("a", 3),
        ];
        let new: Vec<bool> = again
            .iter()
            .map(|(service, second)| place.is_new(&line(service, *second)))
            .collect();
        assert_eq!(new, [false, false, false, true, false, true, true, true]);
    }

    #[test]
    fn twice_in_a_row() {
        let mut place = Place::default();
        assert!(place.is_new(&line("a", 1)));
        for _ in 0..3 {
            place.begin_again();
            assert!(!place.is_new(&line("a", 1)));
        }
        assert!(place.is_new(&line("a", 1)), "a second line of that instant");
    }
}
