//! Random projects and random edits of them. A draft never holds what `config` refuses: cycles, unknown names, two
//! owners of one port.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use super::build;
use super::dice::Dice;
use crate::spec::*;

const PORTS: [u16; 4] = [3000, 3001, 3002, 3003];
const CONDITIONS: [Condition; 4] = [
    Condition::Started,
    Condition::Healthy,
    Condition::Completed,
    Condition::CompletedSuccessfully,
];

/// A file that is being written. Each service depends on earlier ones only.
pub struct Draft {
    pub services: Vec<Service>,
    pub exit: ExitPolicy,
    pub code_from: Option<ServiceName>,
    /// Nothing is scheduled any more: what repeats for ever never comes to rest.
    pub timeless: bool,
    /// Some of the simple services are replicas of one: what is edited of one of them is edited of all.
    pub grouped: bool,
}

impl Draft {
    pub fn new(dice: &mut Dice, grouped: bool) -> Draft {
        let mut draft = Draft {
            services: Vec::new(),
            exit: ExitPolicy::Never,
            code_from: None,
            timeless: false,
            grouped,
        };
        for _ in 0..=dice.below(8) {
            draft.add(dice);
        }
        draft.choose_exit(dice);
        draft
    }

    pub fn project(&self, dice: &mut Dice) -> Arc<Project> {
        let mut services = self.services.clone();
        for service in services.iter_mut().filter(|_| self.timeless) {
            (service.schedule, service.run_at_start) = (None, false);
        }
        if self.grouped {
            self.group(&mut services);
        }
        name_outputs(&mut services);
        for at in (1..services.len()).rev() {
            let other = dice.index(at + 1);
            services.swap(at, other);
        }
        build::project(services)
    }

    /// As it stands in the project.
    pub fn name(&self, dice: &mut Dice) -> ServiceName {
        self.called(&self.services[dice.index(self.services.len())].name)
    }

    pub fn code_from(&self) -> Option<ServiceName> {
        self.code_from.as_ref().map(|name| self.called(name))
    }

    fn called(&self, name: &ServiceName) -> ServiceName {
        let is_member = |service: &&Service| service.name == *name && service.kind == Kind::Simple;
        let number: u32 = name.as_str()[1..].parse().unwrap_or(0);
        match self.grouped && !number.is_multiple_of(3) && self.services.iter().any(|service| is_member(&service)) {
            true => ServiceName::member("g", name.as_str()),
            false => name.clone(),
        }
    }

    fn group(&self, services: &mut [Service]) {
        for service in services.iter_mut() {
            service.name = self.called(&service.name);
            let needs = std::mem::take(&mut service.depends_on).into_iter();
            let needs = needs.map(|(on, how)| (self.called(&on), how));
            service.depends_on = needs.collect();
        }
        // What is declared once can't need itself, over others neither.
        let mut behind: BTreeSet<ServiceName> = BTreeSet::new();
        let mut todo: Vec<ServiceName> = services
            .iter()
            .map(|s| s.name.clone())
            .filter(|name| name.group().is_some())
            .collect();
        while let Some(on) = todo.pop() {
            if behind.insert(on.clone()) {
                let needs_it = services.iter().filter(|service| service.depends_on.contains_key(&on));
                todo.extend(needs_it.map(|service| service.name.clone()));
            }
        }
        for service in services.iter_mut().filter(|service| service.name.group().is_some()) {
            service.depends_on.retain(|on, _| !behind.contains(on));
        }
        let mut members: Vec<&mut Service> = services
            .iter_mut()
            .filter(|service| service.name.group().is_some())
            .collect();
        let version = members.iter().map(|member| member.command.words.len()).max();
        for member in &mut members {
            member.command.words = vec!["./g".to_owned(); version.unwrap_or(1)];
        }
    }

