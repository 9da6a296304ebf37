//! Services that are started on other ports than the declared ones (`on_port_conflict = "next"`): what is compared stays the
//! declared definition, what runs is made with the real numbers.

use std::collections::HashSet;
use std::sync::Arc;

use super::refusals::check;
use super::{Hands, Run};
use crate::config::{MovedPorts, Recipe};
use crate::reconcile::{Fact, Failure, Incarnation, Reason};
use crate::spec::{Port, Project, Service};
use crate::sys::ports::{self, PortTrouble};

impl Hands {
    /// A definition is about to come into force.
    pub fn follow(&mut self, project: Arc<Project>, recipe: Option<Arc<Recipe>>) {
        (self.project, self.recipe) = (Some(project), recipe);
    }

    /// What the ports of living services are, where that is not what their definitions say.
    pub fn moved(&self) -> &MovedPorts {
        &self.moved
    }

    /// For each port that is taken, the next free one; in words.
    pub(super) fn move_ports(&mut self, service: &Service) -> Result<Vec<String>, Failure> {
        let mut given: HashSet<u16> = self.recipe.iter().flat_map(|recipe| recipe.numbers()).collect();
        given.extend(self.moved.values().flat_map(|ports| ports.values()));
        let mut words = Vec::new();
        for (name, port) in &service.ports {
            let is_ours = |port: &Port| service.sockets.contains(name) && self.sockets.holds(port.into());
            if is_ours(port) {
                continue;
            }
            let Some(PortTrouble::Taken(owner)) = ports::conflict(&[check(port)]) else {
                continue;
            };
            let is_free = |number: &u16| {
                let moved = Port {
                    number: *number,
                    ..*port
                };
                !given.contains(number) && (is_ours(&moved) || ports::can_be_had(check(&moved)))
            };
            let next = (port.number..=u16::MAX).skip(1).find(is_free).ok_or_else(|| Failure {
                reason: Reason::PortInUse,
                message: format!("{}, and no port after it is free", owner.describe()),
                suggestion: Some("give the service another port".to_owned()),
            })?;
            given.insert(next);
            words.push(format!("{}: {next} is used instead", owner.describe()));
            let moved = self.moved.entry(service.name.clone()).or_default();
            moved.insert(name.clone(), next);
        }
        Ok(words)
    }

    /// A run is over, and the next one begins at the declared numbers. A hook that has outlived its run says nothing of those that
    /// a later one has by now.
    pub(super) fn forget_moved(&mut self, run: &Run) {
        if !run.is_reopened {
            self.moved.remove(&run.service.name);
        }
    }

    /// The World shows real numbers to people, though it compares the declared ones.
    pub(super) fn tell_actual(
        &mut self,
        id: Incarnation,
        declared: &Arc<Service>,
        actual: &Arc<Service>,
        words: Vec<String>,
    ) {
        if !Arc::ptr_eq(declared, actual) {
            let actual = actual.clone();
            self.known.push_back(Fact::PortsMoved { id, actual, words });
        }
    }

    /// The service with the ports that services really have now.
    pub fn actual(&self, service: &Arc<Service>) -> Result<Arc<Service>, Failure> {
        let Some(recipe) = self.recipe.as_ref().filter(|_| !self.moved.is_empty()) else {
            return Ok(service.clone());
        };
        match recipe.service(&service.name, &self.moved) {
            Ok(Some(actual)) if actual != **service => Ok(Arc::new(actual)),
            Ok(_) => Ok(service.clone()),
            Err(problems) => Err(Failure {
                reason: Reason::PortInUse,
                message: format!("its definition can't do with another port: {problems}"),
                suggestion: None,
            }),
        }
    }
}
