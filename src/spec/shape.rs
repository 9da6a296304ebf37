//! The grammar of the file as data: what a key may hold, what it means, what a change of it costs.
//!
//! The checks of `config`, the JSON schema, the reference page and the comparison of two services all follow
//! from these declarations, so that they can't disagree.

use super::service::Change;

/// A table with a fixed set of keys.
#[derive(Debug)]
pub struct TableShape {
    /// Stands for it in the schema and the reference.
    pub name: &'static str,
    pub keys: &'static [Key],
}

/// One key of a table.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    /// `None`: the key has no meaning for a running service (`extends`), or stands outside a service.
    pub class: Option<Change>,
    pub shape: Shape,
    /// As shown in the reference; empty = none.
    pub default: &'static str,
    pub doc: &'static str,
}

impl TableShape {
    pub fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// What a value may be. Where text is expected, `{{ }}` is rendered first unless the variant says otherwise.
#[derive(Debug)]
pub enum Shape {
    /// Any text.
    Text,
    /// Text that takes no templates: names of services, profiles, labels.
    Word,
    /// Text that belongs to somebody else and is never rendered by `config`.
    Verbatim,
    /// A path, relative to the folder of the file that names it.
    Path,
    /// `true` or `false`.
    Bool,
    /// Only `true`.
    True,
    /// A whole number within these bounds.
    Integer(i64, i64),
    /// A number within these bounds.
    Number(f64, f64),
    /// `"500ms"`, `"10s"`, `"1m30s"`.
    Duration,
    /// `"10MB"`, `"512KiB"`.
    Size,
    /// `"SIGTERM"`, `"term"`.
    Signal,
    /// A regular expression in the syntax of the crate `regex`.
    Regex,
    /// A cron line, or `every 30m`.
    Cron,
    /// A name of the time zone database.
    Zone,
    /// File permission bits in octal, as text: `"022"`.
    Octal,
    /// A string (split on blanks, or given to the shell) or an array of words.
    Command,
    /// Text, number or truth value, read as text.
    EnvValue,
    /// Any value; strings in it are rendered.
    Json,
    /// Any value, never rendered.
    Free,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An array.
    List(&'static Shape),
    /// One value, or an array of them.
    OneOrList(&'static Shape),
    /// Exactly these, in this order, in an array.
    Tuple(&'static [Shape]),
    /// A table with names of the user's choice.
    Map(&'static Shape),
    /// A table whose names must be among these.
    MapOf(&'static [&'static str], &'static Shape),
    Table(&'static TableShape),
    /// The first of these that fits the type of the value.
    Any(&'static [Shape]),
}

impl Shape {
    /// Whether `false` takes away what `[defaults]` or a template set: tables, lists and commands.
    pub fn takes_unset(&self) -> bool {
        match self {
            Shape::List(_) | Shape::OneOrList(_) | Shape::Tuple(_) | Shape::Command => true,
            Shape::Map(_) | Shape::MapOf(..) | Shape::Table(_) => true,
            Shape::Any(shapes) => {
                !shapes.iter().any(|shape| matches!(shape, Shape::Bool)) && shapes.iter().any(Shape::takes_unset)
            }
            _ => false,
        }
    }

    /// In words, for "expected ..." and for the reference.
    pub fn words(&self) -> String {
        match self {
            Shape::Text | Shape::Word | Shape::Verbatim => "a string".into(),
            Shape::Path => "a path".into(),
            Shape::Bool => "`true` or `false`".into(),
            Shape::True => "`true`".into(),
            Shape::Integer(..) => "a whole number".into(),
            Shape::Number(..) => "a number".into(),
            Shape::Duration => "a duration such as `\"10s\"`".into(),
            Shape::Size => "a size such as `\"10MB\"`".into(),
            Shape::Signal => "the name of a signal".into(),
            Shape::Regex => "a regular expression".into(),
            Shape::Cron => "a cron line or `\"every 30m\"`".into(),
            Shape::Zone => "a time zone such as `\"Europe/Berlin\"`".into(),
            Shape::Octal => "permission bits such as `\"022\"`".into(),
            Shape::Command => "a command: a string or an array of strings".into(),
            Shape::EnvValue => "a string, a number or a truth value".into(),
            Shape::Json | Shape::Free => "any value".into(),
            Shape::Choice(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
                quoted.join(", ")
            }
            Shape::List(_) | Shape::Tuple(_) => "an array".into(),
            Shape::OneOrList(item) => format!("{}, or an array of them", item.words()),
            Shape::Map(_) | Shape::MapOf(..) | Shape::Table(_) => "a table".into(),
            Shape::Any(shapes) => {
                let mut words: Vec<String> = Vec::new();
                for shape in *shapes {
                    let word = shape.words();
                    if !words.contains(&word) {
                        words.push(word);
                    }
                }
                words.join(" or ")
            }
        }
    }
}
