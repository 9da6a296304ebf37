//! A [`Draft`] as text.

use super::draft::{Draft, Line, Value};

/// Wider lines get a table of their own, where the key can have one.
const WIDE: usize = 100;

/// A key, and where it begins in the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Written {
    pub at: usize,
    /// `None`: of `[project]` or `[env]`.
    pub service: Option<String>,
    pub key: String,
    /// Of a table that has a header of its own.
    pub entry: Option<String>,
}

pub(super) fn write(draft: &Draft) -> (String, Vec<Written>) {
    let mut out = String::new();
    let mut written = Vec::new();
    let mut note = |out: &str, service: Option<&str>, key: &str, entry: Option<&str>| {
        written.push(Written {
            at: out.len(),
            service: service.map(str::to_owned),
            key: key.to_owned(),
            entry: entry.map(str::to_owned),
        });
    };
    for line in &draft.head {
        comment(line, &mut out);
    }
    // Without words above it the first header stands at the top.
    let blank = |out: &mut String| {
        if !out.is_empty() {
            out.push('\n');
        }
    };
    if !draft.project.is_empty() {
        blank(&mut out);
        out.push_str("[project]\n");
        for line in &draft.project {
            note(&out, None, "project", Some(&line.key));
            write_line(line, false, &mut out);
        }
    }
    if !draft.env.is_empty() {
        blank(&mut out);
        out.push_str("[env]\n");
        for (name, member) in &draft.env {
            note(&out, None, "env", Some(name));
            entry(name, member, &mut out);
        }
    }
    for service in &draft.services {
        blank(&mut out);
        for line in &service.comments {
            comment(line, &mut out);
        }
        let path = format!("services.{}", key(&service.name));
        note(&out, Some(&service.name), "", None);
        out.push_str(&format!("[{path}]\n"));
        let (own, inline): (Vec<&Line>, Vec<&Line>) = service.lines.iter().partition(|line| is_table(line));
        for line in inline {
            note(&out, Some(&service.name), &line.key, None);
            write_line(line, true, &mut out);
        }
        for line in own {
            if let Value::Table(members) = &line.value {
                note(&out, Some(&service.name), &line.key, None);
                out.push_str(&format!("\n[{path}.{}]", key(&line.key)));
                behind(line.comment.as_deref(), &mut out);
                for (name, member) in members {
                    note(&out, Some(&service.name), &line.key, Some(name));
                    entry(name, member, &mut out);
                }
            }
        }
    }
    (out, written)
}

/// Whether it stands below the service under a header of its own.
fn is_table(line: &Line) -> bool {
    matches!(&line.value, Value::Table(entries) if entries.len() > 3 || value(&line.value, true).len() > WIDE)
        && matches!(line.key.as_str(), "env" | "ready" | "health" | "depends_on" | "limits")
}

fn write_line(line: &Line, templates: bool, out: &mut String) {
    let written = value(&line.value, templates);
    let comment = line.comment.as_deref();
    let is_long = written.contains('\n') || written.len() + comment.map_or(0, str::len) > WIDE;
    if let Some(text) = comment.filter(|_| is_long) {
        self::comment(text, out);
    }
    out.push_str(&format!("{} = {written}", key(&line.key)));
    behind(comment.filter(|_| !is_long), out);
}

fn behind(comment: Option<&str>, out: &mut String) {
    if let Some(text) = comment {
        out.push_str("   # ");
        out.push_str(&plain(text));
    }
    out.push('\n');
}

fn entry(name: &str, member: &Value, out: &mut String) {
    out.push_str(&format!("{} = {}\n", key(name), value(member, true)));
}

fn comment(text: &str, out: &mut String) {
    for line in text.split('\n') {
        out.push_str(format!("# {}", plain(line)).trim_end());
        out.push('\n');
    }
}

/// Control characters are not allowed in a comment of TOML.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn key(word: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match !word.is_empty() && word.chars().all(is_bare) {
        true => word.to_owned(),
        false => basic(word),
    }
}

fn value(of: &Value, templates: bool) -> String {
    match of {
        Value::Text(text) if templates => quoted(&literal(text)),
        Value::Text(text) | Value::Template(text) => quoted(text),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| value(item, templates)).collect();
            let one = format!("[{}]", items.join(", "));
            match one.len() > WIDE && items.len() > 1 {
                true => format!("[\n  {},\n]", items.join(",\n  ")),
                false => one,
            }
        }
        Value::Table(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(name, member)| format!("{} = {}", key(name), value(member, templates)))
                .collect();
            match entries.is_empty() {
                true => "{}".to_owned(),
                false => format!("{{ {} }}", entries.join(", ")),
            }
        }
    }
}

/// Text whose braces are no template.
pub(super) fn literal(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}

/// As somebody would write it: the fewest backslashes.
fn quoted(text: &str) -> String {
    let is_control = |c: char| c.is_control() && c != '\t';
    let needs_escapes = text.contains(['"', '\\']);
    if needs_escapes && !text.contains('\'') && !text.contains(is_control) {
        return format!("'{text}'");
    }
    let lines = text.trim_end_matches('\n').matches('\n').count();
    let is_block = lines > 0 && !text.contains("'''") && !text.contains(|c: char| is_control(c) && c != '\n');
    if is_block && !text.ends_with('\'') {
        return format!("'''\n{text}'''");
    }
    basic(text)
}

fn basic(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_reads_back_as_it_was() {
        for text in [
            "",
            "plain",
            "a \"b\"",
            "it's",
            "a\\b",
            "'\"\\",
            "one\ntwo\n",
            "x'''\ny",
            "tab\there",
            "bell\u{7}",
            "\u{7f}\u{9f}",
            "\r\n",
            "é😀",
            "\nfirst",
            "ends'\nx'",
            "a\n'",
            "{{ x }}",
            "{{{",
            "x\r\ny\n",
        ] {
            let toml = format!("x = {}\n{} = 1\n", quoted(text), key(text));
            if text == "x" {
                continue;
            }
            let parsed: toml::Table = toml::from_str(&toml).unwrap_or_else(|error| panic!("{text:?}: {toml}: {error}"));
            assert_eq!(parsed["x"].as_str(), Some(text), "{toml}");
            assert!(parsed.contains_key(text));
        }
    }
}
