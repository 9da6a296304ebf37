//! The chain of causes of one service's state, from what can be seen to what somebody did.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Edge, Node, World};
use crate::reconcile::event::{Author, Cause};
use crate::reconcile::fact::{ExitStatus, Now, ServiceId};
use crate::reconcile::failure::Failure;
use crate::reconcile::machine::{Life, Machine};
use crate::reconcile::snapshot::{RunEnd, StateName};
use crate::reconcile::words;
use crate::spec::{ServiceName, Signal};

/// Why a service is as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    pub service: ServiceName,
    pub state: StateName,
    /// From the service itself to the first cause.
    pub chain: Vec<Link>,
    /// Fits after "try: ".
    pub suggestion: Option<String>,
    /// Whose last lines tell more, and of which run; where all is as somebody wished, none do.
    pub wrote: Option<(ServiceName, u32)>,
    /// The run that failed before that one, which may have written nothing yet.
    pub wrote_before: Option<u32>,
}

/// `what` because `because`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub service: ServiceName,
    /// `web is in back-off`.
    pub what: String,
    /// Fits after "because".
    pub because: String,
}

impl World {
    /// `None`: there is no such service.
    pub fn why(&self, now: Now, name: &ServiceName) -> Option<Why> {
        let mut node = self.node(*self.by_name.get(name)?)?;
        let state = node.machine.state();
        let (mut chain, mut seen) = (Vec::new(), BTreeSet::new());
        loop {
            seen.insert(node.machine.id);
            chain.push(self.link(now, node));
            match self
                .culprit(node)
                .filter(|on| !seen.contains(on))
                .and_then(|on| self.node(on))
            {
                Some(on) => node = on,
                None => break,
            }
        }
        chain.extend(self.origin(now, node));
        let machine = &node.machine;
        Some(Why {
            service: name.clone(),
            state,
            chain,
            suggestion: self.advice(now, node),
            wrote: is_troubled(machine).then(|| (machine.name().clone(), machine.run)),
            wrote_before: failed_before(machine),
        })
    }

    /// The service whose state explains this one's.
    fn culprit(&self, node: &Node) -> Option<ServiceId> {
        match &node.machine.life {
            Life::Waiting { .. } => self
                .blocking(node)
                .map(|edge| edge.on)
                .or_else(|| self.port_holder(node)),
            Life::Doomed { .. } => self.failed_need(node).map(|edge| edge.on),
            _ => self
                .deferral(node.machine.id)
                .and_then(|(on, _)| self.by_name.get(on).copied()),
        }
    }

    fn failed_need(&self, node: &Node) -> Option<Edge> {
        let mut edges = node.dependencies.iter().copied();
        edges.find(|edge| self.machine(edge.on).is_some_and(|on| on.life.has_failed()))
    }

    fn need_in_words(&self, edge: Edge, more: &str) -> String {
        let on = self.name_of(edge.on).map_or("", ServiceName::as_str);
        format!(
            "it needs {on} {} (depends_on), {more}",
            words::condition(edge.condition)
        )
    }

    /// Of several dependencies that are not there, the one that needs a person first.
    fn blocking(&self, node: &Node) -> Option<Edge> {
        let edges = node.dependencies.iter().copied();
        let shut = edges.filter(|&edge| !node.machine.wish.alone && (!self.is_open(edge) || self.holds(edge)));
        shut.min_by_key(|edge| {
            self.machine(edge.on).map_or(9, |on| match on.life.name() {
                StateName::Failed => 0,
                StateName::Stopped => 1,
                StateName::Backoff | StateName::Unhealthy => 2,
                StateName::Waiting => 3,
                _ => 4,
            })
        })
    }

    fn port_holder(&self, node: &Node) -> Option<ServiceId> {
        self.taken_ports(node).next().map(|(_, holder)| holder)
    }

    fn link(&self, now: Now, node: &Node) -> Link {
        let machine = &node.machine;
        let name = machine.name();
        let state = match machine.state() {
            StateName::Failed => "has failed",
            StateName::Backoff => "is in back-off",
            StateName::Completed => "has completed",
            other => &format!("is {}", other.as_str()),
        };
        Link {
            service: name.clone(),
            what: format!("{name} {state}"),
            because: match next_run(now, machine) {
                Some(next) if machine.rests() => next,
                Some(next) => format!("{}; {next}", self.reason(now, node)),
                None => self.reason(now, node),
            },
        }
    }

