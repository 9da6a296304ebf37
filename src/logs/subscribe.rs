//! Whoever watches the output: lossy and counted, so that neither files nor services ever wait for a reader.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Output, Stream};
use crate::spec::ServiceName;

/// What a subscriber wants to see.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// `None`: every service.
    pub services: Option<Vec<ServiceName>>,
    /// Only services whose log is shown on the console.
    pub console_only: bool,
}

impl Filter {
    pub(super) fn admits(&self, service: &ServiceName, on_console: bool) -> bool {
        (on_console || !self.console_only) && self.services.as_ref().is_none_or(|names| names.contains(service))
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
    skipped: HashMap<(ServiceName, Stream), (u64, u64)>,
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
    pub fn offer(&self, service: &ServiceName, run: u32, stream: Stream, bytes: &Bytes) {
        let mut state = self.lock();
        if state.resume_at.is_some_and(|level| state.bytes <= level) {
            state.resume_at = None;
        }
        // A chunk that is larger than the budget itself is shown to whoever has read everything before it.
        if state.resume_at.is_none() && state.bytes > 0 && state.bytes + bytes.len() > self.budget {
            state.resume_at = Some(state.bytes / 2);
        }
        if state.resume_at.is_some() {
            let skipped = state.skipped.entry((service.clone(), stream)).or_default();
            skipped.0 += memchr::memchr_iter(b'\n', bytes).count() as u64;
            skipped.1 += bytes.len() as u64;
            return;
        }
        if !state.skipped.is_empty() {
            state.tell_skipped(|key| key.1 == stream && key.0 == *service);
        }
        state.bytes += bytes.len();
        state.outputs.push_back(Output::Chunk {
            service: service.clone(),
            run,
            stream,
            bytes: bytes.clone(),
        });
        drop(state);
        self.arrived.notify_one();
    }

    fn pop(&self) -> Option<Output> {
        let mut state = self.lock();
        if state.outputs.is_empty() {
            state.tell_skipped(|_| true);
        }
        let output = state.outputs.pop_front();
        if let Some(Output::Chunk { bytes, .. }) = &output {
            state.bytes -= bytes.len();
        }
        output
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl State {
    fn tell_skipped(&mut self, which: impl Fn(&(ServiceName, Stream)) -> bool) {
        let told = self.skipped.extract_if(|key, _| which(key));
        self.outputs
            .extend(told.map(|((service, stream), (lines, bytes))| Output::Skipped {
                service,
                stream,
                lines,
                bytes,
            }));
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
        let queue = Queue::new(Filter::default(), 100);
        let mut subscription = Subscription(queue.clone());
        let line = Bytes::from_static(b"0123456789012345678\n0123456789012345678\n");
        for _ in 0..10 {
            queue.offer(&web, 1, Stream::Out, &line);
        }
        queue.offer(&db, 1, Stream::Err, &line);
        let mut next = || subscription.try_next();
        assert!(matches!(next(), Some(Output::Chunk { .. })));
        queue.offer(&web, 1, Stream::Out, &line);
        assert!(matches!(next(), Some(Output::Chunk { .. })));
        // The gap of `web` comes before its next bytes, that of `db`, which stays silent, when nothing else is left.
        assert!(matches!(&next(), Some(Output::Skipped { service, lines: 16, bytes: 320, .. }) if *service == web));
        assert!(matches!(next(), Some(Output::Chunk { .. })));
        assert!(matches!(&next(), Some(Output::Skipped { service, lines: 2, .. }) if *service == db));
        assert!(next().is_none());
        drop(subscription);
        assert!(queue.is_closed());
    }
}
