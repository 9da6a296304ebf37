//! Readiness and liveness probes, and gates.

use std::time::Duration;

use indexmap::IndexMap;

use super::fields::{self, Fields};
use super::node::{Node, Value};
use super::problem::{Place, Problem, Sink};
use super::{command, later, value};
use crate::spec::keys::PROBE_KINDS;
use crate::spec::{Check, Gate, HttpCheck, Port, Probe, Protocol, StatusPattern, TcpTarget};

/// What a probe of one service may refer to.
pub(super) struct Around<'a> {
    pub service: &'a str,
    /// `ready` or `health`.
    pub key: &'static str,
    /// `None` when they could not be read.
    pub ports: Option<&'a IndexMap<String, Port>>,
    pub shell: &'a [String],
    /// Something in it was complained about: what is missing now may have been there.
    pub failed: bool,
}

/// A checked `ready` or `health` table.
pub(super) fn probe(table: Fields<'_>, place: Place, around: &Around<'_>, sink: &mut Sink) -> Option<Probe> {
    let check = check(table, place, around, sink);
    let mut positive = |key: &str, default: Duration| {
        let duration = table.duration(key).unwrap_or(default);
        if let Some(node) = table.node(key).filter(|_| duration.is_zero()) {
            let message = format!("`{key}` can't be zero");
            sink.push(Problem::error(node.place, message).of(around.service, around.key));
        }
        duration
    };
    let interval = positive("interval", Duration::from_secs(10));
    let timeout = positive("timeout", Duration::from_secs(3));
    Some(Probe {
        check: check?,
        interval,
        timeout,
        retries: table.count("retries").unwrap_or(3),
        success_threshold: table.count("success_threshold").unwrap_or(1),
        start_period: table.duration("start_period").unwrap_or_default(),
        restart_on_failure: table.text("on_failure") != Some("none"),
    })
}

/// The probe of a service that declares TCP ports and no `ready`. At what runner has bound itself (`sockets`) a connection says nothing.
pub(super) fn of_ports(ports: &IndexMap<String, Port>, sockets: &[String]) -> Option<Probe> {
    let mut checks: Vec<Check> = ports
        .iter()
        .filter(|(name, port)| port.protocol == Protocol::Tcp && !sockets.contains(name))
        .map(|(_, port)| {
            if port.shared {
                // A connection may reach another one of those that share it.
                return Check::Binds(port.number);
            }
            // Whichever loopback it listens on: nobody said.
            Check::Tcp(TcpTarget {
                host: "localhost".into(),
                port: port.number,
            })
        })
        .collect();
    let check = match checks.len() {
        0 => return None,
        1 => checks.remove(0),
        _ => Check::All(checks),
    };
    Some(Probe {
        check,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(3),
        retries: 3,
        success_threshold: 1,
        start_period: Duration::ZERO,
        restart_on_failure: true,
    })
}

fn check(table: Fields<'_>, place: Place, around: &Around<'_>, sink: &mut Sink) -> Option<Check> {
    let complain = |sink: &mut Sink, place: Place, message: String, hint: &str| {
        let problem = Problem::error(place, message).of(around.service, around.key);
        sink.push(if hint.is_empty() {
            problem
        } else {
            problem.suggest(hint)
        });
    };
    let kinds: Vec<_> = PROBE_KINDS.iter().filter(|kind| table.has(kind)).collect();
    let kind = match kinds.as_slice() {
        [kind] => **kind,
        [] if around.failed => return None,
        [] => {
            let hint = "one of http, tcp, exec, log, file, notify, listen, all, any";
            complain(
                sink,
                place,
                format!("`{}` does not say what to check", around.key),
                hint,
            );
            return None;
        }
        [first, second, ..] => {
            let key = table.table[**second].key;
            let hint = "`all = [{ ... }, { ... }]` or `any` combine them";
            complain(sink, key, format!("`{first}` and `{second}` in one probe"), hint);
            return None;
        }
    };
    let node = table.node(kind)?;
    match kind {
        "http" => http(node, around, sink).map(Check::Http),
        "tcp" => match tcp(node) {
            Some(target) => Some(Check::Tcp(target)),
            None => {
                complain(sink, node.place, "expected a port, or `\"host:port\"`".into(), "");
                None
            }
        },
        "exec" => Some(Check::Exec(command::argv(node, around.shell))),
        "log" if around.key == "health" => {
            complain(
                sink,
                node.place,
                "`log` says when it is ready, not whether it is healthy".into(),
                "",
            );
            None
        }
        "log" => Some(Check::Log(node.text()?.to_owned())),
        "file" => Some(Check::File(fields::path(node, sink)?)),
        "notify" => Some(Check::Notify),
        "listen" => Some(Check::Listen),
        _ if node.items().is_empty() => {
            complain(sink, node.place, format!("`{kind}` of nothing"), "");
            None
        }
        _ => {
            let inner: Vec<_> = node
                .items()
                .iter()
                .map(|item| check(Fields { table: item.table()? }, item.place, around, sink))
                .collect();
            let checks = inner.into_iter().collect::<Option<Vec<_>>>()?;
            Some(if kind == "all" {
                Check::All(checks)
            } else {
                Check::Any(checks)
            })
        }
    }
}

