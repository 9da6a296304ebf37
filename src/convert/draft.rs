//! What is to be written: services with their keys, and what could not be carried over.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Of one file, or of a folder.
#[derive(Debug)]
pub struct Converted {
    from: String,
    draft: Draft,
}

impl Converted {
    /// The whole `services.toml`.
    pub fn text(&self) -> String {
        match &self.draft.sample {
            Some(sample) => (*sample).to_owned(),
            None => self.draft.text(&self.from),
        }
    }

    pub fn services(&self) -> Vec<&str> {
        self.draft
            .services
            .iter()
            .map(|service| service.name.as_str())
            .collect()
    }

    /// Service and key of a line of the text, from 1.
    pub fn at(&self, line: usize) -> Option<(String, String)> {
        let text = self.text();
        let before: Vec<&str> = text.lines().take(line).collect();
        let key = before.last()?.split_once(" = ")?.0.to_owned();
        let services = before.iter().filter(|line| line.starts_with("[services.")).count();
        let service = self.draft.services.get(services.checked_sub(1)?)?;
        Some((service.name.clone(), key))
    }

    /// In the order of the lines.
    pub fn notes(&self) -> &[Note] {
        &self.draft.notes
    }

    /// Nothing was known: it is something to begin with.
    pub fn is_sample(&self) -> bool {
        self.draft.sample.is_some()
    }

    /// Takes a key out again that runner would refuse. `false`: it is not there, or is what all is about.
    pub fn take_out(&mut self, service: &str, key: &str, why: &str) -> bool {
        let Some(found) = self.draft.services.iter_mut().find(|found| found.name == service) else {
            return false;
        };
        let before = found.keys.len();
        found.keys.retain(|(name, _)| *name != key || key == "command");
        let done = found.keys.len() < before;
        if done {
            self.draft.note(0, service, key, one_line(why));
        }
        done
    }

    /// A service that runner refuses as a whole.
    pub fn drop_service(&mut self, service: &str, why: &str) -> bool {
        let before = self.draft.services.len();
        self.draft.services.retain(|found| found.name != service);
        let done = self.draft.services.len() < before;
        if done {
            self.draft.note(0, service, "the service", one_line(why));
            self.draft.forget_needs();
        }
        done
    }

    pub(super) fn explain(&mut self, notes: Vec<Note>) {
        self.draft.notes.splice(0..0, notes);
    }
}

/// What was not carried over as it stood, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Of the file that was read, from 1.
    pub line: Option<usize>,
    pub service: Option<String>,
    pub what: String,
    pub why: String,
}

/// A value of TOML.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    /// A number or a truth value, as it is written.
    Bare(String),
    List(Vec<Value>),
    Table(Vec<(String, Value)>),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Service {
    pub name: String,
    /// Lines above it.
    pub comments: Vec<String>,
    pub keys: Vec<(&'static str, Value)>,
}

#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Lines at the top.
    pub comments: Vec<String>,
    pub env: Vec<(String, Value)>,
    pub services: Vec<Service>,
    pub notes: Vec<Note>,
    /// Instead of all of it.
    pub sample: Option<&'static str>,
}

impl Value {
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    pub fn texts(texts: impl IntoIterator<Item = String>) -> Value {
        Value::List(texts.into_iter().map(Value::Text).collect())
    }

    fn write(&self, out: &mut String) {
        match self {
            Value::Text(text) => out.push_str(&quoted(text)),
            Value::Bare(text) => out.push_str(text),
            Value::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index > 0 { ", " } else { "" });
                    item.write(out);
                }
                out.push(']');
            }
            Value::Table(members) => {
                out.push_str("{ ");
                for (index, (name, value)) in members.iter().enumerate() {
                    out.push_str(if index > 0 { ", " } else { "" });
                    let _ = write!(out, "{} = ", key(name));
                    value.write(out);
                }
                out.push_str(" }");
            }
        }
    }
}

impl Service {
    pub fn new(name: impl Into<String>) -> Service {
        Service {
            name: name.into(),
            ..Service::default()
        }
    }

    /// The last word counts.
    pub fn set(&mut self, key: &'static str, value: Value) {
        self.keys.retain(|(name, _)| *name != key);
        self.keys.push((key, value));
    }

    fn needs(&mut self) -> Option<&mut Vec<(String, Value)>> {
        let mut keys = self.keys.iter_mut();
        let (_, value) = keys.find(|(key, _)| *key == "depends_on")?;
        match value {
            Value::Table(needs) => Some(needs),
            _ => None,
        }
    }
}

