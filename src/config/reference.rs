//! What follows from the declarations of `spec::keys`: the JSON schema and the tables of the reference page.

use std::fmt::Write;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::later;
use crate::spec::keys::{FILE, PROJECT, SERVICE};
use crate::spec::{Change, Key, Shape, Signal, TableShape};

/// The prose of the page; a line `@keys NAME` stands for the table of keys with that name.
const PAGE: &str = include_str!("reference.md");

/// Keys whose values are needed before any template can be rendered.
pub(super) const STATIC_KEYS: &[&str] = &["type", "ports", "replicas", "depends_on", "extends", "profiles"];

const NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$";
const TEMPLATE: &str = r"\{\{";

/// The JSON schema (draft 2020-12) of `services.toml`, indented, with a newline at its end.
pub fn schema() -> String {
    let mut tables = Tables::default();
    let Value::Object(file) = tables.table(&FILE, true) else {
        unreachable!("a table is an object")
    };
    let mut root = Map::new();
    root.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    root.insert("title".into(), "services.toml of runner".into());
    root.extend(file);
    for names in ["templates", "services"] {
        root["properties"][names]["propertyNames"] = json!({ "pattern": NAME });
    }
    let definitions = tables
        .done
        .into_iter()
        .map(|(name, table)| (name, table.unwrap_or_default()));
    root.insert("$defs".into(), Value::Object(definitions.collect()));
    let mut text = serde_json::to_string_pretty(&Value::Object(root)).expect("JSON of our own making serialises");
    text.push('\n');
    text
}

/// The tables that are referred to, by their name; `None` while one is being written.
#[derive(Default)]
struct Tables {
    done: IndexMap<String, Option<Value>>,
}

impl Tables {
    /// `templates`: strings may hold `{{ }}`, so that what they become can't be said here.
    fn table(&mut self, table: &'static TableShape, templates: bool) -> Value {
        let mut properties = Map::new();
        for key in table.keys {
            let takes_templates = match table.name {
                "file" => !matches!(key.name, "include" | "project" | "vars"),
                "service" => templates && !STATIC_KEYS.contains(&key.name),
                _ => templates,
            };
            let Value::Object(mut value) = self.key(key, takes_templates) else {
                continue;
            };
            value.insert("description".into(), description(table, key).into());
            properties.insert(key.name.into(), Value::Object(value));
        }
        json!({ "type": "object", "properties": properties, "additionalProperties": false })
    }

    fn key(&mut self, key: &'static Key, templates: bool) -> Value {
        let value = self.shape(&key.shape, templates);
        if key.shape.takes_unset() {
            any_of(vec![value, json!({ "const": false })])
        } else {
            value
        }
    }

    fn reference(&mut self, table: &'static TableShape, templates: bool) -> Value {
        let name = if templates {
            table.name.to_owned()
        } else {
            format!("{}_literal", table.name)
        };
        if !self.done.contains_key(&name) {
            self.done.insert(name.clone(), None);
            let written = self.table(table, templates);
            self.done.insert(name.clone(), Some(written));
        }
        json!({ "$ref": format!("#/$defs/{name}") })
    }

