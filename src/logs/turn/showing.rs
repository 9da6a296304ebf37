//! What services print goes to a sink before it is taken into the logs.
//!
//! The bytes of a FIFO are copied (tee(2)), rendered and given to the sink, and only when they are written they are taken: whenever
//! the pump is killed, what was not shown is still in the FIFO, and at most one batch is shown again. One batch is on its way at a
//! time, and each stream has a share of it, so that one that prints a lot waits for its next turn like all others.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memchr::memrchr;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, tee};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{READY, Turn, WRITTEN};
use crate::logs::LogFact;
use crate::logs::sink::{Origin, Shows};
use crate::logs::tap::{Around, Taken, Tap, wall_ns};
use crate::spec::ServiceName;
use crate::sys;

/// So many streams are in one batch at most.
const STREAMS: usize = 8;
/// A batch has about this many bytes, shared by the streams that have something.
const BATCH: usize = 256 << 10;
/// The beginning of a line stays in its FIFO until it is whole, if it is shorter than this and the pipe has room for more.
const HELD: usize = 16 << 10;
/// A reader that takes nothing for so long holds up no end any more.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Showing {
    sink: Arc<dyn Shows>,
    /// Of the streams that are shown; edge-triggered, as what is shown stays in its pipe for a while.
    pub epoll: Epoll,
    /// The thread looks at it: not while a batch is on its way.
    watched: bool,
    /// Streams that have something, in the order of their turns.
    ready: VecDeque<usize>,
    batch: Option<Batch>,
    /// Drains that wait until what was written before them is shown.
    questions: Vec<(ServiceName, u32)>,
    /// How much was written when that was looked at last, and when that was.
    seen: (u64, Instant),
    copy_in: OwnedFd,
    copy_out: File,
    bytes: Vec<u8>,
}

/// What is on its way: shown and written once the sink has come to `end`.
struct Batch {
    end: u64,
    streams: Vec<usize>,
}

impl Showing {
    pub fn new(sink: Arc<dyn Shows>) -> io::Result<Showing> {
        let (copy_out, copy_in) = std::io::pipe()?;
        let copy_in = OwnedFd::from(copy_in);
        // Where it may not grow, a batch is smaller.
        let _ = fcntl(&copy_in, FcntlArg::F_SETPIPE_SZ(1 << 20));
        Ok(Showing {
            sink,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            watched: false,
            ready: VecDeque::new(),
            batch: None,
            questions: Vec::new(),
            seen: (0, Instant::now()),
            copy_in,
            copy_out: File::from(OwnedFd::from(copy_out)),
            bytes: Vec::new(),
        })
    }

    pub fn end(&self, service: &ServiceName, run: u32) {
        self.sink.end(service.as_str(), run);
    }

    /// This stream has something, or may have.
    pub fn queue(&mut self, slot: usize, tap: &mut Tap) {
        if !std::mem::replace(&mut tap.queued, true) {
            self.ready.push_back(slot);
        }
    }

    /// When somebody has waited long enough for a reader that takes nothing.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.questions.is_empty()).then(|| self.seen.1 + PATIENCE)
    }

    /// There is something to do without waiting for anybody.
    pub fn is_busy(&self) -> bool {
        match &self.batch {
            None => !self.ready.is_empty(),
            // Nothing of it had to be written (the beginning of a long line, say), or it was at once.
            Some(batch) => self.is_written(batch),
        }
    }

    fn is_written(&self, batch: &Batch) -> bool {
        batch.end <= self.sink.progress().1
    }

    /// Notes how far the writer has come. Returns whether it stands still.
    fn stands_still(&mut self) -> bool {
        let (_, written) = self.sink.progress();
        if written != self.seen.0 || self.batch.is_none() {
            self.seen = (written, Instant::now());
        }
        self.seen.1.elapsed() >= PATIENCE
    }

    /// Copies what a stream has, up to `limit`, without taking it. `None`: nothing is there.
    fn copy(&mut self, tap: &Tap, limit: usize) -> io::Result<Option<usize>> {
        let count = match tee(&tap.pipe, &self.copy_in, limit, SpliceFFlags::SPLICE_F_NONBLOCK) {
            Ok(0) | Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Ok(count) => count,
            Err(errno) => return Err(errno.into()),
        };
        self.bytes.resize(count, 0);
        self.copy_out.read_exact(&mut self.bytes)?;
        Ok(Some(count))
    }

    /// How much of the copy is shown: up to its last line end, unless the rest has to make room for what completes it.
    fn whole_lines(&self, tap: &Tap) -> usize {
        let count = self.bytes.len();
        let whole = memrchr(b'\n', &self.bytes).map_or(0, |at| at + 1);
        if tap.owed.is_some() || whole == count || count - whole >= HELD {
            return count;
        }
        match fcntl(&tap.pipe, FcntlArg::F_GETPIPE_SZ) {
            Ok(capacity) if capacity as usize >= 4 * HELD => whole,
            _ => count,
        }
    }

    /// Adds the share of one stream to the batch. Returns how much that is.
    fn show(&mut self, tap: &mut Tap, limit: usize) -> io::Result<usize> {
        let waiting = sys::fifo::waiting(&tap.pipe);
        let Some(copied) = self.copy(tap, limit)? else {
            // Nothing is owed any more of what somebody else has read.
            tap.owed = tap.owed.map(|_| 0);
            return Ok(0);
        };
        let shown = self.whole_lines(tap);
        let origin = Origin {
            service: tap.run.service.as_str(),
            run: tap.run.id.number,
            stream: tap.stream,
            time_ns: wall_ns(),
        };
        if shown > 0 {
            self.sink.chunk(&origin, &self.bytes[..shown]);
        }
        tap.shown = shown;
        tap.has_more = waiting > copied;
        Ok(shown)
    }
}

