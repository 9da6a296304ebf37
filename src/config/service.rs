//! From a draft to the checked service: rendered, resolved, every default filled in.

mod outputs;
mod stopping;

use std::collections::HashSet;
use std::time::Duration;

use globset::GlobBuilder;
use indexmap::IndexMap;
use minijinja::value::Value as Names;

use super::check::{Templates, Walk};
use super::draft::Draft;
use super::environment::Shared;
use super::fields::Fields;
use super::limits;
use super::log;
use super::node::{Entry, Node, Table, Value};
use super::pid_file;
use super::ports;
use super::probe::{self, Around};
use super::problem::{Place, Problem, Sink};
use super::project::Settings;
use super::schedule;
use super::setup;
use super::shown::{self, SECRETS, Secrets, ShownCommand};
use super::{value, watch, words};
use crate::spec::keys::SERVICE;
use crate::spec::{
    Argv, Backoff, Kind, Limit, LogTarget, Port, PortConflict, Probe, Resource, Restart, Rollout, Service, ServiceName,
};

/// A service, and its commands as they may be shown.
pub(super) struct Built {
    pub service: Service,
    pub commands: Vec<ShownCommand>,
}

/// Builds one service. `None`: it has no command that could be read.
pub(super) fn build(
    name: &str,
    draft: &Draft,
    settings: &Settings,
    shared: &Shared<'_>,
    sink: &mut Sink,
) -> Option<Built> {
    let (names, env) = shared.for_service(name, draft, sink);
    let (service, pasted) = rendered(name, draft, settings, shared, (&names, env), sink);
    let service = service?;
    // Only a template of a command that reads the environment can have pasted a secret.
    let pastes_env = pasted.iter().any(|(name, _)| name == "env" || name.starts_with("env."));
    let harmless = if pastes_env {
        let secrets = Secrets::of(&service);
        sink.silently(|sink| {
            let (names, env) = shared.masked(name, draft, |variable| secrets.names(variable), sink);
            rendered(name, draft, settings, shared, (&names, env), sink).0
        })
    } else {
        Some(service.clone())
    };
    let commands = shown::commands(&service, harmless.as_ref(), &shared.captured.variables);
    Some(Built { service, commands })
}

/// The service with these names in its templates, over this environment; and what its commands pasted.
fn rendered(
    name: &str,
    draft: &Draft,
    settings: &Settings,
    shared: &Shared<'_>,
    (names, project_env): (&Names, IndexMap<String, String>),
    sink: &mut Sink,
) -> (Option<Service>, Vec<(String, Place)>) {
    let mut walk = Walk::new(sink, Templates::Render(shared.engine, names), Some(name), "");
    let mut table = walk.table(&draft.table, &SERVICE);
    let mut failed = std::mem::take(&mut walk.failed);
    let pasted = std::mem::take(&mut walk.pasted_into_commands);
    failed.extend(draft.failed.iter().cloned());
    table.extend(draft.fixed.clone());
    let mut builder = Builder {
        name,
        draft,
        settings,
        fields: Fields { table: &table },
        failed: &failed,
        names,
        sink,
    };
    builder.secrets_in_commands(&pasted);
    (builder.service(project_env, shared), pasted)
}

struct Builder<'a> {
    name: &'a str,
    draft: &'a Draft,
    settings: &'a Settings,
    fields: Fields<'a>,
    failed: &'a HashSet<String>,
    names: &'a Names,
    sink: &'a mut Sink,
}

