//! What became of what was read, in words and as JSON.

use std::path::Path;

use crate::api::wire::{ImportRemark, Imported, ImportedService, RemarkKind};
use crate::cli::outcome::Outcome;
use crate::config::{Problems, Severity};
use crate::convert::{Complaint, Draft, Fault, Kind, Mark, Remark, Report, Weight};
use crate::view::escape;
use crate::view::style::Style;

/// The errors of a text that can be taken out of it, or not.
pub fn complaints(problems: &Problems, text: &Path) -> Vec<Complaint> {
    let errors = problems
        .list
        .iter()
        .filter(|problem| problem.severity == Severity::Error);
    let complaints = errors.map(|problem| Complaint {
        service: problem.service.clone(),
        key: problem.key.clone(),
        message: problem.message.clone(),
        at: (problems.source(problem.place).path == text).then_some(problem.place.start),
        file: problems.source(problem.place).shown.clone(),
    });
    complaints.collect()
}

/// Which services have come of it, with which keys.
pub fn carried(draft: &Draft, target: &str, from: Option<&str>, kind: Option<Kind>, style: &Style) -> String {
    let count = draft.names().len();
    let plural = if count == 1 { "" } else { "s" };
    let from = match (from, kind) {
        (Some(from), Some(kind)) => format!(" from {from} ({})", kind.title()),
        (Some(from), None) => format!(" from {from}"),
        (None, _) => String::new(),
    };
    let mut out = format!("{} {target}: {count} service{plural}{from}\n", style.good("made"));
    for (name, keys) in draft.keys() {
        out.push_str(&format!("  {name}: {}\n", keys.join(", ")));
    }
    escaped(&out, style)
}

/// What is not as it was, by its weight.
pub fn words(report: &Report, style: &Style) -> String {
    let mut out = String::new();
    for (weight, title) in [
        (Weight::Lost, "not carried over:"),
        (Weight::Changed, "carried over with a difference:"),
        (Weight::Note, "to know:"),
    ] {
        let remarks: Vec<&Remark> = report.remarks.iter().filter(|remark| remark.weight == weight).collect();
        if !remarks.is_empty() {
            out.push_str(&format!("{}\n", style.hint(title)));
        }
        for remark in remarks {
            out.push_str(&format!("  {}\n", line(remark)));
        }
    }
    escaped(&out, style)
}

fn line(remark: &Remark) -> String {
    let place = place(&remark.file, remark.at);
    let what = match (&remark.service, &remark.key) {
        (Some(service), Some(key)) => format!("{service}.{key}: "),
        (Some(word), None) | (None, Some(word)) => format!("{word}: "),
        (None, None) => String::new(),
    };
    let place = if place.is_empty() { place } else { format!("{place}: ") };
    format!("{place}{what}{}", remark.message)
}

fn place(file: &str, at: Mark) -> String {
    match at {
        Mark::NONE => file.to_owned(),
        Mark { line, column } => format!("{file}:{line}:{column}"),
    }
}

/// Names and keys come from a file of somebody else.
fn escaped(text: &str, style: &Style) -> String {
    let lines = text.split('\n').map(|line| escape::line(line, style.color));
    lines.collect::<Vec<_>>().join("\n")
}

/// A file of which nothing can be made.
pub fn refused(shown: &str, fault: &Fault, report: &Report) -> Outcome {
    let mut message = format!("{}: {}", place(shown, fault.at), fault.message);
    for remark in report
        .remarks
        .iter()
        .filter(|remark| remark.weight == Weight::Lost)
        .take(20)
    {
        message.push_str(&format!("\n  {}", line(remark)));
    }
    Outcome::Usage {
        message,
        suggestion: fault.hint.clone(),
    }
}

pub fn json(draft: &Draft, report: &Report, from: Option<String>, kind: Option<Kind>, written: &Path) -> Imported {
    let number = |number: u32| (number > 0).then_some(number);
    let services = draft.keys().map(|(name, keys)| ImportedService {
        name: name.to_owned(),
        keys: keys.into_iter().map(str::to_owned).collect(),
    });
    let remarks = report.remarks.iter().map(|remark| ImportRemark {
        kind: match remark.weight {
            Weight::Lost => RemarkKind::Lost,
            Weight::Changed => RemarkKind::Changed,
            Weight::Note => RemarkKind::Note,
        },
        file: remark.file.clone(),
        line: number(remark.at.line),
        column: number(remark.at.column),
        service: remark.service.clone(),
        key: remark.key.clone(),
        message: remark.message.clone(),
    });
    Imported {
        from,
        kind: kind.map(|kind| kind.word().to_owned()),
        written: written.display().to_string(),
        services: services.collect(),
        remarks: remarks.collect(),
    }
}
