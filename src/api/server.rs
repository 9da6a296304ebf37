//! The server end: one small task for each connection, which turns requests into [`Call`]s for the daemon's loop and
//! replies into responses.
//!
//! Nobody who is slow or hostile keeps others out: a connection counts only while its request is being answered. When
//! there are too many, the one goes that has been idle (or has not finished its request) for longest, so that whoever
//! sends a whole request is heard. Answers that go on for long have a cap of their own below the total. Where all are
//! being answered, whoever comes next waits at the door.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::attach::Attached;
use super::routes;
use super::wire::{self, Refusal};

/// A client that has not sent its request head by then is not one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 256;
/// Followers and whoever waits for something: the rest is always there for requests that are answered at once.
const MAX_HELD: usize = 208;
/// The largest request head.
const MAX_HEAD: usize = 16 * 1024;

pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// What a verb does to services that are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Start,
    Stop,
    Restart,
    Reload,
    Kill,
}

/// What is asked of the daemon. It answers every one, if only by dropping it.
#[derive(Debug)]
pub enum Call {
    Project {
        reply: Reply<wire::Project>,
    },
    Ps {
        reply: Reply<wire::Ps>,
    },
    Inspect {
        name: String,
        reveal: bool,
        reply: Reply<wire::Inspect>,
    },
    Why {
        name: String,
        reply: Reply<wire::Why>,
    },
    Health {
        names: Vec<String>,
        reply: Reply<wire::Health>,
    },
    Plan {
        request: wire::UpRequest,
        reply: Reply<wire::Plan>,
    },
    Act {
        act: Act,
        request: wire::ActRequest,
        reply: Reply<wire::Acted>,
    },
    Scale {
        name: String,
        request: wire::ScaleRequest,
        reply: Reply<wire::Acted>,
    },
    Wait {
        request: wire::WaitRequest,
        reply: Reply<wire::Acted>,
    },
    Run {
        request: wire::RunRequest,
        reply: Reply<wire::RunAnswer>,
    },
    Up {
        request: wire::UpRequest,
        reply: Reply<UpAnswer>,
    },
    Down {
        request: wire::DownRequest,
        reply: Reply<wire::DownAnswer>,
    },
    Upgrade {
        request: wire::UpgradeRequest,
        reply: Reply<wire::UpgradeAnswer>,
    },
    Logs {
        request: wire::LogsRequest,
        reply: Reply<ByteStream>,
    },
    Attach {
        name: String,
        run: Option<u32>,
        reply: Reply<Attached>,
    },
    Events {
        request: wire::EventsRequest,
        reply: Reply<ByteStream>,
    },
}

#[derive(Debug)]
pub enum UpAnswer {
    Ps(wire::Ps),
    Console(ByteStream),
}

/// A response body that goes on: bounded, so that a slow reader slows its own producer and nobody else.
#[derive(Debug)]
pub struct ByteStream {
    chunks: mpsc::Receiver<Bytes>,
    held: Option<Held>,
}

impl ByteStream {
    pub fn of(chunks: mpsc::Receiver<Bytes>) -> ByteStream {
        ByteStream { chunks, held: None }
    }

    /// Gives its place back when it has ended.
    pub(super) fn holding(self, held: Held) -> ByteStream {
        ByteStream {
            held: Some(held),
            ..self
        }
    }
}

impl Body for ByteStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.chunks.poll_recv(context);
        if let Poll::Ready(None) = next {
            self.held = None;
        }
        next.map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// One of the places for answers that go on.
#[derive(Debug)]
pub(super) struct Held {
    _place: OwnedSemaphorePermit,
    _owed: Owed,
}

/// What a connection is owed: how many answers are on their way.
#[derive(Clone, Debug)]
struct Debt {
    answers: Arc<AtomicU32>,
    /// Told at each further one.
    grown: Arc<Notify>,
    /// Told whenever a connection has got all that it asked for.
    settled: Arc<Notify>,
}