    fn reason(&self, now: Now, node: &Node) -> String {
        let machine = &node.machine;
        let since = words::duration(ago(now, machine.since));
        match &machine.life {
            Life::Waiting { .. } => self.wait_in_words(node),
            Life::Gated { .. } => {
                let gates: Vec<String> = self.waiting_on(node).into_iter().map(|gate| gate.what).collect();
                format!("it has waited {since} for {} (wait_for)", gates.join(", "))
            }
            Life::Stopped if machine.wish.stopped && machine.wish.asked_at == 0 => {
                "it was stopped by you, before this runner was started".to_owned()
            }
            Life::Stopped if machine.wish.stopped => {
                let killed = if had_to_be_killed(machine) {
                    ", and it had to be killed (SIGKILL)"
                } else {
                    ""
                };
                format!("{} {}{killed}", phrase(&machine.wish.cause), asked(now, machine))
            }
            Life::Stopped if machine.lot.wanted => "it is about to be started".to_owned(),
            Life::Stopped => self.unwanted(machine),
            Life::Backoff { failure, .. } => match (&machine.last_end, failure) {
                // How it ended says less where runner ended it (a health probe failed).
                (Some(end), Some(failure)) if !failure.message.contains(&words::exit(end.status)) => {
                    format!("{}; {}", failure.message, last_end(now, machine))
                }
                (Some(_), _) => last_end(now, machine),
                (None, Some(failure)) => failure.message.clone(),
                (None, None) => "it is started again and again (restart = \"always\")".to_owned(),
            },
            Life::Doomed { failure } => match self.failed_need(node) {
                Some(edge) => self.need_in_words(edge, "and that has failed"),
                None => failure.message.clone(),
            },
            Life::Failed { failure, .. } => failure.message.clone(),
            Life::Completed { .. } => last_end(now, machine),
            Life::Launching { .. } | Life::Detached { .. } => {
                let (file, _) = machine.probe_words();
                let since = match &machine.life {
                    Life::Detached { status, .. } => format!("{}, {since} ago", words::background(*status)),
                    _ => format!("it was executed {since} ago"),
                };
                format!(
                    "{since}, and which process it is has not been said: {}",
                    file.unwrap_or_default()
                )
            }
            Life::Starting { process, .. } => {
                let mut because = match machine.probe_words() {
                    (Some(words), attempts) => format!(
                        "its readiness probe has not succeeded yet: {words}, {} in {since}",
                        words::count(attempts, "try", "tries")
                    ),
                    (None, _) => format!("it has run for {since} and is not done"),
                };
                if let Some(limit) = process.spec.start_timeout.filter(|_| process.spec.ready.is_some()) {
                    let left = limit.saturating_sub(ago(now, process.spawned_at));
                    because.push_str(&format!(
                        "; it has {} more (start_timeout)",
                        words::duration(round(left))
                    ));
                }
                because
            }
            Life::Spawning { again, .. } | Life::Executing { again, .. } | Life::Retrying { again, .. } => {
                match &again.quiet {
                    Some(failure) => failure.message.clone(),
                    None => "its program is being executed".to_owned(),
                }
            }
            Life::Preparing { doing, .. } => match doing {
                Some(doing) => format!("before its start `{doing}` is done, and it has been preparing for {since}"),
                None => format!("it has been preparing for its start for {since}"),
            },
            Life::Evicting { again, .. } => match &again.quiet {
                Some(failure) => failure.message.clone(),
                None => format!("what holds its port is being ended, since {since}"),
            },
            Life::Ready { .. } if let Some((on, halted)) = self.deferral(machine.id) => {
                let why = &machine.wish.cause.detail;
                match halted {
                    true => format!("it serves on and is to be restarted ({why}), but the rollout is halted by {on}"),
                    false => format!("it serves on and is to be restarted ({why}), after {on}"),
                }
            }
            Life::Ready { .. } => {
                let up = match &machine.cause.by {
                    Author::Probe => format!("{} succeeded {} ago", machine.cause.detail, since),
                    _ => format!("it was executed {} ago and has no readiness probe", since),
                };
                match machine.remark() {
                    Some(remark) => format!("{up}; {remark}"),
                    None => up,
                }
            }
            Life::Unhealthy { .. } => machine.cause.detail.clone(),
            Life::Stopping(_) => match machine.life.failure() {
                Some(failure) => failure.message.clone(),
                None => format!("{} {} ago", phrase(&machine.cause), since),
            },
        }
    }

