//! Docker Compose: services that say what to run. What is about containers has no meaning here and is told.

use super::Broken;
use super::draft::{Draft, Service, Value};
use super::words::{duration, interpolated, signal, split_line};
use super::yaml::{self, Node, Yaml};

pub(super) fn draft(text: &str) -> Result<Draft, Broken> {
    let root = yaml::parse(text)?;
    let services = root
        .get("services")
        .filter(|services| services.is_map())
        .ok_or_else(|| Broken::whole("it has no `services`"))?;
    let mut draft = Draft::default();
    for (name, node) in root.entries() {
        if !matches!(name, "services" | "version" | "name") && !name.starts_with("x-") {
            draft.note(node.line, "", name, "that is about containers");
        }
    }
    for (name, node) in services.entries() {
        let mut one = One {
            draft: &mut draft,
            service: Service::new(name),
            mounts: mounts(node),
        };
        if !one.command(node) {
            draft.note(
                node.line,
                name,
                "the service",
                "it says what image to use, not what to run: add a `command` by hand",
            );
            continue;
        }
        for (key, value) in node.entries() {
            one.key(key, value);
        }
        let service = one.service;
        draft.services.push(service);
    }
    match draft.services.is_empty() {
        true => Err(Broken::whole(
            "none of its services says what to run: each has only an image, and its command is inside of that",
        )),
        false => Ok(draft),
    }
}

struct One<'d> {
    draft: &'d mut Draft,
    service: Service,
    /// Folders of the host by where they are in the container.
    mounts: Vec<(String, String)>,
}

