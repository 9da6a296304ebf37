//! A new definition comes into force: what was removed, added, changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Edge, Node, Share, World, claims};
use crate::reconcile::action::Action;
use crate::reconcile::event::{Cause, Event, EventKind};
use crate::reconcile::fact::{Now, ServiceId};
use crate::reconcile::graph;
use crate::reconcile::machine::{Life, Machine, Step};
use crate::spec::{Change, Project, Service};

/// What a new definition means for the services that there are.
#[derive(Default)]
struct Counts {
    restarts: u32,
    lives: u32,
    starts: u32,
    stops: u32,
    unchanged: u32,
}

impl World {
    pub(super) fn configure(&mut self, now: Now, project: &Project, cause: Cause, out: &mut Vec<Action>) {
        if self.ending.is_some() {
            return;
        }
        self.generation += 1;
        let mut counts = Counts::default();
        self.remove_missing(project, &cause, &mut counts);
        self.order.clear();
        for (name, spec) in &project.services {
            let id = match self.by_name.get(name) {
                Some(&id) => {
                    self.redefine(now, id, spec, &cause, &mut counts, out);
                    id
                }
                None => {
                    counts.starts += 1;
                    self.add(now, spec, &cause)
                }
            };
            self.order.push(id);
        }
        self.draw_graph();
        for id in self.ids() {
            self.mark_wish(id);
            self.mark_restraint(id);
        }
        self.settled = None;
        let Counts {
            restarts,
            lives,
            starts,
            stops,
            unchanged,
        } = counts;
        let kind = EventKind::ConfigApplied {
            generation: self.generation,
            restarts,
            lives,
            starts,
            stops,
            unchanged,
        };
        out.push(Action::Publish(Event {
            service: None,
            run: 0,
            kind,
            cause,
        }));
    }

    fn remove_missing(&mut self, project: &Project, cause: &Cause, counts: &mut Counts) {
        for id in self.ids() {
            let Some(node) = self.node_mut(id) else { continue };
            if node.removed || project.services.contains_key(node.machine.name()) {
                continue;
            }
            node.removed = true;
            node.machine.wish.cause = Cause::new(cause.by, "no longer in the file");
            counts.stops += u32::from(node.machine.life.is_living());
        }
    }

    fn add(&mut self, now: Now, spec: &Arc<Service>, cause: &Cause) -> ServiceId {
        let id = ServiceId(u32::try_from(self.nodes.len()).expect("fewer than 2^32 services in one life of a project"));
        let mut machine = Machine::new(id, Arc::clone(spec), now, cause.clone());
        if let Some(wish) = self.absent.remove(&spec.name) {
            machine.wish = wish;
        }
        machine.wish.cause = cause.clone();
        self.nodes.push(Some(Box::new(Node {
            machine,
            rank: 0,
            dependencies: Vec::new(),
            dependents: Default::default(),
            bonds: Vec::new(),
            bonded: Default::default(),
            booked: None,
            claims: Vec::new(),
            armed: None,
            share: Share::default(),
            removed: false,
        })));
        self.by_name.insert(spec.name.clone(), id);
        id
    }

    fn redefine(
        &mut self,
        now: Now,
        id: ServiceId,
        spec: &Arc<Service>,
        cause: &Cause,
        counts: &mut Counts,
        out: &mut Vec<Action>,
    ) {
        let Some(node) = self.nodes.get_mut(id.0 as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        let machine = &mut node.machine;
        if std::mem::take(&mut node.removed) {
            machine.wish.cause = cause.clone();
        }
        let changes = machine.spec.differences(spec);
        let ends_wait = matches!(machine.life, Life::Backoff { .. } | Life::Failed { .. });
        if changes.is_empty() {
            // Written in another way: the same to a process.
            machine.spec = Arc::clone(spec);
            counts.unchanged += 1;
            return;
        }
        machine.spec = Arc::clone(spec);
        let restarts = changes.iter().any(|change| change.class == Change::Restart);
        if restarts || ends_wait {
            let keys: Vec<&str> = changes.iter().map(|change| change.field.as_str()).collect();
            machine.wish.turn = machine.wish.turn.wrapping_add(1);
            machine.wish.cause = Cause::new(cause.by, format!("{} changed", keys.join(", ")));
            counts.restarts += 1;
        } else {
            counts.lives += 1;
            machine.adjust(&mut Step {
                now,
                out,
                rng: &mut self.rng,
                hasten: false,
                ended: &mut Vec::new(),
            });
        }
    }

    /// Dependencies, ranks and port claims of the definition in force.
    fn draw_graph(&mut self) {
        let place: BTreeMap<ServiceId, usize> = self.order.iter().enumerate().map(|(at, &id)| (id, at)).collect();
        let mut edges: Vec<Vec<usize>> = Vec::with_capacity(self.order.len());
        for node in self.nodes.iter_mut().flatten() {
            node.dependents.clear();
            node.dependencies.clear();
        }
        for port in self.ports.values_mut() {
            port.declared.clear();
        }
        for at in 0..self.order.len() {
            let id = self.order[at];
            let Some(spec) = self.machine(id).map(|machine| Arc::clone(&machine.spec)) else {
                continue;
            };
            let dependencies: Vec<Edge> = spec
                .depends_on
                .iter()
                .filter_map(|(name, dependency)| {
                    let on = *self.by_name.get(name).filter(|id| place.contains_key(id))?;
                    let (condition, restart, required) =
                        (dependency.condition, dependency.restart, dependency.required);
                    Some(Edge {
                        on,
                        condition,
                        restart,
                        required,
                    })
                })
                .collect();
            edges.push(dependencies.iter().map(|edge| place[&edge.on]).collect());
            for edge in &dependencies {
                if let Some(on) = self.node_mut(edge.on) {
                    on.dependents.insert(id);
                }
            }
            for (key, _) in claims(&spec) {
                self.ports.entry(key).or_default().declared.insert(id);
            }
            if let Some(node) = self.node_mut(id) {
                node.dependencies = dependencies;
            }
        }
        self.has_old_bonds = self.nodes.iter().flatten().any(|node| {
            let declares = |on| node.dependencies.iter().any(|edge| edge.on == on);
            node.bonds.iter().any(|bond| !declares(bond.edge.on))
        });
        self.ports
            .retain(|_, port| !(port.declared.is_empty() && port.held.is_empty()));
        // Marks carry the rank they were made with, so they are made again.
        self.wishes.clear();
        self.restraints.clear();
        self.dirty.clear();
        for (at, depth) in graph::depths(&edges).into_iter().enumerate() {
            let id = self.order[at];
            if let Some(node) = self.node_mut(id) {
                node.rank = depth.unwrap_or(0);
            }
        }
    }

    /// A removed service of which nothing is left.
    pub(super) fn forget(&mut self, id: ServiceId) {
        let Some(node) = self.nodes.get_mut(id.0 as usize).and_then(Option::take) else {
            return;
        };
        let Node {
            machine,
            share,
            mut armed,
            ..
        } = *node;
        self.timers.set(id, &mut armed, None);
        self.tally.change(share, Share::default());
        if self.by_name.get(machine.name()) == Some(&id) {
            self.by_name.remove(machine.name());
        }
        if machine.wish.is_by_hand() {
            self.absent.insert(machine.name().clone(), machine.wish);
        }
    }
}