    fn shape(&mut self, shape: &'static Shape, templates: bool) -> Value {
        let text = |pattern: &str| {
            let pattern = if templates {
                format!("{pattern}|{TEMPLATE}")
            } else {
                pattern.to_owned()
            };
            json!({ "type": "string", "pattern": pattern })
        };
        match shape {
            Shape::Text | Shape::Word | Shape::Verbatim | Shape::Regex | Shape::Cron | Shape::Zone => {
                json!({ "type": "string" })
            }
            Shape::Path => json!({ "type": "string", "minLength": 1 }),
            Shape::Bool => json!({ "type": "boolean" }),
            Shape::True => json!({ "const": true }),
            Shape::Integer(min, max) => {
                let mut integer = json!({ "type": "integer", "minimum": min });
                if *max != i64::MAX {
                    integer["maximum"] = (*max).into();
                }
                integer
            }
            Shape::Number(min, max) => json!({ "type": "number", "minimum": min, "maximum": max }),
            Shape::Duration => text(r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h|d))+$"),
            Shape::Size => text(r"^[0-9]+(\.[0-9]+)? ?([kKmMgGtT]([iI]?[bB])?|[bB])?$"),
            Shape::Octal => text("^[0-7]{1,4}$"),
            Shape::Signal => any_of(vec![
                json!({ "enum": Signal::names().collect::<Vec<_>>() }),
                text("^[A-Za-z0-9+]+$"),
            ]),
            Shape::Command => {
                let words = json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 });
                any_of(vec![json!({ "type": "string", "minLength": 1 }), words])
            }
            Shape::EnvValue => json!({ "type": ["string", "number", "boolean"] }),
            Shape::Json | Shape::Free => json!({}),
            Shape::Choice(words) if templates => any_of(vec![
                json!({ "enum": words }),
                json!({ "type": "string", "pattern": TEMPLATE }),
            ]),
            Shape::Choice(words) => json!({ "enum": words }),
            Shape::List(item) => json!({ "type": "array", "items": self.shape(item, templates) }),
            Shape::OneOrList(item) => {
                let item = self.shape(item, templates);
                any_of(vec![item.clone(), json!({ "type": "array", "items": item })])
            }
            Shape::Tuple(shapes) => {
                let items: Vec<_> = shapes.iter().map(|shape| self.shape(shape, templates)).collect();
                json!({ "type": "array", "prefixItems": items, "minItems": shapes.len(), "maxItems": shapes.len() })
            }
            Shape::Map(item) => json!({ "type": "object", "additionalProperties": self.shape(item, templates) }),
            Shape::MapOf(names, item) => {
                let item = self.shape(item, templates);
                let properties: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), item.clone())).collect();
                json!({ "type": "object", "properties": properties, "additionalProperties": false })
            }
            Shape::Table(table) => self.reference(table, templates),
            Shape::Any(shapes) => any_of(shapes.iter().map(|shape| self.shape(shape, templates)).collect()),
        }
    }
}

/// Without an `anyOf` inside of another one.
fn any_of(choices: Vec<Value>) -> Value {
    let mut flat: Vec<Value> = Vec::new();
    for choice in choices {
        let inner = choice.get("anyOf").and_then(Value::as_array).cloned();
        for each in inner.unwrap_or_else(|| vec![choice]) {
            if !flat.contains(&each) {
                flat.push(each);
            }
        }
    }
    json!({ "anyOf": flat })
}

fn description(table: &TableShape, key: &Key) -> String {
    let mut text = key.doc.to_owned();
    if !key.default.is_empty() {
        let _ = write!(text, " Default: {}.", key.default);
    }
    if let Some(later) = later(table, key) {
        let _ = write!(text, " {later}");
    }
    text
}

/// What of a key is for a later version.
fn later(table: &TableShape, key: &Key) -> Option<String> {
    let path = match table.name {
        "service" => key.name.to_owned(),
        "port" => format!("ports.*.{}", key.name),
        name => format!("{name}.{}", key.name),
    };
    later::is_later(&path).then(|| "Not supported yet.".into())
}

fn quoted(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
    words.join(", ")
}

