//! What is run beside a service: its preparation, its stop and reload commands, its hooks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::patterns::Patterns;
use super::{Hands, Inbox, Run, Task};
use crate::daemon::errand::{self, Beside, Underway};
use crate::daemon::launch::Setting;
use crate::daemon::preparation::{self, Preparation};
use crate::reconcile::{Fact, Failure, Incarnation, Purpose};
use crate::spec::{Given, Service, ServiceName};
use crate::sys::places::nameless;
use crate::sys::users::Ids;

impl Hands {
    pub(super) fn prepare(&mut self, id: Incarnation, declared: &Arc<Service>, given: Given) {
        let service = &with_outputs(declared.clone(), &given);
        let begun = self.open_run(id, declared, given, true);
        let ids = match begun {
            Ok(ids) => ids,
            Err(failure) => {
                self.forget(id);
                let result = Err(failure);
                return self.known.push_back(Fact::Prepared { id, result });
            }
        };
        let preparation = Preparation {
            id,
            service: service.clone(),
            ids,
            replicas: self.replicas_of(&service.name),
            state_dir: (!nameless::is_nowhere(&self.state_dir)).then(|| self.state_dir.clone()),
            tickets: self.tickets.clone(),
            turns: self.turns.clone(),
            inbox: self.inbox.clone(),
        };
        let (cancel, cancelled) = oneshot::channel();
        if let Some(run) = self.runs.get_mut(&id) {
            run.preparing = Some(cancel);
        }
        let inbox = self.inbox.clone();
        // It is never broken off: its commands are ended before it ends.
        tokio::task::spawn_local(async move {
            let result = preparation.perform(cancelled).await;
            let _ = inbox.send(Inbox::Fact(Fact::Prepared { id, result }));
        });
    }

    /// `None`: no definition says it.
    fn replicas_of(&self, service: &ServiceName) -> Option<Vec<ServiceName>> {
        let project = self.project.as_ref()?;
        if service.group().is_none() {
            return Some(vec![service.clone()]);
        }
        let names = project.services.keys();
        let is_one = |name: &&ServiceName| name.base() == service.base();
        Some(names.filter(is_one).cloned().collect())
    }

    pub(super) fn cancel_prepare(&mut self, id: Incarnation) {
        if let Some(cancel) = self.runs.get_mut(&id).and_then(|run| run.preparing.take()) {
            // It may have come to its end by itself.
            let _ = cancel.send(());
        }
    }

    /// A run that has its output, though nothing of the service is spawned yet.
    fn open_run(
        &mut self,
        id: Incarnation,
        service: &Arc<Service>,
        given: Given,
        is_first: bool,
    ) -> Result<Option<Ids>, Failure> {
        let service = &with_outputs(self.actual(service)?, &given);
        let setting = Setting::of(id, service, &self.surroundings)?;
        let ids = setting.ids();
        let mut run = Run::new(self.tickets.take(), service, setting.clone());
        // What a step prints is not what a log check waits for.
        run.patterns = Patterns::default();
        run.given = given;
        run.is_reopened = !is_first;
        self.by_name.insert((service.name.clone(), id.run), id);
        self.runs.insert(id, run);
        self.open_output(id, service, &setting)?;
        self.hold_output(id);
        Ok(ids)
    }

    /// The live part of an edit.
    pub(super) fn adjust(&mut self, id: Incarnation, declared: &Arc<Service>) {
        let service = self.actual(declared).unwrap_or_else(|_| declared.clone());
        self.tell_actual(id, declared, &service, Vec::new());
        let given = self.runs.get(&id).map(|run| run.given.clone());
        let service = with_outputs(service, &given.unwrap_or_default());
        self.expect_patterns(id, &service);
        self.pump.adjust(&service.name, service.log.clone());
        if let Some(run) = self.runs.get_mut(&id) {
            run.service = service;
        }
        self.mind_memory(id);
    }

    /// With what it was given when it was started: what is declared only names that.
    pub(super) fn rewrite(&mut self, id: Incarnation) {
        let Some(run) = self.runs.get(&id) else {
            let result = Ok(false);
            return self.known.push_back(Fact::Rewritten { id, result });
        };
        let (service, ids, writing) = (run.service.clone(), run.setting.ids(), run.writing.clone());
        let inbox = self.inbox.clone();
        tokio::task::spawn_local(async move {
            // In the order of the edits.
            let _turn = writing.lock().await;
            let result = preparation::blocking(move || preparation::write_files(&service, ids.as_ref(), true)).await;
            let _ = inbox.send(Inbox::Fact(Fact::Rewritten { id, result }));
        });
    }

    pub(super) fn run(
        &mut self,
        id: Incarnation,
        purpose: Purpose,
        declared: &Arc<Service>,
        given: Given,
        timeout: Duration,
        mut told: Vec<(&'static str, String)>,
    ) {
        if purpose.is_hook() {
            told.extend(named(id, declared));
        }
        let is_over = !self.runs.contains_key(&id);
        if is_over && let Err(failure) = self.open_run(id, declared, given, false) {
            self.forget(id);
            let result = Err(format!("could not be started: {}", failure.message));
            return self.known.push_back(Fact::CommandEnded { id, purpose, result });
        }
        let command = self.runs.get(&id).and_then(|run| purpose.command(&run.service));
        let Some(command) = command.or_else(|| purpose.command(declared)) else {
            let result = Ok(());
            return self.known.push_back(Fact::CommandEnded { id, purpose, result });
        };
        let beside = Beside {
            told,
            ..Beside::default()
        };
        let underway = Underway::beside(self.tickets.take(), id, command, beside, &self.inbox);
        self.start_task(id, Task::Run(purpose), async move {
            Fact::CommandEnded {
                id,
                purpose,
                result: errand::run(underway, timeout).await,
            }
        });
    }

    /// The command of a run that is over was all there was of it.
    pub(super) fn command_ended(&mut self, id: Incarnation) {
        if self.runs.get(&id).is_some_and(|run| run.is_reopened) {
            self.forget(id);
        }
    }
}

/// What is executed holds the outputs of others; what is compared only names them.
pub(super) fn with_outputs(service: Arc<Service>, given: &Given) -> Arc<Service> {
    match given.is_empty() {
        true => service,
        false => Arc::new(service.with_outputs(given)),
    }
}

/// What every hook knows.
pub fn named(id: Incarnation, service: &Service) -> [(&'static str, String); 2] {
    [
        ("RUNNER_SERVICE", service.name.to_string()),
        ("RUNNER_RUN", id.run.to_string()),
    ]
}
