//! supervisord.

use super::Broken;
use super::draft::{Draft, Service, Value};
use super::ini::{self, Entry, Section};
use super::words::{duration, literal, signal, split_line};

pub(super) fn draft(text: &str) -> Result<Draft, Broken> {
    let sections = ini::parse(text)?;
    let mut draft = Draft::default();
    for section in &sections {
        match section.name.split_once(':') {
            Some(("program" | "fcgi-program", name)) => program(&mut draft, section, name.trim()),
            Some(("group", name)) => group(&mut draft, section, name.trim(), &sections),
            Some((kind, name)) => draft.note(section.line, name.trim(), kind, "runner has no such thing"),
            None => match section.name.as_str() {
                "supervisord" | "supervisorctl" | "unix_http_server" | "inet_http_server" | "rpcinterface" => {}
                "include" => draft.note(section.line, "", "include", "take those files over one by one"),
                name => draft.note(section.line, "", name.to_owned(), "runner has no such section"),
            },
        }
    }
    match draft.services.is_empty() {
        true => Err(Broken::whole("it has no `[program:NAME]` with a `command`")),
        false => Ok(draft),
    }
}

fn program(draft: &mut Draft, section: &Section, name: &str) {
    let mut service = Service::new(name);
    let find = |key: &str| section.keys.iter().rfind(|entry| entry.key == key);
    let Some(command) = find("command") else {
        draft.note(section.line, name, "the program", "it has no `command`");
        return;
    };
    let count = find("numprocs")
        .and_then(|entry| entry.value.parse::<u32>().ok())
        .unwrap_or(1);
    let Some(line) = expanded(draft, command, name) else {
        return;
    };
    service.set("command", with_environment(split_line(&line)));
    // Supervisord's own defaults, where they are not runner's.
    service.set("restart", Value::text("on-failure"));
    for entry in &section.keys {
        key(draft, &mut service, entry);
    }
    if count > 1 {
        draft.note(
            section.line,
            name,
            format!("numprocs = {count}"),
            "set `replicas` by hand: each needs a port of its own (`\"auto\"`), or a shared one",
        );
    }
    draft.services.push(service);
}

/// Stands around a variable until the line has been split; no line of a file that was read holds it.
const MARK: char = '\u{1}';

/// The variables as templates.
fn with_environment(value: Value) -> Value {
    match value {
        Value::Text(text) => Value::Text(
            text.split(MARK)
                .enumerate()
                .map(|(index, part)| match index % 2 {
                    0 => part.to_owned(),
                    _ => format!("{{{{ env.{part} | default(\"\") }}}}"),
                })
                .collect(),
        ),
        Value::List(items) => Value::List(items.into_iter().map(with_environment).collect()),
        other => other,
    }
}

