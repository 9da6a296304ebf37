//! A services.toml before it is text.

use super::node::Mark;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Literal: braces that a template would take are escaped when it is written.
    Text(String),
    /// Text of ours with `{{ }}` in it.
    Template(String),
    Number(u64),
    Bool(bool),
    List(Vec<Value>),
    Table(Vec<(String, Value)>),
}

impl Value {
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    pub fn texts<T: Into<String>>(words: impl IntoIterator<Item = T>) -> Value {
        Value::List(words.into_iter().map(Value::text).collect())
    }

    pub fn seconds(seconds: u64) -> Value {
        Value::Text(format!("{seconds}s"))
    }

    pub fn table<const N: usize>(entries: [(&str, Value); N]) -> Value {
        Value::Table(
            entries
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        )
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub key: String,
    pub value: Value,
    /// Stands behind it.
    pub comment: Option<String>,
}

/// Text of a services.toml to be.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Above everything.
    pub(super) head: Vec<String>,
    pub(super) project: Vec<Line>,
    pub(super) env: Vec<(String, Value)>,
    pub(super) services: Vec<Service>,
}

#[derive(Clone, Debug)]
pub(super) struct Service {
    pub name: String,
    /// Where the file declares it.
    pub at: Mark,
    /// Above it.
    pub comments: Vec<String>,
    pub lines: Vec<Line>,
}

impl Service {
    pub fn new(name: impl Into<String>, at: Mark) -> Service {
        Service {
            name: name.into(),
            at,
            comments: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// A key that is there gets the new value.
    pub fn set(&mut self, key: &str, value: Value) {
        match self.lines.iter_mut().find(|line| line.key == key) {
            Some(line) => line.value = value,
            None => self.lines.push(Line {
                key: key.to_owned(),
                value,
                comment: None,
            }),
        }
    }

    /// With words behind it.
    pub fn say(&mut self, key: &str, value: Value, comment: &str) {
        self.set(key, value);
        if let Some(line) = self.lines.iter_mut().find(|line| line.key == key) {
            line.comment = Some(comment.to_owned());
        }
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.lines.iter().find(|line| line.key == key).map(|line| &line.value)
    }

    /// One entry of `env`.
    pub fn env(&mut self, name: &str, value: Value) {
        if let Some(Line {
            value: Value::Table(entries),
            ..
        }) = self.lines.iter_mut().find(|line| line.key == "env")
        {
            entries.retain(|(known, _)| known != name);
            entries.push((name.to_owned(), value));
        } else {
            self.set("env", Value::Table(vec![(name.to_owned(), value)]));
        }
    }

    /// Names of `depends_on`.
    pub fn needs(&self) -> Vec<&str> {
        match self.get("depends_on") {
            Some(Value::Table(entries)) => entries.iter().map(|(name, _)| name.as_str()).collect(),
            Some(Value::List(items)) => {
                let names = items.iter().filter_map(|item| match item {
                    Value::Text(name) => Some(name.as_str()),
                    _ => None,
                });
                names.collect()
            }
            _ => Vec::new(),
        }
    }

    /// Takes out one entry of a table or list, and the key when nothing else is left in it.
    pub fn forget(&mut self, key: &str, entry: &str) -> bool {
        let Some(at) = self.lines.iter().position(|line| line.key == key) else {
            return false;
        };
        let (before, after) = match &mut self.lines[at].value {
            Value::Table(entries) => {
                let before = entries.len();
                entries.retain(|(name, _)| name != entry);
                (before, entries.len())
            }
            Value::List(items) => {
                let before = items.len();
                items.retain(|item| *item != Value::Text(entry.to_owned()));
                (before, items.len())
            }
            _ => return false,
        };
        if after == 0 {
            self.lines.remove(at);
        }
        before != after
    }
}

impl Draft {
    pub fn names(&self) -> Vec<&str> {
        self.services.iter().map(|service| service.name.as_str()).collect()
    }

    /// The keys of each service, as they are written.
    pub fn keys(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        self.services.iter().map(|service| {
            let keys = service.lines.iter().map(|line| line.key.as_str());
            (service.name.as_str(), keys.collect())
        })
    }

    /// A line of comment above everything.
    pub fn head(&mut self, line: impl Into<String>) {
        self.head.push(line.into());
    }

    pub(super) fn project(&mut self, key: &str, value: Value, comment: Option<&str>) {
        self.project.push(Line {
            key: key.to_owned(),
            value,
            comment: comment.map(str::to_owned),
        });
    }
}
