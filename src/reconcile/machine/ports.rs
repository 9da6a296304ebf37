//! A port of it is held by somebody else.

use std::sync::Arc;
use std::time::Duration;

use super::life::{Again, Body, Life};
use super::{Machine, Permit, Step};
use crate::reconcile::action::Action;
use crate::reconcile::failure::{Failure, Reason};
use crate::reconcile::ports::{Holder, PortTaken, Resolution, Tried, resolve};
use crate::reconcile::timers::after;
use crate::spec::Service;

/// So long another number for an `"auto"` port is waited for, before the old one is tried again.
const RENUMBER_REST: Duration = Duration::from_secs(2);

impl Machine {
    pub fn on_port_taken(&mut self, taken: PortTaken, step: &mut Step) {
        let (spec, again) = match self.take_life() {
            Life::Spawning { spec, again } => (spec, again),
            Life::Stopping(stopping) if matches!(stopping.body, Body::Unborn) => {
                return self.finish(stopping.then, step);
            }
            other => {
                self.life = other;
                return;
            }
        };
        step.out.push(Action::Release { id: self.incarnation() });
        if self.lot.going {
            self.rest(step);
            return;
        }
        let Again { busy, quiet, ports } = again;
        let again = |ports| Again {
            busy,
            quiet: quiet.clone(),
            ports,
        };
        let message = &taken.failure.message;
        match resolve(&spec, &taken, &ports) {
            Resolution::Evict(ladder) => {
                self.warn(
                    match taken.holder {
                        Holder::Leftover => {
                            format!("{message}: left over from an earlier run of this project, it is stopped first")
                        }
                        _ => format!("{message}: it is ended first (on_port_conflict)"),
                    },
                    step,
                );
                let id = self.incarnation();
                step.out.push(Action::Evict { id, ladder });
                let again = again(Tried {
                    evictions: ports.evictions + 1,
                    ..ports
                });
                self.enter(Life::Evicting { again, ended: false }, self.cause.clone(), step);
            }
            Resolution::Elsewhere => {
                let again = again(Tried {
                    elsewhere: true,
                    ..ports
                });
                let until = step.now.mono_ns;
                self.enter(Life::Retrying { again, until }, self.cause.clone(), step);
            }
            Resolution::Renumber => {
                self.warn(format!("{message}: the `auto` port gets another number"), step);
                step.out.push(Action::Renumber {
                    service: spec.name.clone(),
                    port: taken.port,
                });
                let again = again(Tried {
                    numbers: ports.numbers + 1,
                    ..ports
                });
                let until = after(step.now.mono_ns, RENUMBER_REST);
                self.enter(Life::Retrying { again, until }, self.cause.clone(), step);
            }
            Resolution::Fail(failure) => self.fail_to_start(failure, quiet, step),
        }
    }

    pub fn on_ports_moved(&mut self, actual: Arc<Service>, words: Vec<String>, step: &mut Step) {
        self.actual = Some((self.run, actual));
        for words in words {
            self.warn(words, step);
        }
    }

    /// The current run with its real ports, if those are not the declared ones: for words only, never to be compared.
    pub(super) fn actual(&self) -> Option<Arc<Service>> {
        let (run, actual) = self.actual.as_ref()?;
        (*run == self.run).then(|| Arc::clone(actual))
    }

    pub fn on_evicted(&mut self, result: Result<String, Failure>, step: &mut Step) {
        let again = match &mut self.life {
            Life::Evicting { again, ended } if !*ended => {
                *ended = result.is_ok();
                again.clone()
            }
            _ => return,
        };
        match result {
            Ok(words) => self.warn(words, step),
            Err(failure) => self.fail_to_start(failure, again.quiet, step),
        }
    }

    pub(super) fn pursue_evicting(&mut self, permit: Permit, step: &mut Step) -> bool {
        let Life::Evicting { again, ended } = &self.life else {
            return false;
        };
        if !self.lot.wanted {
            if !ended {
                step.out.push(Action::CancelEviction { id: self.incarnation() });
            }
            return self.rest(step);
        }
        if !ended {
            return false;
        }
        if self.wish.turn != self.served || !matches!(permit, Permit::Free) {
            self.enter(Life::Waiting { told: false }, self.cause.clone(), step);
            return true;
        }
        self.begin(again.clone(), step)
    }

    /// Who held its port is gone: a quiet try need not wait for its time.
    pub fn on_holder_ended(&mut self, run: u32, now: u64) {
        if let Life::Failed {
            failure,
            retry_at: Some(at),
            ..
        } = &mut self.life
            && self.run == run
            && failure.reason == Reason::PortInUse
        {
            *at = now.min(*at);
        }
    }
}