/// One answer that is on its way, until it is dropped.
#[derive(Debug)]
struct Owed(Debt);

impl Debt {
    fn one_more(&self) -> Owed {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.grown.notify_one();
        Owed(self.clone())
    }

    fn is_any(&self) -> bool {
        self.answers.load(Ordering::Relaxed) > 0
    }

    async fn until_any(&self) {
        while !self.is_any() {
            self.grown.notified().await;
        }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if self.0.answers.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.settled.notify_one();
        }
    }
}

/// What a connection's requests need.
#[derive(Clone)]
pub(super) struct Desk {
    pub calls: mpsc::Sender<Call>,
    places: Arc<Semaphore>,
    debt: Debt,
}

impl Desk {
    /// A place for an answer that goes on.
    pub fn hold(&self) -> Result<Held, Refusal> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            let detail = format!("{MAX_HELD} clients follow or wait already");
            Refusal::new(429, "too many followers", detail)
        })?;
        Ok(Held {
            _place: place,
            _owed: self.debt.one_more(),
        })
    }

    /// The request is whole: from now until its answer is there the connection is not given up for another.
    pub async fn ask<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let _owed = self.debt.one_more();
        match self.calls.send(call(reply)).await {
            Ok(()) => {
                let answer = answer.await.unwrap_or_else(|_| Err(Refusal::ending()));
                crate::fault::point!("api.answer-ready");
                answer
            }
            Err(_) => Err(Refusal::ending()),
        }
    }
}

/// A connection, for whoever needs its place.
struct Guest {
    task: AbortHandle,
    debt: Debt,
}

