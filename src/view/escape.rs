//! Makes foreign text harmless on a terminal.
//!
//! Output of a service may set colours, and nothing else: everything that moves the cursor, clears, changes the title,
//! answers or rings is left out, so that no service can wipe or imitate what another one said. The rule is the same
//! when the console is not a terminal, except that colours are left out as well: a piped console is plain text. Whoever wants
//! the bytes reads the log file, which is never touched.

use std::borrow::Cow;

const ESC: u8 = 0x1b;
const RESET: &[u8] = b"\x1b[0m";

/// Whether all of it can be shown as it is: printable ASCII, tabs and newlines. Written so that it becomes vector code.
pub fn is_clean(bytes: &[u8]) -> bool {
    let dirty = |&byte: &u8| (byte < 0x20) & (byte != b'\n') & (byte != b'\t') | (byte >= 0x7f);
    let (blocks, rest) = bytes.as_chunks::<64>();
    blocks
        .iter()
        .all(|block| !block.iter().fold(false, |any, byte| any | dirty(byte)))
        && !rest.iter().any(dirty)
}

/// Appends one line (without its newline) in a form that changes nothing but its own line.
///
/// Control characters become `^X`, C1 controls and bytes that are not UTF-8 become U+FFFD. With `color`, SGR sequences stay and
/// are undone at the end of the line.
pub fn push_line(line: &[u8], color: bool, out: &mut Vec<u8>) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut colored = false;
    for chunk in line.utf8_chunks() {
        let mut text = chunk.valid();
        while let Some(at) = text.find(char::is_control) {
            out.extend_from_slice(&text.as_bytes()[..at]);
            let rest = &text[at..];
            let control = rest.chars().next().expect("find found one");
            let mut length = control.len_utf8();
            match control {
                '\t' => out.push(b'\t'),
                '\x1b' => {
                    length = sequence_length(rest.as_bytes());
                    let sequence = &rest.as_bytes()[..length];
                    if color && is_sgr(sequence) {
                        out.extend_from_slice(sequence);
                        colored = true;
                    }
                }
                '\x7f' => out.extend_from_slice(b"^?"),
                '\0'..='\x1f' => out.extend_from_slice(&[b'^', control as u8 + b'@']),
                _ => push_replacement(out),
            }
            text = &rest[length..];
        }
        out.extend_from_slice(text.as_bytes());
        if !chunk.invalid().is_empty() {
            push_replacement(out);
        }
    }
    if colored {
        out.extend_from_slice(RESET);
    }
}

fn push_replacement(out: &mut Vec<u8>) {
    out.extend_from_slice("\u{fffd}".as_bytes());
}

/// Length of the escape sequence that `bytes` begins with (ECMA-48, 5.3 to 5.6). Of one that has no end here, only the beginning
/// counts: what follows is shown, nothing can hide behind it.
fn sequence_length(bytes: &[u8]) -> usize {
    let is_final = |range: std::ops::RangeInclusive<u8>| move |byte: &u8| range.contains(byte);
    match bytes.get(1) {
        None => 1,
        Some(b'[') => {
            let parameters = bytes[2..]
                .iter()
                .take_while(|byte| (0x20..=0x3f).contains(*byte))
                .count();
            match bytes.get(2 + parameters) {
                Some(byte) if is_final(0x40..=0x7e)(byte) => 2 + parameters + 1,
                _ => 2,
            }
        }
        // Strings (DCS, SOS, OSC, PM, APC) end with ST or BEL.
        Some(b'P' | b'X' | b']' | b'^' | b'_') => {
            let body = &bytes[2..];
            let end = (0..body.len()).find(|&at| body[at] == 0x07 || body[at..].starts_with(b"\x1b\\"));
            match end {
                Some(at) => 2 + at + if body[at] == ESC { 2 } else { 1 },
                None => 2,
            }
        }
        Some(0x20..=0x2f) => {
            let between = bytes[1..]
                .iter()
                .take_while(|byte| (0x20..=0x2f).contains(*byte))
                .count();
            match bytes.get(1 + between) {
                Some(byte) if is_final(0x30..=0x7e)(byte) => 1 + between + 1,
                _ => 1,
            }
        }
        Some(0x30..=0x7e) => 2,
        Some(_) => 1,
    }
}

fn is_sgr(sequence: &[u8]) -> bool {
    let parameters = sequence.strip_prefix(b"\x1b[").and_then(|rest| rest.strip_suffix(b"m"));
    parameters.is_some_and(|list| list.iter().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':')))
}

/// The same as [`push_line`], for a text.
pub fn line(text: &str, color: bool) -> String {
    let mut out = Vec::new();
    push_line(text.as_bytes(), color, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// A short foreign text (a name, a message) for one line of a table: no controls, no colours.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(line(&text.replace('\t', " "), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &[u8], color: bool) -> String {
        let mut out = Vec::new();
        push_line(line, color, &mut out);
        String::from_utf8(out).expect("always UTF-8")
    }

    #[test]
    fn ap_14_only_colours_get_through() {
        for (line, with_color, without) in [
            (&b"a\x1b[31mred\x1b[m"[..], "a\x1b[31mred\x1b[m\x1b[0m", "ared"),
            (b"\x1b[38;2;1:2m!", "\x1b[38;2;1:2m!\x1b[0m", "!"),
            (b"up\x1b[2A\x1b[2Jhere", "uphere", "uphere"),
            (b"\x1b[?1049hx\x1b[>4;1my", "xy", "xy"),
            (
                b"\x1b]0;title\x07t\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
                "tlink",
                "tlink",
            ),
            (b"\x1b]0;no end", "0;no end", "0;no end"),
            (b"\x1b[31", "31", "31"),
            (b"\x1bcreset\x1b(B\x1b7", "reset", "reset"),
            (b"10%\r20%\r", "10%^M20%", "10%^M20%"),
            (
                b"bell\x07 back\x08 nul\0 del\x7f",
                "bell^G back^H nul^@ del^?",
                "bell^G back^H nul^@ del^?",
            ),
            (
                b"c1 \xc2\x9b31m \x9b31m",
                "c1 \u{fffd}31m \u{fffd}31m",
                "c1 \u{fffd}31m \u{fffd}31m",
            ),
            ("tab\tß✓\u{1f600}".as_bytes(), "tab\tß✓\u{1f600}", "tab\tß✓\u{1f600}"),
            (b"\x1b", "", ""),
            (b"\x1b\x1b[31mx", "\x1b[31mx\x1b[0m", "x"),
        ] {
            assert_eq!(shown(line, true), with_color, "{line:?}");
            assert_eq!(shown(line, false), without, "{line:?}");
        }
    }

    #[test]
    fn clean_is_what_needs_no_change() {
        assert!(is_clean(b""));
        assert!(is_clean(&b"all ASCII\t\n ~".repeat(20)));
        for byte in (0..=255u8).filter(|byte| !matches!(byte, b'\n' | b'\t' | 0x20..=0x7e)) {
            for place in [0, 63, 64, 99] {
                let mut text = [b'x'; 100];
                text[place] = byte;
                assert!(!is_clean(&text), "{byte} at {place}");
            }
        }
    }
}
