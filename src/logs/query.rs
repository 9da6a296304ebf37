//! Reads lines of one service back: by number, run, stream and time, over all rotated files.
//!
//! Order is that of the bytes in the log: exact within a stream, and across the two streams in the order in which the pump
//! took them. A line counts as being where it ends and as old as its first byte. Clock steps change nothing in the order.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use memchr::{memchr, memchr_iter};

use super::Stream;
use super::chunks::{Chunk, Chunks};
use super::lines::LINE_CAP;

/// How far back the beginning of the other stream's current line is looked for, in chunks.
const LOOK_BACK: u64 = 4096;

/// Which lines. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub run: Option<u32>,
    pub stream: Option<Stream>,
    /// Wall clock, ns since 1970; both ends belong to it.
    pub since_ns: Option<i64>,
    pub until_ns: Option<i64>,
    /// Only the last lines of those.
    pub tail: Option<usize>,
}

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

/// The lines that a [`Query`] asks for, from old to new. Memory is bounded: 64 KiB a stream, and with `tail` the lines asked for.
#[derive(Debug)]
pub struct Lines {
    chunks: Chunks,
    query: Query,
    next: u64,
    current: Option<(Chunk, u64)>,
    partials: Vec<Partial>,
    ready: VecDeque<Line>,
    newest_run: u32,
    ended: bool,
    buffer: Vec<u8>,
}

/// A line of which the end was not seen yet.
#[derive(Debug)]
struct Partial {
    run: u32,
    stream: Stream,
    time_ns: i64,
    bytes: Vec<u8>,
    /// Its beginning was left out, so is the rest.
    left_out: bool,
}

/// Opens the log whose current file this is. A log that does not exist (yet) has no lines.
pub fn read(log: &Path, query: &Query) -> io::Result<Lines> {
    let mut lines = Lines {
        chunks: Chunks::open(log)?,
        query: query.clone(),
        next: 0,
        current: None,
        partials: Vec::new(),
        ready: VecDeque::new(),
        newest_run: 0,
        ended: false,
        buffer: Vec::new(),
    };
    if let Some(tail) = query.tail {
        lines.next = lines.start_of_tail(tail)?;
        lines.keep_tail(tail)?;
    }
    Ok(lines)
}

/// The number of the newest run that wrote anything.
pub fn latest_run(log: &Path) -> io::Result<Option<u32>> {
    let mut chunks = Chunks::open(log)?;
    for at in (0..chunks.count()).rev() {
        if let Some(chunk) = chunks.get(at)? {
            return Ok(Some(chunk.run));
        }
    }
    Ok(None)
}

/// The last lines that a run wrote since an instant (wall clock, ns), of both streams, without line ends: at most `count` of them out of its last
/// `max_bytes`. Reads from the end only. What can't be read is left out: this is an ornament of a failure.
pub fn last_lines(log: &Path, run: (u32, i64), count: usize, max_bytes: usize) -> Vec<Vec<u8>> {
    let pieces = last_pieces(log, run, count, max_bytes as u64).unwrap_or_default();
    let mut open = [Vec::new(), Vec::new()];
    let mut lines = VecDeque::new();
    for (stream, bytes) in pieces.into_iter().rev() {
        let open = &mut open[stream as usize];
        let mut parts = bytes.split(|&byte| byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            open.extend_from_slice(part);
            if parts.peek().is_some() {
                lines.push_back(std::mem::take(open));
            }
        }
    }
    lines.extend(open.into_iter().filter(|rest| !rest.is_empty()));
    lines.drain(..lines.len().saturating_sub(count));
    lines.into()
}

/// From new to old, until there are enough.
fn last_pieces(
    log: &Path,
    (run, since_ns): (u32, i64),
    count: usize,
    mut left: u64,
) -> io::Result<Vec<(Stream, Vec<u8>)>> {
    let mut chunks = Chunks::open(log)?;
    let mut pieces = Vec::new();
    let mut newlines = 0;
    let total = chunks.count();
    for at in (total.saturating_sub(LOOK_BACK)..total).rev() {
        if left == 0 || newlines > count {
            break;
        }
        let Some(chunk) = chunks
            .get(at)?
            .filter(|chunk| chunk.run == run && chunk.time_ns >= since_ns)
        else {
            continue;
        };
        let mut skip = chunk.length.saturating_sub(left);
        left -= chunk.length - skip;
        let mut bytes = Vec::new();
        let mut piece = Vec::new();
        while skip < chunk.length {
            chunks.read(&chunk, skip, &mut piece)?;
            skip += piece.len() as u64;
            bytes.extend_from_slice(&piece);
        }
        newlines += memchr_iter(b'\n', &bytes).count();
        pieces.push((chunk.stream, bytes));
    }
    Ok(pieces)
}

impl Lines {
    fn is_in_time(&self, time_ns: i64) -> bool {
        self.query.since_ns.is_none_or(|since| since <= time_ns)
            && self.query.until_ns.is_none_or(|until| time_ns <= until)
    }

    fn is_asked_for(&self, chunk: &Chunk) -> bool {
        self.query.run.is_none_or(|run| run == chunk.run)
            && self.query.stream.is_none_or(|stream| stream == chunk.stream)
    }

