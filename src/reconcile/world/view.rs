//! The World as plain data: for `ps` and `why`.

use std::collections::BTreeSet;

use super::{Bond, Node, World};
use crate::reconcile::fact::ServiceId;
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
            services: in_file.chain(leaving).map(|node| self.service_snapshot(node)).collect(),
            ..self.snapshot_of_none()
        }
    }

    /// The project without its services.
    pub fn snapshot_of_none(&self) -> Snapshot {
        Snapshot {
            generation: self.generation,
            settled: self.is_settled().is_some(),
            services: Vec::new(),
        }
    }

    /// One service at this instant, also a removed one of which something is left.
    pub fn service(&self, name: &ServiceName) -> Option<ServiceSnapshot> {
        let node = self.node(*self.by_name.get(name)?)?;
        Some(self.service_snapshot(node))
    }

    /// When the latest run was ordered, monotonic; 0: by an earlier daemon, or there was none.
    pub fn ordered_at(&self, name: &ServiceName) -> u64 {
        let node = self.by_name.get(name).and_then(|&id| self.node(id));
        node.map_or(0, |node| node.machine.ordered_at)
    }

    fn service_snapshot(&self, node: &Node) -> ServiceSnapshot {
        let machine = &node.machine;
        let process = machine.life.process();
        let (probe_message, probe_attempts) = machine.probe_words();
        ServiceSnapshot {
            name: machine.name().clone(),
            state: machine.state(),
            since_ns: machine.since,
            run: machine.run,
            restarts: machine.history.restarts,
            pid: machine.life.pid(),
            started_at_ns: process.map(|process| process.executed_wall),
            started_mono_ns: process.map(|process| process.executed_at),
            last_end: machine.last_end,
            failure: machine.life.failure().cloned(),
            waiting_on: self.waiting_on(node),
            probe_message,
            probe_attempts,
            outputs: machine.outputs.clone(),
            status_text: match &machine.life {
                Life::Preparing { doing, .. } => doing.clone(),
                _ => process.and_then(|process| process.status_text.clone()),
            },
            next_try_at_ns: match &machine.life {
                Life::Backoff { until, .. } => Some(*until),
                Life::Failed { retry_at, .. } => retry_at.filter(|_| machine.lot.wanted),
                _ => None,
            },
            next_run: machine.next_run,
            wanted: machine.lot.wanted,
            stopped_by_hand: machine.wish.stopped,
            adopted: machine.adopted_run == machine.run && process.is_some(),
            cause: machine.cause.clone(),
            deferred: self.deferral(machine.id).map(|(on, halted)| (on.clone(), halted)),
        }
    }

    pub(super) fn waiting_on(&self, node: &Node) -> Vec<Blocker> {
        match &node.machine.life {
            Life::Waiting { .. } => self.blockers(node),
            // It names the gates that are shut.
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
    /// The number of the definition in force, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether an `up` of everything, with the profiles that are on, would want it.
    pub(in crate::reconcile) fn starts_by_itself(&self, spec: &Service) -> bool {
        spec.autostart
            && (spec.profiles.is_empty() || spec.profiles.iter().any(|name| self.selection.profiles.contains(name)))
    }

    /// The services of the definition in force, in its order.
    pub(in crate::reconcile) fn in_order(&self) -> impl Iterator<Item = ServiceId> + '_ {
        self.order.iter().copied()
    }

    /// Services that are no longer in the file and still there.
    pub(in crate::reconcile) fn leaving(&self) -> impl Iterator<Item = &Machine> {
        let nodes = self.nodes.iter().flatten();
        nodes.filter(|node| node.removed).map(|node| &node.machine)
    }

    /// Who goes on to lack something that failed for good. Dependencies come before dependents, so that the end of one
    /// failure frees the whole chain behind it.
    pub(in crate::reconcile) fn doomed(&self) -> BTreeSet<ServiceId> {
        let is_doomed = |node: &&Node| matches!(node.machine.life, Life::Doomed { .. });
        let mut nodes: Vec<&Node> = self
            .nodes
            .iter()
            .flatten()
            .map(|node| &**node)
            .filter(is_doomed)
            .collect();
        nodes.sort_by_key(|node| node.rank);
        let mut doomed = BTreeSet::new();
        for node in nodes {
            let freed = |on: ServiceId| self.node(on).is_some_and(|on| is_doomed(&on)) && !doomed.contains(&on);
            if self.doom_but(node, freed).is_some() {
                doomed.insert(node.machine.id);
            }
        }
        doomed
    }

    /// The living dependents that are restarted when it comes as another run.
    pub(in crate::reconcile) fn restarted_with(&self, id: ServiceId) -> impl Iterator<Item = &Machine> {
        let bonded = self.node(id).into_iter().flat_map(|node| &node.bonded);
        let bound = bonded.filter_map(|&dependent| self.node(dependent));
        let takes_along = move |node: &&Node| {
            let restarts = |bond: &Bond| bond.edge.on == id && bond.edge.restart && bond.run != 0;
            !node.machine.wish.alone && node.bonds.iter().any(restarts)
        };
        bound.filter(takes_along).map(|node| &node.machine)
    }

    /// `web needs it`, of a service that is wanted for others only.
    pub(in crate::reconcile) fn needed_by(&self, id: ServiceId) -> Option<String> {
        let node = self.node(id)?;
        if node.machine.wish.named || self.selection.all && self.starts_by_itself(&node.machine.spec) {
            return None;
        }
        let mut dependents = node.dependents.iter().filter_map(|&id| self.machine(id));
        let dependent = dependents.find(|dependent| dependent.lot.desired)?;
        Some(format!("{} needs it", dependent.name()))
    }

    /// Who holds it back by having been stopped by hand.
    pub(in crate::reconcile) fn held_by(&self, id: ServiceId) -> Option<&ServiceName> {
        let node = self
            .node(id)
            .filter(|node| node.machine.lot.held && node.machine.lot.wanted)?;
        let edge = self.edges(node).find(|&edge| self.holds(edge))?;
        self.name_of(edge.on)
    }
}
