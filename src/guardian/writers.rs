//! Whose output a FIFO is: a witness of whoever writes into it and shows nothing else of where it comes from.

use std::collections::HashMap;

use super::orders::Ticket;

/// Device and inode.
type Place = (u64, u64);

#[derive(Debug, Default)]
pub(super) struct Writers(HashMap<Place, Vec<Ticket>>);

impl Writers {
    /// `beside`: a hook or a command that writes into the FIFO of its service. What was left behind is the service's.
    pub fn add(&mut self, place: Place, ticket: Ticket, beside: bool) {
        let tickets = self.0.entry(place).or_default();
        tickets.insert(if beside { tickets.len() } else { 0 }, ticket);
    }

    pub fn remove(&mut self, place: Place, ticket: Ticket) {
        if let Some(tickets) = self.0.get_mut(&place) {
            tickets.retain(|writer| *writer != ticket);
            if tickets.is_empty() {
                self.0.remove(&place);
            }
        }
    }

    pub fn of(&self, place: Place) -> Option<Ticket> {
        self.0.get(&place)?.first().copied()
    }
}
