//! Tables: `ps`, `plan`, and the block that describes a failure.

use unicode_width::UnicodeWidthStr;

use super::escape::plain;
use super::style::Style;
use super::words;
use crate::api::wire::{Failure, Plan, PlanStep, Ps, Service, Step};
use crate::reconcile::StateName;

/// Between two columns.
const GAP: &str = "  ";

/// One cell: what it says, and what it looks like.
struct Cell {
    text: String,
    state: Option<StateName>,
}

impl Cell {
    fn new(text: impl Into<String>) -> Cell {
        Cell {
            text: text.into(),
            state: None,
        }
    }
}

/// `runner ps`.
pub fn ps(ps: &Ps, style: &Style) -> String {
    if ps.services.is_empty() {
        return String::new();
    }
    let head = ["NAME", "STATE", "PID", "UP", "RESTARTS", "CPU", "MEM", "PORTS", "NOTE"];
    let mut rows: Vec<Vec<Cell>> = ps.services.iter().map(ps_row).collect();
    let mut widths = widths(&head, &rows);
    if let (true, Some(columns), Some(last)) = (style.terminal, style.width, widths.len().checked_sub(1)) {
        // The note is last and may be long: a line that wraps is no table. A file gets it whole.
        let before: usize = widths[..last].iter().map(|width| width + GAP.len()).sum();
        let room = usize::from(columns).saturating_sub(before).max(20);
        for row in &mut rows {
            row[last].text = cut(&row[last].text, room);
        }
        widths[last] = widths[last].min(room);
    }
    let mut out = String::new();
    let heading: Vec<Cell> = head.into_iter().map(Cell::new).collect();
    push_row(&mut out, &heading, &widths, style, true);
    for row in &rows {
        push_row(&mut out, row, &widths, style, false);
    }
    out
}

fn ps_row(service: &Service) -> Vec<Cell> {
    let or_dash = |text: Option<String>| Cell::new(text.unwrap_or_else(|| "-".into()));
    vec![
        Cell::new(plain(&service.name)),
        Cell {
            text: service.state.as_str().into(),
            state: Some(service.state),
        },
        or_dash(service.pid.map(|pid| pid.to_string())),
        or_dash(service.uptime_s.map(words::duration)),
        Cell::new(service.restarts.to_string()),
        or_dash(service.cpu_percent.map(|percent| format!("{percent:.1}%"))),
        or_dash(service.memory_bytes.map(words::bytes)),
        Cell::new(ports(service)),
        Cell::new(note(service)),
    ]
}

/// `http 3000, 5432`: a port of a list is called by its number, which is said once.
fn ports(service: &Service) -> String {
    let one = |(name, number): (&String, &u16)| match number.to_string() {
        number if *name == number => number,
        number => format!("{} {number}", plain(name)),
    };
    let all: Vec<String> = service.ports.iter().map(one).collect();
    if all.is_empty() { "-".into() } else { all.join(", ") }
}

/// Why it is as it is, in one line. Also what the block of `up` says.
pub fn note(service: &Service) -> String {
    let failure = service.failure.as_ref().map(|failure| first_line(&failure.message));
    let exit = service.last_exit.as_ref().map(words::exit);
    let told = service.note.as_deref().map(first_line);
    let mut parts: Vec<String> = match service.state {
        StateName::Waiting => {
            let blockers = service.waiting_on.iter().map(|blocker| first_line(&blocker.what));
            let all: Vec<String> = blockers.collect();
            (!all.is_empty())
                .then(|| format!("for {}", all.join(", ")))
                .into_iter()
                .collect()
        }
        StateName::Backoff => {
            let next = service
                .next_try_s
                .map(|seconds| format!("next try in {}", words::duration(seconds)));
            failure.or(exit).into_iter().chain(next).collect()
        }
        StateName::Completed => {
            let ago = format!("{} ago", words::duration(service.since_s));
            exit.into_iter().chain([ago]).collect()
        }
        StateName::Failed => {
            let next = service
                .next_try_s
                .map(|seconds| format!("next try in {}", words::duration(seconds)));
            failure.or(exit).into_iter().chain(next).collect()
        }
        StateName::Starting => {
            let tries = (service.probe_attempts > 1).then(|| words::count(service.probe_attempts.into(), "attempt"));
            told.into_iter().chain(tries).collect()
        }
        StateName::Unhealthy => told.or(failure).into_iter().collect(),
        StateName::Stopped => exit.into_iter().collect(),
        StateName::Preparing | StateName::Ready | StateName::Stopping | StateName::Orphaned => {
            told.into_iter().collect()
        }
    };
    if let Some(drift) = &service.drift {
        parts.push(format!("differs from the file: {}", first_line(drift)));
    }
    parts.join(", ")
}

