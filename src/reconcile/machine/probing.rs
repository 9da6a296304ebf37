//! A program that runs: readiness, its time limits, health.

use std::sync::Arc;
use std::time::Duration;

use super::life::{Body, Judgement, Life, Then, readiness};
use super::{Machine, Step};
use crate::reconcile::action::Action;
use crate::reconcile::event::{Author, Cause, EventKind};
use crate::reconcile::fact::{Outcome, ProbeKind};
use crate::reconcile::failure::Failure;
use crate::reconcile::health::Probing;
use crate::reconcile::timers::after;
use crate::reconcile::words;
use crate::spec::{Kind, Service};

/// After so long without a `start_timeout`, "still starting" is said once.
const STILL_STARTING: Duration = Duration::from_secs(60);

/// The instant at which a start has taken too long.
fn start_limit(spec: &Service, spawned_at: u64) -> Option<u64> {
    spec.start_timeout.map(|limit| after(spawned_at, limit))
}

/// The instant at which a oneshot has run too long.
fn run_limit(spec: &Service, executed_at: u64) -> Option<u64> {
    match spec.kind {
        Kind::Oneshot => spec.timeout.map(|limit| after(executed_at, limit)),
        Kind::Simple => None,
    }
}

impl Machine {
    pub(super) fn starting_deadline(&self) -> Option<u64> {
        match &self.life {
            Life::Executing { spec, spawned_at, .. } => self.unless_going(start_limit(spec, *spawned_at)),
            Life::Starting {
                process,
                probing,
                warned,
            } => {
                let spec = &process.spec;
                let run_limit = self.unless_going(run_limit(spec, process.executed_at));
                let Some(probe) = readiness(spec) else {
                    return run_limit;
                };
                let attempt = probing.next_eager(probe.interval, probe.check.is_event_driven(), process.executed_at);
                let limit = start_limit(spec, process.spawned_at);
                let warning = (limit.is_none() && !warned).then(|| after(process.executed_at, STILL_STARTING));
                [attempt, self.unless_going(limit), warning, run_limit]
                    .into_iter()
                    .flatten()
                    .min()
            }
            _ => None,
        }
    }

    pub(super) fn pursue_starting(&mut self, step: &mut Step) -> bool {
        if let Some(failure) = self.start_overdue(step.now.mono_ns) {
            let judgement = Judgement::failed(failure, None);
            self.stop(
                Then::Judge(judgement),
                Cause::new(Author::Runner, "start_timeout"),
                step,
            );
            return true;
        }
        if matches!(self.life, Life::Starting { .. }) && self.is_ready_at_once() {
            self.become_ready(None, step);
            return true;
        }
        self.attempt_readiness(step);
        false
    }

    /// What is about to be stopped anyway is not stopped for its lateness: the order of the graph decides when.
    pub(super) fn unless_going(&self, limit: Option<u64>) -> Option<u64> {
        limit.filter(|_| !self.lot.going)
    }

    fn start_overdue(&self, now: u64) -> Option<Failure> {
        let reached = |limit: Option<u64>| self.unless_going(limit).is_some_and(|at| at <= now);
        match &self.life {
            Life::Executing { spec, spawned_at, .. } if reached(start_limit(spec, *spawned_at)) => {
                Some(words::exec_hangs(spec, spec.start_timeout?))
            }
            Life::Starting { process, probing, .. } => {
                let spec = &process.spec;
                if reached(run_limit(spec, process.executed_at)) {
                    return Some(words::took_too_long(spec, spec.timeout?));
                }
                readiness(spec)?;
                reached(start_limit(spec, process.spawned_at)).then_some(())?;
                Some(words::start_timeout(
                    self.actual().as_deref().unwrap_or(spec),
                    spec.start_timeout?,
                    probing.message.as_deref(),
                    probing.attempt,
                ))
            }
            _ => None,
        }
    }

    fn attempt_readiness(&mut self, step: &mut Step) {
        let (id, now, actual) = (self.incarnation(), step.now.mono_ns, self.actual());
        let Life::Starting {
            process,
            probing,
            warned,
        } = &mut self.life
        else {
            return;
        };
        let Some(probe) = readiness(&process.spec) else { return };
        let next = probing.next_eager(probe.interval, probe.check.is_event_driven(), process.executed_at);
        if next.is_some_and(|at| at <= now) {
            let attempt = probing.ask();
            let service = Arc::clone(&process.spec);
            step.out.push(Action::Probe {
                id,
                kind: ProbeKind::Ready,
                attempt,
                service,
            });
        }
        let silent = process.spec.start_timeout.is_some() || *warned;
        if !silent && after(process.executed_at, STILL_STARTING) <= now {
            *warned = true;
            let spec = actual.as_deref().unwrap_or(&process.spec);
            let message = words::still_starting(spec, STILL_STARTING, probing.message.as_deref());
            self.warn(message, step);
        }
    }

