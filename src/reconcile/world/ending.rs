//! When the project comes to rest, and when it ends.

use super::World;
use crate::reconcile::action::{Action, Ending};
use crate::reconcile::event::{Author, Cause, Event, EventKind};
use crate::reconcile::exit::{Ends, Policy};
use crate::reconcile::fact::ServiceId;
use crate::reconcile::machine::Machine;

impl World {
    pub(super) fn is_hastened(&self) -> bool {
        self.ending.as_ref().is_some_and(|ends| ends.hasten)
    }

    /// Begins to stop everything when those that ended have ended the project.
    pub(super) fn end_if_due(&mut self, out: &mut Vec<Action>, ended: &mut Vec<ServiceId>) -> bool {
        let ends = self.judge_ends(&std::mem::take(ended));
        let due = ends.is_some();
        if let Some(ends) = ends {
            self.begin_ending(ends, out);
        }
        due
    }

    pub(super) fn begin_ending(&mut self, ends: Ends, out: &mut Vec<Action>) {
        let (because, by) = (ends.because.clone(), ends.by);
        out.push(Action::Publish(Event {
            service: None,
            run: 0,
            kind: EventKind::Ending {
                because: because.clone(),
            },
            cause: Cause::new(by, because.clone()),
        }));
        self.ending = Some(ends);
        let now = self.now;
        for id in self.ids() {
            if let Some(node) = self.node_mut(id) {
                node.machine.wish.asked(&Cause::new(by, because.clone()), now);
            }
            self.mark_wish(id);
            self.mark_dirty(id);
        }
    }

    /// The last words of a step: settled, over.
    pub(super) fn conclude(&mut self, out: &mut Vec<Action>) {
        if self.tally.moving > 0 {
            self.settled = None;
        } else if self.selection.any && self.ending.is_none() && self.settled != Some(self.generation) {
            self.settled = Some(self.generation);
            let kind = EventKind::Settled {
                generation: self.generation,
                failed: self.tally.unwell > 0,
            };
            let cause = Cause::new(Author::Runner, "nothing is in transition");
            out.push(Action::Publish(Event {
                service: None,
                run: 0,
                kind,
                cause,
            }));
        }
        if let Some(ends) = &self.ending
            && self.tally.living == 0
        {
            out.push(Action::End(Ending {
                by: ends.by,
                code: self.code_of_command_line().unwrap_or(ends.code),
                because: ends.because.clone(),
            }));
            self.over = true;
        }
    }
}

/// What the exit policy asks.
impl World {
    pub(in crate::reconcile) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(in crate::reconcile) fn machine_of(&self, id: ServiceId) -> Option<&Machine> {
        self.machine(id)
    }

    pub(in crate::reconcile) fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.nodes.iter().flatten().map(|node| &node.machine)
    }

    /// Everything is being stopped and runner ends after it.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Every service that is desired has ended by itself.
    pub(in crate::reconcile) fn has_all_ended(&self) -> bool {
        self.tally.open == 0
    }
}
