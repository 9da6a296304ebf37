//! Lines out of chunks, and the patterns that wait for one of them.

use memchr::memchr;
use regex::bytes::Regex;

/// A longer line is looked at up to here only (LG-02: no line can make runner grow).
pub const LINE_CAP: usize = 64 << 10;

/// Puts the lines of one stream together. Holds memory only while a line is incomplete.
#[derive(Debug, Default)]
pub struct Assembler {
    partial: Vec<u8>,
    /// The current line was handed out at the cap; what is left of it is passed over.
    passing_over: bool,
}

impl Assembler {
    /// Calls `line` for each line that is complete now, without its line ending.
    pub fn feed(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (head, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.passing_over {
                self.passing_over = false;
            } else if self.partial.is_empty() {
                line(without_return(&head[..head.len().min(LINE_CAP)]));
            } else {
                self.hold(head);
                line(without_return(&self.partial));
                self.partial.clear();
            }
            bytes = rest;
        }
        if !self.passing_over && !bytes.is_empty() {
            self.hold(bytes);
            if self.partial.len() >= LINE_CAP {
                self.passing_over = true;
                line(&std::mem::take(&mut self.partial));
            }
        }
    }

    /// The stream ended: what has no line ending is a line too.
    pub fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        let rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() {
            line(without_return(&rest));
        }
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = LINE_CAP - self.partial.len();
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The patterns of one run that have not matched yet.
#[derive(Debug, Default)]
pub struct Matchers(Vec<(usize, Regex)>);

impl Matchers {
    pub fn new(patterns: Vec<Regex>) -> Self {
        Matchers(patterns.into_iter().enumerate().collect())
    }

    /// Further patterns, whose places begin with `first`.
    pub fn add(&mut self, first: usize, patterns: Vec<Regex>) {
        self.0.extend((first..).zip(patterns));
    }

    pub fn are_satisfied(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls `matched` with the place of each pattern that this line is the first to match.
    pub fn see(&mut self, line: &[u8], mut matched: impl FnMut(usize)) {
        self.0.retain(|(place, pattern)| {
            let hit = pattern.is_match(line);
            if hit {
                matched(*place);
            }
            !hit
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut assembler = Assembler::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            assembler.feed(chunk, |line| lines.push(line.to_vec()));
        }
        assembler.finish(|line| lines.push(line.to_vec()));
        lines
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let text = b"one\ntwo\r\n\nthree";
        let whole = fed(&[text]);
        assert_eq!(whole, [&b"one"[..], b"two", b"", b"three"]);
        for cut in 0..text.len() {
            assert_eq!(fed(&[&text[..cut], &text[cut..]]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn lg_02_a_line_without_end_is_looked_at_up_to_the_cap() {
        let block = [b'x'; 10_000];
        let mut chunks: Vec<&[u8]> = vec![&block; 30];
        chunks.push(b"\nnext\n");
        let lines = fed(&chunks);
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].len(), &lines[1][..]), (LINE_CAP, &b"next"[..]));
    }

    #[test]
    fn each_pattern_matches_once() {
        let patterns = ["ready", "re"].map(|pattern| Regex::new(pattern).expect("regex"));
        let mut matchers = Matchers::new(patterns.to_vec());
        let mut seen = Vec::new();
        for line in [&b"\xff re"[..], b"ready", b"ready"] {
            matchers.see(line, |place| seen.push(place));
        }
        assert_eq!(seen, [1, 0]);
        assert!(matchers.are_satisfied());
    }
}
