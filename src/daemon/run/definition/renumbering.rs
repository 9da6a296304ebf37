//! An `"auto"` port was lost: the definition in force is made again with another number for it.

use std::sync::Arc;

use super::{Daemon, Purpose};
use crate::config::{Loaded, Problems};
use crate::reconcile::{Author, Cause};
use crate::spec::ServiceName;

impl Daemon {
    /// An `"auto"` port was lost to somebody else.
    pub(in crate::daemon::run) fn renumber(&mut self, service: ServiceName, port: String) {
        self.definition.lost.insert((service, port));
        let is_queued = |purpose: &Purpose| matches!(purpose, Purpose::Renumber);
        if !self.definition.queue.iter().any(is_queued) {
            self.read(Purpose::Renumber);
        }
    }

    /// What waits for an `up`, and what is wrong with the files, is not touched by it.
    pub(super) fn renumbered(&mut self, made: Result<Loaded, Problems>) {
        if self.is_ending() {
            return;
        }
        match made {
            Ok(loaded) => {
                let (pending, rejected) = (self.definition.pending.take(), self.definition.rejected.take());
                let cause = Cause::new(Author::Runner, "a port was taken by another process");
                self.configure(Arc::new(loaded.project), loaded.recipe, cause, None);
                (self.definition.pending, self.definition.rejected) = (pending, rejected);
            }
            Err(problems) => self.warn(format!(
                "there is no other number for a port that was taken: {problems}"
            )),
        }
    }
}
