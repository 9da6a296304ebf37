//! `up --log-format json`: what services print, an object a line, as `logs --json` shows it.

use std::collections::HashMap;

use memchr::memchr;

use crate::api::lines;
use crate::api::wire::{self, Event};
use crate::logs::{LINE_CAP, Partial, Stream};
use crate::reconcile::{Author, Cause};

/// Only whole lines are shown; the beginning of one is held until its end comes, at most 64 KiB for each stream: a longer line is
/// shown in parts. A line is as old as its first byte.
#[derive(Debug, Default)]
pub struct JsonLines {
    /// What is held, by service.
    lanes: HashMap<String, [Option<Partial>; 2]>,
    /// What the lines of the current chunk begin with.
    head: Vec<u8>,
}

impl JsonLines {
    /// Shows the lines that are complete with this chunk.
    pub fn chunk(&mut self, service: &str, run: u32, stream: Stream, time_ns: i64, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        if let Some(mut held) = self.take_held(service, stream) {
            if held.run != run {
                self.finish(service, held, out);
            } else if self.go_on(service, &mut held, time_ns, &mut rest, out) {
                return self.hold(service, held);
            }
        }
        self.head.clear();
        lines::head(time_ns, service, run, stream, &mut self.head);
        // A guess (lines of a hundred bytes) that saves growing.
        out.reserve(rest.len() + rest.len() / 100 * (self.head.len() + 16));
        while let Some(end) = memchr(b'\n', rest) {
            if end > LINE_CAP {
                break;
            }
            lines::line(&self.head, &rest[..end], false, out);
            rest = &rest[end + 1..];
        }
        while !rest.is_empty() {
            let mut held = Partial::new(run, stream);
            if self.go_on(service, &mut held, time_ns, &mut rest, out) {
                self.hold(service, held);
            }
        }
    }

    /// Nothing more will come of this run: what it has left without an end is a line.
    pub fn end(&mut self, service: &str, run: u32, out: &mut Vec<u8>) {
        for stream in [Stream::Out, Stream::Err] {
            match self.take_held(service, stream) {
                Some(held) if held.run == run => self.finish(service, held, out),
                Some(held) => self.hold(service, held),
                None => {}
            }
        }
        if self
            .lanes
            .get(service)
            .is_some_and(|held| held.iter().all(Option::is_none))
        {
            self.lanes.remove(service);
        }
    }

    /// Everything ends.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        let mut services: Vec<_> = self.lanes.drain().collect();
        services.sort_by(|one, other| one.0.cmp(&other.0));
        for (service, held) in services {
            for held in held.into_iter().flatten() {
                self.finish(&service, held, out);
            }
        }
    }

    /// This reader was too slow for so many lines, which the logs have.
    pub fn skipped(&mut self, service: &str, run: u32, stream: Stream, time_ns: i64, count: u64, out: &mut Vec<u8>) {
        if let Some(held) = self.take_held(service, stream) {
            self.finish(service, held, out);
        }
        self.head.clear();
        lines::head(time_ns, service, run, stream, &mut self.head);
        lines::gap(&self.head, count, out);
    }

    /// Adds to a line that was begun, up to its end. Returns whether it still goes on.
    fn go_on(&mut self, service: &str, held: &mut Partial, time_ns: i64, rest: &mut &[u8], out: &mut Vec<u8>) -> bool {
        while !rest.is_empty() {
            let Some(line) = held.take(rest, time_ns, true) else {
                continue;
            };
            self.head.clear();
            lines::head(line.time_ns, service, line.run, line.stream, &mut self.head);
            lines::line(&self.head, &line.bytes, line.continued, out);
            if !line.continued {
                return false;
            }
        }
        true
    }

    fn finish(&mut self, service: &str, mut held: Partial, out: &mut Vec<u8>) {
        if let Some(line) = held.finish() {
            self.head.clear();
            lines::head(line.time_ns, service, line.run, line.stream, &mut self.head);
            lines::line(&self.head, &line.bytes, false, out);
        }
    }

    fn take_held(&mut self, service: &str, stream: Stream) -> Option<Partial> {
        self.lanes.get_mut(service)?[stream as usize].take()
    }

    fn hold(&mut self, service: &str, held: Partial) {
        let stream = held.stream as usize;
        match self.lanes.get_mut(service) {
            Some(lane) => lane[stream] = Some(held),
            None => {
                let mut lane = [None, None];
                lane[stream] = Some(held);
                self.lanes.insert(service.to_owned(), lane);
            }
        }
    }
}

/// One transition, as `events --json` shows it.
pub fn event(event: &Event, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, event).expect("writing to memory does not fail");
    out.push(b'\n');
}