fn tcp(node: &Node) -> Option<TcpTarget> {
    let port = match &node.value {
        Value::Integer(integer) => u16::try_from(*integer).ok(),
        _ => node.text()?.parse().ok(),
    };
    if let Some(port) = port.filter(|port| *port != 0) {
        return Some(TcpTarget {
            host: "127.0.0.1".into(),
            port,
        });
    }
    let (host, port) = value::host_port(node.text()?)?;
    let host = if host.is_empty() { "127.0.0.1".into() } else { host };
    Some(TcpTarget { host, port })
}

fn http(node: &Node, around: &Around<'_>, sink: &mut Sink) -> Option<HttpCheck> {
    let mut complain = |place: Place, message: String| {
        sink.push(Problem::error(place, message).of(around.service, &format!("{}.http", around.key)));
    };
    let table = node.table().map(|table| Fields { table });
    let url = match table {
        Some(table) => match table.node("url") {
            Some(url) => url,
            None if around.failed => return None,
            None => {
                complain(node.place, "`http` needs a `url`".into());
                return None;
            }
        },
        None => node,
    };
    let address = absolute_url(url.text()?, around.ports);
    if let Err(message) = &address {
        complain(url.place, message.clone());
    }
    let mut status = Vec::new();
    for item in table.map_or(&[][..], |table| table.items("status")) {
        match status_pattern(item) {
            Some(pattern) => status.push(pattern),
            None => complain(item.place, "expected a status such as `200` or `\"2xx\"`".into()),
        }
    }
    if status.is_empty() {
        status = vec![StatusPattern::Class(2), StatusPattern::Class(3)];
    }
    let map = |key: &str| table.and_then(|table| table.table_at(key));
    let mut headers = IndexMap::new();
    for (name, entry) in map("headers").into_iter().flat_map(|headers| headers.table) {
        let value = entry.node.text().unwrap_or_default();
        let valid = hyper::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
            && hyper::header::HeaderValue::from_str(value).is_ok();
        if !valid {
            complain(entry.key, format!("`{name}` is no valid header"));
        }
        headers.insert(name.clone(), value.to_owned());
    }
    Some(HttpCheck {
        url: address.ok()?,
        method: table.and_then(|table| table.text("method")).unwrap_or("GET").to_owned(),
        headers,
        status,
        body: table.and_then(|table| table.text("body")).map(str::to_owned),
        json: map("json").map_or_else(IndexMap::new, |fields| {
            fields
                .table
                .iter()
                .map(|(name, entry)| (name.clone(), json(&entry.node)))
                .collect()
        }),
    })
}

fn absolute_url(text: &str, ports: Option<&IndexMap<String, Port>>) -> Result<String, String> {
    if text.starts_with('/') {
        let Some(ports) = ports else { return Ok(text.to_owned()) };
        let port = ports.values().find(|port| port.protocol == Protocol::Tcp);
        let port = port
            .ok_or("a path needs a port, and this service declares no TCP `ports`")?
            .number;
        return url(&format!("http://127.0.0.1:{port}{text}"));
    }
    url(text)
}

/// Checks an absolute `http://` URL.
fn url(text: &str) -> Result<String, String> {
    if text.starts_with("https://") {
        return Err(later::HTTPS.into());
    }
    let uri: hyper::Uri = text
        .parse()
        .map_err(|_| format!("`{text}` is neither a `/path` nor a URL"))?;
    if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
        return Err(format!("`{text}` is neither a `/path` nor an `http://` URL"));
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err("a user name in a URL is never sent; `headers` takes an `Authorization`".into());
    }
    // The host of an IPv6 address holds colons, but ends with a bracket.
    let port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    if port.is_some_and(|(_, port)| !matches!(port.parse::<u16>(), Ok(1..))) {
        return Err(format!("`{text}` has no valid port"));
    }
    Ok(text.to_owned())
}

fn status_pattern(node: &Node) -> Option<StatusPattern> {
    if let Value::Integer(integer) = node.value {
        return u16::try_from(integer).ok().map(StatusPattern::Exact);
    }
    let text = node.text()?;
    if let Some(class) = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX")) {
        let class: u8 = class.parse().ok()?;
        return (1..=5).contains(&class).then_some(StatusPattern::Class(class));
    }
    let exact: u16 = text.parse().ok()?;
    (100..=599).contains(&exact).then_some(StatusPattern::Exact(exact))
}

fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Text(text) | Value::Datetime(text) => text.clone().into(),
        Value::Integer(integer) => (*integer).into(),
        Value::Number(number) => (*number).into(),
        Value::Bool(truth) => (*truth).into(),
        Value::Array(items) => items.iter().map(json).collect(),
        Value::Table(table) => {
            let fields = table.iter().map(|(name, entry)| (name.clone(), json(&entry.node)));
            serde_json::Value::Object(fields.collect())
        }
    }
}

/// One entry of `wait_for`.
pub(super) fn gate(node: &Node, sink: &Sink) -> Result<Gate, String> {
    let text = node.text().unwrap_or_default();
    if let Some(target) = text.strip_prefix("tcp://") {
        return match value::host_port(target) {
            Some((host, port)) if !host.is_empty() => Ok(Gate::Tcp(TcpTarget { host, port })),
            _ => Err("expected `tcp://HOST:PORT`".into()),
        };
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return url(text).map(Gate::Http);
    }
    match text.strip_prefix("file:") {
        Some(path) if !path.is_empty() => Ok(Gate::File(sink.folder(node.place.file).join(path))),
        _ => Err("a gate is `tcp://HOST:PORT`, `http://...` or `file:PATH`".into()),
    }
}
