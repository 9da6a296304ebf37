//! Probes of process-compose.

use super::draft::Value;
use super::expand;
use super::node::Node;

/// Seconds and counts of a probe; `None` where it has neither `exec` nor `http_get`.
pub(super) struct Probe {
    pub check: (String, Value),
    /// A folder for its command, which has none of its own here.
    pub has_folder: bool,
    pub initial_delay: u64,
    pub period: u64,
    pub timeout: u64,
    pub successes: u64,
    pub failures: u64,
}

pub(super) fn read(node: &Node) -> Result<Probe, String> {
    let seconds = |key: &str, default: u64| node.get(key).and_then(Node::whole).unwrap_or(default);
    let exec = node.get("exec");
    let check = match (exec, node.get("http_get")) {
        (Some(exec), None) => {
            let command = exec
                .get("command")
                .and_then(Node::scalar)
                .ok_or("its `exec` has no `command`")?;
            ("exec".to_owned(), Value::text(command.replace("$$", "$")))
        }
        (None, Some(get)) => ("http".to_owned(), http(get)?),
        _ => return Err("it has to have one of `exec` and `http_get`".to_owned()),
    };
    Ok(Probe {
        check,
        has_folder: exec.is_some_and(|exec| exec.get("working_dir").is_some()),
        initial_delay: seconds("initial_delay_seconds", 0),
        // What process-compose takes where nothing is said.
        period: seconds("period_seconds", 10).max(1),
        timeout: seconds("timeout_seconds", 1).max(1),
        successes: seconds("success_threshold", 1).max(1),
        failures: seconds("failure_threshold", 3).max(1),
    })
}

fn http(get: &Node) -> Result<Value, String> {
    let word = |key: &str, default: &str| {
        get.get(key)
            .and_then(Node::scalar)
            .unwrap_or_else(|| default.to_owned())
    };
    let (scheme, host, path) = (word("scheme", "http"), word("host", "127.0.0.1"), word("path", "/"));
    let port = word("port", &word("num_port", "80"));
    let slash = if path.starts_with('/') { "" } else { "/" };
    let host = if host.is_empty() { "127.0.0.1" } else { &host };
    let url = expand::dollars(&format!("{}://{host}:{port}{slash}{path}", scheme.to_lowercase()))?;
    let mut table = vec![("url".to_owned(), url.clone())];
    if let Some(status) = get.get("status_code").and_then(Node::whole) {
        table.push(("status".to_owned(), Value::Number(status)));
    }
    if let Some(method) = get.get("method").and_then(Node::scalar) {
        table.push(("method".to_owned(), Value::text(method.to_uppercase())));
    }
    if let Some(headers) = get.get("headers") {
        let mut all = Vec::new();
        for entry in headers.entries() {
            all.push((
                entry.key.clone(),
                expand::dollars(&entry.node.scalar().unwrap_or_default())?,
            ));
        }
        table.push(("headers".to_owned(), Value::Table(all)));
    }
    Ok(if table.len() == 1 { url } else { Value::Table(table) })
}

impl Probe {
    pub fn ready(&self) -> Value {
        let mut table = vec![self.check.clone()];
        table.push(("interval".to_owned(), Value::seconds(self.period)));
        table.push(("timeout".to_owned(), Value::seconds(self.timeout)));
        if self.successes > 1 {
            table.push(("success_threshold".to_owned(), Value::Number(self.successes)));
        }
        Value::Table(table)
    }

    pub fn health(&self) -> Value {
        let Value::Table(mut table) = self.ready() else {
            return Value::Bool(false);
        };
        table.push(("retries".to_owned(), Value::Number(self.failures)));
        if self.initial_delay > 0 {
            table.push(("start_period".to_owned(), Value::seconds(self.initial_delay)));
        }
        Value::Table(table)
    }

    /// Seconds until process-compose would give up.
    pub fn patience(&self) -> u64 {
        self.initial_delay
            .saturating_add(self.period.saturating_mul(self.failures))
            .min(86_400)
    }
}
