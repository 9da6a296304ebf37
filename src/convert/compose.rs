//! Docker Compose: what a service executes, without the container around it.

mod keys;

use super::draft::{Draft, Service, Value};
use super::names::Names;
use super::node::{Entry, Mark, Node, Value as Node_};
use super::report::Report;
use super::{Fault, Input, at_most, expand, healthcheck, names, settle, words, yaml};

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
    at_most(services.entries())?;
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
