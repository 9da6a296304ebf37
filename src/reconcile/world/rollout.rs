//! Rolling restarts: of the members of one group, an edit (or a restart of all) takes down one at a time.
//!
//! A level like everything else: a member that serves and is to be restarted is *deferred* as long as another one is not up, or
//! one before it in the file's order is still to be restarted. Nothing is held back that is down anyway, nor what is stopped
//! for another reason. Where the one that went first fails, the others stay what they are: the rollout is halted, until that
//! one is up after all or another edit comes.

use std::collections::BTreeSet;

use super::configure::{FEWER, GONE};
use super::{Node, World};
use crate::reconcile::action::Action;
use crate::reconcile::event::{Author, Cause, Event, EventKind};
use crate::reconcile::fact::ServiceId;
use crate::reconcile::machine::{Life, Machine};
use crate::reconcile::wish::Turn;
use crate::spec::{Project, Rollout, ServiceName};

/// The members of one group.
#[derive(Clone, Debug, Default)]
pub(super) struct Crew {
    /// In the file's order.
    members: Vec<ServiceId>,
    deferred: BTreeSet<ServiceId>,
    /// Whose turn has come, and who is not down yet.
    taken: BTreeSet<ServiceId>,
    halted: bool,
}

/// Others named in one sentence.
const NAMES: usize = 8;

impl World {
    /// The groups of the definition in force.
    pub(super) fn muster(&mut self, project: &Project) {
        let mut before = std::mem::take(&mut self.crews);
        for group in project.groups.keys() {
            self.crews.insert(group.to_string(), Crew::default());
        }
        for &id in &self.order {
            let Some(machine) = self.machine(id) else { continue };
            let Some(group) = machine.name().group().map(str::to_owned) else {
                continue;
            };
            let (deferred, taken) = (machine.lot.turn.is_deferred(), machine.lot.turn == Turn::Taken);
            let crew = self.crews.entry(group).or_default();
            crew.members.push(id);
            crew.deferred.extend(deferred.then_some(id));
            crew.taken.extend(taken.then_some(id));
        }
        for (name, crew) in &mut self.crews {
            crew.halted = before.remove(name).is_some_and(|crew| crew.halted);
        }
    }

