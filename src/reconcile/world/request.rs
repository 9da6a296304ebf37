//! What people ask for becomes wishes: levels, to be met whenever they can be.

use std::collections::BTreeSet;
use std::time::Duration;

use super::World;
use crate::reconcile::action::Action;
use crate::reconcile::event::Cause;
use crate::reconcile::exit::Ends;
use crate::reconcile::fact::{Request, ServiceId};
use crate::reconcile::machine::Life;
use crate::spec::ServiceName;

impl World {
    pub(super) fn ask(&mut self, request: Request, cause: Cause, out: &mut Vec<Action>) {
        match request {
            Request::Down { timeout } => self.ask_down(timeout, cause, out),
            Request::Hasten => self.ask_hasten(),
            // Once everything is being stopped, only the end is left to be asked for.
            Request::Up { .. } | Request::Start { .. } | Request::Stop { .. } | Request::Restart { .. }
                if self.ending.is_some() => {}
            Request::Up {
                names,
                no_deps,
                profiles,
            } => self.ask_up(&names, no_deps, profiles, &cause),
            Request::Start { names } => {
                for id in self.named(&names) {
                    self.wish_for(id, false, &cause);
                    self.try_again(id, true);
                }
            }
            Request::Stop { names, timeout } => {
                for id in self.named(&names) {
                    let Some(node) = self.node_mut(id) else { continue };
                    node.machine.wish.stopped = true;
                    node.machine.wish.patience = timeout;
                    node.machine.wish.cause = cause.clone();
                    self.remark(id);
                }
            }
            Request::Restart { names } => {
                for id in self.named(&names) {
                    self.wish_for(id, false, &cause);
                    if let Some(node) = self.node_mut(id) {
                        node.machine.wish.turn = node.machine.wish.turn.wrapping_add(1);
                    }
                }
            }
        }
    }

    fn ask_up(&mut self, names: &[ServiceName], no_deps: bool, profiles: Vec<String>, cause: &Cause) {
        self.selection.any = true;
        self.settled = None;
        if names.is_empty() {
            self.selection.all = true;
            let leaving = self.nodes.iter_mut().flatten().filter(|node| node.removed);
            let leaving = leaving.map(|node| &mut node.machine.wish);
            for wish in self.absent.values_mut().chain(leaving) {
                (wish.stopped, wish.alone) = (false, false);
            }
        }
        if !profiles.is_empty() {
            self.selection.profiles.extend(profiles);
            for id in self.order.clone() {
                self.mark_wish(id);
            }
        }
        for id in self.named(names) {
            if names.is_empty() {
                if let Some(node) = self.node_mut(id) {
                    let wish = &mut node.machine.wish;
                    if std::mem::take(&mut wish.stopped) || !node.machine.lot.wanted {
                        wish.cause = cause.clone();
                    }
                    wish.patience = None;
                }
                self.set_alone(id, false);
                self.remark(id);
            } else {
                self.wish_for(id, no_deps, cause);
            }
            self.try_again(id, false);
        }
    }

    fn ask_down(&mut self, timeout: Option<Duration>, cause: Cause, out: &mut Vec<Action>) {
        for id in self.ids() {
            if let Some(node) = self.node_mut(id).filter(|_| timeout.is_some()) {
                node.machine.wish.patience = timeout;
            }
            self.mark_dirty(id);
        }
        if self.ending.is_none() {
            self.begin_ending(Ends::asked(&cause), out);
        }
    }

    fn ask_hasten(&mut self) {
        if let Some(ends) = &mut self.ending {
            ends.hasten = true;
            for id in self.ids() {
                self.mark_dirty(id);
            }
        }
    }

    /// Wanted by name, with all that it needs; stops by hand in the way are taken back.
    fn wish_for(&mut self, id: ServiceId, alone: bool, cause: &Cause) {
        self.selection.any = true;
        self.settled = None;
        if let Some(node) = self.node_mut(id) {
            node.machine.wish.named = true;
        }
        self.set_alone(id, alone);
        let mut cleared = BTreeSet::from([id]);
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            let Some(node) = self.node_mut(id) else { continue };
            let wish = &mut node.machine.wish;
            let was_stopped = std::mem::take(&mut wish.stopped);
            wish.patience = None;
            if was_stopped || !node.machine.lot.wanted {
                node.machine.wish.cause = cause.clone();
            }
            if !alone {
                todo.extend(
                    node.dependencies
                        .iter()
                        .map(|edge| edge.on)
                        .filter(|&on| cleared.insert(on)),
                );
            }
            self.remark(id);
        }
        if !alone {
            for id in cleared {
                self.try_again(id, false);
            }
        }
    }

    /// Asked for without its dependencies, or with them. What it needed so far stays wanted: no `up` stops anything.
    fn set_alone(&mut self, id: ServiceId, alone: bool) {
        let Some(node) = self.node_mut(id) else { return };
        if std::mem::replace(&mut node.machine.wish.alone, alone) == alone {
            return;
        }
        let on: Vec<ServiceId> = node.dependencies.iter().map(|edge| edge.on).collect();
        self.renew_bonds(id);
        for on in on {
            if let Some(dependency) = self.node_mut(on).filter(|_| alone) {
                dependency.machine.wish.named |= dependency.machine.lot.desired;
            }
            self.mark_wish(on);
        }
    }

    /// A failed service is tried again; `now`: also one that completed, or whose restart is not due yet.
    fn try_again(&mut self, id: ServiceId, now: bool) {
        let Some(node) = self.node_mut(id) else { return };
        let machine = &mut node.machine;
        let again = match &machine.life {
            Life::Failed { .. } => true,
            Life::Completed { .. } | Life::Backoff { .. } | Life::Retrying { .. } => now,
            Life::Stopped | Life::Waiting { .. } | Life::Gated { .. } | Life::Doomed { .. } => false,
            Life::Spawning { .. } | Life::Executing { .. } | Life::Starting { .. } => false,
            Life::Ready { .. } | Life::Unhealthy { .. } | Life::Stopping(_) => false,
        };
        // A turn that is due already covers this one.
        if again && machine.wish.turn == machine.served {
            machine.wish.turn = machine.wish.turn.wrapping_add(1);
        }
        self.remark(id);
    }

    fn remark(&mut self, id: ServiceId) {
        self.mark_wish(id);
        self.mark_restraint(id);
        self.mark_dependents(id);
    }

    /// The services of these names; all of the file if none is named.
    fn named(&self, names: &[ServiceName]) -> Vec<ServiceId> {
        if names.is_empty() {
            return self.order.clone();
        }
        names
            .iter()
            .filter_map(|name| self.by_name.get(name).copied())
            .collect()
    }
}
