//! What a definition would do now and why: read off the World itself, once wishes have settled and before anybody acts.
//!
//! `plan` tries the definition out in a clone; the definition that comes into force tells the same steps before it is
//! acted on. There is no second opinion that could differ.

use std::collections::{BTreeMap, BTreeSet};

use super::event::Cause;
use super::fact::{Now, Request, ServiceId};
use super::machine::{Life, Machine};
use super::words;
use super::world::World;
use crate::spec::{Difference, Project, ServiceName};

/// What changed of each service by a definition; who is not in it did not change.
pub(super) type Changes = BTreeMap<ServiceId, Vec<Difference>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The number that the definition would have.
    pub generation: u64,
    /// One for each service, in the file's order; services that the file no longer has come last.
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub service: ServiceName,
    pub intent: Intent,
    /// What changed, by its key as written in the file.
    pub changes: Vec<Difference>,
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

/// Where a service is bound for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// It lives and goes on.
    Stay,
    /// It lives, is stopped and comes back.
    Return,
    /// It lives and is stopped.
    Leave,
    /// It does not live, and starts as soon as it may.
    Come,
    /// It does not live, and starts when its delay is over.
    Later,
    /// It does not live, and nothing brings it up.
    Rest,
}

/// Where a service stood before a definition.
pub(super) struct Stood {
    course: Course,
    turn: u32,
    stopped: bool,
}

/// By [`ServiceId`]; who is missing is new.
pub(super) type Stand = BTreeMap<ServiceId, Stood>;

impl World {
    /// What this definition would do now, together with what is asked for with it.
    pub fn plan(&self, now: Now, project: &Project, request: Option<Request>, cause: &Cause) -> Plan {
        let mut tried = self.clone();
        let resumes = tried.resume(now, Some(project), &mut Vec::new());
        let mut before = tried.stand();
        if resumes {
            // What it is recalled for is part of the plan.
            let returns = before.values_mut().filter(|stood| stood.course == Course::Return);
            returns.for_each(|stood| stood.course = Course::Stay);
        }
        let (changes, _) = tried.define(now, project, cause);
        if let Some(request) = request {
            tried.ask(now, request, cause.clone(), &mut Vec::new());
        }
        tried.settle();
        Plan {
            generation: tried.generation(),
            steps: tried.steps(&before, &changes),
        }
    }

    /// Where everybody stands.
    pub(super) fn stand(&self) -> Stand {
        let doomed = self.doomed();
        let stood = |machine: &Machine| Stood {
            course: course(machine, &doomed),
            turn: machine.wish.turn,
            stopped: machine.wish.stopped,
        };
        self.machines().map(|machine| (machine.id, stood(machine))).collect()
    }

    /// What was decided since, for every service of the definition in force and for those that leave with it.
    pub(super) fn steps(&self, before: &Stand, changes: &Changes) -> Vec<Step> {
        let doomed = self.doomed();
        let along = self.taken_along(before, &doomed);
        let mut steps = Vec::new();
        for id in self.in_order() {
            let Some(machine) = self.machine_of(id) else { continue };
            let changed = changes.get(&id).cloned().unwrap_or_default();
            let stood = before.get(&id);
            let intent = intent(machine, stood, course(machine, &doomed), !changed.is_empty());
            let (intent, because) = match along.get(&id) {
                Some(on) if matches!(intent, Intent::Keep | Intent::Live) => {
                    (Intent::Restart, format!("{on} comes back"))
                }
                _ => (intent, self.because(machine, stood, intent, &changed)),
            };
            steps.push(Step {
                service: machine.name().clone(),
                intent,
                because,
                changes: changed,
            });
        }
        for machine in self.leaving() {
            let had_left = before
                .get(&machine.id)
                .is_none_or(|stood| matches!(stood.course, Course::Leave | Course::Rest));
            if !had_left {
                steps.push(Step {
                    service: machine.name().clone(),
                    intent: Intent::Stop,
                    changes: Vec::new(),
                    because: self.why_it_leaves(machine.name()).to_owned(),
                });
            }
        }
        steps
    }

    /// Who lives on and is restarted once something that it needs has come (`restart = true`), by what that is.
    fn taken_along(&self, before: &Stand, doomed: &BTreeSet<ServiceId>) -> BTreeMap<ServiceId, ServiceName> {
        let comes_newly = |machine: &&Machine| {
            let was = before.get(&machine.id).map_or(Course::Rest, |stood| stood.course);
            let follows = machine.lot.turn.is_deferred() && was == Course::Stay;
            course(machine, doomed) == Course::Come && was != Course::Come || follows
        };
        let mut todo: Vec<&Machine> = self.machines().filter(comes_newly).collect();
        let mut along = BTreeMap::new();
        while let Some(on) = todo.pop() {
            for dependent in self.restarted_with(on.id) {
                if course(dependent, doomed) == Course::Stay && !along.contains_key(&dependent.id) {
                    along.insert(dependent.id, on.name().clone());
                    todo.push(dependent);
                }
            }
        }
        along
    }

