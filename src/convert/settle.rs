//! A draft is held against what `check` says until it is accepted: what is refused is taken out and reported.

use super::draft::{Draft, Value};
use super::node::Mark;
use super::report::{Report, Weight};
use super::toml_text::{self, Written};

/// One error about a text, as of `check`.
#[derive(Clone, Debug)]
pub struct Complaint {
    pub service: Option<String>,
    /// Dotted, below the service.
    pub key: Option<String>,
    pub message: String,
    /// The byte of the text that it is about; `None`: it is about another file.
    pub at: Option<usize>,
    /// The file that it is about, as it is named to the user.
    pub file: String,
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
    unnamed(draft, report);
    let mut complaints = Vec::new();
    for _ in 0..ROUNDS {
        let (text, written) = toml_text::write(draft);
        complaints = match check(&text) {
            Ok(()) => {
                tell(draft, report);
                return Ok(toml_text::write(draft).0);
            }
            Err(complaints) => complaints,
        };
        let mut is_changed = false;
        for complaint in &complaints {
            is_changed |= take_out(draft, report, complaint, &written);
        }
        if !is_changed || draft.services.is_empty() {
            break;
        }
    }
    Err(complaints)
}

/// Names of variables that no environment can hold.
fn unnamed(draft: &mut Draft, report: &mut Report) {
    let is_name = |name: &str| !name.is_empty() && !name.contains(['\0', '=']);
    let mut kept = |entries: &mut Vec<(String, Value)>, service: &str, at: Mark| {
        entries.retain(|(name, _)| {
            if !is_name(name) {
                report.lost(at, service, name, "this is no name of a variable");
            }
            is_name(name)
        });
    };
    kept(&mut draft.env, "", Mark::NONE);
    for service in &mut draft.services {
        let (name, at) = (service.name.clone(), service.at);
        for line in service.lines.iter_mut().filter(|line| line.key == "env") {
            if let Value::Table(entries) = &mut line.value {
                kept(entries, &name, at);
            }
        }
    }
}

/// What is lost stands above its service as well: whoever reads the file later has no report.
fn tell(draft: &mut Draft, report: &Report) {
    for remark in report.remarks.iter().filter(|remark| remark.weight == Weight::Lost) {
        let Some(name) = &remark.service else { continue };
        let Some(service) = draft.services.iter_mut().find(|service| service.name == *name) else {
            continue;
        };
        let key = remark.key.as_ref().map_or(String::new(), |key| format!(" {key}:"));
        service
            .comments
            .push(format!("Not carried over:{key} {}", remark.message));
    }
}

/// What a complaint is about, in the draft.
fn subject(draft: &Draft, complaint: &Complaint, written: &[Written]) -> Option<Written> {
    let nearest = complaint
        .at
        .and_then(|at| written.iter().rev().find(|written| written.at <= at));
    let Some(service) = &complaint.service else {
        return nearest.cloned().or_else(|| names_env_file(draft, &complaint.file));
    };
    let path = complaint.key.as_deref().unwrap_or_default();
    let (key, entry) = path.split_once('.').unwrap_or((path, ""));
    let entry = Some(entry.to_owned()).filter(|entry| !entry.is_empty());
    let nearest = nearest.filter(|near| near.service.as_ref() == Some(service) && near.key == key);
    Some(Written {
        at: 0,
        service: Some(service.clone()),
        key: key.to_owned(),
        entry: entry.or_else(|| nearest.and_then(|near| near.entry.clone())),
    })
}

/// The service whose `env_file` is the broken one.
fn names_env_file(draft: &Draft, file: &str) -> Option<Written> {
    let is_it = |value: &Value| matches!(value, Value::Text(path) | Value::Template(path) if path.trim_start_matches("./") == file);
    let names_it = |value: &Value| match value {
        Value::List(items) => items.iter().any(is_it),
        Value::Table(entries) => entries.iter().any(|(_, value)| is_it(value)),
        one => is_it(one),
    };
    let service = draft
        .services
        .iter()
        .find(|service| service.get("env_file").is_some_and(names_it))?;
    Some(Written {
        at: 0,
        service: Some(service.name.clone()),
        key: "env_file".to_owned(),
        entry: None,
    })
}

fn take_out(draft: &mut Draft, report: &mut Report, complaint: &Complaint, written: &[Written]) -> bool {
    let Some(Written {
        service, key, entry, ..
    }) = subject(draft, complaint, written)
    else {
        return false;
    };
    let why = format!("`check` refuses it: {}", complaint.message);
    let Some(name) = &service else {
        let name = entry.unwrap_or_default();
        let before = draft.env.len() + draft.project.len();
        match key.as_str() {
            "env" => draft.env.retain(|(known, _)| *known != name),
            _ => draft.project.retain(|line| line.key != name),
        }
        let is_gone = draft.env.len() + draft.project.len() < before;
        if is_gone {
            report.lost(Mark::NONE, "", &format!("{key}.{name}"), why);
        }
        return is_gone;
    };
    let Some(service) = draft.services.iter_mut().find(|service| service.name == *name) else {
        return false;
    };
    let at = service.at;
    if key.is_empty() || key == "command" {
        report.lost(at, name, "", why);
        draft.services.retain(|service| service.name != *name);
        without(draft, report, name, at);
        return true;
    }
    if service.get(&key).is_none() {
        // It has gone with an earlier complaint of this round.
        return false;
    }
    if let Some(entry) = entry.filter(|_| matches!(key.as_str(), "env" | "depends_on" | "limits" | "profiles"))
        && service.forget(&key, &entry)
    {
        report.lost(at, name, &format!("{key}.{entry}"), why);
        return true;
    }
    service.lines.retain(|line| line.key != key);
    if key == "schedule" {
        // Without it the run would begin with `up`.
        service.set("autostart", Value::Bool(false));
    }
    report.lost(at, name, &key, why);
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
