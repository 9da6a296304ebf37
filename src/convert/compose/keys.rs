//! Keys of a service of Compose, each to what it is called here.

use super::Compose;
use crate::convert::draft::{Service, Value};
use crate::convert::expand;
use crate::convert::node::{Mark, Node, Value as Node_};
use crate::convert::words;

impl Compose<'_> {
    pub(super) fn environment(&mut self, service: &mut Service, node: &Node) {
        let mut variables: Vec<(String, Mark, Option<String>)> = Vec::new();
        for entry in node.entries() {
            variables.push((entry.key.clone(), entry.at, entry.node.scalar()));
        }
        if let Node_::List(items) = &node.value {
            for item in items {
                let text = item.scalar().unwrap_or_default();
                match text.split_once('=') {
                    Some((name, value)) => variables.push((name.to_owned(), item.at, Some(value.to_owned()))),
                    None => variables.push((text, item.at, None)),
                }
            }
        }
        for (name, at, value) in variables {
            // A name alone is passed on from the environment, as all of it is here.
            let Some(value) = value else { continue };
            if let Some(value) = self.expanded(&value, at, &service.name, &name) {
                if let Value::Text(text) | Value::Template(text) = &value
                    && let Some(host) = self.host_in(text)
                {
                    let message =
                        format!("{name} names the host `{host}`, which only Compose resolves: write 127.0.0.1");
                    self.report.note(at, &service.name, message);
                }
                service.env(&name, value);
            }
        }
    }

    /// The name of a service where a host stands.
    pub(super) fn host_in(&self, text: &str) -> Option<&str> {
        let all = self.services.entries().iter().map(|entry| entry.key.as_str());
        all.filter(|name| !name.is_empty()).find(|name| {
            text == *name
                || text.match_indices(name).any(|(at, _)| {
                    let before = &text[..at];
                    let after = &text[at + name.len()..];
                    (before.ends_with("//") || before.ends_with('@') || before.is_empty())
                        && after.starts_with([':', '/'])
                })
        })
    }

    pub(super) fn env_file(&mut self, service: &mut Service, node: &Node) {
        let items: Vec<&Node> = match &node.value {
            Node_::List(items) => items.iter().collect(),
            _ => vec![node],
        };
        let mut files = Vec::new();
        for item in items {
            let Some(path) = item.get("path").unwrap_or(item).scalar() else {
                continue;
            };
            match words::expanded_path(self.input.base, &path) {
                Ok(path) if item.get("required").and_then(Node::flag) == Some(false) => {
                    files.push(Value::table([("path", path), ("required", Value::Bool(false))]));
                }
                Ok(path) => files.push(path),
                Err(why) => self.report.lost(item.at, &service.name, "env_file", why),
            }
        }
        if let Some(one) = files.first().filter(|_| files.len() == 1) {
            service.set("env_file", one.clone());
        } else if !files.is_empty() {
            service.set("env_file", Value::List(files));
        }
    }

    pub(super) fn depends_on(&mut self, service: &mut Service, node: &Node) {
        let mut needs = Vec::new();
        if let Some(listed) = node.scalars() {
            needs.extend(listed.into_iter().map(|name| (name, node.at, Value::text("started"))));
        }
        for entry in node.entries() {
            let condition = entry.node.get("condition").and_then(Node::scalar);
            let condition = match condition.as_deref() {
                None | Some("service_started") => "started",
                Some("service_healthy") => "healthy",
                Some("service_completed_successfully") => "completed_successfully",
                Some(other) => {
                    self.report.lost(
                        entry.at,
                        &service.name,
                        "depends_on",
                        format!("there is no condition `{other}`"),
                    );
                    continue;
                }
            };
            let flag = |key: &str| entry.node.get(key).and_then(Node::flag);
            let value = match (flag("restart"), flag("required")) {
                (None | Some(false), None | Some(true)) => Value::text(condition),
                (restart, required) => {
                    let mut table = vec![("condition".to_owned(), Value::text(condition))];
                    table.extend(
                        restart
                            .filter(|on| *on)
                            .map(|on| ("restart".to_owned(), Value::Bool(on))),
                    );
                    table.extend(
                        required
                            .filter(|on| !*on)
                            .map(|on| ("required".to_owned(), Value::Bool(on))),
                    );
                    Value::Table(table)
                }
            };
            needs.push((entry.key.clone(), entry.at, value));
        }
        let mut kept = Vec::new();
        for (target, at, value) in needs {
            match self.names.get(&target) {
                Some(name) => kept.push((name.to_owned(), value)),
                None => self.report.lost(
                    at,
                    &service.name,
                    "depends_on",
                    format!("`{target}` is not carried over"),
                ),
            }
        }
        if !kept.is_empty() {
            service.set("depends_on", Value::Table(kept));
        }
    }

    pub(super) fn ports(&mut self, service: &mut Service, node: &Node) {
        let Node_::List(items) = &node.value else {
            return self.report.lost(node.at, &service.name, "ports", "it is no list");
        };
        let mut ports = Vec::new();
        for item in items {
            match port(item) {
                Ok((number, published, is_udp)) => {
                    if let Some(published) = published.filter(|published| published.parse() != Ok(number)) {
                        let how = format!("it listens on {number}, which nothing here publishes as {published}");
                        self.report.changed(item.at, &service.name, "ports", how);
                    }
                    let number = Value::Number(number.into());
                    let port = match is_udp {
                        true => Value::table([("port", number), ("protocol", Value::text("udp"))]),
                        false => number,
                    };
                    if !ports.contains(&port) {
                        ports.push(port);
                    }
                }
                Err(why) => self.report.lost(item.at, &service.name, "ports", why),
            }
        }
        if !ports.is_empty() {
            service.set("ports", Value::List(ports));
        }
    }

    pub(super) fn restart(&mut self, service: &mut Service, node: &Node) {
        let word = match node.flag() {
            Some(false) => "no".to_owned(),
            _ => node.scalar().unwrap_or_default(),
        };
        let (policy, count) = word.split_once(':').unwrap_or((&word, ""));
        match policy {
            "no" => service.set("restart", Value::text("no")),
            "always" | "unless-stopped" => service.set("restart", Value::text("always")),
            "on-failure" => {
                service.set("restart", Value::text("on-failure"));
                if let Ok(count) = count.parse() {
                    service.set("max_restarts", Value::Number(count));
                    let how = "it counts the restarts within a minute (`restart_window`), not all of them";
                    self.report.changed(node.at, &service.name, "restart", how);
                }
            }
            _ => self.report.lost(
                node.at,
                &service.name,
                "restart",
                format!("there is no policy `{word}`"),
            ),
        }
    }

    pub(super) fn scalar(&mut self, service: &mut Service, key: &str, node: &Node, ours: fn(&str) -> String) {
        match node.scalar() {
            Some(word) if !word.contains('$') => service.set(key, Value::text(ours(&word))),
            _ => self.report.lost(node.at, &service.name, key, "it is no plain word"),
        }
    }

    pub(super) fn user(&mut self, service: &mut Service, node: &Node) {
        let Some(text) = node.scalar() else { return };
        let (user, group) = match text.split_once(':') {
            Some((user, group)) if !text.contains('$') => (user, Some(group)),
            _ => (text.as_str(), None),
        };
        for (key, word) in [("user", Some(user)), ("group", group)] {
            if let Some(value) = word.and_then(|word| self.expanded(word, node.at, &service.name, key)) {
                service.set(key, value);
            }
        }
    }

    pub(super) fn replicas(&mut self, service: &mut Service, node: &Node) {
        match node.whole() {
            Some(1) => {}
            Some(count) => service.set("replicas", Value::Number(count)),
            None => self.report.lost(node.at, &service.name, "replicas", "it is no number"),
        }
    }

    pub(super) fn deploy(&mut self, service: &mut Service, node: &Node) {
        for entry in node.entries() {
            match entry.key.as_str() {
                "replicas" => self.replicas(service, &entry.node),
                "restart_policy" => self.restart_policy(service, &entry.node),
                key => {
                    let key = format!("deploy.{key}");
                    self.report
                        .lost(entry.at, &service.name, &key, "it means something to a cluster only");
                }
            }
        }
    }

    fn restart_policy(&mut self, service: &mut Service, node: &Node) {
        let condition = node.get("condition").and_then(Node::scalar);
        service.set(
            "restart",
            Value::text(match condition.as_deref() {
                Some("none") => "no",
                Some("on-failure") => "on-failure",
                _ => "always",
            }),
        );
        if let Some(count) = node.get("max_attempts").and_then(Node::whole) {
            service.set("max_restarts", Value::Number(count));
        }
        if let Some(delay) = node.get("delay").and_then(Node::scalar) {
            service.set("backoff", Value::table([("initial", Value::text(delay))]));
        }
        if let Some(window) = node.get("window").and_then(Node::scalar) {
            service.set("restart_window", Value::text(window));
        }
    }

    pub(super) fn logging(&mut self, service: &mut Service, node: &Node) {
        match node.get("driver").and_then(Node::scalar).as_deref() {
            Some("none") => return service.set("log", Value::Bool(false)),
            None | Some("json-file" | "local") => {}
            Some(driver) => {
                return self.report.lost(
                    node.at,
                    &service.name,
                    "logging",
                    format!("there is no driver `{driver}`"),
                );
            }
        }
        let option = |key: &str| {
            node.get("options")
                .and_then(|options| options.get(key))
                .and_then(Node::scalar)
        };
        let mut log = Vec::new();
        if let Some(size) = option("max-size").as_deref().and_then(words::binary_size) {
            log.push(("max_size".to_owned(), Value::Text(size)));
        }
        if let Some(count) = option("max-file").and_then(|count| count.parse().ok()) {
            log.push(("max_files".to_owned(), Value::Number(count)));
        }
        if !log.is_empty() {
            service.set("log", Value::Table(log));
        }
    }

    pub(super) fn ulimits(&mut self, service: &mut Service, node: &Node) {
        let mut limits = Vec::new();
        for entry in node.entries() {
            let number = |node: &Node| match node.scalar().as_deref() {
                Some("-1") => Some(Value::text("unlimited")),
                _ => node.whole().map(Value::Number),
            };
            let both = entry
                .node
                .get("soft")
                .and_then(number)
                .zip(entry.node.get("hard").and_then(number));
            match both {
                Some((soft, hard)) => limits.push((entry.key.clone(), Value::table([("soft", soft), ("hard", hard)]))),
                None => match number(&entry.node) {
                    Some(limit) => limits.push((entry.key.clone(), limit)),
                    None => self.report.lost(entry.at, &service.name, "ulimits", "it is no number"),
                },
            }
        }
        if !limits.is_empty() {
            service.set("limits", Value::Table(limits));
        }
    }
}

