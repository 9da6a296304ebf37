//! The stream behind `events`: what the history holds, then what comes, each event once and none left out.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use super::story::Story;
use crate::api::server::{ByteStream, Reply};
use crate::api::wire::{Event, EventsRequest, Why};
use crate::api::{events, history};

/// So many events, out of the newest of the history, tell what led to something.
const RECENT: usize = 10;
const RECENT_BYTES: u64 = 256 * 1024;
/// Encoded events go out in pieces of about this size.
const BATCH: usize = 64 * 1024;

pub fn stream(story: &Story, state_dir: &Path, request: EventsRequest) -> ByteStream {
    // Followed before the history is read: what is told meanwhile waits, and is known by its number.
    let (live, newest) = story.follow();
    let after = match request.since {
        // A number that was not given out yet is one of a history that is gone: all of this one is newer.
        Some(since) if since > newest => 0,
        Some(since) => since,
        None if request.follow => newest,
        None => 0,
    };
    let (sink, body) = mpsc::channel(4);
    let follower = Follower {
        state_dir: state_dir.to_owned(),
        after,
        sink,
    };
    tokio::task::spawn_local(follower.run(request.follow.then_some(live)));
    ByteStream::of(body)
}

/// What the history says lately of the services in a chain of causes; read beside the loop.
pub fn add_recent(mut why: Why, state_dir: &Path, reply: Reply<Why>) {
    let state_dir = state_dir.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut recent: VecDeque<Event> = VecDeque::new();
        let read = history::tail(&state_dir, RECENT_BYTES, &mut |line| {
            let Ok(event) = serde_json::from_slice::<Event>(line) else {
                return;
            };
            let of_chain = |service: &String| why.chain.iter().any(|link| link.service == *service);
            if event.service.as_ref().is_some_and(of_chain) {
                recent.push_back(event);
                recent.drain(..recent.len().saturating_sub(RECENT));
            }
        });
        if let Err(error) = read {
            tracing::warn!(%error, "could not read the history");
        }
        why.events = recent.into();
        drop(reply.send(Ok(why)));
    });
}

struct Follower {
    state_dir: PathBuf,
    /// The last event that was sent.
    after: u64,
    sink: mpsc::Sender<Bytes>,
}

impl Follower {
    async fn run(mut self, live: Option<broadcast::Receiver<Arc<Event>>>) {
        if !self.catch_up().await {
            return;
        }
        let Some(mut live) = live else { return };
        loop {
            let event = tokio::select! {
                () = self.sink.closed() => return,
                event = live.recv() => event,
            };
            match event {
                Ok(event) if event.cursor <= self.after => {}
                Ok(event) => {
                    self.after = event.cursor;
                    let mut text = Vec::new();
                    events::encode(
                        event.cursor,
                        &serde_json::to_vec(&*event).expect("our own shapes serialise"),
                        &mut text,
                    );
                    if self.sink.send(text.into()).await.is_err() {
                        return;
                    }
                }
                // Too slow for the queue, but not for the history.
                Err(RecvError::Lagged(_)) => {
                    if !self.catch_up().await {
                        return;
                    }
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Sends what the history holds beyond what was sent; `false`: nobody reads any more.
    async fn catch_up(&mut self) -> bool {
        let (state_dir, after, sink) = (self.state_dir.clone(), self.after, self.sink.clone());
        let read = tokio::task::spawn_blocking(move || {
            let (mut last, mut batch, mut heard) = (after, Vec::new(), true);
            let read = history::read(&state_dir, after, &mut |cursor, line| {
                last = cursor;
                events::encode(cursor, line, &mut batch);
                if batch.len() > BATCH {
                    heard = sink.blocking_send(std::mem::take(&mut batch).into()).is_ok();
                }
                heard
            });
            if let Err(error) = read {
                tracing::warn!(%error, "could not read the history");
            }
            let heard = heard && (batch.is_empty() || sink.blocking_send(batch.into()).is_ok());
            heard.then_some(last)
        });
        match read.await {
            Ok(Some(last)) => {
                self.after = last;
                true
            }
            Ok(None) | Err(_) => false,
        }
    }
}
