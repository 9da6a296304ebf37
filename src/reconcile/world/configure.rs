//! A new definition comes into force: what was removed, added, changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Edge, Node, Share, World, alarms, claims};
use crate::reconcile::action::Action;
use crate::reconcile::event::{Author, Cause, Event, EventKind};
use crate::reconcile::fact::{Now, Request, ServiceId};
use crate::reconcile::graph;
use crate::reconcile::machine::{Life, Machine, Step};
use crate::reconcile::plan::{Changes, Intent};
use crate::spec::{Change, Difference, Project, Scaled, Service, ServiceName};

/// Why something leaves.
pub(in crate::reconcile) const GONE: &str = "no longer in the file";
pub(in crate::reconcile) const FEWER: &str = "fewer replicas";

/// What is asked for of all services of one declared name.
struct KinWish {
    named: bool,
    stopped: bool,
}

impl World {
    /// `request`: what was asked for together with it.
    pub(super) fn configure(
        &mut self,
        now: Now,
        project: &Project,
        cause: Cause,
        request: Option<Request>,
        out: &mut Vec<Action>,
    ) {
        let known: Vec<&ServiceName> = project.services.keys().collect();
        let resumes = self.resume(now, Some(project), out).then_some(self.generation);
        if self.ending.is_some() {
            return;
        }
        let before = self.stand();
        let is_same = resumes.is_some() && self.order.len() == known.len() && self.by_name.len() == known.len();
        let (changes, mut later) = self.define(now, project, &cause);
        if let Some(request) = request {
            self.ask(now, request, cause.clone(), out);
        }
        self.settle();
        let steps = self.steps(&before, &changes);
        if let Some(generation) = resumes
            && is_same
            && steps.iter().all(|step| step.intent == Intent::Keep)
        {
            // What was in force is in force.
            self.generation = generation.max(1);
            out.append(&mut later);
            return;
        }
        let unchanged = steps.iter().filter(|step| step.intent == Intent::Keep).count();
        let kind = EventKind::ConfigApplied {
            generation: self.generation,
            unchanged: u32::try_from(unchanged).unwrap_or(u32::MAX),
            steps: steps.into_iter().filter(|step| step.intent != Intent::Keep).collect(),
        };
        out.push(Action::Publish(Event {
            service: None,
            run: 0,
            kind,
            cause,
        }));
        out.append(&mut later);
    }

    /// Brings a definition into force, down to the marks of who has to be looked at; nobody acts. What changed of each
    /// service, and what hands have to be told of it.
    pub(in crate::reconcile) fn define(
        &mut self,
        now: Now,
        project: &Project,
        cause: &Cause,
    ) -> (Changes, Vec<Action>) {
        self.generation += 1;
        self.settled = None;
        let (mut changes, mut adjustments) = (Changes::new(), Vec::new());
        // What was before is not known to a daemon that begins now.
        let kin = match std::mem::take(&mut self.resumed) {
            true => BTreeMap::new(),
            false => self.wishes_by_kin(),
        };
        let present: BTreeSet<ServiceId> = self.ids().into_iter().filter(|&id| !self.is_removed(id)).collect();
        self.note_scales(project);
        self.remove_missing(project, cause);
        self.order.clear();
        for (name, spec) in &project.services {
            let id = match self.by_name.get(name) {
                Some(&id) => {
                    let differences = self.redefine(now, id, spec, cause, &mut adjustments);
                    if !differences.is_empty() {
                        changes.insert(id, differences);
                    }
                    id
                }
                None => self.add(now, spec, cause),
            };
            if !present.contains(&id) {
                self.join(id, kin.get(spec.name.base()));
            }
            self.order.push(id);
        }
        self.muster(project);
        self.draw_graph();
        for id in self.ids() {
            self.mark_wish(id);
            self.mark_restraint(id);
        }
        (changes, adjustments)
    }

    /// What was asked for by hand of the services of one declared name, by that name: a new one joins them, or replaces them.
    fn wishes_by_kin(&self) -> BTreeMap<String, KinWish> {
        let mut wishes: BTreeMap<String, KinWish> = BTreeMap::new();
        for node in self.nodes.iter().flatten().filter(|node| !node.removed) {
            let wish = &node.machine.wish;
            let kin = wishes.entry(node.machine.name().base().to_owned());
            let kin = kin.or_insert(KinWish {
                named: true,
                stopped: true,
            });
            kin.named &= wish.named;
            kin.stopped &= wish.stopped;
        }
        wishes
    }

    fn join(&mut self, id: ServiceId, kin: Option<&KinWish>) {
        let Some((node, kin)) = self.node_mut(id).zip(kin) else {
            return;
        };
        let wish = &mut node.machine.wish;
        if !wish.by_hand().is_any() {
            (wish.named, wish.stopped) = (kin.named, kin.stopped);
        }
    }

    /// How many were asked for by hand stands in the definition, which was made with that: what it does not say any more was
    /// taken back, by an `up` or by an edit.
    fn note_scales(&mut self, project: &Project) {
        let is_declared = |name: &ServiceName| project.groups.contains_key(name) || project.services.contains_key(name);
        self.scales.retain(|name, _| !is_declared(name));
        for (name, group) in &project.groups {
            if let (Some(replicas), Some(declared)) = (group.scaled, group.declared) {
                self.scales.insert(name.clone(), Scaled { replicas, declared });
            }
        }
    }

