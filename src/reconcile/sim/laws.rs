//! What must hold in every history, whatever people, services and the machine do. Each law is judged from outside: by
//! what the simulated machine knows, by the reference of wishes, and by what `ps` would show.

mod ends;
mod rest;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::body::{Body, Stage};
use super::host::Preparing;
use super::sight::{View, has_ended, is_open};
use super::text::words;
use super::wishes::Wishes;
use crate::reconcile::action::{Action, Purpose};
use crate::reconcile::event::{Author, Cause, Event, EventKind};
use crate::reconcile::fact::{Incarnation, Request, ServiceId};
use crate::reconcile::snapshot::{ServiceSnapshot, StateName};
use crate::spec::{Condition, ExitPolicy, Project, Service, ServiceName};

/// The longest answer to SIGKILL with a second order of it, and what a spawn may take.
const SLACK: Duration = Duration::from_secs(23);

#[derive(Default)]
pub struct Laws {
    pub wishes: Wishes,
    pub exit: Option<ExitPolicy>,
    pub code_from: Option<ServiceName>,
    runs: BTreeMap<ServiceId, u32>,
    /// When each stop began.
    stops: BTreeMap<Incarnation, u64>,
    patience: Duration,
    /// Who had ended by itself before the step, and whether it had failed.
    ended: BTreeMap<ServiceName, bool>,
    /// Whom a run began with.
    bonds: BTreeSet<(Incarnation, ServiceId)>,
    /// Who was ready before the step.
    serving: BTreeSet<ServiceName>,
    /// Codes that the end may have.
    codes: Option<BTreeSet<u8>>,
    settled: u64,
    /// The end was told: what begins to stop before it, in the same step, was not stopped for it.
    end_told: bool,
}

type Verdict = Result<(), String>;

fn broken(law: &str, what: impl std::fmt::Display) -> Verdict {
    Err(format!("{law}: {what}"))
}

/// Its next run is always due.
fn is_scheduled(name: &ServiceName, view: &View) -> bool {
    let spec = view.project.services.get(name);
    spec.is_some_and(|spec| spec.schedule.is_some())
}

impl Laws {
    pub fn ask(&mut self, request: &Request, project: &Project) {
        if let Request::Stop {
            timeout: Some(timeout), ..
        }
        | Request::Down { timeout: Some(timeout) } = request
        {
            self.patience = self.patience.max(*timeout);
        }
        self.wishes.ask(request, project);
    }

    /// Another daemon takes over: services have other numbers from here on. Answers with whom each run began.
    pub fn forget_numbers(&mut self) -> BTreeSet<(Incarnation, ServiceId)> {
        self.runs.clear();
        self.stops.clear();
        std::mem::take(&mut self.bonds)
    }

    pub fn renumber(&mut self, bonds: BTreeSet<(Incarnation, ServiceId)>, numbers: &BTreeMap<ServiceId, ServiceId>) {
        self.bonds.extend(bonds.into_iter().filter_map(|(id, on)| {
            let service = *numbers.get(&id.service)?;
            Some((Incarnation { service, ..id }, *numbers.get(&on)?))
        }));
    }

