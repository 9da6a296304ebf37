//! What services mean to each other: wishes, restraints and permits follow from the neighbours only.

use super::{Bond, Edge, Node, PortKey, Share, World};
use std::cmp::Reverse;

use crate::reconcile::event::{Author, Cause};
use crate::reconcile::fact::ServiceId;
use crate::reconcile::failure::Failure;
use crate::reconcile::machine::{Life, Machine, Permit};
use crate::reconcile::snapshot::{Blocker, StateName};
use crate::reconcile::wish::Turn;
use crate::reconcile::words;
use crate::spec::{Condition, Kind, Restart};

impl World {
    pub(super) fn mark_dirty(&mut self, id: ServiceId) {
        if let Some(rank) = self.node(id).map(|node| node.rank) {
            self.dirty.insert((rank, id));
        }
    }

    pub(super) fn mark_wish(&mut self, id: ServiceId) {
        if let Some(rank) = self.node(id).map(|node| node.rank) {
            self.wishes.insert((Reverse(rank), id));
        }
    }

    pub(super) fn mark_restraint(&mut self, id: ServiceId) {
        if let Some(rank) = self.node(id).map(|node| node.rank) {
            self.restraints.insert((rank, id));
            self.dirty.insert((rank, id));
        }
    }

    /// Those who may depend on it, by either graph.
    pub(super) fn mark_dependents(&mut self, id: ServiceId) {
        let Some(node) = self.node(id) else { return };
        let mut marked: Vec<(u32, ServiceId)> = Vec::new();
        for &dependent in node.dependents.iter().chain(&node.bonded) {
            if let Some(rank) = self.node(dependent).map(|node| node.rank) {
                marked.push((rank, dependent));
            }
        }
        self.restraints.extend(marked.iter().copied());
        self.dirty.extend(marked);
    }

    pub(super) fn mark_dependencies(&mut self, id: ServiceId) {
        let Some(node) = self.node(id) else { return };
        let on: Vec<ServiceId> = node
            .dependencies
            .iter()
            .chain(node.bonds.iter().map(|bond| &bond.edge))
            .map(|edge| edge.on)
            .collect();
        for id in on {
            self.mark_wish(id);
            self.mark_dirty(id);
        }
    }

    /// Whether it should be up by people, file and dependents. Flows from dependents to dependencies.
    pub(super) fn settle_wish(&mut self, id: ServiceId) {
        let Some(node) = self.node(id) else { return };
        let (spec, wish) = (&node.machine.spec, &node.machine.wish);
        let by_itself = self.selection.all && self.starts_by_itself(spec);
        let needed = || {
            node.dependents.iter().any(|&dependent| {
                self.machine(dependent)
                    .is_some_and(|other| other.lot.desired && !other.wish.alone)
            })
        };
        let desired = !node.removed && self.ending.is_none() && (wish.named || by_itself || needed());
        let wanted = desired && !wish.stopped;
        let Some(node) = self.node_mut(id) else { return };
        let lot = &mut node.machine.lot;
        let (desire_changed, want_changed) = (lot.desired != desired, lot.wanted != wanted);
        lot.desired = desired;
        lot.wanted = wanted;
        if desire_changed {
            self.mark_dependencies(id);
        }
        if want_changed {
            self.mark_dependents(id);
            self.mark_crew(id);
        }
        self.mark_restraint(id);
    }

    /// Whether it is held back or has to go. Flows from dependencies to dependents.
    pub(super) fn settle_restraint(&mut self, id: ServiceId) {
        let Some(node) = self.node(id) else { return };
        let machine = &node.machine;
        let living = machine.life.is_living();
        let held = self.is_held(node);
        let turned = machine.wish.turn != machine.served;
        let goes_anyway = !machine.lot.wanted || held || self.cascades(node);
        let turn = match living && turned && !goes_anyway {
            true => self.turn_of(node),
            false => Turn::Free,
        };
        let going = living && (goes_anyway || turned && !turn.is_deferred());
        let Some(node) = self.node_mut(id) else { return };
        let lot = &mut node.machine.lot;
        let changed = (lot.held, lot.going, lot.turn) != (held, going, turn);
        let was_going = std::mem::replace(&mut lot.going, going);
        let was_turn = std::mem::replace(&mut lot.turn, turn);
        let asked = !lot.wanted || node.machine.wish.turn != node.machine.served;
        lot.held = held;
        if was_turn != turn {
            self.note_turn(id, turn);
        }
        if going && !was_going && !asked {
            self.blame_neighbour(id);
        }
        if changed {
            self.mark_dependents(id);
            self.mark_crew(id);
            self.mark_dirty(id);
        }
        if was_going != going {
            self.mark_dependencies(id);
        }
    }

