//! One attempt of each kind of check, and of gates.

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::words::{describe, describe_gate, duration, first_line, of_io_error, timed_out};
use super::{Executed, Surroundings, http, reach};
use crate::reconcile::{Outcome, ProbeKind};
use crate::spec::{Argv, Check, Gate, TcpTarget};

/// Performs one attempt. It ends within `probe_timeout`, connecting included; members of `all` and `any` run at the
/// same time, each with that deadline.
///
/// `interval` is the probe's: `notify` as a health check asks for a `WATCHDOG=1` within it.
pub async fn attempt(
    check: &Check,
    kind: ProbeKind,
    probe_timeout: Duration,
    interval: Duration,
    around: &dyn Surroundings,
) -> Outcome {
    match check {
        Check::Http(wanted) => within(probe_timeout, http::attempt(wanted)).await,
        Check::Tcp(target) => within(probe_timeout, connects(target)).await,
        Check::File(path) => within(probe_timeout, exists(path)).await,
        Check::Exec(command) => executes(command, probe_timeout, around).await,
        Check::Log(pattern) if around.log_matched(pattern) => Outcome::Success,
        Check::Log(_) => Outcome::Failure("no line matches yet".to_owned()),
        Check::Notify if around.notified(kind, interval) => Outcome::Success,
        Check::Notify => Outcome::Failure(match kind {
            ProbeKind::Ready => "READY=1 has not come yet".to_owned(),
            ProbeKind::Health => format!("no WATCHDOG=1 for {}", duration(interval)),
        }),
        Check::Listen => around.listens(None).await,
        Check::Binds(port) => around.listens(Some(*port)).await,
        Check::All(checks) => {
            let attempts = members(checks, kind, probe_timeout, interval, around);
            match together(attempts, |_| false).await {
                Joined::All(outcomes) | Joined::Stopped(outcomes) => all_of(checks, outcomes),
            }
        }
        Check::Any(checks) => {
            let attempts = members(checks, kind, probe_timeout, interval, around);
            match together(attempts, |outcome| *outcome == Outcome::Success).await {
                Joined::Stopped(_) => Outcome::Success,
                Joined::All(outcomes) => none_of(checks, outcomes),
            }
        }
    }
}

/// One attempt at all gates of a `wait_for`, at the same time. Success when all are open; else the first closed one in
/// the file's order is named: `tcp://host:5432 (connection refused)`.
pub async fn attempt_gates(gates: &[Gate], timeout: Duration) -> Outcome {
    let attempts = gates.iter().map(|gate| async move {
        match gate {
            Gate::Tcp(target) => within(timeout, connects(target)).await,
            Gate::Http(url) => within(timeout, http::attempt_gate(url)).await,
            Gate::File(path) => within(timeout, exists(path)).await,
        }
    });
    let (Joined::All(outcomes) | Joined::Stopped(outcomes)) = together(attempts, |_| false).await;
    let (mut shut, mut unknown) = (Vec::new(), false);
    for (gate, outcome) in gates.iter().zip(outcomes) {
        if let Outcome::Failure(reason) | Outcome::Unknown(reason) = &outcome {
            shut.push(format!("{} ({reason})", describe_gate(gate)));
            unknown |= matches!(outcome, Outcome::Unknown(_));
        }
    }
    match (shut.is_empty(), unknown) {
        (true, _) => Outcome::Success,
        (false, false) => Outcome::Failure(shut.join(", ")),
        (false, true) => Outcome::Unknown(shut.join(", ")),
    }
}

async fn within(timeout: Duration, attempt: impl Future<Output = Outcome>) -> Outcome {
    tokio::time::timeout(timeout, attempt)
        .await
        .unwrap_or_else(|_| Outcome::Failure(timed_out(timeout)))
}

async fn connects(target: &TcpTarget) -> Outcome {
    reach::at_any_address(&target.host, target.port, |_stream| async { Outcome::Success }).await
}

