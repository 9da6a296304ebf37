//! The stream behind `up`: output and events of the whole project, as frames, until it is over.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc};

use crate::api::frames::Frame;
use crate::api::server::ByteStream;
use crate::api::wire;
use crate::logs::{Output, Subscription};

/// Enough to keep one write of the socket busy.
const BATCH: usize = 256 * 1024;

/// Starts the task that feeds one console. Output goes before events, so that what a service said last stands before
/// the word that it has ended.
pub fn open(mut output: Subscription, mut events: broadcast::Receiver<Arc<wire::Event>>) -> ByteStream {
    let (sink, body) = mpsc::channel(4);
    tokio::task::spawn_local(async move {
        let mut batch = BytesMut::new();
        loop {
            tokio::select! {
                biased;
                // The client is gone. Without this arm a silent project would keep its console for ever.
                () = sink.closed() => return,
                Some(chunk) = output.next() => encode(chunk, &mut batch),
                event = events.recv() => match event {
                    Ok(event) => encode_event(&event, &mut batch),
                    Err(RecvError::Lagged(missed)) => encode_missed(missed, &mut batch),
                    Err(RecvError::Closed) => return,
                },
            }
            let mut over = false;
            while batch.len() < BATCH {
                if let Some(chunk) = output.try_next() {
                    encode(chunk, &mut batch);
                    continue;
                }
                match events.try_recv() {
                    Ok(event) => {
                        over |= matches!(event.kind, wire::EventKind::Ended { .. });
                        encode_event(&event, &mut batch);
                    }
                    Err(TryRecvError::Lagged(missed)) => encode_missed(missed, &mut batch),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Closed) => {
                        over = true;
                        break;
                    }
                }
            }
            if sink.send(batch.split().freeze()).await.is_err() || over {
                return;
            }
        }
    });
    ByteStream::of(body)
}

fn encode(chunk: Output, batch: &mut BytesMut) {
    match chunk {
        Output::Chunk {
            service,
            run,
            stream,
            time_ns,
            bytes,
        } => {
            Frame::Output {
                service: service.to_string(),
                run,
                stream,
                time_ns,
                bytes,
            }
            .encode(batch);
        }
        Output::Skipped {
            service,
            run,
            stream,
            time_ns,
            lines,
            ..
        } => {
            Frame::Skipped {
                service: service.to_string(),
                run,
                stream,
                time_ns,
                lines,
            }
            .encode(batch);
        }
        // The events tell of it.
        Output::Ended { .. } => {}
    }
}

fn encode_event(event: &Arc<wire::Event>, batch: &mut BytesMut) {
    Frame::Event(Box::new(wire::Event::clone(event))).encode(batch);
}

fn encode_missed(missed: u64, batch: &mut BytesMut) {
    Frame::Missed(missed).encode(batch);
}