    /// One save of the file.
    pub fn edit(&mut self, dice: &mut Dice) {
        let at = dice.index(self.services.len());
        match dice.below(20) {
            0 | 1 => self.services[at].command.words.push("more".to_owned()),
            2 => self.services[at].description = Some(format!("edit {}", dice.below(1000))),
            3 => self.services[at].restart = restart(dice, self.services[at].kind),
            4 => self.services[at].health = dice.once_in(2).then(|| probe(dice)),
            5 => self.services[at].ready = dice.once_in(2).then(|| probe(dice)),
            6 => self.services[at].stop = ladder(dice),
            7 if self.services.len() < 8 => self.add(dice),
            8 if self.services.len() > 1 => self.remove(at),
            9 if self.services.len() > 1 => self.rename(at),
            10 => self.trade_ports(dice),
            11 => {
                let others: Vec<ServiceName> = self.services[..at].iter().map(|s| s.name.clone()).collect();
                self.services[at].depends_on = dependencies(dice, &others);
            }
            12 | 13 => self.turn_round(dice),
            14..19 => edit_key(&mut self.services[at], dice),
            _ => self.choose_exit(dice),
        }
    }

    fn add(&mut self, dice: &mut Dice) {
        let name = self.free_name();
        let earlier: Vec<ServiceName> = self.services.iter().map(|s| s.name.clone()).collect();
        let mut service = service(dice, &name);
        service.depends_on = dependencies(dice, &earlier);
        if dice.once_in(3) {
            let taken: BTreeSet<u16> = self.numbers();
            if let Some(&number) = PORTS.iter().find(|number| !taken.contains(number)) {
                service.ports = ports(number);
                service.on_port_conflict = dice.pick(&[PortConflict::Fail, PortConflict::Next, PortConflict::Kill]);
            }
        }
        self.services.push(service);
    }

    fn free_name(&self) -> String {
        let taken: BTreeSet<&str> = self.services.iter().map(|s| s.name.as_str()).collect();
        let free = (1..)
            .map(|n| format!("s{n}"))
            .find(|name| !taken.contains(name.as_str()));
        free.expect("numbers do not end")
    }

    fn numbers(&self) -> BTreeSet<u16> {
        let all = self.services.iter().flat_map(|service| service.ports.values());
        all.map(|port| port.number).collect()
    }

    fn remove(&mut self, at: usize) {
        let gone = self.services.remove(at).name;
        for service in &mut self.services {
            service.depends_on.shift_remove(&gone);
        }
        if self.code_from.as_ref() == Some(&gone) {
            self.code_from = None;
        }
    }

    /// Sometimes back to a name that was there before.
    fn rename(&mut self, at: usize) {
        let old = self.services[at].name.clone();
        let new = build::name(&self.free_name());
        self.services[at].name = new.clone();
        for service in &mut self.services {
            if let Some(dependency) = service.depends_on.shift_remove(&old) {
                service.depends_on.insert(new.clone(), dependency);
            }
        }
        if self.code_from.as_ref() == Some(&old) {
            self.code_from = Some(new);
        }
    }

    fn trade_ports(&mut self, dice: &mut Dice) {
        let (one, other) = (dice.index(self.services.len()), dice.index(self.services.len()));
        let ports = self.services[one].ports.clone();
        self.services[one].ports = std::mem::replace(&mut self.services[other].ports, ports);
    }

    /// Who depended may be depended on afterwards.
    fn turn_round(&mut self, dice: &mut Dice) {
        self.services.reverse();
        let names: Vec<ServiceName> = self.services.iter().map(|s| s.name.clone()).collect();
        for (at, service) in self.services.iter_mut().enumerate() {
            service.depends_on = dependencies(dice, &names[..at]);
            if dice.once_in(3) {
                service.command.words.push("round".to_owned());
            }
        }
    }

    fn choose_exit(&mut self, dice: &mut Dice) {
        self.exit = dice.pick(&[
            ExitPolicy::Never,
            ExitPolicy::Never,
            ExitPolicy::All,
            ExitPolicy::Any,
            ExitPolicy::Failure,
        ]);
        let services = &self.services;
        self.code_from = dice
            .once_in(8)
            .then(|| services[dice.index(services.len())].name.clone());
    }
}

