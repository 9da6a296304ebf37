//! Reads what services have printed: the last lines for a failure, and `logs`.

use std::collections::HashMap;
use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::api::past::{self, BATCH, encode};
use crate::api::server::ByteStream;
use crate::api::wire;
use crate::logs::{Filter, LINE_CAP, Line, Output, Pump, Query, Stream, Subscription};
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

/// The last lines of one run, as text, when asked for. Runs are counted anew in each life of the project, so what is older
/// than this one (`since_ns`, wall clock) is another run's.
pub fn last_lines<'a>(
    project: Option<&'a Project>,
    service: Option<&ServiceName>,
    run: u32,
    since_ns: i64,
) -> impl FnOnce() -> Vec<String> + use<'a> {
    let file = project.zip(service).and_then(|(project, name)| log_file(project, name));
    move || {
        let Some(file) = file else { return Vec::new() };
        let lines = crate::logs::last_lines(&file, (run, since_ns), LAST_LINES, LAST_BYTES);
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
    let files = past::files(project, &names);
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
        let past_sink = sink.clone();
        // Files may be long and disks slow; the loop does not wait for either.
        let read = tokio::task::spawn_blocking(move || {
            past::read(&files, &query, &mut |batch| past_sink.blocking_send(batch).is_ok())
        });
        if !read.await.unwrap_or(false) {
            return;
        }
        if let Some(subscription) = follow {
            follow_on(subscription, wanted, sink).await;
        }
    });
    ByteStream::of(body)
}

async fn follow_on(mut subscription: Subscription, wanted: Option<Stream>, sink: mpsc::Sender<Bytes>) {
    let mut begun = Begun::default();
    loop {
        let output = tokio::select! {
            () = sink.closed() => return,
            output = subscription.next() => output,
        };
        let Some(output) = output else { return };
        for piece in begun.encoded(output, wanted, sys::clock::wall_ns()) {
            if sink.send(Bytes::from(piece)).await.is_err() {
                return;
            }
        }
    }
}

/// The beginnings of lines that have no end yet, and of which run they are.
#[derive(Default)]
struct Begun(HashMap<(ServiceName, Stream), (u32, Vec<u8>)>);

impl Begun {
    /// What became whole, in pieces of bounded size (`LG-14`): as JSON, short lines and control characters are many times
    /// as long, and what waits for a reader must not be.
    fn encoded(&mut self, output: Output, wanted: Option<Stream>, time_ns: i64) -> Vec<Vec<u8>> {
        let mut pieces = vec![Vec::new()];
        let mut line = |service: &ServiceName, run: u32, stream: Stream, bytes: &[u8], continued: bool| {
            if pieces.last().is_some_and(|piece| piece.len() > BATCH) {
                pieces.push(Vec::new());
            }
            let line = Line {
                time_ns,
                run,
                stream,
                bytes: bytes.to_vec(),
                continued,
            };
            encode(service, &line, pieces.last_mut().expect("never empty"));
        };
        match output {
            Output::Chunk {
                service,
                run,
                stream,
                bytes,
            } if wanted.is_none_or(|wanted| wanted == stream) => {
                let (of_run, held) = self.0.entry((service.clone(), stream)).or_default();
                if *of_run != run && !held.is_empty() {
                    line(&service, *of_run, stream, &std::mem::take(held), false);
                }
                *of_run = run;
                held.extend_from_slice(&bytes);
                let whole = memchr::memrchr(b'\n', held).map_or(0, |at| at + 1);
                for text in held[..whole].split_inclusive(|&byte| byte == b'\n') {
                    cut(text.strip_suffix(b"\n").unwrap_or(text), &mut |part, continued| {
                        line(&service, run, stream, part, continued);
                    });
                }
                let full = whole + (held.len() - whole) / LINE_CAP * LINE_CAP;
                held[whole..full]
                    .chunks(LINE_CAP)
                    .for_each(|part| line(&service, run, stream, part, true));
                held.drain(..full);
            }
            Output::Skipped {
                service, stream, lines, ..
            } if wanted.is_none_or(|wanted| wanted == stream) => {
                let begun = self.0.remove(&(service.clone(), stream));
                if let Some((run, held)) = begun.filter(|(_, held)| !held.is_empty()) {
                    line(&service, run, stream, &held, true);
                }
                encode_skipped(
                    &service,
                    stream,
                    lines,
                    time_ns,
                    pieces.last_mut().expect("never empty"),
                );
            }
            Output::Chunk { .. } | Output::Skipped { .. } => {}
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

/// A line in parts of at most the cap; an empty line is one part.
fn cut(mut line: &[u8], see: &mut dyn FnMut(&[u8], bool)) {
    while line.len() > LINE_CAP {
        let (part, rest) = line.split_at(LINE_CAP);
        see(part, true);
        line = rest;
    }
    see(line, false);
}

fn encode_skipped(service: &ServiceName, stream: Stream, lines: u64, time_ns: i64, batch: &mut Vec<u8>) {
    let gap = wire::LogLine {
        time: wire::timestamp(time_ns),
        service: service.to_string(),
        run: 0,
        stream,
        line: None,
        line_base64: None,
        skipped: Some(lines),
    };
    serde_json::to_writer(&mut *batch, &gap).expect("writing to memory does not fail");
    batch.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(run: u32, text: &[u8]) -> Output {
        let bytes = Bytes::copy_from_slice(text);
        Output::Chunk {
            service: ServiceName::new("web"),
            run,
            stream: Stream::Out,
            bytes,
        }
    }

    fn shown(begun: &mut Begun, output: Output) -> Vec<(u32, String)> {
        let text = begun.encoded(output, None, 0).concat();
        let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let line = |line| serde_json::from_slice::<wire::LogLine>(line).expect("ours");
        let words = |line: wire::LogLine| match (line.line, line.skipped) {
            (Some(text), None) => (line.run, text),
            (None, Some(count)) => (line.run, format!("skipped {count}")),
            other => panic!("{other:?}"),
        };
        lines.map(line).map(words).collect()
    }

    #[test]
    fn a_follower_gets_whole_lines_of_one_run_and_the_size_of_each_gap() {
        let mut begun = Begun::default();
        assert_eq!(
            shown(&mut begun, chunk(1, b"one\n\ntw")),
            [(1, "one".into()), (1, String::new())]
        );
        assert_eq!(shown(&mut begun, chunk(1, b"o\nno end")), [(1, "two".into())]);
        assert_eq!(
            shown(&mut begun, chunk(2, b"next\nbe")),
            [(1, "no end".into()), (2, "next".into())]
        );
        let gap = Output::Skipped {
            service: ServiceName::new("web"),
            stream: Stream::Out,
            lines: 7,
            bytes: 70,
        };
        assert_eq!(shown(&mut begun, gap), [(2, "be".into()), (0, "skipped 7".into())]);
    }

    #[test]
    fn lg_14_what_waits_for_a_follower_is_cut_into_pieces() {
        let mut begun = Begun::default();
        let pieces = begun.encoded(chunk(1, &b"\n".repeat(100_000)), None, 0);
        assert!(pieces.len() > 50 && pieces.iter().all(|piece| piece.len() < BATCH + 256));
        let endless = begun.encoded(chunk(1, &vec![0; 10 * LINE_CAP + 1]), None, 0);
        assert_eq!(endless.len(), 10);
        assert_eq!(shown(&mut begun, chunk(1, b"\n")), [(1, "\0".into())]);
    }
}
