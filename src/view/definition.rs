//! `runner inspect`: a definition as it would stand in services.toml, and the state of the service.

use serde_json::Value;

use super::escape::plain;
use super::style::Style;
use super::{table, words};
use crate::api::wire::{Inspect, Ps};

pub fn text(inspect: &Inspect, style: &Style) -> String {
    let ps = Ps {
        project: String::new(),
        generation: 0,
        settled: true,
        config_error: None,
        services: vec![inspect.state.clone()],
    };
    let mut out = table::ps(&ps, style);
    let state = &inspect.state;
    if let Some(exit) = &state.last_exit {
        out.push_str(&style.dim(format!("last exit: {}\n", words::exit(exit))));
    }
    if let Some(failure) = &state.failure {
        out.push_str(&table::failure(failure, 0, style));
    }
    out.push('\n');
    out.push_str(&style.hint(format!("[services.{}]", key(&inspect.name))));
    out.push('\n');
    for (name, value) in inspect.definition.as_object().into_iter().flatten() {
        match value {
            // One line each: these are long.
            Value::Object(members) if name == "env" => {
                for (variable, value) in members {
                    out.push_str(&format!("env.{} = {}\n", key(variable), toml(value)));
                }
            }
            value => out.push_str(&format!("{} = {}\n", key(name), toml(value))),
        }
    }
    out
}

/// A JSON value in the syntax of TOML. A `{{` of a value is no template, so the file has to say so.
pub fn toml(value: &Value) -> String {
    match value {
        Value::Null => "\"\"".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| format!("{} = {}", key(name), toml(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
    }
}

fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

/// A basic string (TOML 1.0): control characters are escaped, so nothing here moves a cursor.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            letter if letter.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out.push('"');
    plain(&out.replace("{{", "{{ \\\"{{\\\" }}")).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_read_as_toml() {
        let value = json!({ "a": [1, true, "x\"\n"], "b.c": { "d": "{{ e" } });
        let wanted = r#"{ a = [1, true, "x\"\n"], "b.c" = { d = "{{ \"{{\" }} e" } }"#;
        assert_eq!(toml(&value), wanted);
    }
}
