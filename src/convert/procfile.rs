//! A Procfile: `name: line for the shell`, and the `.env` beside it.

use super::draft::{Draft, Service, Value};
use super::names::Names;
use super::node::Mark;
use super::report::Report;
use super::words;
use super::{Fault, Input, MOST_SERVICES};
use crate::config::env_file;

/// Of the first process, where no `.env` says another; each further one is given a hundred more.
const FIRST_PORT: u16 = 5000;
const STEP: u16 = 100;
/// What Heroku runs before a release, not beside it.
const RELEASE: &str = "release";

/// Name and line.
pub(super) fn entry(line: &str) -> Option<(&str, &str)> {
    let (name, command) = line.split_once(':')?;
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let (name, command) = (name.trim(), command.trim());
    (!name.is_empty() && name.chars().all(is_name) && !command.is_empty()).then_some((name, command))
}

pub(super) fn convert(input: &Input, report: &mut Report) -> Result<Draft, Fault> {
    let mut draft = Draft::default();
    let mut names = Names::default();
    let mut seen: Vec<(&str, u32)> = Vec::new();
    let mut without_port = Vec::new();
    let first_port = first_port(input, report);
    let mut index = 0_u16;
    for (number, raw) in input.text.lines().enumerate() {
        let line = raw.trim();
        let at = Mark::new(number + 1, raw.len() - raw.trim_start().len() + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, command)) = entry(line) else {
            let fault = Fault::new(at, "a line of a Procfile is `name: command`");
            return Err(fault.hint("if this is another kind of file, say which: `runner import FILE --kind compose`"));
        };
        if let Some((_, first)) = seen.iter().find(|(known, _)| *known == name) {
            return Err(Fault::new(
                at,
                format!("`{name}` stands here twice (first in line {first})"),
            ));
        }
        if seen.len() >= MOST_SERVICES {
            return Err(Fault::new(at, format!("more than {MOST_SERVICES} services")));
        }
        seen.push((name, at.line));
        let port = first_port.checked_add(STEP.saturating_mul(index)).unwrap_or(first_port);
        index = index.saturating_add(1);
        let mut service = Service::new(names.take(name, at, report), at);
        service.set("command", Value::text(command));
        if !input.base.is_empty() {
            service.set("working_dir", Value::text(words::path(input.base, ".")));
        }
        if name == RELEASE {
            service.say("type", Value::text("oneshot"), "a task: it is expected to end");
            service.say("autostart", Value::Bool(false), "`runner start release` runs it");
            report.changed(
                at,
                &service.name,
                "",
                "it runs only when started by name, as a release does",
            );
        }
        if uses_port(command) {
            service.say(
                "ports",
                Value::List(vec![Value::Number(port.into())]),
                "becomes PORT; it is ready when this port accepts connections",
            );
        } else if name == "web" {
            service.env("PORT", Value::text(port.to_string()));
            report.changed(
                at,
                &service.name,
                "PORT",
                format!(
                    "as its line does not name $PORT, it is only given PORT={port}; write `ports` if it listens there"
                ),
            );
        } else if name != RELEASE {
            without_port.push(service.name.clone());
        }
        draft.services.push(service);
    }
    if !without_port.is_empty() {
        let names = without_port.join(", ");
        let verb = if without_port.len() == 1 { "is" } else { "are" };
        let message = format!("{names} {verb} not given a PORT, as foreman would: no line of them names $PORT");
        report.note(Mark::NONE, "", message);
    }
    Ok(draft)
}

/// `$PORT` or `${PORT...}`.
fn uses_port(command: &str) -> bool {
    command.match_indices("PORT").any(|(at, word)| {
        let after = command[at + word.len()..].chars().next();
        let is_whole = !after.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        is_whole && (command[..at].ends_with('$') || command[..at].ends_with("${"))
    })
}

fn first_port(input: &Input, report: &mut Report) -> u16 {
    let Some(text) = input.dotenv else { return FIRST_PORT };
    let Some(port) = env_file(text).get("PORT").cloned() else {
        return FIRST_PORT;
    };
    match port.parse() {
        Ok(0) | Err(_) => {
            report.lost(
                Mark::NONE,
                "",
                "PORT",
                format!("PORT in .env is no port; the first is {FIRST_PORT}"),
            );
            FIRST_PORT
        }
        Ok(port) => port,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_used_where_it_is_named_whole() {
        for (command, uses) in [
            ("x -p $PORT", true),
            ("x ${PORT:-1}", true),
            ("x $PORTS", false),
            ("x PORT", false),
            ("x $PORT_A", false),
            ("x \"$PORT\"", true),
        ] {
            assert_eq!(uses_port(command), uses, "{command}");
        }
    }
}
