//! Who waits for what: answers that are held back until something has come, or can't come any more.

use std::collections::BTreeSet;

use crate::api::server::Reply;
use crate::api::wire::{self, Outcome};
use crate::reconcile::{Event, EventKind, Goal, Progress, World};
use crate::spec::ServiceName;

/// Whom an answer is about; `None`: all.
pub type Whom = Option<Vec<ServiceName>>;

/// One answer that is held back.
pub struct Waiter {
    pub aim: Aim,
    pub names: Whom,
    /// Monotonic, ns.
    pub deadline: Option<u64>,
    pub reply: Reply<wire::Acted>,
}

impl Waiter {
    /// What an edit has brought since the project was asked to come to rest belongs to it.
    fn counts_newcomers(&mut self, world: &World) {
        if let (Aim::Settled, Some(names)) = (&self.aim, &mut self.names) {
            let known: BTreeSet<ServiceName> = names.iter().cloned().collect();
            names.extend(world.wanted().into_iter().filter(|name| !known.contains(name)));
        }
    }
}

/// What is waited for.
pub enum Aim {
    /// Each of these at its goal. What has been seen there is looked at once more at the end.
    Goal {
        goal: Goal,
        left: Vec<ServiceName>,
        failed: bool,
    },
    /// These have stopped, and then that.
    Scaled { gone: Vec<ServiceName>, then: Box<Aim> },
    /// The whole project comes to rest; the names are those that were to run when that was asked.
    Settled,
    /// Each of these tells how its reload went, or ends.
    Reload { left: BTreeSet<ServiceName>, failed: bool },
}

impl Aim {
    pub fn goal(goal: Goal, names: &[ServiceName]) -> Aim {
        Aim::Goal {
            goal,
            left: names.to_vec(),
            failed: false,
        }
    }

    /// Everything is being stopped, and this can't come any more.
    fn is_lost(&self, world: &World) -> bool {
        let is_to_run = match self {
            Aim::Settled | Aim::Goal { goal: Goal::Up, .. } => true,
            Aim::Scaled { then, .. } => return then.is_lost(world),
            Aim::Goal { .. } | Aim::Reload { .. } => false,
        };
        is_to_run && world.is_ending()
    }

    /// How it came out; `None`: not yet. Costs as much as has come since the last look.
    fn outcome(&mut self, names: &[ServiceName], world: &World) -> Option<Outcome> {
        let failed = match self {
            // Who was stopped by somebody else meanwhile is missed.
            Aim::Settled => !world.is_settled()? || names.iter().any(|name| world.is_stopped_by_hand(name)),
            Aim::Scaled { gone, then } => {
                while let Some(name) = gone.last() {
                    match world.progress(name, Goal::Stopped) {
                        Progress::Pending => return None,
                        Progress::Reached => {}
                        Progress::Missed => return Some(Outcome::Failed),
                    }
                    gone.pop();
                }
                return then.outcome(names, world);
            }
            Aim::Reload { left, failed } if left.is_empty() => *failed,
            Aim::Reload { .. } => return None,
            Aim::Goal { goal, left, failed } => {
                while let Some(name) = left.last() {
                    match world.progress(name, *goal) {
                        Progress::Pending => return None,
                        Progress::Reached => {}
                        Progress::Missed => *failed = true,
                    }
                    left.pop();
                }
                // What was there first may have gone since.
                *failed = false;
                for name in names {
                    match world.progress(name, *goal) {
                        Progress::Pending => left.push(name.clone()),
                        Progress::Reached => {}
                        Progress::Missed => *failed = true,
                    }
                }
                if !left.is_empty() {
                    return None;
                }
                *failed
            }
        };
        Some(if failed { Outcome::Failed } else { Outcome::Done })
    }

    fn hear(&mut self, event: &Event) {
        let Aim::Reload { left, failed } = self else { return };
        let Some(name) = &event.service else { return };
        let went_wrong = match event.kind {
            EventKind::Reloaded => false,
            EventKind::ReloadFailed { .. } | EventKind::Exited { .. } | EventKind::Stopping => true,
            _ => return,
        };
        *failed |= left.remove(name) && went_wrong;
    }
}

#[derive(Default)]
pub struct Waiting(Vec<Waiter>);

impl Waiting {
    pub fn add(&mut self, waiter: Waiter) {
        self.0.push(waiter);
    }

    /// When the first of them has waited long enough.
    pub fn deadline(&self) -> Option<u64> {
        self.0.iter().filter_map(|waiter| waiter.deadline).min()
    }

    pub fn hear(&mut self, event: &Event) {
        for waiter in &mut self.0 {
            waiter.aim.hear(event);
        }
    }

    /// Those that wait no longer, with how it came out; `None`: all is being stopped. Who has hung up is forgotten.
    pub fn over(&mut self, now: u64, world: &World) -> Vec<(Waiter, Option<Outcome>)> {
        let mut over = Vec::new();
        let mut at = 0;
        while at < self.0.len() {
            let waiter = &mut self.0[at];
            let late = waiter.deadline.is_some_and(|deadline| deadline <= now);
            let outcome = waiter.aim.outcome(waiter.names.as_deref().unwrap_or_default(), world);
            if waiter.reply.is_closed() {
                self.0.swap_remove(at);
            } else if waiter.aim.is_lost(world) {
                over.push((self.0.swap_remove(at), None));
            } else if let Some(outcome) = outcome.or(late.then_some(Outcome::TimedOut)) {
                let mut waiter = self.0.swap_remove(at);
                waiter.counts_newcomers(world);
                over.push((waiter, Some(outcome)));
            } else {
                at += 1;
            }
        }
        over
    }
}
