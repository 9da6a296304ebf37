//! For the simulation: the comparison of everything, and what is armed.

use super::World;
use crate::reconcile::action::Action;
use crate::reconcile::fact::{Now, ServiceId};
use crate::spec::ServiceName;

impl World {
    /// Looks at every service as if all were marked. After a step there must be nothing left to do.
    pub(in crate::reconcile) fn compare_all(&mut self, now: Now, out: &mut Vec<Action>) {
        for id in self.ids() {
            self.mark_wish(id);
            self.mark_restraint(id);
        }
        self.run(now, out, &mut Vec::new());
    }

    pub(in crate::reconcile) fn id_of(&self, name: &ServiceName) -> Option<ServiceId> {
        self.by_name.get(name).copied()
    }

    /// The hands have not said yet what is there of it.
    pub(in crate::reconcile) fn is_awaited(&self, name: &ServiceName) -> bool {
        let machine = self.id_of(name).and_then(|id| self.machine(id));
        machine.is_some_and(|machine| machine.awaited)
    }

    pub(in crate::reconcile) fn deadline_of(&self, id: ServiceId) -> Option<u64> {
        self.node(id)?.armed
    }
}
