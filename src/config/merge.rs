//! Laying one table over another; every value keeps the place where it was written.

use super::node::{Entry, Node, Table, Value};
use crate::spec::keys::PROBE_KINDS;

/// Deep: tables key by key, everything else whole.
pub(super) fn merge_tables(base: &mut Table, over: Table) {
    for (name, entry) in over {
        match base.get_mut(&name) {
            None => {
                base.insert(name, entry);
            }
            Some(before) => lay_over(&name, before, entry),
        }
    }
}

/// Lays a service over what it starts from. Keys that mean one thing together are replaced together: another kind of
/// probe replaces the kind before, `stop` replaces `stop_signal` and `stop_timeout` and is replaced by them.
pub(super) fn merge_service(base: &mut Table, over: Table) {
    if over.contains_key("stop") {
        base.shift_remove("stop_signal");
        base.shift_remove("stop_timeout");
    } else if over.contains_key("stop_signal") || over.contains_key("stop_timeout") {
        base.shift_remove("stop");
    }
    merge_tables(base, over);
}

fn lay_over(name: &str, before: &mut Entry, over: Entry) {
    match (&mut before.node.value, over.node.value) {
        (Value::Table(base), Value::Table(table)) => {
            if matches!(name, "ready" | "health") && table.keys().any(|key| PROBE_KINDS.contains(&key.as_str())) {
                base.retain(|key, _| !PROBE_KINDS.contains(&key.as_str()));
            }
            merge_tables(base, table);
            before.key = over.key;
            before.node.place = over.node.place;
        }
        (_, value) => {
            *before = Entry {
                key: over.key,
                node: Node {
                    place: over.node.place,
                    value,
                },
            };
        }
    }
}
