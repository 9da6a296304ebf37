//! The key `limits`: resource limits of setrlimit(2).

use indexmap::IndexMap;

use super::fields::Fields;
use super::node::{Node, Value};
use super::problem::{Problem, Sink};
use crate::spec::{Limit, Resource};

/// A checked `limits` table.
pub(super) fn limits(table: Fields<'_>, service: &str, sink: &mut Sink) -> IndexMap<Resource, Limit> {
    let mut known = IndexMap::new();
    for (name, entry) in table.table {
        let Some(resource) = resource(name) else { continue };
        let limit = limit(&entry.node);
        // `None` is without limit, so it is the largest.
        let above = match (limit.soft, limit.hard) {
            (Some(soft), Some(hard)) => soft > hard,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if above {
            let problem = Problem::error(entry.node.place, "the soft limit is above the hard one");
            sink.push(problem.of(service, &format!("limits.{name}")));
        }
        known.insert(resource, limit);
    }
    known
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "memlock" => Resource::Memlock,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

fn limit(node: &Node) -> Limit {
    let number = |node: &Node| match node.value {
        Value::Integer(integer) => u64::try_from(integer).ok(),
        _ => None,
    };
    let Some(fields) = node.table().map(|table| Fields { table }) else {
        let both = number(node);
        return Limit { soft: both, hard: both };
    };
    let soft = fields.node("soft");
    let hard = fields.node("hard");
    Limit {
        soft: soft.or(hard).and_then(number),
        hard: hard.or(soft).and_then(number),
    }
}
