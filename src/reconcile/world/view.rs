//! The World as plain data: for `ps` and `why`.

use super::{Node, World};
use crate::reconcile::machine::{Life, Machine};
use crate::reconcile::snapshot::{Blocker, ServiceSnapshot, Snapshot};
use crate::spec::{Gate, Service, ServiceName};

impl World {
    /// All services at this instant. Costs a walk over all of them.
    pub fn snapshot(&self) -> Snapshot {
        let in_file = self
            .order
            .iter()
            .filter_map(|&id| self.node(id))
            .filter(|node| !node.removed);
        let leaving = self
            .nodes
            .iter()
            .flatten()
            .map(|node| &**node)
            .filter(|node| node.removed);
        Snapshot {
            generation: self.generation,
            settled: self.generation > 0 && self.selection.any && self.tally.moving == 0,
            ending: self.ending.is_some(),
            services: in_file.chain(leaving).map(|node| self.service_snapshot(node)).collect(),
        }
    }

    /// One service at this instant, also a removed one of which something is left.
    pub fn service(&self, name: &ServiceName) -> Option<ServiceSnapshot> {
        let node = self.node(*self.by_name.get(name)?)?;
        Some(self.service_snapshot(node))
    }

    fn service_snapshot(&self, node: &Node) -> ServiceSnapshot {
        let machine = &node.machine;
        let process = machine.life.process();
        let (probe_message, probe_attempts) = machine.probe_words();
        ServiceSnapshot {
            name: machine.name().clone(),
            state: machine.life.name(),
            since_ns: machine.since,
            run: machine.run,
            restarts: machine.history.restarts,
            pid: machine.life.pid(),
            started_at_ns: process.map(|process| process.executed_wall),
            started_mono_ns: process.map(|process| process.executed_at),
            last_exit: machine.last_exit,
            failure: machine.life.failure().cloned(),
            waiting_on: self.waiting_on(node),
            probe_message,
            probe_attempts,
            status_text: process.and_then(|process| process.status_text.clone()),
            next_try_at_ns: match &machine.life {
                Life::Backoff { until, .. } => Some(*until),
                Life::Failed { retry_at, .. } => retry_at.filter(|_| machine.lot.wanted),
                _ => None,
            },
            wanted: machine.lot.wanted,
            stopped_by_hand: machine.wish.stopped,
            cause: machine.cause.clone(),
        }
    }

    fn waiting_on(&self, node: &Node) -> Vec<Blocker> {
        match &node.machine.life {
            Life::Waiting { .. } => self.blockers(node),
            // It names the first gate that is shut.
            Life::Gated {
                message: Some(message), ..
            } => vec![Blocker {
                service: None,
                what: message.clone(),
            }],
            Life::Gated { message: None, .. } => {
                let gate = |gate: &Gate| match gate {
                    Gate::Tcp(target) => format!("tcp://{}:{}", target.host, target.port),
                    Gate::Http(url) => url.clone(),
                    Gate::File(path) => format!("file:{}", path.display()),
                };
                let gates = node.machine.spec.wait_for.iter();
                gates
                    .map(|g| Blocker {
                        service: None,
                        what: gate(g),
                    })
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

/// What a plan asks.
impl World {
    /// A service of the definition in force.
    pub(in crate::reconcile) fn present(&self, name: &ServiceName) -> Option<&Machine> {
        self.node(*self.by_name.get(name)?).map(|node| &node.machine)
    }

    /// Whether an `up` of everything, with the profiles that are on, would want it.
    pub(in crate::reconcile) fn starts_by_itself(&self, spec: &Service) -> bool {
        spec.autostart
            && (spec.profiles.is_empty() || spec.profiles.iter().any(|name| self.selection.profiles.contains(name)))
    }

    /// The living dependents that are restarted when this service is.
    pub(in crate::reconcile) fn restarted_with(&self, name: &ServiceName) -> Vec<ServiceName> {
        let Some(node) = self.by_name.get(name).and_then(|&id| self.node(id)) else {
            return Vec::new();
        };
        let bound = node.bonded.iter().filter_map(|&id| self.node(id)).filter(|dependent| {
            let on = node.machine.id;
            !dependent.machine.wish.alone
                && dependent
                    .bonds
                    .iter()
                    .any(|bond| bond.edge.on == on && bond.edge.restart)
        });
        bound.map(|dependent| dependent.machine.name().clone()).collect()
    }
}
