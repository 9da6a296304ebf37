//! process-compose.

use super::Broken;
use super::draft::{Draft, Service, Value};
use super::words::{duration, literal, shell_line, signal};
use super::yaml::{self, Node, Yaml};

pub(super) fn draft(text: &str) -> Result<Draft, Broken> {
    let root = yaml::parse(text)?;
    let processes = root
        .get("processes")
        .filter(|processes| processes.is_map())
        .ok_or_else(|| Broken::whole("it has no `processes`"))?;
    let mut draft = Draft::default();
    for (name, node) in root.entries() {
        match name {
            "processes" | "version" => {}
            "environment" => draft.env = pairs(node),
            _ => draft.note(node.line, "", name, "runner has no such setting"),
        }
    }
    for (name, node) in processes.entries() {
        let mut service = Service::new(name);
        let Some(command) = node.get("command").and_then(Node::text) else {
            draft.note(node.line, name, "the process", "it has no `command`");
            continue;
        };
        service.set("command", shell_line(command));
        for (key, value) in node.entries() {
            take(&mut draft, &mut service, key, value);
        }
        draft.services.push(service);
    }
    match draft.services.is_empty() {
        true => Err(Broken::whole("none of its processes has a `command`")),
        false => Ok(draft),
    }
}

fn pairs(node: &Node) -> Vec<(String, Value)> {
    match &node.value {
        Yaml::Map(entries) => entries
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), Value::Text(literal(value.text()?)))))
            .collect(),
        _ => node
            .items()
            .into_iter()
            .filter_map(|item| {
                let (name, value) = item.text()?.split_once('=')?;
                Some((name.to_owned(), Value::Text(literal(value))))
            })
            .collect(),
    }
}

fn take(draft: &mut Draft, service: &mut Service, key: &str, node: &Node) {
    let text = node.text().unwrap_or_default();
    let name = service.name.clone();
    match key {
        "command" => {}
        "working_dir" => service.set("working_dir", Value::Text(literal(text))),
        "environment" => service.set("env", Value::Table(pairs(node))),
        "description" => service.set("description", Value::text(text)),
        "depends_on" => {
            let mut needs = Vec::new();
            for (on, value) in node.entries() {
                let condition = match value.get("condition").and_then(Node::text) {
                    None | Some("process_started") => "started",
                    Some("process_healthy" | "process_log_ready") => "healthy",
                    Some("process_completed") => "completed",
                    Some("process_completed_successfully") => "completed_successfully",
                    Some(_) => {
                        draft.note(
                            value.line,
                            &name,
                            format!("depends_on {on}"),
                            "runner has no such condition",
                        );
                        continue;
                    }
                };
                needs.push((on.to_owned(), Value::text(condition)));
            }
            service.set("depends_on", Value::Table(needs));
        }
        "readiness_probe" | "liveness_probe" => {
            let ours = if key == "readiness_probe" { "ready" } else { "health" };
            match probe(node, ours == "health") {
                Some(probe) => service.set(ours, probe),
                None => draft.note(node.line, &name, key, "it is neither `http_get` nor `exec`"),
            }
        }
        "ready_log_line" => {
            let pattern = regex::escape(text);
            service.set("ready", Value::Table(vec![("log".to_owned(), Value::Text(pattern))]));
        }
        "availability" => availability(draft, service, node),
        "shutdown" => {
            for (key, node) in node.entries() {
                let text = node.text().unwrap_or_default();
                let signal = signal(text).filter(|_| key == "signal");
                let duration = duration(text).filter(|_| key == "timeout_seconds");
                match (key, signal, duration) {
                    ("command", ..) => service.set("stop_command", shell_line(text)),
                    (_, Some(signal), _) => service.set("stop_signal", Value::Text(signal)),
                    (_, _, Some(duration)) => service.set("stop_timeout", Value::Text(duration)),
                    ("parent_only", ..) if node.is_true() => service.set("stop_scope", Value::text("process")),
                    ("parent_only", ..) => {}
                    _ => draft.note(node.line, &name, format!("shutdown.{key}"), "runner has no such key"),
                }
            }
        }
        "disabled" if node.is_true() => service.set("autostart", Value::Bare("false".to_owned())),
        "disabled" => {}
        "namespace" => service.set("labels", Value::texts([text.to_owned()])),
        "log_location" => service.set(
            "log",
            Value::Table(vec![("file".to_owned(), Value::Text(literal(text)))]),
        ),
        "is_tty" if node.is_true() => {
            draft.note(node.line, &name, key, "set `tty = true` if it has to have a terminal")
        }
        "is_tty" => {}
        "replicas" if text != "1" => {
            draft.note(
                node.line,
                &name,
                key,
                "set `replicas` by hand: each needs a port of its own (`\"auto\"`), or a shared one",
            );
        }
        "replicas" => {}
        "is_daemon" if node.is_true() => {
            draft.note(
                node.line,
                &name,
                key,
                "a program that goes into the background is followed by its `pid_file`: name it by hand",
            );
        }
        "is_daemon" => {}
        _ => draft.note(node.line, &name, key, "runner has no such key"),
    }
}

