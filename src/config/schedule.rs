//! When a oneshot runs: `schedule` and `run_at_start`.

use jiff::tz::TimeZone;

use super::draft::Draft;
use super::fields::Fields;
use super::node::Value;
use super::problem::{Place, Problem, Sink};
use super::value;
use crate::spec::{Kind, Schedule};

/// The checked schedule of a oneshot; what can't be meant is complained about. `failed`: it was already.
pub(super) fn schedule(
    fields: &Fields<'_>,
    name: &str,
    draft: &Draft,
    failed: bool,
    sink: &mut Sink,
) -> Option<Schedule> {
    if failed {
        return None;
    }
    let mut complain = |place: Place, key: &str, message: &str, hint: &str| {
        sink.push(Problem::error(place, message).suggest(hint).of(name, key));
    };
    let own = |key: &str| {
        let entry = fields.table.get(key)?;
        (!draft.defaults.contains(&entry.key)).then_some(entry)
    };
    let written = fields.node("schedule").filter(|_| draft.kind == Kind::Oneshot);
    let Some(node) = written else {
        if let (Some(entry), Kind::Oneshot) = (own("run_at_start"), draft.kind) {
            let message = "`run_at_start` without a `schedule`";
            complain(
                entry.key,
                "run_at_start",
                message,
                "a oneshot without one runs at `up` anyway: take it out",
            );
        }
        return None;
    };
    if let Some(entry) = own("essential").filter(|entry| matches!(entry.node.value, Value::Bool(true))) {
        let message = "`essential` beside `schedule`: it never ends for good, its next run is always due";
        complain(entry.key, "essential", message, "take one of them out");
    }
    let (line, tz) = match &node.value {
        Value::Table(table) => {
            let table = Fields { table };
            let Some(line) = table.node("cron") else {
                complain(
                    node.place,
                    "schedule",
                    "no `cron`",
                    "say when: `{ cron = \"30 2 * * *\" }`",
                );
                return None;
            };
            (line, table.node("tz"))
        }
        _ => (node, None),
    };
    let text = line.text()?;
    match value::cron(text).ok()? {
        value::When::Every(period) => {
            if let Some(tz) = tz {
                let message = "a period has no time zone";
                complain(tz.place, "schedule.tz", message, "take `tz` out, or write a cron line");
            }
            Some(Schedule::every(text, period, TimeZone::system()))
        }
        value::When::Cron(cron) => {
            let tz = tz.and_then(super::node::Node::text);
            let zone = tz.map_or_else(|| Some(TimeZone::system()), |tz| TimeZone::get(tz).ok())?;
            Some(Schedule::cron(text, *cron, tz.map(str::to_owned), zone))
        }
    }
}

/// Keys that only mean something for a oneshot.
pub(super) fn oneshot_only(fields: &Fields<'_>, name: &str, draft: &Draft, sink: &mut Sink) {
    if draft.kind == Kind::Oneshot {
        return;
    }
    for key in ["timeout", "schedule", "run_at_start"] {
        let entry = fields.table.get(key);
        // In `[defaults]` it is meant for those that it fits.
        if let Some(entry) = entry.filter(|entry| !draft.defaults.contains(&entry.key)) {
            let problem = Problem::error(entry.key, format!("`{key}` is for a oneshot"));
            sink.push(problem.suggest("add `type = \"oneshot\"`").of(name, key));
        }
    }
}
