//! Attempts of probes and gates, as tasks beside the loop.

use std::sync::Arc;
use std::time::Duration;

use super::{Hands, Task};
use crate::daemon::surroundings::RunSurroundings;
use crate::fault::point;
use crate::probe;
use crate::reconcile::{Fact, Incarnation, Outcome, ProbeKind};
use crate::spec::Service;

/// One attempt at all gates of `wait_for`.
const GATE_TIMEOUT: Duration = Duration::from_secs(3);

impl Hands {
    pub(super) fn probe(&mut self, id: Incarnation, kind: ProbeKind, attempt: u32) {
        let Some(run) = self.runs.get(&id) else { return };
        let service = run.service.clone();
        let probe = match kind {
            ProbeKind::Ready => &service.ready,
            ProbeKind::Health => &service.health,
        };
        let Some(probe) = probe.clone() else { return };
        let surroundings = RunSurroundings {
            id,
            witness: run.witness.clone(),
            tickets: self.tickets.clone(),
            census: self.census.clone(),
            inbox: self.inbox.clone(),
        };
        self.start_task(id, Task::Probe(kind), async move {
            point!("daemon.probe-begun");
            let outcome = probe::attempt(&probe.check, kind, probe.timeout, probe.interval, &surroundings).await;
            point!("daemon.probe-ended");
            let outcome = match (kind, outcome) {
                (ProbeKind::Ready, Outcome::Failure(words)) => {
                    Outcome::Failure(words + &surroundings.elsewhere(&service, attempt).await)
                }
                (_, outcome) => outcome,
            };
            Fact::Probed {
                id,
                kind,
                attempt,
                outcome,
            }
        });
    }

    pub(super) fn probe_gates(&mut self, id: Incarnation, attempt: u32, service: Arc<Service>) {
        let service = self.actual(&service).unwrap_or(service);
        self.start_task(id, Task::Gate, async move {
            let outcome = probe::attempt_gates(&service.wait_for, GATE_TIMEOUT).await;
            Fact::GateProbed { id, attempt, outcome }
        });
    }
}
