//! What is said over the connection of `GET /v1/services/NAME/attach` once it was upgraded.
//!
//! One frame is a kind byte, a `u32` length in little endian, and the payload, of at most [`MAX_PAYLOAD`] bytes:
//!
//! | kind | from | payload |
//! |---|---|---|
//! | `I` | client | bytes that were typed |
//! | `R` | client | the window: rows, columns, each `u16` in little endian |
//! | `B` | runner | the number of the run whose terminal it is, `u32` in little endian; the first frame |
//! | `O` | runner | bytes that were printed |
//! | `S` | runner | the reader was too slow for so many bytes, `u64` in little endian |
//! | `X` | runner | the run has ended: a kind byte (`0` its exit code, `1` the signal, `2` not known) and an `i32` in little endian |
//!
//! Anything else ends the connection.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::reconcile::ExitStatus;
use crate::spec::Signal;

/// What `Upgrade:` has to say.
pub const PROTOCOL: &str = "runner-attach";
pub const MAX_PAYLOAD: usize = 64 * 1024;
const HEADER: usize = 5;

const INPUT: u8 = b'I';
const WINDOW: u8 = b'R';
const BEGUN: u8 = b'B';
const OUTPUT: u8 = b'O';
const SKIPPED: u8 = b'S';
const ENDED: u8 = b'X';

/// Of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub rows: u16,
    pub columns: u16,
}

/// What a client says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Input(Bytes),
    Window(Window),
}

/// What runner says.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// The run whose terminal it is: whoever comes again asks for the same.
    Begun(u32),
    Output(Bytes),
    Skipped(u64),
    Ended(ExitStatus),
}

impl Said {
    /// Of at most [`MAX_PAYLOAD`] bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Said::Input(bytes) => put(out, INPUT, bytes),
            Said::Window(window) => {
                let ([a, b], [c, d]) = (window.rows.to_le_bytes(), window.columns.to_le_bytes());
                put(out, WINDOW, &[a, b, c, d]);
            }
        }
    }

    /// The next whole frame of `buffer`, taken out of it. `Ok(None)`: more bytes are needed.
    ///
    /// # Errors
    /// In words: it is none of this protocol.
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Said>, String> {
        let Some((kind, mut payload)) = take(buffer)? else {
            return Ok(None);
        };
        match (kind, payload.len()) {
            (INPUT, _) => Ok(Some(Said::Input(payload))),
            (WINDOW, 4) => Ok(Some(Said::Window(Window {
                rows: payload.get_u16_le(),
                columns: payload.get_u16_le(),
            }))),
            (kind, length) => Err(format!("a frame of kind {kind} and {length} bytes")),
        }
    }
}

impl Shown {
    /// Of at most [`MAX_PAYLOAD`] bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Shown::Begun(run) => put(out, BEGUN, &run.to_le_bytes()),
            Shown::Output(bytes) => put(out, OUTPUT, bytes),
            Shown::Skipped(bytes) => put(out, SKIPPED, &bytes.to_le_bytes()),
            Shown::Ended(status) => {
                let (kind, number) = match *status {
                    ExitStatus::Code(code) => (0, code),
                    ExitStatus::Signal(signal) => (1, signal.number()),
                    ExitStatus::Unknown => (2, 0),
                };
                let [a, b, c, d] = number.to_le_bytes();
                put(out, ENDED, &[kind, a, b, c, d]);
            }
        }
    }

    /// As [`Said::decode`].
    ///
    /// # Errors
    /// As there.
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Shown>, String> {
        let Some((kind, mut payload)) = take(buffer)? else {
            return Ok(None);
        };
        let unknown = |kind: u8, length: usize| format!("a frame of kind {kind} and {length} bytes");
        match (kind, payload.len()) {
            (BEGUN, 4) => Ok(Some(Shown::Begun(payload.get_u32_le()))),
            (OUTPUT, _) => Ok(Some(Shown::Output(payload))),
            (SKIPPED, 8) => Ok(Some(Shown::Skipped(payload.get_u64_le()))),
            (ENDED, 5) => {
                let (how, number) = (payload.get_u8(), payload.get_i32_le());
                let status = match how {
                    0 => ExitStatus::Code(number),
                    1 if (1..=64).contains(&number) => ExitStatus::Signal(Signal::from_number(number)),
                    2 => ExitStatus::Unknown,
                    _ => return Err(unknown(kind, 5)),
                };
                Ok(Some(Shown::Ended(status)))
            }
            (kind, length) => Err(unknown(kind, length)),
        }
    }
}

fn put(out: &mut BytesMut, kind: u8, payload: &[u8]) {
    debug_assert!(payload.len() <= MAX_PAYLOAD, "whoever makes frames cuts them");
    out.put_u8(kind);
    out.put_u32_le(payload.len() as u32);
    out.put_slice(payload);
}

