//! What people asked for, as `cli.md` says it, from the beginning for each question: the reference for the wishes
//! that the World keeps current.

use std::collections::BTreeSet;

use crate::reconcile::fact::Request;
use crate::spec::{Project, ServiceName};

#[derive(Default)]
pub struct Wishes {
    all: bool,
    profiles: BTreeSet<String>,
    named: BTreeSet<ServiceName>,
    pub stopped: BTreeSet<ServiceName>,
    pub alone: BTreeSet<ServiceName>,
    pub ending: bool,
    pub hastened: bool,
    /// Of the definition before, for those that join them.
    known: Option<BTreeSet<ServiceName>>,
    /// Selected, or needed by what is selected; a stop by hand does not change it.
    pub desired: BTreeSet<ServiceName>,
}

impl Wishes {
    pub fn ask(&mut self, request: &Request, project: &Project) {
        let every = |names: &[ServiceName]| match names {
            [] => project.services.keys().cloned().collect(),
            names => names.to_vec(),
        };
        let desired = self.desired.clone();
        match request {
            Request::Hasten => self.hastened |= self.ending,
            Request::Down { .. } => self.ending = true,
            _ if self.ending => {}
            Request::Up {
                names,
                no_deps,
                profiles,
            } => {
                self.profiles.extend(profiles.iter().cloned());
                if names.is_empty() {
                    self.all = true;
                    self.stopped.clear();
                    self.alone.clear();
                }
                for name in names {
                    self.wish_for(name, *no_deps, project, &desired);
                }
            }
            Request::Reload { .. } | Request::Signal { .. } | Request::Watched { .. } => {}
            Request::Restart { names } => {
                let stopped = self.stopped.clone();
                for name in every(names) {
                    // What is up anyway is wished for as it was.
                    let wanted = desired.contains(&name) && !stopped.contains(&name);
                    if !wanted || self.alone.contains(&name) || self.misses_something(&name, project) {
                        self.wish_for(&name, false, project, &desired);
                    }
                }
            }
            Request::Start { names } => {
                for name in every(names) {
                    self.wish_for(&name, false, project, &desired);
                }
            }
            Request::Stop { names, .. } => self.stopped.extend(every(names)),
        }
        self.settle(project);
    }

    fn misses_something(&self, name: &ServiceName, project: &Project) -> bool {
        let mut on = project.services[name].depends_on.keys();
        on.any(|on| self.stopped.contains(on) || self.misses_something(on, project))
    }

    pub fn end(&mut self) {
        self.ending = true;
        self.desired.clear();
    }

    fn wish_for(&mut self, name: &ServiceName, alone: bool, project: &Project, desired: &BTreeSet<ServiceName>) {
        self.named.insert(name.clone());
        self.stopped.remove(name);
        if alone {
            self.alone.insert(name.clone());
            // No `up` stops anything: what it needed so far stays wanted.
            let needed = project.services[name]
                .depends_on
                .keys()
                .filter(|on| desired.contains(*on));
            self.named.extend(needed.cloned());
            return;
        }
        self.alone.remove(name);
        let mut todo = vec![name.clone()];
        let mut seen = BTreeSet::new();
        while let Some(name) = todo.pop() {
            if seen.insert(name.clone()) {
                self.stopped.remove(&name);
                todo.extend(project.services[&name].depends_on.keys().cloned());
            }
        }
    }

    /// The next project is read by who knows nothing of the one before.
    pub fn forget_kin(&mut self) {
        self.known = None;
    }

    /// A new replica is wished for as the others are.
    fn join(&mut self, project: &Project) {
        let now: BTreeSet<ServiceName> = project.services.keys().cloned().collect();
        let Some(before) = self.known.replace(now.clone()) else {
            return;
        };
        let asked = |names: &BTreeSet<ServiceName>| names.clone();
        let (named, stopped, alone) = (asked(&self.named), asked(&self.stopped), asked(&self.alone));
        for name in now.difference(&before) {
            let kin: Vec<&ServiceName> = before.iter().filter(|other| other.base() == name.base()).collect();
            if kin.is_empty() || [&named, &stopped, &alone].iter().any(|names| names.contains(name)) {
                continue;
            }
            if kin.iter().all(|other| named.contains(*other)) {
                self.named.insert(name.clone());
            }
            if kin.iter().all(|other| stopped.contains(*other)) {
                self.stopped.insert(name.clone());
            }
        }
    }

    /// Follows the wishes over a project; to be called after a change of either.
    pub fn settle(&mut self, project: &Project) {
        self.desired.clear();
        if self.ending {
            return;
        }
        self.join(project);
        let by_itself = |name: &ServiceName| {
            let spec = &project.services[name];
            let profile = spec.profiles.is_empty() || spec.profiles.iter().any(|p| self.profiles.contains(p));
            self.all && spec.autostart && profile
        };
        let selected = project
            .services
            .keys()
            .filter(|name| self.named.contains(*name) || by_itself(name));
        let mut todo: Vec<ServiceName> = selected.cloned().collect();
        while let Some(name) = todo.pop() {
            if self.desired.insert(name.clone()) && !self.alone.contains(&name) {
                todo.extend(project.services[&name].depends_on.keys().cloned());
            }
        }
    }
}