/// The port in the container, what it is published as, and whether it is UDP.
fn port(item: &Node) -> Result<(u16, Option<String>, bool), String> {
    let none = |_: &str| None;
    let number = |text: &str| -> Result<u16, String> {
        let number = text.parse().ok().filter(|number| *number != 0);
        number.ok_or_else(|| format!("`{text}` is no port"))
    };
    if let Some(target) = item.get("target") {
        let target = target.scalar().unwrap_or_default();
        let published = item.get("published").and_then(Node::scalar);
        let published = published.and_then(|text| expand::by_default(&text, &none).ok());
        let is_udp = item.get("protocol").and_then(Node::scalar).as_deref() == Some("udp");
        return Ok((number(&target)?, published, is_udp));
    }
    let text = item.scalar().ok_or("it is no port")?;
    let text = expand::by_default(&text, &none)?;
    let (text, is_udp) = match text.split_once('/') {
        Some((text, protocol)) => (text, protocol == "udp"),
        None => (text.as_str(), false),
    };
    if text.rsplit(':').next().is_some_and(|last| last.contains('-')) {
        return Err(format!("`{text}` is a range: write its ports one by one"));
    }
    match text.rsplit_once(':') {
        Some((outer, target)) => {
            let published = outer.rsplit(':').next().unwrap_or(outer);
            Ok((number(target)?, Some(published.to_owned()), is_udp))
        }
        None => Ok((number(text)?, None, is_udp)),
    }
}
