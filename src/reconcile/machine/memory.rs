//! What is written down of a machine, and how the next World makes one of it.
//!
//! A memory holds what can't be read off the processes: how often it was restarted, what was asked for, how far a stop has
//! come. Whether its process is (still) there is for the hands to say, by `Adopted`, `Exited` or `Vanished`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::calendar::Calendar;
use super::life::{Body, Life, Phase, Then};
use super::lived::{Lived, Program, Remains, life, lived};
use super::{Machine, Step};
use crate::reconcile::action::Action;
use crate::reconcile::event::{Author, Cause, EventKind};
use crate::reconcile::restart::History;
use crate::reconcile::snapshot::RunEnd;
use crate::spec::{Condition, Given, ServiceName, Signal};

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed_for: Option<(u32, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calendar: Option<Calendar>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    outputs: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Given::is_empty")]
    given: Given,
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

/// What the hands have found of an earlier daemon's run; as in `Fact::Adopted`.
#[derive(Debug)]
pub(in crate::reconcile) struct Adopted {
    pub pid: u32,
    pub executed: bool,
    pub signalled: Option<Signal>,
    pub ended: bool,
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
            failed_for: None,
            sent: None,
            calendar: None,
            outputs: BTreeMap::new(),
            given: Given::new(),
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

    /// The same with words that may be written: `mask` hides what nobody is to read.
    #[must_use]
    pub fn masked(mut self, mask: &dyn Fn(&str) -> String) -> Memory {
        let hide = |text: &mut String| *text = mask(text);
        hide(&mut self.cause.detail);
        hide(&mut self.asked_cause.detail);
        if let Some((_, _, cause)) = &mut self.sent {
            hide(&mut cause.detail);
        }
        let failures = match &mut self.life {
            Lived::Backoff { failure, .. } => failure.as_mut(),
            Lived::Failed { failure, .. } | Lived::Doomed { failure } => Some(failure),
            Lived::Spawning { again } | Lived::Executing { again, .. } => again.quiet.as_mut(),
            Lived::Stopping { then, phase, .. } => {
                if let Phase::Stuck { failure, .. } = phase {
                    hide(&mut failure.message);
                    failure.suggestion.iter_mut().for_each(hide);
                }
                match then {
                    Then::Judge(judgement) => judgement.result.as_mut().err(),
                    Then::Wish => None,
                }
            }
            Lived::Launching { doubt, .. } | Lived::Detached { doubt, .. } => {
                doubt.iter_mut().for_each(hide);
                None
            }
            Lived::Unhealthy { message, .. } => {
                message.iter_mut().for_each(hide);
                None
            }
            Lived::Stopped | Lived::Waiting | Lived::Completed { .. } => None,
            Lived::Starting { .. } | Lived::Ready { .. } => None,
        };
        if let Some(failure) = failures {
            hide(&mut failure.message);
            failure.suggestion.iter_mut().for_each(hide);
        }
        if let Some((_, message)) = &mut self.failed_for {
            hide(message);
        }
        if let Some(text) = self.life.program_mut().and_then(|program| program.status_text.as_mut()) {
            hide(text);
        }
        self
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
            failed_for: self.failed_for,
            calendar: self.calendar,
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
            failed_for: self.failed_for.clone(),
            calendar: self.calendar.clone(),
            outputs: self.outputs.clone(),
            given: self.given.clone(),
            life: lived(&self.life),
            bonds: Vec::new(),
        }
    }

    /// Becomes what the memory tells of. `spec` is the definition in force now: what of it a running process can't have
    /// is for the World to find.
    pub fn resume(&mut self, memory: &Memory, now: u64) {
        self.run = memory.run;
        self.wish.turn = memory.turn;
        // Who asked for it is not remembered: perhaps somebody by hand.
        self.wish.asked_turn = memory.turn;
        self.wish.patience = memory.patience;
        self.wish.asked_at = memory.asked_at;
        self.wish.cause = memory.asked_cause.clone();
        self.served = memory.served;
        self.asked_run = memory.asked_run;
        self.history = memory.history.clone();
        self.last_end = memory.last_end;
        self.sent = memory.sent.clone();
        self.failed_for = memory.failed_for.clone();
        self.calendar = memory.calendar.clone();
        self.outputs = memory.outputs.clone();
        self.given = memory.given.clone();
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
        if executed && matches!(self.life, Life::Executing { .. } | Life::Stopping(_)) {
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
