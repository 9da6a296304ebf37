//! YAML to [`Node`]s, with bounds: what an alias stands for is counted each time that it is used, so that a small file
//! can't become a large one.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::Fault;
use super::node::{Entry, Mark, Node, Value};

const DEEPEST: usize = 64;
/// In one list or table.
const MOST_MEMBERS: usize = 5000;
const MOST_NODES: usize = 100_000;
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// The first document of a text.
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    let mut builder = Builder::default();
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| syntax(&error))?;
        let at = mark(&span);
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    let fault = Fault::new(at, "a second document begins here");
                    return Err(fault.hint("one file is one document: take the others out"));
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::Scalar(text, style, anchor, _) => {
                let is_plain = style == ScalarStyle::Plain;
                builder.scalar(text.into_owned(), is_plain, anchor, at)?;
            }
            Event::SequenceStart(anchor, _) => builder.open(Value::List(Vec::new()), anchor, at)?,
            Event::MappingStart(anchor, _) => builder.open(Value::Map(Vec::new()), anchor, at)?,
            Event::SequenceEnd | Event::MappingEnd => builder.close(at)?,
            Event::Alias(anchor) => builder.alias(anchor, at)?,
        }
    }
    Ok(builder.root.unwrap_or(Node {
        at: Mark::NONE,
        value: Value::Null,
    }))
}

fn mark(span: &Span) -> Mark {
    Mark::new(span.start.line(), span.start.col() + 1)
}

fn syntax(error: &ScanError) -> Fault {
    let at = Mark::new(error.marker().line(), error.marker().col() + 1);
    Fault::new(at, format!("no valid YAML: {}", error.info()))
}

/// A list or map that is not finished.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<(String, Mark)>,
    weight: Weight,
}

#[derive(Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Node, Weight)>,
    total: Weight,
}

impl Builder {
    fn count(&mut self, weight: Weight, at: Mark) -> Result<(), Fault> {
        self.total.nodes += weight.nodes;
        self.total.bytes += weight.bytes;
        if self.total.nodes > MOST_NODES || self.total.bytes > MOST_BYTES {
            return Err(Fault::new(
                at,
                "with its aliases written out this file is far too large",
            ));
        }
        if self.open.len() + weight.depth > DEEPEST {
            return Err(Fault::new(at, format!("nested deeper than {DEEPEST} levels")));
        }
        Ok(())
    }

    fn scalar(&mut self, text: String, is_plain: bool, anchor: usize, at: Mark) -> Result<(), Fault> {
        let weight = Weight {
            nodes: 1,
            bytes: text.len(),
            depth: 1,
        };
        self.count(weight, at)?;
        let value = if is_plain { plain(text) } else { Value::Text(text) };
        self.put(Node { at, value }, anchor, weight)
    }

    fn open(&mut self, value: Value, anchor: usize, at: Mark) -> Result<(), Fault> {
        let weight = Weight {
            nodes: 1,
            bytes: 0,
            depth: 1,
        };
        self.count(weight, at)?;
        if self.is_at_key() {
            return Err(Fault::new(at, "a key has to be a word, not a list or a table"));
        }
        self.open.push(Open {
            node: Node { at, value },
            anchor,
            key: None,
            weight,
        });
        Ok(())
    }

    fn is_at_key(&self) -> bool {
        let top = self.open.last();
        top.is_some_and(|top| matches!(top.node.value, Value::Map(_)) && top.key.is_none())
    }

    fn close(&mut self, at: Mark) -> Result<(), Fault> {
        let Some(mut done) = self.open.pop() else {
            return Err(Fault::new(at, "no valid YAML: something ends that did not begin"));
        };
        if let Value::Map(entries) = &mut done.node.value {
            merge(entries)?;
        }
        self.put(done.node, done.anchor, done.weight)
    }

    fn alias(&mut self, anchor: usize, at: Mark) -> Result<(), Fault> {
        let Some((node, weight)) = self.anchors.get(&anchor) else {
            return Err(Fault::new(at, "this alias stands inside of what it names"));
        };
        // Where it is used tells more than where it was written, but its parts are found where they stand.
        let (node, weight) = (node.clone(), *weight);
        self.count(weight, at)?;
        self.put(node, 0, weight)
    }

