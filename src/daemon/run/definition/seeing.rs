//! What is watched for services has changed, and what that does.

use std::collections::HashMap;
use std::path::Path;

use crate::api::wire::EventKind;
use crate::daemon::run::Daemon;
use crate::daemon::watching::Seen;
use crate::reconcile::{Author, Cause, Fact, Request, StateName};
use crate::spec::ServiceName;
use crate::sys;

impl Daemon {
    pub(super) fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Changed { service, at_ns, .. } if self.has_begun_since(&service, at_ns) => {}
            Seen::Changed {
                service, path, more, ..
            } => self.see_change(service, &path, more),
            Seen::Unseen { folder, why } => {
                let folder = folder.display();
                self.warn(format!(
                    "`watch`: changes in {folder} (and others) are looked for every 2s instead of being told at once: {why}"
                ));
            }
        }
    }

    /// Whether its latest run has begun after the change and knows of it. A folder that is filled for a service changes while that is
    /// prepared.
    fn has_begun_since(&self, name: &ServiceName, at_ns: u64) -> bool {
        let Some(found) = self.world.service(name) else {
            return true;
        };
        if found.state != StateName::Preparing {
            return at_ns < self.world.ordered_at(name);
        }
        let service = self
            .definition
            .project
            .as_ref()
            .and_then(|project| project.services.get(name));
        at_ns < found.since_ns || service.is_some_and(|service| service.source.is_some())
    }

    fn see_change(&mut self, service: ServiceName, path: &Path, more: usize) {
        if self.is_ending() {
            return;
        }
        let Some(action) = self.definition.watching.watch_of(&service).map(|watch| watch.action) else {
            return;
        };
        let shown = self.shown(path);
        let (counts, is_circle) = self.definition.watching.counts(&service, path);
        if is_circle {
            self.warn_of(&service, format!(
                "`watch` is suspended: {shown} changes again right after what its last change has set off, so that the service seems to write it itself; \
                 add it to `watch.ignore`, or `runner restart {service}` to go on as it is"
            ));
        }
        if !counts {
            return;
        }
        let others = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let cause = Cause::new(Author::Watch, format!("{shown}{others} changed"));
        let request = Request::Watched { service, action };
        self.step(Fact::Asked { request, cause });
    }

    /// Below the project's folder: relative to it.
    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.boot.location.dir)
            .unwrap_or(path)
            .display()
            .to_string()
    }

    fn warn_of(&mut self, service: &ServiceName, message: String) {
        let kind = EventKind::Warned { message };
        let cause = Cause::new(Author::Watch, "watch");
        self.story
            .tell_kind(sys::clock::now().wall_ns, Some(service.to_string()), 0, kind, cause);
    }

    /// For the notes of `ps`.
    pub(in crate::daemon::run) fn notes_of_watches(&self) -> HashMap<ServiceName, String> {
        let suspended = self.definition.watching.suspended().iter();
        let note = |path| format!("watch suspended: it writes {} itself", self.shown(path));
        suspended.map(|(service, path)| (service.clone(), note(path))).collect()
    }
}
