//! `logs`: what services have printed, from the running daemon or, when nothing runs, from the files.

mod place;

use super::Result;
use super::args::{Global, LogFormat, Logs, StreamArg};
use super::call::Flow;
use super::outcome::Outcome;
use super::{orphans, project, reach, terminal};
use crate::api::wire::{LogLine, LogsRequest};
use crate::api::{past, query};
use crate::config::find::Location;
use crate::logs::{LogPlace, Query, Stream, Which};
use crate::spec::{LogTarget, ServiceName};
use crate::view::lines::{LogView, cri};
use crate::view::style::Style;
use crate::view::words;
use place::Place;

pub fn logs(global: &Global, args: &Logs) -> Result<u8> {
    let mut printer = Printer::new(terminal::for_stdout(global), args);
    let mut request = request(args);
    let (location, stream) = project::locate_running(global)?;
    let Some(stream) = stream else {
        return from_files(global, &location, &request, &mut printer);
    };
    reach::converse(async {
        let mut client = reach::client(stream).await?;
        let mut flow = Flow::begin(&location, &mut client, &query::of_logs(&request)).await?;
        loop {
            let mut buffer = Vec::new();
            while let Some(chunk) = flow.next().await {
                buffer.extend_from_slice(&chunk);
                let whole = memchr::memrchr(b'\n', &buffer).map_or(0, |at| at + 1);
                if !printer.print(&buffer[..whole])? {
                    return Ok(0);
                }
                buffer.drain(..whole);
            }
            if !args.follow {
                return Ok(0);
            }
            if let Some(since) = printer.place.begin_again() {
                (request.query.since_ns, request.query.tail) = (Some(since), None);
            }
            match flow.again(&location, &query::of_logs(&request)).await? {
                Some(another) => flow = another,
                None => return Ok(0),
            }
        }
    })
}

fn request(args: &Logs) -> LogsRequest {
    let run = match args.previous {
        true => Some(Which::Previous),
        false => args.run.map(Which::Number),
    };
    LogsRequest {
        services: args.names.clone(),
        follow: args.follow,
        query: Query {
            run,
            stream: args.stream.map(|stream| match stream {
                StreamArg::Out => Stream::Out,
                StreamArg::Err => Stream::Err,
            }),
            since_ns: args.since,
            until_ns: args.until,
            grep: args.grep.clone(),
            tail: args.tail,
        },
    }
}

/// Nothing runs, but what was printed is still there.
fn from_files(global: &Global, location: &Location, request: &LogsRequest, printer: &mut Printer) -> Result<u8> {
    let orphans = orphans::of(location);
    let sources = match &orphans {
        // Their logs are known without services.toml.
        Some(orphans) if !matches!(project::read(global), Ok((_, Ok(_)))) => orphans.logs(&request.services)?,
        _ => {
            let of_files = |_: &ServiceName, target: &LogTarget| LogPlace::of_files(target);
            past::sources(&project::load(global)?.project, &request.services, of_files)?
        }
    };
    if sources.is_empty() && !request.services.is_empty() {
        return Err(Outcome::failed(format!("no output is kept: {}", past::NO_LOG)));
    }
    if !global.quiet {
        if orphans.is_some_and(|orphans| !orphans.are_gone()) {
            terminal::say(
                "no runner is up: this is what the files hold; what services have printed since waits for `runner up`",
            );
        } else if request.follow {
            terminal::say("no runner is up: this is what the files hold, and nothing more will come");
        }
    }
    let mut failed = None;
    let past = past::read(&sources, &[], &request.query, &mut |lines| {
        printer.print(&lines).unwrap_or_else(|error| {
            failed = Some(error);
            false
        })
    });
    match failed {
        Some(error) => Err(error),
        None if past.troubles.is_empty() => Ok(0),
        None => Err(Outcome::failed(past.troubles.join("\n"))),
    }
}

/// From lines as they travel to what was asked for, on stdout.
struct Printer {
    format: LogFormat,
    view: LogView,
    style: Style,
    out: Vec<u8>,
    /// Only a follower may have to go on.
    follows: bool,
    place: Place,
}

impl Printer {
    fn new(style: Style, args: &Logs) -> Printer {
        Printer {
            format: if args.json { LogFormat::Json } else { args.format },
            view: LogView::new(style, args.timestamps, !args.no_prefix),
            style,
            out: Vec::new(),
            follows: args.follow,
            place: Place::default(),
        }
    }

    /// `false`: the reader has seen enough (`| head`).
    fn print(&mut self, lines: &[u8]) -> Result<bool> {
        if self.format == LogFormat::Json && !self.follows {
            return terminal::write(lines);
        }
        self.out.clear();
        for text in lines.split_inclusive(|&byte| byte == b'\n') {
            let line: LogLine = serde_json::from_slice(text)
                .map_err(|error| Outcome::failed(format!("runner's answer was not understood: {error}")))?;
            if self.follows && !self.place.is_new(&line) {
                continue;
            }
            match (self.format, line.skipped) {
                // The format has no word for it.
                (LogFormat::Cri, Some(lines)) => {
                    let lines = words::count(lines, "line");
                    terminal::say(format_args!(
                        "skipped {lines} of {}: this reader was too slow",
                        line.service
                    ));
                }
                (LogFormat::Json, _) => self.out.extend_from_slice(text),
                (LogFormat::Cri, None) => cri(&line, self.style.terminal, &mut self.out),
                _ => self.view.line(&line, &mut self.out),
            }
        }
        terminal::write(&self.out)
    }
}
