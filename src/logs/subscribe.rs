//! Whoever watches the output: lossy and counted, so that neither files nor services ever wait for a reader.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Output, Stream};
use crate::spec::ServiceName;

/// What an output costs beside its bytes: many short ones must not be many times the budget.
const OVERHEAD: usize = 128;

/// What a subscriber wants to see.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// `None`: every service.
    pub services: Option<Vec<ServiceName>>,
    /// Only services whose log is shown on the console.
    pub console_only: bool,
    /// `None`: both.
    pub stream: Option<Stream>,
    /// Who is too slow misses what waits longest instead of what comes: a screen is as its last bytes leave it.
    pub latest: bool,
}

impl Filter {
    /// `stream`: `None` for what concerns both.
    pub(super) fn admits(&self, service: &ServiceName, stream: Option<Stream>, on_console: bool) -> bool {
        (on_console || !self.console_only)
            && self.services.as_ref().is_none_or(|names| names.contains(service))
            && stream.is_none_or(|stream| self.stream.is_none_or(|wanted| wanted == stream))
    }
}

/// Between the pump's thread and one subscriber.
#[derive(Debug)]
pub(super) struct Queue {
    pub filter: Filter,
    budget: usize,
    state: Mutex<State>,
    arrived: Notify,
    /// The subscriber is gone.
    closed: AtomicBool,
    /// The pump is gone.
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    outputs: VecDeque<Output>,
    bytes: usize,
    /// While dropping: nothing is queued until the reader has come down to this many bytes, so that there is one gap and
    /// not one per chunk.
    resume_at: Option<usize>,
    skipped: HashMap<(ServiceName, Stream), Gap>,
    /// The newest run of a service that has ended meanwhile.
    ended: HashMap<ServiceName, u32>,
}

#[derive(Debug, Default)]
struct Gap {
    run: u32,
    time_ns: i64,
    lines: u64,
    bytes: u64,
    within_line: bool,
}

impl Queue {
    pub fn new(filter: Filter, budget: usize) -> Arc<Queue> {
        Arc::new(Queue {
            filter,
            budget,
            state: Mutex::default(),
            arrived: Notify::new(),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        })
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Nothing more will come.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.arrived.notify_one();
    }

    /// Queues the chunk, or counts it as skipped. Never waits for the reader.
    pub fn offer(&self, service: &ServiceName, run: u32, stream: Stream, time_ns: i64, bytes: &Bytes) {
        let chunk = Output::Chunk {
            service: service.clone(),
            run,
            stream,
            time_ns,
            bytes: bytes.clone(),
        };
        let mut state = self.lock();
        if self.filter.latest {
            state.make_room(bytes.len(), self.budget);
        } else if !state.has_room(bytes.len(), self.budget) {
            return state.skip(chunk);
        }
        state.tell_missed(Some(service));
        state.push(chunk);
        drop(state);
        self.arrived.notify_one();
    }

    /// Nothing more will come of this run.
    pub fn offer_end(&self, service: &ServiceName, run: u32) {
        let end = Output::Ended {
            service: service.clone(),
            run,
        };
        let mut state = self.lock();
        if self.filter.latest {
            state.make_room(0, self.budget);
        } else if !state.has_room(0, self.budget) {
            return state.skip(end);
        }
        state.tell_missed(Some(service));
        state.push(end);
        drop(state);
        self.arrived.notify_one();
    }

