//! Holds a written value against its declared shape and renders its templates: all complaints, not just the first.

mod fit;
mod meant;

use std::collections::HashSet;

use minijinja::value::Value as Names;

use fit::{fits, takes_text, text_fault};

use super::node::{Entry, Node, Table, Value};
use super::problem::{Place, Problem, Sink};
use super::shown::{SECRETS, Secrets};
use super::template::{self, Engine, Fault, Paste};
use super::{later, words};
use crate::spec::{OutputName, Shape, TableShape};

/// What happens to `{{ }}`.
pub(super) enum Templates<'a> {
    /// Literal text: this table takes none.
    Literal,
    /// Not allowed: these values are needed before any template can be rendered.
    Refused,
    /// Only its syntax can be checked: `[defaults]` and `[templates]`, which no service may use.
    Unrendered(&'a Engine),
    /// With the names of a service.
    Render(&'a Engine, &'a Names),
}

/// One check of one table.
pub(super) struct Walk<'a> {
    pub sink: &'a mut Sink,
    pub templates: Templates<'a>,
    /// For `Problem::service`.
    pub service: Option<&'a str>,
    /// Dotted path of the value that is looked at.
    pub path: String,
    /// Names that commands pasted, for the warning about secrets.
    pub pasted_into_commands: Vec<(String, Place)>,
    /// First parts of the paths that were complained about.
    pub failed: HashSet<String>,
}

impl<'a> Walk<'a> {
    pub fn new(sink: &'a mut Sink, templates: Templates<'a>, service: Option<&'a str>, path: &str) -> Self {
        Walk {
            sink,
            templates,
            service,
            path: path.to_owned(),
            pasted_into_commands: Vec::new(),
            failed: HashSet::new(),
        }
    }

    /// The table with all strings rendered and without the keys that `false` unsets. Whatever was wrong with it is
    /// missing in the answer and has been complained about.
    pub fn table(&mut self, table: &Table, shape: &'static TableShape) -> Table {
        let mut checked = Table::new();
        for (name, Entry { key, node }) in table {
            let Some(declared) = shape.key(name) else {
                let hint = words::for_key(shape, name);
                self.under(name, |walk| {
                    walk.complain(Problem::error(*key, format!("unknown key `{name}`")).maybe_suggest(hint));
                });
                continue;
            };
            if node.is_false() && declared.shape.takes_unset() {
                continue;
            }
            let node = self.under(name, |walk| {
                let checked = walk.value(node, &declared.shape);
                if let Some(message) = later::complaint(&walk.path, node) {
                    walk.complain(Problem::error(*key, message).suggest("take it out for now"));
                }
                checked
            });
            if let Some(node) = node {
                checked.insert(name.clone(), Entry { key: *key, node });
            }
        }
        checked
    }

    fn under<T>(&mut self, name: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let parent = self.path.len();
        if parent > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        let result = act(self);
        self.path.truncate(parent);
        result
    }

    pub fn complain(&mut self, problem: Problem) {
        self.failed
            .insert(self.path.split('.').next().unwrap_or_default().to_owned());
        let problem = match self.service {
            Some(service) => problem.of(service, &self.path),
            None => Problem {
                key: Some(self.path.clone()),
                ..problem
            },
        };
        self.sink.push(problem);
    }

    /// The checked value; `None` after a complaint.
    pub fn value(&mut self, node: &Node, shape: &'static Shape) -> Option<Node> {
        let value = match (shape, &node.value) {
            (Shape::Any(shapes), _) => {
                let Some(fitting) = shapes.iter().find(|shape| fits(shape, node)) else {
                    return self.wrong_type(node, shape);
                };
                if let (Shape::Choice(words), Value::Text(text)) = (fitting, &node.value)
                    && !words.contains(&text.as_str())
                    && !template::has_template(text)
                {
                    return self.no_choice(node, text, words, shape);
                }
                return self.value(node, fitting);
            }
            (Shape::OneOrList(item), value) if !matches!(value, Value::Array(_)) => {
                if !fits(item, node) {
                    return self.wrong_type(node, shape);
                }
                return self.value(node, item);
            }
            (Shape::Command, Value::Text(text)) => self.command_text(node, text)?,
            (Shape::Command, Value::Array(items)) => self.command_words(node, items)?,
            (Shape::List(item) | Shape::OneOrList(item), Value::Array(items)) => {
                let checked: Vec<_> = items.iter().map(|each| self.value(each, item)).collect();
                let good: Vec<Node> = checked.into_iter().flatten().collect();
                if good.is_empty() && !items.is_empty() {
                    return None;
                }
                Value::Array(good)
            }
            (Shape::Tuple(shapes), Value::Array(items)) => {
                if items.len() != shapes.len() {
                    let message = format!("expected {} values in here, found {}", shapes.len(), items.len());
                    self.complain(Problem::error(node.place, message));
                    return None;
                }
                let pairs: Vec<_> = items
                    .iter()
                    .zip(*shapes)
                    .map(|(item, shape)| self.value(item, shape))
                    .collect();
                Value::Array(pairs.into_iter().collect::<Option<_>>()?)
            }
            (Shape::Table(inner), Value::Table(table)) => Value::Table(self.table(table, inner)),
            (Shape::Map(inner), Value::Table(table)) => self.map(table, inner),
            (Shape::MapOf(names, inner), Value::Table(table)) => self.map_of(table, names, inner),
            (Shape::EnvValue, Value::Integer(number)) => Value::Text(number.to_string()),
            (Shape::EnvValue, Value::Number(number)) => Value::Text(number.to_string()),
            (Shape::EnvValue, Value::Bool(truth)) => Value::Text(truth.to_string()),
            (Shape::Json, Value::Array(items)) => {
                Value::Array(items.iter().filter_map(|item| self.value(item, shape)).collect())
            }
            (Shape::Json, Value::Table(table)) => self.map(table, shape),
            (Shape::Free, value) => value.clone(),
            (_, Value::Text(text)) if takes_text(shape) => self.text(node, text, shape)?,
            _ if fits(shape, node) => self.scalar(node, shape)?,
            _ => return self.wrong_type(node, shape),
        };
        Some(Node {
            place: node.place,
            value,
        })
    }

