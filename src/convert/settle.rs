//! A draft is held against what `check` says until it is accepted: what is refused is taken out and reported.

use super::draft::{Draft, Value};
use super::node::Mark;
use super::report::Report;
use super::toml_text;

/// One error about a text, as of `check`.
#[derive(Clone, Debug)]
pub struct Complaint {
    pub service: Option<String>,
    /// Dotted, below the service.
    pub key: Option<String>,
    pub message: String,
}

/// Each round takes out all that was complained about, and what stood behind it may come up in the next.
const ROUNDS: usize = 50;

/// The text of a draft that `check` accepts.
///
/// # Errors
/// What it complains about can't be taken out, or nothing would be left.
pub fn settled(
    draft: &mut Draft,
    report: &mut Report,
    check: &mut dyn FnMut(&str) -> Result<(), Vec<Complaint>>,
) -> Result<String, Vec<Complaint>> {
    let mut complaints = Vec::new();
    for _ in 0..ROUNDS {
        let text = toml_text::write(draft);
        complaints = match check(&text) {
            Ok(()) => return Ok(text),
            Err(complaints) => complaints,
        };
        let mut is_changed = false;
        for complaint in &complaints {
            is_changed |= take_out(draft, report, complaint);
        }
        if !is_changed || draft.services.is_empty() {
            break;
        }
    }
    Err(complaints)
}

fn take_out(draft: &mut Draft, report: &mut Report, complaint: &Complaint) -> bool {
    let Some(name) = &complaint.service else {
        return false;
    };
    let Some(service) = draft.services.iter_mut().find(|service| service.name == *name) else {
        return false;
    };
    let at = service.at;
    let path = complaint.key.as_deref().unwrap_or_default();
    let (key, inner) = path.split_once('.').unwrap_or((path, ""));
    let why = format!("`check` refuses it: {}", complaint.message);
    if matches!(key, "" | "command") || service.get(key).is_none() {
        // Its key may have gone with an earlier complaint of this round.
        if key != "command" && !key.is_empty() {
            return false;
        }
        report.lost(at, name, "", why);
        draft.services.retain(|service| service.name != *name);
        without(draft, report, name, at);
        return true;
    }
    if matches!(key, "env" | "depends_on" | "limits" | "profiles") && service.forget(key, inner) {
        report.lost(at, name, path, why);
        return true;
    }
    service.lines.retain(|line| line.key != key);
    if key == "schedule" {
        // Without it the run would begin with `up`.
        service.set("autostart", Value::Bool(false));
    }
    report.lost(at, name, key, why);
    true
}

/// Nobody needs what is not there.
pub(super) fn without(draft: &mut Draft, report: &mut Report, gone: &str, at: Mark) {
    for service in &mut draft.services {
        if service.needs().contains(&gone) && service.forget("depends_on", gone) {
            report.lost(at, &service.name, "depends_on", format!("`{gone}` is not carried over"));
        }
    }
}
