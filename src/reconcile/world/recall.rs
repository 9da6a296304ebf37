//! A World is written down as it moves, and the next one begins where the last one was.
//!
//! There is no second way in: what is recalled becomes a service of the first definition, and that is compared with it like
//! any edit. A process that was started with something else is restarted, one that the file does not know is stopped.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Bond, Edge, World, claims};
use crate::reconcile::action::Action;
use crate::reconcile::event::{Author, Cause};
use crate::reconcile::exit::Ends;
use crate::reconcile::fact::{Now, ServiceId};
use crate::reconcile::machine::{Bonded, Memory};
use crate::spec::{Fingerprint, Project, Remnant, Service, ServiceName, SupervisorExit};

/// What an earlier daemon knew.
#[derive(Debug, Default)]
pub struct Recollection {
    pub generation: u64,
    pub ending: Option<Ends>,
    /// Guardian and daemon were both gone: for a while services had nobody.
    pub cold: bool,
    pub services: Vec<Recalled>,
}

/// One service as an earlier daemon knew it.
#[derive(Clone, Debug)]
pub struct Recalled {
    pub memory: Memory,
    /// What its latest run was started with.
    pub started_with: Option<Fingerprint>,
    /// Of what may still run.
    pub remnant: Option<Remnant>,
}

/// What is to be written of one service.
#[derive(Debug)]
pub struct Remembered {
    pub service: ServiceName,
    /// `None`: it is forgotten. With the definition, where only that tells what its run was started with.
    pub memory: Option<(Memory, Option<Arc<Service>>)>,
}

impl World {
    /// Takes over what an earlier daemon knew; before the first definition.
    pub fn recall(&mut self, recollection: Recollection) {
        let Recollection {
            generation,
            ending,
            cold,
            services,
        } = recollection;
        self.cold = cold;
        self.generation = generation;
        self.ending = ending;
        let by_name = services
            .into_iter()
            .map(|recalled| (recalled.memory.service.clone(), recalled));
        self.recalled = Some(by_name.collect());
    }

    /// Services that may still run and that no definition has claimed.
    pub fn unclaimed(&self) -> impl Iterator<Item = &Memory> {
        let recalled = self.recalled.iter().flat_map(BTreeMap::values);
        recalled
            .map(|recalled| &recalled.memory)
            .filter(|memory| memory.is_living())
    }

    /// There is nothing that could be stopped.
    pub fn is_void(&self) -> bool {
        self.unclaimed().next().is_none() && self.nodes.iter().all(Option::is_none)
    }

    pub fn ending(&self) -> Option<&Ends> {
        self.ending.as_ref()
    }

    /// What has to be written since the last question. Costs as much as has changed.
    pub fn remember(&mut self) -> Vec<Remembered> {
        let mut remembered: Vec<Remembered> = Vec::new();
        for service in std::mem::take(&mut self.forgotten) {
            if !self.by_name.contains_key(&service) {
                remembered.push(Remembered { service, memory: None });
            }
        }
        for id in std::mem::take(&mut self.changed) {
            remembered.extend(self.remembered(id));
        }
        remembered
    }

    /// All that the next daemon has to know.
    pub fn remember_all(&self) -> Vec<Remembered> {
        let present = self.ids().into_iter().filter_map(|id| self.remembered(id));
        let recalled = self.recalled.iter().flat_map(BTreeMap::values);
        let recalled = recalled.map(|recalled| Remembered {
            service: recalled.memory.service.clone(),
            memory: Some((recalled.memory.clone(), None)),
        });
        present.chain(recalled).collect()
    }

    fn remembered(&self, id: ServiceId) -> Option<Remembered> {
        let node = self.node(id)?;
        let machine = &node.machine;
        let mut memory = machine.memory();
        let bonded = |bond: &Bond| {
            let Bond { edge, run, turn } = *bond;
            Some(Bonded {
                on: self.name_of(edge.on)?.clone(),
                condition: edge.condition,
                restart: edge.restart,
                required: edge.required,
                run,
                turn,
            })
        };
        memory.bonds = node.bonds.iter().filter_map(bonded).collect();
        // What lives has a record of its own.
        let ended = !memory.is_living() && machine.life.has_begun();
        Some(Remembered {
            service: machine.name().clone(),
            memory: Some((memory, ended.then(|| Arc::clone(&machine.spec)))),
        })
    }

