//! The simulated machine: what `daemon::hands` and the guardian would do with each action, and when they would say so.

mod coming;
mod daemons;
mod errands;
mod losses;
mod outcomes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coming::{Coming, Name};
use outcomes::{port_in_use, refusal, status};

use super::body::{Body, Rest, Stage};
use super::dice::Dice;
use crate::reconcile::action::{Action, Purpose};
use crate::reconcile::fact::{ExitStatus, Fact, Incarnation, Outcome, ProbeKind, ServiceId};
use crate::reconcile::failure::{Failure, Reason};
use crate::reconcile::ports::{Holder, PortTaken};
use crate::spec::{Probe, Service, ServiceName, Signal, StopScope};

const MS: u64 = 1_000_000;
/// Numbers of services from here on are those of a daemon that is no more.
const NOBODYS: u32 = 1_000_000;
/// As the guardian's: so long a SIGKILL may take before it is called failed.
const PATIENCE: u64 = 2_000 * MS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preparing {
    Working,
    ToldToEnd,
    Done,
}

#[derive(Default)]
pub struct Host {
    pub now: u64,
    queue: BTreeMap<(u64, u64), Coming>,
    sequence: u64,
    pub bodies: BTreeMap<Incarnation, Body>,
    pub gates: BTreeMap<Incarnation, bool>,
    /// Those that are prepared and not spawned yet.
    pub preparing: BTreeMap<Incarnation, Preparing>,
    /// What the hands say at once of what they were to adopt.
    pub answers: Vec<Fact>,
    /// From now on nothing goes wrong by itself.
    pub kind: bool,
    pids: u32,
}

