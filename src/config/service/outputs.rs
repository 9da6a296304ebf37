//! The key `outputs`.

use indexmap::IndexMap;

use super::{Builder, value};

impl Builder<'_> {
    pub(super) fn outputs(&mut self) -> IndexMap<String, String> {
        let mut outputs = IndexMap::new();
        for (name, entry) in self
            .fields
            .table_at("outputs")
            .map(|fields| fields.table)
            .into_iter()
            .flatten()
        {
            if let Some(fault) = value::name_fault(name) {
                self.complain(entry.key, "outputs", fault, "");
            }
            outputs.insert(name.clone(), entry.node.text().unwrap_or_default().to_owned());
        }
        outputs
    }
}
