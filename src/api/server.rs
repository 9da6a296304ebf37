//! The server end: one small task for each connection, which turns requests into [`Call`]s for the daemon's loop and
//! replies into responses.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::query;
use super::wire::{self, Refusal};

/// Requests are small: names and numbers.
const MAX_REQUEST_BODY: usize = 64 * 1024;
/// A client that has not sent its request head by then is not one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 256;

pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// What is asked of the daemon. It answers every one, if only by dropping it.
#[derive(Debug)]
pub enum Call {
    Ps {
        reply: Reply<wire::Ps>,
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
}

#[derive(Debug)]
pub enum UpAnswer {
    Ps(wire::Ps),
    Console(ByteStream),
}

/// A response body that goes on: bounded, so that a slow reader slows its own producer and nobody else.
#[derive(Debug)]
pub struct ByteStream(pub mpsc::Receiver<Bytes>);

impl Body for ByteStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Serves until `closing` turns true, then lets the answers under way come to their end. Must run inside a `LocalSet`.
pub async fn serve(listener: UnixListener, calls: mpsc::Sender<Call>, mut closing: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.wait_for(|closing| *closing) => break, // and gives its slot back
        };
        match accepted {
            Ok((stream, _)) if is_welcome(&stream) => {
                let (calls, closing) = (calls.clone(), closing.clone());
                tokio::task::spawn_local(async move {
                    converse(stream, calls, closing).await;
                    drop(slot);
                });
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
    let all = u32::try_from(MAX_CONNECTIONS).expect("a small constant");
    let _ = slots.acquire_many(all).await;
}

/// The owner of the project or root, by the kernel's word (SO_PEERCRED), whatever the file mode says.
fn is_welcome(stream: &UnixStream) -> bool {
    let Ok(peer) = stream.peer_cred() else { return false };
    peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw()
}

async fn converse(stream: UnixStream, calls: mpsc::Sender<Call>, mut closing: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let calls = calls.clone();
        async move { Ok::<_, Infallible>(respond(request, calls).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        _ = closing.wait_for(|closing| *closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended early");
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn respond(request: Request<Incoming>, calls: mpsc::Sender<Call>) -> Answer {
    match route(request, calls).await {
        Ok(answer) => answer,
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            json(status, "application/problem+json", &refusal)
        }
    }
}

async fn route(request: Request<Incoming>, calls: mpsc::Sender<Call>) -> Result<Answer, Refusal> {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/v1/services") => {
            let ps = ask(&calls, |reply| Call::Ps { reply }).await?;
            Ok(json(StatusCode::OK, "application/json", &ps))
        }
        (&Method::GET, "/v1/logs") => {
            let logs = query::logs(request.uri().query().unwrap_or(""))?;
            let stream = ask(&calls, |reply| Call::Logs { request: logs, reply }).await?;
            Ok(streamed("application/x-ndjson", stream))
        }
        (&Method::POST, "/v1/up") => {
            let up = body(request).await?;
            match ask(&calls, |reply| Call::Up { request: up, reply }).await? {
                UpAnswer::Ps(ps) => Ok(json(StatusCode::OK, "application/json", &ps)),
                UpAnswer::Console(stream) => Ok(streamed("application/vnd.runner.console", stream)),
            }
        }
        (&Method::POST, "/v1/down") => {
            let down = body(request).await?;
            let answer = ask(&calls, |reply| Call::Down { request: down, reply }).await?;
            Ok(json(StatusCode::ACCEPTED, "application/json", &answer))
        }
        (_, "/v1/services" | "/v1/logs" | "/v1/up" | "/v1/down") => Err(Refusal::new(
            405,
            "wrong method",
            format!("{} is not for {path}", request.method()),
        )),
        _ => Err(Refusal::new(404, "no such route", path)),
    }
}

async fn ask<T>(calls: &mpsc::Sender<Call>, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, Refusal> {
    let (reply, answer) = oneshot::channel();
    calls.send(call(reply)).await.map_err(|_| Refusal::ending())?;
    answer.await.map_err(|_| Refusal::ending())?
}

async fn body<T: DeserializeOwned + Default>(request: Request<Incoming>) -> Result<T, Refusal> {
    let bytes = Limited::new(request.into_body(), MAX_REQUEST_BODY)
        .collect()
        .await
        .map_err(|error| Refusal::new(413, "request body not taken", error.to_string()))?
        .to_bytes();
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| Refusal::new(400, "request not understood", error.to_string()))
}

fn json(status: StatusCode, kind: &str, value: &impl Serialize) -> Answer {
    let bytes = serde_json::to_vec(value).expect("our own shapes serialise");
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .body(Full::new(Bytes::from(bytes)).boxed())
        .expect("static headers are valid")
}

fn streamed(kind: &str, stream: ByteStream) -> Answer {
    Response::builder()
        .header(header::CONTENT_TYPE, kind)
        .body(stream.boxed())
        .expect("static headers are valid")
}
