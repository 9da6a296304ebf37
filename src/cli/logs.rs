//! `logs`: what services have printed, from the running daemon or, when nothing runs, from the files.

use std::io::Write;

use super::Result;
use super::args::{Global, Logs, StreamArg};
use super::outcome::Outcome;
use super::{project, reach, terminal};
use crate::api::past;
use crate::api::wire::LogLine;
use crate::config;
use crate::logs::{Query, Stream};
use crate::view::lines::LogView;

pub fn logs(global: &Global, args: &Logs) -> Result<u8> {
    let mut view = LogView::new(terminal::for_stdout(global), args.timestamps, !args.no_prefix);
    let (_, stream) = project::locate_running(global)?;
    let Some(stream) = stream else {
        return from_files(global, args, &mut view);
    };
    reach::converse(async {
        let mut client = reach::client(stream).await?;
        let mut chunks = client.stream(&path(args)).await?;
        let mut buffer = Vec::new();
        let mut out = Vec::new();
        while let Some(chunk) = chunks.next().await {
            buffer.extend_from_slice(&chunk);
            let whole = memchr::memrchr(b'\n', &buffer).map_or(0, |at| at + 1);
            show(&buffer[..whole], args, &mut view, &mut out)?;
            buffer.drain(..whole);
            if write(&out).is_err() {
                // The reader has seen enough (`| head`).
                return Ok(0);
            }
            out.clear();
        }
        Ok(0)
    })
}

/// Nothing runs, but what was printed is still there.
fn from_files(global: &Global, args: &Logs, view: &mut LogView) -> Result<u8> {
    let loaded = project::load(global)?;
    let names = config::select(&loaded.project, &args.names)?;
    let query = Query {
        stream: args.stream.map(|stream| match stream {
            StreamArg::Out => Stream::Out,
            StreamArg::Err => Stream::Err,
        }),
        tail: args.tail.map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
        ..Query::default()
    };
    let mut failed = None;
    past::read(&past::files(&loaded.project, &names), &query, &mut |lines| {
        let mut out = Vec::new();
        match show(&lines, args, view, &mut out) {
            // The reader has seen enough (`| head`).
            Ok(()) => write(&out).is_ok(),
            Err(error) => {
                failed = Some(error);
                false
            }
        }
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(0),
    }
}

/// Whole lines, as JSON or for a person.
fn show(lines: &[u8], args: &Logs, view: &mut LogView, out: &mut Vec<u8>) -> Result<()> {
    if args.json {
        out.extend_from_slice(lines);
        return Ok(());
    }
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let line: LogLine = serde_json::from_slice(line)
            .map_err(|error| Outcome::failed(format!("runner's answer was not understood: {error}")))?;
        view.line(&line, out);
    }
    Ok(())
}

fn write(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

fn path(args: &Logs) -> String {
    let mut query: Vec<String> = args
        .names
        .iter()
        .map(|name| format!("service={}", escaped(name)))
        .collect();
    query.extend(args.tail.map(|count| format!("tail={count}")));
    query.extend(args.stream.map(|stream| {
        let word = match stream {
            StreamArg::Out => "out",
            StreamArg::Err => "err",
        };
        format!("stream={word}")
    }));
    if args.follow {
        query.push("follow=1".to_owned());
    }
    format!("/v1/logs?{}", query.join("&"))
}

/// A mistyped name must reach the daemon whole, so that it can say which is near.
fn escaped(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'@' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