fn take(buffer: &mut BytesMut) -> Result<Option<(u8, Bytes)>, String> {
    if buffer.len() < HEADER {
        return Ok(None);
    }
    let kind = buffer[0];
    let length = u32::from_le_bytes([buffer[1], buffer[2], buffer[3], buffer[4]]) as usize;
    if length > MAX_PAYLOAD {
        return Err(format!("a frame of {length} bytes"));
    }
    if buffer.len() < HEADER + length {
        buffer.reserve(HEADER + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEADER);
    Ok(Some((kind, buffer.split_to(length).freeze())))
}

/// One viewer's ends of a terminal.
#[derive(Debug)]
pub struct Attached {
    pub shown: mpsc::Receiver<Shown>,
    pub said: mpsc::Sender<Said>,
}

/// Carries frames between a connection and the terminal until one of them ends. A reader that does not read holds up nobody but
/// itself: what is for it waits with the terminal, which counts what it skips.
pub(super) async fn carry(stream: impl AsyncRead + AsyncWrite, attached: Attached) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let Attached { mut shown, said } = attached;
    let outward = async {
        let mut out = BytesMut::new();
        while let Some(frame) = shown.recv().await {
            frame.encode(&mut out);
            writer.write_all_buf(&mut out).await?;
        }
        writer.shutdown().await
    };
    let inward = async {
        let mut buffer = BytesMut::new();
        loop {
            while let Some(frame) = Said::decode(&mut buffer).map_err(io::Error::other)? {
                if said.send(frame).await.is_err() {
                    // The run has ended: what is shown of it is still on its way.
                    return std::future::pending().await;
                }
            }
            if reader.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
    };
    tokio::select! {
        result = outward => result,
        result = inward => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said_round_trip(frame: &Said) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(
                Said::decode(&mut BytesMut::from(&bytes[..cut])),
                Ok(None),
                "cut at {cut}"
            );
        }
        assert_eq!(Said::decode(&mut bytes), Ok(Some(frame.clone())));
        assert!(bytes.is_empty());
    }

    fn shown_round_trip(frame: &Shown) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(
                Shown::decode(&mut BytesMut::from(&bytes[..cut])),
                Ok(None),
                "cut at {cut}"
            );
        }
        assert_eq!(Shown::decode(&mut bytes), Ok(Some(frame.clone())));
        assert!(bytes.is_empty());
    }

    #[test]
    fn every_kind_survives_the_way_and_waits_for_its_last_byte() {
        said_round_trip(&Said::Input(Bytes::from_static(b"\0\xff\n")));
        said_round_trip(&Said::Input(Bytes::new()));
        said_round_trip(&Said::Window(Window {
            rows: 1,
            columns: u16::MAX,
        }));
        shown_round_trip(&Shown::Begun(u32::MAX));
        shown_round_trip(&Shown::Output(Bytes::from_static(b"\x1b[31m")));
        shown_round_trip(&Shown::Skipped(u64::MAX));
        shown_round_trip(&Shown::Ended(ExitStatus::Code(3)));
        shown_round_trip(&Shown::Ended(ExitStatus::Signal(Signal::KILL)));
        shown_round_trip(&Shown::Ended(ExitStatus::Unknown));
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic() {
        for bytes in [
            &b"Q\0\0\0\0"[..],
            b"I\x01\0\x01\0",
            b"I\xff\xff\xff\xff",
            b"R\x03\0\0\0abc",
            b"R\0\0\0\0",
            b"O\x01\0\0\0x",
        ] {
            assert!(Said::decode(&mut BytesMut::from(bytes)).is_err(), "{bytes:?}");
        }
        for bytes in [
            &b"I\0\0\0\0"[..],
            b"O\x01\0\x01\0",
            b"S\x01\0\0\0x",
            b"B\x01\0\0\0x",
            b"X\x05\0\0\0\x01\0\0\0\0",
            b"X\x05\0\0\0\x07\0\0\0\0",
        ] {
            assert!(Shown::decode(&mut BytesMut::from(bytes)).is_err(), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_frame_ends_the_connection() {
        let (mut client, server) = tokio::io::duplex(64);
        let (_output, shown) = mpsc::channel(1);
        let (said, mut heard) = mpsc::channel(4);
        client
            .write_all(b"I\x02\0\0\0hiGET / HTTP/1.1\r\n\r\n")
            .await
            .expect("room");
        let error = carry(server, Attached { shown, said }).await.expect_err("refused");
        assert!(error.to_string().contains("frame"), "{error}");
        assert_eq!(heard.recv().await, Some(Said::Input(Bytes::from_static(b"hi"))));
    }
}
