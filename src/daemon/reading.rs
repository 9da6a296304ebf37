//! Reads what services have printed: the last lines for a failure, and `logs`.

use std::collections::HashMap;
use std::path::PathBuf;

use base64::Engine;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::story;
use crate::api::server::ByteStream;
use crate::api::wire;
use crate::logs::{Filter, LINE_CAP, Line, Output, Pump, Query, Stream, Subscription, read};
use crate::spec::{LogTarget, Project, ServiceName};
use crate::sys;

const LAST_LINES: usize = 10;
const LAST_BYTES: usize = 8 * 1024;
/// What one follower may have queued before it misses lines.
const FOLLOWER_BUDGET: usize = 1024 * 1024;

fn log_file(project: &Project, name: &ServiceName) -> Option<PathBuf> {
    match &project.services.get(name)?.log {
        LogTarget::File(file) => Some(file.file.clone()),
        LogTarget::Off => None,
    }
}

/// The last lines of one run, as text, when asked for.
pub fn last_lines<'a>(
    project: Option<&'a Project>,
    service: Option<&ServiceName>,
    run: u32,
) -> impl FnOnce() -> Vec<String> + use<'a> {
    let file = project.zip(service).and_then(|(project, name)| log_file(project, name));
    move || {
        let Some(file) = file else { return Vec::new() };
        let lines = crate::logs::last_lines(&file, run, LAST_LINES, LAST_BYTES);
        lines
            .iter()
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect()
    }
}

/// `logs`: what is in the files, then (to follow) what comes.
pub fn stream(project: &Project, names: Vec<ServiceName>, request: &wire::LogsRequest, pump: &Pump) -> ByteStream {
    let names = if names.is_empty() {
        project.services.keys().cloned().collect()
    } else {
        names
    };
    let files: Vec<(ServiceName, PathBuf)> = names
        .iter()
        .filter_map(|name| Some((name.clone(), log_file(project, name)?)))
        .collect();
    let query = Query {
        stream: request.stream,
        tail: request.tail.map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
        ..Query::default()
    };
    let wanted = request.stream;
    // Subscribed before the files are read: a line may then come twice at the seam, but none is missed.
    let follow = request.follow.then(|| {
        pump.subscribe(
            Filter {
                services: Some(names),
                console_only: false,
            },
            FOLLOWER_BUDGET,
        )
    });
    let (sink, body) = mpsc::channel(4);
    tokio::task::spawn_local(async move {
        let past = sink.clone();
        // Files may be long and disks slow; the loop does not wait for either.
        let read = tokio::task::spawn_blocking(move || read_files(&files, &query, &past));
        if !read.await.unwrap_or(false) {
            return;
        }
        if let Some(subscription) = follow {
            follow_on(subscription, wanted, sink).await;
        }
    });
    ByteStream(body)
}

/// All files merged by time, as JSON lines. `false`: nobody reads on.
fn read_files(files: &[(ServiceName, PathBuf)], query: &Query, sink: &mpsc::Sender<Bytes>) -> bool {
    let mut sources: Vec<_> = files
        .iter()
        .filter_map(|(name, file)| {
            let mut lines = read(file, query).ok()?;
            let head = lines.next()?.ok()?;
            Some((name, head, lines))
        })
        .collect();
    let mut batch = Vec::new();
    while let Some(oldest) = (0..sources.len()).min_by_key(|&at| sources[at].1.time_ns) {
        let (name, head, lines) = &mut sources[oldest];
        encode(name, head, &mut batch);
        match lines.next() {
            Some(Ok(next)) => *head = next,
            Some(Err(_)) | None => drop(sources.swap_remove(oldest)),
        }
        if batch.len() > 64 * 1024 && sink.blocking_send(Bytes::from(std::mem::take(&mut batch))).is_err() {
            return false;
        }
    }
    batch.is_empty() || sink.blocking_send(Bytes::from(batch)).is_ok()
}

async fn follow_on(mut subscription: Subscription, wanted: Option<Stream>, sink: mpsc::Sender<Bytes>) {
    let mut partial: HashMap<(ServiceName, Stream), Vec<u8>> = HashMap::new();
    loop {
        let output = tokio::select! {
            () = sink.closed() => return,
            output = subscription.next() => output,
        };
        let Some(output) = output else { return };
        let Output::Chunk {
            service,
            run,
            stream,
            bytes,
        } = output
        else {
            continue;
        };
        if wanted.is_some_and(|wanted| wanted != stream) {
            continue;
        }
        let time_ns = sys::clock::wall_ns();
        let held = partial.entry((service.clone(), stream)).or_default();
        held.extend_from_slice(&bytes);
        let whole = match memchr::memrchr(b'\n', held) {
            Some(at) => at + 1,
            None if held.len() >= LINE_CAP => held.len(),
            None => continue,
        };
        let mut batch = Vec::new();
        for line in held[..whole].split_inclusive(|&byte| byte == b'\n') {
            let bytes = line.strip_suffix(b"\n").unwrap_or(line).to_vec();
            encode(
                &service,
                &Line {
                    time_ns,
                    run,
                    stream,
                    bytes,
                    continued: false,
                },
                &mut batch,
            );
        }
        held.drain(..whole);
        if sink.send(Bytes::from(batch)).await.is_err() {
            return;
        }
    }
}

fn encode(service: &ServiceName, line: &Line, batch: &mut Vec<u8>) {
    let (text, base64) = match std::str::from_utf8(&line.bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (
            None,
            Some(base64::engine::general_purpose::STANDARD.encode(&line.bytes)),
        ),
    };
    let line = wire::LogLine {
        time: story::timestamp(line.time_ns),
        service: service.to_string(),
        run: line.run,
        stream: line.stream,
        line: text,
        line_base64: base64,
    };
    serde_json::to_writer(&mut *batch, &line).expect("writing to memory does not fail");
    batch.push(b'\n');
}
