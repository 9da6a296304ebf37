//! Between its turn and the spawn: the folder is filled, files are written, steps are run.

use std::sync::Arc;

use super::life::{Again, Judgement, Life, Then};
use super::{Machine, Permit, Step};
use crate::reconcile::action::Action;
use crate::reconcile::event::{Author, Cause, EventKind};
use crate::reconcile::failure::Failure;

impl Machine {
    /// What is to be done before the spawn comes first. It was done already when a try failed of what another one may not.
    pub(super) fn prepare(&mut self, again: Again, step: &mut Step) -> bool {
        if again != Again::default() || !self.spec.is_prepared() {
            return self.spawn(again, step);
        }
        let spec = Arc::clone(&self.spec);
        step.out.push(Action::Prepare {
            id: self.incarnation(),
            service: Arc::clone(&spec),
            given: self.given.clone(),
        });
        let life = Life::Preparing {
            spec,
            doing: None,
            ending: false,
            done: false,
        };
        self.enter(life, self.cause.clone(), step);
        true
    }

    pub(super) fn pursue_preparing(&mut self, permit: &Permit, step: &mut Step) -> bool {
        let may_go = self.may_go(permit);
        let id = self.incarnation();
        let Life::Preparing { ending, done, .. } = &mut self.life else {
            return false;
        };
        if *done {
            if may_go {
                self.life = Life::Stopped;
                self.finish(Then::Wish, step);
                return true;
            }
            return !self.lot.going && self.spawn(Again::default(), step);
        }
        if may_go && !std::mem::replace(ending, true) {
            step.out.push(Action::CancelPrepare { id });
        }
        false
    }

    /// A step begins.
    pub fn on_preparing(&mut self, what: String, step: &mut Step) {
        let Life::Preparing { doing, .. } = &mut self.life else {
            return;
        };
        if doing.as_ref() == Some(&what) {
            return;
        }
        *doing = Some(what.clone());
        self.moves += 1;
        self.publish(EventKind::Preparing { step: what }, self.cause.clone(), step);
    }

    pub fn on_prepared(&mut self, result: Result<(), Failure>, step: &mut Step) {
        let Life::Preparing { ending, done, .. } = &mut self.life else {
            return;
        };
        if *ending {
            self.life = Life::Stopped;
            return self.finish(Then::Wish, step);
        }
        match result {
            Ok(()) => *done = true,
            Err(failure) => {
                self.life = Life::Stopped;
                let judgement = Judgement::failed(failure, None);
                self.finish(Then::Judge(judgement), step);
            }
        }
    }

    /// Files that are reloaded may have become others by an edit. Before it is up there is nobody who could be told: then
    /// it comes once it is.
    pub(super) fn rewrite(&mut self, step: &mut Step) {
        if !self.spec.files.values().any(|file| file.reload) {
            return;
        }
        match &self.life {
            Life::Starting { .. } | Life::Ready { .. } | Life::Unhealthy { .. } => {
                step.out.push(Action::Rewrite { id: self.incarnation() });
            }
            Life::Stopping(_) => {}
            _ => self.stale_files = true,
        }
    }

    /// It is up.
    pub(super) fn rewrite_what_is_stale(&mut self, step: &mut Step) {
        if std::mem::take(&mut self.stale_files) {
            self.rewrite(step);
        }
    }

    /// The answer to `Action::Rewrite`: whether any of them did.
    pub fn on_rewritten(&mut self, result: Result<bool, String>, step: &mut Step) {
        match result {
            Ok(true) => self.reload(&Cause::new(Author::File, "its files have changed"), step),
            Ok(false) => {}
            Err(words) => self.warn(words, step),
        }
    }
}
