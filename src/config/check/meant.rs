//! What somebody who wrote a value of the wrong type wanted to write, as TOML.

use super::super::node::{Node, Value};
use super::super::words;
use super::fit::text_fault;
use crate::spec::{Shape, Signal, TableShape};

/// Tables whose first key is what is meant by a value alone.
const BY_FIRST_KEY: &[&str] = &["prepare", "log", "watch", "backoff", "rendered_file", "webhook"];

/// A sentence that fits at a caret. What it says to write is accepted.
pub(super) fn hint(path: &str, shape: &Shape, node: &Node) -> Option<String> {
    if let (Shape::Choice(choices), Value::Bool(truth)) = (shape, &node.value) {
        return words::for_choice(choices, &truth.to_string());
    }
    if let Some(port) = listened_at(shape, node) {
        return Some(format!("only the port that it listens on: `{port}`"));
    }
    let meant = match (path, &node.value) {
        ("project.shell", Value::Text(text)) => shell(text),
        _ => meant(shape, &node.value),
    };
    if let Some(meant) = meant {
        return Some(format!("did you mean `{meant}`?"));
    }
    match (shape, &node.value) {
        (Shape::Table(table), _) => Some(keys_of(table)),
        (Shape::Map(_), Value::Array(_)) => Some("a table is written `{ NAME = \"value\" }`".into()),
        _ => None,
    }
}

fn meant(shape: &Shape, value: &Value) -> Option<String> {
    let text = match value {
        Value::Integer(number) => return of_integer(shape, *number),
        Value::Text(text) => text,
        _ => return None,
    };
    match shape {
        Shape::Bool | Shape::True => truth(text)
            .filter(|truth| *truth || matches!(shape, Shape::Bool))
            .map(|truth| truth.to_string()),
        Shape::Integer(min, max) => {
            let number: i64 = text.trim().parse().ok()?;
            (min..=max).contains(&&number).then(|| number.to_string())
        }
        Shape::Number(min, max) => {
            let number: f64 = text.trim().parse().ok()?;
            (min..=max).contains(&&number).then(|| number.to_string())
        }
        Shape::List(item) => in_array(item, value),
        Shape::OneOrList(item) => meant(item, value),
        Shape::Table(table) => in_table(table, value),
        Shape::Any(shapes) => shapes.iter().find_map(|shape| meant(shape, value)),
        _ => None,
    }
}

fn of_integer(shape: &Shape, number: i64) -> Option<String> {
    let text = match shape {
        Shape::Duration => format!("{number}s"),
        Shape::Size => format!("{number}B"),
        Shape::Signal => Signal::from_number(i32::try_from(number).ok()?).to_string(),
        Shape::Text | Shape::Path | Shape::Word => number.to_string(),
        Shape::Octal => format!("{number:03}"),
        Shape::List(item) => return in_array(item, &Value::Integer(number)),
        _ => return None,
    };
    accepted(shape, &text)
}

/// The one value as an array of it.
fn in_array(item: &Shape, value: &Value) -> Option<String> {
    Some(format!("[{}]", as_it_is(item, value).or_else(|| meant(item, value))?))
}

fn in_table(table: &TableShape, value: &Value) -> Option<String> {
    let first = table.keys.first().filter(|_| BY_FIRST_KEY.contains(&table.name))?;
    Some(format!("{{ {} = {} }}", first.name, as_it_is(&first.shape, value)?))
}

/// The value itself, where it fits.
fn as_it_is(shape: &Shape, value: &Value) -> Option<String> {
    match (shape, value) {
        (Shape::OneOrList(item), _) => as_it_is(item, value),
        (Shape::Any(shapes), _) => shapes.iter().find_map(|shape| as_it_is(shape, value)),
        (Shape::Integer(min, max), Value::Integer(number)) => (min..=max).contains(&number).then(|| number.to_string()),
        (Shape::Command, Value::Text(text)) => Some(quoted(text)),
        (_, Value::Text(text)) if super::fit::takes_text(shape) => accepted(shape, text),
        _ => None,
    }
}

fn accepted(shape: &Shape, text: &str) -> Option<String> {
    text_fault(shape, text).is_none().then(|| quoted(text))
}

fn quoted(text: &str) -> String {
    let is_plain = |letter: char| letter != '\'' && !letter.is_control();
    match text.contains(['"', '\\']) && text.chars().all(is_plain) {
        true => format!("'{text}'"),
        // A string of JSON is one of TOML.
        false => serde_json::Value::from(text).to_string(),
    }
}

fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// The port inside in `"8080:80"`, which elsewhere is published as another.
fn listened_at(shape: &Shape, node: &Node) -> Option<String> {
    let Shape::Any([Shape::Integer(1, 65535), Shape::Choice(_), ..]) = shape else {
        return None;
    };
    let (outside, inside) = node.text()?.rsplit_once(':')?;
    let is_published = outside.ends_with(|c: char| c.is_ascii_digit());
    meant(shape, &Value::Text(inside.to_owned())).filter(|_| is_published)
}

/// A shell needs the word that has it take a command.
fn shell(text: &str) -> Option<String> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    if words.len() == 1 {
        words.push("-c");
    }
    let words: Vec<String> = words.into_iter().map(quoted).collect();
    (!words.is_empty()).then(|| format!("[{}]", words.join(", ")))
}

/// What is said to who wrote something else than a table.
fn keys_of(table: &TableShape) -> String {
    const MOST: usize = 6;
    let names: Vec<String> = table
        .keys
        .iter()
        .take(MOST)
        .map(|key| format!("`{}`", key.name))
        .collect();
    let more = if table.keys.len() > MOST { ", ..." } else { "" };
    format!(
        "write `{{ KEY = VALUE }}` with keys of these: {}{more}",
        names.join(", ")
    )
}
