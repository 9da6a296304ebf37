//! `/metrics`: the state of the services as OpenMetrics text.

use std::fmt::Write;

use super::wire::{Exit, Ps, Service};
use crate::reconcile::StateName;

pub const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const STATES: [StateName; 10] = [
    StateName::Stopped,
    StateName::Waiting,
    StateName::Preparing,
    StateName::Starting,
    StateName::Ready,
    StateName::Unhealthy,
    StateName::Backoff,
    StateName::Stopping,
    StateName::Completed,
    StateName::Failed,
];

/// One family: its type, and what it says of a service.
type Family = (&'static str, &'static str, &'static str, fn(&Service) -> Option<f64>);

const FAMILIES: &[Family] = &[
    ("runner_service_up", "gauge", "1 while its process lives.", |service| {
        Some(f64::from(u8::from(service.pid.is_some())))
    }),
    (
        "runner_service_restarts",
        "gauge",
        "Restarts that nobody asked for since the last start that somebody did.",
        |service| Some(service.restarts.into()),
    ),
    (
        "runner_service_run",
        "gauge",
        "The number of its latest run.",
        |service| Some(service.run.into()),
    ),
    (
        "runner_service_memory_bytes",
        "gauge",
        "Resident memory of its tree.",
        |service| service.memory_bytes.map(|bytes| bytes as f64),
    ),
    (
        "runner_service_uptime_seconds",
        "gauge",
        "Since its program was executed.",
        |service| service.uptime_s,
    ),
    (
        "runner_service_last_exit_code",
        "gauge",
        "Of the latest run that has ended with one.",
        |service| match service.last_exit {
            Some(Exit::Code(code)) => Some(code.into()),
            _ => None,
        },
    ),
];

pub fn text(ps: &Ps) -> String {
    let mut out = String::new();
    let project = label(&ps.project);
    let _ = writeln!(out, "# TYPE runner_project_settled gauge");
    let _ = writeln!(
        out,
        "# HELP runner_project_settled 1 while no service is in transition."
    );
    let _ = writeln!(
        out,
        "runner_project_settled{{project=\"{project}\"}} {}",
        u8::from(ps.settled)
    );
    let _ = writeln!(out, "# TYPE runner_service_state stateset");
    let _ = writeln!(out, "# HELP runner_service_state The state as `ps` shows it.");
    for service in &ps.services {
        for state in STATES {
            let _ = writeln!(
                out,
                "runner_service_state{{project=\"{project}\",service=\"{}\",runner_service_state=\"{}\"}} {}",
                label(&service.name),
                state.as_str(),
                u8::from(service.state == state)
            );
        }
    }
    for (name, kind, help, value) in FAMILIES {
        let _ = writeln!(out, "# TYPE {name} {kind}");
        let _ = writeln!(out, "# HELP {name} {help}");
        for service in &ps.services {
            if let Some(value) = value(service) {
                let _ = writeln!(
                    out,
                    "{name}{{project=\"{project}\",service=\"{}\"}} {value}",
                    label(&service.name)
                );
            }
        }
    }
    out.push_str("# EOF\n");
    out
}

/// The value of a label: backslash, quote and line feed are escaped.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_the_end_is_said() {
        let ps = Ps {
            project: "a\"b\\c\nd".into(),
            generation: 1,
            settled: true,
            config_error: None,
            services: Vec::new(),
        };
        let text = text(&ps);
        assert!(
            text.contains("runner_project_settled{project=\"a\\\"b\\\\c\\nd\"} 1\n"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"));
    }
}