    /// Why one that is not among the services any more leaves.
    pub(in crate::reconcile) fn why_it_leaves(&self, name: &ServiceName) -> &'static str {
        let is_one_less = name.group().is_some_and(|group| self.crews.contains_key(group));
        if is_one_less { FEWER } else { GONE }
    }

    fn crew(&self, id: ServiceId) -> Option<&Crew> {
        self.crews.get(self.name_of(id)?.group()?)
    }

    /// Whether one that is to be restarted has to wait for the others.
    pub(super) fn turn_of(&self, node: &Node) -> Turn {
        let machine = &node.machine;
        if !serves_and_is_due(machine) || is_hurried(machine) || machine.spec.rollout == Rollout::All {
            return Turn::Free;
        }
        let Some(crew) = self.crew(machine.id) else {
            return Turn::Free;
        };
        match self.predecessor(machine.id, crew) {
            _ if machine.lot.turn == Turn::Taken => Turn::Taken,
            None => Turn::Taken,
            Some(_) if crew.halted => Turn::Halted,
            Some(_) => Turn::Waits,
        }
    }

    /// Whom it waits for: one that is not up, or one before it that goes first.
    fn predecessor(&self, id: ServiceId, crew: &Crew) -> Option<ServiceId> {
        let mut is_before = true;
        for &other in &crew.members {
            if other == id {
                is_before = false;
                continue;
            }
            let Some(node) = self.node(other) else { continue };
            if self.stands_in_the_way(node) || is_before && node.machine.lot.wanted && serves_and_is_due(&node.machine)
            {
                return Some(other);
            }
        }
        None
    }

    /// It should be up and is not, or not for long.
    fn stands_in_the_way(&self, node: &Node) -> bool {
        let machine = &node.machine;
        if node.removed || !machine.lot.wanted || self.is_held(node) {
            return false;
        }
        if machine.lot.going || machine.awaited {
            return true;
        }
        match &machine.life {
            Life::Ready { .. } => machine.is_due() && is_hurried(machine) || self.cascade(node).is_some(),
            Life::Completed { .. } => machine.is_due(),
            Life::Stopped => !machine.rests(),
            // Two that wait for each other would do so for ever.
            Life::Waiting { .. } => !self.waits_for_its_own(node),
            Life::Gated { .. } | Life::Preparing { .. } | Life::Spawning { .. } | Life::Executing { .. } => true,
            Life::Launching { .. } => true,
            Life::Detached { .. } | Life::Starting { .. } | Life::Unhealthy { .. } | Life::Retrying { .. } => true,
            Life::Evicting { .. } | Life::Backoff { .. } | Life::Stopping(_) => true,
            Life::Failed { .. } | Life::Doomed { .. } => true,
        }
    }

    /// What it waits for is a port that another member has and gives back when it is restarted.
    fn waits_for_its_own(&self, node: &Node) -> bool {
        let group = node.machine.name().group();
        self.taken_ports(node).any(|(_, holder)| {
            let holder = self.machine(holder);
            holder.is_some_and(|holder| holder.name().group() == group && serves_and_is_due(holder))
        })
    }

    /// A member has moved: one whose turn had come, and that is still up, has to ask again.
    pub(super) fn ask_again_after(&mut self, id: ServiceId) {
        let Some(crew) = self.crew(id).filter(|crew| !crew.taken.is_empty()) else {
            return;
        };
        let taken: Vec<ServiceId> = crew.taken.iter().copied().filter(|&other| other != id).collect();
        for other in taken {
            if let Some(node) = self.node_mut(other).filter(|node| serves_and_is_due(&node.machine)) {
                node.machine.lot.turn = Turn::Free;
                self.mark_restraint(other);
            }
        }
    }

    /// Something about a member is another than before: the next one may go, or the rest is halted.
    pub(super) fn mark_crew(&mut self, id: ServiceId) {
        let Some(crew) = self.crew(id).filter(|crew| !crew.deferred.is_empty()) else {
            return;
        };
        let first = crew
            .members
            .iter()
            .copied()
            .find(|member| crew.deferred.contains(member));
        let halted = crew.members.iter().any(|&member| self.halts(member));
        let flips = halted != crew.halted;
        let deferred: Vec<ServiceId> = crew.deferred.iter().copied().collect();
        if let Some(first) = first.filter(|&first| first != id) {
            self.mark_restraint(first);
        }
        if !flips {
            return;
        }
        for id in deferred {
            self.mark_restraint(id);
        }
        let Some(group) = self.name_of(id).and_then(ServiceName::group).map(str::to_owned) else {
            return;
        };
        if let Some(crew) = self.crews.get_mut(&group) {
            crew.halted = halted;
        }
        if halted {
            self.halts.insert(group);
        }
    }

    /// A member that is down and will not come up by itself, at least not soon.
    fn halts(&self, id: ServiceId) -> bool {
        let Some(node) = self.node(id).filter(|node| self.stands_in_the_way(node)) else {
            return false;
        };
        let machine = &node.machine;
        let loops = machine.history.looping && matches!(machine.life, Life::Backoff { .. });
        !machine.is_due() && (machine.life.has_failed() || loops) || machine.life.is_stuck()
    }

    /// Keeps the books of who is deferred.
    pub(super) fn note_turn(&mut self, id: ServiceId, turn: Turn) {
        let Some(group) = self.name_of(id).and_then(ServiceName::group).map(str::to_owned) else {
            return;
        };
        let Some(crew) = self.crews.get_mut(&group) else { return };
        crew.taken.remove(&id);
        if turn == Turn::Taken && crew.members.contains(&id) {
            crew.taken.insert(id);
        }
        if !turn.is_deferred() {
            crew.deferred.remove(&id);
            if crew.deferred.is_empty() {
                crew.halted = false;
            }
        } else if crew.members.contains(&id) {
            crew.deferred.insert(id);
        }
    }

    /// Says once of each rollout that has come to a halt why.
    pub(super) fn tell_halts(&mut self, out: &mut Vec<Action>) {
        for group in std::mem::take(&mut self.halts) {
            let Some(crew) = self.crews.get(&group).filter(|crew| crew.halted) else {
                continue;
            };
            let Some(culprit) = crew.members.iter().copied().find(|&member| self.halts(member)) else {
                continue;
            };
            let Some(machine) = self.machine(culprit) else { continue };
            let deferred = crew.members.iter().filter(|member| crew.deferred.contains(member));
            let names: Vec<&str> = deferred
                .filter_map(|&id| self.name_of(id))
                .map(ServiceName::as_str)
                .collect();
            let more = if names.len() > NAMES { ", ..." } else { "" };
            let what = machine
                .life
                .failure()
                .map_or("it failed", |failure| failure.message.as_str());
            let goes_on = if names.len() == 1 {
                "goes on as it was"
            } else {
                "go on as they were"
            };
            let message = format!(
                "the rollout of {group} is halted ({what}): {}{more} {goes_on}",
                names[..names.len().min(NAMES)].join(", ")
            );
            out.push(Action::Publish(Event {
                service: Some(machine.name().clone()),
                run: machine.run,
                kind: EventKind::Warned { message },
                cause: Cause::new(Author::Runner, "rollout"),
            }));
        }
    }

    /// In words, of one that is deferred: whom it waits for, and whether that may still come.
    pub(in crate::reconcile) fn deferral(&self, id: ServiceId) -> Option<(&ServiceName, bool)> {
        let machine = self.machine(id).filter(|machine| machine.lot.turn.is_deferred())?;
        let crew = self.crew(id)?;
        let halted = machine.lot.turn == Turn::Halted;
        let culprit = crew
            .members
            .iter()
            .copied()
            .find(|&member| halted && self.halts(member));
        let on = match culprit {
            Some(culprit) => culprit,
            None => self.before(id, crew).or_else(|| self.predecessor(id, crew))?,
        };
        Some((self.name_of(on)?, halted))
    }

    /// The one that goes right before it.
    fn before(&self, id: ServiceId, crew: &Crew) -> Option<ServiceId> {
        let earlier = crew.members.iter().copied().take_while(|&other| other != id);
        let goes = |other: &ServiceId| {
            let machine = self.machine(*other);
            machine.is_some_and(|machine| machine.lot.wanted && (machine.lot.going || serves_and_is_due(machine)))
        };
        earlier.filter(goes).last()
    }
}

/// It is up as an earlier definition or wish had it.
fn serves_and_is_due(machine: &Machine) -> bool {
    matches!(machine.life, Life::Ready { .. }) && machine.is_due()
}

/// This one was asked for by its own name.
fn is_hurried(machine: &Machine) -> bool {
    machine.wish.at_once == Some(machine.wish.turn)
}
