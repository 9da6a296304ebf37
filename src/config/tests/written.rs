//! A service that is written back means the same when it is read again.

use std::collections::BTreeSet;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::super::{later, ports, probe};
use super::fuzz::Chance;
use super::{Folder, service};
use crate::spec::Schedule;
use crate::spec::keys::SERVICE;
use crate::spec::{
    Argv, Backoff, Check, Condition, Dependency, Gate, Hooks, HttpCheck, Kind, Limit, LogFile, LogTarget, PidFile,
    PidFileMode, Port, PrepareStep, Probe, Protocol, RenderedFile, Resource, Restart, Rollout, Rung, Service,
    ServiceName, Signal, Source, StatusPattern, StopScope, SupervisorExit, TcpTarget, Watch, WatchAction, WatchGlob,
};

#[test]
fn a_definition_is_shown_in_the_words_of_the_file() {
    let written = service(
        "command = 'echo $A'\nworking_dir = '/srv'\nenv = { A = 1 }\numask = '7'\nlimits = { nofile = { soft = 1, hard = \
         'unlimited' }, core = 0 }\nports = { http = 80, dns = { port = 53, protocol = 'udp' } }\nhealth = { http = '/' \
         }\nstop_signal = 'int'\nlog = { file = '/x.log', max_size = '1MiB' }\nsecrets = 'PIN'",
    );
    let wanted = json!({
        "command": ["sh", "-c", "echo $A"],
        "working_dir": "/srv",
        "env": { "PORT": "80", "PORT_HTTP": "80", "PORT_DNS": "53", "A": "1" },
        "clear_env": false,
        "umask": "007",
        "limits": { "nofile": { "soft": 1, "hard": "unlimited" }, "core": 0 },
        "tty": false,
        "type": "simple",
        "success_exit_codes": [0],
        "ports": { "http": 80, "dns": { "port": 53, "protocol": "udp", "shared": false } },
        "on_port_conflict": "fail",
        "health": {
            "http": { "url": "http://127.0.0.1:80/", "method": "GET", "status": ["2xx", "3xx"] },
            "interval": "10s", "timeout": "3s", "retries": 3, "success_threshold": 1, "start_period": "0s",
            "on_failure": "restart",
        },
        "restart": "on-failure",
        "backoff": { "initial": "500ms", "factor": 2.0, "max": "30s", "jitter": 0.1, "reset_after": "10s" },
        "restart_window": "1m",
        "stop_signal": "SIGINT",
        "stop_timeout": "10s",
        "stop_scope": "tree",
        "rollout": "rolling",
        "autostart": true,
        "essential": false,
        "on_supervisor_exit": "keep",
        "log": { "file": "/x.log", "max_size": "1MiB", "max_files": 5, "console": true },
        "secrets": ["*TOKEN*", "*SECRET*", "*PASSWORD*", "*KEY*", "PIN"],
    });
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    assert_eq!(pretty(&written.written()), pretty(&wanted));
}

#[test]
fn what_is_written_means_the_same() {
    let mut keys = BTreeSet::new();
    for seed in 1..=300 {
        let services = draft(&mut Chance(seed));
        let mut file = String::new();
        for service in &services {
            let Value::Object(written) = service.written() else {
                panic!("a table");
            };
            file.push_str(&format!("[services.{}]\n", service.name));
            for (key, value) in written {
                file.push_str(&format!("{key} = {}\n", toml(&value)));
                keys.insert(key);
            }
        }
        let loaded = match Folder::with(&file).load() {
            Ok(loaded) => loaded,
            Err(problems) => panic!("seed {seed}: {problems}\n{file}"),
        };
        for service in &services {
            let again = &loaded.project.services[&service.name];
            let differences = service.differences(again);
            assert!(differences.is_empty(), "seed {seed}: {differences:?}\n{file}");
            assert_eq!(service.written(), again.written(), "seed {seed}: {}", service.name);
        }
    }
    // Every key that works was in one of them: whoever adds a key adds it here.
    let merged = ["env_file", "extends", "replicas"];
    let unwritten: Vec<&str> = SERVICE
        .keys
        .iter()
        .map(|key| key.name)
        .filter(|name| !later::is_later(name) && !merged.contains(name) && !keys.contains(*name))
        .collect();
    assert_eq!(unwritten, [""; 0]);
}

