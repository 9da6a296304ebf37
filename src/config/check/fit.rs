//! Which values and texts fit a shape.

use super::super::node::{Node, Value};
use super::super::{value, words};
use crate::spec::{Shape, Signal};

/// Whether the TOML type of the value is one that the shape takes.
pub(super) fn fits(shape: &Shape, node: &Node) -> bool {
    match (shape, &node.value) {
        (Shape::Any(shapes), _) => shapes.iter().any(|shape| fits(shape, node)),
        (Shape::OneOrList(_), Value::Array(_)) => true,
        (Shape::OneOrList(item), _) => fits(item, node),
        (Shape::Json | Shape::Free, value) => !matches!(value, Value::Datetime(_)) || matches!(shape, Shape::Free),
        (Shape::EnvValue, value) => {
            matches!(
                value,
                Value::Text(_) | Value::Integer(_) | Value::Number(_) | Value::Bool(_)
            )
        }
        (Shape::Command, value) => matches!(value, Value::Text(_) | Value::Array(_)),
        (Shape::Bool | Shape::True, value) => matches!(value, Value::Bool(_)),
        (Shape::Integer(..), value) => matches!(value, Value::Integer(_)),
        (Shape::Number(..), value) => matches!(value, Value::Integer(_) | Value::Number(_)),
        (Shape::List(_) | Shape::Tuple(_), value) => matches!(value, Value::Array(_)),
        (Shape::Table(_) | Shape::Map(_) | Shape::MapOf(..), value) => matches!(value, Value::Table(_)),
        (_, value) => matches!(value, Value::Text(_)) && takes_text(shape),
    }
}

pub(super) fn takes_text(shape: &Shape) -> bool {
    matches!(
        shape,
        Shape::Text
            | Shape::Word
            | Shape::Verbatim
            | Shape::Path
            | Shape::Duration
            | Shape::Size
            | Shape::Signal
            | Shape::Regex
            | Shape::Cron
            | Shape::Zone
            | Shape::Octal
            | Shape::EnvValue
            | Shape::Json
            | Shape::Choice(_)
    )
}

/// What is wrong with a rendered text, and what to write instead.
pub(super) fn text_fault(shape: &Shape, text: &str) -> Option<(String, Option<String>)> {
    match shape {
        Shape::Path if text.is_empty() => Some(("an empty path".into(), None)),
        Shape::Duration => value::duration(text).err().map(|hint| bad("a duration", text, hint)),
        Shape::Size => value::size(text).err().map(|hint| bad("a size", text, hint)),
        Shape::Octal => value::octal(text).err().map(|hint| bad("permission bits", text, hint)),
        Shape::Signal => match Signal::from_name(text) {
            Some(_) => None,
            None => {
                let upper = text.to_ascii_uppercase();
                let full = format!("SIG{}", upper.trim_start_matches("SIG"));
                let hint = words::nearest(&full, Signal::names()).map(|near| format!("did you mean `{near}`?"));
                Some((format!("`{text}` is no signal"), hint))
            }
        },
        Shape::Regex => {
            let error = regex::bytes::Regex::new(text).err()?.to_string();
            let last = error
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned();
            Some((format!("no valid regular expression: {last}"), None))
        }
        Shape::Cron => value::cron(text).err().map(|hint| bad("a schedule", text, hint)),
        Shape::Zone => match jiff::tz::TimeZone::get(text) {
            Ok(_) => None,
            Err(_) => Some((format!("`{text}` is no time zone that this machine knows"), None)),
        },
        Shape::Choice(choices) if !choices.contains(&text) => {
            let hint = words::for_choice(choices, text);
            let hint = hint.unwrap_or_else(|| format!("there are {}", choices.join(", ")));
            Some((format!("unknown value `{text}`"), Some(hint)))
        }
        _ => None,
    }
}

fn bad(what: &str, text: &str, hint: String) -> (String, Option<String>) {
    (format!("`{text}` is not {what}"), Some(hint))
}
