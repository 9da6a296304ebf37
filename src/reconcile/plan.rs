//! What `up` would do now and why, by the comparison that `step` uses.

use std::collections::BTreeMap;

use super::machine::{Life, Machine};
use super::world::World;
use crate::spec::{Change, Project, Service, ServiceName};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One for each service, in the file's order; services that the file no longer has come last.
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub service: ServiceName,
    pub intent: Intent,
    /// Keys that changed, as written in the file.
    pub fields: Vec<String>,
    /// One short phrase; empty where there is nothing to add.
    pub because: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    Start,
    Restart,
    Live,
    Stop,
    Keep,
}

impl Plan {
    /// Nothing would be done.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| step.intent == Intent::Keep)
    }
}

impl World {
    /// What this definition and an `up` of everything would do now.
    pub fn plan(&self, project: &Project) -> Plan {
        let desired = self.desired_by(project);
        let mut steps: Vec<Step> = Vec::new();
        for (name, spec) in &project.services {
            let machine = self.present(name);
            steps.push(step_for(spec, machine, desired.get(name).map(String::as_str)));
        }
        self.plan_cascades(project, &mut steps);
        for machine in self
            .machines()
            .filter(|machine| !project.services.contains_key(machine.name()))
        {
            if machine.life.is_living() {
                steps.push(step(machine.name(), Intent::Stop, Vec::new(), "no longer in the file"));
            }
        }
        Plan { steps }
    }

    /// Who would be wanted, and why.
    fn desired_by(&self, project: &Project) -> BTreeMap<ServiceName, String> {
        let mut desired: BTreeMap<ServiceName, String> = BTreeMap::new();
        let mut todo: Vec<&ServiceName> = Vec::new();
        for (name, spec) in &project.services {
            let named = self.present(name).is_some_and(|machine| machine.wish.named);
            if named || self.starts_by_itself(spec) {
                desired.insert(name.clone(), String::new());
                todo.push(name);
            }
        }
        while let Some(name) = todo.pop() {
            let Some(spec) = project.services.get(name) else {
                continue;
            };
            for on in spec.depends_on.keys().filter(|on| project.services.contains_key(*on)) {
                if !desired.contains_key(on) {
                    desired.insert(on.clone(), format!("{name} needs it"));
                    todo.push(on);
                }
            }
        }
        desired
    }

    /// `restart = true`: dependents go with what is restarted.
    fn plan_cascades(&self, project: &Project, steps: &mut [Step]) {
        let place: BTreeMap<ServiceName, usize> = steps
            .iter()
            .enumerate()
            .map(|(at, step)| (step.service.clone(), at))
            .collect();
        let mut todo: Vec<usize> = (0..steps.len())
            .filter(|&at| steps[at].intent == Intent::Restart)
            .collect();
        while let Some(at) = todo.pop() {
            let culprit = steps[at].service.clone();
            for dependent in self.restarted_with(&culprit) {
                let Some(&at) = place
                    .get(&dependent)
                    .filter(|_| project.services.contains_key(&dependent))
                else {
                    continue;
                };
                if matches!(steps[at].intent, Intent::Keep | Intent::Live) {
                    steps[at].intent = Intent::Restart;
                    steps[at].because = format!("{culprit} restarts");
                    todo.push(at);
                }
            }
        }
    }
}

fn step(name: &ServiceName, intent: Intent, fields: Vec<String>, because: impl Into<String>) -> Step {
    Step {
        service: name.clone(),
        intent,
        fields,
        because: because.into(),
    }
}

fn step_for(spec: &Service, machine: Option<&Machine>, desired: Option<&str>) -> Step {
    let name = &spec.name;
    let Some(machine) = machine else {
        return match desired {
            Some(because) => step(name, Intent::Start, Vec::new(), because),
            None => step(name, Intent::Keep, Vec::new(), "not started by itself"),
        };
    };
    let changes = machine.spec.differences(spec);
    let restarts = changes.iter().any(|change| change.class == Change::Restart);
    let fields: Vec<String> = changes.into_iter().map(|change| change.field).collect();
    let Some(because) = desired else {
        return if machine.life.is_living() {
            step(name, Intent::Stop, fields, "not selected any more")
        } else {
            step(name, Intent::Keep, fields, "not started by itself")
        };
    };
    let changed = !fields.is_empty();
    match &machine.life {
        Life::Stopped => {
            let because = if machine.wish.stopped {
                "was stopped by you"
            } else {
                because
            };
            step(name, Intent::Start, fields, because)
        }
        Life::Failed { failure, .. } => step(name, Intent::Start, fields, format!("failed: {}", failure.message)),
        Life::Completed { .. } if restarts || (machine.run > 0 && machine.wish.turn != machine.served) => {
            step(name, Intent::Start, fields, "changed since it completed")
        }
        Life::Backoff { .. } if changed => step(name, Intent::Start, fields, "a change ends the wait"),
        Life::Waiting { .. } if machine.lot.held => {
            step(name, Intent::Start, fields, "what it needs was stopped by you")
        }
        Life::Waiting { .. }
        | Life::Gated { .. }
        | Life::Retrying { .. }
        | Life::Doomed { .. }
        | Life::Completed { .. }
        | Life::Backoff { .. } => keep_or_live(name, fields),
        Life::Stopping(_) if machine.wish.stopped => step(name, Intent::Start, fields, "was stopped by you"),
        Life::Spawning { .. }
        | Life::Executing { .. }
        | Life::Starting { .. }
        | Life::Ready { .. }
        | Life::Unhealthy { .. }
        | Life::Stopping(_) => {
            if restarts {
                step(name, Intent::Restart, fields, "")
            } else {
                keep_or_live(name, fields)
            }
        }
    }
}

fn keep_or_live(name: &ServiceName, fields: Vec<String>) -> Step {
    let intent = if fields.is_empty() { Intent::Keep } else { Intent::Live };
    step(name, intent, fields, "")
}
