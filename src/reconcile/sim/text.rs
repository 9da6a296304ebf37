//! Facts and actions in one line each, for traces and golden files.

use std::fmt::Write as _;

use crate::reconcile::action::Action;
use crate::reconcile::fact::{Fact, Incarnation};

pub fn words(id: Incarnation) -> String {
    format!("#{} run {}", id.service.0, id.run)
}

/// A fact in one line.
pub fn told(fact: &Fact) -> String {
    match fact {
        Fact::Configured {
            project,
            exit,
            exit_code_from,
            ..
        } => {
            let mut text = format!("Configured exit {exit:?} from {exit_code_from:?}");
            for service in project.services.values() {
                let on: Vec<String> = service
                    .depends_on
                    .iter()
                    .map(|(name, on)| {
                        let (restart, optional) = (on.restart, !on.required);
                        format!(
                            "{name} {:?}{}{}",
                            on.condition,
                            flag(restart, " restart"),
                            flag(optional, " optional")
                        )
                    })
                    .collect();
                let _ = write!(
                    text,
                    "\n    {} {:?} restart {:?}{}{}{} ports {:?} on [{}]",
                    service.name,
                    service.kind,
                    service.restart,
                    flag(service.ready.is_some(), " ready"),
                    flag(service.health.is_some(), " health"),
                    flag(service.essential, " essential"),
                    service.ports.values().map(|port| port.number).collect::<Vec<_>>(),
                    on.join(", ")
                );
            }
            text
        }
        other => format!("{other:?}"),
    }
}

fn flag(set: bool, word: &str) -> &str {
    if set { word } else { "" }
}

/// An action in one line.
pub fn shown(action: &Action) -> String {
    match action {
        Action::Adopt { id, service, .. } => format!("Adopt {} ({})", words(*id), service.name),
        Action::Spawn {
            id, service, elsewhere, ..
        } => {
            let where_to = if *elsewhere { ", elsewhere" } else { "" };
            format!("Spawn {} ({}{where_to})", words(*id), service.name)
        }
        Action::Evict { id, ladder } => {
            let rungs: Vec<_> = ladder
                .iter()
                .map(|rung| format!("{} {:?}", rung.signal, rung.wait))
                .collect();
            format!("Evict for {} ({})", words(*id), rungs.join(", "))
        }
        Action::CancelEviction { id } => format!("CancelEviction for {}", words(*id)),
        Action::Renumber { service, port } => format!("Renumber {port} of {service}"),
        Action::Prepare { id, .. } => format!("Prepare {}", words(*id)),
        Action::CancelPrepare { id } => format!("CancelPrepare of {}", words(*id)),
        Action::Rewrite { id, .. } => format!("Rewrite the files of {}", words(*id)),
        Action::Probe { id, kind, attempt, .. } => format!("Probe {kind:?} {attempt} of {}", words(*id)),
        Action::ProbeGate { id, attempt, .. } => format!("ProbeGate {attempt} of {}", words(*id)),
        Action::Run {
            id, purpose, timeout, ..
        } => {
            let what = format!("{purpose:?}").to_lowercase();
            format!("Run the {what} command of {} ({timeout:?})", words(*id))
        }
        Action::Deliver { id, signal } => format!("Deliver {signal} to {}", words(*id)),
        Action::Adjust { id, .. } => format!("Adjust {}", words(*id)),
        Action::Publish(event) => {
            let name = event.service.as_ref().map_or("project", |name| name.as_str());
            format!(
                "{name} run {}: {:?} ({:?}: {})",
                event.run, event.kind, event.cause.by, event.cause.detail
            )
        }
        Action::Signal { id, signal, scope } => format!("Signal {signal} to {} ({scope:?})", words(*id)),
        Action::Kill { id, scope } => format!("Kill {} ({scope:?})", words(*id)),
        Action::Release { id } => format!("Release {}", words(*id)),
        Action::CancelProbes { id } => format!("CancelProbes of {}", words(*id)),
        Action::CancelRun { id, .. } => format!("CancelRun of {}", words(*id)),
        Action::End(ending) => format!("{ending:?}"),
    }
}
