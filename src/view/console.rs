//! The console of `up`: `name | line`, and transitions in between.
//!
//! Only whole lines are written, so lines of different services never mix; what a line may contain is decided by
//! `escape`. A line that does not end is held until it does, is flushed, or reaches 16 KiB.

use std::collections::HashMap;
use std::path::Path;

use memchr::memchr;

use super::escape::{is_clean, plain, push_line};
use super::style::Style;
use super::{table, words};
use crate::api::wire::{Event, EventKind, Problem};
use crate::logs::Stream;
use crate::reconcile::{Author, Cause};

/// A longer line is cut; each part but the last ends with [`CONTINUED`].
const LINE_CAP: usize = 16 << 10;
const CONTINUED: &[u8] = " …".as_bytes();
/// Who speaks when it is not a service.
const RUNNER: &str = "runner";
/// Names do not make the column wider than this; a longer one pushes its own lines to the right.
const NAME_COLUMN: usize = 24;

#[derive(Debug)]
pub struct Console {
    style: Style,
    /// Columns of the name.
    column: usize,
    lanes: Vec<Lane>,
    places: HashMap<String, usize>,
}

/// What is known of one service.
#[derive(Debug)]
struct Lane {
    /// `web     | ` with its colour.
    prefix: Vec<u8>,
    /// Per stream: the beginning of a line.
    held: [Vec<u8>; 2],
}

impl Console {
    /// `names`: the services that may speak, in the file's order. A name that is not among them is added when it does.
    pub fn new(style: Style, names: Vec<String>) -> Console {
        let widest = names.iter().map(String::len).max().unwrap_or(0);
        let mut console = Console {
            style,
            column: widest.max(RUNNER.len()).min(NAME_COLUMN),
            lanes: Vec::new(),
            places: HashMap::new(),
        };
        for name in &names {
            console.place(name);
        }
        console
    }