    /// What stands in the way of a start that is wanted.
    fn wait_in_words(&self, node: &Node) -> String {
        let Some(edge) = self.blocking(node) else {
            let blockers: Vec<String> = self.blockers(node).into_iter().map(|blocker| blocker.what).collect();
            return format!("it waits for {}", blockers.join(", "));
        };
        let Some(on) = self.machine(edge.on) else {
            return String::new();
        };
        let more = self.blockers(node).len().saturating_sub(1);
        let more = match more {
            0 => String::new(),
            1 => ", and 1 more is not there yet".to_owned(),
            count => format!(", and {count} more are not there yet"),
        };
        if on.wish.stopped {
            return format!("it needs {} (depends_on), which was stopped by you{more}", on.name());
        }
        format!(
            "it needs {} {} (depends_on){more}",
            on.name(),
            words::condition(edge.condition)
        )
    }

    fn unwanted(&self, machine: &Machine) -> String {
        let spec = &machine.spec;
        if self.ending.is_some() {
            "everything is being stopped".to_owned()
        } else if !spec.autostart {
            "nobody asked for it: `autostart = false`".to_owned()
        } else if !self.starts_by_itself(spec) {
            format!("none of its profiles is on ({})", spec.profiles.join(", "))
        } else {
            "it was not selected: `up` was asked for others".to_owned()
        }
    }

    /// What led to the run or the state that explains it all.
    fn origin(&self, now: Now, node: &Node) -> Option<Link> {
        let machine = &node.machine;
        let has_run = machine.run > 0 && !matches!(machine.life, Life::Stopped | Life::Doomed { .. });
        if !has_run || machine.wish.asked_at == 0 {
            return None;
        }
        let began = match machine.life {
            Life::Waiting { .. } | Life::Gated { .. } => "asked for",
            _ if machine.asked_run > 1 && machine.wish.cause.by != Author::Schedule => "restarted",
            _ => "started",
        };
        Some(Link {
            service: machine.name().clone(),
            what: format!("{} was {began}", machine.name()),
            because: format!(
                "{} {}{}",
                phrase(&machine.wish.cause),
                asked(now, machine),
                restarts_since(now, machine)
            ),
        })
    }

    fn advice(&self, now: Now, node: &Node) -> Option<String> {
        let machine = &node.machine;
        let name = machine.name();
        match &machine.life {
            Life::Backoff { until, failure } => {
                let rest = Duration::from_nanos(until.saturating_sub(now.mono_ns));
                let again = format!(
                    "{name} is tried again in {}, or now with `runner start {name}`",
                    words::duration(round(rest))
                );
                Some(match failure.as_ref().and_then(|failure| failure.suggestion.as_ref()) {
                    Some(hint) => format!("{hint}; {again}"),
                    None => again,
                })
            }
            Life::Stopped if machine.wish.stopped => Some(format!("`runner start {name}`")),
            Life::Stopped if machine.rests() => Some(format!("`runner start {name}` runs it now")),
            Life::Stopped => (!machine.lot.wanted).then(|| format!("`runner start {name}`")),
            Life::Launching { .. } | Life::Detached { .. } | Life::Starting { .. } => {
                Some(format!("see `runner logs {name}`"))
            }
            Life::Unhealthy { .. } => Some(format!("see `runner logs {name}`, or `runner restart {name}`")),
            Life::Gated { .. } => Some(format!(
                "make it so that they answer, or take them out of `wait_for` of services.{name}"
            )),
            Life::Failed {
                failure,
                retry_at: Some(at),
                ..
            } => {
                let rest = Duration::from_nanos(at.saturating_sub(now.mono_ns));
                let again = format!("it is tried again in {}", words::duration(round(rest)));
                Some(match &failure.suggestion {
                    Some(hint) => format!("{hint}; {again}"),
                    None => again,
                })
            }
            Life::Failed { failure, .. } => Some(match &failure.suggestion {
                Some(hint) => format!("{hint}; then `runner start {name}`"),
                None => format!("`runner start {name}`"),
            }),
            life => life.failure().and_then(|failure: &Failure| failure.suggestion.clone()),
        }
    }
}

