//! One stream of one run: takes its bytes into the log and shows them to whoever waits for them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::index::{RunId, Source};
use super::journal::Journal;
use super::lines::{Assembler, Matchers};
use super::pump::Shared;
use super::subscribe::Queue;
use super::{LogFact, Stream};
use crate::spec::ServiceName;

/// At most this much of one stream, then it is the others' turn. No pipe of an ordinary system holds more.
const TURN: usize = 1 << 20;
/// At most this much in one step, so that a copy for watchers stays in the processor's cache.
const CHUNK: usize = 256 << 10;
/// A stream that fills this much of its pipe again and again is busy.
const BUSY_CHUNK: usize = 32 << 10;
const BUSY_TURNS: u32 = 8;
/// Capacity of the pipe of a busy stream: fewer changes between writer and pump.
const BUSY_PIPE: libc::c_int = 1 << 20;
/// The kernel limits what the pipes of one user hold (pipe(7), pipe-user-pages-soft, by default 64 MiB) and gives tiny pipes to
/// whoever is above, so only this many pipes of ours grow.
const BUSY_PIPES: u32 = 16;

/// A journal, and how writing to it goes.
pub(super) struct Log {
    pub journal: Journal,
    pub trouble: Option<Trouble>,
    /// Streams that wait until the trouble is over.
    pub suspended: VecDeque<usize>,
}

pub(super) struct Trouble {
    /// The service that met it first, in whose name it is told.
    pub service: ServiceName,
    pub delay: Duration,
    pub retry_at: Instant,
}

/// What both streams of a run share.
pub(super) struct Run {
    pub service: ServiceName,
    pub id: RunId,
    pub console: Cell<bool>,
    pub matchers: RefCell<Matchers>,
}

/// What a stream needs from the thread while it takes.
pub(super) struct Around<'a> {
    pub shared: &'a Shared,
    pub facts: &'a dyn Fn(LogFact),
    pub scratch: &'a mut Vec<u8>,
    /// How many pipes have grown.
    pub grown: &'a mut u32,
}

/// How a turn ended.
pub(super) enum Taken {
    /// All that was there.
    All,
    /// The turn was over first.
    Part,
    /// All that was there, and nobody can write any more.
    Ended,
    Failed(io::Error),
}

pub(super) struct Tap {
    pub run: Rc<Run>,
    pub stream: Stream,
    pub pipe: OwnedFd,
    pub log: Rc<RefCell<Log>>,
    /// epoll looks at it.
    pub watched: bool,
    /// To be forgotten as soon as its last bytes could be written.
    pub closing: bool,
    /// Its pipe has grown.
    pub grown: bool,
    /// A sink shows it: nothing is taken before it is shown and written.
    pub on_console: bool,
    /// It waits for its turn to be shown.
    pub queued: bool,
    /// So many bytes at the head of its pipe are shown, or on their way.
    pub shown: usize,
    /// Behind those there was more.
    pub has_more: bool,
    /// Somebody waits until so many bytes are taken.
    pub owed: Option<usize>,
    busy_turns: u32,
    lines: Assembler,
    queues: Vec<Arc<Queue>>,
    queues_version: u64,
}

impl Tap {
    pub fn new(run: Rc<Run>, stream: Stream, pipe: OwnedFd, log: Rc<RefCell<Log>>) -> Tap {
        Tap {
            run,
            stream,
            pipe,
            log,
            watched: false,
            closing: false,
            grown: false,
            on_console: false,
            queued: false,
            shown: 0,
            has_more: false,
            owed: None,
            busy_turns: 0,
            lines: Assembler::default(),
            queues: Vec::new(),
            queues_version: u64::MAX,
        }
    }

