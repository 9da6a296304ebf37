//! What `up` shows, in the format that was asked for: text with transitions in between, or JSON lines with the transitions on stderr.

use super::console::Console;
use super::json::{self, JsonLines};
use super::style::Style;
use crate::api::boot::ConsoleFormat;
use crate::api::wire::Event;
use crate::logs::{Origin, Render};

#[derive(Debug)]
pub enum Shown {
    Text(Console),
    Json(JsonLines),
}

impl Shown {
    /// `names`: the services that may speak, in the file's order.
    pub fn new(format: ConsoleFormat, style: Style, names: Vec<String>) -> Shown {
        match format {
            ConsoleFormat::Text => Shown::Text(Console::new(style, names)),
            ConsoleFormat::Json => Shown::Json(JsonLines::default()),
        }
    }

    pub fn is_json(&self) -> bool {
        matches!(self, Shown::Json(_))
    }

    /// The reader was too slow for so many lines of this stream, which the logs have.
    pub fn skipped(&mut self, of: &Origin<'_>, lines: u64, out: &mut Vec<u8>) {
        match self {
            Shown::Text(console) => console.skipped(of.service, of.stream, lines, out),
            Shown::Json(json) => json.skipped(of.service, of.run, of.stream, of.time_ns, lines, out),
        }
    }

    /// It was too slow for so many transitions. JSON does not say so: their numbers have a gap.
    pub fn missed(&mut self, transitions: u64, out: &mut Vec<u8>) {
        if let Shown::Text(console) = self {
            console.missed(transitions, out);
        }
    }

    /// One transition. `out` goes to stdout, `err` to stderr.
    pub fn event(&mut self, event: &Event, out: &mut Vec<u8>, err: &mut Vec<u8>) {
        match self {
            Shown::Text(console) => console.event(event, out),
            Shown::Json(_) => json::event(event, err),
        }
    }

    /// Everything ends: what has no line end is a line too.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        match self {
            Shown::Text(console) => console.flush(out),
            Shown::Json(json) => json.flush(out),
        }
    }
}

impl Render for Shown {
    fn chunk(&mut self, of: &Origin<'_>, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Shown::Text(console) => console.chunk(of.service, of.stream, bytes, out),
            Shown::Json(json) => json.chunk(of.service, of.run, of.stream, of.time_ns, bytes, out),
        }
    }

    fn end(&mut self, service: &str, run: u32, out: &mut Vec<u8>) {
        match self {
            // The word of its end completes its lines.
            Shown::Text(_) => {}
            Shown::Json(json) => json.end(service, run, out),
        }
    }
}
