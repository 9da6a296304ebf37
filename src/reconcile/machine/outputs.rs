//! What the log of a run tells of it, and what a run is told of others.

use super::{Machine, Step};
use crate::reconcile::event::{Author, Cause, EventKind};
use crate::spec::Service;

impl Machine {
    /// Its log has told it. The first match counts.
    pub fn on_output_found(&mut self, name: String, value: String, step: &mut Step) {
        if !self.spec.outputs.contains_key(&name) || self.outputs.contains_key(&name) {
            return;
        }
        self.outputs.insert(name.clone(), value.clone());
        self.moves += 1;
        let cause = Cause::new(Author::Runner, "its log");
        self.publish(EventKind::OutputFound { name, value }, cause, step);
    }

    /// After an edit, what was looked for in another way is not known.
    pub fn forget_edited_outputs(&mut self, old: &Service) {
        let spec = &self.spec;
        self.outputs.retain(|name, _| {
            spec.outputs
                .get(name)
                .is_some_and(|pattern| old.outputs.get(name) == Some(pattern))
        });
    }
}
