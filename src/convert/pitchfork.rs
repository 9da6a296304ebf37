//! pitchfork.toml: `[daemons.NAME]`.

use toml::de::{DeTable, DeValue};

use super::draft::{Draft, Service, Value};
use super::names::Names;
use super::node::{Entry, Mark, Node, Value as Node_};
use super::report::Report;
use super::{Fault, Input, at_most, words};

/// Tables in each other.
const DEEPEST: usize = 64;
const MOST_MEMBERS: usize = 5000;

pub(super) fn convert(input: &Input, report: &mut Report) -> Result<Draft, Fault> {
    let root = parse(input.text)?;
    let Some(daemons) = root
        .get("daemons")
        .filter(|daemons| matches!(daemons.value, Node_::Map(_)))
    else {
        return Err(Fault::new(Mark::NONE, "a pitchfork.toml has `[daemons.NAME]`"));
    };
    for entry in root.entries() {
        match entry.key.as_str() {
            "daemons" => {}
            "namespace" => report.lost(
                entry.at,
                "",
                "namespace",
                "a project is called by its folder, or by `project.name`",
            ),
            key => report.lost(entry.at, "", key, "it is about pitchfork itself"),
        }
    }
    at_most(daemons.entries())?;
    let mut draft = Draft::default();
    let mut names = Names::default();
    let mut named = Vec::new();
    for entry in daemons.entries() {
        named.push((names.take(&entry.key, entry.at, report), entry));
    }
    for (name, entry) in named {
        let mut service = Service::new(name, entry.at);
        if !input.base.is_empty() {
            service.set("working_dir", Value::text(input.base));
        }
        daemon(&mut service, &entry.node, input.base, &names, report);
        if service.get("command").is_none() {
            report.lost(entry.at, &service.name, "", "it has no `run`");
            continue;
        }
        draft.services.push(service);
    }
    Ok(draft)
}

fn daemon(service: &mut Service, node: &Node, base: &str, names: &Names, report: &mut Report) {
    let mut ready: Vec<(String, Value)> = Vec::new();
    let is_cron = node.get("cron").is_some();
    for Entry { key, at, node } in node.entries() {
        let (at, name) = (*at, service.name.clone());
        let text = || node.scalar().unwrap_or_default();
        match key.as_str() {
            "run" => service.set("command", Value::text(text().trim_end())),
            "dir" => service.set("working_dir", Value::text(words::path(base, &text()))),
            "env" => {
                for entry in node.entries() {
                    service.env(&entry.key, Value::text(entry.node.scalar().unwrap_or_default()));
                }
            }
            "retry" => {
                let (policy, count) = match (node.flag(), node.whole()) {
                    (Some(true), _) => ("on-failure", None),
                    (Some(false), _) | (_, Some(0)) => ("no", None),
                    (_, Some(count)) => ("on-failure", Some(count)),
                    (None, None) => {
                        report.lost(at, &name, key, "it is neither a number nor a truth value");
                        continue;
                    }
                };
                if !is_cron {
                    service.set("restart", Value::text(policy));
                    if let Some(count) = count {
                        service.set("max_restarts", Value::Number(count));
                    }
                } else if policy != "no" {
                    report.lost(at, &name, key, "its next run is by its schedule");
                }
            }
            "ready_output" => ready.push(("log".to_owned(), Value::text(text()))),
            "ready_cmd" => ready.push(("exec".to_owned(), Value::text(text()))),
            "ready_port" => match node.whole() {
                Some(port) => ready.push(("tcp".to_owned(), Value::Number(port))),
                None => report.lost(at, &name, key, "it is no port"),
            },
            "ready_http" => match node.get("url").unwrap_or(node).scalar() {
                Some(url) => ready.push(("http".to_owned(), Value::text(url))),
                None => report.lost(at, &name, key, "it is no URL"),
            },
            "ready_delay" => report.lost(
                at,
                &name,
                key,
                "a time says nothing about readiness: write a `ready` probe",
            ),
            "depends" => {
                let mut kept = Vec::new();
                for need in node.scalars().unwrap_or_default() {
                    match names.get(&need) {
                        Some(name) => kept.push(name.to_owned()),
                        None => report.lost(at, &name, key, format!("there is no daemon `{need}` in this file")),
                    }
                }
                if !kept.is_empty() {
                    service.set("depends_on", Value::texts(kept));
                }
            }
            "auto" => {
                let all = node.scalars().unwrap_or_default();
                if !all.iter().any(|word| word == "start") {
                    service.set("autostart", Value::Bool(false));
                }
                report.changed(
                    at,
                    &name,
                    key,
                    "nothing is started or stopped by going into a folder: `runner up` and `down` do",
                );
            }
            "cron" => {
                let schedule = node.get("schedule").unwrap_or(node).scalar().unwrap_or_default();
                service.set("type", Value::text("oneshot"));
                service.set("schedule", Value::text(schedule));
                let retrigger = node.get("retrigger").and_then(Node::scalar);
                if let Some(word) = retrigger.filter(|word| word != "finish") {
                    let how = format!("`retrigger = \"{word}\"`: here a run that is still going is not doubled");
                    report.changed(at, &name, key, how);
                }
            }
            "watch" => match node.scalars() {
                Some(paths) if !paths.is_empty() => {
                    let paths = paths.iter().map(|path| words::path(base, path));
                    service.set("watch", Value::table([("paths", Value::texts(paths))]));
                }
                _ => {}
            },
            "expected_port" | "port" => {
                let all = node.get("expect").unwrap_or(node).scalars().unwrap_or_default();
                let ports: Vec<Value> = all
                    .iter()
                    .filter_map(|port| port.parse().ok().map(Value::Number))
                    .collect();
                if !ports.is_empty() {
                    service.set("ports", Value::List(ports));
                }
                if node.get("bump").is_some_and(|bump| bump.flag() != Some(false)) {
                    service.set("on_port_conflict", Value::text("next"));
                }
            }
            "auto_bump_port" => {
                if node.flag() == Some(true) {
                    service.set("on_port_conflict", Value::text("next"));
                }
            }
            "user" => service.set("user", Value::text(text())),
            "stop_signal" => match node.get("signal").unwrap_or(node).scalar() {
                Some(signal) => {
                    service.set("stop_signal", Value::text(words::signal_word(&signal)));
                    if let Some(timeout) = node.get("timeout").and_then(Node::scalar) {
                        service.set("stop_timeout", Value::text(timeout));
                    }
                }
                None => report.lost(at, &name, key, "it is no signal"),
            },
            "memory_limit" => match words::binary_size(&text()) {
                Some(size) => service.set("memory_limit", Value::Text(size)),
                None => report.lost(at, &name, key, "it is no size"),
            },
            "description" => service.set("description", Value::text(text())),
            "boot_start" if node.flag() != Some(true) => {}
            "boot_start" => report.lost(
                at,
                &name,
                key,
                "`runner up -d` in a unit of the system starts it at boot",
            ),
            other => report.lost(at, &name, other, "there is no such thing here"),
        }
    }
    match ready.len() {
        0 => {}
        1 => service.set("ready", Value::Table(ready)),
        _ => {
            let all = ready.into_iter().map(|check| Value::Table(vec![check])).collect();
            service.set("ready", Value::table([("any", Value::List(all))]));
        }
    }
    if service.get("restart").is_none() && !is_cron {
        service.say(
            "restart",
            Value::text("no"),
            "what pitchfork does where nothing is said",
        );
    }
}