    /// The chunk from which on there are certainly `tail` lines, and which no line of them begins before.
    fn start_of_tail(&mut self, tail: usize) -> io::Result<u64> {
        let mut newlines = 0;
        let mut start = self.chunks.count();
        while start > 0 && newlines <= tail {
            start -= 1;
            let Some(chunk) = self.chunks.get(start)? else { continue };
            if self.is_asked_for(&chunk) && self.is_in_time(chunk.time_ns) {
                newlines += self.count_newlines(&chunk)?;
            }
        }
        // A stream's first line here may have begun in a chunk further back.
        let mut at = start;
        let mut sought = vec![Stream::Out, Stream::Err];
        while at > start.saturating_sub(LOOK_BACK) && !sought.is_empty() {
            at -= 1;
            let Some(chunk) = self.chunks.get(at)? else { continue };
            if sought.contains(&chunk.stream) && self.is_asked_for(&chunk) {
                match self.chunks.ends_a_line(&chunk)? {
                    true => sought.retain(|&stream| stream != chunk.stream),
                    false => start = at,
                }
            }
        }
        Ok(start)
    }

    fn count_newlines(&mut self, chunk: &Chunk) -> io::Result<usize> {
        let mut piece = std::mem::take(&mut self.buffer);
        let (mut done, mut newlines) = (0, 0);
        while done < chunk.length {
            self.chunks.read(chunk, done, &mut piece)?;
            done += piece.len() as u64;
            newlines += memchr_iter(b'\n', &piece).count();
        }
        self.buffer = piece;
        Ok(newlines)
    }

    fn keep_tail(&mut self, tail: usize) -> io::Result<()> {
        while !self.ended {
            self.step()?;
            let extra = self.ready.len().saturating_sub(tail);
            self.ready.drain(..extra);
        }
        Ok(())
    }

    /// One piece further.
    fn step(&mut self) -> io::Result<()> {
        let (chunk, done) = match self.current.take() {
            Some(current) => current,
            None => match self.next_chunk()? {
                Some(chunk) => (chunk, 0),
                None => return Ok(()),
            },
        };
        let mut piece = std::mem::take(&mut self.buffer);
        self.chunks.read(&chunk, done, &mut piece)?;
        self.cut(&chunk, &piece);
        let done = done + piece.len() as u64;
        self.current = (done < chunk.length).then_some((chunk, done));
        self.buffer = piece;
        Ok(())
    }

    /// The next chunk that has to be read; at the end, what is incomplete becomes complete.
    fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        if self.next >= self.chunks.count() {
            self.ended = true;
            self.complete(u32::MAX);
            return Ok(None);
        }
        let chunk = self.chunks.get(self.next)?;
        self.next += 1;
        let Some(chunk) = chunk.filter(|chunk| self.is_asked_for(chunk)) else {
            return Ok(None);
        };
        if chunk.run > self.newest_run {
            self.newest_run = chunk.run;
            self.complete(chunk.run);
        }
        let partial = self.partial(&chunk);
        let goes_on = !partial.left_out && !partial.bytes.is_empty();
        if goes_on || self.is_in_time(chunk.time_ns) {
            return Ok(Some(chunk));
        }
        let left_out = !self.chunks.ends_a_line(&chunk)?;
        self.partial(&chunk).left_out = left_out;
        Ok(None)
    }

    fn partial(&mut self, chunk: &Chunk) -> &mut Partial {
        let is_its = |partial: &Partial| partial.run == chunk.run && partial.stream == chunk.stream;
        let at = self.partials.iter().position(is_its).unwrap_or_else(|| {
            self.partials.push(Partial {
                run: chunk.run,
                stream: chunk.stream,
                time_ns: 0,
                bytes: Vec::new(),
                left_out: false,
            });
            self.partials.len() - 1
        });
        &mut self.partials[at]
    }

    fn cut(&mut self, chunk: &Chunk, mut piece: &[u8]) {
        let in_time = self.is_in_time(chunk.time_ns);
        let mut complete = Vec::new();
        let partial = self.partial(chunk);
        while !piece.is_empty() {
            if partial.bytes.is_empty() && !partial.left_out {
                partial.time_ns = chunk.time_ns;
                partial.left_out = !in_time;
            }
            let end = memchr(b'\n', piece);
            let room = LINE_CAP - partial.bytes.len();
            let length = end.unwrap_or(piece.len());
            if partial.left_out {
                partial.left_out = end.is_none();
            } else {
                partial.bytes.extend_from_slice(&piece[..length.min(room)]);
                let continued = length > room || (end.is_none() && length == room);
                if end.is_some() || continued {
                    complete.push(partial.take(continued));
                }
                if continued {
                    piece = &piece[length.min(room)..];
                    continue;
                }
            }
            piece = &piece[(length + usize::from(end.is_some()))..];
        }
        self.ready.extend(complete);
    }

    /// Lines without an end, of runs before this one.
    fn complete(&mut self, before: u32) {
        for partial in self
            .partials
            .extract_if(.., |partial| partial.run < before || before == u32::MAX)
        {
            if !partial.bytes.is_empty() {
                let mut partial = partial;
                self.ready.push_back(partial.take(false));
            }
        }
    }
}

impl Partial {
    fn take(&mut self, continued: bool) -> Line {
        Line {
            time_ns: self.time_ns,
            run: self.run,
            stream: self.stream,
            bytes: std::mem::take(&mut self.bytes),
            continued,
        }
    }
}

impl Iterator for Lines {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.step() {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }
}
