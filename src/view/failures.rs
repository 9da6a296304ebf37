//! What failed and was not mended: told once more at the end.

use super::console::Console;
use crate::api::wire::{Event, EventKind};

#[derive(Debug, Default)]
pub struct Failures(Vec<Event>);

impl Failures {
    pub fn hear(&mut self, event: &Event) {
        match event.kind {
            EventKind::Failed { .. } => {
                self.0.retain(|earlier| earlier.service != event.service);
                self.0.push(event.clone());
            }
            EventKind::Ready { .. } | EventKind::Completed { .. } => {
                self.0.retain(|earlier| earlier.service != event.service);
            }
            _ => {}
        }
    }

    pub fn tell(&self, console: &mut Console, out: &mut Vec<u8>) {
        for failure in &self.0 {
            console.event(failure, out);
        }
    }
}
