//! A service before its templates are rendered: what it starts from, its ports, what it needs.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexMap;

use super::check::{Templates, Walk};
use super::document::Document;
use super::fields::Fields;
use super::merge::merge_service;
use super::node::{Node, Table, Value};
use super::ports::{self, Declared};
use super::problem::{Place, Problem, Sink};
use super::reference::STATIC_KEYS;
use super::replicas::Member;
use super::{value, words};
use crate::spec::keys::SERVICE;
use crate::spec::{Condition, Kind};

#[derive(Clone)]
pub(super) struct Draft {
    /// Where the name was written first.
    pub key: Place,
    /// `[defaults]`, templates and own keys in one, without the static keys.
    pub table: Table,
    /// The checked static keys.
    pub fixed: Table,
    /// Top-level keys that were complained about.
    pub failed: HashSet<String>,
    pub kind: Kind,
    pub ports: IndexMap<String, Declared>,
    pub needs: Vec<Need>,
    /// Which one of several it is.
    pub member: Option<Member>,
    /// Places of the keys of `[defaults]`.
    pub defaults: Arc<HashSet<Place>>,
}

/// One entry of `depends_on`.
#[derive(Clone)]
pub(super) struct Need {
    pub target: String,
    pub place: Place,
    /// `None`: the default for the kind of the target.
    pub condition: Option<Condition>,
    pub restart: bool,
    pub required: bool,
}

impl Draft {
    /// The name under which it is declared.
    pub fn declared_as<'n>(&'n self, name: &'n str) -> &'n str {
        self.member.as_ref().map_or(name, |member| &member.group)
    }
}

pub(super) fn drafts(document: &Document, sink: &mut Sink) -> IndexMap<String, Draft> {
    let mut drafts = IndexMap::new();
    let defaults: Arc<HashSet<Place>> = Arc::new(document.defaults.values().map(|entry| entry.key).collect());
    for (name, entry) in &document.services {
        if let Some(fault) = value::name_fault(name) {
            sink.push(Problem::error(entry.key, format!("service `{name}`: {fault}")).of(name, ""));
        }
        let own = entry.node.table().cloned().unwrap_or_default();
        let table = with_bases(name, own, document, sink);
        drafts.insert(name.clone(), draft(name, entry.key, table, defaults.clone(), sink));
    }
    drafts
}

/// Lays the service over its templates, and these over `[defaults]`.
fn with_bases(name: &str, own: Table, document: &Document, sink: &mut Sink) -> Table {
    let mut layers = vec![own];
    let mut visited: HashSet<String> = HashSet::new();
    let default = document.defaults.get("extends");
    while let Some(top) = layers.last() {
        let own = top.get("extends");
        let Some(entry) = own.or_else(|| default.filter(|_| layers.len() == 1)) else {
            break;
        };
        let Some(wanted) = entry.node.text() else { break };
        if !visited.insert(wanted.to_owned()) {
            let problem = Problem::error(entry.node.place, format!("template `{wanted}` extends itself"));
            sink.push(problem.of(name, "extends"));
            break;
        }
        let Some(template) = document.templates.get(wanted) else {
            let known = document.templates.keys().map(String::as_str);
            let hint = match words::nearest(wanted, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None if document.services.contains_key(wanted) => {
                    format!("`{wanted}` is a service; only `[templates.NAME]` can be extended")
                }
                None => "declare it as `[templates.NAME]`".into(),
            };
            let problem = Problem::error(entry.node.place, format!("there is no template `{wanted}`"));
            sink.push_unless_broken(problem.suggest(hint).of(name, "extends"));
            break;
        };
        layers.push(template.node.table().cloned().unwrap_or_default());
    }
    let mut table = document.defaults.clone();
    for layer in layers.into_iter().rev() {
        merge_service(&mut table, layer);
    }
    table
}

fn draft(name: &str, key: Place, mut table: Table, defaults: Arc<HashSet<Place>>, sink: &mut Sink) -> Draft {
    let mut fixed = Table::new();
    for static_key in STATIC_KEYS {
        if let Some((key, entry)) = table.shift_remove_entry(*static_key) {
            fixed.insert(key, entry);
        }
    }
    let mut walk = Walk::new(sink, Templates::Refused, Some(name), "");
    let fixed = walk.table(&fixed, &SERVICE);
    let failed = walk.failed;
    let kind = match fixed.get("type").and_then(|entry| entry.node.text()) {
        Some("oneshot") => Kind::Oneshot,
        _ => Kind::Simple,
    };
    let fields = Fields { table: &fixed };
    for word in fields.items("profiles") {
        if let Some(fault) = value::name_fault(word.text().unwrap_or_default()) {
            sink.push(Problem::error(word.place, fault).of(name, "profiles"));
        }
    }
    let ports = match fields.node("ports") {
        Some(node) => ports::declared(name, node, sink),
        None => IndexMap::new(),
    };
    let needs = fields.node("depends_on").map_or_else(Vec::new, needs);
    Draft {
        key,
        table,
        fixed,
        failed,
        kind,
        ports,
        needs,
        member: None,
        defaults,
    }
}

fn needs(node: &Node) -> Vec<Need> {
    let Value::Table(table) = &node.value else {
        let listed = node.items().iter();
        return listed
            .filter_map(|item| {
                Some(Need {
                    target: item.text()?.to_owned(),
                    place: item.place,
                    condition: None,
                    restart: false,
                    required: true,
                })
            })
            .collect();
    };
    table
        .iter()
        .map(|(target, entry)| {
            let fields = entry.node.table().map(|table| Fields { table });
            let word = match fields {
                Some(fields) => fields.text("condition"),
                None => entry.node.text(),
            };
            Need {
                target: target.clone(),
                place: entry.key,
                condition: word.and_then(condition),
                restart: fields.and_then(|fields| fields.flag("restart")).unwrap_or(false),
                required: fields.and_then(|fields| fields.flag("required")).unwrap_or(true),
            }
        })
        .collect()
}

fn condition(word: &str) -> Option<Condition> {
    Some(match word {
        "started" => Condition::Started,
        "healthy" => Condition::Healthy,
        "completed" => Condition::Completed,
        "completed_successfully" => Condition::CompletedSuccessfully,
        _ => return None,
    })
}
