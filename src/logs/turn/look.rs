//! Whoever looks: where logs end, and who hears of what comes.

use super::Turn;
use crate::logs::index::RunId;
use crate::logs::pump::Look;
use crate::logs::seam::{self, Seam};
use crate::logs::tap::Run;
use crate::spec::ServiceName;

impl Turn {
    /// Takes what is there, notes where the logs end, and only then lets the queue hear: nothing is taken in between.
    pub(super) fn look(&mut self, look: Look) {
        let goes_on = look.queue.is_some();
        let seams = look.logs.iter().map(|(service, place)| {
            let open = self.take_all(service);
            let ours = self.logs.get(place).and_then(|log| log.borrow().journal.end());
            Seam {
                end: ours.or_else(|| seam::end_of(place)),
                open,
                goes_on,
            }
        });
        let seams = seams.collect();
        if let Some(queue) = look.queue {
            self.shared.add_queue(queue);
        }
        // Whoever asked may be gone.
        let _ = look.answer.send(seams);
    }

    /// One turn for each stream of the service; its open runs.
    fn take_all(&mut self, service: &ServiceName) -> Vec<RunId> {
        let runs = self.runs.get(service).cloned().unwrap_or_default();
        for (_, slots) in &runs {
            for slot in slots {
                self.take(*slot);
            }
        }
        runs.into_iter()
            .filter_map(|(_, [out, _])| Some(self.taps[out].as_ref()?.run.id))
            .collect()
    }

    pub(super) fn tell_end(&self, run: &Run) {
        for queue in self.shared.lock_queues().iter() {
            if queue.filter.admits(&run.service, None, run.console.get()) {
                queue.offer_end(&run.service, run.id.number);
            }
        }
    }
}
