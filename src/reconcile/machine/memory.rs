//! What is written down of a machine, and how the next World makes one of it.
//!
//! A memory holds what can't be read off the processes: how often it was restarted, what was asked for, how far a stop has
//! come. Whether its process is (still) there is for the hands to say, by `Adopted`, `Exited` or `Vanished`.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::life::{Again, Body, Life, Phase, Process, Stopping, Then};
use super::{Machine, Step};
use crate::reconcile::action::Action;
use crate::reconcile::event::{Author, Cause, EventKind};
use crate::reconcile::fact::ExitStatus;
use crate::reconcile::failure::Failure;
use crate::reconcile::health::Probing;
use crate::reconcile::restart::History;
use crate::reconcile::snapshot::RunEnd;
use crate::spec::{Condition, Service, ServiceName, Signal};

/// One service, for the daemon after this one. Instants are monotonic: they mean the same to every process of one boot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    pub service: ServiceName,
    pub run: u32,
    turn: u32,
    served: u32,
    asked_run: u32,
    since: u64,
    cause: Cause,
    asked_cause: Cause,
    asked_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patience: Option<Duration>,
    #[serde(default, skip_serializing_if = "History::is_empty")]
    history: History,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_end: Option<RunEnd>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent: Option<(u32, Signal, Cause)>,
    life: Lived,
    /// What its living run began with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::reconcile) bonds: Vec<Bonded>,
}

/// A dependency that a living run began with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::reconcile) struct Bonded {
    pub on: ServiceName,
    pub condition: Condition,
    pub restart: bool,
    pub required: bool,
    pub run: u32,
    pub turn: u32,
}

/// A [`Life`] without what belongs to the process that remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Lived {
    Stopped,
    Waiting,
    Spawning {
        again: Again,
    },
    Executing {
        again: Again,
        pid: u32,
        spawned_at: u64,
    },
    Launching {
        program: Program,
        doubt: Option<String>,
    },
    Detached {
        program: Program,
        status: ExitStatus,
        doubt: Option<String>,
    },
    Starting {
        program: Program,
        warned: bool,
    },
    Ready {
        program: Program,
        ready_at: u64,
    },
    Unhealthy {
        program: Program,
        ready_at: u64,
        message: Option<String>,
    },
    Backoff {
        failure: Option<Failure>,
        until: u64,
    },
    Stopping {
        body: Remains,
        began: u64,
        then: Then,
        phase: Phase,
    },
    Completed {
        status: ExitStatus,
    },
    Failed {
        failure: Failure,
        status: Option<ExitStatus>,
        retry_at: Option<u64>,
    },
    Doomed {
        failure: Failure,
    },
}

