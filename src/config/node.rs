//! The file as a tree in which every value and every key remembers where it was written.

use std::ops::Range;

use indexmap::IndexMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{FileId, Place, Problem, Sink};

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Number(f64),
    Bool(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(Table),
}

/// A table in the file's order.
pub(super) type Table = IndexMap<String, Entry>;

#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Where the key was written.
    pub key: Place,
    pub node: Node,
}

impl Node {
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The elements of an array, or the one value itself.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::Array(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    pub fn is_false(&self) -> bool {
        matches!(self.value, Value::Bool(false))
    }

    /// As in "expected a string, found ...".
    pub fn type_words(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a string",
            Value::Integer(_) => "a whole number",
            Value::Number(_) => "a number",
            Value::Bool(_) => "a truth value",
            Value::Datetime(_) => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

/// Parses one file; what can be understood is returned even when there are complaints.
pub(super) fn parse(file: FileId, sink: &mut Sink) -> Table {
    let text = sink.text(file).to_owned();
    let (table, errors) = DeTable::parse_recoverable(&text);
    let mut broken = Vec::new();
    for error in errors {
        let place = place(file, error.span().unwrap_or(0..0), &text);
        broken.push(Problem::error(place, error.message().trim().replace('\n', ", ")));
    }
    let mut convert = Convert {
        file,
        text: &text,
        too_large: Vec::new(),
    };
    let table = convert.table(table.into_inner());
    broken.extend(convert.too_large);
    if !broken.is_empty() {
        broken.into_iter().for_each(|problem| sink.push(problem));
        sink.mark_broken(file);
    }
    table
}

fn place(file: FileId, span: Range<usize>, text: &str) -> Place {
    let end = span.end.min(text.len());
    Place {
        file,
        start: span.start.min(end),
        end,
    }
}

struct Convert<'t> {
    file: FileId,
    text: &'t str,
    too_large: Vec<Problem>,
}

impl Convert<'_> {
    fn table(&mut self, table: DeTable<'_>) -> Table {
        table
            .into_iter()
            .map(|(key, value)| {
                let at = place(self.file, key.span(), self.text);
                let node = self.node(value);
                (key.into_inner().into_owned(), Entry { key: at, node })
            })
            .collect()
    }

    fn node(&mut self, value: Spanned<DeValue<'_>>) -> Node {
        let place = place(self.file, value.span(), self.text);
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(integer) => Value::Integer(integer),
                Err(_) => {
                    self.too_large.push(Problem::error(place, "this number is too large"));
                    Value::Integer(0)
                }
            },
            DeValue::Float(number) => Value::Number(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(truth) => Value::Bool(truth),
            DeValue::Datetime(date) => Value::Datetime(date.to_string()),
            DeValue::Array(items) => Value::Array(items.into_iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { place, value }
    }
}