    /// What was recalled becomes services: those of the definition as they were, all others as something that can only be
    /// stopped. `false`: nothing was.
    pub(in crate::reconcile) fn resume(&mut self, now: Now, project: Option<&Project>, out: &mut Vec<Action>) -> bool {
        let Some(mut recalled) = self.recalled.take() else {
            return false;
        };
        let mut resumed = Vec::new();
        let in_file = project.into_iter().flat_map(|project| project.services.values());
        for spec in in_file {
            if let Some(recalled) = recalled.remove(&spec.name) {
                resumed.push((self.resumed(now, spec, &recalled), recalled));
            }
        }
        for (_, recalled) in recalled {
            let remnant = recalled.remnant.as_ref().filter(|_| recalled.memory.is_living());
            if let Some(remnant) = remnant {
                let spec = Arc::new(remnant.service());
                resumed.push((self.resumed(now, &spec, &recalled), recalled));
            }
        }
        self.order = resumed.iter().map(|(id, _)| *id).collect();
        for (id, recalled) in &resumed {
            self.hold_again(*id, recalled);
        }
        self.draw_graph();
        for (id, _) in resumed {
            self.mark_wish(id);
            self.mark_restraint(id);
            self.keep_books(id);
            let Some(machine) = self.machine(id).filter(|machine| machine.life.is_living()) else {
                continue;
            };
            out.push(Action::Adopt {
                id: machine.incarnation(),
                service: Arc::clone(&machine.spec),
                given: machine.given.clone(),
            });
        }
        self.settle();
        self.resumed = true;
        true
    }

    fn resumed(&mut self, now: Now, spec: &Arc<Service>, recalled: &Recalled) -> ServiceId {
        let cause = Cause::new(Author::Runner, "taken over");
        let id = self.add(now, spec, &cause);
        let cold = self.cold;
        if let Some(node) = self.node_mut(id) {
            node.machine.resume(&recalled.memory, now.mono_ns);
            node.started_with = recalled.started_with.clone();
            node.heir_of = None;
            if cold && spec.on_supervisor_exit == SupervisorExit::Stop && recalled.memory.is_living() {
                let machine = &mut node.machine;
                machine.wish.turn = machine.served.wrapping_add(1);
                machine.wish.at_once = Some(machine.wish.turn);
                let because = "runner was killed, and `on_supervisor_exit` is \"stop\"";
                machine.wish.asked(&Cause::new(Author::Runner, because), now.mono_ns);
            }
        }
        id
    }

    /// Enters what a living incarnation claims and began with.
    fn hold_again(&mut self, id: ServiceId, recalled: &Recalled) {
        let Some(run) = self
            .machine(id)
            .filter(|machine| machine.life.is_living())
            .map(|machine| machine.run)
        else {
            return;
        };
        // It holds the ports that it was started with, whatever the file says now.
        let claims = recalled.remnant.as_ref().map(|remnant| claims(&remnant.service()));
        self.take_hold_of(id, run, claims);
        let bonds: Vec<Bond> = recalled
            .memory
            .bonds
            .iter()
            .filter_map(|bonded| {
                let edge = Edge {
                    on: *self.by_name.get(&bonded.on)?,
                    condition: bonded.condition,
                    restart: bonded.restart,
                    required: bonded.required,
                };
                let (run, turn) = (bonded.run, bonded.turn);
                Some(Bond { edge, run, turn })
            })
            .collect();
        for bond in &bonds {
            if let Some(on) = self.node_mut(bond.edge.on) {
                on.bonded.insert(id);
            }
        }
        if let Some(node) = self.node_mut(id) {
            node.bonds = bonds;
        }
    }
}