impl Turn {
    /// Everything that is on the console goes to this sink from now on.
    pub(super) fn show_on(&mut self, sink: Arc<dyn Shows>) {
        let made = Showing::new(sink).and_then(|showing| {
            let written = EpollEvent::new(EpollFlags::EPOLLIN, WRITTEN);
            self.epoll.add(showing.sink.written(), written)?;
            Ok(showing)
        });
        match made {
            Ok(showing) => self.showing = Some(showing),
            // As if stdout were closed.
            Err(_) => return,
        }
        for slot in 0..self.taps.len() {
            self.place_on_console(slot);
        }
    }

    /// Whether a stream is shown depends on its service's `console`, which an edit may change.
    pub(super) fn place_on_console(&mut self, slot: usize) {
        let is_shown = self.showing.is_some();
        let Some(tap) = self.taps[slot].as_mut() else { return };
        let wanted = is_shown && tap.run.console.get();
        if tap.on_console == wanted {
            return;
        }
        let watched = tap.watched;
        self.watch(slot, false);
        if let Some(tap) = self.taps[slot].as_mut() {
            tap.on_console = wanted;
        }
        self.watch(slot, watched);
    }

    /// Somebody wants to know when all that is there now is taken. Returns whether that takes time.
    pub(super) fn owe(&mut self, slot: usize) -> bool {
        let (Some(showing), Some(tap)) = (&mut self.showing, self.taps[slot].as_mut()) else {
            return false;
        };
        if !tap.on_console || tap.log.borrow().trouble.is_some() {
            return false;
        }
        let owed = sys::fifo::waiting(&tap.pipe);
        if owed == 0 {
            return false;
        }
        tap.owed = Some(owed);
        showing.queue(slot, tap);
        true
    }

    /// A drain is answered when nothing is owed; one of a reader that stands still is at once.
    pub(super) fn ask(&mut self, service: ServiceName, run: u32) {
        if let Some(showing) = &mut self.showing {
            showing.stands_still();
            showing.questions.push((service, run));
        }
    }

    /// The sink has written something; how much is looked at later, so that nothing is missed.
    pub(super) fn hear_of_batch(&mut self) {
        if let Some(showing) = &self.showing {
            let _ = showing.sink.written().read();
        }
    }

    /// Goes on as far as that is possible now. Returns how many bytes were shown.
    pub(super) fn show(&mut self) -> usize {
        let Some(showing) = &mut self.showing else { return 0 };
        if showing.sink.is_closed() {
            self.show_no_more();
            return 0;
        }
        if showing.batch.as_ref().is_some_and(|batch| showing.is_written(batch))
            && let Some(batch) = showing.batch.take()
        {
            for slot in batch.streams {
                self.take_shown(slot);
            }
        }
        self.answer_questions();
        let shown = self.next_batch();
        self.watch_console();
        shown
    }

    fn next_batch(&mut self) -> usize {
        let Some(showing) = self.showing.as_mut().filter(|showing| showing.batch.is_none()) else {
            return 0;
        };
        let mut events = [EpollEvent::empty(); 64];
        let count = showing.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in &events[..count] {
            let slot = event.data() as usize;
            if let Some(tap) = self.taps[slot].as_mut() {
                showing.queue(slot, tap);
            }
        }
        let share = BATCH / showing.ready.len().clamp(1, STREAMS);
        let (mut streams, mut shown) = (Vec::new(), 0);
        while streams.len() < STREAMS
            && let Some(slot) = showing.ready.pop_front()
        {
            let Some(tap) = self.taps[slot].as_mut() else { continue };
            tap.queued = false;
            if tap.log.borrow().trouble.is_some() {
                continue;
            }
            // What can't be shown is taken all the same.
            let bytes = showing.show(tap, share).unwrap_or(0);
            shown += bytes;
            if bytes > 0 || tap.owed.is_some() {
                streams.push(slot);
            }
        }
        if !streams.is_empty() {
            showing.sink.wake_writer();
            let (end, written) = showing.sink.progress();
            showing.seen = (written, Instant::now());
            showing.batch = Some(Batch { end, streams });
        }
        shown
    }