    fn map(&mut self, table: &Table, inner: &'static Shape) -> Value {
        let mut checked = Table::new();
        for (name, Entry { key, node }) in table {
            if name.is_empty() || name.contains(['\0', '=']) {
                self.complain(Problem::error(*key, "this can't be a name"));
                continue;
            }
            if let Some(node) = self.under(name, |walk| walk.value(node, inner)) {
                checked.insert(name.clone(), Entry { key: *key, node });
            }
        }
        Value::Table(checked)
    }

    fn map_of(&mut self, table: &Table, names: &'static [&'static str], inner: &'static Shape) -> Value {
        for (name, entry) in table {
            if !names.contains(&name.as_str()) {
                let hint = words::nearest(name, names.iter().copied()).map(|near| format!("did you mean `{near}`?"));
                let hint = hint.unwrap_or_else(|| format!("there are {}", names.join(", ")));
                self.complain(Problem::error(entry.key, format!("unknown name `{name}`")).suggest(hint));
            }
        }
        let mut known = table.clone();
        known.retain(|name, _| names.contains(&name.as_str()));
        self.map(&known, inner)
    }

    /// A word where only some words, or other types, may stand.
    fn no_choice(&mut self, node: &Node, text: &str, words: &[&'static str], shape: &Shape) -> Option<Node> {
        let problem = match (words::for_choice(words, text), meant::hint(&self.path, shape, node)) {
            (Some(hint), None) => Problem::error(node.place, format!("unknown value `{text}`")).suggest(hint),
            (_, hint) => {
                Problem::error(node.place, format!("expected {}, found `{text}`", shape.words())).maybe_suggest(hint)
            }
        };
        self.complain(problem);
        None
    }

    fn wrong_type(&mut self, node: &Node, shape: &'static Shape) -> Option<Node> {
        let message = format!("expected {}, found {}", shape.words(), node.type_words());
        let hint = meant::hint(&self.path, shape, node);
        self.complain(Problem::error(node.place, message).maybe_suggest(hint));
        None
    }

    /// Values that are not text: only bounds are left to check.
    fn scalar(&mut self, node: &Node, shape: &'static Shape) -> Option<Value> {
        let fault = match (shape, &node.value) {
            (Shape::Integer(min, max), Value::Integer(number)) if !(min..=max).contains(&number) => Some(match *max {
                i64::MAX => format!("{number} is too small: at least {min}"),
                max => format!("{number} is out of range: {min} to {max}"),
            }),
            (Shape::Number(min, max), Value::Integer(number)) => out_of_range(*number as f64, *min, *max),
            (Shape::Number(min, max), Value::Number(number)) => out_of_range(*number, *min, *max),
            (Shape::True, Value::Bool(false)) => Some("this is `true`, or not written at all".into()),
            _ => None,
        };
        match fault {
            Some(message) => {
                self.complain(Problem::error(node.place, message));
                None
            }
            None => Some(node.value.clone()),
        }
    }

    fn text(&mut self, node: &Node, text: &str, shape: &'static Shape) -> Option<Value> {
        let verbatim = matches!(shape, Shape::Verbatim);
        let rendered = if verbatim {
            text.to_owned()
        } else {
            self.render(node, text, Paste::Plain)?
        };
        if rendered.contains('\0') {
            self.complain(Problem::error(node.place, "a NUL byte can't be passed to a process"));
            return None;
        }
        if self.is_open(text) {
            return Some(Value::Text(rendered));
        }
        match text_fault(shape, &rendered) {
            None => Some(Value::Text(rendered)),
            Some(_) if rendered != text && Secrets::new(SECRETS.iter().copied()).names(text) => {
                let message = format!("what this secret holds is not {}", shape.words());
                self.complain(Problem::error(node.place, message));
                None
            }
            Some((message, hint)) => {
                let mut problem = Problem::error(node.place, message).maybe_suggest(hint);
                if rendered != text {
                    problem = problem.note(format!("it became `{rendered}`"));
                }
                self.complain(problem);
                None
            }
        }
    }

    /// Holds a template that can't be rendered here, so that its value is not known.
    fn is_open(&self, text: &str) -> bool {
        matches!(self.templates, Templates::Unrendered(_)) && template::has_template(text)
    }

    fn command_text(&mut self, node: &Node, text: &str) -> Option<Value> {
        let rendered = self.render(node, text, Paste::Shell)?;
        if rendered.trim().is_empty() {
            self.complain(Problem::error(node.place, "an empty command"));
            return None;
        }
        if rendered.contains('\0') {
            self.complain(Problem::error(node.place, "a NUL byte can't be passed to a process"));
            return None;
        }
        Some(Value::Text(rendered))
    }

    fn command_words(&mut self, node: &Node, items: &[Node]) -> Option<Value> {
        if items.is_empty() {
            self.complain(Problem::error(node.place, "an empty command"));
            return None;
        }
        let words: Vec<_> = items
            .iter()
            .map(|item| {
                let text = item.text();
                let Some(text) = text else {
                    return self.wrong_type(item, &Shape::Text);
                };
                let rendered = self.render_pasting(item, text, Paste::Plain)?;
                if rendered.contains('\0') {
                    self.complain(Problem::error(item.place, "a NUL byte can't be passed to a process"));
                    return None;
                }
                Some(Node {
                    place: item.place,
                    value: Value::Text(rendered),
                })
            })
            .collect();
        let words: Vec<Node> = words.into_iter().collect::<Option<_>>()?;
        if words[0].text() == Some("") {
            self.complain(Problem::error(words[0].place, "an empty command"));
            return None;
        }
        Some(Value::Array(words))
    }

    fn render(&mut self, node: &Node, text: &str, paste: Paste) -> Option<String> {
        if paste == Paste::Shell {
            return self.render_pasting(node, text, paste);
        }
        let kept = self.pasted_into_commands.len();
        let rendered = self.render_pasting(node, text, paste);
        self.pasted_into_commands.truncate(kept);
        rendered
    }

    fn render_pasting(&mut self, node: &Node, text: &str, paste: Paste) -> Option<String> {
        if !template::has_template(text) {
            return Some(text.to_owned());
        }
        let faults = match self.templates {
            Templates::Literal => return Some(text.to_owned()),
            Templates::Refused => {
                let problem = Problem::error(node.place, "no templates here");
                self.complain(problem.suggest("this is needed before any template can be rendered"));
                return None;
            }
            Templates::Unrendered(engine) => {
                let faults = engine.check(text);
                if faults.is_empty() {
                    return Some(text.to_owned());
                }
                faults
            }
            Templates::Render(engine, names) => match engine.render(text, names, paste) {
                Ok(rendered) => {
                    for (name, range) in rendered.used {
                        let place = inside(self.sink, node.place, text, range);
                        self.pasted_into_commands.push((name, place));
                    }
                    let names_output = OutputName::all_in(&rendered.text).next().is_some();
                    if names_output && (paste == Paste::Shell || !takes_outputs(&self.path)) {
                        let message = "an output is not known before its service runs, so it can't stand here";
                        let problem = Problem::error(node.place, message);
                        self.complain(
                            problem.suggest("in `env`, in the words of an array `command` and in `files` it can"),
                        );
                        return None;
                    }
                    return Some(rendered.text);
                }
                Err(faults) => faults,
            },
        };
        for Fault {
            range,
            message,
            suggestion,
        } in faults
        {
            let place = inside(self.sink, node.place, text, range);
            self.complain(Problem::error(place, message).maybe_suggest(suggestion));
        }
        None
    }
}

/// Where the outputs of others may be named: what is filled in at the start.
fn takes_outputs(path: &str) -> bool {
    path == "command" || path.starts_with("env.")
}

fn out_of_range(number: f64, min: f64, max: f64) -> Option<String> {
    (!(min..=max).contains(&number)).then(|| format!("{number} is out of range: {min} to {max}"))
}

/// Where a part of a string's value was written. Escapes make the two differ: then it is looked for.
fn inside(sink: &Sink, place: Place, text: &str, range: std::ops::Range<usize>) -> Place {
    let written = sink.text(place.file).get(place.start..place.end);
    let part = text.get(range.clone());
    let (Some(written), Some(part)) = (written, part) else {
        return place;
    };
    let earlier = text[..range.start].matches(part).count();
    match written.match_indices(part).nth(earlier) {
        Some((at, _)) => Place {
            file: place.file,
            start: place.start + at,
            end: place.start + at + part.len(),
        },
        None => place,
    }
}