/// `its next run is in 25m, at 14:00 (every 30m)`, where none is going or due.
fn next_run(now: Now, machine: &Machine) -> Option<String> {
    let (schedule, due) = (machine.spec.schedule.as_ref()?, machine.next_run?);
    let waits = matches!(
        machine.life,
        Life::Stopped | Life::Completed { .. } | Life::Failed { .. }
    );
    let ahead = words::duration(round(due.ahead(now)));
    let clock = schedule.clock(due.wall_ns(now), now.wall_ns);
    waits.then(|| format!("its next run is in {ahead}, at {clock} ({})", schedule.text()))
}

fn is_troubled(machine: &Machine) -> bool {
    matches!(
        machine.life.name(),
        StateName::Failed | StateName::Backoff | StateName::Unhealthy | StateName::Starting
    )
}

/// It is started again because this run of it failed.
fn failed_before(machine: &Machine) -> Option<u32> {
    let is_again = machine.life.name() == StateName::Starting && machine.history.restarts > 0;
    let end = machine.last_end.filter(|end| is_again && end.run < machine.run)?;
    (end.status != ExitStatus::Code(0)).then_some(end.run)
}

/// The end that was asked for came by SIGKILL, which is not its stop signal.
fn had_to_be_killed(machine: &Machine) -> bool {
    let killed = |end: RunEnd| end.status == ExitStatus::Signal(Signal::KILL) && end.at_ns >= machine.wish.asked_at;
    machine.last_end.is_some_and(killed) && machine.spec.stop.iter().all(|rung| rung.signal != Signal::KILL)
}

/// `its 4th run ended 3s ago with exit code 1, 200ms after it was started`.
fn last_end(now: Now, machine: &Machine) -> String {
    let Some(end) = machine.last_end else {
        return "it has ended".to_owned();
    };
    let (run, when) = (words::ordinal(end.run), words::duration(ago(now, end.at_ns)));
    let how = match end.status {
        ExitStatus::Code(code) => format!("ended {when} ago with exit code {code}"),
        ExitStatus::Signal(signal) => match machine.sender(end.run, end.status) {
            Some(sender) => format!("was killed by {signal} {when} ago ({})", sender.detail),
            None => format!("was killed by {signal} {when} ago"),
        },
        ExitStatus::Unknown => format!("ended {when} ago, how is not known"),
    };
    let took = words::duration(round(Duration::from_nanos(end.took_ns)));
    format!("its {run} run {how}, {took} after it was started")
}

/// `, and it was restarted 4 times since`: with how the latest ended, where the reason itself does not tell.
fn restarts_since(now: Now, machine: &Machine) -> String {
    let (tells, done) = match machine.life {
        // The one that it waits for is counted already.
        Life::Backoff { .. } => (true, machine.history.restarts.saturating_sub(1)),
        Life::Failed { .. } => (true, machine.history.restarts),
        _ => (false, machine.history.restarts),
    };
    let times = words::times(done);
    match (done, tells) {
        (0, _) => String::new(),
        (_, true) => format!(", and it was restarted {times} since"),
        (_, false) => {
            // A signal of our own says less than what it was sent for.
            let ended = machine.last_end.map(|end| end.run);
            let failure = machine.failed_for.as_ref().filter(|(run, _)| Some(*run) == ended);
            let why = failure.map_or_else(String::new, |(_, message)| format!("{message}; "));
            format!(", and it was restarted {times} since: {why}{}", last_end(now, machine))
        }
    }
}

fn ago(now: Now, at: u64) -> Duration {
    round(Duration::from_nanos(now.mono_ns.saturating_sub(at)))
}

/// To what a person reads: seconds, below one tenths.
fn round(length: Duration) -> Duration {
    match length.as_millis() {
        0 => Duration::from_millis(u64::from(!length.is_zero())),
        millis @ 1..100 => Duration::from_millis(millis as u64),
        millis @ 100..1000 => Duration::from_millis(millis as u64 / 100 * 100),
        _ => Duration::from_secs(length.as_secs()),
    }
}

fn asked(now: Now, machine: &Machine) -> String {
    format!("{} ago", words::duration(ago(now, machine.wish.asked_at)))
}

/// Who did what; fits before "3s ago".
fn phrase(cause: &Cause) -> String {
    let detail = &cause.detail;
    match cause.by {
        Author::User => format!("somebody typed `{detail}`"),
        Author::File => format!("services.toml was saved ({detail})"),
        Author::Signal => format!("of {detail}"),
        Author::Schedule => format!("its time had come ({detail})"),
        Author::Dependency | Author::Probe | Author::Watch | Author::Exit | Author::Runner => detail.clone(),
    }
}