/// The reference page, as Markdown.
pub fn page() -> String {
    let mut out = String::new();
    for line in PAGE.lines() {
        match line.strip_prefix("@keys ") {
            Some(name) => {
                let table = find(name).expect("the page names tables that are declared");
                keys(table, &mut out);
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

/// Every table that can be reached from the file, each once.
pub(super) fn tables() -> Vec<&'static TableShape> {
    fn visit(shape: &'static Shape, found: &mut Vec<&'static TableShape>) {
        match shape {
            Shape::Table(table) if !found.iter().any(|known| std::ptr::eq(*known, *table)) => {
                found.push(table);
                table.keys.iter().for_each(|key| visit(&key.shape, found));
            }
            Shape::List(item) | Shape::OneOrList(item) | Shape::Map(item) | Shape::MapOf(_, item) => visit(item, found),
            Shape::Tuple(shapes) | Shape::Any(shapes) => shapes.iter().for_each(|shape| visit(shape, found)),
            _ => {}
        }
    }
    let mut found: Vec<&'static TableShape> = vec![&FILE, &PROJECT, &SERVICE];
    for table in [&FILE, &PROJECT, &SERVICE] {
        table.keys.iter().for_each(|key| visit(&key.shape, &mut found));
    }
    found
}

fn find(name: &str) -> Option<&'static TableShape> {
    tables().into_iter().find(|table| table.name == name)
}

fn keys(table: &'static TableShape, out: &mut String) {
    let classes = table.keys.iter().any(|key| key.class.is_some());
    out.push_str(if classes {
        "| key | class | value | default | meaning |\n|---|---|---|---|---|\n"
    } else {
        "| key | value | default | meaning |\n|---|---|---|---|\n"
    });
    for key in table.keys {
        let class = match key.class {
            _ if !classes => "",
            Some(Change::Restart) => " R |",
            Some(Change::Live) => " L |",
            None => " - |",
        };
        let mut meaning = key.doc.to_owned();
        if let Some(later) = later(table, key) {
            let _ = write!(meaning, " *{later}*");
        }
        let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        let value = cell(&kind(&key.shape));
        let _ = writeln!(
            out,
            "| `{}` |{class} {value} | {} | {} |",
            key.name,
            cell(key.default),
            cell(&meaning)
        );
    }
}

/// The type of a value in a few words; tables link to their section.
fn kind(shape: &Shape) -> String {
    match shape {
        Shape::Text | Shape::Word | Shape::Verbatim => "string".into(),
        Shape::Path => "path".into(),
        Shape::Bool => "`true`, `false`".into(),
        Shape::True => "`true`".into(),
        Shape::Integer(min, i64::MAX) => format!("whole number from {min}"),
        Shape::Integer(min, max) => format!("whole number, {min} to {max}"),
        Shape::Number(min, max) => format!("number, {min} to {max}"),
        Shape::Duration => "duration".into(),
        Shape::Size => "size".into(),
        Shape::Signal => "signal".into(),
        Shape::Regex => "regex".into(),
        Shape::Cron => "cron line".into(),
        Shape::Zone => "time zone".into(),
        Shape::Octal => "octal digits as a string".into(),
        Shape::Command => "command".into(),
        Shape::EnvValue => "string, number or truth value".into(),
        Shape::Json | Shape::Free => "anything".into(),
        Shape::Choice(words) => quoted(words),
        Shape::List(item) => format!("array of: {}", kind(item)),
        Shape::OneOrList(item) => format!("{}; or an array of them", kind(item)),
        Shape::Tuple(shapes) => format!("array `[{}]`", shapes.iter().map(kind).collect::<Vec<_>>().join(", ")),
        Shape::Map(item) => format!("table, by name: {}", kind(item)),
        Shape::MapOf(names, item) => format!("table of {}: {}", names.join(", "), kind(item)),
        Shape::Table(table) => format!("[`{0}` table](#{0}-table)", table.name),
        Shape::Any(shapes) => {
            let mut kinds: Vec<String> = Vec::new();
            for shape in *shapes {
                let kind = kind(shape);
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            kinds.join("; or ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_every_table_and_every_link_leads_somewhere() {
        let tables = tables();
        for table in &tables {
            let line = format!("@keys {}\n", table.name);
            assert_eq!(PAGE.matches(&line).count(), 1, "{line}");
            let twins = tables.iter().filter(|other| other.name == table.name).count();
            assert_eq!(twins, 1, "{}", table.name);
        }
        let page = page();
        for (at, _) in page.match_indices("](#") {
            let target = page[at + 3..].split(')').next().unwrap_or_default();
            let found = page.lines().filter(|line| line.starts_with('#')).any(|line| {
                let kept = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                kept.replace(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'), "") == target
            });
            assert!(found, "no section `{target}`");
        }
    }
}
