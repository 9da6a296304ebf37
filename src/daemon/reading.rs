//! Reads what services have printed: the last lines for a failure, and `logs`.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::api::past::{self, BATCH, Source, encode, encode_gap};
use crate::api::server::ByteStream;
use crate::api::wire;
use crate::logs::{Filter, Follow, LogPlace, Output, Pump, Subscription, Told};
use crate::spec::{Project, ServiceName};
use crate::sys;

const LAST_LINES: usize = 10;
const LAST_BYTES: usize = 8 * 1024;
/// What one follower may have queued before it misses lines.
const FOLLOWER_BUDGET: usize = 1024 * 1024;
/// So many bytes are cut and matched, then it is the others' turn: this is done on the loop's thread.
const SLICE: usize = 16 * 1024;

fn place_of(project: &Project, name: &ServiceName, pump: &Pump) -> Option<LogPlace> {
    pump.place(name, &project.services.get(name)?.log)
}

/// The last lines of one run, as text, when asked for. Runs are counted anew in each life of the project, so what is older
/// than this one (`since_ns`, wall clock) is another run's.
pub fn last_lines(
    pump: &Pump,
    project: Option<&Project>,
    service: Option<&ServiceName>,
    run: u32,
    since_ns: i64,
) -> impl FnOnce() -> Vec<String> + use<> {
    let log = project
        .zip(service)
        .and_then(|(project, name)| place_of(project, name, pump));
    move || {
        let Some(log) = log else { return Vec::new() };
        let lines = crate::logs::last_lines(&log, (run, since_ns), LAST_LINES, LAST_BYTES);
        lines
            .iter()
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect()
    }
}

/// `logs`: what is kept, then (to follow) what comes.
pub fn stream(sources: Vec<Source>, request: wire::LogsRequest, pump: &Pump) -> ByteStream {
    let wire::LogsRequest {
        services,
        follow,
        query,
    } = request;
    let until = query.until_ns.map(deadline);
    let follows = follow && until.is_none_or(|until| until > Instant::now());
    let (subscription, seams) = if follows {
        let names = sources.iter().map(|(name, _)| name.clone()).collect();
        let filter = Filter {
            // Nothing named: also what a later edit adds.
            services: (!services.is_empty()).then_some(names),
            stream: query.stream,
            ..Filter::default()
        };
        let (subscription, seams) = pump.follow(filter, FOLLOWER_BUDGET, sources.clone());
        (Some(subscription), seams)
    } else {
        (None, pump.seams(sources.clone()))
    };
    let (sink, body) = mpsc::channel(4);
    tokio::task::spawn_local(async move {
        let past_sink = sink.clone();
        // Files may be long and disks slow; the loop does not wait for either.
        let read = tokio::task::spawn_blocking(move || {
            // A pump that has ended writes nothing any more: all there is, is the past.
            let seams = seams.recv().unwrap_or_default();
            let names = sources.iter().map(|(name, _)| name);
            let mut follow = Follow::new(&query, names.zip(&seams));
            let past = past::read(&sources, &seams, &query, &mut |batch| {
                past_sink.blocking_send(batch).is_ok()
            });
            for trouble in past.troubles {
                tracing::warn!("{trouble}");
            }
            for (service, partial) in past.unfinished {
                follow.begin(service, partial);
            }
            (follow, past.is_enough)
        });
        if let (Ok((follow, false)), Some(subscription)) = (read.await, subscription) {
            follow_on(subscription, follow, until, sink).await;
        }
    });
    ByteStream::of(body)
}

fn deadline(wall_ns: i64) -> Instant {
    let ahead = wall_ns.saturating_sub(sys::clock::wall_ns());
    Instant::now() + Duration::from_nanos(u64::try_from(ahead).unwrap_or(0))
}

async fn follow_on(mut subscription: Subscription, follow: Follow, until: Option<Instant>, sink: mpsc::Sender<Bytes>) {
    let mut belt = Belt {
        follow,
        sink,
        batch: Vec::new(),
    };
    while !belt.follow.is_over() {
        let output = match subscription.try_next() {
            Some(output) => Some(output),
            None => {
                // Nothing is held back for company.
                if belt.send().await.is_err() {
                    return;
                }
                tokio::select! {
                    () = belt.sink.closed() => return,
                    output = subscription.next() => output,
                    () = end(until) => None,
                }
            }
        };
        let Some(output) = output else { break };
        for slice in slices(output) {
            belt.follow.hand_in(slice);
            if belt.pass_on().await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
    belt.follow.finish();
    let _ = belt.pass_on().await;
    let _ = belt.send().await;
}

async fn end(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

fn slices(output: Output) -> Vec<Output> {
    match output {
        Output::Chunk {
            service,
            run,
            stream,
            time_ns,
            bytes,
        } => {
            let begins = (0..bytes.len()).step_by(SLICE);
            let slice = |begin: usize| Output::Chunk {
                service: service.clone(),
                run,
                stream,
                time_ns,
                bytes: bytes.slice(begin..bytes.len().min(begin + SLICE)),
            };
            begins.map(slice).collect()
        }
        other => vec![other],
    }
}

/// From lines to pieces of bounded size (`LG-14`): as JSON, short lines and control characters are many times as long, and what
/// waits for a reader must not be.
struct Belt {
    follow: Follow,
    sink: mpsc::Sender<Bytes>,
    batch: Vec<u8>,
}

/// Nobody reads any more.
struct Gone;

impl Belt {
    async fn pass_on(&mut self) -> Result<(), Gone> {
        while let Some(told) = self.follow.next() {
            match told {
                Told::Line(service, line) => encode(&service, &line, &mut self.batch),
                Told::Skipped {
                    service,
                    run,
                    stream,
                    time_ns,
                    lines,
                } => encode_gap(&service, run, stream, time_ns, lines, &mut self.batch),
            }
            if self.batch.len() > BATCH {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Gone> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.batch));
        self.sink.send(piece).await.map_err(|_| Gone)
    }
}
