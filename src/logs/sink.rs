//! Where output is shown without a loss: a stdout that somebody collects.
//!
//! A sink is one ordered sequence of bytes. The pump adds what services print, the daemon what happens to them ([`Sink::tell`]), and a
//! thread of its own writes, so that a reader who takes his time holds up nobody but the services whose lines wait for him.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::Notify;

use super::Stream;
use crate::sys;

/// What the daemon tells may wait for the reader up to this; services wait themselves.
const ROOM: usize = 1 << 20;
/// At most this much in one write(2), where nobody is waited for.
const PIECE: usize = 64 << 10;
/// As much as is written to a pipe as a whole or not at all (PIPE_BUF): whenever we are killed, no line is torn. And a slow reader is
/// seen to go on.
const ATOM: usize = 4096;
/// A disk that is full is tried again so much later.
const FULL: Duration = Duration::from_secs(1);

/// From what services print to what is shown of it. Called by the pump's thread; must not wait for anything.
pub trait Render: Send {
    /// Bytes of one stream, as written; a line may be cut anywhere, and what is held of it is shown with its rest.
    fn chunk(&mut self, of: &Origin<'_>, bytes: &[u8], out: &mut Vec<u8>);

    /// Nothing more will come of this run.
    fn end(&mut self, service: &str, run: u32, out: &mut Vec<u8>);
}

/// Whose bytes they are.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    pub service: &'a str,
    pub run: u32,
    pub stream: Stream,
    /// Wall clock, ns since 1970, when they were taken.
    pub time_ns: i64,
}

/// Between whoever adds and the thread that writes.
#[derive(Debug)]
pub struct Sink<R> {
    state: Mutex<State<R>>,
    /// For the writer: there is text, or nothing will come.
    arrived: Condvar,
    /// For whoever waits for the writer: some of it is written.
    progress: Condvar,
    /// The same for the pump.
    written: EventFd,
    /// And for tasks.
    room: Notify,
}

#[derive(Debug)]
struct State<R> {
    render: R,
    /// Not given to the writer yet.
    text: Vec<u8>,
    /// Bytes that were ever added, and written; both only grow.
    added: u64,
    written: u64,
    /// Nobody can read it: what is added is nothing.
    closed: bool,
    ended: bool,
}