impl Host {
    pub fn next(&self) -> Option<u64> {
        self.queue.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Whether something of this run is under way that the World will hear of.
    pub fn owes(&self, id: Incarnation) -> bool {
        let is_about = |fact: &Fact| match fact {
            Fact::Adopted { id: of, .. } | Fact::Vanished { id: of } | Fact::Exited { id: of, .. } => *of == id,
            _ => false,
        };
        self.queue.values().any(|coming| coming.is_about(id)) || self.answers.iter().any(is_about)
    }

    fn plan(&mut self, delay: u64, coming: Coming) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), coming);
    }

    /// Lets the next thing happen, at `now`; the World hears of it in these facts.
    pub fn go_on(&mut self, dice: &mut Dice) -> Vec<Fact> {
        let Some((_, coming)) = self.queue.pop_first() else {
            return Vec::new();
        };
        match coming {
            Coming::Born(id, pid) => self.born(id, pid, dice),
            Coming::Executed(id) => self.executed(id, dice),
            Coming::Refused(id, failure) => {
                // What was killed meanwhile may have left a daemon.
                let is_refused = |body: &&mut Body| body.is_alive() && !body.executed;
                let Some(body) = self.bodies.get_mut(&id).filter(is_refused) else {
                    return Vec::new();
                };
                (body.stage, body.failed, body.rest) = (Stage::Ended, true, Rest::None);
                vec![Fact::SpawnFailed { id, failure }]
            }
            Coming::Taken(id, taken) => {
                let Some(body) = self.bodies.get_mut(&id).filter(|body| body.is_alive()) else {
                    return Vec::new();
                };
                (body.stage, body.failed, body.rest) = (Stage::Ended, true, Rest::None);
                vec![Fact::PortTaken { id, taken }]
            }
            Coming::Exit(id, status) => self.exit(id, status, dice),
            Coming::TellExit(id, status, left) => {
                let Some(body) = self.bodies.get_mut(&id) else {
                    return Vec::new();
                };
                // With `process` the rest is none of ours from here on, whatever an edit says later.
                let left_ours = left && body.answers_for_rest();
                (body.exited, body.left) = (true, left_ours);
                let out_of_memory = status == ExitStatus::Signal(Signal::KILL) && dice.once_in(4);
                if left && body.rest == Rest::None {
                    self.plan(0, Coming::TellEmpty(id));
                }
                vec![Fact::Exited {
                    id,
                    status,
                    left,
                    out_of_memory,
                }]
            }
            Coming::Empty(id) => self.empty(id),
            Coming::TellEmpty(id) => {
                let Some(body) = self.bodies.get_mut(&id) else {
                    return Vec::new();
                };
                body.emptied = true;
                vec![Fact::Emptied { id }]
            }
            Coming::Hopeless(id) => self.hopeless(id),
            Coming::Match(id) => {
                let Some(body) = self.bodies.get_mut(&id).filter(|body| body.is_alive()) else {
                    return Vec::new();
                };
                body.matched = true;
                vec![Fact::Nudged { id }]
            }
            Coming::Launched(id) => self.launched(id, dice),
            Coming::Named(id, name) => self.named(id, name, dice),
            Coming::Tell(fact) => self.tell(fact),
        }
    }

    /// From now on nothing goes wrong by itself.
    pub fn calm(&mut self, dice: &mut Dice) {
        self.kind = true;
        let launching = self.bodies.iter().filter(|(_, body)| body.launching);
        let ids: Vec<Incarnation> = launching.map(|(&id, _)| id).collect();
        for id in ids {
            self.plan(dice.delay(500), Coming::Named(id, Name::Daemon));
        }
    }

    pub fn is_main(&self, id: Incarnation, pid: u32) -> bool {
        self.bodies.get(&id).is_none_or(|body| body.pid == pid)
    }

    /// Whether a main process has been replaced or is about to be: what was told of its end is no news of the next.
    pub fn follows(&self, id: Incarnation) -> bool {
        self.bodies
            .get(&id)
            .is_some_and(|body| body.service.followed_pid_file().is_some())
    }

    /// Notes what the World hears.
    pub fn tell(&mut self, fact: Fact) -> Vec<Fact> {
        match &fact {
            Fact::Probed { id, kind, .. } => {
                if let Some(body) = self.bodies.get_mut(id) {
                    body.probing[*kind as usize] = false;
                }
            }
            Fact::GateProbed { id, .. } => drop(self.gates.insert(*id, false)),
            Fact::Prepared { id, result } => {
                match result {
                    Ok(()) => drop(self.preparing.insert(*id, Preparing::Done)),
                    Err(_) => drop(self.preparing.remove(id)),
                }
                if let Some(body) = self.bodies.get_mut(id).filter(|_| result.is_err()) {
                    (body.stage, body.failed, body.rest) = (Stage::Ended, true, Rest::None);
                }
            }
            Fact::OutputFound { id, .. } => match self.bodies.get_mut(id) {
                Some(body) if body.executed => body.told = true,
                _ => return Vec::new(),
            },
            Fact::CommandEnded { id, .. } => {
                if let Some(body) = self.bodies.get_mut(id) {
                    body.commanded = false;
                }
            }
            Fact::Exited { id, left, .. } => {
                if let Some(body) = self.bodies.get_mut(id) {
                    // Told again after a takeover, what was ours is so still, whatever an edit says meanwhile.
                    let was_ours = body.exited && body.left;
                    (body.exited, body.left) = (true, *left && (was_ours || body.answers_for_rest()));
                }
            }
            Fact::MainPidTold { id, pid } => match self.bodies.get_mut(id) {
                Some(body) if body.stage == Stage::Running => (body.pid, body.launching) = (*pid, false),
                _ => return Vec::new(),
            },
            _ => {}
        }
        vec![fact]
    }

    fn born(&mut self, id: Incarnation, pid: u32, dice: &mut Dice) -> Vec<Fact> {
        if let Some(body) = self.bodies.get_mut(&id) {
            (body.stage, body.pid) = (Stage::Born, pid);
        }
        if !self.kind && dice.once_in(16) {
            self.plan(dice.delay(20), Coming::Refused(id, refusal(dice)));
        } else if self.kind || !dice.once_in(40) {
            // Else it hangs in execve(2) until somebody kills it.
            self.plan(dice.delay(20), Coming::Executed(id));
        }
        vec![Fact::Spawned { id, pid }]
    }

    fn executed(&mut self, id: Incarnation, dice: &mut Dice) -> Vec<Fact> {
        let Some(body) = self.bodies.get_mut(&id).filter(|body| body.stage == Stage::Born) else {
            return Vec::new();
        };
        (body.stage, body.executed) = (Stage::Running, true);
        let daemon = body.launching;
        let oneshot = body.service.kind == crate::spec::Kind::Oneshot;
        let good = body
            .service
            .success_exit_codes
            .first()
            .map_or(0, |&code| i32::from(code));
        let outputs = body.service.outputs.keys().cloned().collect::<Vec<_>>();
        let memory_limit = body.service.memory_limit;
        let mut aside = dice.aside();
        for name in outputs {
            let value = format!("{name} of run {}", id.run);
            self.plan(aside.delay(300), Coming::Tell(Fact::OutputFound { id, name, value }));
        }
        if let Some(limit) = memory_limit.filter(|_| !self.kind) {
            let bytes = limit + aside.below(2);
            self.plan(aside.delay(5_000), Coming::Tell(Fact::MemoryUsed { id, bytes }));
        }
        if self.kind || !dice.once_in(6) {
            self.plan(dice.delay(300), Coming::Match(id));
        }
        if daemon {
            self.daemonise(id, dice);
        }
        if oneshot && (self.kind || !dice.once_in(8)) {
            let status = if self.kind {
                ExitStatus::Code(good)
            } else {
                status(dice)
            };
            self.plan(dice.delay(2_000), Coming::Exit(id, status));
        } else if !self.kind && dice.once_in(3) {
            let status = status(dice);
            self.plan(dice.delay(5_000), Coming::Exit(id, status));
        }
        vec![Fact::Executed { id }]
    }

    fn exit(&mut self, id: Incarnation, status: ExitStatus, dice: &mut Dice) -> Vec<Fact> {
        let Some(body) = self.bodies.get_mut(&id).filter(|body| body.is_alive()) else {
            return Vec::new();
        };
        // The report of exec comes first, whatever ended it.
        let mut facts = Vec::new();
        if !std::mem::replace(&mut body.executed, true) {
            facts.push(Fact::Executed { id });
        }
        (body.stage, body.status) = (Stage::Ended, status);
        let left = body.rest != Rest::None;
        let (killed, launching) = (body.killed, body.launching);
        let drain = if dice.once_in(4) { dice.delay(50) } else { 0 };
        self.plan(drain, Coming::TellExit(id, status, left));
        if left && killed.is_some() {
            self.kill_rest(id, dice);
        } else if left && (self.kind && !launching || dice.once_in(if launching { 8 } else { 2 })) {
            self.plan(dice.delay(20_000), Coming::Empty(id));
        }
        facts
    }

    fn empty(&mut self, id: Incarnation) -> Vec<Fact> {
        let Some(body) = self.bodies.get_mut(&id) else {
            return Vec::new();
        };
        if body.stage != Stage::Ended || body.rest == Rest::None {
            return Vec::new();
        }
        body.rest = Rest::None;
        if body.exited {
            self.plan(0, Coming::TellEmpty(id));
        }
        Vec::new()
    }

    fn hopeless(&mut self, id: Incarnation) -> Vec<Fact> {
        let now = self.now;
        let Some(body) = self.bodies.get_mut(&id) else {
            return Vec::new();
        };
        let gone = !body.is_alive() && body.rest == Rest::None;
        if gone || body.stuck_until <= now {
            return Vec::new();
        }
        body.kill_failed = true;
        let leftovers = vec!["pid 7 (stuck, uninterruptible)".to_owned()];
        vec![Fact::KillFailed { id, leftovers }]
    }

    /// Something outside does this to a living process.
    pub fn strike(&mut self, dice: &mut Dice) {
        let alive: Vec<Incarnation> = self
            .bodies
            .iter()
            .filter(|(_, body)| body.stage == Stage::Running)
            .map(|(&id, _)| id)
            .collect();
        if !alive.is_empty() {
            let (id, status) = (alive[dice.index(alive.len())], status(dice));
            self.plan(0, Coming::Exit(id, status));
        }
    }

    /// Words of a living process: a nudge, a status, another main process.
    pub fn whisper(&mut self, dice: &mut Dice) {
        let mut running = self.bodies.iter().filter(|(_, body)| body.stage == Stage::Running);
        let Some((&id, _)) = running.next_back() else { return };
        let pid = 90_000 + dice.below(100) as u32;
        let fact = match dice.below(3) {
            0 => Fact::Nudged { id },
            1 => Fact::StatusTold {
                id,
                text: "busy".to_owned(),
            },
            _ => Fact::MainPidTold { id, pid },
        };
        self.plan(0, Coming::Tell(fact));
    }

    pub fn perform(&mut self, action: &Action, dice: &mut Dice) {
        match action {
            Action::Spawn {
                id, service, elsewhere, ..
            } => self.spawn(*id, service, *elsewhere, dice),
            Action::Evict { id, .. } => {
                let result = match self.kind || !dice.once_in(4) {
                    true => Ok("its holder has ended".to_owned()),
                    false => Err(port_in_use()),
                };
                self.plan(dice.delay(3_000), Coming::Tell(Fact::Evicted { id: *id, result }));
            }
            Action::CancelEviction { id } => {
                // The answer may have been on its way already.
                if !dice.once_in(4) {
                    self.queue.retain(|_, coming| !coming.is_about(*id));
                }
            }
            Action::Adopt { id, service, .. } => self.adopt(*id, service),
            Action::Signal { id, signal, scope } => self.signal(*id, *signal, *scope, dice),
            Action::Kill { id, scope } => self.kill(*id, *scope, dice),
            // Of those that people send, only SIGKILL is sure to do something.
            Action::Deliver { id, signal } => {
                if *signal == Signal::KILL && self.bodies.contains_key(id) {
                    self.plan(dice.delay(10), Coming::Exit(*id, ExitStatus::Signal(*signal)));
                }
            }
            Action::Release { id } => {
                self.bodies.remove(id);
                self.preparing.remove(id);
                self.queue.retain(|_, coming| !coming.is_about(*id));
            }
            Action::Probe {
                id,
                kind,
                attempt,
                service,
            } => self.probe(*id, *kind, *attempt, service, dice),
            Action::CancelProbes { id } => {
                if let Some(body) = self.bodies.get_mut(id) {
                    body.probing = [false; 2];
                }
                self.gates.remove(id);
                // The answer may have been on its way already.
                if !dice.once_in(4) {
                    self.queue.retain(|_, coming| coming.probe() != Some(*id));
                }
            }
            Action::ProbeGate { id, attempt, .. } => {
                self.gates.insert(*id, true);
                let outcome = self.outcome(dice);
                let fact = Fact::GateProbed {
                    id: *id,
                    attempt: *attempt,
                    outcome,
                };
                self.plan(dice.delay(500), Coming::Tell(fact));
            }
            Action::Prepare { id, service, .. } => self.prepare(*id, service, dice),
            Action::CancelPrepare { id } => self.cancel_prepare(*id, dice),
            Action::Rewrite { id, .. } => {
                let result = Ok(dice.once_in(2));
                self.plan(dice.delay(50), Coming::Tell(Fact::Rewritten { id: *id, result }));
            }
            Action::Run {
                id, purpose, timeout, ..
            } => self.run(*id, *purpose, timeout.as_nanos() as u64, dice),
            Action::CancelRun { id, purpose } => {
                if let Some(body) = self.bodies.get_mut(id) {
                    body.commanded = false;
                }
                self.queue
                    .retain(|_, coming| !matches!(coming, Coming::Tell(Fact::CommandEnded { id: of, purpose: what, .. }) if of == id && what == purpose));
            }
            Action::Adjust { id, service } => {
                if let Some(body) = self.bodies.get_mut(id) {
                    body.service = Arc::clone(service);
                }
            }
            Action::Renumber { .. } | Action::Publish(_) | Action::End(_) => {}
        }
    }

    fn spawn(&mut self, id: Incarnation, service: &Arc<Service>, elsewhere: bool, dice: &mut Dice) {
        self.preparing.remove(&id);
        self.bodies
            .insert(id, Body::new(Arc::clone(service), id.run, dice, self.kind));
        let port = service
            .ports
            .keys()
            .next()
            .filter(|_| !self.kind && !elsewhere && dice.once_in(8));
        if let Some(port) = port {
            let holders = [
                Holder::Leftover,
                Holder::Stranger,
                Holder::Spared("another's".to_owned()),
            ];
            let taken = PortTaken {
                port: port.clone(),
                holder: holders[dice.index(holders.len())].clone(),
                failure: port_in_use(),
            };
            self.plan(dice.delay(10), Coming::Taken(id, taken));
        } else if !self.kind && dice.once_in(10) {
            self.plan(dice.delay(10), Coming::Refused(id, refusal(dice)));
        } else {
            self.pids += 1;
            self.plan(dice.delay(50), Coming::Born(id, self.pids));
        }
    }

    fn signal(&mut self, id: Incarnation, signal: Signal, scope: StopScope, dice: &mut Dice) {
        let Some(body) = self.bodies.get_mut(&id) else { return };
        body.signalled = Some(signal);
        if body.deaf > 0 && !self.kind {
            body.deaf -= 1;
            return;
        }
        if body.is_alive() {
            let status = dice.pick(&[ExitStatus::Signal(signal), ExitStatus::Code(0), ExitStatus::Code(143)]);
            self.plan(dice.delay(200), Coming::Exit(id, status));
        } else if scope != StopScope::Process && body.rest == Rest::Group {
            self.plan(dice.delay(200), Coming::Empty(id));
        }
    }

    fn kill(&mut self, id: Incarnation, scope: StopScope, dice: &mut Dice) {
        let Some(body) = self.bodies.get_mut(&id) else { return };
        if body.killed.is_none() && !self.kind && dice.once_in(6) {
            body.stuck_until = self.now + dice.pick(&[1, 3_000, 15_000, 40_000]) * MS;
        }
        body.killed = Some(scope);
        let stuck_for = body.stuck_until.saturating_sub(self.now);
        if stuck_for > 0 {
            self.plan(PATIENCE, Coming::Hopeless(id));
        }
        if self.bodies[&id].is_alive() {
            self.plan(
                stuck_for + dice.delay(5),
                Coming::Exit(id, ExitStatus::Signal(Signal::KILL)),
            );
        } else {
            self.kill_rest(id, dice);
        }
    }

    /// A group or tree that was killed ends; who is not of the group ends in a sweep of the tree only.
    fn kill_rest(&mut self, id: Incarnation, dice: &mut Dice) {
        let body = &self.bodies[&id];
        let reached = match (body.killed, body.rest) {
            (Some(StopScope::Tree), _) | (Some(StopScope::Group), Rest::Group) => true,
            (Some(StopScope::Group | StopScope::Process) | None, _) => false,
        };
        if reached {
            let stuck_for = body.stuck_until.saturating_sub(self.now);
            self.plan(stuck_for + dice.delay(5), Coming::Empty(id));
        }
    }
}
