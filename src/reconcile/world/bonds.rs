//! What an incarnation holds on to from its start to its end: the ports that it claims and the services that it began with.

use std::collections::BTreeSet;

use super::{Bond, Edge, Node, PortKey, World, claims};
use crate::reconcile::fact::ServiceId;
use crate::spec::{Condition, Kind};

impl World {
    /// Enters what a new incarnation claims and depends on.
    pub(super) fn take_hold(&mut self, id: ServiceId, run: u32) {
        self.take_hold_of(id, run, None);
    }

    /// `claimed`: other ports than those of the definition.
    pub(super) fn take_hold_of(&mut self, id: ServiceId, run: u32, claimed: Option<Vec<(PortKey, bool)>>) {
        let Some(node) = self.node(id) else { return };
        let claims = claimed.unwrap_or_else(|| claims(&node.machine.spec));
        let direct = node.dependencies.iter().copied();
        let bonds: Vec<Bond> = direct
            .chain(self.behind_oneshots(node))
            .filter_map(|edge| self.bond(edge))
            .collect();
        for Bond { edge, .. } in &bonds {
            if let Some(on) = self.node_mut(edge.on) {
                on.bonded.insert(id);
            }
        }
        for &(key, shared) in &claims {
            self.ports.entry(key).or_default().held.insert(id, shared);
        }
        if let Some(node) = self.node_mut(id) {
            node.bonds = bonds;
            node.claims = claims;
            node.booked = Some(run);
        }
        self.break_circles(id);
    }

    /// What the oneshots that it needed have needed. They are done and hold on to nothing, and still it stops before that does.
    fn behind_oneshots(&self, node: &Node) -> Vec<Edge> {
        let is_done = |on: &&Node| on.machine.spec.kind == Kind::Oneshot && !on.machine.life.is_living();
        let mut found: Vec<Edge> = Vec::new();
        let mut todo: Vec<&[Edge]> = vec![&node.dependencies];
        while let Some(edges) = todo.pop() {
            for done in edges.iter().filter_map(|edge| self.node(edge.on)).filter(is_done) {
                let fresh: Vec<Edge> = done
                    .dependencies
                    .iter()
                    .filter(|edge| node.dependencies.iter().chain(&found).all(|known| known.on != edge.on))
                    .map(|edge| Edge {
                        condition: Condition::Started,
                        restart: false,
                        required: false,
                        ..*edge
                    })
                    .collect();
                if !fresh.is_empty() {
                    found.extend(fresh);
                    todo.push(&done.dependencies);
                }
            }
        }
        found
    }

    /// An edit may have turned a dependency round while the old dependent lives on. Its old bond gives way then: two
    /// that wait for each other would never stop.
    fn break_circles(&mut self, id: ServiceId) {
        if !self.has_old_bonds {
            return;
        }
        let mut reached = BTreeSet::new();
        let mut todo = vec![id];
        while let Some(at) = todo.pop() {
            let Some(node) = self.node(at) else { continue };
            let on = node.bonds.iter().map(|bond| bond.edge.on);
            todo.extend(on.filter(|&on| reached.insert(on)));
        }
        if !reached.contains(&id) {
            return;
        }
        for at in reached.into_iter().filter(|&at| at != id) {
            let Some(node) = self.node_mut(at) else { continue };
            let (kept, old): (Vec<Bond>, Vec<Bond>) = std::mem::take(&mut node.bonds)
                .into_iter()
                .partition(|bond| node.dependencies.iter().any(|edge| edge.on == bond.edge.on));
            node.bonds = kept;
            for bond in old {
                if let Some(on) = self.node_mut(bond.edge.on) {
                    on.bonded.remove(&at);
                }
                // It may have waited for the end of the other.
                self.mark_dirty(bond.edge.on);
            }
        }
    }

    fn bond(&self, edge: Edge) -> Option<Bond> {
        let on = self.machine(edge.on)?;
        let (run, turn) = (on.run, on.wish.turn);
        Some(Bond { edge, run, turn })
    }

    /// What its dependencies did so far is no reason to restart it any more.
    pub(super) fn renew_bonds(&mut self, id: ServiceId) {
        let Some(node) = self.node(id) else { return };
        let bonds = node
            .bonds
            .iter()
            .map(|bond| self.bond(bond.edge).unwrap_or(*bond))
            .collect();
        if let Some(node) = self.node_mut(id) {
            node.bonds = bonds;
        }
    }

    /// Strikes out what an incarnation held, and marks who may have waited for that.
    pub(super) fn let_go(&mut self, id: ServiceId) {
        let Some(node) = self.node_mut(id) else { return };
        let (bonds, claims) = (std::mem::take(&mut node.bonds), std::mem::take(&mut node.claims));
        node.booked = None;
        for heir in node.heirs.clone() {
            self.mark_dirty(heir);
        }
        for Bond { edge, .. } in bonds {
            if let Some(on) = self.node_mut(edge.on) {
                on.bonded.remove(&id);
            }
            self.mark_dirty(edge.on);
        }
        for (key, _) in claims {
            let Some(port) = self.ports.get_mut(&key) else { continue };
            port.held.remove(&id);
            let waiting: Vec<ServiceId> = port.declared.iter().copied().filter(|&other| other != id).collect();
            for other in waiting {
                self.mark_dirty(other);
            }
        }
    }
}
