//! `healthcheck` of Compose.

use super::draft::{Service, Value};
use super::expand;
use super::node::{Node, Value as Node_};
use super::report::Report;

pub(super) fn convert(node: &Node, service: &mut Service, report: &mut Report) {
    let name = service.name.clone();
    if node.get("disable").and_then(Node::flag) == Some(true) {
        return;
    }
    let Some(test) = node.get("test") else {
        report.lost(
            node.at,
            &name,
            "healthcheck",
            "without a `test` it is that of the image",
        );
        return;
    };
    let command = match &test.value {
        Node_::List(words) => {
            let words: Vec<String> = words.iter().filter_map(Node::scalar).collect();
            match words.split_first() {
                Some((kind, _)) if kind == "NONE" => return,
                Some((kind, rest)) if kind == "CMD-SHELL" => expand::dollars(&rest.join(" ")),
                Some((kind, rest)) if kind == "CMD" && !rest.is_empty() => {
                    let words: Result<Vec<Value>, String> = rest.iter().map(|word| expand::dollars(word)).collect();
                    words.map(Value::List)
                }
                _ => Err("it begins with none of CMD, CMD-SHELL and NONE".to_owned()),
            }
        }
        _ => match test.scalar() {
            Some(line) => expand::dollars(&line),
            None => Err(format!("it is {}", test.kind())),
        },
    };
    let command = match command {
        Ok(command) => command,
        Err(why) => return report.lost(test.at, &name, "healthcheck", why),
    };
    let time = |key: &str, default: &str| {
        let given = node.get(key).and_then(Node::scalar);
        given.unwrap_or_else(|| default.to_owned())
    };
    // What Docker takes where nothing is said.
    let (interval, timeout) = (time("interval", "30s"), time("timeout", "30s"));
    let retries = node.get("retries").and_then(Node::whole).unwrap_or(3);
    let start_period = time("start_period", "0s");
    service.set(
        "ready",
        Value::table([("exec", command.clone()), ("timeout", Value::text(timeout.clone()))]),
    );
    let patience = patience(&interval, retries, &start_period);
    if patience > 60 {
        service.say(
            "start_timeout",
            Value::seconds(patience),
            "as long as the healthcheck had",
        );
    }
    let health = Value::table([
        ("exec", command),
        ("interval", Value::text(interval)),
        ("timeout", Value::text(timeout)),
        ("retries", Value::Number(retries)),
        ("on_failure", Value::text("none")),
    ]);
    service.say(
        "health",
        health,
        "Compose shows an unhealthy container and leaves it as it is",
    );
    if let Some(node) = node.get("start_interval") {
        let why = "until it is ready a probe runs every 50 ms, rising to its `interval`";
        report.lost(node.at, &name, "start_interval", why);
    }
}

/// Seconds until a container would be called unhealthy.
fn patience(interval: &str, retries: u64, start_period: &str) -> u64 {
    let seconds = |text: &str| crate::config::duration(text).map_or(0, |duration| duration.as_secs());
    seconds(start_period)
        .saturating_add(seconds(interval).saturating_mul(retries))
        .min(86_400)
}