fn availability(draft: &mut Draft, service: &mut Service, node: &Node) {
    let name = service.name.clone();
    for (key, node) in node.entries() {
        let text = node.text().unwrap_or_default();
        match (key, text) {
            ("restart", "no") => service.set("restart", Value::text("no")),
            ("restart", "always") => service.set("restart", Value::text("always")),
            ("restart", "on_failure" | "on-failure") => service.set("restart", Value::text("on-failure")),
            ("restart", "exit_on_failure") => {
                service.set("restart", Value::text("no"));
                service.set("essential", Value::Bare("true".to_owned()));
            }
            ("backoff_seconds", _) => {
                if let Some(rest) = duration(text) {
                    let members = vec![("initial".to_owned(), Value::Text(rest))];
                    service.set("backoff", Value::Table(members));
                }
            }
            ("max_restarts", "0") => {}
            ("max_restarts", _) if text.parse::<u32>().is_ok() => {
                service.set("max_restarts", Value::Bare(text.to_owned()));
            }
            ("exit_on_end" | "exit_on_skipped", _) if node.is_true() => {
                service.set("essential", Value::Bare("true".to_owned()));
            }
            ("exit_on_end" | "exit_on_skipped", _) => {}
            _ => draft.note(
                node.line,
                &name,
                format!("availability.{key}"),
                "runner has no such value",
            ),
        }
    }
}

fn probe(node: &Node, is_health: bool) -> Option<Value> {
    let field = |node: &Node, key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
    let check = match (node.get("http_get"), node.get("exec")) {
        (Some(http), _) => {
            let scheme = field(http, "scheme").unwrap_or_else(|| "http".to_owned());
            let host = field(http, "host").unwrap_or_else(|| "127.0.0.1".to_owned());
            let port = field(http, "port").map_or(String::new(), |port| format!(":{port}"));
            let path = field(http, "path").unwrap_or_else(|| "/".to_owned());
            (
                "http",
                format!("{scheme}://{host}{port}/{}", path.trim_start_matches('/')),
            )
        }
        (None, Some(exec)) => ("exec", field(exec, "command")?),
        (None, None) => return None,
    };
    let mut members = vec![(check.0.to_owned(), Value::Text(literal(&check.1)))];
    for (theirs, ours) in [
        ("period_seconds", "interval"),
        ("timeout_seconds", "timeout"),
        ("initial_delay_seconds", "start_period"),
    ] {
        if let Some(value) = field(node, theirs).and_then(|text| duration(&text)) {
            members.push((ours.to_owned(), Value::Text(value)));
        }
    }
    for (theirs, ours) in [
        ("success_threshold", "success_threshold"),
        ("failure_threshold", "retries"),
    ] {
        let count = field(node, theirs).filter(|text| text.parse::<u32>().is_ok_and(|count| count > 0));
        if let Some(count) = count.filter(|_| is_health || ours != "retries") {
            members.push((ours.to_owned(), Value::Bare(count)));
        }
    }
    Some(Value::Table(members))
}
