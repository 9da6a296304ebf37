//! A World that a test leads by hand, fact by fact.

use std::time::Duration;

use super::build;
use crate::reconcile::action::{Action, Ending, Purpose};
use crate::reconcile::event::{Author, Cause, Event, EventKind};
use crate::reconcile::fact::{ExitStatus, Fact, Incarnation, Now, Outcome, ProbeKind, Request};
use crate::reconcile::failure::{Failure, Reason};
use crate::reconcile::ports::{Holder, PortTaken};
use crate::reconcile::snapshot::{ServiceSnapshot, StateName};
use crate::reconcile::timers::nanos;
use crate::reconcile::world::{Recollection, World};
use crate::spec::{Condition, Dependency, ExitPolicy, Service, ServiceName};

pub struct Stage {
    pub world: World,
    /// Monotonic nanoseconds.
    pub now: u64,
    /// By how much the wall clock is ahead of them.
    pub ahead: i64,
    /// Everything that was ordered so far.
    pub ordered: Vec<Action>,
    exit: ExitPolicy,
    code_from: Option<ServiceName>,
}

/// `web` needs `on` under a condition, with the defaults of the contract.
pub fn depend(web: &mut Service, on: &str, condition: Condition) {
    let dependency = Dependency {
        condition,
        restart: false,
        required: true,
    };
    web.depends_on.insert(build::name(on), dependency);
}

pub fn failure(reason: Reason) -> Failure {
    Failure {
        reason,
        message: reason.as_str().to_owned(),
        suggestion: None,
    }
}

/// Its port `http` is somebody's.
pub fn taken(holder: Holder) -> PortTaken {
    PortTaken {
        port: "http".to_owned(),
        holder,
        failure: failure(Reason::PortInUse),
    }
}

impl Stage {
    /// Another daemon takes over, with this and with the wishes that were made by hand.
    pub fn begin_anew(&mut self, recollection: Recollection) {
        let wishes = self.world.wishes();
        self.world = World::new(2);
        self.world.restore(wishes);
        self.world.recall(recollection);
    }

    /// These services, and nothing asked for yet.
    pub fn of(services: impl IntoIterator<Item = Service>) -> Stage {
        Stage::ending(ExitPolicy::Never, None, services)
    }

    pub fn ending(exit: ExitPolicy, code_from: Option<&str>, services: impl IntoIterator<Item = Service>) -> Stage {
        let code_from = code_from.map(build::name);
        let mut stage = Stage {
            world: World::new(1),
            now: 0,
            ahead: 0,
            ordered: Vec::new(),
            exit,
            code_from,
        };
        stage.save(services);
        stage
    }

    /// These services, all of them asked for.
    pub fn up(services: impl IntoIterator<Item = Service>) -> Stage {
        let mut stage = Stage::of(services);
        stage.ask(Request::Up {
            names: Vec::new(),
            no_deps: false,
            profiles: Vec::new(),
        });
        stage
    }

    pub fn save(&mut self, services: impl IntoIterator<Item = Service>) -> Vec<Action> {
        let (project, cause) = (build::project(services), Cause::new(Author::File, "services.toml"));
        self.fact(Fact::Configured {
            project,
            exit: self.exit,
            exit_code_from: self.code_from.clone(),
            cause,
            request: None,
        })
    }

    pub fn fact(&mut self, fact: Fact) -> Vec<Action> {
        let mut actions = Vec::new();
        let now = Now {
            mono_ns: self.now,
            wall_ns: self.ahead + self.now as i64,
        };
        self.world.step(now, fact, &mut actions);
        self.ordered.extend(actions.iter().cloned());
        actions
    }

    pub fn ask(&mut self, request: Request) -> Vec<Action> {
        self.fact(Fact::Asked {
            request,
            cause: Cause::new(Author::User, "asked"),
        })
    }

    pub fn start(&mut self, name: &str) -> Vec<Action> {
        self.ask(Request::Start {
            names: vec![build::name(name)],
        })
    }

    pub fn stop(&mut self, name: &str) -> Vec<Action> {
        self.ask(Request::Stop {
            names: vec![build::name(name)],
            timeout: None,
        })
    }

    pub fn restart(&mut self, name: &str) -> Vec<Action> {
        self.ask(Request::Restart {
            names: vec![build::name(name)],
        })
    }

    pub fn down(&mut self) -> Vec<Action> {
        self.ask(Request::Down { timeout: None })
    }