/// A JSON value in the syntax of TOML. `{{` of a value is no template, so the file has to say so.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| format!("{} = {}", quoted(name), toml(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => quoted(&text.replace("{{", "{{ \"{{\" }}")),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    // JSON escapes all that TOML wants escaped, but for this one.
    json!(text).to_string().replace('\u{7f}', "\\u007f")
}

impl Chance {
    fn once_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.once_in(2).then(|| make(self))
    }

    fn some<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }

    fn number(&mut self, most: u64) -> u64 {
        let wide = (self.below(1 << 31) as u64) << 31 | self.below(1 << 31) as u64;
        wide % (most + 1)
    }

    /// Never nothing.
    fn duration(&mut self) -> Duration {
        let nanoseconds = 1 + self.number(3_000_000_000_000_000_000);
        self.pick(&[
            Duration::from_secs(10),
            Duration::from_millis(1_500),
            Duration::from_nanos(nanoseconds),
            Duration::from_nanos(nanoseconds % 1_000_000_000_000),
        ])
    }

    fn text(&mut self) -> String {
        const PIECES: [&str; 16] = [
            "a",
            "B ",
            "1",
            "\"",
            "'",
            "\\",
            "\n",
            "\t",
            "{{",
            "{",
            "}}",
            "$X",
            "#",
            "\u{e9}\u{1f600}",
            "\u{7f}\u{1}",
            "=",
        ];
        self.some(6, |chance| chance.pick(&PIECES)).concat()
    }

    fn argv(&mut self) -> Argv {
        let mut words = vec![format!("./{}", self.text())];
        words.extend(self.some(3, Chance::text));
        Argv {
            words,
            shell: self.once_in(2),
        }
    }
}

/// Services of one project as `config` may give them.
fn draft(chance: &mut Chance) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    for index in 0..=chance.below(3) {
        let mut service = service("command = 'x'");
        service.name = ServiceName::new(format!("s{index}"));
        process(&mut service, chance);
        life(&mut service, chance);
        probes(&mut service, chance);
        for other in &services {
            let conditions = [
                Condition::Started,
                Condition::Healthy,
                Condition::Completed,
                Condition::CompletedSuccessfully,
            ];
            // What never ends can't be waited for.
            let condition = chance.pick(&conditions[..if other.kind == Kind::Oneshot { 4 } else { 2 }]);
            let (restart, required) = (chance.once_in(2), chance.once_in(2));
            let dependency = Dependency {
                condition,
                restart,
                required,
            };
            service.depends_on.insert(other.name.clone(), dependency);
        }
        services.push(service);
    }
    services
}

fn setup(service: &mut Service, chance: &mut Chance) {
    if chance.once_in(2) {
        let step = PrepareStep {
            run: chance.argv(),
            inputs: vec![WatchGlob {
                base: "/srv/in".into(),
                pattern: chance.pick(&["", "**/*.json"]).to_owned(),
            }],
            creates: chance.maybe(|_| "/srv/out".into()),
        };
        service.prepare = vec![step; 1 + chance.below(2)];
    }
    let url = "https://host/a.git".to_owned();
    service.source = chance.maybe(|chance| match chance.below(3) {
        0 => Source::Archive("/srv/a b.zip".into()),
        1 => Source::Git { url, rev: None },
        _ => Source::Git {
            url,
            rev: Some("main".to_owned()),
        },
    });
    if chance.once_in(2) {
        let file = RenderedFile {
            content: chance.pick(&["", "a\n", "{{", "\u{e9}"]).to_owned(),
            reload: false,
        };
        service.files.insert("/srv/file".to_owned(), file);
    }
    service.memory_limit = chance.maybe(|chance| chance.number(1 << 40) + 1);
    if chance.once_in(2) {
        service.outputs.insert("url".to_owned(), "https://\\S+".to_owned());
    }
    service.hooks = Hooks {
        pre_start: chance.maybe(Chance::argv),
        post_ready: chance.maybe(Chance::argv),
        pre_stop: chance.maybe(Chance::argv),
        post_stop: chance.maybe(Chance::argv),
        on_failure: chance.maybe(Chance::argv),
    };
}