    fn pop(&self) -> Option<Output> {
        let mut state = self.lock();
        if state.outputs.is_empty() {
            state.tell_missed(None);
        }
        let output = state.outputs.pop_front()?;
        state.bytes -= cost(&output);
        Some(output)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// Against the budget.
fn cost(output: &Output) -> usize {
    match output {
        Output::Chunk { bytes, .. } => bytes.len() + OVERHEAD,
        // One for each stream and service at most, and only where something was dropped instead.
        Output::Skipped { .. } => 0,
        Output::Ended { .. } => OVERHEAD,
    }
}

impl State {
    fn has_room(&mut self, bytes: usize, budget: usize) -> bool {
        if self.resume_at.is_some_and(|level| self.bytes <= level) {
            self.resume_at = None;
        }
        // A chunk that is larger than the budget itself is shown to whoever has read everything before it.
        if self.resume_at.is_none() && self.bytes > 0 && self.bytes + bytes + OVERHEAD > budget {
            self.resume_at = Some(self.bytes / 2);
        }
        self.resume_at.is_none()
    }

    /// As [`Self::has_room`] does it, at the expense of the oldest.
    fn make_room(&mut self, bytes: usize, budget: usize) {
        if self.bytes + bytes + OVERHEAD <= budget {
            return;
        }
        while self.bytes > budget / 2 {
            let Some(oldest) = self.outputs.pop_front() else { break };
            self.bytes -= cost(&oldest);
            self.skip(oldest);
        }
        let kept = std::mem::take(&mut self.outputs);
        self.tell_missed(None);
        self.outputs.extend(kept);
    }

    /// Keeps in mind that this is not going to be told.
    fn skip(&mut self, output: Output) {
        let (key, missed) = match output {
            Output::Chunk {
                service,
                run,
                stream,
                time_ns,
                bytes,
            } => {
                let missed = Gap {
                    run,
                    time_ns,
                    lines: memchr::memchr_iter(b'\n', &bytes).count() as u64,
                    bytes: bytes.len() as u64,
                    within_line: bytes.last() != Some(&b'\n'),
                };
                ((service, stream), missed)
            }
            Output::Skipped {
                service,
                run,
                stream,
                time_ns,
                lines,
                bytes,
                within_line,
            } => {
                let missed = Gap {
                    run,
                    time_ns,
                    lines,
                    bytes,
                    within_line,
                };
                ((service, stream), missed)
            }
            Output::Ended { service, run } => {
                self.ended.insert(service, run);
                return;
            }
        };
        let gap = self.skipped.entry(key).or_default();
        *gap = Gap {
            lines: gap.lines + missed.lines,
            bytes: gap.bytes + missed.bytes,
            ..missed
        };
    }

    fn push(&mut self, output: Output) {
        self.bytes += cost(&output);
        self.outputs.push_back(output);
    }

    /// Tells what was missed of this service, or of all. Gaps first: a run ends after what it wrote.
    fn tell_missed(&mut self, of: Option<&ServiceName>) {
        if self.skipped.is_empty() && self.ended.is_empty() {
            return;
        }
        let is_its = |service: &ServiceName| of.is_none_or(|wanted| wanted == service);
        let gaps = self.skipped.extract_if(|(service, _), _| is_its(service));
        self.outputs
            .extend(gaps.map(|((service, stream), gap)| Output::Skipped {
                service,
                run: gap.run,
                stream,
                time_ns: gap.time_ns,
                lines: gap.lines,
                bytes: gap.bytes,
                within_line: gap.within_line,
            }));
        let ended: Vec<_> = self.ended.extract_if(|service, _| is_its(service)).collect();
        for (service, run) in ended {
            self.push(Output::Ended { service, run });
        }
    }
}

/// The receiving end. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription(pub(super) Arc<Queue>);

impl Subscription {
    /// The next output; `None` once the pump has ended and everything was read. Safe to cancel.
    pub async fn next(&mut self) -> Option<Output> {
        loop {
            let ended = self.0.ended.load(Ordering::Acquire);
            if let Some(output) = self.0.pop() {
                return Some(output);
            }
            if ended {
                return None;
            }
            self.0.arrived.notified().await;
        }
    }

    /// The next output that is already there.
    pub fn try_next(&mut self) -> Option<Output> {
        self.0.pop()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lg_14_a_reader_that_is_too_slow_gets_one_gap_with_its_size() {
        let (web, db) = (ServiceName::new("web"), ServiceName::new("db"));
        let queue = Queue::new(Filter::default(), 2 * (40 + OVERHEAD));
        let mut subscription = Subscription(queue.clone());
        let line = Bytes::from_static(b"0123456789012345678\n0123456789012345678\n");
        for _ in 0..10 {
            queue.offer(&web, 1, Stream::Out, 0, &line);
        }
        queue.offer(&db, 1, Stream::Err, 0, &line);
        let mut next = || subscription.try_next();
        assert!(matches!(next(), Some(Output::Chunk { .. })));
        queue.offer(&web, 1, Stream::Out, 0, &line);
        assert!(matches!(next(), Some(Output::Chunk { .. })));
        // The gap of `web` comes before its next bytes, that of `db`, which stays silent, when nothing else is left.
        assert!(matches!(&next(), Some(Output::Skipped { service, lines: 16, bytes: 320, .. }) if *service == web));
        assert!(matches!(next(), Some(Output::Chunk { .. })));
        assert!(matches!(&next(), Some(Output::Skipped { service, lines: 2, .. }) if *service == db));
        assert!(next().is_none());
        drop(subscription);
        assert!(queue.is_closed());
    }

    #[test]
    fn lg_14_a_screen_that_is_too_slow_misses_what_is_old_once_and_shows_the_latest() {
        let web = ServiceName::new("web");
        let latest = Filter {
            latest: true,
            ..Filter::default()
        };
        let queue = Queue::new(latest, 8 * (4 + OVERHEAD));
        let mut subscription = Subscription(queue.clone());
        queue.offer_end(&web, 6);
        for number in 0..100 {
            queue.offer(&web, 7, Stream::Out, number, &Bytes::from(format!("{number:03}\n")));
            assert!(queue.lock().bytes <= 8 * (4 + OVERHEAD));
        }
        queue.offer_end(&web, 7);
        let all: Vec<Output> = std::iter::from_fn(|| subscription.try_next()).collect();
        let [
            Output::Skipped { lines, bytes, .. },
            Output::Ended { run: 6, .. },
            kept @ ..,
            Output::Ended { run: 7, .. },
        ] = &all[..]
        else {
            panic!("{all:?}")
        };
        let kept: Vec<i64> = kept
            .iter()
            .map(|output| match output {
                Output::Chunk { time_ns, .. } => *time_ns,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(kept.len() >= 4, "{kept:?}");
        assert_eq!(kept, Vec::from_iter(*lines as i64..100));
        assert_eq!(*bytes, 4 * lines);
        assert_eq!(queue.lock().bytes, 0);
    }

    #[test]
    fn lg_14_what_waits_is_bounded_and_the_end_of_a_run_comes_after_its_gap() {
        let web = ServiceName::new("web");
        let queue = Queue::new(Filter::default(), 100 * OVERHEAD);
        let mut subscription = Subscription(queue.clone());
        for run in 1..=1000 {
            queue.offer(&web, run, Stream::Out, 0, &Bytes::from_static(b"x"));
            queue.offer_end(&web, run);
        }
        assert!(queue.lock().outputs.len() <= 100);
        let all: Vec<Output> = std::iter::from_fn(|| subscription.try_next()).collect();
        let [.., gap, end] = &all[..] else { panic!("{all:?}") };
        assert!(matches!(
            gap,
            Output::Skipped {
                run: 1000,
                lines: 0,
                within_line: true,
                ..
            }
        ));
        assert!(matches!(end, Output::Ended { run: 1000, .. }));
        assert_eq!(queue.lock().bytes, 0);
    }
}
