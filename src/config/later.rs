//! What the file may say, but this version can't do yet.
//!
//! These keys are read and checked like all others and then refused at their place: nothing that somebody wrote is
//! silently ignored. Whoever builds one of them removes its line.

use super::node::{Node, Value};

enum When {
    /// Used at all; `false` is as good as not written.
    Used,
    /// One of these words.
    Is(&'static [&'static str]),
}

const LATER: &[(&str, When)] = &[
    ("tty", When::Used),
    ("schedule", When::Used),
    ("run_at_start", When::Used),
    ("sockets", When::Used),
    ("watch", When::Used),
    ("prepare", When::Used),
    ("source", When::Used),
    ("files", When::Used),
    ("hooks", When::Used),
    ("replicas", When::Used),
    ("rollout", When::Used),
    ("outputs", When::Used),
    ("memory_limit", When::Used),
    ("on_supervisor_exit", When::Is(&["stop"])),
    ("ports.*.shared", When::Used),
    ("project.http", When::Used),
    ("project.webhooks", When::Used),
];

/// Names in templates, and probes by the scheme of their URL.
pub(super) const OUTPUTS: &str = "`outputs` is not supported yet";
pub(super) const HTTPS: &str = "`https://` probes are not supported yet";

/// What a key of this path may not hold yet: some words, or (empty) nothing at all; `None` when all of it works.
pub(super) fn words(path: &str) -> Option<&'static [&'static str]> {
    let (_, when) = LATER.iter().find(|(pattern, _)| *pattern == path)?;
    Some(match when {
        When::Used => &[],
        When::Is(words) => words,
    })
}

/// The complaint about a value at a dotted path below its service (or `project.`), if it is for a later version.
pub(super) fn complaint(path: &str, node: &Node) -> Option<String> {
    let (pattern, when) = LATER.iter().find(|(pattern, _)| covers(pattern, path))?;
    let name = pattern.rsplit('.').next().unwrap_or(pattern);
    match when {
        When::Used => (!node.is_false()).then(|| format!("`{name}` is not supported yet")),
        When::Is(words) => match &node.value {
            Value::Text(text) if words.contains(&text.as_str()) => {
                Some(format!("`{name} = \"{text}\"` is not supported yet"))
            }
            _ => None,
        },
    }
}

fn covers(pattern: &str, path: &str) -> bool {
    let mut wanted = pattern.split('.');
    let mut given = path.split('.');
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}