impl Builder<'_> {
    fn complain(&mut self, place: Place, key: &str, message: impl Into<String>, hint: &str) {
        let problem = Problem::error(place, message).of(self.name, key);
        self.sink.push(if hint.is_empty() {
            problem
        } else {
            problem.suggest(hint)
        });
    }

    fn service(&mut self, project_env: IndexMap<String, String>, shared: &Shared<'_>) -> Option<Service> {
        let fields = self.fields;
        let shell = &self.settings.shell;
        let ports: IndexMap<String, Port> = self
            .draft
            .ports
            .iter()
            .map(|(name, port)| (name.clone(), port.port))
            .collect();
        let sockets = self.sockets(&ports);
        let kind = self.draft.kind;
        schedule::oneshot_only(&self.fields, self.name, self.draft, self.sink);
        self.not_empty();
        let command = fields.command("command", shell);
        if command.is_none() && !self.failed.iter().any(|key| is_command(key)) {
            let problem = Problem::error(
                self.draft.key,
                format!("service `{}` has no command", self.draft.declared_as(self.name)),
            );
            self.sink.push_unless_broken(
                problem
                    .suggest("`command = \"...\"` says what to run")
                    .of(self.name, "command"),
            );
        }
        let working_dir = fields.path("working_dir", self.sink);
        let working_dir = working_dir.unwrap_or_else(|| self.sink.folder(self.draft.key.file));
        let around = pid_file::Around::of(self.name, self.draft, &working_dir, command.as_ref());
        let pid_file = pid_file::pid_file(fields, &around, self.sink);
        let ready = self.probe("ready", &ports);
        let health = self.probe("health", &ports);
        let written = fields.has("ready");
        let default_ready = || match kind {
            Kind::Simple if !written => probe::of_ports(&ports, &sockets),
            Kind::Simple | Kind::Oneshot => None,
        };
        let ready_is_default = ready.is_none() && !written;
        let ready = ready.or_else(default_ready);
        let schedule = schedule::schedule(
            &fields,
            self.name,
            self.draft,
            self.failed.contains("schedule"),
            self.sink,
        );
        let setup = setup::Around {
            service: self.name,
            working_dir: &working_dir,
            shell,
            euid: shared.captured.euid,
            failed: self.failed,
        };
        let prepare = setup::prepare(fields, &setup, self.sink);
        let source = setup::source(fields, &setup, self.sink);
        let files = setup::files(fields, &setup, (shared.engine, self.names), self.sink);
        let hooks = setup::hooks(fields, &setup);
        let service = Service {
            name: ServiceName::new(self.name),
            prepare,
            source,
            files,
            hooks,
            // Built even without one, for the complaints about the rest.
            command: command.clone().unwrap_or(Argv {
                words: Vec::new(),
                shell: false,
            }),
            working_dir,
            pid_file,
            env: self.environment(project_env, shared),
            clear_env: fields.flag("clear_env").unwrap_or(false),
            user: fields.text("user").map(str::to_owned),
            group: fields.text("group").map(str::to_owned),
            umask: fields.text("umask").and_then(|text| value::octal(text).ok()),
            nice: fields.integer("nice").and_then(|nice| i32::try_from(nice).ok()),
            limits: self.limits(),
            tty: self.tty(),
            kind,
            success_exit_codes: self.success_exit_codes(),
            timeout: fields.duration("timeout"),
            run_at_start: schedule.is_some() && fields.flag("run_at_start") == Some(true),
            schedule,
            on_port_conflict: match fields.text("on_port_conflict") {
                Some("next") => PortConflict::Next,
                Some("kill") => PortConflict::Kill,
                _ => PortConflict::Fail,
            },
            start_timeout: fields
                .duration("start_timeout")
                .or((ready.is_some() && !ready_is_default).then_some(Duration::from_secs(60))),
            ready_is_default: ready_is_default && ready.is_some(),
            ready,
            health,
            depends_on: IndexMap::new(),
            wait_for: self.gates(),
            restart: self.restart(kind),
            backoff: self.backoff(),
            max_restarts: fields.count("max_restarts"),
            restart_window: self.positive("restart_window", Duration::from_secs(60)),
            stop: self.stop(),
            stop_command: fields.command("stop_command", shell),
            stop_scope: fields.stop_scope(),
            reload_signal: self.reload_signal(),
            reload_command: fields.command("reload_command", shell),
            watch: watch::watch(fields, self.name, self.sink),
            rollout: match fields.text("rollout") {
                Some("all") => Rollout::All,
                _ => Rollout::Rolling,
            },
            autostart: fields.flag("autostart").unwrap_or(true),
            profiles: fields.texts("profiles"),
            essential: fields.flag("essential").unwrap_or(false),
            on_supervisor_exit: fields.supervisor_exit(),
            log: self.log(),
            memory_limit: fields.size("memory_limit"),
            outputs: self.outputs(),
            awaits: Vec::new(),
            secrets: self.secrets(),
            description: fields.text("description").map(str::to_owned),
            labels: self.labels(),
            ports,
            sockets,
        };
        command.map(|_| Service {
            awaits: service.awaited_outputs(),
            ..service
        })
    }

    /// What `attach` shows is read back from the log.
    fn tty(&mut self) -> bool {
        let wanted = self.fields.flag("tty").unwrap_or(false);
        let (Some(tty), Some(false)) = (self.fields.node("tty").filter(|_| wanted), self.fields.flag("log")) else {
            return wanted;
        };
        let hint = "take `log = false` away; `log = { console = false }` keeps it off the console";
        self.complain(
            tty.place,
            "tty",
            "`tty` needs a log, and `log = false` keeps none",
            hint,
        );
        false
    }

    fn probe(&mut self, key: &'static str, ports: &IndexMap<String, Port>) -> Option<Probe> {
        let table = self.fields.table_at(key)?;
        let around = Around {
            service: self.name,
            key,
            ports: Some(ports).filter(|_| !self.failed.contains("ports")),
            shell: &self.settings.shell,
            failed: self.failed.contains(key),
        };
        let place = self.fields.table.get(key)?.key;
        probe::probe(table, place, &around, self.sink)
    }

    fn sockets(&mut self, ports: &IndexMap<String, Port>) -> Vec<String> {
        let mut sockets: Vec<String> = Vec::new();
        for item in self.fields.items("sockets") {
            let Some(name) = item.text() else { continue };
            if sockets.iter().any(|other| other == name) {
                self.complain(item.place, "sockets", format!("`{name}` stands here twice"), "");
            } else if ports.get(name).is_some_and(|port| port.shared) {
                let hint = "take `shared` out: what runner binds is bound once, and handed to one service";
                self.complain(item.place, "sockets", format!("port `{name}` is shared"), hint);
            } else if ports.contains_key(name) {
                sockets.push(name.to_owned());
            } else if !self.failed.contains("ports") {
                let hint = match ports.is_empty() {
                    true => format!("declare it: `ports = {{ {name} = 3000 }}`"),
                    false => {
                        let names: Vec<String> = ports.keys().map(|port| format!("`{port}`")).collect();
                        format!("its ports are {}", names.join(", "))
                    }
                };
                self.complain(item.place, "sockets", format!("there is no port `{name}`"), &hint);
            }
        }
        sockets
    }

    fn environment(&mut self, mut env: IndexMap<String, String>, shared: &Shared<'_>) -> IndexMap<String, String> {
        for (index, (name, declared)) in self.draft.ports.iter().enumerate() {
            let number = declared.port.number.to_string();
            if index == 0 {
                env.insert("PORT".into(), number.clone());
            }
            if !name.starts_with(|c: char| c.is_ascii_digit()) {
                env.insert(ports::variable(name), number);
            }
        }
        for item in self.fields.items("env_file") {
            super::project::read_env_file(item, shared.captured, &mut env, self.sink);
        }
        if let Some(own) = self.fields.table_at("env") {
            for (name, entry) in own.table {
                env.insert(name.clone(), entry.node.text().unwrap_or_default().to_owned());
            }
        }
        env
    }

    /// Names that can't be empty, which a template may have made of them.
    fn not_empty(&mut self) {
        for key in ["user", "group"] {
            if let Some(node) = self.fields.node(key).filter(|node| node.text() == Some("")) {
                self.complain(
                    node.place,
                    key,
                    format!("an empty `{key}`"),
                    "take it out to keep runner's",
                );
            }
        }
    }

    fn restart(&mut self, kind: Kind) -> Restart {
        match (self.fields.text("restart"), kind) {
            (Some("always"), Kind::Oneshot) => {
                // In `[defaults]` it is meant for those that it fits.
                if let Some(Entry { node, .. }) = self
                    .fields
                    .table
                    .get("restart")
                    .filter(|entry| !self.draft.defaults.contains(&entry.key))
                {
                    let message = "a oneshot is expected to end, so it can't be restarted `always`";
                    self.complain(node.place, "restart", message, "`no` or `on-failure`");
                }
                Restart::No
            }
            (Some("always"), Kind::Simple) => Restart::Always,
            (Some("no"), _) => Restart::No,
            (Some(_), _) => Restart::OnFailure,
            (None, Kind::Simple) => Restart::OnFailure,
            (None, Kind::Oneshot) => Restart::No,
        }
    }

    fn positive(&mut self, key: &str, default: Duration) -> Duration {
        let duration = self.fields.duration(key).unwrap_or(default);
        if let Some(node) = self.fields.node(key).filter(|_| duration.is_zero()) {
            self.complain(node.place, key, format!("`{key}` can't be zero"), "");
        }
        duration
    }

    fn backoff(&mut self) -> Backoff {
        let empty = Table::new();
        let fields = self.fields.table_at("backoff").unwrap_or(Fields { table: &empty });
        let backoff = Backoff {
            initial: fields.duration("initial").unwrap_or(Duration::from_millis(500)),
            factor: fields.number("factor").unwrap_or(2.0),
            max: fields.duration("max").unwrap_or(Duration::from_secs(30)),
            jitter: fields.number("jitter").unwrap_or(0.1),
            reset_after: fields.duration("reset_after").unwrap_or(Duration::from_secs(10)),
        };
        // With `max` left at its default a longer `initial` simply is the delay.
        let node = fields.node("max").filter(|_| backoff.initial > backoff.max);
        if let Some(node) = node {
            self.complain(node.place, "backoff.max", "`max` is shorter than `initial`", "");
        }
        Backoff {
            max: backoff.max.max(backoff.initial),
            ..backoff
        }
    }

    fn success_exit_codes(&self) -> Vec<u8> {
        if !self.fields.has("success_exit_codes") {
            return vec![0];
        }
        let items = self.fields.items("success_exit_codes").iter();
        items
            .filter_map(|item| match item.value {
                Value::Integer(code) => u8::try_from(code).ok(),
                _ => None,
            })
            .collect()
    }

    fn gates(&mut self) -> Vec<crate::spec::Gate> {
        let mut gates = Vec::new();
        for item in self.fields.items("wait_for") {
            match probe::gate(item, self.sink) {
                Ok(gate) => gates.push(gate),
                Err(message) => self.complain(item.place, "wait_for", message, ""),
            }
        }
        gates
    }

    fn limits(&mut self) -> IndexMap<Resource, Limit> {
        match self.fields.table_at("limits") {
            Some(table) => limits::limits(table, self.name, self.sink),
            None => IndexMap::new(),
        }
    }

    fn log(&mut self) -> LogTarget {
        log::log(&self.fields, self.name, self.settings, self.sink)
    }

    fn secrets(&mut self) -> Vec<String> {
        let mut globs: Vec<String> = SECRETS.iter().map(|glob| (*glob).to_owned()).collect();
        for item in self.fields.items("secrets") {
            let Some(text) = item.text() else { continue };
            match GlobBuilder::new(text).build() {
                Ok(_) if globs.iter().any(|known| known == text) => {}
                Ok(_) => globs.push(text.to_owned()),
                Err(error) => self.complain(item.place, "secrets", format!("no valid glob: {}", error.kind()), ""),
            }
        }
        globs
    }

    fn labels(&mut self) -> Vec<String> {
        for item in self.fields.items("labels") {
            if let Some(fault) = value::name_fault(item.text().unwrap_or_default()) {
                self.complain(item.place, "labels", fault, "");
            }
        }
        self.fields.texts("labels")
    }

    /// SE-01: a secret in a command line is seen by every user of the machine.
    fn secrets_in_commands(&mut self, pasted: &[(String, Place)]) {
        if pasted.is_empty() {
            return;
        }
        let own = self.fields.texts("secrets");
        let secrets = Secrets::new(SECRETS.iter().copied().chain(own.iter().map(String::as_str)));
        for (name, place) in pasted {
            let Some(variable) = name.strip_prefix("env.") else {
                continue;
            };
            if secrets.names(variable) {
                let message = format!("`{variable}` looks like a secret, and other users can see command lines");
                let hint = format!("let the program read `${variable}` from its environment");
                self.sink
                    .push(Problem::warning(*place, message).suggest(hint).of(self.name, "command"));
            }
        }
    }
}

/// The key `command`, or a word that is meant to be it and was complained about.
fn is_command(key: &str) -> bool {
    key == "command" || words::for_key(&SERVICE, key).is_some_and(|hint| hint.contains("`command`"))
}

/// Whether anything in a table is a template.
pub(super) fn holds_templates(table: &Table) -> bool {
    holds(table, &super::template::has_template)
}

/// Whether any text in a table is such a one.
pub(super) fn holds(table: &Table, is_meant: &dyn Fn(&str) -> bool) -> bool {
    fn node_holds(node: &Node, is_meant: &dyn Fn(&str) -> bool) -> bool {
        match &node.value {
            Value::Text(text) => is_meant(text),
            Value::Array(items) => items.iter().any(|item| node_holds(item, is_meant)),
            Value::Table(table) => holds(table, is_meant),
            _ => false,
        }
    }
    table.values().any(|entry| node_holds(&entry.node, is_meant))
}

/// Names for a service that uses none.
pub(super) fn no_names() -> Names {
    Names::UNDEFINED
}