    /// Time goes by, with every deadline at its instant.
    pub fn pass(&mut self, wait: Duration) -> Vec<Action> {
        let (until, first) = (self.now.saturating_add(nanos(wait)), self.ordered.len());
        while let Some(at) = self.next().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.fact(Fact::TimePassed);
        }
        self.now = until;
        self.ordered[first..].to_vec()
    }

    fn next(&self) -> Option<u64> {
        let alarm = self
            .world
            .next_alarm()
            .map(|at| at.saturating_sub(self.ahead).max(0) as u64);
        self.world.next_deadline().into_iter().chain(alarm).min()
    }

    pub fn see(&self, name: &str) -> ServiceSnapshot {
        self.world
            .service(&build::name(name))
            .expect("the test names a service that there is")
    }

    pub fn state(&self, name: &str) -> StateName {
        self.see(name).state
    }

    /// Reason of the failure that is shown.
    pub fn reason(&self, name: &str) -> Option<Reason> {
        self.see(name).failure.map(|failure| failure.reason)
    }

    /// The current run.
    pub fn id(&self, name: &str) -> Incarnation {
        let service = self
            .world
            .id_of(&build::name(name))
            .expect("the test names a service that there is");
        Incarnation {
            service,
            run: self.see(name).run,
        }
    }

    pub fn spawned(&mut self, name: &str) -> Vec<Action> {
        self.fact(Fact::Spawned {
            id: self.id(name),
            pid: 100 + self.id(name).run,
        })
    }

    /// Spawned and executed.
    pub fn executed(&mut self, name: &str) -> Vec<Action> {
        let mut actions = self.spawned(name);
        actions.extend(self.fact(Fact::Executed { id: self.id(name) }));
        actions
    }

    pub fn refused(&mut self, name: &str, reason: Reason) -> Vec<Action> {
        self.fact(Fact::SpawnFailed {
            id: self.id(name),
            failure: failure(reason),
        })
    }

    pub fn taken(&mut self, name: &str, holder: Holder) -> Vec<Action> {
        self.fact(Fact::PortTaken {
            id: self.id(name),
            taken: taken(holder),
        })
    }

    pub fn exited(&mut self, name: &str, status: ExitStatus) -> Vec<Action> {
        self.fact(Fact::Exited {
            id: self.id(name),
            status,
            left: false,
            out_of_memory: false,
        })
    }

    pub fn left(&mut self, name: &str, status: ExitStatus) -> Vec<Action> {
        self.fact(Fact::Exited {
            id: self.id(name),
            status,
            left: true,
            out_of_memory: false,
        })
    }

    /// The answer to the latest attempt of a probe.
    pub fn probed(&mut self, name: &str, kind: ProbeKind, outcome: Outcome) -> Vec<Action> {
        let id = self.id(name);
        let attempt = self.ordered.iter().rev().find_map(|action| match action {
            Action::Probe {
                id: of,
                kind: what,
                attempt,
                ..
            } if *of == id && *what == kind => Some(*attempt),
            _ => None,
        });
        self.fact(Fact::Probed {
            id,
            kind,
            attempt: attempt.unwrap_or(1),
            outcome,
        })
    }

    pub fn gate_probed(&mut self, name: &str, outcome: Outcome) -> Vec<Action> {
        let (id, attempt) = (self.id(name), self.see(name).probe_attempts);
        self.fact(Fact::GateProbed { id, attempt, outcome })
    }

    pub fn command_ended(&mut self, name: &str, result: Result<(), String>) -> Vec<Action> {
        self.fact(Fact::CommandEnded {
            id: self.id(name),
            purpose: Purpose::Stop,
            result,
        })
    }

    pub fn kill_failed(&mut self, name: &str) -> Vec<Action> {
        let leftovers = vec!["pid 7 (web, uninterruptible)".to_owned()];
        self.fact(Fact::KillFailed {
            id: self.id(name),
            leftovers,
        })
    }

    /// How the project ended.
    pub fn end(&self) -> Option<Ending> {
        self.ordered.iter().find_map(|action| match action {
            Action::End(ending) => Some(ending.clone()),
            _ => None,
        })
    }
}

pub fn spawns(actions: &[Action]) -> usize {
    actions
        .iter()
        .filter(|action| matches!(action, Action::Spawn { .. }))
        .count()
}

/// Whether something is sent to a process.
pub fn touches(actions: &[Action]) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, Action::Signal { .. } | Action::Kill { .. } | Action::Run { .. }))
}

pub fn events(actions: &[Action]) -> impl Iterator<Item = &Event> {
    actions.iter().filter_map(|action| match action {
        Action::Publish(event) => Some(event),
        _ => None,
    })
}

/// Delays of the restarts that were announced, in milliseconds.
pub fn delays_ms(actions: &[Action]) -> Vec<u64> {
    let delay = |event: &Event| match event.kind {
        EventKind::Restarting { delay_ns, .. } => Some(delay_ns / 1_000_000),
        _ => None,
    };
    events(actions).filter_map(delay).collect()
}
