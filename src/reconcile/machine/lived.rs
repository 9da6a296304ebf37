//! A life as it is written down, and back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::life::{Again, Body, Life, Phase, Process, Stopping, Then};
use crate::reconcile::fact::ExitStatus;
use crate::reconcile::failure::Failure;
use crate::reconcile::health::Probing;
use crate::spec::Service;

/// A [`Life`] without what belongs to the process that remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Lived {
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Program {
    pub pid: u32,
    pub launched: u32,
    pub spawned_at: u64,
    pub executed_at: u64,
    pub executed_wall: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_text: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Remains {
    Unborn,
    Embryo(u32),
    Alive(Program),
    Leftovers,
    Gone,
}

impl Lived {
    pub fn program_mut(&mut self) -> Option<&mut Program> {
        match self {
            Lived::Launching { program, .. } | Lived::Detached { program, .. } => Some(program),
            Lived::Starting { program, .. } | Lived::Ready { program, .. } | Lived::Unhealthy { program, .. } => {
                Some(program)
            }
            Lived::Stopping { body, .. } => match body {
                Remains::Alive(program) => Some(program),
                Remains::Unborn | Remains::Embryo(_) | Remains::Leftovers | Remains::Gone => None,
            },
            Lived::Stopped | Lived::Waiting | Lived::Spawning { .. } | Lived::Executing { .. } => None,
            Lived::Backoff { .. } | Lived::Completed { .. } | Lived::Failed { .. } | Lived::Doomed { .. } => None,
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

pub(super) fn lived(life: &Life) -> Lived {
    match life {
        Life::Stopped => Lived::Stopped,
        // Its turn comes again.
        // What prepared it ends with the daemon, and is begun anew.
        Life::Waiting { .. } | Life::Gated { .. } | Life::Preparing { .. } => Lived::Waiting,
        Life::Retrying { .. } | Life::Evicting { .. } => Lived::Waiting,
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
                Body::Gone => Remains::Gone,
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

pub(super) fn life(lived: &Lived, spec: &Arc<Service>, now: u64) -> Life {
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
                Remains::Gone => Body::Gone,
            },
            began: *began,
            then: then.clone(),
            ladder: spec.stop.clone(),
            phase: phase.clone(),
            killed: None,
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