    /// Judges an action that is about to be performed.
    pub fn before(&mut self, action: &Action, view: &View) -> Verdict {
        match action {
            Action::Spawn { service, given, .. } | Action::Prepare { service, given, .. }
                if service.awaits.iter().ne(given.iter().map(|(name, _)| name)) =>
            {
                broken("a start is given the outputs that it names", &service.name)
            }
            // Whether it may start was asked when its preparation began.
            Action::Spawn { id, service, .. } if view.host.preparing.contains_key(id) => {
                match self.is_wanted(&service.name) {
                    true => Ok(()),
                    false => broken("nothing starts that is not wanted", &service.name),
                }
            }
            Action::Spawn { id, service, .. } => self.spawn(*id, service, view),
            Action::Evict { id, .. } if view.host.bodies.contains_key(id) => {
                broken("a port is cleared before a start", words(*id))
            }
            Action::Evict { id, .. } if view.host.owes(*id) => broken("a port is cleared once at a time", words(*id)),
            Action::Signal { id, .. } | Action::Kill { id, .. } | Action::Deliver { id, .. } => {
                match view.host.bodies.get(id) {
                    None => broken("a signal goes to a living run only", words(*id)),
                    Some(body) if body.stage == Stage::Ordered => broken("a signal needs a process", words(*id)),
                    Some(body) if body.is_known_to_be_gone() => {
                        broken("a signal to what is known to be gone", words(*id))
                    }
                    Some(_) => Ok(()),
                }
            }
            Action::Probe { id, kind, .. } => match view.host.bodies.get(id) {
                Some(body) if body.probing[*kind as usize] => broken("a probe never overlaps itself", words(*id)),
                Some(body) if body.executed && !body.exited => Ok(()),
                Some(_) | None => broken("a probe needs a program that runs", words(*id)),
            },
            Action::ProbeGate { id, .. } if view.host.gates.get(id) == Some(&true) => {
                broken("a gate is tried once at a time", words(*id))
            }
            Action::Prepare { id, service, .. } => self.spawn(*id, service, view),
            Action::CancelPrepare { id } => match view.host.preparing.get(id) {
                Some(Preparing::Working) => Ok(()),
                Some(Preparing::ToldToEnd) => broken("what is prepared is told to end once", words(*id)),
                Some(Preparing::Done) | None => broken("what is told to end is prepared", words(*id)),
            },
            Action::Rewrite { .. } => Ok(()),
            Action::Run {
                purpose: Purpose::OnFailure,
                ..
            } => Ok(()),
            Action::Run {
                id,
                purpose: Purpose::PostStop,
                ..
            } => match view.host.bodies.get(id) {
                Some(body) if body.may_be_released() => Ok(()),
                Some(_) | None => broken("post_stop comes when nothing is left", words(*id)),
            },
            Action::Run { id, purpose, .. } => match view.host.bodies.get(id) {
                Some(body)
                    if body.executed && !body.exited && matches!(purpose, Purpose::Reload | Purpose::PostReady) =>
                {
                    Ok(())
                }
                Some(body) if body.executed && !body.exited && !body.commanded => Ok(()),
                Some(_) | None => broken("a stop command needs a program that runs", words(*id)),
            },
            Action::Release { id } if view.host.preparing.get(id) == Some(&Preparing::Done) => Ok(()),
            Action::Release { id } => match view.host.bodies.get(id) {
                Some(body) if body.may_be_released() => Ok(()),
                Some(_) => broken("a run is released when nothing of it is left", words(*id)),
                None => broken("a run is released once", words(*id)),
            },
            Action::Publish(event) => self.published(event, view),
            Action::End(ending) => match &self.codes {
                _ if !view.host.bodies.is_empty() => broken("over", "something still lives"),
                Some(codes) if codes.contains(&ending.code) => Ok(()),
                codes => broken("the exit code", format!("{} ({codes:?} expected)", ending.code)),
            },
            Action::ProbeGate { .. } | Action::CancelProbes { .. } | Action::Adopt { .. } => Ok(()),
            Action::CancelRun { .. } | Action::Adjust { .. } => Ok(()),
            Action::Evict { .. } | Action::CancelEviction { .. } | Action::Renumber { .. } => Ok(()),
        }
    }

    fn is_wanted(&self, name: &ServiceName) -> bool {
        !self.wishes.stopped.contains(name) && self.wishes.desired.contains(name)
    }

    fn spawn(&mut self, id: Incarnation, service: &Service, view: &View) -> Verdict {
        let name = &service.name;
        if self
            .runs
            .insert(id.service, id.run)
            .is_some_and(|before| before >= id.run)
        {
            return broken("each run has a number of its own", words(id));
        }
        if !self.is_wanted(name) {
            return broken("nothing starts that is not wanted", name);
        }
        for (&other, body) in &view.host.bodies {
            if other.service == id.service || body.service.name == *name {
                return broken("one life at a time", format!("{name}: {} still lives", words(other)));
            }
            let port = service.ports.values().find(|port| {
                let held = body.started.ports.values();
                held.into_iter()
                    .any(|held| held.number == port.number && !(held.shared && port.shared))
            });
            if let Some(port) = port {
                return broken(
                    "one owner of a port",
                    format!("{} by {} and {name}", port.number, body.service.name),
                );
            }
        }
        let on = service.depends_on.keys().filter_map(|on| view.world.id_of(on));
        self.bonds.extend(on.map(|on| (id, on)));
        self.break_circles(id, view);
        if self.wishes.alone.contains(name) {
            return Ok(());
        }
        for (on, dependency) in &service.depends_on {
            let held = !dependency.required && self.is_held(on, view);
            if let Some(state) = view.service(on).filter(|on| !held && !is_open(dependency, on, view)) {
                let what = format!(
                    "{name} needs {on} {:?}, which is {:?}",
                    dependency.condition, state.state
                );
                return broken("a start waits for its conditions", what);
            }
        }
        Ok(())
    }