    fn become_ready(&mut self, probe: Option<String>, step: &mut Step) {
        let now = step.now.mono_ns;
        let Life::Starting { process, .. } = self.take_life() else {
            return;
        };
        let after_ns = now.saturating_sub(process.executed_at);
        let cause = match &probe {
            Some(what) => Cause::new(Author::Probe, what.clone()),
            None => self.cause.clone(),
        };
        self.enter(
            Life::Ready {
                process,
                ready_at: now,
                health: Probing::resting(now),
            },
            cause.clone(),
            step,
        );
        self.publish(EventKind::Ready { after_ns, probe }, cause, step);
        self.hook_post_ready(step);
        self.rewrite_what_is_stale(step);
    }

    pub(super) fn health_deadline(&self) -> Option<u64> {
        let (Life::Ready { process, health, .. } | Life::Unhealthy { process, health, .. }) = &self.life else {
            return None;
        };
        let attempt = process
            .spec
            .health
            .as_ref()
            .and_then(|probe| health.next_steady(probe.interval));
        let limit = self.unless_going(run_limit(&process.spec, process.executed_at));
        [attempt, limit].into_iter().flatten().min()
    }

    pub(super) fn pursue_ready(&mut self, step: &mut Step) -> bool {
        let (id, now) = (self.incarnation(), step.now.mono_ns);
        let (unhealthy, going) = (matches!(self.life, Life::Unhealthy { .. }), self.lot.going);
        let (Life::Ready {
            process,
            health,
            ready_at,
        }
        | Life::Unhealthy {
            process,
            health,
            ready_at,
        }) = &mut self.life
        else {
            return false;
        };
        if !going && run_limit(&process.spec, process.executed_at).is_some_and(|at| at <= now) {
            let limit = process.spec.timeout.unwrap_or_default();
            let failure = words::took_too_long(&process.spec, limit);
            let judgement = Judgement::failed(failure, Some(now.saturating_sub(*ready_at)));
            self.stop(Then::Judge(judgement), Cause::new(Author::Runner, "timeout"), step);
            return true;
        }
        let Some(probe) = &process.spec.health else {
            // A live edit took the probe away: nothing says any more that it is unhealthy.
            if unhealthy {
                self.turn_healthy(Cause::new(Author::File, "health probe removed"), step);
            }
            return unhealthy;
        };
        if health.next_steady(probe.interval).is_some_and(|at| at <= now) {
            let attempt = health.ask();
            let service = Arc::clone(&process.spec);
            step.out.push(Action::Probe {
                id,
                kind: ProbeKind::Health,
                attempt,
                service,
            });
        }
        false
    }

    pub fn on_probed(&mut self, kind: ProbeKind, attempt: u32, outcome: &Outcome, step: &mut Step) {
        match kind {
            ProbeKind::Ready => self.on_readiness(attempt, outcome, step),
            ProbeKind::Health => self.on_health(attempt, outcome, step),
        }
    }

    fn on_readiness(&mut self, attempt: u32, outcome: &Outcome, step: &mut Step) {
        let (now, actual) = (step.now.mono_ns, self.actual());
        let Life::Starting { process, probing, .. } = &mut self.life else {
            return;
        };
        if !probing.answer(attempt, outcome, now) {
            return;
        }
        let Some(probe) = readiness(&process.spec) else { return };
        let counts = now >= after(process.executed_at, probe.start_period);
        probing.count(outcome, counts);
        if probing.succeeded(probe) {
            let shown = actual.as_deref().and_then(readiness).unwrap_or(probe);
            let what = words::check(&shown.check);
            self.become_ready(Some(what), step);
        }
    }

