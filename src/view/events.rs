//! `runner events`: one transition a line.

use super::escape::plain;
use super::style::Style;
use super::words;
use crate::api::wire::{Event, EventKind};
use crate::reconcile::Author;

/// `12  10:00:00Z  web  ready after 0.4s (http :3000/healthz)  [probe]`
pub fn line(event: &Event, style: &Style) -> String {
    let service = event.service.as_deref().map_or("-".into(), plain);
    let run = if event.run > 0 {
        format!("#{}", event.run)
    } else {
        String::new()
    };
    let what = what(&event.kind, style);
    let cause = cause(event);
    format!(
        "{} {} {service:12} {run:4} {what}{}\n",
        style.dim(format!("{:>6}", event.cursor)),
        style.dim(plain(&event.time)),
        style.dim(cause)
    )
}

/// Who did it, where the words before do not say so.
fn cause(event: &Event) -> String {
    let detail = plain(event.cause.detail.lines().next().unwrap_or_default());
    let who = match event.cause.by {
        Author::User => "you",
        Author::File => "file",
        Author::Dependency => "dependency",
        Author::Probe => "probe",
        Author::Watch => "watch",
        Author::Schedule => "schedule",
        Author::Exit => "exit",
        Author::Signal => "signal",
        Author::Runner => "runner",
    };
    let says_enough = matches!(
        event.kind,
        EventKind::Exited { .. }
            | EventKind::Failed { .. }
            | EventKind::Restarting { .. }
            | EventKind::Warned { .. }
            | EventKind::Settled { .. }
            | EventKind::Unhealthy { .. }
            | EventKind::Ended { .. }
    );
    match says_enough {
        true => String::new(),
        false => format!("  [{who}: {detail}]"),
    }
}

fn what(kind: &EventKind, style: &Style) -> String {
    let first = |text: &str| plain(text.lines().next().unwrap_or_default()).into_owned();
    let after = |seconds: &f64| words::duration(*seconds);
    match kind {
        EventKind::Waiting { on } => style.pending(format!("waiting for {}", first(&on.join(", ")))),
        EventKind::Adopted { pid } => format!("adopted (pid {pid})"),
        EventKind::Started { pid } => format!("started (pid {pid})"),
        EventKind::Ready { after_s, probe } => {
            let by = probe
                .as_ref()
                .map_or(String::new(), |probe| format!(" ({})", first(probe)));
            style.good(format!("ready after {}{by}", after(after_s)))
        }
        EventKind::Unhealthy { message } => style.pending(format!("unhealthy: {}", first(message))),
        EventKind::Recovered => style.good("healthy again"),
        EventKind::Exited { exit, after_s } => format!("exited: {} after {}", words::exit(exit), after(after_s)),
        EventKind::Restarting {
            delay_s,
            attempt,
            failure,
        } => {
            let why = failure
                .as_ref()
                .map_or(String::new(), |failure| format!(": {}", first(&failure.message)));
            style.pending(format!("restarting in {} (attempt {attempt}){why}", after(delay_s)))
        }
        EventKind::Failed { failure } => style.bad(format!(
            "failed ({}): {}",
            failure.reason.as_str(),
            first(&failure.message)
        )),
        EventKind::Stopping => "stopping".to_owned(),
        EventKind::Stopped => "stopped".to_owned(),
        EventKind::Signalled { signal } => format!("{} sent", plain(signal)),
        EventKind::OutputFound { name, value } => format!("output {}: {}", plain(name), first(value)),
        EventKind::Preparing { step } => format!("preparing: {}", first(step)),
        EventKind::HookRan { hook } => format!("hook {} ran", plain(hook)),
        EventKind::HookFailed { message, .. } => style.bad(first(message)),
        EventKind::Reloaded => style.good("reloaded"),
        EventKind::ReloadFailed { message } => style.bad(format!("reload failed: {}", first(message))),
        EventKind::Completed { exit, after_s } => {
            style.good(format!("completed after {} ({})", after(after_s), words::exit(exit)))
        }
        EventKind::Warned { message } => style.pending(first(message)),
        EventKind::ConfigApplied {
            generation,
            restarts,
            lives,
            starts,
            stops,
            unchanged,
            ..
        } => format!(
            "definition {generation} applied: {restarts} restart, {lives} live, {starts} start, {stops} stop, {unchanged} unchanged"
        ),
        EventKind::ConfigRejected { message, .. } => style.bad(format!("definition rejected: {}", first(message))),
        EventKind::Settled { generation, failed } => {
            let how = if *failed { "with a failure" } else { "all is up" };
            format!("settled at definition {generation}: {how}")
        }
        EventKind::Ending { because } => format!("stopping everything: {}", first(because)),
        EventKind::Ended { code, because } => format!("ended with code {code}: {}", first(because)),
    }
}
