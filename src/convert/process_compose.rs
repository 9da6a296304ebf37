//! process-compose: its words are nearly ours.

use super::draft::{Draft, Service, Value};
use super::names::{self, Names};
use super::node::{Entry, Mark, Node, Value as Node_};
use super::report::Report;
use super::{Fault, Input, at_most, expand, probes, words, yaml};

/// Settings of process-compose itself, which have no meaning for the processes.
const ITS_OWN: &[&str] = &[
    "version",
    "log_level",
    "log_length",
    "log_format",
    "is_strict",
    "is_tui_disabled",
    "disable_env_expansion",
    "ordered_shutdown",
    "name",
];

pub(super) fn convert(input: &Input, report: &mut Report) -> Result<Draft, Fault> {
    let root = yaml::parse(input.text)?;
    let Some(processes) = root.get("processes") else {
        return Err(Fault::new(root.at, "a process-compose file has `processes`"));
    };
    if !matches!(processes.value, Node_::Map(_)) {
        return Err(Fault::new(
            processes.at,
            format!("`processes` is a table, not {}", processes.kind()),
        ));
    }
    at_most(processes.entries())?;
    let mut draft = Draft::default();
    let mut conversion = Conversion {
        base: input.base,
        vars: root.get("vars"),
        is_expanding: root.get("disable_env_expansion").and_then(Node::flag) != Some(true),
        names: Names::default(),
        report,
    };
    for entry in root.entries() {
        match entry.key.as_str() {
            "processes" | "environment" | "vars" | "shell" => {}
            key if ITS_OWN.contains(&key) || key.starts_with("x-") => {}
            "log_location" => {
                conversion
                    .report
                    .lost(entry.at, "", "log_location", "each service has a log of its own here")
            }
            key => conversion.report.lost(entry.at, "", key, "there is no such thing here"),
        }
    }
    let shell = |key: &str, default: &str| {
        let word = root
            .get("shell")
            .and_then(|shell| shell.get(key))
            .and_then(Node::scalar);
        word.unwrap_or_else(|| default.to_owned())
    };
    draft.project(
        "shell",
        Value::texts([shell("shell_command", "bash"), shell("shell_argument", "-c")]),
        Some("what process-compose executes commands with"),
    );
    if let Some(node) = root.get("environment") {
        draft.env = conversion.environment(node, "");
    }
    let mut named = Vec::new();
    for entry in processes.entries() {
        if !matches!(entry.node.value, Node_::Map(_)) {
            return Err(Fault::new(
                entry.node.at,
                format!("process `{}` is a table, not {}", entry.key, entry.node.kind()),
            ));
        }
        let name = conversion.names.take(&entry.key, entry.at, conversion.report);
        named.push((name, entry));
    }
    let tasks = wanted_to_complete(processes);
    for (name, entry) in named {
        let mut service = Service::new(name, entry.at);
        conversion.service(&mut service, &entry.node, tasks.contains(&entry.key));
        if service.get("command").is_some() {
            draft.services.push(service);
        } else {
            conversion.report.lost(entry.at, &service.name, "", "it has no command");
        }
    }
    Ok(draft)
}

/// Processes that somebody waits for until they have ended: tasks.
fn wanted_to_complete(processes: &Node) -> Vec<String> {
    let needs = processes
        .entries()
        .iter()
        .filter_map(|entry| entry.node.get("depends_on"));
    let ends = needs.flat_map(Node::entries).filter(|entry| {
        let condition = entry.node.get("condition").and_then(Node::scalar);
        matches!(
            condition.as_deref(),
            Some("process_completed" | "process_completed_successfully") | None
        )
    });
    ends.map(|entry| entry.key.clone()).collect()
}

struct Conversion<'c> {
    base: &'c str,
    vars: Option<&'c Node>,
    is_expanding: bool,
    names: Names,
    report: &'c mut Report,
}