    /// Something that it can't do without was stopped by hand.
    pub(super) fn is_held(&self, node: &Node) -> bool {
        // A dependency that an edit took away is none to miss.
        let is_declared = |edge: &Edge| node.removed || node.dependencies.iter().any(|declared| declared.on == edge.on);
        !node.machine.wish.alone && self.edges(node).any(|edge| is_declared(&edge) && self.holds(edge))
    }

    /// It goes although nobody asked for that: because of what it needs.
    fn blame_neighbour(&mut self, id: ServiceId) {
        let Some(node) = self.node(id) else { return };
        let because = |on: ServiceId, what: &str| self.name_of(on).map(|name| format!("{name} {what}"));
        let holding = self.edges(node).find(|&edge| self.holds(edge));
        let culprit = match holding {
            Some(edge) => because(edge.on, "was stopped"),
            None => self.cascade(node).and_then(|on| because(on, "was restarted")),
        };
        let now = self.now;
        if let (Some(words), Some(node)) = (culprit, self.node_mut(id)) {
            node.machine.wish.asked(&Cause::new(Author::Dependency, words), now);
        }
    }

    /// The graph that counts now: of the living incarnation, else of the definition.
    pub(super) fn edges<'a>(&self, node: &'a Node) -> Box<dyn Iterator<Item = Edge> + 'a> {
        if node.machine.life.is_living() {
            Box::new(node.bonds.iter().map(|bond| bond.edge))
        } else {
            Box::new(node.dependencies.iter().copied())
        }
    }

    /// A stop by hand reaches whoever can't do without. What only had to complete is not missed afterwards.
    pub(super) fn holds(&self, edge: Edge) -> bool {
        let needs_it_up = match edge.condition {
            Condition::Started | Condition::Healthy => edge.required,
            Condition::Completed | Condition::CompletedSuccessfully => false,
        };
        // Nor is a oneshot that is done.
        let is_missed = |on: &Machine| !(matches!(on.life, Life::Completed { .. }) && is_met(on, edge.condition));
        needs_it_up
            && self
                .machine(edge.on)
                .is_some_and(|on| (on.wish.stopped || (on.lot.held && on.lot.desired)) && is_missed(on))
    }

    /// `restart = true`: it goes when its dependency is restarted, or when that came back as another run. What began
    /// after a restart was asked for (because it can do without) does not go for it.
    fn cascades(&self, node: &Node) -> bool {
        self.cascade(node).is_some()
    }

    /// The dependency that it goes with.
    pub(super) fn cascade(&self, node: &Node) -> Option<ServiceId> {
        let takes_along = |&&Bond { edge, run, turn }: &&Bond| {
            let Some(node) = self.node(edge.on) else { return false };
            let on = &node.machine;
            // A start that what it needs has doomed brings nothing.
            let due = goes_soon(on) && on.run == run && on.wish.turn != turn && self.doom(node).is_none();
            let restarting = on.lot.wanted && (due || on.lot.going && !on.life.is_stuck());
            let is_another = run != 0 && on.run != run && is_met(on, edge.condition);
            edge.restart && (restarting || is_another)
        };
        let bond = node
            .bonds
            .iter()
            .filter(|_| !node.machine.wish.alone)
            .find(takes_along)?;
        Some(bond.edge.on)
    }

    /// What the others allow it to do next; `None` if it does not exist.
    pub(super) fn permit(&self, id: ServiceId) -> Option<Permit> {
        let node = self.node(id)?;
        if !node.machine.wants_start() {
            let free = !node.machine.lot.going || self.is_hastened() || !self.has_going_dependents(node);
            return Some(if free {
                Permit::Free
            } else {
                Permit::Blocked(Vec::new())
            });
        }
        if let Some(failure) = self.doom(node) {
            return Some(Permit::Doomed(failure));
        }
        if !self.is_blocked(node) {
            return Some(Permit::Free);
        }
        let told = !matches!(node.machine.life, Life::Waiting { told: false });
        let words = if told {
            Vec::new()
        } else {
            self.blockers(node).into_iter().map(|b| b.what).collect()
        };
        Some(Permit::Blocked(words))
    }

    /// Nothing stands in the way of a start that is wanted.
    pub(super) fn may_start(&self, id: ServiceId) -> bool {
        let wants = self.machine(id).is_some_and(Machine::wants_start);
        wants && matches!(self.permit(id), Some(Permit::Free))
    }

    /// Stops wait for dependents that stop as well; not for one that can't be stopped.
    fn has_going_dependents(&self, node: &Node) -> bool {
        node.bonded.iter().any(|&id| {
            self.machine(id)
                .is_some_and(|other| other.lot.going && !other.life.is_stuck() && other.life.is_living())
        })
    }

    fn is_waived(&self, edge: Edge, on: &Machine) -> bool {
        let is_restarting = edge.restart && on.lot.going && !on.life.is_stuck();
        !edge.required
            && !is_restarting
            && (on.wish.stopped || on.lot.held || !on.lot.wanted || has_failed(on, edge.condition))
    }

    pub(super) fn is_open(&self, edge: Edge) -> bool {
        self.machine(edge.on)
            .is_none_or(|on| is_met(on, edge.condition) || self.is_waived(edge, on))
    }

    /// All that is missing is that others, who run, come to the end that their restart policy leaves them.
    fn awaits_an_end(&self, node: &Node) -> bool {
        let ends = |edge: &Edge| {
            let waits_for_end = matches!(edge.condition, Condition::Completed | Condition::CompletedSuccessfully);
            waits_for_end
                && self
                    .machine(edge.on)
                    .is_some_and(|on| on.life.is_living() && on.spec.restart != Restart::Always)
        };
        let mut missing = node.dependencies.iter().filter(|&&edge| !self.is_open(edge)).peekable();
        missing.peek().is_some() && missing.all(ends)
    }

    fn is_blocked(&self, node: &Node) -> bool {
        let alone = node.machine.wish.alone;
        node.machine.lot.held
            || (!alone && node.dependencies.iter().any(|&edge| !self.is_open(edge)))
            || self.untold(node).next().is_some()
            || self.taken_ports(node).next().is_some()
            || self.testator(node).is_some()
            || self.has_going_dependents(node)
    }

    fn doom(&self, node: &Node) -> Option<Failure> {
        self.doom_but(node, |_| false)
    }

    /// The same, if these are as good as not failed.
    pub(super) fn doom_but(&self, node: &Node, freed: impl Fn(ServiceId) -> bool) -> Option<Failure> {
        if node.machine.wish.alone {
            return None;
        }
        node.dependencies.iter().find_map(|&edge| {
            let on = self.machine(edge.on).filter(|_| !freed(edge.on))?;
            if !edge.required || is_met(on, edge.condition) || !has_failed(on, edge.condition) {
                return None;
            }
            let why = match &on.life {
                Life::Completed { status } => format!("has ended ({})", words::exit(*status)),
                _ => match on.life.failure() {
                    Some(failure) => format!("failed: {}", failure.message),
                    None => "failed".to_owned(),
                },
            };
            Some(words::dependency_failed(on.name().as_str(), &why))
        })
    }

    /// Declared ports that somebody else still holds.
    pub(super) fn taken_ports<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = (PortKey, ServiceId)> + 'a {
        let me = node.machine.id;
        let wanted = node
            .machine
            .spec
            .ports
            .values()
            .map(|port| ((port.number, port.protocol.into()), port.shared));
        wanted.filter_map(move |(key, shared)| {
            let held = &self.ports.get(&key)?.held;
            let (&holder, _) = held
                .iter()
                .find(|&(&holder, &also)| holder != me && !(shared && also))?;
            Some((key, holder))
        })
    }

    /// Whose heir it is, while that one still lives. One that is back in the file has no heirs.
    fn testator(&self, node: &Node) -> Option<&Machine> {
        let old = self.node(node.heir_of?).filter(|old| old.removed)?;
        Some(&old.machine).filter(|old| old.life.is_living())
    }

    /// In words, what stands in the way of a start.
    pub(super) fn blockers(&self, node: &Node) -> Vec<Blocker> {
        let mut found = Vec::new();
        for &edge in node.dependencies.iter().filter(|_| !node.machine.wish.alone) {
            let Some(on) = self
                .machine(edge.on)
                .filter(|_| !self.is_open(edge) || self.holds(edge))
            else {
                continue;
            };
            let name = on.name();
            let what = if on.wish.stopped {
                format!("{name} (stopped by you)")
            } else {
                format!("{name} {} ({})", words::condition(edge.condition), on.state().as_str())
            };
            found.push(Blocker {
                service: Some(name.clone()),
                what,
            });
        }
        // Said of what is there, and only has not told it yet.
        for name in self.untold(node) {
            if !found
                .iter()
                .any(|blocker| blocker.service.as_ref() == Some(&name.service))
            {
                found.push(Blocker {
                    service: Some(name.service.clone()),
                    what: format!("{} to tell its output `{}`", name.service, name.output),
                });
            }
        }
        for ((number, _), holder) in self.taken_ports(node) {
            let holder = self.name_of(holder).map_or("another service", |name| name.as_str());
            found.push(Blocker {
                service: None,
                what: format!("{holder} to let go of port {number}"),
            });
        }
        let dependents = node.bonded.iter().filter_map(|&id| self.machine(id));
        let going = dependents.filter(|other| other.lot.going);
        for other in going.chain(self.testator(node)) {
            found.push(Blocker {
                service: None,
                what: format!("{} to stop first", other.name()),
            });
        }
        found
    }

    /// What it adds to the sums.
    pub(super) fn share(&self, id: ServiceId) -> Share {
        let Some(node) = self.node(id) else {
            return Share::default();
        };
        let machine = &node.machine;
        let name = machine.life.name();
        let at_goal = matches!(name, StateName::Ready | StateName::Completed) || machine.rests();
        let quiet = machine.history.looping || machine.life.failure().is_some() && name == StateName::Failed;
        let moving = match &machine.life {
            Life::Gated { .. }
            | Life::Preparing { .. }
            | Life::Spawning { .. }
            | Life::Executing { .. }
            | Life::Launching { .. }
            | Life::Detached { .. }
            | Life::Starting { .. }
            | Life::Retrying { .. }
            | Life::Evicting { .. }
            | Life::Backoff { .. } => !quiet || machine.lot.going,
            Life::Stopping(_) => !machine.life.is_stuck() && (!quiet || machine.lot.going),
            Life::Ready { .. } | Life::Unhealthy { .. } => machine.lot.going,
            Life::Waiting { .. } => machine.lot.wanted && (self.is_about_to_be_told(node) || self.awaits_an_end(node)),
            Life::Stopped | Life::Completed { .. } => false,
            Life::Failed { .. } | Life::Doomed { .. } => false,
        };
        let ended = matches!(machine.life, Life::Completed { .. }) || machine.life.has_failed();
        Share {
            living: machine.life.is_living() || machine.alarming.is_some(),
            moving,
            unwell: machine.lot.wanted && !at_goal,
            open: machine.lot.desired && !ended && machine.spec.schedule.is_none(),
        }
    }
}

