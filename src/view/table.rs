//! Tables: `ps`, `plan`, and the block that describes a failure.

use unicode_width::UnicodeWidthStr;

use super::escape::plain;
use super::style::Style;
use super::words;
use crate::api::wire::{Exit, Failure, Ls, LsProject, Plan, PlanStep, ProjectState, Ps, Service, Step};
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
    if let Some(error) = &ps.config_error {
        let words = format!("services.toml is not valid and not applied: {}", first_line(error));
        out.push_str(&format!("\n{}\n", style.bad(words)));
    }
    out
}

/// `runner top`: who uses most comes first; who does not run is left out.
pub fn top(ps: &Ps, style: &Style) -> String {
    let mut services: Vec<&Service> = ps.services.iter().filter(|service| service.pid.is_some()).collect();
    let used = |service: &Service| (service.cpu_percent.unwrap_or(0.0), service.memory_bytes.unwrap_or(0));
    services.sort_by(|a, b| {
        let (a, b) = (used(a), used(b));
        b.0.total_cmp(&a.0).then(b.1.cmp(&a.1))
    });
    let cpu: f64 = services.iter().filter_map(|service| service.cpu_percent).sum();
    let memory: u64 = services.iter().filter_map(|service| service.memory_bytes).sum();
    let state = if ps.settled { "settled" } else { "in transition" };
    let mut out = format!(
        "{}: {} of {} run, {cpu:.1}% of a core, {}, {state}\n\n",
        plain(&ps.project),
        services.len(),
        words::count(ps.services.len() as u64, "service"),
        words::bytes(memory)
    );
    let head = ["NAME", "CPU", "MEM", "PID", "UP", "RESTARTS", "STATE"];
    let row = |service: &&Service| {
        let or_dash = |text: Option<String>| Cell::new(text.unwrap_or_else(|| "-".into()));
        vec![
            Cell::new(plain(&service.name)),
            or_dash(service.cpu_percent.map(|percent| format!("{percent:.1}%"))),
            or_dash(service.memory_bytes.map(words::bytes)),
            or_dash(service.pid.map(|pid| pid.to_string())),
            or_dash(service.uptime_s.map(words::duration)),
            Cell::new(service.restarts.to_string()),
            Cell {
                text: service.state.as_str().into(),
                state: Some(service.state),
            },
        ]
    };
    let rows: Vec<Vec<Cell>> = services.iter().map(row).collect();
    push_table(&mut out, &head, &rows, style);
    out
}

/// `runner ls`.
pub fn ls(ls: &Ls, style: &Style) -> String {
    let mut out = String::new();
    if ls.projects.is_empty() {
        return out;
    }
    let word = |state: ProjectState| match state {
        ProjectState::Up => "up",
        ProjectState::Moving => "in transition",
        ProjectState::Failed => "failed",
        ProjectState::Ending => "ending",
        ProjectState::Silent => "does not answer",
        ProjectState::Orphaned => "orphaned",
    };
    let row = |project: &LsProject| {
        vec![
            Cell::new(plain(&project.name)),
            Cell::new(word(project.state)),
            Cell::new(project.services.map_or("-".into(), |count| count.to_string())),
            Cell::new(project.pid.map_or("-".into(), |pid| pid.to_string())),
            Cell::new(plain(&project.folder)),
        ]
    };
    let rows: Vec<Vec<Cell>> = ls.projects.iter().map(row).collect();
    push_table(&mut out, &["NAME", "STATE", "SERVICES", "PID", "FOLDER"], &rows, style);
    out
}

fn push_table(out: &mut String, head: &[&str], rows: &[Vec<Cell>], style: &Style) {
    let widths = widths(head, rows);
    let heading: Vec<Cell> = head.iter().copied().map(Cell::new).collect();
    push_row(out, &heading, &widths, style, true);
    for row in rows {
        push_row(out, row, &widths, style, false);
    }
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
    let ports = service.ports.iter().map(one);
    // It says where the service is for others.
    let all: Vec<String> = ports
        .chain(service.url.as_deref().map(|url| plain(url).into_owned()))
        .collect();
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
        // That a stop ended it is no news.
        StateName::Stopped => exit.filter(|_| !is_end_of_a_stop(service)).into_iter().collect(),
        StateName::Preparing | StateName::Ready | StateName::Stopping | StateName::Orphaned => {
            told.into_iter().collect()
        }
    };
    parts.extend(next_run(service));
    if let Some(drift) = &service.drift {
        parts.push(first_line(drift));
    }
    parts.join(", ")
}

/// `next in 25m (at 14:00)`, where no run is going.
fn next_run(service: &Service) -> Option<String> {
    let between = matches!(
        service.state,
        StateName::Waiting | StateName::Completed | StateName::Failed | StateName::Stopped
    );
    let next = service.next_run.as_ref().filter(|_| between)?;
    Some(format!(
        "next in {} (at {})",
        words::duration(next.in_s),
        plain(&next.clock)
    ))
}

fn is_end_of_a_stop(service: &Service) -> bool {
    let asked = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"];
    match &service.last_exit {
        Some(Exit::Code(0)) => true,
        Some(Exit::Signal(signal)) => asked.contains(&signal.as_str()),
        _ => false,
    }
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
    trouble("failed", failure, indent, style)
}

/// The same by another word, for what may still come right.
pub(super) fn trouble(word: &str, failure: &Failure, indent: usize, style: &Style) -> String {
    let indent = " ".repeat(indent);
    let mut message = failure.message.lines();
    let mut lines = vec![style.bad(format_args!("{word}: {}", plain(message.next().unwrap_or_default())))];
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
    cut_to(text, width.max(10))
}

/// The same, however few.
pub(super) fn cut_to(text: &str, width: usize) -> String {
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
