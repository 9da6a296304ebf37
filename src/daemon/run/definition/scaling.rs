//! `scale`: another number of replicas, by hand.
//!
//! No file is read for it: the definition in force is made again of the same parts, with as many members. What stands in the
//! files meanwhile, broken or waiting for an `up`, stays as it is.

use std::sync::Arc;

use super::Purpose;
use crate::api::server::Reply;
use crate::api::wire::{self, Outcome, Refusal};
use crate::config::{Loaded, Problems, Scales};
use crate::daemon::run::Daemon;
use crate::daemon::run::answers::checked_names;
use crate::daemon::waiting::Aim;
use crate::reconcile::{Author, Cause, Fact, Goal, Request};
use crate::spec::{Group, Project, Scaled, ServiceName};
use crate::sys;

/// As `replicas` in the file.
const MOST: u32 = 1000;

/// What somebody asked for.
pub struct Scale {
    pub name: ServiceName,
    pub request: wire::ScaleRequest,
    pub reply: Reply<wire::Acted>,
}

impl Daemon {
    pub(in crate::daemon::run) fn scale(&mut self, name: &str, request: wire::ScaleRequest, reply: Reply<wire::Acted>) {
        match self.scalable(name, request.replicas) {
            Ok(name) => self.read(Purpose::Scale(Scale { name, request, reply })),
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    /// The name under which so many may be asked for.
    fn scalable(&self, name: &str, replicas: u32) -> Result<ServiceName, Refusal> {
        if self.is_ending() {
            return Err(Refusal::ending());
        }
        let project = self.in_force()?;
        if replicas > MOST {
            let detail = format!("{replicas} replicas: there may be {MOST} of a service");
            return Err(Refusal::new(400, "request not understood", detail));
        }
        scalable(&project, name)?;
        match &self.definition.recipe {
            Some(_) => Ok(ServiceName::new(name)),
            None => Err(refused("the definition in force can't be made again", None)),
        }
    }

    /// As many as are asked for by hand, once this is done as well.
    pub(super) fn scales_with(&self, scale: &Scale) -> Scales {
        let mut wishes = self.world.scales().clone();
        let project = self.definition.project.as_deref();
        let declared = project.and_then(|project| project.groups.get(&scale.name)?.declared);
        let replicas = scale.request.replicas;
        match declared {
            // As the file has it: there is nothing to wish for.
            Some(declared) if declared == replicas => drop(wishes.remove(&scale.name)),
            Some(declared) => drop(wishes.insert(scale.name.clone(), Scaled { replicas, declared })),
            None => {}
        }
        Scales {
            wishes,
            ..Scales::default()
        }
    }

    /// The definition was made with as many.
    pub(super) fn scaled(&mut self, made: Result<Loaded, Problems>, scale: Scale) {
        let Scale { name, request, reply } = scale;
        let before = self.members_of(&name);
        let gone = match self.put_in_force(made, &name, request.replicas) {
            Ok(gone) => gone,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        let members = self.members_of(&name);
        // Stopped by hand before it was scaled away: it is asked for now.
        let comes_back = |member: &&ServiceName| !before.contains(member) && self.world.is_stopped_by_hand(member);
        let names: Vec<ServiceName> = members.iter().filter(comes_back).cloned().collect();
        if !names.is_empty() {
            let cause = Cause::new(Author::User, format!("runner scale {name}={}", request.replicas));
            let request = Request::Start { names };
            self.step(Fact::Asked { request, cause });
        }
        if request.wait {
            let aim = Aim::Scaled {
                gone,
                then: Box::new(Aim::goal(Goal::Up, &members)),
            };
            self.hold(Some(members), aim, request.wait_timeout_ms, reply);
        } else {
            drop(reply.send(self.acted(Some(&members), Outcome::Asked)));
        }
    }

    fn members_of(&self, name: &ServiceName) -> Vec<ServiceName> {
        let project = self.definition.project.as_deref();
        let group = project.and_then(|project| project.groups.get(name));
        group.map_or_else(Vec::new, |group| group.members.clone())
    }

    /// The members that are no more.
    fn put_in_force(
        &mut self,
        made: Result<Loaded, Problems>,
        name: &ServiceName,
        replicas: u32,
    ) -> Result<Vec<ServiceName>, Refusal> {
        if self.is_ending() {
            return Err(Refusal::ending());
        }
        let loaded = made.map_err(|problems| match problems.is_empty() {
            true => refused("a defect in runner: runner.log has more", None),
            false => refused(
                &format!("the file can't do with {replicas} of {name}: {problems}"),
                None,
            ),
        })?;
        scalable(&loaded.project, name.as_str())?;
        let before = self.members_of(name);
        let (pending, rejected) = (self.definition.pending.take(), self.definition.rejected.take());
        self.story.hide(loaded.mask);
        let cause = Cause::new(Author::User, format!("runner scale {name}={replicas}"));
        self.configure(Arc::new(loaded.project), loaded.recipe, cause, None);
        if pending.is_some() {
            // What waits for an `up` was made with the number before.
            self.definition.quiet.changed(sys::clock::now().mono_ns, false);
        }
        (self.definition.pending, self.definition.rejected) = (pending, rejected);
        let now = self.members_of(name);
        Ok(before.into_iter().filter(|member| !now.contains(member)).collect())
    }
}

fn refused(detail: &str, suggestion: Option<String>) -> Refusal {
    Refusal {
        suggestion,
        ..Refusal::new(409, "can't be scaled", detail)
    }
}

/// A service with a number of `replicas`.
fn scalable<'p>(project: &'p Project, name: &str) -> Result<&'p Group, Refusal> {
    if let Some(group) = project.groups.get(name) {
        return match group.declared {
            Some(_) => Ok(group),
            None => {
                let hint = format!("add or take out names in services.{name}.replicas");
                Err(refused(&format!("the replicas of {name} are named"), Some(hint)))
            }
        };
    }
    checked_names(project, &[name.to_owned()])?;
    Err(match name.split_once('@') {
        Some(("", _)) => refused("a label can't be scaled", Some("name one service".to_owned())),
        Some((group, _)) => refused(
            &format!("{name} is one of several"),
            Some(format!("`runner scale {group}=N` says how many there are")),
        ),
        None => refused(
            &format!("{name} has no `replicas`"),
            Some(format!(
                "say `replicas = 1` in services.{name}; its member is then called {name}@1"
            )),
        ),
    })
}