fn parse(text: &str) -> Result<Node, Fault> {
    // The parser has a bound of its own for what it goes down.
    let root = DeTable::parse(text).map_err(|error| {
        let at = error
            .span()
            .map_or(Mark::NONE, |span| Mark::of_bytes(text.as_bytes(), span.start));
        Fault::new(at, format!("no valid TOML: {}", error.message()))
    })?;
    let lines = Lines::of(text);
    Ok(Node {
        at: Mark::new(1, 1),
        value: table(root.get_ref(), &lines, DEEPEST)?,
    })
}

/// Where each line begins.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Lines<'t> {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        Lines {
            text,
            starts: starts.collect(),
        }
    }

    fn mark(&self, at: usize) -> Mark {
        let line = self.starts.partition_point(|&start| start <= at);
        let start = self.starts[line.saturating_sub(1)];
        let column = self.text.get(start..at).map_or(0, |before| before.chars().count());
        Mark::new(line, column + 1)
    }
}

fn table(of: &DeTable, lines: &Lines, depth: usize) -> Result<Node_, Fault> {
    let mut entries = Vec::new();
    for (key, member) in of {
        let at = lines.mark(key.span().start);
        entries.push(Entry {
            key: key.get_ref().to_string(),
            at,
            node: node(member.get_ref(), lines.mark(member.span().start), lines, depth)?,
        });
    }
    Ok(Node_::Map(entries))
}

fn node(of: &DeValue, at: Mark, lines: &Lines, depth: usize) -> Result<Node, Fault> {
    let members = match of {
        DeValue::Array(items) => items.len(),
        DeValue::Table(members) => members.len(),
        _ => 0,
    };
    if members > MOST_MEMBERS {
        let message = format!("more than {MOST_MEMBERS} members of one list or table");
        return Err(Fault::new(at, message));
    }
    if depth == 0 {
        return Err(Fault::new(at, format!("nested deeper than {DEEPEST} levels")));
    }
    let value = match of {
        DeValue::String(text) => Node_::Text(text.to_string()),
        DeValue::Integer(number) => Node_::Number(number.to_string()),
        DeValue::Float(number) => Node_::Number(number.to_string()),
        DeValue::Boolean(flag) => Node_::Bool(*flag),
        DeValue::Datetime(time) => Node_::Text(time.to_string()),
        DeValue::Array(items) => {
            let items = items
                .iter()
                .map(|item| node(item.get_ref(), lines.mark(item.span().start), lines, depth - 1));
            Node_::List(items.collect::<Result<_, _>>()?)
        }
        DeValue::Table(members) => table(members, lines, depth - 1)?,
    };
    Ok(Node { at, value })
}