    /// Takes what is readable, up to one turn; where a sink shows it, no more than is shown. Returns how much that was.
    pub fn take(&mut self, around: &mut Around) -> (usize, Taken) {
        let time_ns = wall_ns();
        let source = Source {
            run: self.run.id,
            stream: self.stream,
        };
        let log = self.log.clone();
        let journal = &mut log.borrow_mut().journal;
        let mut taken = 0;
        let turn = if self.on_console { self.shown } else { TURN };
        while taken < turn {
            // No new file for the sake of nothing.
            let is_deleted = taken == 0 && journal.is_deleted();
            if is_deleted || journal.is_full() {
                let now = self.readiness();
                if !now.contains(PollFlags::POLLIN) {
                    let ended = now.contains(PollFlags::POLLHUP);
                    return (taken, if ended { Taken::Ended } else { Taken::All });
                }
            }
            if is_deleted {
                if let Err(error) = journal.reopen() {
                    return (taken, Taken::Failed(error));
                }
                (around.facts)(LogFact::Deleted {
                    service: self.run.service.clone(),
                });
            }
            let room = match journal.room(source) {
                Ok(room) => usize::try_from(room).unwrap_or(usize::MAX),
                Err(error) => return (taken, Taken::Failed(error)),
            };
            let asked = room.min(CHUNK).min(turn - taken);
            match journal.take(&self.pipe, asked, source, time_ns) {
                Ok(0) => return (taken, Taken::Ended),
                Ok(moved) => {
                    taken += moved;
                    self.shown = self.shown.saturating_sub(moved);
                    self.owed = self.owed.map(|owed| owed.saturating_sub(moved));
                    self.show(journal, moved, time_ns, around);
                    // The pipe was empty at that moment; epoll tells when it is not any more.
                    if moved < asked {
                        self.note_load(taken, around);
                        return (taken, Taken::All);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (taken, Taken::All),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (taken, Taken::Failed(error)),
            }
        }
        self.note_load(taken, around);
        (taken, Taken::Part)
    }

    fn readiness(&self) -> PollFlags {
        let mut polled = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::ZERO) {
            Ok(_) => polled[0].revents().unwrap_or(PollFlags::empty()),
            // Not known: go on as if there were something.
            Err(_) => PollFlags::POLLIN,
        }
    }

    /// The stream's last line may have no end.
    pub fn finish(&mut self, facts: &dyn Fn(LogFact)) {
        let (run, matchers) = (&self.run, &mut self.run.matchers.borrow_mut());
        self.lines.finish(|line| see(run, matchers, line, facts));
    }

    /// Which subscribers see this stream is looked up anew with the next chunk.
    pub fn forget_queues(&mut self) {
        self.queues_version = u64::MAX;
    }

    /// Shows the last `moved` bytes to patterns and subscribers. Costs nothing when there are none.
    fn show(&mut self, journal: &Journal, moved: usize, time_ns: i64, around: &mut Around) {
        self.find_queues(around.shared);
        let patterns_wait = !self.run.matchers.borrow().are_satisfied();
        if self.queues.is_empty() && !patterns_wait {
            return;
        }
        around.scratch.resize(around.scratch.len().max(moved), 0);
        let copy = &mut around.scratch[..moved];
        // Somebody truncated the file behind us: nothing to show.
        if journal.read_back(copy).is_err() {
            return;
        }
        if patterns_wait {
            let (run, matchers) = (&self.run, &mut self.run.matchers.borrow_mut());
            self.lines.feed(copy, |line| see(run, matchers, line, around.facts));
            if matchers.are_satisfied() {
                self.lines = Assembler::default();
            }
        }
        if !self.queues.is_empty() {
            let bytes = Bytes::copy_from_slice(copy);
            for queue in &self.queues {
                queue.offer(&self.run.service, self.run.id.number, self.stream, time_ns, &bytes);
            }
        }
    }

    fn find_queues(&mut self, shared: &Shared) {
        if self.queues.iter().any(|queue| queue.is_closed()) {
            shared.lock_queues().retain(|queue| !queue.is_closed());
            shared.queues_version.fetch_add(1, Ordering::Release);
        }
        let version = shared.queues_version.load(Ordering::Acquire);
        if self.queues_version != version {
            self.queues_version = version;
            let queues = shared.lock_queues();
            let admits = |queue: &&Arc<Queue>| {
                queue
                    .filter
                    .admits(&self.run.service, Some(self.stream), self.run.console.get())
            };
            self.queues = queues.iter().filter(admits).cloned().collect();
        }
    }

    fn note_load(&mut self, taken: usize, around: &mut Around) {
        self.busy_turns = if taken >= BUSY_CHUNK { self.busy_turns + 1 } else { 0 };
        if self.busy_turns == BUSY_TURNS && !self.grown && *around.grown < BUSY_PIPES {
            self.grown = fcntl(&self.pipe, FcntlArg::F_SETPIPE_SZ(BUSY_PIPE)).is_ok();
            *around.grown += u32::from(self.grown);
        }
    }
}

fn see(run: &Run, matchers: &mut Matchers, line: &[u8], facts: &dyn Fn(LogFact)) {
    matchers.see(line, |index| {
        facts(LogFact::Matched {
            service: run.service.clone(),
            run: run.id.number,
            index,
            line: line.to_vec(),
        });
    });
}

pub(super) fn wall_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as i64
}