/// What the hands have found of an earlier daemon's run; as in `Fact::Adopted`.
#[derive(Debug)]
pub(in crate::reconcile) struct Adopted {
    pub pid: u32,
    pub executed: bool,
    pub signalled: Option<Signal>,
    pub ended: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Program {
    pid: u32,
    launched: u32,
    spawned_at: u64,
    executed_at: u64,
    executed_wall: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status_text: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Remains {
    Unborn,
    Embryo(u32),
    Alive(Program),
    Leftovers,
}

impl Memory {
    /// Of a run that only its written record tells of: it runs, and it is for its probes to say whether it is ready.
    pub fn of_record(service: ServiceName, run: u32, pid: u32, spawned_at: u64, executed_wall: i64) -> Memory {
        let cause = Cause::new(Author::Runner, "found running");
        let program = Program {
            pid,
            launched: pid,
            spawned_at,
            executed_at: spawned_at,
            executed_wall,
            status_text: None,
        };
        Memory {
            service,
            run,
            turn: 0,
            served: 0,
            asked_run: 0,
            since: spawned_at,
            cause: cause.clone(),
            asked_cause: cause,
            asked_at: 0,
            patience: None,
            history: History::default(),
            last_end: None,
            sent: None,
            life: Lived::Starting { program, warned: false },
            bonds: Vec::new(),
        }
    }

    /// Whether a process may exist of it.
    pub fn is_living(&self) -> bool {
        match self.life {
            Lived::Spawning { .. } | Lived::Executing { .. } | Lived::Starting { .. } => true,
            Lived::Launching { .. } | Lived::Detached { .. } => true,
            Lived::Ready { .. } | Lived::Unhealthy { .. } | Lived::Stopping { .. } => true,
            Lived::Stopped | Lived::Waiting | Lived::Backoff { .. } => false,
            Lived::Completed { .. } | Lived::Failed { .. } | Lived::Doomed { .. } => false,
        }
    }

    /// Whether its process was there when this was written.
    pub fn has_process(&self) -> bool {
        match &self.life {
            Lived::Spawning { .. } => false,
            Lived::Stopping { body, .. } => !matches!(body, Remains::Unborn),
            Lived::Launching { .. } | Lived::Detached { .. } => true,
            Lived::Executing { .. } | Lived::Starting { .. } | Lived::Ready { .. } | Lived::Unhealthy { .. } => true,
            Lived::Stopped | Lived::Waiting | Lived::Backoff { .. } => false,
            Lived::Completed { .. } | Lived::Failed { .. } | Lived::Doomed { .. } => false,
        }
    }

    /// What is known of the runs so far, with another run than the remembered one.
    #[must_use]
    pub fn goes_on_as(self, other: Memory) -> Memory {
        Memory {
            turn: self.turn,
            served: self.served,
            asked_run: self.asked_run,
            asked_cause: self.asked_cause,
            asked_at: self.asked_at,
            patience: self.patience,
            history: self.history,
            last_end: self.last_end,
            ..other
        }
    }
}

impl Machine {
    pub fn memory(&self) -> Memory {
        Memory {
            service: self.spec.name.clone(),
            run: self.run,
            turn: self.wish.turn,
            served: self.served,
            asked_run: self.asked_run,
            since: self.since,
            cause: self.cause.clone(),
            asked_cause: self.wish.cause.clone(),
            asked_at: self.wish.asked_at,
            patience: self.wish.patience,
            history: self.history.clone(),
            last_end: self.last_end,
            sent: self.sent.clone(),
            life: lived(&self.life),
            bonds: Vec::new(),
        }
    }

    /// Becomes what the memory tells of. `spec` is the definition in force now: what of it a running process can't have
    /// is for the World to find.
    pub fn resume(&mut self, memory: &Memory, now: u64) {
        self.run = memory.run;
        self.wish.turn = memory.turn;
        self.wish.patience = memory.patience;
        self.wish.asked_at = memory.asked_at;
        self.wish.cause = memory.asked_cause.clone();
        self.served = memory.served;
        self.asked_run = memory.asked_run;
        self.history = memory.history.clone();
        self.last_end = memory.last_end;
        self.sent = memory.sent.clone();
        self.since = memory.since;
        self.cause = memory.cause.clone();
        self.life = life(&memory.life, &self.spec, now);
        self.awaited = self.life.is_living();
        self.moves += 1;
    }

    /// The hands have found its process. What this World did not know happened just now.
    pub fn on_adopted(&mut self, found: &Adopted, step: &mut Step) {
        let &Adopted {
            pid,
            executed,
            signalled,
            ended,
        } = found;
        if std::mem::replace(&mut self.adopted_run, self.run) == self.run {
            return;
        }
        if matches!(self.life, Life::Spawning { .. })
            || matches!(&self.life, Life::Stopping(stopping) if matches!(stopping.body, Body::Unborn))
        {
            self.on_spawned(pid, step);
        }
        if executed && matches!(self.life, Life::Executing { .. }) {
            self.on_executed(step);
        }
        if let Some(process) = self.life.process_mut() {
            process.pid = pid;
        }
        self.moves += 1;
        if ended {
            return;
        }
        let cause = Cause::new(Author::Runner, "another daemon has taken over");
        self.publish(EventKind::Adopted { pid }, cause, step);
        self.stop_goes_on(signalled, step);
    }

    /// Nothing of it is there, and nothing of it ever ran.
    pub fn on_vanished(&mut self, step: &mut Step) {
        match self.take_life() {
            Life::Stopping(stopping) => self.finish(stopping.then, step),
            _ => {
                step.out.push(Action::Release { id: self.incarnation() });
                // Its number is free again.
                self.run = self.run.saturating_sub(1);
                let cause = self.cause.clone();
                self.enter(Life::Waiting { told: false }, cause, step);
            }
        }
    }
}

fn program(process: &Process) -> Program {
    Program {
        pid: process.pid,
        launched: process.launched,
        spawned_at: process.spawned_at,
        executed_at: process.executed_at,
        executed_wall: process.executed_wall,
        status_text: process.status_text.clone(),
    }
}

fn process(program: &Program, spec: &Arc<Service>) -> Process {
    Process {
        spec: Arc::clone(spec),
        pid: program.pid,
        launched: program.launched,
        spawned_at: program.spawned_at,
        executed_at: program.executed_at,
        executed_wall: program.executed_wall,
        status_text: program.status_text.clone(),
    }
}

fn lived(life: &Life) -> Lived {
    match life {
        Life::Stopped => Lived::Stopped,
        // Its turn comes again.
        Life::Waiting { .. } | Life::Gated { .. } | Life::Retrying { .. } | Life::Evicting { .. } => Lived::Waiting,
        Life::Spawning { again, .. } => Lived::Spawning { again: again.clone() },
        Life::Executing {
            again, pid, spawned_at, ..
        } => Lived::Executing {
            again: again.clone(),
            pid: *pid,
            spawned_at: *spawned_at,
        },
        Life::Launching {
            process: running,
            doubt,
        } => Lived::Launching {
            program: program(running),
            doubt: doubt.clone(),
        },
        Life::Detached {
            process: running,
            status,
            doubt,
        } => Lived::Detached {
            program: program(running),
            status: *status,
            doubt: doubt.clone(),
        },
        Life::Starting {
            process: running,
            warned,
            ..
        } => Lived::Starting {
            program: program(running),
            warned: *warned,
        },
        Life::Ready {
            process: running,
            ready_at,
            ..
        } => Lived::Ready {
            program: program(running),
            ready_at: *ready_at,
        },
        Life::Unhealthy {
            process: running,
            ready_at,
            health,
        } => Lived::Unhealthy {
            program: program(running),
            ready_at: *ready_at,
            message: health.message.clone(),
        },
        Life::Backoff { failure, until } => Lived::Backoff {
            failure: failure.clone(),
            until: *until,
        },
        Life::Stopping(stopping) => Lived::Stopping {
            body: match &stopping.body {
                Body::Unborn => Remains::Unborn,
                Body::Embryo { pid } => Remains::Embryo(*pid),
                Body::Alive(running) => Remains::Alive(program(running)),
                Body::Leftovers => Remains::Leftovers,
            },
            began: stopping.began,
            then: stopping.then.clone(),
            phase: stopping.phase.clone(),
        },
        Life::Completed { status } => Lived::Completed { status: *status },
        Life::Failed {
            failure,
            status,
            retry_at,
        } => Lived::Failed {
            failure: failure.clone(),
            status: *status,
            retry_at: *retry_at,
        },
        Life::Doomed { failure } => Lived::Doomed {
            failure: failure.clone(),
        },
    }
}

fn life(lived: &Lived, spec: &Arc<Service>, now: u64) -> Life {
    match lived {
        Lived::Stopped => Life::Stopped,
        Lived::Waiting => Life::Waiting { told: true },
        Lived::Spawning { again } => Life::Spawning {
            spec: Arc::clone(spec),
            again: again.clone(),
        },
        Lived::Executing { again, pid, spawned_at } => Life::Executing {
            spec: Arc::clone(spec),
            again: again.clone(),
            pid: *pid,
            spawned_at: *spawned_at,
        },
        Lived::Launching { program, doubt } => Life::Launching {
            process: process(program, spec),
            doubt: doubt.clone(),
        },
        Lived::Detached { program, status, doubt } => Life::Detached {
            process: process(program, spec),
            status: *status,
            doubt: doubt.clone(),
        },
        Lived::Starting { program, warned } => Life::Starting {
            process: process(program, spec),
            probing: Probing::due(),
            warned: *warned,
        },
        Lived::Ready { program, ready_at } => Life::Ready {
            process: process(program, spec),
            ready_at: *ready_at,
            health: Probing::resting(now),
        },
        Lived::Unhealthy {
            program,
            ready_at,
            message,
        } => Life::Unhealthy {
            process: process(program, spec),
            ready_at: *ready_at,
            health: Probing::resting(now).saying(message.clone()),
        },
        Lived::Backoff { failure, until } => Life::Backoff {
            failure: failure.clone(),
            until: *until,
        },
        Lived::Stopping {
            body,
            began,
            then,
            phase,
        } => Life::Stopping(Box::new(Stopping {
            spec: Arc::clone(spec),
            body: match body {
                Remains::Unborn => Body::Unborn,
                Remains::Embryo(pid) => Body::Embryo { pid: *pid },
                Remains::Alive(program) => Body::Alive(process(program, spec)),
                Remains::Leftovers => Body::Leftovers,
            },
            began: *began,
            then: then.clone(),
            ladder: spec.stop.clone(),
            phase: phase.clone(),
        })),
        Lived::Completed { status } => Life::Completed { status: *status },
        Lived::Failed {
            failure,
            status,
            retry_at,
        } => Life::Failed {
            failure: failure.clone(),
            status: *status,
            retry_at: *retry_at,
        },
        Lived::Doomed { failure } => Life::Doomed {
            failure: failure.clone(),
        },
    }
}
