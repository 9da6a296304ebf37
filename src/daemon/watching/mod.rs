//! Watches what services want to have watched (`watch`), in a thread of its own: it asks the kernel for folders, sorts what the
//! kernel tells, waits until it is quiet, and tells the loop.
//!
//! Only folders that can hold something that counts are watched, one by one: a recursive watch would cost a watch for each folder of
//! `node_modules`.

mod eye;
mod feedback;
mod matching;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use crate::spec::{LogTarget, Project, ServiceName, Watch};
use eye::{Eye, Message};
use feedback::Feedback;

/// What is told to the loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It has been quiet since.
    Changed {
        service: ServiceName,
        /// One of those that have changed.
        path: PathBuf,
        /// How many others.
        more: usize,
        /// The last of it, monotonic.
        at_ns: u64,
    },
    /// The kernel does not tell of changes in this folder, because of that.
    Unseen { folder: PathBuf, why: String },
}

/// What is watched for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub watch: Watch,
    /// Runner's own files.
    pub own: Vec<PathBuf>,
}

/// Those of a project that have a `watch`.
pub fn of(project: &Project) -> BTreeMap<ServiceName, Watched> {
    let own = |service: &crate::spec::Service| {
        let mut own = vec![project.state_dir.clone()];
        if let LogTarget::File(log) = &service.log {
            own.push(log.file.clone());
        }
        own.extend(service.pid_file.iter().map(|file| file.path.clone()));
        own.extend(service.files.keys().map(PathBuf::from));
        own
    };
    let watched = project.services.values().filter_map(|service| {
        let watch = service.watch.clone()?;
        let own = own(service);
        Some((service.name.clone(), Watched { watch, own }))
    });
    watched.collect()
}

/// Called from the thread that watches.
pub type Tell = Arc<dyn Fn(Seen) + Send + Sync>;

/// The daemon's end of it.
pub struct Watching {
    services: BTreeMap<ServiceName, Watched>,
    feedback: BTreeMap<ServiceName, Feedback>,
    /// Whose watch goes round in a circle, and by which path.
    suspended: BTreeMap<ServiceName, PathBuf>,
    eye: Option<Sender<Message>>,
    tell: Tell,
}

impl Watching {
    pub fn new(tell: Tell) -> Self {
        Watching {
            services: BTreeMap::new(),
            feedback: BTreeMap::new(),
            suspended: BTreeMap::new(),
            eye: None,
            tell,
        }
    }

    /// From now on these.
    pub fn look_at(&mut self, services: BTreeMap<ServiceName, Watched>) {
        if self.services == services {
            return;
        }
        let is_same = |name: &ServiceName| self.services.get(name) == services.get(name);
        self.feedback.retain(|name, _| is_same(name));
        self.suspended.retain(|name, _| is_same(name));
        if services.is_empty() {
            self.end();
        } else {
            let eye = self.eye.get_or_insert_with(|| {
                let (orders, inbox) = channel();
                let (own, tell) = (orders.clone(), self.tell.clone());
                std::thread::spawn(move || Eye::new(own, tell).look(&inbox));
                orders
            });
            let _ = eye.send(Message::Look(services.clone()));
        }
        self.services = services;
    }

    pub fn watch_of(&self, service: &ServiceName) -> Option<&Watch> {
        self.services.get(service).map(|watched| &watched.watch)
    }

    /// Whether a change of this path is to do something. The second answer: it goes round in a circle, from now on.
    pub fn counts(&mut self, service: &ServiceName, path: &Path) -> (bool, bool) {
        let Some(watched) = self
            .services
            .get(service)
            .filter(|_| !self.suspended.contains_key(service))
        else {
            return (false, false);
        };
        let feedback = self.feedback.entry(service.clone()).or_default();
        let is_circle = feedback.hear(path, watched.watch.debounce, Instant::now());
        if is_circle {
            self.suspended.insert(service.clone(), path.to_owned());
        }
        (!is_circle, is_circle)
    }

    /// Somebody has started or restarted them by hand (`None`: all of them): they are looked at again.
    pub fn resume(&mut self, services: Option<&[ServiceName]>) {
        let goes_on = |name: &ServiceName| services.is_some_and(|services| !services.contains(name));
        self.suspended.retain(|name, _| goes_on(name));
        self.feedback.retain(|name, _| goes_on(name));
    }

    pub fn suspended(&self) -> &BTreeMap<ServiceName, PathBuf> {
        &self.suspended
    }
}

impl Watching {
    fn end(&mut self) {
        if let Some(eye) = self.eye.take() {
            let _ = eye.send(Message::End);
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.end();
    }
}