fn process(service: &mut Service, chance: &mut Chance) {
    service.kind = chance.pick(&[Kind::Simple, Kind::Oneshot]);
    service.command = chance.argv();
    service.working_dir = format!("/srv/{}", chance.pick(&["a", "b c", "{{", "\u{e9}"])).into();
    service.clear_env = chance.once_in(2);
    service.user = chance.maybe(|chance| chance.pick(&["root", "1000"]).to_owned());
    service.group = chance.maybe(|_| "0".to_owned());
    service.umask = chance.maybe(|chance| chance.below(0o1000) as u32);
    service.nice = chance.maybe(|chance| chance.below(40) as i32 - 20);
    setup(service, chance);
    service.pid_file = chance.maybe(|chance| PidFile {
        path: format!("/run/{}.pid", chance.pick(&["a", "b c", "{{", "\u{e9}"])).into(),
        mode: chance.pick(&[PidFileMode::Write, PidFileMode::Adopt, PidFileMode::Follow]),
    });
    let follows = service.followed_pid_file().is_some();
    if follows && service.kind == Kind::Oneshot {
        service.pid_file = None;
    }
    for resource in [Resource::Nofile, Resource::As, Resource::Stack] {
        let (soft, hard) = (chance.number(1 << 40), i64::MAX as u64);
        let (soft, hard) = chance.pick(&[
            (None, None),
            (Some(soft), None),
            (Some(soft), Some(soft)),
            (Some(soft), Some(hard)),
        ]);
        if chance.once_in(2) {
            service.limits.insert(resource, Limit { soft, hard });
        }
    }
    // Each service has ports of its own.
    let first = 1 + service.name.as_str()[1..].parse::<u16>().unwrap() * 10;
    for (number, name) in (first..).zip(["http", "9", "auto"]) {
        let port = Port {
            number,
            protocol: chance.pick(&[Protocol::Tcp, Protocol::Udp]),
            auto: name == "auto",
            shared: chance.once_in(4),
        };
        if chance.once_in(2) {
            service.ports.insert(name.to_owned(), port);
        }
    }
    let own = service.ports.iter().filter(|(_, port)| !port.shared);
    service.sockets = own
        .map(|(name, _)| name)
        .filter(|_| chance.once_in(3))
        .cloned()
        .collect();
    for (name, port) in service.ports.iter().rev() {
        service.env.insert("PORT".into(), port.number.to_string());
        service.env.insert(ports::variable(name), port.number.to_string());
    }
    service.env.shift_remove("PORT_9");
    for name in ["A", "B.c", "PORT", "API_TOKEN"] {
        if chance.once_in(2) {
            service.env.insert(name.to_owned(), chance.text());
        }
    }
}

fn life(service: &mut Service, chance: &mut Chance) {
    let oneshot = service.kind == Kind::Oneshot;
    service.success_exit_codes = chance.some(3, |chance| chance.below(256) as u8);
    service.timeout = chance.maybe(Chance::duration).filter(|_| oneshot);
    if oneshot && chance.once_in(2) {
        let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
        let text = chance.pick(&["30 2 * * MON", "@hourly", "*/5 * * * * *"]);
        service.schedule = Some(Schedule::cron(
            text,
            text.parse().unwrap(),
            Some("Europe/Berlin".into()),
            zone,
        ));
        service.run_at_start = chance.once_in(2);
    }
    service.wait_for = chance.some(3, |chance| {
        chance.pick(&[
            Gate::Tcp(target("::1")),
            Gate::Http("http://h:1/x".into()),
            Gate::File("/a b".into()),
        ])
    });
    let ways = [Restart::No, Restart::OnFailure, Restart::Always];
    service.restart = chance.pick(&ways[..if oneshot { 2 } else { 3 }]);
    let initial = chance.duration();
    service.backoff = Backoff {
        initial,
        factor: 1.0 + chance.below(1000) as f64 / 7.0,
        max: initial.max(chance.duration()),
        jitter: chance.below(1000) as f64 / 1000.0,
        reset_after: chance.duration(),
    };
    service.max_restarts = chance.maybe(|chance| chance.number(u32::MAX.into()) as u32);
    service.restart_window = chance.duration();
    service.stop = vec![rung(chance)];
    service.stop.extend(chance.some(2, rung));
    service.stop_command = chance.maybe(Chance::argv);
    match chance.below(3) {
        0 => service.reload_signal = Some(Signal::INT),
        1 => service.reload_command = Some(chance.argv()),
        _ => {}
    }
    service.watch = chance.maybe(|chance| Watch {
        paths: vec![glob(chance), glob(chance)],
        ignore: chance.some(2, glob),
        action: chance.pick(&[WatchAction::Restart, WatchAction::Signal(Signal::INT)]),
        debounce: chance.duration(),
    });
    service.rollout = chance.pick(&[Rollout::Rolling, Rollout::All]);
    service.stop_scope = chance.pick(&[StopScope::Tree, StopScope::Group, StopScope::Process]);
    service.autostart = chance.once_in(2);
    service.essential = service.schedule.is_none() && chance.once_in(2);
    service.on_supervisor_exit = chance.pick(&[SupervisorExit::Keep, SupervisorExit::Stop]);
    service.profiles = chance.some(2, |chance| chance.pick(&["dev", "test"]).to_owned());
    service.labels = chance.some(2, |chance| chance.pick(&["backend", "a.b"]).to_owned());
    service.description = chance.maybe(Chance::text);
    service.secrets.extend(chance.maybe(|_| "*_PIN".to_owned()));
    service.log = LogTarget::Off;
    if chance.once_in(2) {
        service.log = LogTarget::File(LogFile {
            file: format!("/var/log/{}{}", service.name, chance.text().replace('/', "")).into(),
            max_size: 1024 + chance.number(1 << 50),
            max_files: 1 + chance.below(100) as u32,
            console: chance.once_in(2),
        });
        service.tty = chance.once_in(2);
    }
}

