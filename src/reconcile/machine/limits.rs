//! What a run may use.

use super::life::{Judgement, Life, Then};
use super::{Machine, Step};
use crate::reconcile::event::{Author, Cause};
use crate::reconcile::words;

impl Machine {
    /// One that holds too much has failed, as one that is unhealthy has.
    pub fn on_memory_used(&mut self, bytes: u64, step: &mut Step) {
        let ready_for = match &self.life {
            Life::Starting { .. } => None,
            Life::Ready { ready_at, .. } | Life::Unhealthy { ready_at, .. } => {
                Some(step.now.mono_ns.saturating_sub(*ready_at))
            }
            _ => return,
        };
        // While it is about to go anyway, the order of the graph decides when.
        let limit = self.spec.memory_limit.filter(|limit| bytes > *limit && !self.lot.going);
        let Some(limit) = limit else { return };
        let failure = words::memory_limit(&self.spec, bytes, limit);
        let cause = Cause::new(Author::Runner, "memory_limit");
        self.stop(Then::Judge(Judgement::failed(failure, ready_for)), cause, step);
    }
}
