//! The end of a log, read from the end only.

use std::collections::VecDeque;
use std::io;

use memchr::memchr_iter;

use super::Stream;
use super::chunks::Chunks;
use super::place::LogPlace;

/// How many chunks are looked at.
const LOOK_BACK: u64 = 4096;

/// The number of the newest run that wrote anything.
pub fn latest_run(log: impl Into<LogPlace>) -> io::Result<Option<u32>> {
    let mut chunks = Chunks::open(&log.into(), None)?;
    for at in (0..chunks.count()).rev() {
        if let Some(chunk) = chunks.get(at)? {
            return Ok(Some(chunk.run.number));
        }
    }
    Ok(None)
}

/// In which life the newest run of this number was begun, as far as the log can be read.
pub(super) fn life_of_run(log: impl Into<LogPlace>, number: u32) -> Option<u32> {
    let mut chunks = Chunks::open(&log.into(), None).ok()?;
    let mut all = (0..chunks.count()).rev();
    all.find_map(|at| chunks.get(at).ok()?.filter(|chunk| chunk.run.number == number))
        .map(|chunk| chunk.run.life)
}

/// The last lines that a run wrote since an instant (wall clock, ns), of both streams, without line ends: at most `count` of them out of its last
/// `max_bytes`. Reads from the end only. What can't be read is left out: this is an ornament of a failure.
pub fn last_lines(log: impl Into<LogPlace>, run: (u32, i64), count: usize, max_bytes: usize) -> Vec<Vec<u8>> {
    let pieces = last_pieces(&log.into(), run, count, max_bytes as u64).unwrap_or_default();
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
    log: &LogPlace,
    (run, since_ns): (u32, i64),
    count: usize,
    mut left: u64,
) -> io::Result<Vec<(Stream, Vec<u8>)>> {
    let mut chunks = Chunks::open(log, None)?;
    let mut pieces = Vec::new();
    let mut newlines = 0;
    let total = chunks.count();
    for at in (total.saturating_sub(LOOK_BACK)..total).rev() {
        if left == 0 || newlines > count {
            break;
        }
        let Some(chunk) = chunks
            .get(at)?
            .filter(|chunk| chunk.run.number == run && chunk.time_ns >= since_ns)
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
