//! How much memory runs with a `memory_limit` hold: looked at now and then, and only while there is such a run.

use std::time::Duration;

use super::{Hands, Inbox};
use crate::reconcile::{Fact, Incarnation};
use crate::sys;

/// From one look to the next.
const REST: Duration = Duration::from_secs(5);

impl Hands {
    /// A run has come or become another.
    pub(super) fn mind_memory(&mut self, id: Incarnation) {
        let has_limit = self.runs.get(&id).is_some_and(|run| run.service.memory_limit.is_some());
        if !has_limit || self.looks_at_memory {
            return;
        }
        self.looks_at_memory = true;
        let inbox = self.inbox.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(REST).await;
            let _ = inbox.send(Inbox::MemoryIsDue);
        });
    }

    /// The processes of a machine are many: a thread reads them.
    pub(super) fn look_at_memory(&mut self) {
        self.looks_at_memory = false;
        let limited = self.runs.iter().filter(|(_, run)| run.service.memory_limit.is_some());
        let mains: Vec<(Incarnation, u32)> = limited
            .filter_map(|(id, run)| Some((*id, run.witness.pid.get()?)))
            .collect();
        let Some(&(id, _)) = mains.first() else { return };
        self.mind_memory(id);
        let inbox = self.inbox.clone();
        tokio::task::spawn_blocking(move || {
            let pids: Vec<u32> = mains.iter().map(|(_, pid)| *pid).collect();
            let usage = sys::usage::of_trees(&pids);
            for (id, pid) in mains {
                let Some(bytes) = usage.get(&pid).map(|usage| usage.resident_bytes) else {
                    continue;
                };
                let _ = inbox.send(Inbox::Fact(Fact::MemoryUsed { id, bytes }));
            }
        });
    }
}
