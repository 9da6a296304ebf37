//! What came of `start`, `stop` and their like: a line for each service, and why what failed did.

use super::escape::plain;
use super::style::Style;
use super::{table, words};
use crate::api::wire::{Acted, Exit, Outcome, Service};
use crate::reconcile::StateName;

/// More lines than this are counted instead.
const MOST: usize = 20;

pub fn lines(acted: &Acted, verb: &str, style: &Style) -> String {
    let is_trouble = |service: &&Service| service.failure.is_some();
    let trouble: Vec<&Service> = acted.services.iter().filter(is_trouble).collect();
    let mut out = String::new();
    if acted.services.len() <= MOST || acted.outcome == Outcome::Failed && trouble.len() <= MOST {
        let shown: Vec<&Service> = match acted.services.len() <= MOST {
            true => acted.services.iter().collect(),
            false => trouble,
        };
        let name = shown.iter().map(|service| service.name.len()).max().unwrap_or(0);
        for service in shown {
            out.push_str(&line(service, verb, name, style));
        }
        return out;
    }
    let mut counts: Vec<(StateName, u64)> = Vec::new();
    for service in &acted.services {
        match counts.iter_mut().find(|(state, _)| *state == service.state) {
            Some((_, count)) => *count += 1,
            None => counts.push((service.state, 1)),
        }
    }
    for (state, count) in counts {
        let text = format!("{} {}", words::count(count, "service"), state.as_str());
        out.push_str(&style.state(state, text));
        out.push('\n');
    }
    out
}

fn line(service: &Service, verb: &str, width: usize, style: &Style) -> String {
    let start = format!("{:width$}  ", plain(&service.name));
    if let (Some(failure), StateName::Failed | StateName::Backoff) = (&service.failure, service.state) {
        let next = service.next_try_s.map(words::duration);
        let mut text = match service.state {
            StateName::Backoff => table::trouble("in back-off", failure, width + 2, style),
            _ => table::failure(failure, width + 2, style),
        };
        if let Some(next) = next {
            let again = style.dim(format!("it is tried again in {next}"));
            text.push_str(&format!("{:indent$}{again}\n", "", indent = width + 2));
        }
        return format!("{start}{text}");
    }
    let state = match (verb, service.state) {
        ("reload", StateName::Ready) => style.good("reloaded"),
        ("kill", _) => style.dim("signal sent"),
        (_, state) => style.state(state, state.as_str()),
    };
    let note = match (service.state, service.pid) {
        (StateName::Ready, Some(pid)) => format!("pid {pid}"),
        // How long ago is no news just after it.
        (StateName::Completed, _) => String::new(),
        (StateName::Stopped, _) => match &service.last_exit {
            Some(Exit::Signal(signal)) if verb == "stop" && signal == "SIGKILL" => {
                "it had to be killed (SIGKILL)".to_owned()
            }
            _ => String::new(),
        },
        _ => table::note(service),
    };
    let line = format!("{start}{state}  {}", style.dim(note));
    format!("{}\n", line.trim_end())
}
