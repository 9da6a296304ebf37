//! When the project may end, and with which code.

use std::collections::BTreeSet;

use super::{Laws, Verdict, broken, is_scheduled};
use crate::reconcile::action::Action;
use crate::reconcile::event::{Author, EventKind};
use crate::reconcile::failure::Reason;
use crate::reconcile::sim::sight::{View, code_of, has_ended};
use crate::reconcile::snapshot::{ServiceSnapshot, StateName};
use crate::spec::ExitPolicy;

impl Laws {
    /// The project ends by itself exactly when the policy says so.
    pub fn ends(&mut self, actions: &[Action], view: &View) -> Verdict {
        let events = || {
            actions.iter().filter_map(|action| match action {
                Action::Publish(event) => Some(event),
                _ => None,
            })
        };
        let ending = events().find(|event| matches!(event.kind, EventKind::Ending { .. }));
        if self.codes.is_some() {
            return Ok(());
        }
        if let Some(event) = ending.filter(|event| event.cause.by != Author::Exit) {
            self.wishes.end();
            self.codes = Some(BTreeSet::from([0]));
            return match event.cause.by {
                Author::User => Ok(()),
                other => broken("an end has an author", format!("{other:?}")),
            };
        }
        let ended: Vec<&ServiceSnapshot> = events()
            .filter(|event| matches!(event.kind, EventKind::Completed { .. } | EventKind::Failed { .. }))
            .filter_map(|event| view.service(event.service.as_ref()?))
            .filter(|service| has_ended(service) && self.is_wanted(&service.name))
            .filter(|service| !is_scheduled(&service.name, view))
            .collect();
        let codes = self.codes_of(&ended, view);
        match (ending, codes.is_empty()) {
            (None, true) => Ok(()),
            (Some(_), false) => {
                self.wishes.end();
                self.codes = Some(codes);
                Ok(())
            }
            (Some(_), true) => broken("the exit policy", "it ends without a reason"),
            (None, false) => broken("the exit policy", format!("it should have ended with {codes:?}")),
        }
    }

    fn codes_of(&self, ended: &[&ServiceSnapshot], view: &View) -> BTreeSet<u8> {
        let mut codes = BTreeSet::new();
        for service in ended {
            let spec = &view.project.services[&service.name];
            if spec.essential || self.code_from.as_ref() == Some(&service.name) {
                codes.insert(code_of(service));
                // A loop may have ended in a run that runner itself ended.
                let looped = service
                    .failure
                    .as_ref()
                    .is_some_and(|failure| failure.reason == Reason::CrashLoop);
                codes.extend(looped.then_some(1));
            }
        }
        if !codes.is_empty() || ended.is_empty() {
            return codes;
        }
        let failed = |service: &&ServiceSnapshot| service.state == StateName::Failed;
        match self.exit {
            Some(ExitPolicy::Never) | None => {}
            Some(ExitPolicy::Any) => codes.extend(ended.iter().map(|service| u8::from(failed(service)))),
            Some(ExitPolicy::Failure) => codes.extend(ended.iter().any(failed).then_some(1)),
            Some(ExitPolicy::All) => {
                let desired = &self.wishes.desired;
                let counts = desired.iter().filter(|name| !is_scheduled(name, view));
                let all: Vec<&ServiceSnapshot> = counts.filter_map(|name| view.service(name)).collect();
                // A quiet try that was under way is stopped by the end itself.
                if all
                    .iter()
                    .all(|service| has_ended(service) || self.ended.contains_key(&service.name))
                {
                    let wanted = |s: &&&ServiceSnapshot| !self.wishes.stopped.contains(&s.name);
                    let had_failed = |s: &ServiceSnapshot| self.ended.get(&s.name) == Some(&true);
                    codes.insert(u8::from(all.iter().filter(wanted).any(|s| failed(s) || had_failed(s))));
                }
            }
        }
        codes
    }
}