/// Serves until `closing` turns true, then lets the answers under way come to their end. Must run inside a `LocalSet`.
pub async fn serve(listener: UnixListener, calls: mpsc::Sender<Call>, mut closing: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MAX_HELD));
    let mut tasks = JoinSet::new();
    // From the one that came first.
    let mut guests: VecDeque<Guest> = VecDeque::new();
    let settled = Arc::new(Notify::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => {
                guests.retain(|guest| !guest.task.is_finished());
                continue;
            }
            _ = closing.wait_for(|closing| *closing) => break,
        };
        match accepted {
            Ok((stream, _)) if is_welcome(&stream) => {
                while !has_room(&mut guests) {
                    tokio::select! {
                        () = settled.notified() => {}
                        Some(_) = tasks.join_next() => {}
                        _ = closing.wait_for(|closing| *closing) => break,
                    }
                }
                let debt = Debt {
                    answers: Arc::default(),
                    grown: Arc::default(),
                    settled: settled.clone(),
                };
                let desk = Desk {
                    calls: calls.clone(),
                    places: places.clone(),
                    debt: debt.clone(),
                };
                let task = tasks.spawn_local(converse(stream, desk, closing.clone()));
                guests.push_back(Guest { task, debt });
            }
            Ok(_) => tracing::warn!("refused a connection of another user"),
            Err(error) => {
                // Out of descriptors, say. The pending connection stays in the queue, so an immediate retry would spin.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// Whether there is a place for one more; where there is none, the one goes that has been here for longest and is owed nothing.
fn has_room(guests: &mut VecDeque<Guest>) -> bool {
    if guests.len() < MAX_CONNECTIONS {
        return true;
    }
    guests.retain(|guest| !guest.task.is_finished());
    if guests.len() < MAX_CONNECTIONS {
        return true;
    }
    let idle = guests.iter().position(|guest| !guest.debt.is_any());
    let leaves = idle.and_then(|at| guests.remove(at));
    leaves.inspect(|guest| guest.task.abort()).is_some()
}

/// The owner of the project or root, by the kernel's word (SO_PEERCRED), whatever the file mode says.
fn is_welcome(stream: &UnixStream) -> bool {
    let Ok(peer) = stream.peer_cred() else { return false };
    peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw()
}

async fn converse(stream: UnixStream, desk: Desk, mut closing: watch::Receiver<bool>) {
    let abandoned = abandoned(stream.as_fd().try_clone_to_owned(), desk.debt.clone());
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(routes::respond(request, desk).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(64)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = abandoned => return,
        _ = closing.wait_for(|closing| *closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Ends when the peer has hung up and is still owed an answer. hyper sees that by itself only as long as nothing has come
/// behind the request.
async fn abandoned(socket: io::Result<OwnedFd>, debt: Debt) {
    let watched = socket.and_then(|socket| UnixStream::from_std(socket.into()));
    // Without a descriptor to spare it is found out at the next write.
    let Ok(socket) = watched else { return pending().await };
    while let Ok(ready) = socket.ready(Interest::READABLE).await {
        if ready.is_read_closed() {
            break;
        }
        // What has come is hyper's to read: we wait for what is new.
        let _ = socket.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    }
    debt.until_any().await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    struct Served {
        folder: tempfile::TempDir,
        calls: mpsc::Receiver<Call>,
        _closing: watch::Sender<bool>,
    }

    fn served() -> Served {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("api.sock")).expect("bound");
        let ((sink, calls), (closing, closed)) = (mpsc::channel(16), watch::channel(false));
        spawn_local(serve(listener, sink, closed));
        Served {
            folder,
            calls,
            _closing: closing,
        }
    }

    impl Served {
        async fn connect(&self) -> UnixStream {
            let stream = UnixStream::connect(self.folder.path().join("api.sock")).await;
            stream.expect("connected")
        }

        async fn ask(&self, path: &str) -> UnixStream {
            let mut stream = self.connect().await;
            let head = format!("GET {path} HTTP/1.1\r\nHost: runner\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("sent");
            stream
        }

        async fn next(&mut self) -> Call {
            let call = tokio::time::timeout(Duration::from_secs(60), self.calls.recv()).await;
            call.expect("asked in time").expect("the server lives")
        }
    }

    async fn read_until(stream: &mut UnixStream, wanted: &[u8]) {
        let mut text = Vec::new();
        while !text.windows(wanted.len()).any(|window| window == wanted) {
            let read = tokio::time::timeout(Duration::from_secs(60), stream.read_buf(&mut text)).await;
            let count = read.expect("answered in time").expect("read");
            assert!(count > 0, "hung up after {:?}", String::from_utf8_lossy(&text));
        }
    }

    #[tokio::test]
    async fn ap_04_idle_connections_push_out_no_follower() {
        let test = async {
            let mut served = served();
            let mut follower = served.ask("/v1/logs?follow=1").await;
            let Call::Logs { reply, .. } = served.next().await else {
                panic!("another call")
            };
            let (lines, body) = mpsc::channel(4);
            drop(reply.send(Ok(ByteStream::of(body))));
            lines.send(Bytes::from_static(b"first")).await.expect("read");
            read_until(&mut follower, b"first").await;
            let mut idle = Vec::new();
            for _ in 0..MAX_CONNECTIONS + 8 {
                idle.push(served.connect().await);
            }
            // Whoever asks a whole question is heard, and by then all before it were let in.
            let _asking = served.ask("/v1/project").await;
            assert!(matches!(served.next().await, Call::Project { .. }));
            lines.send(Bytes::from_static(b"second")).await.expect("read");
            read_until(&mut follower, b"second").await;
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn ap_04_where_all_are_being_answered_the_next_waits_at_the_door() {
        let test = async {
            let mut served = served();
            let (mut asking, mut owed) = (Vec::new(), VecDeque::new());
            for _ in 0..MAX_CONNECTIONS {
                asking.push(served.ask("/v1/plan").await);
                owed.push_back(served.next().await);
            }
            let _late = served.ask("/v1/project").await;
            let early = tokio::time::timeout(Duration::from_millis(200), served.calls.recv()).await;
            assert!(early.is_err(), "there was no place for it");
            drop(owed.pop_front());
            assert!(matches!(served.next().await, Call::Project { .. }));
        };
        LocalSet::new().run_until(test).await;
    }
}
