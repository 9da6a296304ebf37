//! The routes of `cli.md`, declared once: matched here, described in `openapi`.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::HeaderValue;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::attach::PROTOCOL;
use super::server::{Act, ByteStream, Call, Desk, UpAnswer};
use super::wire::{ActRequest, Refusal, ScaleRequest};
use super::{attach, metrics, params, query};

/// Requests are small: names and numbers.
const MAX_REQUEST_BODY: usize = 64 * 1024;
/// A client that has not sent all of its request by then is not one.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// One thing that can be asked.
pub(super) struct Route {
    pub method: &'static str,
    /// `{name}` stands for `NAME`, `NAME@INSTANCE` or `@LABEL`.
    pub path: &'static str,
    pub what: &'static str,
    /// Query parameters with their meaning.
    pub query: &'static [(&'static str, &'static str)],
    /// Names of types in `schema`, or none.
    pub request: &'static str,
    pub answer: &'static str,
    /// Of the answer.
    pub kind: &'static str,
}

const NAMES: (&str, &str) = ("service", "`NAME`, `NAME@INSTANCE` or `@LABEL`, repeatable; none: all");

/// Method, path, what it is for, query, request type, answer type, kind.
macro_rules! routes {
    ($($method:literal $path:literal $what:literal [$($query:expr),*] $request:literal -> $answer:literal $kind:expr;)*) => {
        pub(super) const ROUTES: &[Route] = &[$(Route {
            method: $method,
            path: $path,
            what: $what,
            query: &[$($query),*],
            request: $request,
            answer: $answer,
            kind: $kind,
        }),*];
    };
}

const LOGS_QUERY: &[(&str, &str)] = query::LOGS;

routes! {
    "GET" "/v1/project" "The project and how it is" [] "" -> "Project" JSON;
    "GET" "/v1/services" "All services and their state (`ps`)" [] "" -> "Ps" JSON;
    "GET" "/v1/services/{name}" "The resolved definition of a service and its state (`inspect`)" [("reveal", "`1`: with the values of secrets")] "" -> "Inspect" JSON;
    "GET" "/v1/services/{name}/why" "Why it is as it is" [] "" -> "Why" JSON;
    "GET" "/v1/services/{name}/logs" "What it has printed, a `LogLine` a line" [] "" -> "LogLine" "application/x-ndjson";
    "GET" "/v1/services/{name}/attach" "Its terminal: an upgrade to `runner-attach`, of which docs/attach.md says what is spoken" [("run", "Of this run, and no other")] "" -> "" "application/vnd.runner.attach";
    "GET" "/v1/logs" "What services have printed, a `LogLine` a line" [] "" -> "LogLine" "application/x-ndjson";
    "GET" "/v1/events" "Server-sent events, each an `Event`; resumes after `Last-Event-ID`" [("since", "Events after this cursor"), ("follow", "`0`: only what has happened so far")] "" -> "Event" "text/event-stream";
    "GET" "/v1/plan" "What `up` would do now" [NAMES, ("no_deps", "`1`: without dependencies"), ("profile", "On besides, repeatable"), ("file", "The project files that are meant, repeatable; others than the runner's are refused")] "" -> "Plan" JSON;
    "GET" "/v1/health" "200 when all (named) are ready or completed, else 503" [NAMES] "" -> "Health" JSON;
    "GET" "/v1/wait" "Answers when it has come, or can't" [NAMES, ("for", "`ready` (the default), `stopped`, `completed` or `failed`"), ("timeout_ms", "Answer at the latest then")] "" -> "Acted" JSON;
    "GET" "/v1/openapi.json" "This description" [] "" -> "" JSON;
    "GET" "/metrics" "OpenMetrics" [] "" -> "" metrics::KIND;
    "POST" "/v1/up" "Makes the project match its file and what is named" [] "UpRequest" -> "Ps" JSON;
    "POST" "/v1/down" "Stops everything and ends runner" [] "DownRequest" -> "DownAnswer" JSON;
    "POST" "/v1/upgrade" "Guardian and daemon become another program" [] "UpgradeRequest" -> "UpgradeAnswer" JSON;
    "POST" "/v1/run" "What a one-off command in a service's place needs" [] "RunRequest" -> "RunAnswer" JSON;
    "POST" "/v1/start" "Starts services" [] "ActRequest" -> "Acted" JSON;
    "POST" "/v1/stop" "Stops services until they are started again" [] "ActRequest" -> "Acted" JSON;
    "POST" "/v1/restart" "Restarts services" [] "ActRequest" -> "Acted" JSON;
    "POST" "/v1/reload" "Lets services read their own configuration anew" [] "ActRequest" -> "Acted" JSON;
    "POST" "/v1/kill" "Sends a signal" [] "ActRequest" -> "Acted" JSON;
    "POST" "/v1/services/{name}/start" "Starts it" [] "ActRequest" -> "Acted" JSON;
    "POST" "/v1/services/{name}/stop" "Stops it until it is started again" [] "ActRequest" -> "Acted" JSON;
    "POST" "/v1/services/{name}/restart" "Restarts it" [] "ActRequest" -> "Acted" JSON;
    "POST" "/v1/services/{name}/reload" "Lets it read its own configuration anew" [] "ActRequest" -> "Acted" JSON;
    "POST" "/v1/services/{name}/kill" "Sends it a signal" [] "ActRequest" -> "Acted" JSON;
    "POST" "/v1/services/{name}/scale" "Runs so many replicas of it" [] "ScaleRequest" -> "Acted" JSON;
}