fn first_line(text: &str) -> String {
    plain(text.lines().next().unwrap_or_default()).into_owned()
}

/// `runner plan`.
pub fn plan(plan: &Plan, style: &Style) -> String {
    steps(&plan.steps, "", style)
}

/// One line for each step, behind an indent.
pub(super) fn steps(steps: &[PlanStep], indent: &str, style: &Style) -> String {
    let rows: Vec<Vec<Cell>> = steps.iter().map(plan_row).collect();
    let widths = widths(&[], &rows);
    let mut out = String::new();
    for (row, step) in rows.iter().zip(steps) {
        let (sign, colored): (_, fn(&Style, &str) -> String) = match step.step {
            Step::Start => ("+", |style, sign| style.good(sign)),
            Step::Restart => ("~", |style, sign| style.pending(sign)),
            Step::Live => (">", |style, sign| style.good(sign)),
            Step::Stop => ("-", |style, sign| style.bad(sign)),
            Step::Keep => ("=", |style, sign| style.dim(sign)),
        };
        out.push_str(indent);
        out.push_str(&colored(style, sign));
        out.push(' ');
        push_row(&mut out, row, &widths, style, false);
    }
    out
}

fn plan_row(step: &PlanStep) -> Vec<Cell> {
    let word = match step.step {
        Step::Start => "start",
        Step::Restart => "restart",
        Step::Live => "live",
        Step::Stop => "stop",
        Step::Keep => "keep",
    };
    // The same key of many entries is said once for each.
    let because = first_line(&step.because);
    let changes = plain(&step.changes.join(", ")).into_owned();
    let why = match (changes.is_empty(), because.is_empty()) {
        (true, _) => because,
        (false, true) => changes,
        (false, false) => format!("{changes} ({because})"),
    };
    vec![Cell::new(plain(&step.service)), Cell::new(word), Cell::new(why)]
}

/// `failed: …`, who holds it, what to do and the last lines, each on a line of its own; all but the first indented.
pub fn failure(failure: &Failure, indent: usize, style: &Style) -> String {
    let indent = " ".repeat(indent);
    let mut message = failure.message.lines();
    let mut lines = vec![style.bad(format_args!("failed: {}", plain(message.next().unwrap_or_default())))];
    lines.extend(message.map(|line| format!("{indent}{}", plain(line))));
    if let Some(suggestion) = &failure.suggestion {
        lines.push(format!("{indent}{} {}", style.hint("try:"), plain(suggestion)));
    }
    if !failure.last_lines.is_empty() {
        lines.push(format!("{indent}{}", style.dim("last lines:")));
        lines.extend(
            failure
                .last_lines
                .iter()
                .map(|line| format!("{indent}  {}", plain(line))),
        );
    }
    lines.join("\n") + "\n"
}

/// Of each column but the last, which needs none.
fn widths(head: &[&str], rows: &[Vec<Cell>]) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len).saturating_sub(1);
    let of_column = |column: usize| {
        let cells = rows.iter().map(|row| row[column].text.width());
        cells
            .chain(head.get(column).map(|text| text.width()))
            .max()
            .unwrap_or(0)
    };
    (0..columns).map(of_column).collect()
}

/// Pads by what is seen, not by what colours add; cuts the last cell at the edge of a terminal.
fn push_row(out: &mut String, row: &[Cell], widths: &[usize], style: &Style, heading: bool) {
    let mut used = 0;
    let mut pending = 0;
    for (column, cell) in row.iter().enumerate() {
        let text = match (widths.get(column), style.width) {
            (None, Some(width)) if style.terminal => cut(&cell.text, usize::from(width).saturating_sub(used + pending)),
            _ => cell.text.clone(),
        };
        let seen = text.width();
        if seen > 0 {
            out.extend(std::iter::repeat_n(' ', pending));
            used += pending + seen;
            pending = 0;
            match (heading, cell.state) {
                (true, _) => out.push_str(&style.dim(text)),
                (false, Some(state)) => out.push_str(&style.state(state, text)),
                (false, None) => out.push_str(&text),
            }
        }
        if let Some(width) = widths.get(column) {
            pending += width - seen + GAP.len();
        }
    }
    out.push('\n');
}

/// At most this many columns; what is cut ends with `…`. Never less than a few: an unreadably narrow terminal wraps.
pub(super) fn cut(text: &str, width: usize) -> String {
    let width = width.max(10);
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for letter in text.chars() {
        if short.width() + 1 >= width {
            break;
        }
        short.push(letter);
    }
    short + "…"
}
