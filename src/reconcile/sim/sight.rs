//! What can be seen from outside: conditions, ends, codes.

use super::body::Body;
use super::host::Host;
use crate::reconcile::fact::ExitStatus;
use crate::reconcile::failure::Reason;
use crate::reconcile::snapshot::{ServiceSnapshot, Snapshot, StateName};
use crate::reconcile::world::World;
use crate::spec::{Condition, Dependency, Project, Service, ServiceName};

/// What a law looks at.
pub struct View<'a> {
    pub world: &'a World,
    pub host: &'a Host,
    pub project: &'a Project,
    /// After the step.
    pub now: &'a Snapshot,
}

impl View<'_> {
    pub fn service(&self, name: &ServiceName) -> Option<&ServiceSnapshot> {
        self.now.services.iter().find(|service| service.name == *name)
    }
}

/// Whether a start may go on without it or with it.
pub fn is_open(dependency: &Dependency, on: &ServiceSnapshot, view: &View) -> bool {
    let given_up = matches!(on.state, StateName::Stopped | StateName::Failed | StateName::Completed);
    let held = matches!(on.state, StateName::Waiting | StateName::Stopping) || on.stopped_by_hand || !on.wanted;
    is_met(dependency.condition, on, view) || !dependency.required && (given_up || held)
}

/// Whether a condition holds, as `ps` shows the dependency and the machine knows it.
pub fn is_met(condition: Condition, on: &ServiceSnapshot, view: &View) -> bool {
    let id = view.world.id_of(&on.name);
    let body = view
        .host
        .bodies
        .iter()
        .find(|(body, _)| Some(body.service) == id)
        .map(|(_, body)| body);
    let runs = body.is_some_and(|body| body.executed && !body.exited);
    let oneshot = view
        .project
        .services
        .get(&on.name)
        .is_some_and(|s| s.kind == crate::spec::Kind::Oneshot);
    match (condition, on.state) {
        (Condition::Started, StateName::Starting | StateName::Ready | StateName::Unhealthy) => runs,
        (Condition::Started, StateName::Completed) => true,
        (Condition::Healthy, StateName::Ready) => runs,
        (Condition::Healthy, StateName::Completed) => oneshot,
        (Condition::Completed | Condition::CompletedSuccessfully, StateName::Completed) => true,
        (Condition::Completed, StateName::Failed) => on.last_end.is_some(),
        _ => false,
    }
}

pub fn has_ended(service: &ServiceSnapshot) -> bool {
    match service.state {
        StateName::Completed => true,
        StateName::Failed => service
            .failure
            .as_ref()
            .is_none_or(|failure| failure.reason.as_str() != "stop_failed"),
        _ => false,
    }
}

/// Nothing but a person or an edit brings it up again.
pub fn is_final(service: &ServiceSnapshot, spec: &Service) -> bool {
    let reason = service.failure.as_ref().map_or("", |failure| failure.reason.as_str());
    spec.restart == crate::spec::Restart::No || reason == "dependency_failed" || spec.max_restarts.is_some()
}

/// It hangs, or the one line that it is ready by never comes.
pub fn never_gets_ready(body: &Body) -> bool {
    let silent = body
        .service
        .ready
        .as_ref()
        .is_some_and(|probe| probe.check.is_event_driven());
    !body.executed || silent || body.service.kind == crate::spec::Kind::Oneshot
}

pub fn has_no_code(reason: Reason) -> bool {
    reason.is_permanent()
        || matches!(
            reason,
            Reason::DependencyFailed
                | Reason::PrepareFailed
                | Reason::StartTimeout
                | Reason::PidFileTimeout
                | Reason::HealthFailed
                | Reason::MemoryLimit
        )
}

pub fn code_of(service: &ServiceSnapshot) -> u8 {
    let code = match service.last_end.map(|end| end.status) {
        // A run that never was, or that runner itself ended for its failure, has no code of its own.
        _ if service
            .failure
            .as_ref()
            .is_some_and(|failure| has_no_code(failure.reason)) =>
        {
            1
        }
        Some(ExitStatus::Code(code)) => u8::try_from(code).unwrap_or(1),
        Some(ExitStatus::Signal(signal)) => u8::try_from(128 + signal.number()).unwrap_or(1),
        Some(ExitStatus::Unknown) | None => 1,
    };
    if service.state == StateName::Failed && code == 0 {
        1
    } else {
        code
    }
}
