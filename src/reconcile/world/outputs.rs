//! What services tell in their logs reaches those who name it.

use super::{Node, World};
use crate::reconcile::fact::ServiceId;
use crate::spec::{Given, OutputName, Service};

impl World {
    fn output(&self, name: &OutputName) -> Option<&String> {
        let id = self.by_name.get(&name.service)?;
        self.machine(*id)?.outputs.get(&name.output)
    }

    /// What a service would be started with now; else the first output that nobody knows yet.
    pub fn outputs_for<'a>(&self, service: &'a Service) -> Result<Given, &'a OutputName> {
        let awaits = service.awaits.iter();
        let given = awaits.map(|name| Ok((name.clone(), self.output(name).ok_or(name)?.clone())));
        given.collect()
    }

    /// The outputs that it names and that nobody knows.
    pub(super) fn untold<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a OutputName> {
        let awaits = node.machine.spec.awaits.iter();
        awaits.filter(|name| self.output(name).is_none())
    }

    /// Nothing is in its way but what others, who run, have not told yet.
    pub(super) fn is_about_to_be_told(&self, node: &Node) -> bool {
        let mut untold = self.untold(node).peekable();
        let tells = |name: &OutputName| {
            let teller = self.by_name.get(&name.service).and_then(|id| self.machine(*id));
            teller.is_some_and(|teller| teller.life.is_living())
        };
        untold.peek().is_some() && untold.all(tells) && node.dependencies.iter().all(|&edge| self.is_open(edge))
    }

    /// The next run gets what is known now. What runs keeps what it was started with.
    pub(super) fn give_outputs(&mut self, id: ServiceId) {
        let Some(node) = self.node(id) else { return };
        if node.machine.life.is_living() {
            return;
        }
        let awaits = node.machine.spec.awaits.iter();
        let given = awaits.filter_map(|name| Some((name.clone(), self.output(name)?.clone())));
        let given = given.collect();
        if let Some(node) = self.node_mut(id) {
            node.machine.given = given;
        }
    }
}