    /// What was shown of a stream is written: now it is taken.
    fn take_shown(&mut self, slot: usize) {
        let Some(tap) = self.taps[slot].as_mut() else { return };
        if tap.log.borrow().trouble.is_some() {
            return self.suspend(slot);
        }
        while tap.shown > 0 {
            let mut around = Around {
                shared: &self.shared,
                facts: &self.facts,
                scratch: &mut self.scratch,
                grown: &mut self.grown,
            };
            match tap.take(&mut around) {
                (_, Taken::Failed(error)) => return self.begin_trouble(slot, &error),
                // Somebody else has read it.
                (0, _) => tap.shown = 0,
                _ => {}
            }
        }
        let is_done = tap.owed.is_none_or(|owed| owed == 0);
        if is_done && tap.closing {
            return self.forget(slot);
        }
        if is_done {
            tap.owed = None;
        }
        if let Some(showing) = self.showing.as_mut().filter(|_| tap.has_more || !is_done) {
            tap.has_more = false;
            showing.queue(slot, tap);
        }
    }

    fn answer_questions(&mut self) {
        let Some(showing) = &mut self.showing else { return };
        if showing.questions.is_empty() {
            return;
        }
        let too_late = showing.stands_still();
        let questions = std::mem::take(&mut showing.questions);
        let (answered, open): (Vec<_>, Vec<_>) = questions.into_iter().partition(|(service, run)| {
            let is_owed = |slot: usize| {
                let tap = self.taps[slot].as_ref();
                tap.is_some_and(|tap| tap.owed.is_some() && tap.log.borrow().trouble.is_none())
            };
            too_late || !self.slots(service, *run).into_iter().any(is_owed)
        });
        for (service, run) in answered {
            (self.facts)(LogFact::Drained { service, run });
        }
        if let Some(showing) = &mut self.showing {
            showing.questions = open;
        }
    }

    /// While a batch is on its way, what services print meanwhile is no news.
    fn watch_console(&mut self) {
        let Some(showing) = &mut self.showing else { return };
        let wanted = showing.batch.is_none();
        if showing.watched == wanted {
            return;
        }
        let result = match wanted {
            true => self
                .epoll
                .add(&showing.epoll.0, EpollEvent::new(EpollFlags::EPOLLIN, READY)),
            false => self.epoll.delete(&showing.epoll.0),
        };
        showing.watched = wanted == result.is_ok();
    }

    /// Nobody can read it any more: the logs go on without.
    fn show_no_more(&mut self) {
        let Some(showing) = self.showing.take() else { return };
        let _ = self.epoll.delete(showing.sink.written());
        if showing.watched {
            let _ = self.epoll.delete(&showing.epoll.0);
        }
        // Its own epoll is still there to be taken out of.
        self.showing = Some(showing);
        for slot in 0..self.taps.len() {
            self.leave_console(slot);
        }
        let showing = self.showing.take();
        for (service, run) in showing.into_iter().flat_map(|showing| showing.questions) {
            for slot in self.slots(&service, run) {
                self.take(slot);
            }
            (self.facts)(LogFact::Drained { service, run });
        }
    }

    fn leave_console(&mut self, slot: usize) {
        let Some(tap) = self.taps[slot].as_mut().filter(|tap| tap.on_console) else {
            return;
        };
        let (watched, closing) = (tap.watched, tap.closing);
        self.watch(slot, false);
        if let Some(tap) = self.taps[slot].as_mut() {
            (tap.on_console, tap.queued, tap.owed, tap.shown) = (false, false, None, 0);
        }
        if closing {
            self.take(slot);
            self.forget(slot);
        } else {
            self.watch(slot, watched);
        }
    }

    /// The end: what is there is shown, as long as the reader goes on. The beginning of a line stays where it is: its run goes on with
    /// another pump, or has ended and nothing is left of it.
    pub(super) fn show_the_rest(&mut self) {
        loop {
            self.show();
            let Some(showing) = &mut self.showing else { return };
            if showing.batch.is_none() && showing.ready.is_empty() {
                return;
            }
            if showing.stands_still() {
                return self.show_no_more();
            }
            if !showing.is_busy() {
                let mut polled = [PollFd::new(showing.sink.written().as_fd(), PollFlags::POLLIN)];
                let left = (showing.seen.1 + PATIENCE).saturating_duration_since(Instant::now());
                let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
                let _ = poll(&mut polled, left);
                self.hear_of_batch();
            }
        }
    }
}