    /// How many replicas were asked for by hand.
    pub fn scales(&self) -> &BTreeMap<ServiceName, Scaled> {
        &self.scales
    }

    fn is_removed(&self, id: ServiceId) -> bool {
        self.node(id).is_none_or(|node| node.removed)
    }

    fn remove_missing(&mut self, project: &Project, cause: &Cause) {
        let now = self.now;
        for id in self.ids() {
            let Some(node) = self.node_mut(id) else { continue };
            if node.removed || project.services.contains_key(node.machine.name()) {
                continue;
            }
            node.removed = true;
            let is_one_less = node
                .machine
                .name()
                .group()
                .is_some_and(|group| project.groups.contains_key(group));
            let why = match (is_one_less, cause.by) {
                (true, Author::User) => cause.clone(),
                (true, by) => Cause::new(by, FEWER),
                (false, by) => Cause::new(by, GONE),
            };
            node.machine.wish.edited(&why, now);
        }
    }

    pub(super) fn add(&mut self, now: Now, spec: &Arc<Service>, cause: &Cause) -> ServiceId {
        let id = ServiceId(u32::try_from(self.nodes.len()).expect("fewer than 2^32 services in one life of a project"));
        let mut machine = Machine::new(id, Arc::clone(spec), now, cause.clone());
        if let Some(wish) = self.absent.remove(&spec.name) {
            machine.wish = wish;
        }
        machine.wish.edited(cause, now.mono_ns);
        let heir_of = self.leaves_to(id, spec);
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
            alarm: None,
            share: Share::default(),
            removed: false,
            heirs: Vec::new(),
            heir_of,
            started_with: None,
        })));
        self.by_name.insert(spec.name.clone(), id);
        self.changed.insert(id);
        id
    }

    /// Who leaves and did the same as the service that comes: what a rename looks like. The heir waits for its end, so that
    /// nothing runs twice.
    fn leaves_to(&mut self, heir: ServiceId, spec: &Service) -> Option<ServiceId> {
        let is_the_same = |node: &&mut Box<Node>| {
            let old = node.machine.life.spec().filter(|_| node.removed);
            old.is_some_and(|old| match &node.started_with {
                Some(started_with) => started_with.does_the_same(spec),
                None => old.command == spec.command && old.working_dir == spec.working_dir,
            })
        };
        let old = self.nodes.iter_mut().flatten().find(is_the_same)?;
        old.heirs.push(heir);
        Some(old.machine.id)
    }

    fn redefine(
        &mut self,
        now: Now,
        id: ServiceId,
        spec: &Arc<Service>,
        cause: &Cause,
        out: &mut Vec<Action>,
    ) -> Vec<Difference> {
        let Some(node) = self.nodes.get_mut(id.0 as usize).and_then(Option::as_deref_mut) else {
            return Vec::new();
        };
        let machine = &mut node.machine;
        if std::mem::take(&mut node.removed) {
            machine.wish.edited(cause, now.mono_ns);
        }
        let mut changes = machine.spec.differences(spec);
        if let Some(started_with) = node.started_with.take().filter(|_| machine.life.has_begun()) {
            changes.extend(started_with.differences(spec));
            let ends_wait = matches!(machine.life, Life::Backoff { .. } | Life::Failed { .. });
            if changes.is_empty() && ends_wait && started_with.is_live_edit(spec) {
                changes.push(Difference {
                    field: "settings".to_owned(),
                    class: Change::Live,
                    from_to: None,
                });
            }
        }
        let ends_wait = matches!(machine.life, Life::Backoff { .. } | Life::Failed { .. });
        let old = std::mem::replace(&mut machine.spec, Arc::clone(spec));
        machine.forget_edited_outputs(&old);
        if changes.is_empty() {
            // Written in another way: the same to a process.
            return changes;
        }
        self.changed.insert(id);
        let restarts = changes.iter().any(|change| change.class == Change::Restart);
        if restarts && machine.is_again_what_it_was(spec) {
            // An edit that it was still to be restarted for is taken back.
            machine.wish.turn = machine.served;
            machine.wish.edited(cause, now.mono_ns);
            machine.adjust(&mut Step {
                now,
                out,
                rng: &mut self.rng,
                hasten: false,
                ended: &mut Vec::new(),
            });
        } else if (restarts || ends_wait) && !machine.awaits_its_time() {
            let keys: Vec<&str> = changes.iter().map(|change| change.field.as_str()).collect();
            machine.wish.turn = machine.wish.turn.wrapping_add(1);
            let cause = Cause::new(cause.by, format!("{} changed", keys.join(", ")));
            machine.wish.edited(&cause, now.mono_ns);
        } else {
            machine.adjust(&mut Step {
                now,
                out,
                rng: &mut self.rng,
                hasten: false,
                ended: &mut Vec::new(),
            });
        }
        changes
    }

    /// Dependencies, ranks and port claims of the definition in force.
    pub(super) fn draw_graph(&mut self) {
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
            mut alarm,
            ..
        } = *node;
        alarms::set(&mut self.alarms, id, &mut alarm, None);
        self.timers.set(id, &mut armed, None);
        self.tally.change(share, Share::default());
        self.forgotten.push(machine.name().clone());
        if self.by_name.get(machine.name()) == Some(&id) {
            self.by_name.remove(machine.name());
        }
        if machine.wish.by_hand().is_any() {
            self.absent.insert(machine.name().clone(), machine.wish);
        }
    }
}