/// Asked on another thread: a file system that hangs (NFS, FUSE) must hold up this attempt only.
async fn exists(path: &Path) -> Outcome {
    match tokio::fs::metadata(path).await {
        Ok(_) => Outcome::Success,
        Err(error) => of_io_error(&error, None),
    }
}

async fn executes(command: &Argv, timeout: Duration, around: &dyn Surroundings) -> Outcome {
    let told = |how: String, output: &[u8]| match first_line(output) {
        Some(line) => Outcome::Failure(format!("{how}: {line}")),
        None => Outcome::Failure(how),
    };
    match around.exec(command, timeout).await {
        Executed::Success => Outcome::Success,
        Executed::Failed { how, output } => told(how, &output),
        Executed::TimedOut { output } => told(timed_out(timeout), &output),
        Executed::Unknown(reason) => Outcome::Unknown(reason),
    }
}

fn members<'a>(
    checks: &'a [Check],
    kind: ProbeKind,
    timeout: Duration,
    interval: Duration,
    around: &'a dyn Surroundings,
) -> impl Iterator<Item = impl Future<Output = Outcome> + 'a> {
    checks
        .iter()
        .map(move |check| -> Pin<Box<dyn Future<Output = Outcome> + 'a>> {
            Box::pin(attempt(check, kind, timeout, interval, around))
        })
}

/// A member that failed decides; one that says nothing leaves the question open.
fn all_of(checks: &[Check], outcomes: Vec<Outcome>) -> Outcome {
    let (failures, unknowns) = complaints(checks, outcomes);
    match (failures.is_empty(), unknowns.is_empty()) {
        (false, _) => Outcome::Failure(failures.join(", ")),
        (true, false) => Outcome::Unknown(unknowns.join(", ")),
        (true, true) => Outcome::Success,
    }
}

/// No member succeeded: a failure only if each of them says so.
fn none_of(checks: &[Check], outcomes: Vec<Outcome>) -> Outcome {
    let (failures, unknowns) = complaints(checks, outcomes);
    if unknowns.is_empty() {
        Outcome::Failure(failures.join(", "))
    } else {
        Outcome::Unknown(unknowns.join(", "))
    }
}

/// What failed and what is unknown, each as `tcp :5432 (connection refused)`.
fn complaints(checks: &[Check], outcomes: Vec<Outcome>) -> (Vec<String>, Vec<String>) {
    let (mut failures, mut unknowns) = (Vec::new(), Vec::new());
    for (check, outcome) in checks.iter().zip(outcomes) {
        match outcome {
            Outcome::Success => {}
            Outcome::Failure(reason) => failures.push(format!("{} ({reason})", describe(check))),
            Outcome::Unknown(reason) => unknowns.push(format!("{} ({reason})", describe(check))),
        }
    }
    (failures, unknowns)
}

/// What became of several futures that ran at the same time.
pub(super) enum Joined<T> {
    /// All ended; in the order given.
    All(Vec<T>),
    /// One result was enough; these had ended by then.
    Stopped(Vec<T>),
}

/// Runs futures at the same time on this thread, until all have ended or a result is `enough`; the rest is dropped.
pub(super) async fn together<F: Future>(
    futures: impl Iterator<Item = F>,
    enough: impl Fn(&F::Output) -> bool,
) -> Joined<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    let mut ended: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    let all = poll_fn(|context| {
        for (future, slot) in running.iter_mut().zip(&mut ended).filter(|(_, slot)| slot.is_none()) {
            if let Poll::Ready(result) = future.as_mut().poll(context) {
                let stop = enough(&result);
                *slot = Some(result);
                if stop {
                    return Poll::Ready(false);
                }
            }
        }
        if ended.iter().all(Option::is_some) {
            Poll::Ready(true)
        } else {
            Poll::Pending
        }
    })
    .await;
    let results = ended.into_iter().flatten().collect();
    if all {
        Joined::All(results)
    } else {
        Joined::Stopped(results)
    }
}

#[cfg(test)]
mod tests;
