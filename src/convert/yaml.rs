//! YAML with places, bounded: what an alias stands for is counted as often as it is used.

use std::collections::BTreeMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::Broken;

const DEEPEST: usize = 64;
/// So many nodes a file may amount to.
const MOST_NODES: usize = 200_000;

/// Of a map, in the order of the file.
type Entries = Vec<(String, Rc<Node>)>;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub line: usize,
    pub value: Yaml,
}

#[derive(Clone, Debug)]
pub(super) enum Yaml {
    Null,
    /// With what it would be without quotes.
    Scalar(String),
    List(Vec<Rc<Node>>),
    Map(Entries),
}

impl Node {
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().find(|(name, _)| *name == key).map(|(_, node)| node)
    }

    pub fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        let entries = match &self.value {
            Yaml::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|(name, node)| (name.as_str(), &**node))
    }

    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Yaml::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// The members of a list, or the one value.
    pub fn items(&self) -> Vec<&Node> {
        match &self.value {
            Yaml::List(items) => items.iter().map(|item| &**item).collect(),
            Yaml::Null => Vec::new(),
            Yaml::Scalar(_) | Yaml::Map(_) => vec![self],
        }
    }

    pub fn is_map(&self) -> bool {
        matches!(self.value, Yaml::Map(_))
    }

    pub fn is_true(&self) -> bool {
        matches!(self.text(), Some("true" | "True" | "TRUE" | "yes" | "on"))
    }
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: BTreeMap<usize, (Rc<Node>, usize)>,
    nodes: usize,
}

/// The first document of a file.
pub(super) fn parse(text: &str) -> Result<Rc<Node>, Broken> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: BTreeMap::new(),
        nodes: 0,
    };
    loop {
        let (event, line) = reader.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
            Event::StreamEnd | Event::DocumentEnd => return Err(Broken::whole("it is empty")),
            event => return Ok(reader.node(event, line, 0)?.0),
        }
    }
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, usize), Broken> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => Err(Broken {
                line: Some(error.marker().line()),
                column: Some(error.marker().col() + 1),
                message: format!("this is no YAML: {}", error.info()),
            }),
            None => Ok((Event::StreamEnd, 0)),
        }
    }

    /// A node and how many it amounts to.
    fn node(&mut self, event: Event<'t>, line: usize, depth: usize) -> Result<(Rc<Node>, usize), Broken> {
        if depth > DEEPEST {
            return Err(Broken::at(line, format!("nested deeper than {DEEPEST} levels")));
        }
        self.count(1, line)?;
        let (value, anchor, size) = match event {
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(Broken::at(line, "an alias of what is not there yet"));
                };
                self.count(size, line)?;
                return Ok((node, size));
            }
            Event::Scalar(text, style, anchor, _) => (scalar(&text, style), anchor, 1),
            Event::SequenceStart(anchor, _) => {
                let (mut items, mut size) = (Vec::new(), 1);
                loop {
                    let (event, line) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    let (item, more) = self.node(event, line, depth + 1)?;
                    items.push(item);
                    size += more;
                }
                (Yaml::List(items), anchor, size)
            }
            Event::MappingStart(anchor, _) => {
                let (map, size) = self.map(depth)?;
                (Yaml::Map(map), anchor, size)
            }
            _ => return Err(Broken::at(line, "this is no YAML: a value is missing")),
        };
        let node = Rc::new(Node { line, value });
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok((node, size))
    }

    fn map(&mut self, depth: usize) -> Result<(Entries, usize), Broken> {
        let (mut map, mut merged, mut size) = (Entries::new(), Vec::new(), 1);
        loop {
            let (event, line) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let (key, _) = self.node(event, line, depth + 1)?;
            let (event, at) = self.next()?;
            let (value, more) = self.node(event, at, depth + 1)?;
            size += more + 1;
            let Some(name) = key.text() else {
                return Err(Broken::at(line, "a key that is no text"));
            };
            // `<<: *base`: what stands here wins.
            if name == "<<" {
                merged.extend(value.items().into_iter().flat_map(|base| match &base.value {
                    Yaml::Map(entries) => entries.clone(),
                    _ => Vec::new(),
                }));
            } else if map.iter().any(|(known, _)| known == name) {
                return Err(Broken::at(line, format!("`{}` stands here twice", name.escape_debug())));
            } else {
                map.push((name.to_owned(), value));
            }
        }
        for (name, value) in merged {
            if !map.iter().any(|(known, _)| *known == name) {
                map.push((name, value));
            }
        }
        Ok((map, size))
    }

    fn count(&mut self, more: usize, line: usize) -> Result<(), Broken> {
        self.nodes = self.nodes.saturating_add(more);
        match self.nodes > MOST_NODES {
            true => Err(Broken::at(line, format!("it amounts to more than {MOST_NODES} values"))),
            false => Ok(()),
        }
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Yaml {
    match (style, text) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Yaml::Null,
        _ => Yaml::Scalar(text.to_owned()),
    }
}
