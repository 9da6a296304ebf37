//! The block that says, while somebody waits, what is not there yet, since when and what for.

use super::escape::plain;
use super::style::Style;
use super::{table, words};
use crate::api::wire::{Ps, Service};
use crate::reconcile::StateName;

/// More rows are counted.
const ROWS: usize = 12;
/// What is drawn around the rows: an empty line, two that count, and the cursor's.
const AROUND: usize = 4;
/// A name is not cut to less, nor is a note.
const LEAST: usize = 4;
/// Before a name and between the columns; and how long it takes to say since when.
const GAP: usize = 2;
const SINCE: usize = 6;

/// Of everything that is wanted; empty when there is nothing to wait for.
pub fn wanted(ps: &Ps, style: &Style) -> Vec<String> {
    let wanted: Vec<&Service> = ps.services.iter().filter(|service| service.wanted).collect();
    of(&wanted, style)
}

/// Of these; empty when none of them is on its way.
pub fn of(services: &[&Service], style: &Style) -> Vec<String> {
    use StateName::*;
    let is_moving = |service: &&&Service| {
        matches!(
            service.state,
            Waiting | Preparing | Starting | Unhealthy | Backoff | Stopping
        )
    };
    let moving: Vec<&Service> = services.iter().filter(is_moving).copied().collect();
    if moving.is_empty() {
        return Vec::new();
    }
    let most = style
        .height
        .map_or(ROWS, |height| usize::from(height).saturating_sub(AROUND).clamp(1, ROWS));
    let mut lines = Vec::new();
    let mut rows = services.to_vec();
    if rows.len() > most {
        let is_done = |service: &&&Service| matches!(service.state, Ready | Completed | Stopped);
        let (done, all) = (services.iter().filter(is_done).count(), services.len());
        let word = match moving.iter().all(|service| service.state == Stopping) {
            true => "stopped",
            false => "ready or completed",
        };
        let count = format!("{done} of {all} are {word}");
        lines.push(format!("  {}", style.dim(cut(&count, GAP, style))));
        rows = moving;
    }
    let hidden = rows.len().saturating_sub(most);
    rows.truncate(most);
    let states = rows.iter().map(|service| service.state.as_str().len());
    let state = states.max().unwrap_or(0);
    let names = rows.iter().map(|service| service.name.len());
    let room = style.width.map(|width| {
        let taken = 3 * GAP + state + SINCE;
        usize::from(width).saturating_sub(taken).max(LEAST)
    });
    let name = names.max().unwrap_or(0).min(room.unwrap_or(usize::MAX));
    lines.extend(rows.iter().map(|service| row(service, name, state, style)));
    if hidden > 0 {
        lines.push(format!("  {}", style.dim(format!("… and {hidden} more"))));
    }
    lines
}

/// To what is left of the line; nothing where that is too little to be read.
fn cut(text: &str, before: usize, style: &Style) -> String {
    match style.width.map(|width| usize::from(width).saturating_sub(before)) {
        None => text.to_owned(),
        Some(room) if room < LEAST => String::new(),
        Some(room) => table::cut_to(text, room),
    }
}

fn row(service: &Service, name: usize, state: usize, style: &Style) -> String {
    let note = match (service.state, table::note(service)) {
        // How long ago it was done is what the column before says.
        (StateName::Completed, _) => String::new(),
        (StateName::Starting, note) if !note.is_empty() => format!("waiting for {note}"),
        (_, note) => note,
    };
    let since = words::duration((service.since_s * 10.0).round() / 10.0);
    let called = table::cut_to(&plain(&service.name), name);
    let padded = format!("{:state$}", service.state.as_str());
    let before = 4 * GAP + name + state + SINCE.max(since.len());
    let row = format!(
        "  {called:name$}  {}  {since:<SINCE$}  {}",
        style.state(service.state, padded),
        style.dim(cut(&note, before, style))
    );
    row.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    fn service(number: u32) -> Service {
        let service = serde_json::json!({
            "name": format!("a-service-with-a-long-name-{number}"), "state": "starting", "pid": null, "started_at": null, "uptime_s": null,
            "restarts": 0, "run": 1, "ports": {}, "url": null, "cpu_percent": null, "memory_bytes": null, "last_exit": null,
            "failure": null, "drift": null, "adopted": false, "waiting_on": [], "since_s": 75.0, "wanted": true, "probe_attempts": 12,
            "note": "exec: a readiness probe whose words are long (exited with code 1)",
        });
        serde_json::from_value(service).expect("a service")
    }

    #[test]
    fn a_block_fits_into_whatever_terminal_there_is() {
        let services: Vec<Service> = (0..20).map(service).collect();
        let services: Vec<&Service> = services.iter().collect();
        for width in [30, 40, 60, 80, 200] {
            for height in [3, 5, 9, 24, 100] {
                let style = Style {
                    width: Some(width),
                    height: Some(height),
                    ..Style::PLAIN
                };
                let lines = of(&services, &style);
                assert!(lines.len() + 2 <= usize::from(height).max(5), "{height}: {lines:#?}");
                for line in &lines {
                    assert!(line.width() <= usize::from(width), "{width}: {line:?}");
                }
                assert!(lines.iter().any(|line| line.contains("starting")), "{lines:#?}");
            }
        }
    }
}
