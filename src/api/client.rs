//! The client end: one connection, one request, over the project's Unix socket.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::frames::Frame;
use super::wire::Refusal;

/// Why a request has no answer.
#[derive(Debug)]
pub enum Error {
    /// The daemon understood and said no.
    Refused(Refusal),
    /// The connection ended before the answer came.
    Lost(String),
    /// The answer made no sense.
    Broken(String),
}

impl From<hyper::Error> for Error {
    fn from(error: hyper::Error) -> Self {
        Error::Lost(error.to_string())
    }
}

/// A connection that speaks something else than HTTP from here on.
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// A daemon that can be asked, by the already connected stream.
pub struct Client {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Client {
    /// Must run inside a `LocalSet`: the connection is driven by a task of its own.
    pub async fn over(stream: UnixStream) -> Result<Client, Error> {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::task::spawn_local(connection.with_upgrades());
        Ok(Client { sender, connection })
    }

    /// Waits until the daemon hangs up, as it does when it ends.
    pub async fn until_closed(self) {
        let Client { sender, connection } = self;
        // How it ended does not matter.
        let _ = connection.await;
        drop(sender);
    }

    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Error> {
        read(self.request(Method::GET, path, Bytes::new()).await?).await
    }

    pub async fn post<T: DeserializeOwned>(&mut self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        read(self.request(Method::POST, path, encode(body)).await?).await
    }

    /// The connection itself, once the daemon has agreed to speak `protocol`.
    pub async fn upgrade(mut self, path: &str, protocol: &str) -> Result<Upgraded, Error> {
        let request = Request::builder()
            .uri(path)
            .header(header::HOST, "runner")
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, protocol)
            .body(Full::new(Bytes::new()))
            .map_err(|error| Error::Broken(error.to_string()))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(no(response).await);
        }
        Ok(TokioIo::new(hyper::upgrade::on(response).await?))
    }

    /// A response that goes on, as its chunks.
    pub async fn stream(&mut self, path: &str) -> Result<Chunks, Error> {
        Ok(Chunks::of(
            self.request(Method::GET, path, Bytes::new()).await?.into_body(),
        ))
    }

    /// A response that goes on, as frames.
    pub async fn frames(&mut self, path: &str, body: &impl Serialize) -> Result<Frames, Error> {
        let response = self.request(Method::POST, path, encode(body)).await?;
        Ok(Frames {
            chunks: Chunks::of(response.into_body()),
            buffer: BytesMut::new(),
        })
    }

    async fn request(&mut self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Error> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "runner")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| Error::Broken(error.to_string()))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(no(response).await)
    }
}

/// Why it says no.
async fn no(response: Response<Incoming>) -> Error {
    let status = response.status();
    let bytes = match response.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return error.into(),
    };
    match serde_json::from_slice(&bytes) {
        Ok(refusal) => Error::Refused(refusal),
        Err(_) => Error::Broken(format!("runner answered {status}")),
    }
}

fn encode(body: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(body).expect("our own shapes serialise"))
}

async fn read<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, Error> {
    let bytes = response.into_body().collect().await?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| Error::Broken(error.to_string()))
}

pub struct Chunks {
    body: Incoming,
    broken: bool,
}

impl Chunks {
    /// `None` at the end, also when the daemon is gone.
    pub async fn next(&mut self) -> Option<Bytes> {
        while let Some(frame) = self.body.frame().await {
            let Ok(frame) = frame else {
                self.broken = true;
                break;
            };
            if let Ok(bytes) = frame.into_data() {
                return Some(bytes);
            }
        }
        None
    }

    /// It has ended in the middle: whoever sent it is gone.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    fn of(body: Incoming) -> Chunks {
        Chunks { body, broken: false }
    }
}

pub struct Frames {
    chunks: Chunks,
    buffer: BytesMut,
}

impl Frames {
    /// `Ok(None)` at the end, also when the daemon is gone.
    pub async fn next(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            if let Some(frame) = Frame::decode(&mut self.buffer).map_err(Error::Broken)? {
                return Ok(Some(frame));
            }
            match self.chunks.next().await {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }

    /// A frame that is already here, without waiting.
    pub fn take_ready(&mut self) -> Result<Option<Frame>, Error> {
        Frame::decode(&mut self.buffer).map_err(Error::Broken)
    }
}
