//! The console stream: events and raw output in one ordered sequence of frames.
//!
//! One frame is a kind byte, a `u32` length in little endian, and the payload. Output travels as bytes, not as JSON: a
//! gigabyte of log lines then costs one copy instead of an escape and a parse for each line.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::wire;
use crate::logs::Stream;

/// Larger frames are a protocol error: nothing that we send comes near.
const MAX_FRAME: usize = 16 * 1024 * 1024;
const HEADER: usize = 5;

#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    Event(Box<wire::Event>),
    /// A chunk of what a service wrote; it may end in the middle of a line.
    Output {
        service: String,
        run: u32,
        stream: Stream,
        /// Wall clock, ns since 1970, when it was taken.
        time_ns: i64,
        bytes: Bytes,
    },
    /// The reader was too slow for so many lines, of which `run` and `time_ns` are those of the last.
    Skipped {
        service: String,
        run: u32,
        stream: Stream,
        time_ns: i64,
        lines: u64,
    },
    /// It was too slow for so many events.
    Missed(u64),
}

const EVENT: u8 = b'E';
const OUTPUT: u8 = b'O';
const SKIPPED: u8 = b'S';
const MISSED: u8 = b'M';

impl Frame {
    pub fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_u8(match self {
            Frame::Event(_) => EVENT,
            Frame::Output { .. } => OUTPUT,
            Frame::Skipped { .. } => SKIPPED,
            Frame::Missed(_) => MISSED,
        });
        out.put_u32_le(0);
        match self {
            Frame::Event(event) => {
                serde_json::to_writer((&mut *out).writer(), event).expect("writing to memory does not fail")
            }
            Frame::Output {
                service,
                run,
                stream,
                time_ns,
                bytes,
            } => {
                put_source(out, service, *run, *stream, *time_ns);
                out.put_slice(bytes);
            }
            Frame::Skipped {
                service,
                run,
                stream,
                time_ns,
                lines,
            } => {
                put_source(out, service, *run, *stream, *time_ns);
                out.put_u64_le(*lines);
            }
            Frame::Missed(events) => out.put_u64_le(*events),
        }
        let length = u32::try_from(out.len() - start - HEADER).expect("a frame is far below 4 GiB");
        out[start + 1..start + HEADER].copy_from_slice(&length.to_le_bytes());
    }

    /// The next whole frame of `buffer`, taken out of it. `Ok(None)`: more bytes are needed.
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Frame>, String> {
        if buffer.len() < HEADER {
            return Ok(None);
        }
        let kind = buffer[0];
        let length = u32::from_le_bytes([buffer[1], buffer[2], buffer[3], buffer[4]]) as usize;
        if length > MAX_FRAME {
            return Err(format!("a frame of {length} bytes"));
        }
        if buffer.len() < HEADER + length {
            buffer.reserve(HEADER + length - buffer.len());
            return Ok(None);
        }
        buffer.advance(HEADER);
        let mut payload = buffer.split_to(length).freeze();
        let frame = match kind {
            EVENT => Frame::Event(serde_json::from_slice(&payload).map_err(|error| error.to_string())?),
            OUTPUT => {
                let (service, run, stream, time_ns) = take_source(&mut payload)?;
                Frame::Output {
                    service,
                    run,
                    stream,
                    time_ns,
                    bytes: payload,
                }
            }
            SKIPPED => {
                let (service, run, stream, time_ns) = take_source(&mut payload)?;
                Frame::Skipped {
                    service,
                    run,
                    stream,
                    time_ns,
                    lines: payload.try_get_u64_le().map_err(|error| error.to_string())?,
                }
            }
            MISSED => Frame::Missed(payload.try_get_u64_le().map_err(|error| error.to_string())?),
            other => return Err(format!("a frame of unknown kind {other}")),
        };
        Ok(Some(frame))
    }
}

fn put_source(out: &mut BytesMut, service: &str, run: u32, stream: Stream, time_ns: i64) {
    out.put_u8(match stream {
        Stream::Out => 1,
        Stream::Err => 2,
    });
    out.put_u8(u8::try_from(service.len()).expect("config caps names far below 256 bytes"));
    out.put_slice(service.as_bytes());
    out.put_u32_le(run);
    out.put_i64_le(time_ns);
}

fn take_source(payload: &mut Bytes) -> Result<(String, u32, Stream, i64), String> {
    let stream = match payload.try_get_u8() {
        Ok(1) => Stream::Out,
        Ok(2) => Stream::Err,
        _ => return Err("a frame of no stream".into()),
    };
    let length = payload.try_get_u8().map_err(|error| error.to_string())? as usize;
    if payload.len() < length {
        return Err("a frame that ends in its name".into());
    }
    let name = String::from_utf8(payload.split_to(length).to_vec()).map_err(|error| error.to_string())?;
    let run = payload.try_get_u32_le().map_err(|error| error.to_string())?;
    let time_ns = payload.try_get_i64_le().map_err(|error| error.to_string())?;
    Ok((name, run, stream, time_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(frame: Frame) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        let whole = bytes.clone();
        for cut in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..cut]);
            assert_eq!(Frame::decode(&mut part), Ok(None), "cut at {cut}");
        }
        assert_eq!(Frame::decode(&mut bytes), Ok(Some(frame)));
        assert!(bytes.is_empty());
    }

    #[test]
    fn every_kind_survives_the_way_and_waits_for_its_last_byte() {
        round_trip(Frame::Output {
            service: "web".into(),
            run: 3,
            stream: Stream::Err,
            time_ns: i64::MIN,
            bytes: Bytes::from_static(b"\0\xff\n"),
        });
        round_trip(Frame::Skipped {
            service: "web@1".into(),
            run: 2,
            stream: Stream::Out,
            time_ns: 1,
            lines: 7,
        });
        round_trip(Frame::Missed(7));
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic() {
        for bytes in [
            &b"X\0\0\0\0"[..],
            b"O\x01\0\0\0\x01",
            b"O\x02\0\0\0\x01\xff",
            b"E\x02\0\0\0{]",
            b"E\xff\xff\xff\xff",
        ] {
            assert!(Frame::decode(&mut BytesMut::from(bytes)).is_err(), "{bytes:?}");
        }
    }
}
