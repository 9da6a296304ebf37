//! Edits of a log while it is written.

use std::io;

use super::{Turn, in_words};
use crate::logs::LogFact;
use crate::logs::journal::Journal;
use crate::logs::place::LogPlace;
use crate::spec::{LogTarget, ServiceName};

impl Turn {
    pub(super) fn adjust(&mut self, service: &ServiceName, target: &LogTarget, place: &LogPlace) {
        let runs = self.runs.get(service).cloned().unwrap_or_default();
        for (_, slots) in runs {
            if let Err(error) = self.move_to(slots, target, place) {
                (self.facts)(LogFact::Trouble {
                    service: service.clone(),
                    problem: Some(in_words(place, &error)),
                });
                return;
            }
            for slot in slots {
                let Some(tap) = self.taps[slot].as_mut() else { continue };
                tap.log.borrow_mut().journal.adjust(target);
                tap.run.console.set(target.is_on_console());
                tap.forget_queues();
                self.place_on_console(slot);
            }
        }
    }

    /// Lets both streams go on in another log, if it is another one.
    fn move_to(&mut self, slots: [usize; 2], target: &LogTarget, place: &LogPlace) -> io::Result<()> {
        let Some(tap) = &self.taps[slots[0]] else { return Ok(()) };
        let old = tap.log.clone();
        let before = old.borrow().journal.place().clone();
        if before == *place {
            return Ok(());
        }
        {
            let shared = self.shared.clone();
            let mut users = shared.lock_users();
            if !users.contains_key(place) {
                self.keep(Journal::open(place, target)?);
            } else if !self.logs.contains_key(place) {
                return Err(io::Error::other("another service is about to write there"));
            }
            *users.entry(place.clone()).or_default() += 1;
        }
        for slot in slots {
            old.borrow_mut().suspended.retain(|&other| other != slot);
            if let Some(tap) = self.taps[slot].as_mut() {
                tap.log = self.logs[place].clone();
            }
            self.watch(slot, true);
        }
        self.let_go(&before);
        Ok(())
    }
}
