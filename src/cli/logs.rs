//! `logs`: what services have printed, from the running daemon.

use std::io::Write;

use super::Result;
use super::args::{Global, Logs, StreamArg};
use super::outcome::Outcome;
use super::{project, reach, terminal};
use crate::api::wire::LogLine;
use crate::view::lines::LogView;

pub fn logs(global: &Global, args: &Logs) -> Result<u8> {
    let stream = reach::require(project::locate_running(global)?)?;
    let mut view = LogView::new(terminal::for_stdout(global), args.timestamps, !args.no_prefix);
    reach::converse(async {
        let mut client = reach::client(stream).await?;
        let mut chunks = client.stream(&path(args)).await?;
        let mut buffer = Vec::new();
        let mut out = Vec::new();
        while let Some(chunk) = chunks.next().await {
            buffer.extend_from_slice(&chunk);
            let whole = memchr::memrchr(b'\n', &buffer).map_or(0, |at| at + 1);
            for line in buffer[..whole].split_inclusive(|&byte| byte == b'\n') {
                if args.json {
                    out.extend_from_slice(line);
                } else {
                    let line: LogLine = serde_json::from_slice(line)
                        .map_err(|error| Outcome::failed(format!("runner's answer was not understood: {error}")))?;
                    view.line(&line, &mut out);
                }
            }
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
