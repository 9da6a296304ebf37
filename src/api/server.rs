//! The server end: one small task for each connection, which turns requests into [`Call`]s for the daemon's loop and
//! replies into responses.
//!
//! Nobody who is slow or hostile keeps others out: a connection counts only while its request is being answered. When
//! there are too many, the one goes that has been idle (or has not finished its request) for longest, so that whoever
//! sends a whole request is heard. Answers that go on for long have a cap of their own below the total.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

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
    Logs {
        request: wire::LogsRequest,
        reply: Reply<ByteStream>,
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
    _busy: Busy,
}

/// A request of a connection is being answered: as long as this is kept, the connection is not given up for another.
#[derive(Debug)]
struct Busy(Arc<watch::Sender<usize>>);

impl Busy {
    fn on(requests: &Arc<watch::Sender<usize>>) -> Busy {
        requests.send_modify(|count| *count += 1);
        Busy(requests.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// What a connection's requests need.
#[derive(Clone)]
pub(super) struct Desk {
    pub calls: mpsc::Sender<Call>,
    places: Arc<Semaphore>,
    /// How many requests of this connection are being answered.
    requests: Arc<watch::Sender<usize>>,
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
            _busy: Busy::on(&self.requests),
        })
    }

    /// The request is whole: from now until its answer is there the connection is not given up for another.
    pub async fn ask<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let _busy = Busy::on(&self.requests);
        match self.calls.send(call(reply)).await {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(Refusal::ending())),
            Err(_) => Err(Refusal::ending()),
        }
    }
}

/// A connection, for whoever needs its place.
struct Guest {
    task: AbortHandle,
    requests: Arc<watch::Sender<usize>>,
}

/// Serves until `closing` turns true, then lets the answers under way come to their end. Must run inside a `LocalSet`.
pub async fn serve(listener: UnixListener, calls: mpsc::Sender<Call>, mut closing: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MAX_HELD));
    let mut tasks = JoinSet::new();
    // From the one that came first.
    let mut guests: VecDeque<Guest> = VecDeque::new();
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
                if guests.len() >= MAX_CONNECTIONS {
                    make_room(&mut guests);
                }
                let requests = Arc::new(watch::Sender::new(0));
                let desk = Desk {
                    calls: calls.clone(),
                    places: places.clone(),
                    requests: requests.clone(),
                };
                let task = tasks.spawn_local(converse(stream, desk, closing.clone()));
                guests.push_back(Guest { task, requests });
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

/// The one goes that has been here for longest and asks nothing now.
fn make_room(guests: &mut VecDeque<Guest>) {
    guests.retain(|guest| !guest.task.is_finished());
    if guests.len() < MAX_CONNECTIONS {
        return;
    }
    if let Some(idle) = guests.iter().position(|guest| *guest.requests.borrow() == 0) {
        let guest = guests.remove(idle).expect("just found");
        guest.task.abort();
    }
}

/// The owner of the project or root, by the kernel's word (SO_PEERCRED), whatever the file mode says.
fn is_welcome(stream: &UnixStream) -> bool {
    let Ok(peer) = stream.peer_cred() else { return false };
    peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw()
}

async fn converse(stream: UnixStream, desk: Desk, mut closing: watch::Receiver<bool>) {
    let abandoned = abandoned(stream.as_fd().try_clone_to_owned(), desk.requests.subscribe());
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(routes::respond(request, desk).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(64)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
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

/// Ends when the peer has hung up and a request of it is still being answered. hyper sees that by itself only as long as
/// nothing has come behind the request.
async fn abandoned(socket: io::Result<OwnedFd>, mut requests: watch::Receiver<usize>) {
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
    // The sender goes with the connection.
    let _ = requests.wait_for(|count| *count > 0).await;
}