impl Route {
    /// The query parameters; those of the logs stand where they are parsed.
    pub fn parameters(&self) -> &'static [(&'static str, &'static str)] {
        if self.answer == "LogLine" {
            LOGS_QUERY
        } else {
            self.query
        }
    }

    /// The name in the path; `None`: another path.
    fn matches(&self, path: &str) -> Option<Option<String>> {
        let mut name = None;
        let (mut wanted, mut given) = (self.path.split('/'), path.split('/'));
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return Some(name),
                (Some("{name}"), Some(word)) if !word.is_empty() => {
                    name = Some(percent_decode_str(word).decode_utf8().ok()?.into_owned());
                }
                (Some(wanted), Some(given)) if wanted == given => {}
                _ => return None,
            }
        }
    }
}

/// The route, and the name in its path.
fn find(method: &str, path: &str) -> Result<(&'static Route, Option<String>), Refusal> {
    let matching = |route: &'static Route| route.matches(path).map(|name| (route, name));
    let mut known = ROUTES.iter().filter_map(matching).peekable();
    if known.peek().is_none() {
        let mut refusal = Refusal::new(404, "no such route", path.chars().take(200).collect::<String>());
        refusal.suggestion = Some("GET /v1/openapi.json lists them".to_owned());
        return Err(refusal);
    }
    known.find(|(route, _)| route.method == method).ok_or_else(|| {
        let method: String = method.chars().take(20).collect();
        Refusal::new(405, "wrong method", format!("{method} is not for this path"))
    })
}

/// The method of a path that is known; no path has two.
fn allowed(path: &str) -> Option<&'static str> {
    let route = ROUTES.iter().find(|route| route.matches(path).is_some())?;
    Some(route.method)
}

pub(super) type Answer = Response<BoxBody<Bytes, Infallible>>;

pub(super) async fn respond(request: Request<Incoming>, desk: Desk) -> Answer {
    let path = request.uri().path();
    match find(request.method().as_str(), path) {
        Ok((route, name)) => answer(route, name.unwrap_or_default(), request, &desk)
            .await
            .unwrap_or_else(|refusal| refused(&refusal)),
        Err(refusal) => {
            let mut answer = refused(&refusal);
            // RFC 9110, 15.5.6: whoever is told so is told what would be right.
            if let (405, Some(method)) = (refusal.status, allowed(path)) {
                let method = HeaderValue::from_static(method);
                answer.headers_mut().insert(header::ALLOW, method);
            }
            answer
        }
    }
}

fn refused(refusal: &Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, PROBLEM, refusal)
}

