//! pitchfork.

use toml::{Table, Value as Toml};

use super::Broken;
use super::draft::{Draft, Service, Value};
use super::words::{duration, literal, shell_line};

pub(super) fn draft(text: &str) -> Result<Draft, Broken> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error
            .span()
            .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        Broken {
            line,
            column: None,
            message: format!("this is no TOML: {}", error.message()),
        }
    })?;
    let mut draft = Draft::default();
    let daemons = table.get("daemons").and_then(Toml::as_table);
    for (name, daemon) in daemons.into_iter().flatten() {
        let Some(daemon) = daemon.as_table() else { continue };
        let line = line_of(text, name);
        let mut service = Service::new(name);
        match daemon.get("run").and_then(Toml::as_str) {
            Some(run) => service.set("command", shell_line(run)),
            None => {
                draft.note(line, name, "the daemon", "it has no `run`");
                continue;
            }
        }
        for (key, value) in daemon {
            take(&mut draft, &mut service, line, key, value);
        }
        draft.services.push(service);
    }
    for key in table.keys().filter(|key| *key != "daemons") {
        draft.note(0, "", key.clone(), "runner has no such setting");
    }
    match draft.services.is_empty() {
        true => Err(Broken::whole("it has no `[daemons.NAME]` with a `run`")),
        false => Ok(draft),
    }
}

fn line_of(text: &str, name: &str) -> usize {
    let heads = [format!("[daemons.{name}]"), format!("[daemons.\"{name}\"]")];
    text.lines()
        .position(|line| heads.iter().any(|head| line.trim_start().starts_with(head)))
        .map_or(0, |line| line + 1)
}

fn texts(value: &Toml) -> Vec<String> {
    match value {
        Toml::String(text) => vec![text.clone()],
        Toml::Array(items) => items
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}

fn take(draft: &mut Draft, service: &mut Service, line: usize, key: &str, value: &Toml) {
    let name = service.name.clone();
    let ready = |check: &str, value: Value| Value::Table(vec![(check.to_owned(), value)]);
    let text = match value {
        Toml::String(text) => text.clone(),
        Toml::Integer(number) => number.to_string(),
        Toml::Float(number) => number.to_string(),
        _ => String::new(),
    };
    match key {
        "run" => {}
        "dir" => service.set("working_dir", Value::Text(literal(&text))),
        "env" => {
            let entries = value.as_table().into_iter().flatten();
            let env = entries.filter_map(|(name, value)| Some((name.clone(), Value::Text(literal(value.as_str()?)))));
            service.set("env", Value::Table(env.collect()));
        }
        "retry" => match value {
            Toml::Boolean(true) => {}
            Toml::Boolean(false) | Toml::Integer(0) => service.set("restart", Value::text("no")),
            _ => service.set("max_restarts", Value::Bare(text)),
        },
        "depends" => {
            let needs = texts(value).into_iter().map(|on| (on, Value::text("healthy")));
            service.set("depends_on", Value::Table(needs.collect()));
        }
        "ready_output" => service.set("ready", ready("log", Value::Text(text))),
        "ready_http" => service.set("ready", ready("http", Value::Text(literal(&text)))),
        "ready_port" => {
            service.set("ports", Value::List(vec![Value::Bare(text)]));
        }
        "ready_cmd" => service.set("ready", ready("exec", shell_line(&text))),
        "ready_delay" => draft.note(
            line,
            &name,
            key,
            "waiting for a time proves nothing: give it a `ready` probe",
        ),
        "watch" => {
            let paths = Value::texts(texts(value));
            service.set("watch", Value::Table(vec![("paths".to_owned(), paths)]));
        }
        "cron" => {
            let schedule = value.get("schedule").and_then(Toml::as_str).unwrap_or(&text);
            service.set("type", Value::text("oneshot"));
            service.set("schedule", Value::text(schedule));
        }
        "auto" => {
            if !texts(value).iter().any(|word| word == "start") {
                service.set("autostart", Value::Bare("false".to_owned()));
            }
        }
        "stop_timeout" => {
            if let Some(timeout) = duration(&text) {
                service.set("stop_timeout", Value::Text(timeout));
            }
        }
        _ => draft.note(line, &name, key, "runner has no such key"),
    }
}