impl Conversion<'_> {
    fn service(&mut self, service: &mut Service, node: &Node, is_task: bool) {
        let vars = node.get("vars");
        for Entry { key, at, node } in node.entries().iter().filter(|entry| !entry.node.is_null()) {
            let (at, name) = (*at, service.name.clone());
            match key.as_str() {
                "command" | "entrypoint" => self.command(service, node, vars),
                "description" => service.set("description", Value::text(node.scalar().unwrap_or_default())),
                "working_dir" => {
                    let path = node.scalar().unwrap_or_default();
                    match words::expanded_path(self.base, &path) {
                        Ok(path) => service.set("working_dir", path),
                        Err(why) => self.report.lost(at, &name, key, why),
                    }
                }
                "environment" => {
                    for (name, value) in self.environment(node, &name) {
                        service.env(&name, value);
                    }
                }
                "env_file" | "dotenv" => match node.scalars() {
                    Some(files) => service.set(
                        "env_file",
                        Value::texts(files.iter().map(|file| words::path(self.base, file))),
                    ),
                    None => self.report.lost(at, &name, key, "it is no list of files"),
                },
                "depends_on" => self.depends_on(service, node),
                "availability" => self.availability(service, node),
                "readiness_probe" => match probes::read(node) {
                    Ok(probe) => {
                        service.set("ready", probe.ready());
                        if probe.patience() > 60 {
                            service.set("start_timeout", Value::seconds(probe.patience()));
                        }
                        if probe.has_folder {
                            self.report.lost(
                                at,
                                &name,
                                "readiness_probe.exec.working_dir",
                                "a probe runs in the folder of its service",
                            );
                        }
                    }
                    Err(why) => self.report.lost(at, &name, key, why),
                },
                "liveness_probe" => match probes::read(node) {
                    Ok(probe) => service.set("health", probe.health()),
                    Err(why) => self.report.lost(at, &name, key, why),
                },
                "ready_log_line" => {
                    let line = node.scalar().unwrap_or_default();
                    service.set("ready", Value::table([("log", Value::text(regex_of(&line)))]));
                }
                "shutdown" => self.shutdown(service, node),
                "log_location" => {
                    let path = words::path(self.base, &node.scalar().unwrap_or_default());
                    service.set("log", Value::table([("file", Value::text(path))]));
                }
                "disabled" => {
                    if node.flag() == Some(true) {
                        service.set("autostart", Value::Bool(false));
                    }
                }
                "namespace" => service.set(
                    "labels",
                    Value::texts([names::allowed(&node.scalar().unwrap_or_default())]),
                ),
                "replicas" => match node.whole() {
                    Some(0 | 1) => {}
                    Some(count) => service.set("replicas", Value::Number(count)),
                    None => self.report.lost(at, &name, key, "it is no number"),
                },
                "schedule" => self.schedule(service, node, at),
                "is_daemon" if node.flag() == Some(true) => {
                    self.report.lost(
                        at,
                        &name,
                        key,
                        "name the file that it writes: `pid_file = \"run/NAME.pid\"`",
                    );
                }
                "is_tty" | "is_interactive" if node.flag() == Some(true) => {
                    service.set("tty", Value::Bool(true));
                }
                "is_foreground" | "is_elevated" if node.flag() == Some(true) => {
                    self.report.lost(
                        at,
                        &name,
                        key,
                        "there is no such thing here; `runner run NAME` has a terminal, `user` another user",
                    );
                }
                "vars"
                | "name"
                | "disable_ansi_colors"
                | "is_dotenv_disabled"
                | "is_daemon"
                | "is_tty"
                | "is_interactive"
                | "is_foreground"
                | "is_elevated"
                | "launch_timeout_seconds" => {}
                other if other.starts_with("x-") => {}
                other => self.report.lost(at, &name, other, "there is no such thing here"),
            }
        }
        // One that is always restarted never completes.
        let ends = service.get("restart") != Some(&Value::text("always"));
        if is_task && ends && service.get("type").is_none() {
            service.say("type", Value::text("oneshot"), "others wait until it has completed");
        } else if service.get("restart").is_none() && service.get("schedule").is_none() {
            service.say(
                "restart",
                Value::text("no"),
                "what process-compose does where nothing is said",
            );
        }
    }

    /// `{{.NAME}}` with a value of `vars`.
    fn with_vars(&mut self, text: &str, own: Option<&Node>, at: Mark, service: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, inner, after)) = template(rest) {
            out.push_str(before);
            let name = inner.trim().strip_prefix('.').unwrap_or_default();
            let value = [own, self.vars]
                .into_iter()
                .flatten()
                .find_map(|vars| vars.get(name)?.scalar());
            match value {
                Some(value) => out.push_str(&value),
                None => {
                    let message = format!("{{{{{inner}}}}} is no value of `vars`; it stands there as it is");
                    self.report.changed(at, service, "", message);
                    out.push_str(&format!("{{{{{inner}}}}}"));
                }
            }
            rest = after;
        }
        out + rest
    }

    fn command(&mut self, service: &mut Service, node: &Node, vars: Option<&Node>) {
        if let Node_::List(_) = &node.value {
            let Some(all) = node.scalars().filter(|all| !all.is_empty()) else {
                return self
                    .report
                    .lost(node.at, &service.name, "entrypoint", "it is no list of words");
            };
            let all: Vec<Value> = all
                .iter()
                .map(|word| self.value(word, node.at, &service.name, vars))
                .collect();
            return service.set("command", words::command(&all));
        }
        let line = node.scalar().unwrap_or_default();
        let line = self.with_vars(&line, vars, node.at, &service.name.clone());
        // The shell finds the same variables in the environment.
        let line = if self.is_expanding {
            line.replace("$$", "$")
        } else {
            line
        };
        service.set("command", Value::text(line.trim_end_matches('\n')));
    }

    fn value(&mut self, text: &str, at: Mark, service: &str, vars: Option<&Node>) -> Value {
        let text = self.with_vars(text, vars, at, service);
        if !self.is_expanding {
            return Value::Text(text);
        }
        expand::dollars(&text).unwrap_or_else(|why| {
            self.report
                .changed(at, service, "", format!("{why}; it stands there as it is"));
            Value::Text(text)
        })
    }

    fn environment(&mut self, node: &Node, service: &str) -> Vec<(String, Value)> {
        let mut all: Vec<(String, Value)> = Vec::new();
        let pairs: Vec<(String, String, Mark)> = match &node.value {
            Node_::List(items) => items
                .iter()
                .filter_map(|item| {
                    let text = item.scalar()?;
                    let (name, value) = text.split_once('=')?;
                    Some((name.to_owned(), value.to_owned(), item.at))
                })
                .collect(),
            _ => node
                .entries()
                .iter()
                .filter_map(|entry| Some((entry.key.clone(), entry.node.scalar()?, entry.at)))
                .collect(),
        };
        for (name, text, at) in pairs {
            // Quotes around a value are syntax there.
            let text = text
                .strip_prefix('\'')
                .and_then(|text| text.strip_suffix('\''))
                .unwrap_or(&text);
            let value = self.value(text, at, service, None);
            all.retain(|(known, _)| *known != name);
            all.push((name, value));
        }
        all
    }

    fn depends_on(&mut self, service: &mut Service, node: &Node) {
        let mut needs = Vec::new();
        for entry in node.entries() {
            let condition = entry.node.get("condition").and_then(Node::scalar);
            let ours = match condition.as_deref() {
                Some("process_healthy" | "process_log_ready") => "healthy",
                Some("process_completed") | None => "completed",
                Some("process_completed_successfully") => "completed_successfully",
                Some("process_started") => "started",
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
            match self.names.get(&entry.key) {
                Some(name) => needs.push((name.to_owned(), Value::text(ours))),
                None => self.report.lost(
                    entry.at,
                    &service.name,
                    "depends_on",
                    format!("there is no process `{}`", entry.key),
                ),
            }
        }
        if !needs.is_empty() {
            service.set("depends_on", Value::Table(needs));
        }
    }

    fn availability(&mut self, service: &mut Service, node: &Node) {
        let policy = node.get("restart").and_then(|node| match node.flag() {
            Some(false) => Some("no".to_owned()),
            _ => node.scalar(),
        });
        match policy.as_deref() {
            None => {}
            Some("always") => service.set("restart", Value::text("always")),
            Some("on_failure" | "on-failure") => service.set("restart", Value::text("on-failure")),
            Some("no") => service.set("restart", Value::text("no")),
            Some("exit_on_failure") => {
                service.set("restart", Value::text("no"));
                let why = "the nearest is `essential = true`, which ends everything after a success as well";
                self.report.lost(node.at, &service.name, "availability.restart", why);
            }
            Some(other) => self.report.lost(
                node.at,
                &service.name,
                "availability.restart",
                format!("there is no policy `{other}`"),
            ),
        }
        if let Some(seconds) = node.get("backoff_seconds").and_then(Node::whole) {
            let seconds = Value::seconds(seconds);
            service.set(
                "backoff",
                Value::table([("initial", seconds.clone()), ("max", seconds)]),
            );
        }
        if let Some(count) = node
            .get("max_restarts")
            .and_then(Node::whole)
            .filter(|count| *count > 0)
        {
            service.set("max_restarts", Value::Number(count));
            self.report.changed(
                node.at,
                &service.name,
                "max_restarts",
                "it counts the restarts within a minute (`restart_window`), not all of them",
            );
        }
        if node.get("exit_on_end").and_then(Node::flag) == Some(true) {
            service.set("essential", Value::Bool(true));
        }
        if node.get("exit_on_skipped").and_then(Node::flag) == Some(true) {
            self.report.lost(
                node.at,
                &service.name,
                "availability.exit_on_skipped",
                "there is no such thing here",
            );
        }
    }

    fn shutdown(&mut self, service: &mut Service, node: &Node) {
        if let Some(command) = node.get("command").and_then(Node::scalar) {
            service.set("stop_command", Value::text(command.replace("$$", "$")));
        }
        if let Some(signal) = node.get("signal").and_then(Node::scalar) {
            service.set("stop_signal", Value::text(words::signal_word(&signal)));
        }
        if let Some(seconds) = node.get("timeout_seconds").and_then(Node::whole) {
            service.set("stop_timeout", Value::seconds(seconds));
        }
        if node.get("parent_only").and_then(Node::flag) == Some(true) {
            service.set("stop_scope", Value::text("process"));
        }
    }

    fn schedule(&mut self, service: &mut Service, node: &Node, at: Mark) {
        let cron = node.get("cron").and_then(Node::scalar);
        let interval = node.get("interval").and_then(Node::scalar);
        let schedule = match (cron, interval) {
            (Some(cron), _) => match node.get("timezone").and_then(Node::scalar) {
                Some(zone) => Value::table([("cron", Value::text(cron)), ("tz", Value::text(zone))]),
                None => Value::text(cron),
            },
            (None, Some(interval)) => Value::text(format!("every {interval}")),
            (None, None) => {
                return self
                    .report
                    .lost(at, &service.name, "schedule", "it has neither `cron` nor `interval`");
            }
        };
        service.set("type", Value::text("oneshot"));
        service.set("schedule", schedule);
        if node.get("run_on_start").and_then(Node::flag) == Some(true) {
            service.set("run_at_start", Value::Bool(true));
        }
    }
}

/// What stands before `{{ }}`, in it, and after it.
fn template(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("{{")?;
    let (inner, after) = rest.split_once("}}")?;
    Some((before, inner, after))
}

/// A regex for a line that holds the text.
pub(super) fn regex_of(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
