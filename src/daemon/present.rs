//! Turns the World's snapshot into what `ps` answers.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::story;
use crate::api::wire;
use crate::config::{Mask, MovedPorts};
use crate::reconcile::{Blocker, Intent, Now, Plan, ServiceSnapshot, Snapshot, StateName};
use crate::spec::{Project, ServiceName};
use crate::sys;
use crate::sys::usage::Usage;

/// What was used when somebody last looked, so that a percentage is one of now and not of a whole life.
#[derive(Default)]
pub struct Meter {
    last: HashMap<(ServiceName, u32), (u64, u64)>,
}

impl Meter {
    /// Percent of one core since the last look (or since the start), and the memory held.
    fn read(&mut self, now: Now, service: &ServiceSnapshot, usage: Usage) -> (Option<f64>, u64) {
        let cpu_ns = usage.cpu_ticks * (1_000_000_000 / sys::processes::ticks_per_second());
        let key = (service.name.clone(), service.run);
        let begin = service.started_mono_ns.unwrap_or(now.mono_ns);
        let (at, used) = self.last.insert(key, (now.mono_ns, cpu_ns)).unwrap_or((begin, 0));
        let elapsed = now.mono_ns.saturating_sub(at);
        let percent = (elapsed > 0).then(|| cpu_ns.saturating_sub(used) as f64 * 100.0 / elapsed as f64);
        (percent, usage.resident_bytes)
    }

    /// Forgets runs that are over, by a snapshot of all services.
    pub fn keep_only(&mut self, snapshot: &Snapshot) {
        if self.last.len() > 2 * snapshot.services.len() {
            let current: HashMap<_, _> = snapshot
                .services
                .iter()
                .map(|service| (&service.name, service.run))
                .collect();
            self.last.retain(|(name, run), _| current.get(name) == Some(run));
        }
    }
}

pub struct Sources<'a> {
    pub now: Now,
    pub project: &'a Project,
    /// CPU and memory of the tree of each pid, sampled for this answer.
    pub usage: HashMap<u32, Usage>,
    pub last_lines: &'a dyn Fn(&ServiceName, u32) -> Vec<String>,
    pub mask: &'a Mask,
    pub drift: Drift,
    pub config_error: Option<String>,
    pub moved: &'a MovedPorts,
    /// What there is to say of services besides what the World knows.
    pub notes: &'a HashMap<ServiceName, String>,
}

/// What an `up` would do about each service, in words, where the file is newer than what is in force.
pub type Drift = HashMap<ServiceName, String>;

pub fn drift(plan: &Plan) -> Drift {
    let pending = plan.steps.iter().filter_map(|step| {
        let what = match step.intent {
            Intent::Start => "start",
            Intent::Restart => "restart",
            Intent::Live => "live change",
            Intent::Stop => "stop",
            Intent::Keep => return None,
        };
        let fields: Vec<&str> = step.changes.iter().map(|change| change.field.as_str()).collect();
        let because = if fields.is_empty() {
            String::new()
        } else {
            format!(" ({})", fields.join(", "))
        };
        Some((step.service.clone(), format!("file is newer: {what} pending{because}")))
    });
    pending.collect()
}

pub fn ps(snapshot: &Snapshot, sources: &Sources<'_>, meter: &mut Meter) -> wire::Ps {
    wire::Ps {
        project: sources.project.name.clone(),
        generation: snapshot.generation,
        settled: snapshot.settled,
        config_error: sources.config_error.clone(),
        services: snapshot
            .services
            .iter()
            .map(|service| one(service, sources, meter))
            .collect(),
    }
}

/// Of a replica that serves on as it was started before the last edit.
fn deferral(service: &ServiceSnapshot) -> Option<String> {
    let (on, halted) = service.deferred.as_ref()?;
    Some(match halted {
        true => format!("restart pending: the rollout is halted by {on}"),
        false => format!("restart pending: after {on}"),
    })
}

fn one(service: &ServiceSnapshot, sources: &Sources<'_>, meter: &mut Meter) -> wire::Service {
    let now = sources.now;
    let usage = service.pid.and_then(|pid| sources.usage.get(&pid)).copied();
    let (cpu_percent, memory_bytes) = match usage.map(|usage| meter.read(now, service, usage)) {
        Some((percent, memory)) => (percent, Some(memory)),
        None => (None, None),
    };
    let moved = |port: &str| sources.moved.get(&service.name)?.get(port).copied();
    let ports = match sources.project.services.get(&service.name) {
        Some(definition) => definition
            .ports
            .iter()
            .map(|(name, port)| (name.clone(), moved(name).unwrap_or(port.number)))
            .collect(),
        None => IndexMap::new(),
    };
    let shows_lines = matches!(service.state, StateName::Failed | StateName::Backoff);
    let lines = || {
        if shows_lines {
            (sources.last_lines)(&service.name, service.run)
        } else {
            Vec::new()
        }
    };
    let hidden = |blocker: &Blocker| Blocker {
        service: blocker.service.clone(),
        what: sources.mask.text(&blocker.what).into_owned(),
    };
    let next_run = |due: crate::reconcile::Due| {
        let schedule = sources.project.services.get(&service.name)?.schedule.as_ref()?;
        let at = due.wall_ns(now);
        Some(wire::NextRun {
            at: wire::timestamp(at),
            in_s: due.ahead(now).as_secs_f64(),
            clock: schedule.clock(at, now.wall_ns),
        })
    };
    let shown = |value: &String| sources.mask.text(value).into_owned();
    wire::Service {
        name: service.name.to_string(),
        state: service.state,
        pid: service.pid,
        started_at: service.pid.and(service.started_at_ns).map(wire::timestamp),
        uptime_s: service
            .pid
            .and(service.started_mono_ns)
            .map(|at| story::seconds(now.mono_ns.saturating_sub(at))),
        restarts: service.restarts,
        run: service.run,
        ports,
        url: service.outputs.get("url").map(shown),
        outputs: service
            .outputs
            .iter()
            .map(|(name, value)| (name.clone(), shown(value)))
            .collect(),
        cpu_percent,
        memory_bytes,
        last_exit: service.last_end.map(|end| story::exit(end.status)),
        failure: service
            .failure
            .clone()
            .map(|failure| story::failure(failure, sources.mask, lines())),
        drift: sources.drift.get(&service.name).cloned().or_else(|| deferral(service)),
        adopted: service.adopted,
        waiting_on: service.waiting_on.iter().map(hidden).collect(),
        note: service
            .status_text
            .as_ref()
            .or(service.probe_message.as_ref())
            .map(|note| sources.mask.text(note).into_owned())
            .or_else(|| sources.notes.get(&service.name).cloned()),
        since_s: story::seconds(now.mono_ns.saturating_sub(service.since_ns)),
        next_try_s: service
            .next_try_at_ns
            .map(|at| story::seconds(at.saturating_sub(now.mono_ns))),
        next_run: service.next_run.and_then(next_run),
        wanted: service.wanted,
        probe_attempts: service.probe_attempts,
    }
}
