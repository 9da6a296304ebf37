//! What YAML, TOML and INI have in common: values with places.

/// Line and column from 1; 0 where nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub line: u32,
    pub column: u32,
}

impl Mark {
    pub const NONE: Mark = Mark { line: 0, column: 0 };

    pub fn new(line: usize, column: usize) -> Mark {
        let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Mark {
            line: number(line),
            column: number(column),
        }
    }

    /// Of a byte; columns are characters.
    pub fn of_bytes(bytes: &[u8], at: usize) -> Mark {
        let before = &bytes[..at.min(bytes.len())];
        let start = before
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |newline| newline + 1);
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        Mark::new(line, String::from_utf8_lossy(&before[start..]).chars().count() + 1)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub at: Mark,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub at: Mark,
    pub node: Node,
}

impl Node {
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
    }

    /// One value as text, however it is written.
    pub fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) | Value::Number(text) => Some(text.clone()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// One value, or a list of them.
    pub fn scalars(&self) -> Option<Vec<String>> {
        match &self.value {
            Value::List(items) => items.iter().map(Node::scalar).collect(),
            _ => self.scalar().map(|one| vec![one]),
        }
    }

    /// Words of older YAML are truth values as well.
    pub fn flag(&self) -> Option<bool> {
        match &self.value {
            Value::Bool(flag) => Some(*flag),
            Value::Text(word) => match word.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Some(true),
                "false" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn whole(&self) -> Option<u64> {
        self.scalar()?.trim().parse().ok()
    }

    /// What it is, for complaints.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a table",
        }
    }
}