    fn put(&mut self, node: Node, anchor: usize, weight: Weight) -> Result<(), Fault> {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        let Some(top) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return Ok(());
        };
        top.weight.nodes += weight.nodes;
        top.weight.bytes += weight.bytes;
        top.weight.depth = top.weight.depth.max(weight.depth + 1);
        let members = match &top.node.value {
            Value::List(items) => items.len(),
            Value::Map(entries) => entries.len(),
            _ => 0,
        };
        if members >= MOST_MEMBERS {
            let message = format!("more than {MOST_MEMBERS} members of one list or table");
            return Err(Fault::new(node.at, message));
        }
        match (&mut top.node.value, top.key.take()) {
            (Value::Map(entries), Some((key, key_at))) => {
                entries.push(Entry { key, at: key_at, node });
            }
            (Value::Map(_), None) => {
                let Some(key) = node.scalar().or_else(|| node.is_null().then(String::new)) else {
                    return Err(Fault::new(node.at, "a key has to be a word, not a list or a table"));
                };
                top.key = Some((key, node.at));
            }
            (Value::List(items), _) => items.push(node),
            _ => {}
        }
        Ok(())
    }
}

/// A key twice is an error; `<<` brings in what is not written.
fn merge(entries: &mut Vec<Entry>) -> Result<(), Fault> {
    let mut seen: BTreeMap<String, Mark> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.key != "<<") {
        if let Some(first) = seen.insert(entry.key.clone(), entry.at) {
            let message = format!("`{}` stands here twice (first in line {})", entry.key, first.line);
            return Err(Fault::new(entry.at, message));
        }
    }
    let (merges, own): (Vec<Entry>, Vec<Entry>) =
        std::mem::take(entries).into_iter().partition(|entry| entry.key == "<<");
    *entries = own;
    for entry in merges {
        let bases = match entry.node.value {
            Value::List(items) => items,
            _ => vec![entry.node],
        };
        for base in bases {
            let Value::Map(inherited) = base.value else {
                return Err(Fault::new(entry.at, "`<<` takes a table, or a list of tables"));
            };
            for entry in inherited {
                if seen.insert(entry.key.clone(), entry.at).is_none() {
                    entries.push(entry);
                }
            }
        }
    }
    Ok(())
}

/// A word without quotes, by the core schema of YAML 1.2.
fn plain(text: String) -> Value {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if is_number(&text) => Value::Number(text),
        _ => Value::Text(text),
    }
}

fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        && text.contains(|c: char| c.is_ascii_digit())
        && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_types_and_places() {
        let root = parse("a: 1\nb:\n  - yes\n  - \"2\"\n  - ~\n").unwrap();
        assert_eq!(root.get("a").unwrap().value, Value::Number("1".into()));
        let Value::List(items) = &root.get("b").unwrap().value else {
            panic!()
        };
        assert_eq!(items[0].flag(), Some(true));
        assert_eq!(items[1].value, Value::Text("2".into()));
        assert_eq!(items[1].at, Mark { line: 4, column: 5 });
        assert!(items[2].is_null());
    }

    #[test]
    fn merges_bring_in_what_is_not_written() {
        let root = parse("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz:\n  <<: [*x, {c: 4}]\n").unwrap();
        let keys = |name: &str| -> Vec<String> {
            root.get(name)
                .unwrap()
                .entries()
                .iter()
                .map(|entry| format!("{}={}", entry.key, entry.node.scalar().unwrap()))
                .collect()
        };
        assert_eq!(keys("y"), ["b=3", "a=1"]);
        assert_eq!(keys("z"), ["a=1", "b=2", "c=4"]);
    }

    #[test]
    fn what_is_broken_or_hostile_is_refused_at_its_place() {
        let deep = format!("a: {}{}", "[".repeat(5000), "]".repeat(5000));
        let block: String = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let one = format!("*a{},", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", one.repeat(10)));
        }
        let mut tower = "a0: &a0 [x]\n".to_owned();
        for level in 1..100 {
            tower.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
        }
        for (text, line, says) in [
            ("a: [1\nb: 2", 0, "YAML"),
            ("a: 1\na: 2", 2, "twice (first in line 1)"),
            ("a: *nosuch", 1, ""),
            ("a: &a [*a]", 1, "inside of what it names"),
            ("? [x]\n: y", 1, "a key has to be a word"),
            ("a: 1\n---\nb: 2", 2, "second document"),
            ("<<: 5", 1, "`<<` takes a table"),
            (&deep, 1, "limit"),
            (&block, 0, "nested deeper"),
            (&bomb, 0, "far too large"),
            (&tower, 0, "nested deeper"),
        ] {
            let fault = parse(text).expect_err(&text[..text.len().min(40)]);
            assert!(fault.message.contains(says), "{}", fault.message);
            assert!(fault.at.line > 0 && (line == 0 || fault.at.line == line), "{fault:?}");
        }
    }
}
