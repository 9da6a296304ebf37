//! `http` checks: one request, one judgement. Redirects are an answer, proxies do not exist, nothing is decompressed.

use std::error::Error as _;
use std::future::pending;
use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::reach;
use super::words::{of_io_error, piece};
use crate::reconcile::Outcome;
use crate::spec::HttpCheck;

/// Longest block of response headers, and longest part of a body that is looked at, in bytes.
const HEADERS: usize = 64 * 1024;
const BODY: usize = 64 * 1024;

/// Asks and judges. Without a deadline of its own.
pub(super) async fn attempt(check: &HttpCheck) -> Outcome {
    ask(&check.url, || request(check), |response| judge(check, response)).await
}

/// Any answer below 400 opens the gate.
pub(super) async fn attempt_gate(url: &str) -> Outcome {
    let get = || Request::get(url).body(Empty::new()).map_err(|error| error.to_string());
    ask(url, get, |response| async move {
        match response.status().as_u16() {
            ..400 => Outcome::Success,
            status => Outcome::Failure(format!("status {status}")),
        }
    })
    .await
}

type Question = Request<Empty<Bytes>>;

/// Sends a fresh `question` to each address of the URL's host, and lets `judge` decide about the answers.
async fn ask<F>(
    url: &str,
    question: impl Fn() -> Result<Question, String>,
    judge: impl Fn(Response<Incoming>) -> F,
) -> Outcome
where
    F: Future<Output = Outcome>,
{
    let uri: Uri = match url.parse() {
        Ok(uri) => uri,
        Err(error) => return Outcome::Unknown(format!("{} is not a URL: {error}", piece(url))),
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let (question, judge) = (&question, &judge);
    reach::at_any_address(host, uri.port_u16().unwrap_or(80), |stream| async move {
        match question() {
            Ok(question) => converse(stream, complete(question), judge).await,
            Err(error) => Outcome::Unknown(format!("the request cannot be built: {}", piece(&error))),
        }
    })
    .await
}

fn request(check: &HttpCheck) -> Result<Question, String> {
    let method = Method::from_bytes(check.method.as_bytes()).map_err(|error| error.to_string())?;
    let mut request = Request::builder().method(method).uri(&check.url);
    for (name, value) in &check.headers {
        let name: HeaderName = name.parse().map_err(|error| format!("header {name}: {error}"))?;
        let value: HeaderValue = value.parse().map_err(|error| format!("header {name}: {error}"))?;
        request = request.header(name, value);
    }
    request.body(Empty::new()).map_err(|error| error.to_string())
}

/// Adds the headers that the user did not set, and turns the target into the origin form (RFC 9112, 3.2.1).
fn complete(mut question: Question) -> Question {
    let authority = question.uri().authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = HeaderValue::from_str(host).expect("a parsed authority is a valid header value");
    let target = question.uri().path_and_query().cloned();
    *question.uri_mut() = target.map_or_else(Uri::default, Uri::from);
    let headers = question.headers_mut();
    headers.entry(HOST).or_insert(host);
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    headers.entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
    let product = concat!("runner/", env!("CARGO_PKG_VERSION"));
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(product));
    question
}

async fn converse<F>(stream: TcpStream, question: Question, judge: &impl Fn(Response<Incoming>) -> F) -> Outcome
where
    F: Future<Output = Outcome>,
{
    let (mut sender, connection) = match http1::Builder::new()
        .max_buf_size(HEADERS)
        .max_headers(1024)
        .handshake(TokioIo::new(stream))
        .await
    {
        Ok(pair) => pair,
        Err(error) => return of_http_error(&error),
    };
    // The connection must be driven for the exchange to move; its own end says nothing that the exchange does not say.
    let drive = async {
        let _ = connection.await;
        pending::<Outcome>().await
    };
    let exchange = async {
        match sender.send_request(question).await {
            Ok(response) => judge(response).await,
            Err(error) => of_http_error(&error),
        }
    };
    tokio::select! {
        outcome = exchange => outcome,
        outcome = drive => outcome,
    }
}

fn of_http_error(error: &hyper::Error) -> Outcome {
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(error) = source.downcast_ref::<io::Error>() {
            return of_io_error(error, None);
        }
        cause = source.source();
    }
    Outcome::Failure(if error.is_parse_too_large() {
        format!("more than {} KiB of headers", HEADERS / 1024)
    } else if error.is_parse() {
        "the answer is not HTTP".to_owned()
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        "connection closed before an answer".to_owned()
    } else {
        piece(&error.to_string())
    })
}

async fn judge(check: &HttpCheck, response: Response<Incoming>) -> Outcome {
    let status = response.status().as_u16();
    if !check.status.iter().any(|pattern| pattern.matches(status)) {
        return Outcome::Failure(format!("status {status}"));
    }
    if check.body.is_none() && check.json.is_empty() {
        return Outcome::Success;
    }
    match read(response.into_body()).await {
        Ok(body) => judge_body(check, &body),
        Err(error) => of_http_error(&error),
    }
}

/// The body, or its beginning: no more than [`BODY`] bytes are kept, and what follows is not waited for.
async fn read(mut body: Incoming) -> Result<Vec<u8>, hyper::Error> {
    let mut beginning = Vec::new();
    while beginning.len() < BODY {
        let Some(frame) = body.frame().await else { break };
        if let Some(bytes) = frame?.data_ref() {
            let room = BODY - beginning.len();
            beginning.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }
    Ok(beginning)
}

fn judge_body(check: &HttpCheck, body: &[u8]) -> Outcome {
    if let Some(pattern) = &check.body {
        match regex::bytes::Regex::new(pattern) {
            Ok(regex) if regex.is_match(body) => {}
            Ok(_) => return Outcome::Failure("body does not match".to_owned()),
            Err(error) => return Outcome::Unknown(format!("/{}/ is no regex: {error}", piece(pattern))),
        }
    }
    if check.json.is_empty() {
        return Outcome::Success;
    }
    let Ok(document) = serde_json::from_slice::<Value>(body) else {
        return Outcome::Failure(match body.len() {
            BODY => format!("body is not JSON of less than {} KiB", BODY / 1024),
            _ => "body is not JSON".to_owned(),
        });
    };
    for (path, wanted) in &check.json {
        match field(&document, path) {
            Some(found) if equal(found, wanted) => {}
            Some(found) => {
                let found = piece(&found.to_string());
                return Outcome::Failure(format!("{path} is {found} instead of {wanted}"));
            }
            None => return Outcome::Failure(format!("body has no field {path}")),
        }
    }
    Outcome::Success
}

/// The field with this very name, else the one that the dotted path leads to; numbers index arrays.
fn field<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    document.get(path).or_else(|| {
        path.split('.').try_fold(document, |value, step| match value {
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => value.get(step),
        })
    })
}

/// Equal as JSON values: `1` and `1.0` are the same number.
fn equal(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Number(found), Value::Number(wanted)) => found == wanted || found.as_f64() == wanted.as_f64(),
        _ => found == wanted,
    }
}

#[cfg(test)]
mod tests;