impl Draft {
    pub fn note(&mut self, line: usize, service: &str, what: impl Into<String>, why: impl Into<String>) {
        self.notes.push(Note {
            line: Some(line).filter(|line| *line > 0),
            service: Some(service.to_owned()).filter(|name| !name.is_empty()),
            what: what.into(),
            why: why.into(),
        });
    }

    /// With names as runner takes them.
    pub fn finish(mut self, from: &str) -> Converted {
        self.rename();
        self.forget_needs();
        self.notes.sort_by_key(|note| note.line.unwrap_or(usize::MAX));
        Converted {
            from: from.to_owned(),
            draft: self,
        }
    }

    fn text(&self, from: &str) -> String {
        let mut text = format!(
            "# Made of {} by runner; look it over: `runner check`, `runner plan`, `runner up`.\n",
            one_line(from)
        );
        for comment in &self.comments {
            let _ = writeln!(text, "# {}", one_line(comment));
        }
        if !self.env.is_empty() {
            text.push_str("\n[env]\n");
            for (name, value) in &self.env {
                let _ = write!(text, "{} = ", key(name));
                value.write(&mut text);
                text.push('\n');
            }
        }
        for service in &self.services {
            text.push('\n');
            for comment in &service.comments {
                let _ = writeln!(text, "# {}", one_line(comment));
            }
            let _ = writeln!(text, "[services.{}]", key(&service.name));
            for (name, value) in &service.keys {
                let _ = write!(text, "{name} = ");
                value.write(&mut text);
                text.push('\n');
            }
        }
        text
    }

    /// Gives each service a name that runner takes and nobody else has, also where it is named by others.
    fn rename(&mut self) {
        let mut given: BTreeMap<String, String> = BTreeMap::new();
        for index in 0..self.services.len() {
            let old = self.services[index].name.clone();
            let fit = fit_name(&old);
            let taken = |name: &String| given.values().any(|given| given == name);
            let name = std::iter::once(fit.clone())
                .chain((2..).map(|n| format!("{}-{n}", fit.chars().take(58).collect::<String>())))
                .find(|name| !taken(name))
                .unwrap_or(fit);
            if name != old {
                self.note(
                    0,
                    &name,
                    format!("its name was {}", one_line(&old)),
                    "a name holds letters, digits, `_`, `-` and `.`",
                );
            }
            given.insert(old, name.clone());
            self.services[index].name = name;
        }
        for needs in self.services.iter_mut().filter_map(Service::needs) {
            for (target, _) in needs {
                if let Some(name) = given.get(target.as_str()) {
                    target.clone_from(name);
                }
            }
        }
    }

    /// What is not there can't be waited for.
    fn forget_needs(&mut self) {
        let known: Vec<String> = self.services.iter().map(|service| service.name.clone()).collect();
        let mut lost = Vec::new();
        for service in &mut self.services {
            let name = service.name.clone();
            if let Some(needs) = service.needs() {
                needs.retain(|(target, _)| {
                    let is_there = known.contains(target) && *target != name;
                    if !is_there {
                        lost.push((name.clone(), target.clone()));
                    }
                    is_there
                });
            }
            let is_empty = |value: &Value| matches!(value, Value::Table(members) if members.is_empty());
            service
                .keys
                .retain(|(key, value)| *key != "depends_on" || !is_empty(value));
        }
        for (service, target) in lost {
            self.note(
                0,
                &service,
                format!("depends_on {}", one_line(&target)),
                "that was not carried over",
            );
        }
    }
}

fn fit_name(name: &str) -> String {
    let good = |letter: char| match letter {
        letter if letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.') => letter,
        _ => '-',
    };
    let fit: String = name.chars().map(good).take(64).collect();
    let fit = fit.trim_start_matches(['.', '-']);
    match fit.is_empty() {
        true => "service".to_owned(),
        false => fit.to_owned(),
    }
}

fn key(name: &str) -> String {
    let is_bare = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

/// Text that may be anything, in one line and without what a terminal would obey.
pub(super) fn one_line(text: &str) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(plain).take(300).collect()
}

/// A string of TOML: as it is between single quotes where that can be, else with escapes.
fn quoted(text: &str) -> String {
    let is_plain = |letter: char| !letter.is_control() && letter != '\'';
    let has_backslash = text.contains(['\\', '"']);
    if has_backslash && text.chars().all(is_plain) {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            letter if letter.is_control() => {
                let _ = write!(out, "\\u{:04X}", letter as u32);
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}
