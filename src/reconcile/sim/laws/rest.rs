//! What has come to rest is as somebody wished.

use std::sync::Arc;

use super::{Laws, Verdict, broken};
use crate::reconcile::sim::sight::{View, is_final, is_met, never_gets_ready};
use crate::reconcile::snapshot::{ServiceSnapshot, StateName};
use crate::spec::{Condition, Restart, Service};

impl Laws {
    /// Judges what has come to rest on a machine where nothing goes wrong any more.
    pub fn at_rest(&self, view: &View) -> Verdict {
        let desired = &self.wishes.desired;
        let mut quiet = true;
        for service in &view.now.services {
            let name = &service.name;
            let stuck = service
                .failure
                .as_ref()
                .is_some_and(|f| f.reason.as_str() == "stop_failed");
            let id = view.world.id_of(name);
            let body = view
                .host
                .bodies
                .iter()
                .find(|(body, _)| Some(body.service) == id)
                .map(|(_, body)| body);
            quiet &= !matches!(
                service.state,
                StateName::Starting | StateName::Backoff | StateName::Stopping
            ) && !awaits_an_end(service, view);
            let fine = match service.state {
                _ if stuck => true,
                _ if !desired.contains(name) || self.wishes.stopped.contains(name) => body.is_none(),
                StateName::Ready | StateName::Completed => true,
                StateName::Starting | StateName::Backoff => body.is_some_and(never_gets_ready),
                StateName::Waiting => self.really_waits(service, view)?,
                StateName::Failed => {
                    body.is_some_and(|body| !body.executed) || is_final(service, &view.project.services[name])
                }
                StateName::Stopped | StateName::Unhealthy | StateName::Stopping => false,
                StateName::Preparing | StateName::Orphaned => false,
            };
            if !fine {
                return broken("no wish is forgotten", format!("{name} rests as {service:?}"));
            }
        }
        if quiet && !(view.now.settled && self.settled == view.now.generation) {
            return broken("settled", "it is quiet and nobody was told");
        }
        Ok(())
    }

    fn really_waits(&self, service: &ServiceSnapshot, view: &View) -> Result<bool, String> {
        let spec = &view.project.services[&service.name];
        for blocker in &service.waiting_on {
            let real = match &blocker.service {
                Some(on) => {
                    let dependency = &spec.depends_on[on];
                    let is_untold = |on: &ServiceSnapshot| {
                        let mut named = spec.awaits.iter().filter(|name| name.service == on.name);
                        named.any(|name| !on.outputs.contains_key(&name.output))
                    };
                    view.service(on).is_some_and(|on| {
                        !is_met(dependency.condition, on, view) || on.stopped_by_hand || is_untold(on)
                    })
                }
                None => {
                    blocker.what.contains("let go of port") && !view.host.bodies.is_empty()
                        || view.host.bodies.values().any(|body| body.kill_failed)
                }
            };
            if !real {
                return Err(format!("{} waits for what is there: {}", service.name, blocker.what));
            }
        }
        Ok(true)
    }
}

/// It waits for the end of a run that will come by itself, whenever that is.
fn awaits_an_end(service: &ServiceSnapshot, view: &View) -> bool {
    let Some(spec) = view.project.services.get(&service.name) else {
        return false;
    };
    service.state == StateName::Waiting
        && spec.depends_on.iter().any(|(on, dependency)| {
            let waits = matches!(
                dependency.condition,
                Condition::Completed | Condition::CompletedSuccessfully
            );
            let ends = |on: &Arc<Service>| on.restart != Restart::Always;
            let runs = |on: &ServiceSnapshot| matches!(on.state, StateName::Ready | StateName::Unhealthy);
            waits && view.project.services.get(on).is_some_and(ends) && view.service(on).is_some_and(runs)
        })
}