    /// Of a circle that an edit has made, the old bonds give way for good, also when a later edit turns it back.
    fn break_circles(&mut self, id: Incarnation, view: &View) {
        let (mut reached, mut todo) = (BTreeSet::new(), vec![id.service]);
        while let Some(at) = todo.pop() {
            let lives = |of: &Incarnation| *of == id || view.host.bodies.contains_key(of);
            let bonds = self.bonds.iter().filter(|(of, _)| of.service == at && lives(of));
            todo.extend(bonds.map(|&(_, on)| on).filter(|&on| reached.insert(on)));
        }
        if !reached.contains(&id.service) {
            return;
        }
        let is_declared = |of: ServiceId, on: ServiceId| {
            let names = view.world.name_of(of).zip(view.world.name_of(on));
            names.is_some_and(|(of, on)| {
                let spec = view.project.services.get(of);
                spec.is_some_and(|spec| spec.depends_on.contains_key(on))
            })
        };
        self.bonds
            .retain(|&(of, on)| of == id || !reached.contains(&of.service) || is_declared(of.service, on));
    }

    /// Something that it needs was stopped by hand: it will not come.
    fn is_held(&self, name: &ServiceName, view: &View) -> bool {
        let Some(spec) = view.project.services.get(name) else {
            return false;
        };
        self.wishes.stopped.contains(name) || spec.depends_on.keys().any(|on| self.is_held(on, view))
    }