/// One key of one service.
fn edit_key(service: &mut Service, dice: &mut Dice) {
    match dice.below(14) {
        12 if service.kind == Kind::Oneshot => {
            service.schedule = schedule(dice, 2);
            service.run_at_start = service.schedule.is_some() && dice.once_in(2);
        }
        0 => drop(service.env.insert("EDIT".to_owned(), dice.below(1000).to_string())),
        1 => service.stop_scope = scope(dice),
        2 => service.success_exit_codes = success_codes(dice),
        3 => service.max_restarts = dice.once_in(2).then(|| dice.below(4) as u32),
        4 => service.restart_window = dice.wait(&[1_000, 60_000]),
        5 => service.backoff = backoff(dice),
        6 => service.start_timeout = dice.once_in(2).then(|| dice.wait(&[100, 5_000])),
        7 => service.wait_for = gates(dice, 2),
        8 => service.autostart = !service.autostart,
        9 => service.profiles = profiles(dice, 2),
        10 => service.essential = !service.essential,
        13 if dice.aside().once_in(2) => prepare(service, &mut dice.aside()),
        11 if service.kind == Kind::Oneshot => service.timeout = dice.once_in(2).then(|| Duration::from_secs(20)),
        _ => service.stop_command = stop_command(dice, 2),
    }
}

fn scope(dice: &mut Dice) -> StopScope {
    dice.pick(&[StopScope::Tree, StopScope::Tree, StopScope::Group, StopScope::Process])
}

fn success_codes(dice: &mut Dice) -> Vec<u8> {
    dice.pick(&[&[0][..], &[0], &[0, 3], &[0, 1], &[3]]).to_vec()
}

fn backoff(dice: &mut Dice) -> Backoff {
    Backoff {
        initial: dice.wait(&[0, 10, 500, 500]),
        factor: dice.pick(&[1.0, 2.0]),
        max: dice.wait(&[500, 1_000, 5_000]),
        jitter: dice.pick(&[0.0, 0.1]),
        reset_after: Duration::from_secs(10),
    }
}

fn gates(dice: &mut Dice, n: u64) -> Vec<Gate> {
    let gate = || Gate::File("/srv/gate".into());
    dice.once_in(n).then(gate).into_iter().collect()
}

fn profiles(dice: &mut Dice, n: u64) -> Vec<String> {
    let some = dice.once_in(n).then(|| dice.pick(&["dev", "test"]).to_owned());
    some.into_iter().collect()
}

fn stop_command(dice: &mut Dice, n: u64) -> Option<Argv> {
    dice.once_in(n).then(|| Argv {
        words: vec!["./stop".to_owned()],
        shell: false,
    })
}

fn ports(number: u16) -> IndexMap<String, Port> {
    let port = Port {
        number,
        protocol: Protocol::Tcp,
        auto: false,
        shared: false,
    };
    IndexMap::from([("port".to_owned(), port)])
}

fn service(dice: &mut Dice, name: &str) -> Service {
    let mut service = build::service(name);
    if dice.once_in(4) {
        service.kind = Kind::Oneshot;
        service.timeout = dice.once_in(3).then(|| Duration::from_secs(20));
        service.schedule = schedule(dice, 3);
        service.run_at_start = service.schedule.is_some() && dice.once_in(2);
    }
    service.pid_file = (service.kind == Kind::Simple && dice.once_in(4)).then(|| PidFile {
        path: "/run/daemon.pid".into(),
        mode: PidFileMode::Follow,
    });
    service.restart = restart(dice, service.kind);
    service.backoff = backoff(dice);
    service.max_restarts = dice.once_in(4).then(|| dice.below(4) as u32);
    service.success_exit_codes = success_codes(dice);
    service.ready = dice.once_in(3).then(|| probe(dice));
    service.ready_is_default = dice.once_in(3);
    service.health = dice.once_in(4).then(|| probe(dice));
    service.start_timeout = dice.once_in(2).then(|| dice.wait(&[100, 5_000]));
    service.wait_for = gates(dice, 8);
    service.stop = ladder(dice);
    service.stop_scope = scope(dice);
    service.stop_command = stop_command(dice, 5);
    match dice.below(6) {
        0 => service.reload_signal = Some(Signal::INT),
        1 => service.reload_command = service.stop_command.clone(),
        _ => {}
    }
    service.autostart = !dice.once_in(6);
    service.profiles = profiles(dice, 6);
    service.essential = dice.once_in(12);
    let mut aside = dice.aside();
    if aside.once_in(4) {
        prepare(&mut service, &mut aside);
    }
    service.memory_limit = aside.once_in(8).then_some(1_000_000);
    if aside.once_in(6) {
        service.outputs.insert("url".to_owned(), "https://".to_owned());
    }
    service
}