    fn because(&self, machine: &Machine, stood: Option<&Stood>, intent: Intent, changes: &[Difference]) -> String {
        let turned = stood.is_some_and(|stood| stood.turn != machine.wish.turn);
        match intent {
            Intent::Start => match &machine.life {
                _ if stood.is_some_and(|stood| stood.stopped && !machine.wish.stopped) => {
                    "was stopped by you".to_owned()
                }
                Life::Failed { failure, .. } => format!("failed: {}", failure.message),
                Life::Doomed { .. } => "what it needs comes back".to_owned(),
                Life::Completed { .. } if changes.is_empty() => "asked for again".to_owned(),
                Life::Completed { .. } => "changed since it completed".to_owned(),
                Life::Backoff { .. } if changes.is_empty() => "asked for: the wait ends".to_owned(),
                Life::Backoff { .. } => "a change ends the wait".to_owned(),
                _ => self.needed_by(machine.id).unwrap_or_default(),
            },
            Intent::Restart if turned => match self.deferral(machine.id) {
                Some((on, _)) => format!("after {on}"),
                None => String::new(),
            },
            Intent::Restart | Intent::Stop if machine.lot.wanted => machine.wish.cause.detail.clone(),
            Intent::Restart | Intent::Stop => "not selected any more".to_owned(),
            Intent::Live => String::new(),
            Intent::Keep => match self.held_by(machine.id) {
                Some(name) => format!("waits for {name} (stopped by you)"),
                None if machine.wish.stopped => "stopped by you".to_owned(),
                None if machine.rests() => words::scheduled(&machine.spec),
                None if !machine.lot.desired => "not started by itself".to_owned(),
                None => String::new(),
            },
        }
    }
}

/// `doomed`: of [`World::doomed`].
fn course(machine: &Machine, doomed: &BTreeSet<ServiceId>) -> Course {
    let lot = machine.lot;
    if machine.life.is_living() {
        let ends = lot.going || lot.turn.is_deferred() || matches!(machine.life, Life::Stopping(_));
        return match (lot.wanted, ends) {
            (true, false) => Course::Stay,
            (true, true) if lot.held && lot.going => Course::Leave,
            (true, true) => Course::Return,
            (false, _) => Course::Leave,
        };
    }
    if !lot.wanted || lot.held {
        return Course::Rest;
    }
    let when_due = |otherwise| if machine.is_due() { Course::Come } else { otherwise };
    match &machine.life {
        Life::Stopped if machine.rests() => Course::Rest,
        Life::Stopped | Life::Waiting { .. } | Life::Gated { .. } => Course::Come,
        Life::Retrying { .. } | Life::Evicting { .. } => Course::Come,
        Life::Backoff { .. } => when_due(Course::Later),
        Life::Completed { .. } | Life::Failed { .. } => when_due(Course::Rest),
        Life::Doomed { .. } if doomed.contains(&machine.id) => Course::Rest,
        Life::Doomed { .. } => Course::Come,
        Life::Preparing { .. } | Life::Spawning { .. } | Life::Executing { .. } | Life::Starting { .. } => Course::Stay,
        Life::Launching { .. } | Life::Detached { .. } => Course::Stay,
        Life::Ready { .. } | Life::Unhealthy { .. } | Life::Stopping(_) => Course::Stay,
    }
}

fn intent(machine: &Machine, stood: Option<&Stood>, course: Course, changed: bool) -> Intent {
    let (was, turned) = match stood {
        Some(stood) => (stood.course, stood.turn != machine.wish.turn),
        None => (Course::Rest, false),
    };
    let lives = if changed { Intent::Live } else { Intent::Keep };
    match (was, course) {
        (Course::Rest | Course::Leave, Course::Return | Course::Come | Course::Later) => Intent::Start,
        (Course::Later, Course::Come) => Intent::Start,
        (Course::Stay, Course::Return) => Intent::Restart,
        (Course::Return, Course::Return) if turned => Intent::Restart,
        (Course::Stay | Course::Return, Course::Leave | Course::Rest) => Intent::Stop,
        // Its start is called off.
        (Course::Come | Course::Later, Course::Rest) if !machine.lot.wanted => Intent::Stop,
        (Course::Come | Course::Later, Course::Leave) => Intent::Stop,
        (_, Course::Stay | Course::Return | Course::Come | Course::Later) => lives,
        (_, Course::Rest) if machine.lot.wanted && machine.spec.schedule.is_some() => lives,
        (_, Course::Leave | Course::Rest) => Intent::Keep,
    }
}
