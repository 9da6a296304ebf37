//! Bytes of one stream cut into lines: the same whether they are read from a file or come just now.

use memchr::memchr;

use super::Stream;
use super::lines::LINE_CAP;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Wall clock, ns since 1970, when its first byte was taken.
    pub time_ns: i64,
    pub run: u32,
    pub stream: Stream,
    /// As written, without the newline.
    pub bytes: Vec<u8>,
    /// Too long for one piece (64 KiB): the next line of this stream goes on with it.
    pub continued: bool,
}

/// A line of which the end was not seen yet.
#[derive(Debug)]
pub struct Partial {
    pub run: u32,
    pub stream: Stream,
    time_ns: i64,
    bytes: Vec<u8>,
    /// A piece of it was handed out.
    goes_on: bool,
    /// Its beginning was left out, so is the rest.
    left_out: bool,
}

impl Partial {
    pub fn new(run: u32, stream: Stream) -> Partial {
        Partial {
            run,
            stream,
            time_ns: 0,
            bytes: Vec::new(),
            goes_on: false,
            left_out: false,
        }
    }

    /// Takes from `text` what belongs to one line, at most a piece; gives it when that is complete. What begins here and is
    /// not `wanted` is left out up to its end.
    pub fn take(&mut self, text: &mut &[u8], time_ns: i64, wanted: bool) -> Option<Line> {
        if self.bytes.is_empty() && !self.left_out {
            self.time_ns = time_ns;
            self.left_out = !wanted && !self.goes_on;
        }
        let end = memchr(b'\n', text);
        let length = end.unwrap_or(text.len());
        if self.left_out {
            self.left_out = end.is_none();
            *text = &text[length + usize::from(end.is_some())..];
            return None;
        }
        // A full piece is held until it is known whether its line goes on, so that the cut does not depend on the chunks.
        let room = LINE_CAP - self.bytes.len();
        self.bytes.extend_from_slice(&text[..length.min(room)]);
        if length > room {
            *text = &text[room..];
            return Some(self.line(true));
        }
        *text = &text[length + usize::from(end.is_some())..];
        end.map(|_| self.line(false))
    }

    /// What there is of a line that has no end.
    pub fn finish(&mut self) -> Option<Line> {
        self.left_out = false;
        (!self.bytes.is_empty()).then(|| self.line(false))
    }

    /// The next bytes belong to the line whose beginning was handed out or is held.
    pub fn is_shown(&self) -> bool {
        self.goes_on || !self.bytes.is_empty()
    }

    pub fn is_left_out(&self) -> bool {
        self.left_out
    }

    /// Forgets what is held; with `rest` also what comes up to the end of the line.
    pub fn leave_out(&mut self, rest: bool) {
        self.bytes.clear();
        self.goes_on = false;
        self.left_out = rest;
    }

    fn line(&mut self, continued: bool) -> Line {
        self.goes_on = continued;
        Line {
            time_ns: self.time_ns,
            run: self.run,
            stream: self.stream,
            bytes: std::mem::take(&mut self.bytes),
            continued,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]]) -> Vec<(usize, bool)> {
        let mut partial = Partial::new(1, Stream::Out);
        let mut lines = Vec::new();
        for chunk in chunks {
            let mut rest = *chunk;
            while !rest.is_empty() {
                lines.extend(partial.take(&mut rest, 0, true));
            }
        }
        lines.extend(partial.finish());
        lines.iter().map(|line| (line.bytes.len(), line.continued)).collect()
    }

    #[test]
    fn lg_02_pieces_are_the_same_however_the_bytes_come() {
        let mut text = vec![b'x'; LINE_CAP];
        text.push(b'\n');
        text.extend(vec![b'y'; 2 * LINE_CAP + 1]);
        text.extend(b"\n\nz");
        let wanted = [
            (LINE_CAP, false),
            (LINE_CAP, true),
            (LINE_CAP, true),
            (1, false),
            (0, false),
            (1, false),
        ];
        assert_eq!(cut(&[&text]), wanted);
        for at in [
            1,
            LINE_CAP - 1,
            LINE_CAP,
            LINE_CAP + 1,
            LINE_CAP + 2,
            2 * LINE_CAP + 1,
            3 * LINE_CAP + 2,
        ] {
            assert_eq!(cut(&[&text[..at], &text[at..]]), wanted, "cut at {at}");
        }
    }

    #[test]
    fn what_is_not_wanted_is_left_out_as_a_whole_line() {
        let mut partial = Partial::new(1, Stream::Out);
        let mut rest = &b"old be"[..];
        assert!(partial.take(&mut rest, 1, false).is_none() && rest.is_empty());
        let mut rest = &b"gun\nnew\n"[..];
        assert!(partial.take(&mut rest, 2, true).is_none());
        assert_eq!(
            partial.take(&mut rest, 2, true).map(|line| line.bytes),
            Some(b"new".to_vec())
        );
    }
}
