//! The keys of the stop ladder, and of a reload by signal.

use std::time::Duration;

use super::{Builder, value};
use crate::spec::{Rung, Signal};

impl Builder<'_> {
    pub(super) fn stop(&mut self) -> Vec<Rung> {
        let fields = self.fields;
        if let Some(node) = fields.node("stop") {
            let other = ["stop_signal", "stop_timeout"].into_iter().find(|key| fields.has(key));
            if let Some(key) = other {
                let place = fields.table[key].key;
                self.complain(
                    place,
                    key,
                    format!("`{key}` beside `stop`"),
                    "the ladder says it all: take one of them out",
                );
            }
            if node.items().is_empty() {
                self.complain(
                    node.place,
                    "stop",
                    "a ladder without a rung",
                    "`[[\"SIGTERM\", \"10s\"]]`",
                );
            }
            let rungs = node.items().iter().filter_map(|rung| {
                let [signal, wait] = rung.items() else { return None };
                Some(Rung {
                    signal: Signal::from_name(signal.text()?)?,
                    wait: value::duration(wait.text()?).ok()?,
                })
            });
            return rungs.collect();
        }
        vec![Rung {
            signal: fields.signal("stop_signal").unwrap_or(Signal::TERM),
            wait: fields.duration("stop_timeout").unwrap_or(Duration::from_secs(10)),
        }]
    }

    pub(super) fn reload_signal(&mut self) -> Option<Signal> {
        let fields = self.fields;
        if let Some(entry) = fields
            .table
            .get("reload_command")
            .filter(|_| fields.has("reload_signal"))
        {
            self.complain(
                entry.key,
                "reload_command",
                "`reload_command` beside `reload_signal`",
                "there is one way to reload: take one of them out",
            );
        }
        fields.signal("reload_signal")
    }
}
