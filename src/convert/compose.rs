//! Docker Compose: what a service executes, without the container around it.

use super::draft::{Draft, Service, Value};
use super::names::Names;
use super::node::{Entry, Mark, Node, Value as Node_};
use super::report::Report;
use super::{Fault, Input, expand, healthcheck, names, settle, words, yaml};

/// Keys that only mean something around a container.
const CONTAINER: &[&str] = &[
    "annotations",
    "blkio_config",
    "cap_add",
    "cap_drop",
    "cgroup",
    "cgroup_parent",
    "configs",
    "container_name",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_shares",
    "cpus",
    "cpuset",
    "device_cgroup_rules",
    "devices",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "expose",
    "external_links",
    "extra_hosts",
    "gpus",
    "group_add",
    "hostname",
    "image",
    "init",
    "ipc",
    "isolation",
    "links",
    "mac_address",
    "mem_limit",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "network_mode",
    "networks",
    "oom_kill_disable",
    "oom_score_adj",
    "pid",
    "pids_limit",
    "platform",
    "privileged",
    "pull_policy",
    "read_only",
    "runtime",
    "secrets",
    "security_opt",
    "shm_size",
    "stdin_open",
    "storage_opt",
    "sysctls",
    "tmpfs",
    "tty",
    "userns_mode",
    "uts",
    "volumes",
    "volumes_from",
    "build",
];

/// Depth of `extends`.
const DEEPEST: usize = 16;

pub(super) fn convert(input: &Input, report: &mut Report) -> Result<Draft, Fault> {
    let root = yaml::parse(input.text)?;
    let Some(services) = root.get("services") else {
        return Err(Fault::new(root.at, "a Compose file has `services`"));
    };
    if !matches!(services.value, Node_::Map(_)) {
        return Err(Fault::new(
            services.at,
            format!("`services` is a table, not {}", services.kind()),
        ));
    }
    for entry in root.entries() {
        match entry.key.as_str() {
            "services" | "version" | "name" => {}
            key if key.starts_with("x-") => {}
            "include" => report.lost(
                entry.at,
                "",
                "include",
                "import each of its files, or name them by `include` of services.toml",
            ),
            key => report.lost(entry.at, "", key, "there is no container that it would belong to"),
        }
    }
    let mut draft = Draft::default();
    if let Some(name) = root.get("name").and_then(Node::scalar)
        && !name.contains('$')
    {
        draft.project("name", Value::Text(names::allowed(&name)), None);
    }
    let mut compose = Compose {
        input,
        services,
        names: Names::default(),
        report,
    };
    let mut whole = Vec::new();
    for entry in services.entries() {
        let entries = compose.extended(entry, DEEPEST)?;
        if !compose.is_executable(entry, &entries) {
            continue;
        }
        if let Some(command) = compose.command(&entry.key, &entries) {
            let name = compose.names.take(&entry.key, entry.at, compose.report);
            let mut service = Service::new(name, entry.at);
            service.set("command", command);
            whole.push((service, entries));
        }
    }
    let wanted_to_complete = wanted_to_complete(&whole);
    for (mut service, entries) in whole {
        compose.service(&mut service, &entries, &wanted_to_complete);
        draft.services.push(service);
    }
    for entry in services.entries() {
        if compose.names.get(&entry.key).is_none() {
            settle::without(&mut draft, compose.report, &entry.key, entry.at);
        }
    }
    Ok(draft)
}

/// Services that somebody waits for until they have ended well: tasks.
fn wanted_to_complete(whole: &[(Service, Vec<Entry>)]) -> Vec<String> {
    let needs = whole
        .iter()
        .flat_map(|(_, entries)| entries)
        .filter(|entry| entry.key == "depends_on");
    let conditions = needs.flat_map(|entry| entry.node.entries()).filter(|entry| {
        let condition = entry.node.get("condition").and_then(Node::scalar);
        condition.as_deref() == Some("service_completed_successfully")
    });
    conditions.map(|entry| entry.key.clone()).collect()
}

struct Compose<'c> {
    input: &'c Input<'c>,
    services: &'c Node,
    names: Names,
    report: &'c mut Report,
}