/// Whoever needs one that stays and has outputs names them.
fn name_outputs(services: &mut [Service]) {
    let told: Vec<OutputName> = services
        .iter()
        .filter(|service| service.kind == Kind::Simple)
        .flat_map(|service| {
            let name = |output: &String| OutputName {
                service: service.name.clone(),
                output: output.clone(),
            };
            service.outputs.keys().map(name)
        })
        .collect();
    for service in services {
        let needs = |name: &&OutputName| {
            let dependency = service.depends_on.get(&name.service);
            dependency.is_some_and(|dependency| {
                dependency.required && matches!(dependency.condition, Condition::Started | Condition::Healthy)
            })
        };
        let named: Vec<OutputName> = told.iter().filter(needs).cloned().collect();
        if !named.is_empty() {
            let text = named.iter().map(OutputName::placeholder).collect();
            service.env.insert("OUTPUTS".to_owned(), text);
        }
        service.awaits = service.awaited_outputs();
    }
}

fn prepare(service: &mut Service, dice: &mut Dice) {
    let mut command = || stop_command(dice, 2);
    service.hooks = Hooks {
        pre_start: command(),
        post_ready: command(),
        pre_stop: command(),
        post_stop: command(),
        on_failure: command(),
    };
    if dice.once_in(2) {
        let file = RenderedFile {
            content: String::new(),
            reload: dice.once_in(2),
        };
        service.files.insert("/srv/file".to_owned(), file);
    }
}

/// Short enough that some of it happens in a history.
fn schedule(dice: &mut Dice, n: u64) -> Option<Schedule> {
    let zone = jiff::tz::TimeZone::UTC;
    let cron = |line: &str| Schedule::cron(line, line.parse().expect("a cron line"), None, zone.clone());
    let every = |text: &str, seconds| Schedule::every(text, Duration::from_secs(seconds), zone.clone());
    let some = match dice.below(4) {
        0 => every("every 1s", 1),
        1 => every("every 30s", 30),
        2 => cron("*/5 * * * * *"),
        _ => cron("* * * * *"),
    };
    dice.once_in(n).then_some(some)
}

fn restart(dice: &mut Dice, kind: Kind) -> Restart {
    match kind {
        Kind::Simple => dice.pick(&[Restart::No, Restart::OnFailure, Restart::OnFailure, Restart::Always]),
        Kind::Oneshot => dice.pick(&[Restart::No, Restart::OnFailure]),
    }
}

fn probe(dice: &mut Dice) -> Probe {
    let mut probe = build::probe();
    if dice.once_in(4) {
        probe.check = Check::Log("ready".to_owned());
    }
    probe.interval = dice.wait(&[5_000, 20_000]);
    probe.retries = 1 + dice.below(3) as u32;
    probe.success_threshold = 1 + dice.below(2) as u32;
    probe.start_period = dice.wait(&[0, 0, 5_000]);
    probe.restart_on_failure = !dice.once_in(4);
    probe
}

fn ladder(dice: &mut Dice) -> Vec<Rung> {
    let mut rungs = Vec::new();
    for _ in 0..=dice.below(3) {
        rungs.push(Rung {
            signal: dice.pick(&[Signal::TERM, Signal::INT, Signal::QUIT]),
            wait: dice.wait(&[0, 100, 1_000, 10_000]),
        });
    }
    rungs
}

fn dependencies(dice: &mut Dice, on: &[ServiceName]) -> IndexMap<ServiceName, Dependency> {
    let mut found = IndexMap::new();
    for name in on {
        if dice.once_in(3) {
            found.insert(
                name.clone(),
                Dependency {
                    condition: dice.pick(&CONDITIONS),
                    restart: dice.once_in(3),
                    required: !dice.once_in(4),
                },
            );
        }
    }
    found
}
