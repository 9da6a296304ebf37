//! Procfile: a name and a line for the shell.

use super::Broken;
use super::draft::{Draft, Service, Value};
use super::words::shell_line;

/// As foreman numbers them: the first process has 5000, the next 5100.
const FIRST_PORT: usize = 5000;
const PORT_STEP: usize = 100;

pub(super) fn draft(text: &str) -> Result<Draft, Broken> {
    let mut draft = Draft::default();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, command)) = line.split_once(':') else {
            return Err(Broken::at(number, "expected `NAME: COMMAND`"));
        };
        let (name, command) = (name.trim(), command.trim());
        if name.is_empty() || command.is_empty() {
            return Err(Broken::at(number, "expected `NAME: COMMAND`"));
        }
        if draft.services.iter().any(|service| service.name == name) {
            draft.note(number, name, "a second line of this name", "the first one counts");
            continue;
        }
        let mut service = Service::new(name);
        service.set("command", shell_line(command));
        if command.contains("$PORT") || command.contains("${PORT") {
            let port = FIRST_PORT + PORT_STEP * draft.services.len().min(500);
            service
                .comments
                .push("$PORT is the first of its ports, numbered as foreman does".to_owned());
            service.set("ports", Value::List(vec![Value::Bare(port.to_string())]));
        }
        if name == "release" {
            service.comments.push(
                "Run once before the others, as `release` is on a deploy; nothing waits for it by itself".to_owned(),
            );
            service.set("type", Value::text("oneshot"));
        }
        draft.services.push(service);
    }
    if draft.services.is_empty() {
        return Err(Broken::whole("it names no process"));
    }
    draft
        .comments
        .push("Variables of `.env` beside this file are read by themselves.".to_owned());
    Ok(draft)
}