    fn published(&mut self, event: &Event, view: &View) -> Verdict {
        match (&event.kind, &event.service) {
            (EventKind::Ending { .. }, _) => {
                self.end_told = true;
                Ok(())
            }
            (EventKind::Unhealthy { .. }, Some(name)) => {
                self.serving.remove(name);
                Ok(())
            }
            (EventKind::Stopping, Some(name)) => self.stopping(name, &event.cause, view),
            (EventKind::Settled { generation, .. }, _) => {
                self.settled = *generation;
                let moving = |s: &&ServiceSnapshot| {
                    matches!(s.state, StateName::Starting | StateName::Stopping | StateName::Backoff) && s.restarts < 5
                };
                match view.now.services.iter().find(moving) {
                    Some(service) => broken("settled", format!("{} is {:?}", service.name, service.state)),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Who began with it and must go as well has to be gone first.
    fn stopping(&self, name: &ServiceName, cause: &Cause, view: &View) -> Verdict {
        // It failed: that is no stop that anybody asked for.
        let by_limit = cause.detail.contains("time") || cause.detail == "memory_limit";
        if cause.by == Author::Probe || cause.by == Author::Runner && by_limit {
            return Ok(());
        }
        if self.wishes.hastened {
            return Ok(());
        }
        self.one_at_a_time(name, cause, view)?;
        let by_hand = self.wishes.stopped.contains(name);
        let again = self.is_wanted(name);
        for (&id, body) in &view.host.bodies {
            let Some(bond) = body.bonds.get(name).filter(|_| !body.kill_failed) else {
                continue;
            };
            let other = &body.service.name;
            let is_the_same = view.world.id_of(name).is_some_and(|on| self.bonds.contains(&(id, on)));
            if !is_the_same {
                continue;
            }
            // An edit may have turned the dependency round.
            if !view
                .project
                .services
                .get(other)
                .is_some_and(|spec| spec.depends_on.contains_key(name))
            {
                continue;
            }
            let alone = self.wishes.alone.contains(other);
            let needs_it = bond.required && matches!(bond.condition, Condition::Started | Condition::Healthy);
            let goes = self.end_told || !alone && (by_hand && needs_it || again && bond.restart);
            if goes {
                return broken(
                    "a dependent is stopped first",
                    format!("{other} ({}) outlives {name}", words(id)),
                );
            }
        }
        Ok(())
    }

    /// An edit takes down a replica that serves only while all others are up.
    fn one_at_a_time(&self, name: &ServiceName, cause: &Cause, view: &View) -> Verdict {
        let Some(group) = name.group().filter(|_| cause.by == Author::File && !self.end_told) else {
            return Ok(());
        };
        let goes_anyway =
            !self.is_wanted(name) || self.is_held(name, view) || !view.project.services.contains_key(name);
        // With something that it needs, all of them go; and what is restarted with it is stopped first, while others may fail.
        let body = view.host.bodies.values().find(|body| body.service.name == *name);
        let Some(body) = body.filter(|body| !body.exited) else {
            return Ok(());
        };
        let takes_along = |other: &Body| other.bonds.get(name).is_some_and(|bond| bond.restart);
        let goes_along = body.bonds.values().any(|bond| bond.restart) || view.host.bodies.values().any(takes_along);
        if goes_anyway || goes_along || !self.serving.contains(name) {
            return Ok(());
        }
        let others = view.now.services.iter().filter(|other| other.name != *name);
        let others = others.filter(|other| other.name.group() == Some(group) && self.is_wanted(&other.name));
        for other in others.filter(|other| view.project.services.contains_key(&other.name)) {
            let waits_for_port = other
                .waiting_on
                .iter()
                .any(|blocker| blocker.what.contains("let go of port"));
            let is_up = matches!(other.state, StateName::Ready | StateName::Completed);
            if !is_up && !waits_for_port && !self.is_held(&other.name, view) {
                return broken(
                    "one replica at a time",
                    format!("{name} goes while {} is {:?}", other.name, other.state),
                );
            }
        }
        Ok(())
    }

    /// Judges the whole after a step.
    pub fn after(&mut self, view: &View) -> Verdict {
        self.ended.clear();
        let ready = view
            .now
            .services
            .iter()
            .filter(|service| service.state == StateName::Ready);
        self.serving = ready.map(|service| service.name.clone()).collect();
        for service in &view.now.services {
            let name = &service.name;
            if has_ended(service) {
                self.ended.insert(name.clone(), service.state == StateName::Failed);
            }
            let wanted = self.is_wanted(name) && view.project.services.contains_key(name);
            if service.wanted != wanted {
                return broken(
                    "no wish is forgotten",
                    format!("{name} wanted: {wanted}, kept as {}", service.wanted),
                );
            }
            let rests = is_scheduled(name, view) && wanted && !view.world.is_ending() && !view.world.is_awaited(name);
            if service.next_run.is_some() != rests {
                return broken(
                    "what is scheduled has a next run",
                    format!("{name}: {:?}", service.next_run),
                );
            }
            self.goes_on(service, view)?;
        }
        Ok(())
    }

    /// Whoever is on the way has something to wait for.
    fn goes_on(&mut self, service: &ServiceSnapshot, view: &View) -> Verdict {
        let Some(service_id) = view.world.id_of(&service.name) else {
            return Ok(());
        };
        let id = Incarnation {
            service: service_id,
            run: service.run,
        };
        let expects = || view.world.deadline_of(service_id).is_some() || view.host.owes(id);
        match service.state {
            StateName::Stopping | StateName::Backoff if !expects() => {
                return broken(
                    "no state without an end",
                    format!("{} is {:?}", service.name, service.state),
                );
            }
            StateName::Waiting if service.waiting_on.is_empty() && service.next_run.is_none() => {
                return broken("waiting has a reason", &service.name);
            }
            StateName::Failed if service.failure.is_none() => return broken("failed has a reason", &service.name),
            _ => {}
        }
        if service.state != StateName::Stopping {
            self.stops.remove(&id);
            return Ok(());
        }
        let began = *self.stops.entry(id).or_insert(view.host.now);
        let Some(body) = view.host.bodies.get(&id) else {
            return Ok(());
        };
        let waits: Duration = body.service.stop.iter().map(|rung| rung.wait).sum();
        let command = body.service.stop.first().map_or(Duration::ZERO, |rung| rung.wait);
        let longest = (waits + command).max(Duration::from_secs(40)).max(self.patience) + SLACK;
        if Duration::from_nanos(view.host.now - began) > longest {
            return broken(
                "a stop ends within its ladder",
                format!("{} after {longest:?}", service.name),
            );
        }
        Ok(())
    }
}