    fn on_health(&mut self, attempt: u32, outcome: &Outcome, step: &mut Step) {
        let (now, actual) = (step.now.mono_ns, self.actual());
        let unhealthy = matches!(self.life, Life::Unhealthy { .. });
        let (Life::Ready {
            process,
            health,
            ready_at,
        }
        | Life::Unhealthy {
            process,
            health,
            ready_at,
        }) = &mut self.life
        else {
            return;
        };
        if !health.answer(attempt, outcome, now) {
            return;
        }
        let Some(probe) = &process.spec.health else { return };
        health.count(outcome, now >= after(*ready_at, probe.start_period));
        let spec = actual.as_deref().unwrap_or(&process.spec);
        if unhealthy && health.succeeded(probe) {
            let what = words::check(&spec.health.as_ref().unwrap_or(probe).check);
            self.turn_healthy(Cause::new(Author::Probe, what), step);
        } else if health.failed(probe) {
            let message = words::unhealthy(spec, health.message.as_deref());
            // While it is about to go anyway, the order of the graph decides when.
            let fatal = probe.restart_on_failure && !self.lot.going;
            let (failure, ready_for) = (
                words::health_failed(spec, message.clone()),
                now.saturating_sub(*ready_at),
            );
            let cause = Cause::new(Author::Probe, message.clone());
            if !unhealthy {
                self.turn_unhealthy(message, step);
            }
            if fatal {
                self.stop(Then::Judge(Judgement::failed(failure, Some(ready_for))), cause, step);
            }
        }
    }

    fn turn_healthy(&mut self, cause: Cause, step: &mut Step) {
        let Life::Unhealthy {
            process,
            ready_at,
            health,
        } = self.take_life()
        else {
            return;
        };
        self.enter(
            Life::Ready {
                process,
                ready_at,
                health,
            },
            cause.clone(),
            step,
        );
        self.publish(EventKind::Recovered, cause, step);
    }

    fn turn_unhealthy(&mut self, message: String, step: &mut Step) {
        let Life::Ready {
            process,
            ready_at,
            health,
        } = self.take_life()
        else {
            return;
        };
        let cause = Cause::new(Author::Probe, message.clone());
        self.enter(
            Life::Unhealthy {
                process,
                ready_at,
                health,
            },
            cause.clone(),
            step,
        );
        self.publish(EventKind::Unhealthy { message }, cause, step);
    }

    pub fn on_nudged(&mut self) {
        if let Life::Starting { probing, .. } = &mut self.life {
            probing.nudge();
        }
    }

    pub fn on_status_told(&mut self, text: String) {
        if let Some(process) = self.life.process_mut() {
            process.status_text = Some(text);
        }
    }

    /// What is not as it should be with a service that is ready, though nothing is done about it.
    pub fn remark(&self) -> Option<String> {
        let Life::Ready { process, health, .. } = &self.life else {
            return None;
        };
        let doubt = self.doubt.as_ref().filter(|(run, _)| *run == self.run);
        match (doubt, health.unknown()) {
            (Some((_, doubt)), _) => {
                let file = words::awaited(&process.spec, Some(doubt));
                file.map(|file| format!("not believed: {file}"))
            }
            (None, Some(words)) => Some(format!("its health is not known: {words}")),
            (None, None) => None,
        }
    }

    /// How often readiness was tried and what it said last.
    pub fn probe_words(&self) -> (Option<String>, u32) {
        match &self.life {
            Life::Gated { attempt, message, .. } => (message.clone(), *attempt),
            Life::Starting { process, probing, .. } => {
                let actual = self.actual();
                let spec = actual.as_deref().unwrap_or(&process.spec);
                let what = readiness(spec).map(|probe| words::check(&probe.check));
                let words = what.map(|what| match &probing.message {
                    Some(last) => format!("{what} ({last})"),
                    None => what,
                });
                (words, probing.attempt)
            }
            Life::Unhealthy { health, .. } => (health.message.clone(), health.attempt),
            Life::Launching { process, doubt } | Life::Detached { process, doubt, .. } => {
                (words::awaited(&process.spec, doubt.as_deref()), 0)
            }
            Life::Ready { .. } => (self.remark(), 0),
            Life::Stopping(stopping) if matches!(stopping.body, Body::Leftovers) => (Some(words::left_others()), 0),
            _ => (None, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::timers::nanos;

    #[test]
    fn readiness_is_tried_every_50_ms_rising_to_the_interval() {
        let mut probing = Probing::due();
        let interval = Duration::from_secs(10);
        let (mut now, mut rests) = (0, Vec::new());
        for _ in 0..200 {
            let attempt = probing.ask();
            probing.answer(attempt, &Outcome::Failure("refused".into()), now);
            let next = probing.next_eager(interval, false, 0).expect("timed");
            rests.push(next - now);
            now = next;
        }
        assert_eq!(rests[0], 50_000_000);
        assert!(rests.windows(2).all(|pair| pair[0] <= pair[1]), "never faster again");
        assert_eq!(rests.last(), Some(&nanos(interval)));
    }
}
