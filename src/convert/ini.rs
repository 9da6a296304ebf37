//! INI as supervisord reads it: sections of keys, values that go on in indented lines, comments behind `;` and `#`.

use super::Fault;
use super::node::{Entry, Mark, Node, Value};

const MOST_SECTIONS: usize = 2000;
const MOST_KEYS: usize = 500;

pub(super) struct Section {
    pub name: String,
    pub at: Mark,
    pub entries: Vec<Entry>,
}

impl Section {
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Vec<Section>, Fault> {
    let mut sections: Vec<Section> = Vec::new();
    for (number, raw) in text.lines().enumerate() {
        let column = raw.len() - raw.trim_start().len() + 1;
        let at = Mark::new(number + 1, column);
        let line = uncommented(raw).trim_end();
        let word = line.trim_start();
        if word.is_empty() {
            continue;
        }
        if let Some(name) = word.strip_prefix('[').filter(|_| column == 1) {
            let Some((name, tail)) = name.split_once(']') else {
                return Err(Fault::new(at, "a section without its `]`"));
            };
            if !tail.trim().is_empty() {
                return Err(Fault::new(at, "unexpected text behind the `]` of a section"));
            }
            let name = name.trim().to_owned();
            if sections.len() >= MOST_SECTIONS {
                return Err(Fault::new(at, format!("more than {MOST_SECTIONS} sections")));
            }
            if let Some(first) = sections.iter().find(|section| section.name == name) {
                let message = format!("`[{name}]` stands here twice (first in line {})", first.at.line);
                return Err(Fault::new(at, message));
            }
            sections.push(Section {
                name,
                at,
                entries: Vec::new(),
            });
            continue;
        }
        let Some(section) = sections.last_mut() else {
            return Err(Fault::new(at, "a key before the first `[section]`"));
        };
        if column > 1
            && let Some(Entry {
                node: Node {
                    value: Value::Text(value),
                    ..
                },
                ..
            }) = section.entries.last_mut()
        {
            if !value.is_empty() {
                value.push('\n');
            }
            value.push_str(word);
            continue;
        }
        let Some(end) = word.find(['=', ':']) else {
            let fault = Fault::new(at, "a line of a section is `key=value`");
            return Err(fault.hint("a value that goes on in the next line is indented there"));
        };
        let key = word[..end].trim().to_ascii_lowercase();
        let value = word[end + 1..].trim();
        if section.entries.len() >= MOST_KEYS {
            return Err(Fault::new(at, format!("more than {MOST_KEYS} keys in one section")));
        }
        if key.is_empty() {
            return Err(Fault::new(at, "a line of a section is `key=value`"));
        }
        if let Some(first) = section.entries.iter().find(|entry| entry.key == key) {
            let message = format!("`{key}` stands here twice (first in line {})", first.at.line);
            return Err(Fault::new(at, message));
        }
        section.entries.push(Entry {
            key,
            at,
            node: Node {
                at,
                value: Value::Text(value.to_owned()),
            },
        });
    }
    Ok(sections)
}

/// Without its comment: a `#` or `;` at the begin of a line, or a `;` after a blank.
fn uncommented(line: &str) -> &str {
    let word = line.trim_start();
    if word.starts_with(['#', ';']) {
        return "";
    }
    let end = line
        .match_indices(';')
        .map(|(at, _)| at)
        .find(|&at| line[..at].ends_with([' ', '\t']));
    &line[..end.unwrap_or(line.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_values_and_comments() {
        let text = "; first\n[program:a]\ncommand = x -c 'a;b' ; why\nenvironment=A=\"1\",\n  B=\"2\" ; two\n# no\n\n[group:g]\nprograms:a\n";
        let sections = parse(text).unwrap();
        assert_eq!(sections[0].text("command"), Some("x -c 'a;b'"));
        assert_eq!(sections[0].text("environment"), Some("A=\"1\",\nB=\"2\""));
        assert_eq!(sections[0].get("environment").unwrap().at, Mark { line: 4, column: 1 });
        assert_eq!(sections[1].text("programs"), Some("a"));
    }

    #[test]
    fn what_is_broken_has_its_place() {
        for (text, line, says) in [
            ("a=1", 1, "before the first"),
            ("[a\n", 1, "without its `]`"),
            ("[a] b", 1, "unexpected text"),
            ("[a]\nb=1\n[a]\n", 3, "twice (first in line 1)"),
            ("[a]\nb=1\nB=2\n", 3, "twice (first in line 2)"),
            ("[a]\nword\n", 2, "`key=value`"),
            ("[a]\n=1\n", 2, "`key=value`"),
        ] {
            let Err(fault) = parse(text) else { panic!("{text}") };
            assert!(fault.message.contains(says), "{}", fault.message);
            assert_eq!(fault.at.line, line, "{text}");
        }
    }
}