impl One<'_> {
    fn note(&mut self, node: &Node, what: impl Into<String>, why: &str) {
        let name = self.service.name.clone();
        self.draft.note(node.line, &name, what, why);
    }

    fn text(&mut self, node: &Node) -> Option<String> {
        let (text, odd) = interpolated(node.text()?);
        if let Some(odd) = odd {
            self.note(node, odd, "runner has no such substitution: write it as a template");
        }
        Some(text)
    }

    /// `entrypoint` and `command` in one.
    fn command(&mut self, node: &Node) -> bool {
        let mut words: Vec<Value> = Vec::new();
        let mut lines = Vec::new();
        for key in ["entrypoint", "command"] {
            let Some(part) = node.get(key) else { continue };
            match &part.value {
                Yaml::List(items) => words.extend(items.iter().filter_map(|item| Some(Value::Text(self.text(item)?)))),
                Yaml::Scalar(text) if !text.trim().is_empty() => {
                    lines.push(text.clone());
                    let split = shlex::split(text).unwrap_or_else(|| vec![text.clone()]);
                    words.extend(split.iter().map(|word| Value::Text(interpolated(word).0)));
                }
                _ => {}
            }
        }
        if words.is_empty() {
            return false;
        }
        let is_one_line = lines.len() == 1 && node.get("entrypoint").is_none();
        let value = match is_one_line && !lines[0].contains('$') {
            true => split_line(&lines[0]),
            false => Value::List(words),
        };
        self.service.set("command", value);
        true
    }

    fn key(&mut self, key: &str, node: &Node) {
        match key {
            "command" | "entrypoint" => {}
            "environment" => self.environment(node),
            "env_file" => self.env_file(node),
            "working_dir" => self.working_dir(node),
            "ports" => self.ports(node),
            "depends_on" => self.depends_on(node),
            "restart" => self.restart(node),
            "healthcheck" => self.health(node),
            "stop_signal" => match node.text().and_then(signal) {
                Some(signal) => self.service.set("stop_signal", Value::Text(signal)),
                None => self.note(node, key, "that is no signal"),
            },
            "stop_grace_period" => match node.text().and_then(duration) {
                Some(period) => self.service.set("stop_timeout", Value::Text(period)),
                None => self.note(node, key, "that is no duration"),
            },
            "profiles" => {
                let profiles = node
                    .items()
                    .into_iter()
                    .filter_map(|item| item.text().map(str::to_owned));
                self.service.set("profiles", Value::texts(profiles));
            }
            "scale" => self.replicas(node),
            "deploy" => {
                if let Some(replicas) = node.get("replicas") {
                    self.replicas(replicas);
                }
                for (name, node) in node.entries().filter(|(name, _)| *name != "replicas") {
                    self.note(node, format!("deploy.{name}"), "that is about a cluster");
                }
            }
            "user" => self.note(
                node,
                "user",
                "it is one of the image: set `user` by hand if it is to be another one than yours",
            ),
            "image" | "build" => self.note(node, key, "what it brings has to be installed here"),
            "volumes" => self.note(node, key, "the service sees the files of this machine"),
            "extends" => self.note(
                node,
                key,
                "`extends` of runner starts from a `[templates.NAME]`: write it by hand",
            ),
            "labels" | "container_name" | "hostname" | "networks" | "network_mode" | "expose" | "links" | "init"
            | "cap_add" | "cap_drop" | "privileged" | "security_opt" | "tmpfs" | "shm_size" | "dns" | "extra_hosts"
            | "logging" | "platform" | "pull_policy" | "read_only" | "ipc" | "pid" | "devices" | "stdin_open" => {
                self.note(node, key, "that is about containers");
            }
            "tty" if node.is_true() => self.note(node, key, "set `tty = true` if it has to have a terminal"),
            "tty" => {}
            _ if key.starts_with("x-") => {}
            _ => self.note(node, key, "runner has no such key"),
        }
    }

    fn environment(&mut self, node: &Node) {
        let mut env = Vec::new();
        let pairs: Vec<(String, Option<Node>)> = match &node.value {
            Yaml::Map(entries) => entries
                .iter()
                .map(|(name, value)| {
                    (
                        name.clone(),
                        Some(Node::clone(value)).filter(|value| value.text().is_some()),
                    )
                })
                .collect(),
            _ => node
                .items()
                .into_iter()
                .filter_map(|item| {
                    let text = item.text()?;
                    Some(match text.split_once('=') {
                        Some((name, value)) => {
                            let value = Yaml::Scalar(value.to_owned());
                            (name.to_owned(), Some(Node { line: item.line, value }))
                        }
                        None => (text.to_owned(), None),
                    })
                })
                .collect(),
        };
        for (name, value) in pairs {
            // Without a value it is the host's, which every service of runner has anyway.
            if let Some(text) = value.and_then(|value| self.text(&value)) {
                env.push((name, Value::Text(text)));
            }
        }
        if !env.is_empty() {
            self.service.set("env", Value::Table(env));
        }
    }

    fn env_file(&mut self, node: &Node) {
        let mut files = Vec::new();
        for item in node.items() {
            let (path, required) = match item.get("path") {
                Some(path) => (path, item.get("required").is_none_or(Node::is_true)),
                None => (item, true),
            };
            let Some(path) = self.text(path) else { continue };
            files.push(match required {
                true => Value::Text(path),
                false => Value::Table(vec![
                    ("path".to_owned(), Value::Text(path)),
                    ("required".to_owned(), Value::Bare("false".to_owned())),
                ]),
            });
        }
        self.service.set("env_file", Value::List(files));
    }

    fn working_dir(&mut self, node: &Node) {
        let Some(inside) = node.text() else { return };
        let on_host = self.mounts.iter().find_map(|(host, container)| {
            let rest = inside.strip_prefix(container.as_str())?;
            match rest.strip_prefix('/') {
                Some(below) => Some(format!("{host}/{below}")),
                None => rest.is_empty().then(|| host.clone()),
            }
        });
        match on_host {
            Some(folder) => self.service.set("working_dir", Value::Text(interpolated(&folder).0)),
            None => self.note(
                node,
                "working_dir",
                "it is a folder of the image: set the one of this machine by hand",
            ),
        }
    }

    fn ports(&mut self, node: &Node) {
        let mut ports: Vec<Value> = Vec::new();
        for item in node.items() {
            let target = item.get("target").and_then(Node::text);
            let published = item.get("published").and_then(Node::text);
            let protocol = item.get("protocol").and_then(Node::text).unwrap_or("tcp").to_owned();
            let text = item.text().unwrap_or_default();
            let (text, protocol) = match text.split_once('/') {
                Some((text, protocol)) => (text, protocol.to_owned()),
                None => (text, protocol),
            };
            let mut parts = text.rsplit(':');
            let own = target.or_else(|| parts.next()).unwrap_or_default();
            let outside = published.or_else(|| parts.next()).filter(|outside| !outside.is_empty());
            let Ok(number) = own.parse::<u16>() else {
                self.note(item, "ports", "only single numbers can be carried over");
                continue;
            };
            if outside.is_some_and(|outside| outside != own) {
                self.note(
                    item,
                    format!("ports {text}"),
                    "nothing is mapped here: the service listens on the number that its command says",
                );
            }
            let port = match protocol.as_str() {
                "udp" => Value::Table(vec![
                    ("port".to_owned(), Value::Bare(number.to_string())),
                    ("protocol".to_owned(), Value::text("udp")),
                ]),
                _ => Value::Bare(number.to_string()),
            };
            if number > 0 && !ports.contains(&port) {
                ports.push(port);
            }
        }
        if !ports.is_empty() {
            self.service.set("ports", Value::List(ports));
        }
    }

    fn depends_on(&mut self, node: &Node) {
        let mut needs = Vec::new();
        match &node.value {
            Yaml::Map(entries) => {
                for (name, value) in entries {
                    let condition = match value.get("condition").and_then(Node::text) {
                        None | Some("service_started") => "started",
                        Some("service_healthy") => "healthy",
                        Some("service_completed_successfully") => "completed_successfully",
                        Some(_) => {
                            self.note(value, format!("depends_on {name}"), "runner has no such condition");
                            continue;
                        }
                    };
                    let mut members = vec![("condition".to_owned(), Value::text(condition))];
                    for (key, wanted) in [("restart", true), ("required", false)] {
                        if value.get(key).is_some_and(|node| node.is_true() == wanted) {
                            members.push((key.to_owned(), Value::Bare(wanted.to_string())));
                        }
                    }
                    needs.push((name.clone(), Value::Table(members)));
                }
            }
            _ => needs.extend(node.items().into_iter().filter_map(|item| {
                // Compose waits for no more than its start.
                Some((item.text()?.to_owned(), Value::text("started")))
            })),
        }
        self.service.set("depends_on", Value::Table(needs));
    }

    fn restart(&mut self, node: &Node) {
        let text = node.text().unwrap_or_default();
        let (word, count) = text.split_once(':').unwrap_or((text, ""));
        match word {
            "no" | "false" => self.service.set("restart", Value::text("no")),
            "always" | "unless-stopped" => self.service.set("restart", Value::text("always")),
            "on-failure" => self.service.set("restart", Value::text("on-failure")),
            _ => self.note(node, "restart", "runner has `no`, `on-failure` and `always`"),
        }
        if count.parse::<u32>().is_ok() {
            self.service.set("max_restarts", Value::Bare(count.to_owned()));
        }
    }

    fn replicas(&mut self, node: &Node) {
        match node.text().and_then(|text| text.parse::<u32>().ok()) {
            None | Some(1) => {}
            Some(count) => self.note(
                node,
                format!("{count} replicas"),
                "set `replicas` by hand: each needs a port of its own (`\"auto\"`), or a shared one",
            ),
        }
    }

    fn health(&mut self, node: &Node) {
        if node.get("disable").is_some_and(Node::is_true) {
            return;
        }
        let Some(test) = node.get("test") else {
            return self.note(node, "healthcheck", "it changes one of the image");
        };
        let words: Vec<String> = test.items().into_iter().filter_map(|item| self.text(item)).collect();
        let exec = match (words.first().map(String::as_str), &test.value) {
            (Some("NONE"), _) | (None, _) => return,
            (Some("CMD"), Yaml::List(_)) => Value::texts(words.into_iter().skip(1)),
            (Some("CMD-SHELL"), Yaml::List(_)) => Value::Text(words.into_iter().skip(1).collect()),
            (_, Yaml::List(_)) => Value::texts(words),
            _ => Value::Text(words.concat()),
        };
        let mut members = vec![("exec".to_owned(), exec.clone())];
        let mut eager = members.clone();
        for (theirs, ours) in [
            ("interval", "interval"),
            ("timeout", "timeout"),
            ("start_period", "start_period"),
        ] {
            if let Some(value) = node.get(theirs).and_then(Node::text).and_then(duration) {
                members.push((ours.to_owned(), Value::Text(value.clone())));
                if ours == "timeout" {
                    eager.push((ours.to_owned(), Value::Text(value)));
                }
            }
        }
        if let Some(retries) = node
            .get("retries")
            .and_then(Node::text)
            .filter(|text| text.parse::<u32>().is_ok_and(|count| count > 0))
        {
            members.push(("retries".to_owned(), Value::Bare(retries.to_owned())));
        }
        self.service.set("ready", Value::Table(eager));
        self.service.set("health", Value::Table(members));
    }
}

/// Bind mounts of folders, in both of Compose's forms.
fn mounts(node: &Node) -> Vec<(String, String)> {
    let volumes = node.get("volumes").map(Node::items).unwrap_or_default();
    let mount = |volume: &Node| {
        let (source, target) = match volume.text() {
            Some(text) => {
                let mut parts = text.split(':');
                (parts.next()?.to_owned(), parts.next()?.to_owned())
            }
            None => (
                volume.get("source")?.text()?.to_owned(),
                volume.get("target")?.text()?.to_owned(),
            ),
        };
        let is_folder = source.starts_with(['.', '/']);
        is_folder.then(|| {
            (
                source.trim_end_matches('/').to_owned(),
                target.trim_end_matches('/').to_owned(),
            )
        })
    };
    volumes.into_iter().filter_map(mount).collect()
}
