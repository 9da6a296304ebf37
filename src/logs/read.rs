//! Reads lines of one service back: by run, stream, time and pattern, over all rotated files.
//!
//! Order is that of the bytes in the log: exact within a stream, and across the two streams in the order in which the pump
//! took them. A line counts as being where it ends and as old as its first byte. Clock steps change nothing in the order, so a
//! time is not searched for: chunks of other times are passed over by their entries alone.

use std::collections::VecDeque;
use std::io;

use memchr::memchr_iter;

use super::Stream;
use super::chunks::{Chunk, Chunks};
use super::cut::{Line, Partial};
use super::index::RunId;
use super::place::LogPlace;
use super::query::{Query, Which};
use super::seam::Seam;

/// How far back the beginning of the other stream's current line is looked for, in chunks.
const LOOK_BACK: u64 = 4096;
/// So many times more lines are looked at when too few of them match.
const WIDEN: usize = 8;

/// The lines that a [`Query`] asks for, from old to new. Memory is bounded: a piece of the file, and 64 KiB for each stream.
#[derive(Debug)]
pub struct Lines {
    chunks: Chunks,
    query: Query,
    run: Option<RunId>,
    /// Runs whose last line may still get its end.
    open: Vec<RunId>,
    next: u64,
    current: Option<Current>,
    piece: Vec<u8>,
    lanes: Vec<Lane>,
    newest: Option<RunId>,
    /// Lines that a run has left without an end.
    ready: VecDeque<Line>,
    /// Matching lines to be left out before the first that is given.
    skip: usize,
    ended: bool,
}

/// The chunk that is read now.
#[derive(Clone, Copy, Debug)]
struct Current {
    chunk: Chunk,
    /// How much of it was read into the piece, now or before.
    read: u64,
    /// How much of the piece was cut.
    cut: usize,
}

/// One stream of one run.
#[derive(Debug)]
struct Lane {
    run: RunId,
    partial: Partial,
    /// The last chunk that was passed over.
    passed: Option<Chunk>,
}

/// Opens a log; of files the current one is named. A log that does not exist (yet) has no lines.
pub fn read(log: impl Into<LogPlace>, query: &Query) -> io::Result<Lines> {
    read_to(log, query, None)
}

/// The same, up to the seam.
pub fn read_to(log: impl Into<LogPlace>, query: &Query, seam: Option<&Seam>) -> io::Result<Lines> {
    let mut chunks = Chunks::open(&log.into(), seam)?;
    let run = match query.run {
        Some(which) => find_run(&mut chunks, which, seam)?,
        None => None,
    };
    let mut lines = Lines {
        chunks,
        query: query.clone(),
        run,
        open: seam
            .filter(|seam| seam.goes_on)
            .map_or(Vec::new(), |seam| seam.open.clone()),
        next: 0,
        current: None,
        piece: Vec::new(),
        lanes: Vec::new(),
        newest: None,
        ready: VecDeque::new(),
        skip: 0,
        ended: query.run.is_some() && run.is_none(),
    };
    if let Some(tail) = query.tail.filter(|_| !lines.ended) {
        lines.go_to_tail(tail)?;
    }
    Ok(lines)
}

/// From the end, as far as it takes.
fn find_run(chunks: &mut Chunks, which: Which, seam: Option<&Seam>) -> io::Result<Option<RunId>> {
    if let (Which::Number(number), Some(seam)) = (which, seam)
        && let Some(run) = seam.open_run(number)
    {
        // It may have written nothing so far, and an earlier life have had such a number.
        return Ok(Some(run));
    }
    let mut newest: Option<RunId> = None;
    for at in (0..chunks.count()).rev() {
        let Some(chunk) = chunks.get(at)? else { continue };
        match (which, newest) {
            (Which::Number(number), _) if chunk.run.number == number => return Ok(Some(chunk.run)),
            (Which::Number(_), _) => {}
            (Which::Previous, None) => newest = Some(chunk.run),
            // Last words of a run may stand behind the first of the next.
            (Which::Previous, Some(last)) if last != chunk.run => {
                let late = last.life == chunk.run.life && last.number < chunk.run.number;
                return Ok(Some(if late { last } else { chunk.run }));
            }
            (Which::Previous, Some(_)) => {}
        }
    }
    Ok(None)
}

impl Lines {
    /// Beginnings of lines that open runs have not finished (only up to a seam from where somebody follows), once the lines
    /// are at their end.
    pub fn into_unfinished(self) -> Vec<Partial> {
        let begun = |partial: &Partial| partial.is_shown() || partial.is_left_out();
        self.lanes.into_iter().map(|lane| lane.partial).filter(begun).collect()
    }

    fn is_asked_for(&self, chunk: &Chunk) -> bool {
        self.run.is_none_or(|run| run == chunk.run) && self.query.is_in_stream(chunk.stream)
    }