impl<R: Render + 'static> Sink<R> {
    /// Starts the thread that writes to `output`. The mode of its open file description is left alone: others share it.
    ///
    /// # Errors
    /// No descriptor or no thread can be had.
    pub fn start(render: R, output: File) -> io::Result<Arc<Sink<R>>> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let sink = Arc::new(Sink {
            state: Mutex::new(State {
                render,
                text: Vec::new(),
                added: 0,
                written: 0,
                closed: false,
                ended: false,
            }),
            arrived: Condvar::new(),
            progress: Condvar::new(),
            written: EventFd::from_value_and_flags(0, flags)?,
            room: Notify::new(),
        });
        let ours = sink.clone();
        std::thread::Builder::new()
            .name("stdout".into())
            .spawn(move || ours.write(output))?;
        Ok(sink)
    }

    /// Adds what `what` appends.
    pub fn tell(&self, what: impl FnOnce(&mut R, &mut Vec<u8>)) {
        self.lock().add(what);
        self.arrived.notify_one();
    }

    /// Until less waits for the reader than it may, for whoever can wait. Safe to cancel.
    pub async fn room(&self) {
        loop {
            let written = self.room.notified();
            if self.lock().text.len() <= ROOM {
                return;
            }
            written.await;
        }
    }

    /// Waits until all is written, or nobody reads: at most `patience` without a byte that is taken. Then the thread ends, if it can.
    pub fn finish(&self, patience: Duration) {
        let mut state = self.lock();
        state.ended = true;
        self.arrived.notify_one();
        let mut deadline = Instant::now() + patience;
        while state.written < state.added && !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let before = state.written;
            state = self
                .progress
                .wait_timeout(state, left)
                .expect("no holder of this lock panics")
                .0;
            if state.written > before {
                deadline = Instant::now() + patience;
            }
        }
    }

    fn write(&self, mut output: File) {
        let mut text = Vec::new();
        loop {
            let mut state = self.lock();
            while state.text.is_empty() && !state.ended {
                state = self.arrived.wait(state).expect("no holder of this lock panics");
            }
            if state.text.is_empty() {
                return;
            }
            std::mem::swap(&mut text, &mut state.text);
            drop(state);
            self.room.notify_one();
            let mut rest = &text[..];
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(next_piece(&output, rest));
                rest = more;
                let outcome = write_all(&mut output, piece);
                let mut state = self.lock();
                state.written += piece.len() as u64;
                state.closed = outcome.is_err();
                if state.closed {
                    (state.written, state.text) = (state.added, Vec::new());
                }
                drop(state);
                self.progress.notify_all();
                if outcome.is_err() {
                    let _ = self.written.write(1);
                    self.room.notify_one();
                    return;
                }
            }
            text.clear();
            // What was needed once is not kept for ever.
            text.shrink_to(4 * PIECE);
            let _ = self.written.write(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl<R> State<R> {
    fn add(&mut self, what: impl FnOnce(&mut R, &mut Vec<u8>)) {
        let before = self.text.len();
        what(&mut self.render, &mut self.text);
        if self.closed {
            self.text.clear();
        } else {
            self.added += (self.text.len() - before) as u64;
        }
    }
}

/// How much of it goes into one write(2): much where nothing waits in the pipe, or there is none; else whole lines of at most [`ATOM`],
/// or a part of one that is longer.
fn next_piece(output: &File, text: &[u8]) -> usize {
    let most = match sys::fifo::waiting(output) == 0 {
        true => PIECE.min(text.len()),
        false => ATOM.min(text.len()),
    };
    if most == text.len() {
        return most;
    }
    memchr::memrchr(b'\n', &text[..most]).map_or(most, |end| end + 1)
}

/// It may be that somebody made the description non-blocking: then the reader is waited for.
fn write_all(output: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut polled = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
                poll(&mut polled, PollTimeout::NONE)?;
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)) && is_regular(output) => {
                // Nothing tells when there is room again; services wait meanwhile, as with a log of their own.
                std::thread::park_timeout(FULL);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// `/dev/full` never has room.
fn is_regular(output: &File) -> bool {
    output.metadata().is_ok_and(|found| found.is_file())
}

/// A sink as the pump knows it.
pub(super) trait Shows: Send + Sync {
    fn chunk(&self, of: &Origin<'_>, bytes: &[u8]);
    fn end(&self, service: &str, run: u32);
    /// Bytes that were ever added, and written.
    fn progress(&self) -> (u64, u64);
    fn is_closed(&self) -> bool;
    /// Counts up with each batch that is written.
    fn written(&self) -> &EventFd;
    fn wake_writer(&self);
}

impl<R: Render + 'static> Shows for Sink<R> {
    fn chunk(&self, of: &Origin<'_>, bytes: &[u8]) {
        self.lock().add(|render, out| render.chunk(of, bytes, out));
    }

    fn end(&self, service: &str, run: u32) {
        self.lock().add(|render, out| render.end(service, run, out));
        self.wake_writer();
    }

    fn progress(&self) -> (u64, u64) {
        let state = self.lock();
        (state.added, state.written)
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn written(&self) -> &EventFd {
        &self.written
    }

    fn wake_writer(&self) {
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn a_pipe_in_which_something_waits_gets_whole_lines_that_are_written_as_one() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let mut pipe = File::from(OwnedFd::from(writer));
        let text: Vec<u8> = [&[b'x'; 1000][..], b"\n"].concat().repeat(100);
        assert_eq!(next_piece(&pipe, &text) % 1001, 0, "whole lines, many of them");
        assert!(next_piece(&pipe, &text) > ATOM);
        pipe.write_all(b"waits").unwrap();
        assert_eq!(next_piece(&pipe, &text), 4 * 1001);
        assert_eq!(next_piece(&pipe, &text[..10]), 10);
        assert_eq!(
            next_piece(&pipe, &[b'x'; 10_000]),
            ATOM,
            "a part of a line that is longer"
        );
    }
}
