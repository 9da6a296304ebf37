//! The block that says, while somebody waits, what is not there yet, since when and what for.

use super::escape::plain;
use super::style::Style;
use super::{table, words};
use crate::api::wire::{Ps, Service};
use crate::reconcile::StateName;

/// More rows are counted.
const ROWS: usize = 12;

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
    let mut lines = Vec::new();
    let mut rows = services.to_vec();
    if rows.len() > ROWS {
        let is_done = |service: &&&Service| matches!(service.state, Ready | Completed | Stopped);
        let (done, all) = (services.iter().filter(is_done).count(), services.len());
        let word = match moving.iter().all(|service| service.state == Stopping) {
            true => "stopped",
            false => "ready or completed",
        };
        lines.push(format!("  {}", style.dim(format!("{done} of {all} are {word}"))));
        rows = moving;
    }
    let hidden = rows.len().saturating_sub(ROWS);
    rows.truncate(ROWS);
    let name = rows.iter().map(|service| service.name.len()).max().unwrap_or(0);
    let states = rows.iter().map(|service| service.state.as_str().len());
    let state = states.max().unwrap_or(0);
    lines.extend(rows.iter().map(|service| row(service, name, state, style)));
    if hidden > 0 {
        lines.push(format!("  {}", style.dim(format!("… and {hidden} more"))));
    }
    lines
}

fn row(service: &Service, name: usize, state: usize, style: &Style) -> String {
    let note = match (service.state, table::note(service)) {
        // How long ago it was done is what the column before says.
        (StateName::Completed, _) => String::new(),
        (StateName::Starting, note) if !note.is_empty() => format!("waiting for {note}"),
        (_, note) => note,
    };
    let since = words::duration((service.since_s * 10.0).round() / 10.0);
    let start = format!("  {:name$}  ", plain(&service.name));
    let padded = format!("{:state$}", service.state.as_str());
    let room = style
        .width
        .map(|width| usize::from(width).saturating_sub(start.len() + state + 10));
    let note = room.map_or(note.clone(), |room| table::cut(&note, room));
    let row = format!(
        "{start}{}  {since:<6}  {}",
        style.state(service.state, padded),
        style.dim(note)
    );
    row.trim_end().to_owned()
}