impl Compose<'_> {
    /// The keys of a service with those that it takes from another.
    fn extended(&mut self, entry: &Entry, depth: usize) -> Result<Vec<Entry>, Fault> {
        let mut own = match &entry.node.value {
            Node_::Map(entries) => entries.clone(),
            Node_::Null => Vec::new(),
            _ => {
                let message = format!("service `{}` is a table, not {}", entry.key, entry.node.kind());
                return Err(Fault::new(entry.node.at, message));
            }
        };
        let Some(at) = own.iter().position(|entry| entry.key == "extends") else {
            return Ok(own);
        };
        let extends = own.remove(at);
        if depth == 0 {
            return Err(Fault::new(
                extends.at,
                format!("service `{}` extends itself", entry.key),
            ));
        }
        if extends.node.get("file").is_some() {
            let why = "what stands in another file is not read: copy it over";
            self.report.lost(extends.at, &entry.key, "extends", why);
            return Ok(own);
        }
        let base = extends
            .node
            .get("service")
            .unwrap_or(&extends.node)
            .scalar()
            .unwrap_or_default();
        let Some(base) = self.services.entries().iter().find(|entry| entry.key == base) else {
            return Err(Fault::new(
                extends.at,
                format!("there is no service `{base}` to extend"),
            ));
        };
        for inherited in self.extended(base, depth - 1)? {
            match own.iter_mut().find(|entry| entry.key == inherited.key) {
                Some(entry) => lay_under(&mut entry.node, inherited.node),
                None if inherited.key == "depends_on" => {}
                None => own.push(inherited),
            }
        }
        Ok(own)
    }

    fn is_executable(&mut self, entry: &Entry, entries: &[Entry]) -> bool {
        let has = |key: &str| entries.iter().any(|entry| entry.key == key && !entry.node.is_null());
        if has("command") || has("entrypoint") {
            return true;
        }
        let why = match (has("build"), has("image")) {
            (true, _) => "what it executes stands in its Dockerfile: add it with `runner add`",
            (false, true) => "it only names an image: keep it in Compose, or add the program with `runner add`",
            (false, false) => "it has no command",
        };
        self.report.lost(entry.at, &entry.key, "", why);
        false
    }

    fn service(&mut self, service: &mut Service, entries: &[Entry], tasks: &[String]) {
        let find = |key: &str| entries.iter().find(|entry| entry.key == key && !entry.node.is_null());
        let is_task = tasks.iter().any(|task| self.names.get(task) == Some(&service.name));
        if is_task {
            service.say("type", Value::text("oneshot"), "others wait until it has completed");
        }
        self.working_dir(service, find("working_dir"), find("volumes"), find("build"));
        let mut container = Vec::new();
        for entry in entries.iter().filter(|entry| !entry.node.is_null()) {
            let (node, key) = (&entry.node, entry.key.as_str());
            match key {
                "command" | "entrypoint" | "working_dir" => {}
                "environment" => self.environment(service, node),
                "env_file" => self.env_file(service, node),
                "depends_on" => self.depends_on(service, node),
                "ports" => self.ports(service, node),
                "healthcheck" => healthcheck::convert(node, service, self.report),
                "restart" => self.restart(service, node),
                "stop_signal" => self.scalar(service, "stop_signal", node, words::signal_word),
                "stop_grace_period" => self.scalar(service, "stop_timeout", node, str::to_owned),
                "profiles" => match node.scalars() {
                    Some(profiles) => service.set(
                        "profiles",
                        Value::texts(profiles.iter().map(|word| names::allowed(word))),
                    ),
                    None => self.report.lost(entry.at, &service.name, key, "it is no list of words"),
                },
                "user" => self.user(service, node),
                "scale" => self.replicas(service, node),
                "deploy" => self.deploy(service, node),
                "logging" => self.logging(service, node),
                "ulimits" => self.ulimits(service, node),
                "labels" => self.report.lost(
                    entry.at,
                    &service.name,
                    key,
                    "labels with values mean something to a container only",
                ),
                "develop" => {
                    let why = "write it as `watch = { paths = [\"src\"] }`";
                    self.report.lost(entry.at, &service.name, key, why);
                }
                "attach" => {}
                key if key.starts_with("x-") => {}
                key if CONTAINER.contains(&key) => container.push((entry.at, key)),
                key => self
                    .report
                    .lost(entry.at, &service.name, key, "there is no such thing here"),
            }
        }
        if let Some((at, _)) = container.first() {
            let keys: Vec<&str> = container.iter().map(|(_, key)| *key).collect();
            let why = "there is no container: it runs on this machine, with what is installed here";
            self.report.lost(*at, &service.name, &keys.join(", "), why);
        }
        if find("restart").is_none()
            && find("deploy").is_none_or(|deploy| deploy.node.get("restart_policy").is_none())
            && !is_task
        {
            service.say("restart", Value::text("no"), "what Compose does where nothing is said");
        }
    }

    /// The text with its variables, where it can be read.
    fn expanded(&mut self, text: &str, at: Mark, service: &str, key: &str) -> Option<Value> {
        match expand::dollars(text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.report.lost(at, service, key, why);
                None
            }
        }
    }

    /// All of its words or none: without one of them it would be another command.
    fn command(&mut self, service: &str, entries: &[Entry]) -> Option<Value> {
        let find = |key: &str| entries.iter().find(|entry| entry.key == key && !entry.node.is_null());
        let mut all = Vec::new();
        for entry in [find("entrypoint"), find("command")].into_iter().flatten() {
            let words = match &entry.node.value {
                Node_::List(_) => entry
                    .node
                    .scalars()
                    .ok_or_else(|| "its words are not all text".to_owned()),
                _ => entry
                    .node
                    .scalar()
                    .ok_or_else(|| "it is no text".to_owned())
                    .and_then(|line| words::split(&line)),
            };
            let words = match words {
                Ok(words) => words,
                Err(why) => {
                    self.report
                        .lost(entry.node.at, service, "", format!("its {}: {why}", entry.key));
                    return None;
                }
            };
            for word in words {
                if let Some(host) = self.host_in(&word).filter(|host| *host != word) {
                    let message =
                        format!("its command names the host `{host}`, which only Compose resolves: write 127.0.0.1");
                    self.report.note(entry.node.at, service, message);
                }
                all.push(self.expanded(&word, entry.node.at, service, "")?);
            }
        }
        if all.is_empty() {
            let at = find("command").map_or(Mark::NONE, |entry| entry.at);
            self.report.lost(at, service, "", "its command is empty");
            return None;
        }
        Some(words::command(&all))
    }

    fn working_dir(
        &mut self,
        service: &mut Service,
        dir: Option<&Entry>,
        volumes: Option<&Entry>,
        build: Option<&Entry>,
    ) {
        let mounts = volumes.map(|entry| mounts(&entry.node)).unwrap_or_default();
        let context = build.and_then(|entry| entry.node.get("context").unwrap_or(&entry.node).scalar());
        let context = context.filter(|context| !context.contains(['$', ':']));
        let wanted = dir.and_then(|entry| Some((entry.at, entry.node.scalar()?)));
        if let Some((at, wanted)) = &wanted {
            let inside = mounts.iter().find_map(|(source, target)| {
                let rest = wanted.strip_prefix(target.trim_end_matches('/'))?;
                (rest.is_empty() || rest.starts_with('/')).then(|| format!("{}{rest}", source.trim_end_matches('/')))
            });
            match inside {
                Some(path) => {
                    self.report.changed(
                        *at,
                        &service.name,
                        "working_dir",
                        format!("{wanted} of the container is {path} here"),
                    );
                    return self.place(service, &path);
                }
                None if !wanted.starts_with('/') => return self.place(service, wanted),
                None => {
                    let why = format!("{wanted} is in the container, and no volume says where that is here");
                    self.report.lost(*at, &service.name, "working_dir", why);
                }
            }
        }
        match context {
            Some(context) if context.trim_end_matches('/') != "." => {
                self.place(service, &context);
                let at = build.map_or(Mark::NONE, |entry| entry.at);
                self.report.changed(
                    at,
                    &service.name,
                    "working_dir",
                    "taken from the folder that it is built from",
                );
            }
            _ => self.place(service, "."),
        }
    }

    fn place(&mut self, service: &mut Service, path: &str) {
        match words::expanded_path(self.input.base, path.trim_end_matches('/')) {
            Ok(Value::Text(path)) if path == "." => {}
            Ok(path) => service.set("working_dir", path),
            Err(why) => self.report.lost(service.at, &service.name, "working_dir", why),
        }
    }

    fn environment(&mut self, service: &mut Service, node: &Node) {
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
    fn host_in(&self, text: &str) -> Option<&str> {
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

    fn env_file(&mut self, service: &mut Service, node: &Node) {
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

    fn depends_on(&mut self, service: &mut Service, node: &Node) {
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

    fn ports(&mut self, service: &mut Service, node: &Node) {
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

    fn restart(&mut self, service: &mut Service, node: &Node) {
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

    fn scalar(&mut self, service: &mut Service, key: &str, node: &Node, ours: fn(&str) -> String) {
        match node.scalar() {
            Some(word) if !word.contains('$') => service.set(key, Value::text(ours(&word))),
            _ => self.report.lost(node.at, &service.name, key, "it is no plain word"),
        }
    }

    fn user(&mut self, service: &mut Service, node: &Node) {
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

    fn replicas(&mut self, service: &mut Service, node: &Node) {
        match node.whole() {
            Some(1) => {}
            Some(count) => service.set("replicas", Value::Number(count)),
            None => self.report.lost(node.at, &service.name, "replicas", "it is no number"),
        }
    }

    fn deploy(&mut self, service: &mut Service, node: &Node) {
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

    fn logging(&mut self, service: &mut Service, node: &Node) {
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

    fn ulimits(&mut self, service: &mut Service, node: &Node) {
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

/// Tables are laid over each other, all else is taken whole.
fn lay_under(own: &mut Node, base: Node) {
    if let (Node_::Map(entries), Node_::Map(inherited)) = (&mut own.value, base.value) {
        for entry in inherited {
            if !entries.iter().any(|known| known.key == entry.key) {
                entries.push(entry);
            }
        }
    }
}

/// Folders of this machine and where the container has them, the deepest first.
fn mounts(volumes: &Node) -> Vec<(String, String)> {
    let Node_::List(items) = &volumes.value else {
        return Vec::new();
    };
    let mut mounts: Vec<(String, String)> = items
        .iter()
        .filter_map(|item| {
            if let Some(target) = item.get("target").and_then(Node::scalar) {
                return Some((item.get("source").and_then(Node::scalar)?, target));
            }
            let text = item.scalar()?;
            let mut parts = text.split(':');
            Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
        })
        .filter(|(source, _)| source.starts_with(['.', '/']) && !source.contains('$'))
        .collect();
    mounts.sort_by_key(|(_, target)| std::cmp::Reverse(target.len()));
    mounts
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