/// What `up` itself has to say, in the shape of an event that the history does not have: its number is 0.
pub fn note(message: &str, now_ns: i64) -> String {
    let event = Event {
        cursor: 0,
        time: wire::timestamp(now_ns),
        service: None,
        run: 0,
        kind: wire::EventKind::Warned {
            message: message.to_owned(),
        },
        cause: Cause::new(Author::Runner, "up"),
    };
    let mut out = Vec::new();
    self::event(&event, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use base64::Engine;

    use super::*;
    use crate::api::wire::LogLine;

    fn read(json: &[u8]) -> Vec<LogLine> {
        let lines = json.split_inclusive(|&byte| byte == b'\n');
        lines
            .map(|line| {
                assert_eq!(line.last(), Some(&b'\n'));
                serde_json::from_slice(line).expect("an object a line")
            })
            .collect()
    }

    fn bytes(line: &LogLine) -> Vec<u8> {
        match (&line.line, &line.line_base64) {
            (Some(text), None) => text.as_bytes().to_vec(),
            (None, Some(text)) => base64::engine::general_purpose::STANDARD.decode(text).expect("Base64"),
            _ => panic!("one of both: {line:?}"),
        }
    }

    fn shown(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let (mut view, mut out) = (JsonLines::default(), Vec::new());
        for chunk in chunks {
            view.chunk("web", 1, Stream::Out, 0, chunk, &mut out);
        }
        view.end("web", 1, &mut out);
        assert!(view.lanes.is_empty());
        read(&out).iter().map(|line| (bytes(line), line.continued)).collect()
    }

    #[test]
    fn lg_01_every_byte_comes_through_however_it_is_cut() {
        let mut text: Vec<u8> = (0..=255).collect();
        text.extend_from_slice(b"\n\n\xff\n\xed\xa0\x80\n\"quoted\" \\ \x1b[2J\r\nno end");
        let whole = shown(&[&text]);
        let joined: Vec<Vec<u8>> = whole.iter().map(|(line, _)| line.clone()).collect();
        assert_eq!(joined.join(&b'\n'), text);
        for cut in 0..text.len() {
            assert_eq!(shown(&[&text[..cut], &text[cut..]]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn lg_02_a_long_line_comes_in_parts_of_the_cap_however_it_is_cut() {
        let mut text = vec![b'x'; LINE_CAP];
        text.push(b'\n');
        text.extend(vec![b'y'; 2 * LINE_CAP + 1]);
        text.extend_from_slice(b"\nz\n");
        let sizes = |chunks: &[&[u8]]| {
            let all = shown(chunks);
            all.iter().map(|(line, on)| (line.len(), *on)).collect::<Vec<_>>()
        };
        let wanted = [
            (LINE_CAP, false),
            (LINE_CAP, true),
            (LINE_CAP, true),
            (1, false),
            (1, false),
        ];
        assert_eq!(sizes(&[&text]), wanted);
        for cut in [
            1,
            LINE_CAP,
            LINE_CAP + 1,
            LINE_CAP + 2,
            3 * LINE_CAP + 1,
            text.len() - 1,
        ] {
            assert_eq!(sizes(&[&text[..cut], &text[cut..]]), wanted, "cut at {cut}");
        }
    }

    #[test]
    fn lg_11_streams_do_not_mix_and_a_line_is_as_old_as_its_first_byte() {
        let (mut view, mut out) = (JsonLines::default(), Vec::new());
        view.chunk("web", 1, Stream::Out, 1_000_000_000, b"one be", &mut out);
        view.chunk("web", 1, Stream::Err, 2_000_000_000, b"between\nleft", &mut out);
        view.chunk("db", 3, Stream::Out, 2_000_000_000, b"db\n", &mut out);
        view.chunk("web", 1, Stream::Out, 3_000_000_000, b"gun\ntwo\n", &mut out);
        // A run that goes on to the next without a word leaves its line.
        view.chunk("web", 2, Stream::Err, 4_000_000_000, b"next\nopen", &mut out);
        view.skipped("web", 2, Stream::Err, 5_000_000_000, 7, &mut out);
        view.chunk("db", 3, Stream::Out, 6_000_000_000, b"last", &mut out);
        view.flush(&mut out);
        let all = read(&out);
        let seen: Vec<_> = all
            .iter()
            .map(|line| {
                let text = line.line.clone().unwrap_or_default();
                (line.service.as_str(), line.run, line.stream, line.time.as_str(), text)
            })
            .collect();
        let at = |second: i64| wire::timestamp(second * 1_000_000_000);
        let line = |service, run, stream, second, text: &str| {
            let time = Box::leak(at(second).into_boxed_str());
            (service, run, stream, &*time, text.to_owned())
        };
        use Stream::{Err, Out};
        let wanted = [
            line("web", 1, Err, 2, "between"),
            line("db", 3, Out, 2, "db"),
            line("web", 1, Out, 1, "one begun"),
            line("web", 1, Out, 3, "two"),
            line("web", 1, Err, 2, "left"),
            line("web", 2, Err, 4, "next"),
            line("web", 2, Err, 4, "open"),
            line("web", 2, Err, 5, ""),
            line("db", 3, Out, 6, "last"),
        ];
        assert_eq!(seen, wanted);
        assert_eq!(all[7].skipped, Some(7));
    }
}