/// Its restart is due, and not only after other replicas.
fn goes_soon(machine: &Machine) -> bool {
    machine.is_due() && !machine.lot.turn.is_deferred()
}

/// Whether a dependency is at the condition, and not about to leave it.
fn is_met(on: &Machine, condition: Condition) -> bool {
    if on.lot.going || goes_soon(on) || on.awaited {
        return false;
    }
    match (&on.life, condition) {
        (Life::Ready { .. }, Condition::Started | Condition::Healthy) => true,
        (Life::Launching { .. } | Life::Starting { .. } | Life::Unhealthy { .. }, Condition::Started) => true,
        (Life::Completed { .. }, Condition::Healthy) => on.spec.kind == Kind::Oneshot,
        (Life::Completed { .. }, Condition::Started | Condition::Completed | Condition::CompletedSuccessfully) => true,
        (Life::Failed { status: Some(_), .. }, Condition::Completed) => true,
        (Life::Starting { .. } | Life::Unhealthy { .. } | Life::Ready { .. } | Life::Failed { .. }, _) => false,
        (Life::Stopped | Life::Waiting { .. } | Life::Gated { .. } | Life::Spawning { .. }, _) => false,
        (Life::Preparing { .. } | Life::Launching { .. } | Life::Detached { .. }, _) => false,
        (Life::Executing { .. } | Life::Retrying { .. } | Life::Evicting { .. } | Life::Backoff { .. }, _) => false,
        (Life::Stopping(_) | Life::Doomed { .. }, _) => false,
    }
}

/// Whether a dependency will not come to the condition by itself.
fn has_failed(on: &Machine, condition: Condition) -> bool {
    let needs_it_up = matches!(condition, Condition::Started | Condition::Healthy);
    let ended = matches!(on.life, Life::Completed { .. }) && needs_it_up;
    !on.is_due() && (on.life.has_failed() || ended)
}
