//! How a line of output is written as JSON: the bytes of [`wire::LogLine`], for `logs`, its followers and `up --log-format json`
//! alike. By hand, because a busy service prints millions of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::wire;
use crate::logs::Stream;

/// Appends what all lines of one instant and stream begin with: it ends behind the comma before the text.
pub fn head(time_ns: i64, service: &str, run: u32, stream: Stream, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(wire::timestamp(time_ns).as_bytes());
    out.extend_from_slice(b"\",\"service\":");
    push_text(service, out);
    let stream = match stream {
        Stream::Out => "out",
        Stream::Err => "err",
    };
    out.extend_from_slice(format!(",\"run\":{run},\"stream\":\"{stream}\",").as_bytes());
}

/// Appends one line, or a part of one that goes on (`continued`), its newline included. Bytes that are not UTF-8 go as Base64, so
/// that none is lost.
pub fn line(head: &[u8], bytes: &[u8], continued: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(head);
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            out.extend_from_slice(b"\"line\":");
            push_text(text, out);
        }
        Err(_) => {
            out.extend_from_slice(b"\"line_base64\":\"");
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.push(b'"');
        }
    }
    out.extend_from_slice(if continued { b",\"continued\":true}\n" } else { b"}\n" });
}

/// Appends that so many lines were missed.
pub fn gap(head: &[u8], lines: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(head);
    out.extend_from_slice(format!("\"skipped\":{lines}}}\n").as_bytes());
}

fn push_text(text: &str, out: &mut Vec<u8>) {
    if needs_no_escape(text.as_bytes()) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("writing to memory does not fail");
    }
}

/// Written so that it becomes vector code.
fn needs_no_escape(bytes: &[u8]) -> bool {
    let escaped = |&byte: &u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    let (blocks, rest) = bytes.as_chunks::<32>();
    blocks
        .iter()
        .all(|block| !block.iter().fold(false, |any, byte| any | escaped(byte)))
        && !rest.iter().any(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_serde(bytes: &[u8], continued: bool, skipped: Option<u64>) -> Vec<u8> {
        let text = std::str::from_utf8(bytes).ok().map(str::to_owned);
        let line = wire::LogLine {
            time: wire::timestamp(1_700_000_000_123_456_789),
            service: "web@1".to_owned(),
            run: 7,
            stream: Stream::Err,
            line_base64: (text.is_none()).then(|| STANDARD.encode(bytes)),
            line: text.filter(|_| skipped.is_none()),
            continued,
            skipped,
        };
        let mut json = serde_json::to_vec(&line).expect("serialised");
        json.push(b'\n');
        json
    }

    #[test]
    fn lg_01_what_is_written_by_hand_is_the_wire_shape() {
        let mut start = Vec::new();
        head(1_700_000_000_123_456_789, "web@1", 7, Stream::Err, &mut start);
        let all: Vec<u8> = (0..=255).collect();
        let ascii: Vec<u8> = (0..0x80).collect();
        let mut texts = vec![
            Vec::new(),
            all,
            ascii,
            "\u{fffd}ß✓\u{1f600}\u{2028}".as_bytes().to_vec(),
            b"\xed\xa0\x80".to_vec(),
            b"plain".repeat(50),
        ];
        // Each byte alone, in a block and behind it.
        for byte in 0..=255u8 {
            for place in [0, 31, 32, 40] {
                let mut text = vec![b'x'; 41];
                text[place] = byte;
                texts.push(text);
            }
        }
        for text in &texts {
            for continued in [false, true] {
                let mut out = Vec::new();
                line(&start, text, continued, &mut out);
                assert_eq!(out, by_serde(text, continued, None), "{text:?}");
            }
        }
        let mut out = Vec::new();
        gap(&start, 12, &mut out);
        assert_eq!(out, by_serde(b"", false, Some(12)));
    }
}
