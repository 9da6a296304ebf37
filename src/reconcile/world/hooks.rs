//! The end of a hook that outlives its run.

use super::World;
use crate::reconcile::action::Action;
use crate::reconcile::fact::{Incarnation, Now, ServiceId};
use crate::reconcile::machine::Step;

impl World {
    /// The end of a hook that may be about a run before the current one.
    pub(super) fn tell_of_alarm(
        &mut self,
        now: Now,
        id: Incarnation,
        result: &Result<(), String>,
        out: &mut Vec<Action>,
        ended: &mut Vec<ServiceId>,
    ) {
        let hasten = self.is_hastened();
        let Some(node) = self.nodes.get_mut(id.service.0 as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        let rng = &mut self.rng;
        let mut step = Step {
            now,
            out,
            rng,
            hasten,
            ended,
        };
        node.machine.on_alarm_ended(id, result, &mut step);
        self.mark_dirty(id.service);
    }
}
