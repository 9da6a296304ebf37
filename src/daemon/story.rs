//! Numbers and words for events: from what the `World` publishes to what clients read.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::api::wire;
use crate::reconcile::{Event, EventKind, ExitStatus, Failure};

/// A follower that is this many events behind loses the oldest; it is told how many.
const FOLLOWER_BACKLOG: usize = 4096;

/// The events of this project, in order.
pub struct Story {
    cursor: u64,
    followers: broadcast::Sender<Arc<wire::Event>>,
}

impl Story {
    pub fn new() -> Story {
        Story {
            cursor: 0,
            followers: broadcast::channel(FOLLOWER_BACKLOG).0,
        }
    }

    /// `last_lines` is asked only where an event shows them.
    pub fn tell(&mut self, wall_ns: i64, event: Event, last_lines: impl FnOnce() -> Vec<String>) {
        let kind = kind(event.kind, last_lines);
        self.tell_kind(
            wall_ns,
            event.service.map(|name| name.to_string()),
            event.run,
            kind,
            event.cause,
        );
    }

    pub fn tell_kind(
        &mut self,
        wall_ns: i64,
        service: Option<String>,
        run: u32,
        kind: wire::EventKind,
        cause: crate::reconcile::Cause,
    ) {
        self.cursor += 1;
        let event = wire::Event {
            cursor: self.cursor,
            time: wire::timestamp(wall_ns),
            service,
            run,
            kind,
            cause,
        };
        // Nobody listening is not an error.
        let _ = self.followers.send(Arc::new(event));
    }

    pub fn follow(&self) -> broadcast::Receiver<Arc<wire::Event>> {
        self.followers.subscribe()
    }
}

pub fn exit(status: ExitStatus) -> wire::Exit {
    match status {
        ExitStatus::Code(code) => wire::Exit::Code(code),
        ExitStatus::Signal(signal) => wire::Exit::Signal(signal.to_string()),
        ExitStatus::Unknown => wire::Exit::Unknown(true),
    }
}

pub fn failure(failure: Failure, last_lines: Vec<String>) -> wire::Failure {
    let Failure {
        reason,
        message,
        suggestion,
    } = failure;
    wire::Failure {
        reason,
        message,
        suggestion,
        last_lines,
    }
}

fn kind(kind: EventKind, last_lines: impl FnOnce() -> Vec<String>) -> wire::EventKind {
    match kind {
        EventKind::Waiting { on } => wire::EventKind::Waiting { on },
        EventKind::Started { pid } => wire::EventKind::Started { pid },
        EventKind::Ready { after_ns, probe } => wire::EventKind::Ready {
            after_s: seconds(after_ns),
            probe,
        },
        EventKind::Unhealthy { message } => wire::EventKind::Unhealthy { message },
        EventKind::Recovered => wire::EventKind::Recovered,
        EventKind::Exited { status, after_ns } => wire::EventKind::Exited {
            exit: exit(status),
            after_s: seconds(after_ns),
        },
        EventKind::Restarting {
            delay_ns,
            attempt,
            failure: why,
        } => wire::EventKind::Restarting {
            delay_s: seconds(delay_ns),
            attempt,
            failure: why.map(|why| failure(why, last_lines())),
        },
        EventKind::Failed { failure: why } => wire::EventKind::Failed {
            failure: failure(why, last_lines()),
        },
        EventKind::Stopping => wire::EventKind::Stopping,
        EventKind::Stopped => wire::EventKind::Stopped,
        EventKind::Completed { status, after_ns } => wire::EventKind::Completed {
            exit: exit(status),
            after_s: seconds(after_ns),
        },
        EventKind::Warned { message } => wire::EventKind::Warned { message },
        EventKind::ConfigApplied {
            generation,
            restarts,
            lives,
            starts,
            stops,
            unchanged,
        } => wire::EventKind::ConfigApplied {
            generation,
            restarts,
            lives,
            starts,
            stops,
            unchanged,
        },
        EventKind::Settled { generation, failed } => wire::EventKind::Settled { generation, failed },
        EventKind::Ending { because } => wire::EventKind::Ending { because },
    }
}

pub fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}
