//! `$NAME` and `${NAME:-default}` of other files as templates of ours: both take their values from the environment and the `.env`
//! when the file is read.

use super::draft::Value;
use super::toml_text::literal;

/// Variables of one text: each is an expression that is compiled whenever the file is read.
pub(super) const MOST: usize = 200;
/// Defaults inside of defaults.
const DEEPEST: usize = 8;

/// What stands in a text.
#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    /// An expression of a template.
    Expression(String),
}

/// The text with its variables as templates. `$$` is a dollar.
///
/// # Errors
/// What can't be read, in words.
pub(super) fn dollars(text: &str) -> Result<Value, String> {
    let pieces = pieces(text, DEEPEST)?;
    Ok(match pieces.as_slice() {
        [] => Value::text(""),
        [Piece::Text(text)] => Value::text(text),
        pieces => {
            let written = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => literal(text),
                Piece::Expression(expression) => format!("{{{{ {expression} }}}}"),
            });
            Value::Template(written.collect())
        }
    })
}

/// The text where no variable is set: what each would be by default.
pub(super) fn by_default(text: &str, known: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    resolved(text, known, DEEPEST)
}

struct Variable<'t> {
    name: &'t str,
    /// `:-`, `-`, `:+`, `+`, `:?` or `?`, and what follows.
    form: Option<(&'t str, &'t str)>,
}

enum Found<'t> {
    Dollar,
    Literal,
    Variable(Variable<'t>),
}

/// What the text after a `$` is, and its length.
fn variable(rest: &str) -> Result<(Found<'_>, usize), String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if rest.starts_with('$') {
        return Ok((Found::Dollar, 1));
    }
    if let Some(inner) = rest.strip_prefix('{') {
        let length = closing(inner).ok_or_else(|| "`${` without `}`".to_owned())?;
        let inner = &inner[..length];
        let name = &inner[..inner.find(|c| !is_name(c)).unwrap_or(inner.len())];
        let tail = &inner[name.len()..];
        let form = [":-", ":+", ":?", "-", "+", "?"]
            .into_iter()
            .find_map(|form| tail.strip_prefix(form).map(|rest| (form, rest)));
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || (form.is_none() && !tail.is_empty()) {
            return Err(format!("`${{{inner}}}` is no variable"));
        }
        return Ok((Found::Variable(Variable { name, form }), length + 2));
    }
    let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
    match rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        true => {
            let name = &rest[..length];
            Ok((Found::Variable(Variable { name, form: None }), length))
        }
        false => Ok((Found::Literal, 0)),
    }
}

/// Up to the `}` that belongs to a `${`.
fn closing(inner: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let bytes = inner.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes[at - 1] == b'$' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn pieces(text: &str, depth: usize) -> Result<Vec<Piece>, String> {
    if depth == 0 {
        return Err("defaults inside of defaults, too deep".to_owned());
    }
    let mut out = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (found, length) = variable(rest)?;
        match found {
            Found::Dollar | Found::Literal => plain.push('$'),
            Found::Variable(variable) => {
                if !plain.is_empty() {
                    out.push(Piece::Text(std::mem::take(&mut plain)));
                }
                if out.len() >= 2 * MOST {
                    return Err(format!("more than {MOST} variables in one text"));
                }
                out.push(Piece::Expression(expression(&variable, depth)?));
            }
        }
        rest = &rest[length..];
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        out.push(Piece::Text(plain));
    }
    Ok(out)
}

fn expression(variable: &Variable, depth: usize) -> Result<String, String> {
    let name = variable.name;
    let text = |text: &str| -> Result<String, String> {
        let parts = pieces(text, depth - 1)?;
        let parts: Vec<String> = parts
            .into_iter()
            .map(|piece| match piece {
                Piece::Text(text) => string(&text),
                Piece::Expression(expression) => format!("({expression})"),
            })
            .collect();
        Ok(match parts.len() {
            0 => "\"\"".to_owned(),
            1 => parts.concat(),
            _ => format!("({})", parts.join(" ~ ")),
        })
    };
    Ok(match variable.form {
        None => format!("env.{name} | default(\"\")"),
        // With the colon an empty value counts as none.
        Some((":-", default)) => format!("env.{name} | default({}, true)", text(default)?),
        Some(("-", default)) => format!("env.{name} | default({})", text(default)?),
        Some((":+", instead)) => format!("{} if env.{name} | default(\"\") else \"\"", text(instead)?),
        Some(("+", instead)) => format!("{} if env.{name} is defined else \"\"", text(instead)?),
        Some(_) => format!("env.{name}"),
    })
}

/// A string of the language of templates.
fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn resolved(text: &str, known: &dyn Fn(&str) -> Option<String>, depth: usize) -> Result<String, String> {
    if depth == 0 {
        return Err("defaults inside of defaults, too deep".to_owned());
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (found, length) = variable(rest)?;
        match found {
            Found::Dollar | Found::Literal => out.push('$'),
            Found::Variable(Variable { name, form }) => match (known(name), form) {
                (Some(value), Some((":-", default))) if value.is_empty() => {
                    out.push_str(&resolved(default, known, depth - 1)?);
                }
                (Some(_), Some((":+" | "+", instead))) => out.push_str(&resolved(instead, known, depth - 1)?),
                (Some(value), _) => out.push_str(&value),
                (None, Some((":-" | "-", default))) => out.push_str(&resolved(default, known, depth - 1)?),
                (None, _) => {}
            },
        }
        rest = &rest[length..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_templates() {
        for (text, wanted) in [
            ("a $$ b $1 $", Value::text("a $ b $1 $")),
            ("{{ x }}", Value::text("{{ x }}")),
            ("$A", Value::Template("{{ env.A | default(\"\") }}".into())),
            (
                "{{ ${A-b}c",
                Value::Template("{{ \"{{\" }} {{ env.A | default(\"b\") }}c".into()),
            ),
            (
                "${A:-x${B:-\"y\"}}",
                Value::Template("{{ env.A | default((\"x\" ~ (env.B | default(\"\\\"y\\\"\", true))), true) }}".into()),
            ),
            ("${A:?no}", Value::Template("{{ env.A }}".into())),
            (
                "${A:+z}",
                Value::Template("{{ \"z\" if env.A | default(\"\") else \"\" }}".into()),
            ),
        ] {
            assert_eq!(dollars(text), Ok(wanted), "{text}");
        }
        for text in ["${", "${A", "${A!}", "${}", "${1}"] {
            assert!(dollars(text).is_err(), "{text}");
        }
        let deep = format!("{}x{}", "${A:-".repeat(500), "}".repeat(500));
        assert!(dollars(&deep).is_err());
        assert!(dollars(&"$A".repeat(1000)).is_err());
        let known = |name: &str| (name == "P").then(|| "80".to_owned());
        assert_eq!(by_default("${Q:-3000}:$P", &known), Ok("3000:80".into()));
    }
}