async fn answer(
    route: &'static Route,
    name: String,
    request: Request<Incoming>,
    desk: &Desk,
) -> Result<Answer, Refusal> {
    let words = request.uri().query().unwrap_or("").to_owned();
    match (route.method, route.path) {
        ("GET", "/v1/project") => ok(&desk.ask(|reply| Call::Project { reply }).await?),
        ("GET", "/v1/services") => ok(&desk.ask(|reply| Call::Ps { reply }).await?),
        ("GET", "/v1/services/{name}") => {
            let reveal = params::reveal(&words)?;
            ok(&desk.ask(|reply| Call::Inspect { name, reveal, reply }).await?)
        }
        ("GET", "/v1/services/{name}/why") => ok(&desk.ask(|reply| Call::Why { name, reply }).await?),
        ("GET", "/v1/services/{name}/logs" | "/v1/logs") => {
            let mut logs = query::logs(&words)?;
            logs.services.extend((!name.is_empty()).then_some(name));
            let held = desk.hold()?;
            let stream = desk.ask(|reply| Call::Logs { request: logs, reply }).await?;
            Ok(streamed(route.kind, stream.holding(held)))
        }
        ("GET", "/v1/services/{name}/attach") => attached(name, request, desk).await,
        ("GET", "/v1/events") => {
            let last = request.headers().get("last-event-id").map(|value| value.as_bytes());
            let events = params::events(&words, last)?;
            let held = desk.hold()?;
            let stream = desk.ask(|reply| Call::Events { request: events, reply }).await?;
            Ok(streamed(route.kind, stream.holding(held)))
        }
        ("GET", "/v1/plan") => {
            let plan = params::plan(&words)?;
            ok(&desk.ask(|reply| Call::Plan { request: plan, reply }).await?)
        }
        ("GET", "/v1/health") => {
            let names = params::names(&words)?;
            let health = desk.ask(|reply| Call::Health { names, reply }).await?;
            let status = match health.healthy {
                true => StatusCode::OK,
                false => StatusCode::SERVICE_UNAVAILABLE,
            };
            Ok(json(status, JSON, &health))
        }
        ("GET", "/v1/wait") => {
            let wait = params::wait(&words)?;
            let _held = desk.hold()?;
            ok(&desk.ask(|reply| Call::Wait { request: wait, reply }).await?)
        }
        #[cfg(feature = "openapi")]
        ("GET", "/v1/openapi.json") => ok(&super::openapi::document()),
        #[cfg(not(feature = "openapi"))]
        ("GET", "/v1/openapi.json") => {
            let detail = "this build of runner was made without the feature `openapi`";
            Err(Refusal::new(501, "not in this build", detail))
        }
        ("GET", "/metrics") => {
            let ps = desk.ask(|reply| Call::Ps { reply }).await?;
            Ok(full(StatusCode::OK, route.kind, metrics::text(&ps).into()))
        }
        ("POST", "/v1/up") => {
            let up: super::wire::UpRequest = body(request).await?;
            let held = if up.console { Some(desk.hold()?) } else { None };
            match desk.ask(|reply| Call::Up { request: up, reply }).await? {
                UpAnswer::Ps(ps) => ok(&ps),
                UpAnswer::Console(stream) => {
                    let stream = match held {
                        Some(held) => stream.holding(held),
                        None => stream,
                    };
                    Ok(streamed("application/vnd.runner.console", stream))
                }
            }
        }
        ("POST", "/v1/down") => {
            let down = body(request).await?;
            let answer = desk.ask(|reply| Call::Down { request: down, reply }).await?;
            Ok(json(StatusCode::ACCEPTED, JSON, &answer))
        }
        ("POST", "/v1/upgrade") => {
            let upgrade = body(request).await?;
            let answer = desk
                .ask(|reply| Call::Upgrade {
                    request: upgrade,
                    reply,
                })
                .await?;
            Ok(json(StatusCode::ACCEPTED, JSON, &answer))
        }
        ("POST", "/v1/run") => {
            let run = body(request).await?;
            ok(&desk.ask(|reply| Call::Run { request: run, reply }).await?)
        }
        ("POST", "/v1/services/{name}/scale") => {
            let bytes = body_bytes(request).await?;
            // How many has no default.
            let request: ScaleRequest = object(&bytes)?;
            let _held = if request.wait { Some(desk.hold()?) } else { None };
            ok(&desk.ask(|reply| Call::Scale { name, request, reply }).await?)
        }
        ("POST", path) => act(path, name, request, desk).await,
        (_, path) => Err(Refusal::new(404, "no such route", path)),
    }
}

/// The answer is the last that is said in HTTP.
async fn attached(name: String, request: Request<Incoming>, desk: &Desk) -> Result<Answer, Refusal> {
    let asked = request.headers().get(header::UPGRADE).map(HeaderValue::as_bytes);
    if !asked.is_some_and(|asked| asked.eq_ignore_ascii_case(PROTOCOL.as_bytes())) {
        let detail = format!("`Connection: Upgrade` and `Upgrade: {PROTOCOL}` are expected");
        return Err(Refusal::new(426, "upgrade required", detail));
    }
    let run = params::run(request.uri().query().unwrap_or_default())?;
    let held = desk.hold()?;
    let attached = desk.ask(|reply| Call::Attach { name, run, reply }).await?;
    tokio::task::spawn_local(async move {
        let carried = match hyper::upgrade::on(request).await {
            Ok(upgraded) => attach::carry(TokioIo::new(upgraded), attached).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = carried {
            tracing::debug!(%error, "a viewer was lost");
        }
        drop(held);
    });
    let mut answer = full(
        StatusCode::SWITCHING_PROTOCOLS,
        "application/vnd.runner.attach",
        Bytes::new(),
    );
    let headers = answer.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    Ok(answer)
}

/// `start` and its like, for all that are named or for the one in the path.
async fn act(path: &str, name: String, request: Request<Incoming>, desk: &Desk) -> Result<Answer, Refusal> {
    let act = match path.rsplit('/').next() {
        Some("start") => Act::Start,
        Some("stop") => Act::Stop,
        Some("restart") => Act::Restart,
        Some("reload") => Act::Reload,
        Some("kill") => Act::Kill,
        _ => return Err(Refusal::new(404, "no such route", path)),
    };
    let mut request: ActRequest = body(request).await?;
    if !name.is_empty() {
        if !request.names.is_empty() {
            return Err(Refusal::new(
                400,
                "request not understood",
                "`names` beside a name in the path",
            ));
        }
        request.names.push(name);
    }
    let _held = if request.wait { Some(desk.hold()?) } else { None };
    ok(&desk.ask(|reply| Call::Act { act, request, reply }).await?)
}

async fn body<T: DeserializeOwned + Default>(request: Request<Incoming>) -> Result<T, Refusal> {
    parsed(&body_bytes(request).await?)
}

async fn body_bytes(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let refused = |status, why: String| Refusal::new(status, "request body not taken", why);
    let too_large = || refused(413, format!("it has more than {MAX_REQUEST_BODY} bytes"));
    let body = request.into_body();
    // What is announced need not be waited for.
    if body.size_hint().lower() > MAX_REQUEST_BODY as u64 {
        return Err(too_large());
    }
    let collect = Limited::new(body, MAX_REQUEST_BODY).collect();
    match tokio::time::timeout(BODY_TIMEOUT, collect).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(refused(400, error.to_string())),
        Err(_) => Err(refused(408, "it did not come in time".to_owned())),
    }
}