fn rung(chance: &mut Chance) -> Rung {
    Rung {
        signal: chance.pick(&[Signal::TERM, Signal::INT, Signal::from_name("RTMIN+3").unwrap()]),
        wait: chance.duration(),
    }
}

fn probes(service: &mut Service, chance: &mut Chance) {
    service.health = chance.maybe(|chance| Probe {
        retries: 1 + chance.below(100) as u32,
        restart_on_failure: chance.once_in(2),
        ..probe(chance, false)
    });
    service.start_timeout = chance.maybe(Chance::duration);
    if chance.once_in(2) {
        service.ready = Some(probe(chance, true));
        service.start_timeout = Some(chance.duration());
    } else if service.kind == Kind::Simple {
        service.ready = probe::of_ports(&service.ports, &service.sockets);
        service.ready_is_default = service.ready.is_some();
    }
}

fn probe(chance: &mut Chance, is_ready: bool) -> Probe {
    Probe {
        check: check(chance, is_ready, 2),
        interval: chance.duration(),
        timeout: chance.duration(),
        retries: 3,
        success_threshold: 1 + chance.below(100) as u32,
        start_period: chance.duration(),
        restart_on_failure: true,
    }
}

fn check(chance: &mut Chance, is_ready: bool, depth: usize) -> Check {
    let several = |chance: &mut Chance| {
        let mut checks = vec![check(chance, is_ready, depth - 1)];
        checks.extend(chance.some(2, |chance| check(chance, is_ready, depth - 1)));
        checks
    };
    match chance.below(if depth == 0 { 7 } else { 9 }) {
        0 => Check::Http(http(chance)),
        1 => Check::Tcp(chance.pick(&[target("::1"), target("localhost")])),
        2 => Check::Exec(chance.argv()),
        3 if is_ready => Check::Log(chance.pick(&[r"^up \d+$", "a{2}\"'"]).to_owned()),
        3 | 4 => Check::File("/run/a b".into()),
        5 => Check::Notify,
        6 => Check::Listen,
        7 => Check::All(several(chance)),
        _ => Check::Any(several(chance)),
    }
}

fn http(chance: &mut Chance) -> HttpCheck {
    let fields = json!({ "a": 1, "b.c": [true, "{{"], "d": { "e": -1.5, "f": "x" } });
    let Value::Object(fields) = fields else {
        unreachable!("written as one")
    };
    HttpCheck {
        url: "http://127.0.0.1:80/x?y=%7B".into(),
        method: chance.pick(&["GET", "POST"]).to_owned(),
        headers: IndexMap::from_iter(chance.maybe(|_| ("x-a".to_owned(), "{{ \"b\"".to_owned()))),
        status: vec![
            StatusPattern::Exact(100 + chance.below(500) as u16),
            StatusPattern::Class(4),
        ],
        body: chance.maybe(|_| r"\bok\b".to_owned()),
        json: fields.into_iter().filter(|_| chance.once_in(2)).collect(),
    }
}

fn target(host: &str) -> TcpTarget {
    TcpTarget {
        host: host.into(),
        port: 5432,
    }
}

fn glob(chance: &mut Chance) -> WatchGlob {
    WatchGlob {
        base: chance.pick(&["/a b", "/", "/a/b"]).into(),
        pattern: chance.pick(&["", "*.js", "**/c d/[ab]?"]).to_owned(),
    }
}
