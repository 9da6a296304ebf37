//! `logs`: lines that were read back from the files.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine;

use super::escape::{is_clean, plain, push_line};
use super::style::Style;
use super::words;
use crate::api::wire::LogLine;
use crate::logs::Stream;

/// At the end of a part that the next line goes on with, as on the console.
const CONTINUED: &[u8] = " …".as_bytes();

/// Shows log lines, one after the other.
#[derive(Debug)]
pub struct LogView {
    style: Style,
    timestamps: bool,
    prefix: bool,
    /// Prefixes as they are written, by service; the column grows with the longest name that was met.
    names: HashMap<String, usize>,
    width: usize,
}

impl LogView {
    /// `prefix`: each line begins with the name of its service.
    pub fn new(style: Style, timestamps: bool, prefix: bool) -> LogView {
        LogView {
            style,
            timestamps,
            prefix,
            names: HashMap::new(),
            width: 0,
        }
    }

    /// Appends the line, its newline included. The same rule for control characters as on the console.
    pub fn line(&mut self, line: &LogLine, out: &mut Vec<u8>) {
        if self.prefix {
            let place = match self.names.get(&line.service) {
                Some(&place) => place,
                None => {
                    self.width = self.width.max(line.service.len());
                    self.names.insert(line.service.clone(), self.names.len());
                    self.names.len() - 1
                }
            };
            let name = format!("{:1$}", plain(&line.service), self.width);
            out.extend_from_slice(self.style.name(place, name).as_bytes());
            out.extend_from_slice(b" | ");
        }
        if self.timestamps {
            out.extend_from_slice(self.style.dim(plain(&line.time)).as_bytes());
            out.push(b' ');
        }
        if let Some(lines) = line.skipped {
            let text = format!("… skipped {}", words::count(lines, "line"));
            out.extend_from_slice(self.style.dim(text).as_bytes());
            out.push(b'\n');
            return;
        }
        let bytes = bytes(line);
        match is_clean(&bytes) {
            true => out.extend_from_slice(&bytes),
            false => push_line(&bytes, self.style.color, out),
        }
        if line.continued {
            out.extend_from_slice(CONTINUED);
        }
        out.push(b'\n');
    }
}

/// Appends the line as a Kubernetes node's container runtime writes it (the CRI log format): `TIME stdout|stderr F|P LINE`, `P` for
/// a part that the next line goes on with. The bytes are as they were written, unless a terminal would obey them. There is no place for
/// the service's name: whoever reads several needs one file for each, or JSON.
pub fn cri(line: &LogLine, is_terminal: bool, out: &mut Vec<u8>) {
    let stream = match line.stream {
        Stream::Out => "stdout",
        Stream::Err => "stderr",
    };
    let tag = if line.continued { 'P' } else { 'F' };
    out.extend_from_slice(format!("{} {stream} {tag} ", plain(&line.time)).as_bytes());
    let bytes = bytes(line);
    match is_terminal {
        true => push_line(&bytes, false, out),
        false => out.extend_from_slice(&bytes),
    }
    out.push(b'\n');
}

fn bytes(line: &LogLine) -> Cow<'_, [u8]> {
    match (&line.line, &line.line_base64) {
        (Some(text), _) => text.as_bytes().into(),
        // Ours is always valid; of anything else there is nothing to show.
        (None, Some(text)) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap_or_default()
            .into(),
        (None, None) => Cow::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(service: &str, text: Option<&str>, base64: Option<&str>) -> LogLine {
        LogLine {
            time: "2026-01-01T10:00:00Z".into(),
            service: service.into(),
            run: 1,
            stream: Stream::Out,
            line: text.map(str::to_owned),
            line_base64: base64.map(str::to_owned),
            continued: false,
            skipped: None,
        }
    }

    #[test]
    fn lines_with_names_and_times() {
        let mut out = Vec::new();
        let mut view = LogView::new(Style::PLAIN, true, true);
        view.line(&line("migrate", Some("one\x1b[2J"), None), &mut out);
        view.line(&line("db", None, Some("/3R3bw==")), &mut out);
        let gap = LogLine {
            skipped: Some(2),
            ..line("db", None, None)
        };
        view.line(&gap, &mut out);
        LogView::new(Style::PLAIN, false, false).line(&line("db", Some("bare"), None), &mut out);
        let wanted = "migrate | 2026-01-01T10:00:00Z one\ndb      | 2026-01-01T10:00:00Z \u{fffd}two\n\
                      db      | 2026-01-01T10:00:00Z … skipped 2 lines\nbare\n";
        assert_eq!(String::from_utf8_lossy(&out), wanted);
    }

    #[test]
    fn a_part_is_marked_and_cri_gives_the_bytes_as_they_are() {
        let part = LogLine {
            continued: true,
            stream: Stream::Err,
            ..line("db", None, Some("/3QbWzJKd28="))
        };
        let mut out = Vec::new();
        LogView::new(Style::PLAIN, false, true).line(&part, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "db | \u{fffd}two …\n");
        out.clear();
        cri(&part, false, &mut out);
        assert_eq!(out, b"2026-01-01T10:00:00Z stderr P \xfft\x1b[2Jwo\n");
        out.clear();
        cri(&line("db", Some("a\x1b[2Jb"), None), true, &mut out);
        assert_eq!(out, b"2026-01-01T10:00:00Z stdout F ab\n");
    }
}
