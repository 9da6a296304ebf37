//! Typed reading of a table that has been checked: what stands there fits its declaration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command;
use super::node::{Node, Table, Value};
use super::problem::Sink;
use super::value;
use crate::spec::{Argv, Signal, StopScope, SupervisorExit};

/// A checked table.
#[derive(Clone, Copy)]
pub(super) struct Fields<'t> {
    pub table: &'t Table,
}

impl<'t> Fields<'t> {
    pub fn node(self, key: &str) -> Option<&'t Node> {
        self.table.get(key).map(|entry| &entry.node)
    }

    pub fn has(self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub fn text(self, key: &str) -> Option<&'t str> {
        self.node(key).and_then(Node::text)
    }

    pub fn flag(self, key: &str) -> Option<bool> {
        match self.node(key)?.value {
            Value::Bool(truth) => Some(truth),
            _ => None,
        }
    }

    pub fn integer(self, key: &str) -> Option<i64> {
        match self.node(key)?.value {
            Value::Integer(integer) => Some(integer),
            _ => None,
        }
    }

    /// As [`Fields::integer`], for keys whose bounds fit.
    pub fn count(self, key: &str) -> Option<u32> {
        self.integer(key).and_then(|integer| u32::try_from(integer).ok())
    }

    pub fn number(self, key: &str) -> Option<f64> {
        match self.node(key)?.value {
            Value::Number(number) => Some(number),
            Value::Integer(integer) => Some(integer as f64),
            _ => None,
        }
    }

    pub fn stop_scope(self) -> StopScope {
        match self.text("stop_scope") {
            Some("group") => StopScope::Group,
            Some("process") => StopScope::Process,
            _ => StopScope::Tree,
        }
    }

    pub fn supervisor_exit(self) -> SupervisorExit {
        match self.text("on_supervisor_exit") {
            Some("stop") => SupervisorExit::Stop,
            _ => SupervisorExit::Keep,
        }
    }

    pub fn duration(self, key: &str) -> Option<Duration> {
        self.text(key).and_then(|text| value::duration(text).ok())
    }

    /// In bytes.
    pub fn size(self, key: &str) -> Option<u64> {
        self.text(key).and_then(|text| value::size(text).ok())
    }

    pub fn signal(self, key: &str) -> Option<Signal> {
        self.text(key).and_then(Signal::from_name)
    }

    pub fn table_at(self, key: &str) -> Option<Fields<'t>> {
        self.node(key).and_then(Node::table).map(|table| Fields { table })
    }

    /// The elements of an array, or the one value; nothing when the key is not there.
    pub fn items(self, key: &str) -> &'t [Node] {
        self.node(key).map_or(&[], Node::items)
    }

    pub fn texts(self, key: &str) -> Vec<String> {
        self.items(key)
            .iter()
            .filter_map(Node::text)
            .map(str::to_owned)
            .collect()
    }

    pub fn command(self, key: &str, shell: &[String]) -> Option<Argv> {
        self.node(key).map(|node| command::argv(node, shell))
    }

    pub fn path(self, key: &str, sink: &Sink) -> Option<PathBuf> {
        self.node(key).and_then(|node| path(node, sink))
    }
}

/// A path, absolute: relative ones start from the folder of the file that names them.
pub(super) fn path(node: &Node, sink: &Sink) -> Option<PathBuf> {
    let text = node.text()?;
    Some(tidy(&sink.folder(node.place.file).join(text)))
}

/// Without `.` components; `..` stays, as it may lead through a symbolic link.
pub(super) fn tidy(path: &Path) -> PathBuf {
    path.components().collect()
}