fn key(draft: &mut Draft, service: &mut Service, entry: &Entry) {
    let name = service.name.clone();
    let Some(value) = expanded(draft, entry, &name) else {
        return;
    };
    let is_true = matches!(value.as_str(), "true" | "yes" | "on" | "1");
    let note = |draft: &mut Draft, why: &str| draft.note(entry.line, &name, entry.key.clone(), why);
    match entry.key.as_str() {
        "command" | "numprocs" | "process_name" | "numprocs_start" => {}
        "directory" => service.set("working_dir", Value::Text(literal(&value))),
        "environment" => match environment(&value) {
            Some(env) => service.set("env", Value::Table(env)),
            None => note(draft, "it is not of the form `KEY=\"value\",...`"),
        },
        "autostart" if !is_true => service.set("autostart", Value::Bare("false".to_owned())),
        "autostart" => {}
        "autorestart" => match value.as_str() {
            "true" => service.set("restart", Value::text("always")),
            "false" => service.set("restart", Value::text("no")),
            _ => service.set("restart", Value::text("on-failure")),
        },
        "exitcodes" => {
            let codes: Vec<Value> = value
                .split(',')
                .filter_map(|code| code.trim().parse::<u8>().ok())
                .map(|code| Value::Bare(code.to_string()))
                .collect();
            service.set("success_exit_codes", Value::List(codes));
        }
        "startretries" => match value.parse::<u32>() {
            Ok(retries) => service.set("max_restarts", Value::Bare(retries.to_string())),
            Err(_) => note(draft, "that is no number"),
        },
        "startsecs" => match duration(&value) {
            Some(seconds) => {
                let members = vec![("reset_after".to_owned(), Value::Text(seconds))];
                service.set("backoff", Value::Table(members));
            }
            None => note(draft, "that is no number of seconds"),
        },
        "stopsignal" => match signal(&value) {
            Some(signal) => service.set("stop_signal", Value::Text(signal)),
            None => note(draft, "that is no signal"),
        },
        "stopwaitsecs" => match duration(&value) {
            Some(seconds) => service.set("stop_timeout", Value::Text(seconds)),
            None => note(draft, "that is no number of seconds"),
        },
        "stopasgroup" | "killasgroup" | "redirect_stderr" => {}
        "user" => service.set("user", Value::text(value)),
        "umask" => service.set("umask", Value::text(value)),
        "stdout_logfile" => match value.as_str() {
            "AUTO" | "NONE" => {}
            device if device.starts_with("/dev/") => {
                note(draft, "output is shown by `up` and kept in a file of runner's")
            }
            file => service.set(
                "log",
                Value::Table(vec![("file".to_owned(), Value::Text(literal(file)))]),
            ),
        },
        "stderr_logfile" => note(
            draft,
            "both streams go into one log: `runner logs --stream err` shows one of them",
        ),
        "priority" => note(draft, "what has to be up first is said by `depends_on`"),
        _ => note(draft, "runner has no such key"),
    }
}

/// A group is a label of its programs.
fn group(draft: &mut Draft, section: &Section, name: &str, _all: &[Section]) {
    let programs = section.keys.iter().find(|entry| entry.key == "programs");
    let members: Vec<&str> = programs
        .map(|entry| entry.value.split(',').map(str::trim).collect())
        .unwrap_or_default();
    for member in members {
        match draft.services.iter_mut().find(|service| service.name == member) {
            Some(service) => service.set("labels", Value::texts([name.to_owned()])),
            None => draft.note(
                section.line,
                member,
                format!("group {name}"),
                "the group stands above its program, or that was not carried over",
            ),
        }
    }
}

/// `%(ENV_X)s`, `%(program_name)s`, `%%`.
fn expanded(draft: &mut Draft, entry: &Entry, program: &str) -> Option<String> {
    let (mut out, mut rest) = (String::new(), entry.value.as_str());
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(next) = after.strip_prefix('%') {
            out.push('%');
            rest = next;
            continue;
        }
        let Some((name, next)) = after.strip_prefix('(').and_then(|after| after.split_once(")s")) else {
            out.push('%');
            rest = after;
            continue;
        };
        match name {
            "program_name" | "group_name" => out.push_str(program),
            "process_num" => out.push('0'),
            "here" => out.push('.'),
            name => match name.strip_prefix("ENV_").filter(|_| entry.key == "command") {
                Some(variable) => out.push_str(&format!("{MARK}{variable}{MARK}")),
                None => {
                    draft.note(
                        entry.line,
                        program,
                        entry.key.clone(),
                        format!("it names `%({name})s`: write it as a template"),
                    );
                    return None;
                }
            },
        }
        rest = next;
    }
    out.push_str(rest);
    Some(out)
}

/// `A="1",B=2`
fn environment(text: &str) -> Option<Vec<(String, Value)>> {
    let mut env = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let quote = after.chars().next().filter(|first| matches!(first, '"' | '\''));
        let (value, next) = match quote {
            Some(quote) => {
                let (value, next) = after[1..].split_once(quote)?;
                (value, next.trim_start().strip_prefix(',').unwrap_or(next))
            }
            None => after.split_once(',').unwrap_or((after, "")),
        };
        env.push((name.trim().to_owned(), Value::Text(literal(value.trim()))));
        rest = next.trim();
    }
    Some(env)
}