/// Nothing at all is the request that says nothing.
fn parsed<T: DeserializeOwned + Default>(bytes: &[u8]) -> Result<T, Refusal> {
    if bytes.is_empty() {
        Ok(T::default())
    } else {
        object(bytes)
    }
}

fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let refused = |why: String| Refusal::new(400, "request not understood", why);
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        // serde would take `[]` for fields that are all left out, and `stop` would stop everything.
        Some(b'{') => serde_json::from_slice(bytes).map_err(|error| refused(error.to_string())),
        _ => Err(refused("a JSON object is expected".to_owned())),
    }
}

fn ok(value: &impl Serialize) -> Result<Answer, Refusal> {
    Ok(json(StatusCode::OK, JSON, value))
}

fn json(status: StatusCode, kind: &str, value: &impl Serialize) -> Answer {
    let bytes = serde_json::to_vec(value).expect("our own shapes serialise");
    full(status, kind, bytes.into())
}

fn full(status: StatusCode, kind: &str, bytes: Bytes) -> Answer {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .body(Full::new(bytes).boxed())
        .expect("static headers are valid")
}

fn streamed(kind: &str, stream: ByteStream) -> Answer {
    Response::builder()
        .header(header::CONTENT_TYPE, kind)
        .body(stream.boxed())
        .expect("static headers are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, path: &str) -> Result<(&'static str, Option<String>), u16> {
        match find(method, path) {
            Ok((route, name)) => Ok((route.path, name)),
            Err(refusal) => Err(refusal.status),
        }
    }

    #[test]
    fn a_path_is_one_route_and_a_method_is_the_right_one() {
        assert_eq!(found("GET", "/v1/services"), Ok(("/v1/services", None)));
        assert_eq!(
            found("GET", "/v1/services/web%401"),
            Ok(("/v1/services/{name}", Some("web@1".into())))
        );
        assert_eq!(
            found("POST", "/v1/services/web/stop"),
            Ok(("/v1/services/{name}/stop", Some("web".into())))
        );
        for (method, path, status) in [
            ("POST", "/v1/services", 405),
            ("GET", "/v1/services/web/stop", 405),
            ("DELETE", "/v1/project", 405),
            ("GET", "/v1/services/", 404),
            ("GET", "/v1/services/a/b/c", 404),
            ("GET", "/v1", 404),
            ("GET", "", 404),
            ("GET", "/v1/services/%ff", 404),
        ] {
            assert_eq!(found(method, path), Err(status), "{method} {path}");
        }
    }

    #[test]
    fn a_body_is_an_object_or_nothing() {
        let body = |text: &str| parsed::<ActRequest>(text.as_bytes()).map_err(|refusal| refusal.status);
        assert_eq!(body(""), Ok(ActRequest::default()));
        assert_eq!(body(" \n{} "), Ok(ActRequest::default()));
        for wrong in [
            "[]",
            "[[\"web\"]]",
            " ",
            "null",
            "\"\"",
            "{}{}",
            "{\"names\":[]",
            "{\"nmaes\":[]}",
        ] {
            assert_eq!(body(wrong), Err(400), "{wrong}");
        }
        assert_eq!(body(&"[".repeat(50_000)), Err(400));
        assert_eq!(body(&"{\"names\":".repeat(5_000)), Err(400));
    }

    #[test]
    fn ap_07_no_get_changes_anything() {
        let changing = [
            "start", "stop", "restart", "reload", "kill", "scale", "up", "down", "run", "upgrade",
        ];
        for route in ROUTES {
            let last = route.path.rsplit('/').next().expect("a word");
            assert_eq!(route.method == "POST", changing.contains(&last), "{}", route.path);
        }
    }
}