    /// Shows the lines that are complete with this chunk.
    pub fn chunk(&mut self, service: &str, stream: Stream, bytes: &[u8], out: &mut Vec<u8>) {
        let place = self.place(service);
        let color = self.style.color;
        let lane = &mut self.lanes[place];
        let held = &mut lane.held[stream as usize];
        let mut rest = bytes;
        if !held.is_empty() {
            let end = memchr(b'\n', rest);
            let head = &rest[..end.unwrap_or(rest.len())];
            // The part of an endless line goes through the same cap as any other.
            if end.is_some() || held.len() + head.len() > LINE_CAP {
                let mut line = std::mem::take(held);
                line.extend_from_slice(head);
                match end {
                    Some(_) => push_whole(&lane.prefix, &line, color, out),
                    None => *held = push_parts(&lane.prefix, &line, color, out).to_vec(),
                }
            } else {
                held.extend_from_slice(head);
            }
            rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
        }
        // A rough guess (lines of a hundred bytes) that saves growing.
        out.reserve(rest.len() + rest.len() / 100 * lane.prefix.len());
        let clean = is_clean(rest);
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', rest) {
            let line = &rest[start..=end];
            start = end + 1;
            if clean && line.len() <= LINE_CAP {
                out.extend_from_slice(&lane.prefix);
                out.extend_from_slice(line);
            } else {
                push_whole(&lane.prefix, &line[..line.len() - 1], color, out);
            }
        }
        if start < rest.len() {
            *held = push_parts(&lane.prefix, &rest[start..], color, out).to_vec();
        }
    }

    /// Shows what is held although its line is not complete: everything ends, or a person should see a prompt.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        for place in 0..self.lanes.len() {
            self.flush_lane(place, out);
        }
    }

    /// The console was too slow for so many transitions.
    pub fn missed(&self, transitions: u64, out: &mut Vec<u8>) {
        let text = format!("… skipped {}", words::count(transitions, "transition"));
        self.say(&self.style.dim(text), out);
    }

    /// It was too slow for so many lines of this stream.
    pub fn skipped(&mut self, service: &str, stream: Stream, lines: u64, out: &mut Vec<u8>) {
        let place = self.place(service);
        self.flush_stream(place, stream, out);
        let text = format!("… skipped {}", words::count(lines, "line"));
        out.extend_from_slice(&self.lanes[place].prefix);
        out.extend_from_slice(self.style.dim(text).as_bytes());
        out.push(b'\n');
    }

    /// One transition, in words. Some say nothing: what follows them does.
    pub fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        let Some(name) = &event.service else {
            if let Some(words) = self.of_project(&event.kind, &event.cause) {
                self.say(&words, out);
            }
            return;
        };
        let place = self.place(name);
        if matches!(event.kind, EventKind::Exited { .. } | EventKind::Stopped) {
            self.flush_lane(place, out);
        }
        if let Some(words) = self.of_service(event) {
            out.extend_from_slice(&self.lanes[place].prefix);
            out.extend_from_slice(words.trim_end().as_bytes());
            out.push(b'\n');
        }
    }

    /// The file was rejected, and somebody has looked at it: its problems, each with its place.
    pub fn rejected(&self, problems: &[Problem], diagnosis: &str, out: &mut Vec<u8>) {
        self.say(&format!("{}\n\n{diagnosis}", self.rejected_head(problems)), out);
    }

    fn rejected_head(&self, problems: &[Problem]) -> String {
        let file = problems
            .first()
            .and_then(|problem| Path::new(&problem.file).file_name());
        let file = file.map_or("services.toml".into(), |name| name.to_string_lossy());
        let file = plain(&file);
        self.style
            .bad(format!("{file} not applied, everything keeps running as before"))
    }

    /// A line of runner's own.
    fn say(&self, words: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{}  {}\n", self.style.dim(RUNNER), words.trim_end()).as_bytes());
    }

    fn of_project(&self, kind: &EventKind, cause: &Cause) -> Option<String> {
        let style = &self.style;
        match kind {
            EventKind::ConfigApplied {
                generation,
                restarts,
                lives,
                starts,
                stops,
                unchanged,
                steps,
            } => (*generation > 1).then(|| {
                let counts = [
                    (restarts, "restart"),
                    (lives, "live"),
                    (starts, "start"),
                    (stops, "stop"),
                    (unchanged, "unchanged"),
                ];
                let told: Vec<String> = counts
                    .into_iter()
                    .filter(|(count, _)| **count > 0)
                    .map(|(count, noun)| match noun {
                        "live" | "unchanged" => format!("{count} {noun}"),
                        noun => words::count((*count).into(), noun),
                    })
                    .collect();
                let head = match steps.is_empty() {
                    true => format!("services.toml is valid: nothing to do, {}", told.join(", ")),
                    false if cause.by == Author::File => format!("services.toml changed: {}", told.join(", ")),
                    false => format!("{}: {}", plain(&cause.detail), told.join(", ")),
                };
                let head = style.dim(head);
                format!("{head}\n{}", table::steps(steps, "        ", style))
            }),
            EventKind::ConfigRejected { message, problems } => {
                let lines: Vec<_> = message.lines().map(plain).collect();
                Some(format!("{}\n\n{}\n", self.rejected_head(problems), lines.join("\n")))
            }
            EventKind::Ending { because } => Some(style.dim(format!("stopping everything: {}", plain(because)))),
            EventKind::Warned { message } => Some(style.pending(plain(message))),
            _ => None,
        }
    }

    fn of_service(&self, event: &Event) -> Option<String> {
        let style = &self.style;
        let after = |seconds: &f64| words::duration(*seconds);
        let plainly = |words: String| (!style.terminal).then_some(words);
        match &event.kind {
            // On a terminal the block below tells these.
            EventKind::Waiting { on } => plainly(style.dim(format!("waiting for {}", plain(&on.join(", "))))),
            EventKind::Adopted { pid } => plainly(style.dim(format!("adopted (pid {pid})"))),
            EventKind::Started { pid } => plainly(style.dim(format!("started (pid {pid})"))),
            EventKind::Ready { after_s, probe } => {
                let by = probe
                    .as_ref()
                    .map_or(String::new(), |probe| format!(" ({})", plain(probe)));
                Some(style.good(format!("ready after {}{by}", after(after_s))))
            }
            EventKind::Unhealthy { message } => Some(style.pending(format!("unhealthy: {}", plain(message)))),
            EventKind::Recovered => Some(style.good("healthy again")),
            EventKind::Restarting {
                delay_s,
                attempt,
                failure,
            } => {
                let when = match *delay_s > 0.0 {
                    true => format!("restarting in {}", after(delay_s)),
                    false => "restarting".to_owned(),
                };
                let why = failure.as_ref().map_or(&event.cause.detail, |failure| &failure.message);
                let why = plain(why.lines().next().unwrap_or_default());
                Some(style.pending(format!("{when} (attempt {attempt}): {why}")))
            }
            EventKind::Failed { failure } => Some(table::failure(failure, self.column + 3, style)),
            EventKind::Stopping => Some(style.dim(format!("stopping ({})", plain(&event.cause.detail)))),
            EventKind::Stopped => Some(style.dim("stopped")),
            EventKind::Signalled { signal } => {
                Some(style.dim(format!("{signal} sent ({})", plain(&event.cause.detail))))
            }
            EventKind::OutputFound { name, value } => Some(format!("{}: {}", plain(name), style.good(plain(value)))),
            EventKind::Preparing { step } => Some(style.dim(format!("preparing: {}", plain(step)))),
            EventKind::HookRan { .. } => None,
            EventKind::HookFailed { message, .. } => Some(style.bad(plain(message))),
            EventKind::Reloaded => Some(style.good("reloaded")),
            EventKind::ReloadFailed { message } => Some(style.bad(format!("reload failed: {}", plain(message)))),
            EventKind::Completed { exit, after_s } => {
                use crate::api::wire::Exit;
                let code = match exit {
                    Exit::Code(0) => String::new(),
                    exit => format!(" ({})", words::exit(exit)),
                };
                Some(style.good(format!("completed after {}{code}", after(after_s))))
            }
            EventKind::Warned { message } => Some(style.pending(plain(message))),
            // Always followed by what comes of it.
            EventKind::Exited { .. } => None,
            EventKind::ConfigApplied { .. } | EventKind::ConfigRejected { .. } | EventKind::Settled { .. } => None,
            EventKind::Ending { .. } | EventKind::Ended { .. } => None,
        }
    }

    fn flush_lane(&mut self, place: usize, out: &mut Vec<u8>) {
        self.flush_stream(place, Stream::Out, out);
        self.flush_stream(place, Stream::Err, out);
    }

    fn flush_stream(&mut self, place: usize, stream: Stream, out: &mut Vec<u8>) {
        let lane = &mut self.lanes[place];
        let line = std::mem::take(&mut lane.held[stream as usize]);
        if !line.is_empty() {
            push_whole(&lane.prefix, &line, self.style.color, out);
        }
    }

    fn place(&mut self, name: &str) -> usize {
        if let Some(&place) = self.places.get(name) {
            return place;
        }
        let place = self.lanes.len();
        let padded = format!("{:1$}", plain(name), self.column);
        self.lanes.push(Lane {
            prefix: format!("{} | ", self.style.name(place, padded)).into_bytes(),
            held: Default::default(),
        });
        self.places.insert(name.to_owned(), place);
        place
    }
}

/// A complete line, in parts if it is too long.
fn push_whole(prefix: &[u8], line: &[u8], color: bool, out: &mut Vec<u8>) {
    let rest = push_parts(prefix, line, color, out);
    if !rest.is_empty() || line.is_empty() {
        push(prefix, rest, color, out);
        out.push(b'\n');
    }
}

/// Shows the parts of a line that are as long as a part may be. Returns what is left.
fn push_parts<'a>(prefix: &[u8], mut line: &'a [u8], color: bool, out: &mut Vec<u8>) -> &'a [u8] {
    while line.len() > LINE_CAP {
        // Not within a character.
        let back = (0..4).find(|back| line[LINE_CAP - back] & 0xc0 != 0x80).unwrap_or(0);
        let (part, rest) = line.split_at(LINE_CAP - back);
        push(prefix, part, color, out);
        out.extend_from_slice(CONTINUED);
        out.push(b'\n');
        line = rest;
    }
    line
}

fn push(prefix: &[u8], line: &[u8], color: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(prefix);
    match is_clean(line) {
        true => out.extend_from_slice(line),
        false => push_line(line, color, out),
    }
}