    /// Two passes, so that no number of lines needs memory: one counts, the other leaves out what is too much.
    fn go_to_tail(&mut self, tail: usize) -> io::Result<()> {
        let mut sought = tail;
        loop {
            let start = self.start_of(sought)?;
            self.rewind(start);
            let mut count = 0;
            while self.next_match()?.is_some() {
                count += 1;
            }
            if count >= tail || start == 0 {
                self.rewind(start);
                self.skip = count.saturating_sub(tail);
                return Ok(());
            }
            sought = sought.saturating_mul(WIDEN).saturating_add(1);
        }
    }

    fn rewind(&mut self, start: u64) {
        self.next = start;
        self.current = None;
        self.lanes.clear();
        self.newest = None;
        self.ready.clear();
        self.ended = false;
    }

    /// The chunk from which on there are certainly so many lines, and which no line of them begins before.
    fn start_of(&mut self, lines: usize) -> io::Result<u64> {
        let mut newlines = 0;
        let mut start = self.chunks.count();
        while start > 0 && newlines <= lines {
            start -= 1;
            let Some(chunk) = self.chunks.get(start)? else { continue };
            if self.is_asked_for(&chunk) && self.query.is_in_time(chunk.time_ns) {
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
        let (mut done, mut newlines) = (0, 0);
        while done < chunk.length {
            self.chunks.read(chunk, done, &mut self.piece)?;
            done += self.piece.len() as u64;
            newlines += memchr_iter(b'\n', &self.piece).count();
        }
        Ok(newlines)
    }

    fn next_match(&mut self) -> io::Result<Option<Line>> {
        loop {
            match self.next_line()? {
                Some(line) if self.query.matches(&line) => return Ok(Some(line)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            let Some(mut current) = self.current.take() else {
                self.find_chunk()?;
                continue;
            };
            if current.cut < self.piece.len() {
                let line = self.cut(&mut current);
                self.current = Some(current);
                if line.is_some() {
                    return Ok(line);
                }
            } else if current.read < current.chunk.length {
                self.chunks.read(&current.chunk, current.read, &mut self.piece)?;
                current.read += self.piece.len() as u64;
                current.cut = 0;
                self.current = Some(current);
            }
        }
    }

    /// The next chunk that has to be read; at the end, what is incomplete becomes complete.
    fn find_chunk(&mut self) -> io::Result<()> {
        while self.next < self.chunks.count() {
            let chunk = self.chunks.get(self.next)?;
            self.next += 1;
            let Some(chunk) = chunk.filter(|chunk| self.is_asked_for(chunk)) else {
                continue;
            };
            let is_newer = |newest: RunId| newest.life != chunk.run.life || newest.number < chunk.run.number;
            if self.newest.is_none_or(is_newer) {
                self.newest = Some(chunk.run);
                self.complete_all_but(&[chunk.run]);
            }
            let at = self.lane(&chunk);
            let lane = &mut self.lanes[at];
            if !lane.partial.is_shown() && !self.query.is_in_time(chunk.time_ns) {
                lane.passed = Some(chunk);
                continue;
            }
            lane.settle(&self.chunks)?;
            self.piece.clear();
            self.current = Some(Current { chunk, read: 0, cut: 0 });
            return Ok(());
        }
        self.ended = true;
        let open = std::mem::take(&mut self.open);
        self.complete_all_but(&open);
        self.open = open;
        for lane in &mut self.lanes {
            lane.settle(&self.chunks)?;
        }
        Ok(())
    }

    fn lane(&mut self, chunk: &Chunk) -> usize {
        let is_its = |lane: &Lane| lane.run == chunk.run && lane.partial.stream == chunk.stream;
        self.lanes.iter().position(is_its).unwrap_or_else(|| {
            self.lanes.push(Lane {
                run: chunk.run,
                partial: Partial::new(chunk.run.number, chunk.stream),
                passed: None,
            });
            self.lanes.len() - 1
        })
    }

    fn cut(&mut self, current: &mut Current) -> Option<Line> {
        let in_time = self.query.is_in_time(current.chunk.time_ns);
        let at = self.lane(&current.chunk);
        let mut rest = &self.piece[current.cut..];
        let line = self.lanes[at].partial.take(&mut rest, current.chunk.time_ns, in_time);
        current.cut = self.piece.len() - rest.len();
        line
    }

    /// Lines without an end, of runs that are over.
    fn complete_all_but(&mut self, open: &[RunId]) {
        for mut lane in self.lanes.extract_if(.., |lane| !open.contains(&lane.run)) {
            self.ready.extend(lane.partial.finish());
        }
    }
}

impl Lane {
    /// Whether a line began in what was passed over is asked only when it matters.
    fn settle(&mut self, chunks: &Chunks) -> io::Result<()> {
        if let Some(passed) = self.passed.take() {
            self.partial.leave_out(!chunks.ends_a_line(&passed)?);
        }
        Ok(())
    }
}

impl Iterator for Lines {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_match().transpose()? {
                Ok(_) if self.skip > 0 => self.skip -= 1,
                Ok(line) => return Some(Ok(line)),
                Err(error) => {
                    self.ended = true;
                    self.ready.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}
