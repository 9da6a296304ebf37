//! `GET /v1/openapi.json`: what the routes and the types say of themselves.

use serde_json::{Map, Value, json};

use super::routes::{ROUTES, Route};
use super::schema;

/// The whole description.
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "runner",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "One project, over its Unix socket: `curl --unix-socket SOCKET http://runner/v1/services`.",
        },
        "paths": paths,
        "components": { "schemas": schema::components() },
    })
}

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = Vec::new();
    if route.path.contains("{name}") {
        parameters.push(json!({
            "name": "name", "in": "path", "required": true, "schema": { "type": "string" },
            "description": "`NAME`, `NAME@INSTANCE` or `@LABEL`",
        }));
    }
    for (name, description) in route.parameters() {
        parameters.push(json!({
            "name": name, "in": "query", "schema": { "type": "string" }, "description": description,
        }));
    }
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let content = |kind: &str, name: &str| match name {
        "" => json!({ kind: {} }),
        name => json!({ kind: { "schema": reference(name) } }),
    };
    let mut operation = json!({
        "operationId": id(route),
        "summary": route.what,
        "parameters": parameters,
        "responses": {
            "2XX": { "description": "done, or already so", "content": content(route.kind, route.answer) },
            "default": { "description": "refused", "content": content("application/problem+json", "Refusal") },
        },
    });
    if !route.request.is_empty() {
        operation["requestBody"] = json!({ "content": content("application/json", route.request) });
    }
    operation
}

/// `get_services_name_why`.
fn id(route: &Route) -> String {
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty() && *word != "v1");
    let path: Vec<&str> = words.collect();
    format!("{}_{}", route.method.to_lowercase(), path.join("_"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_to_a_schema_and_every_operation_has_a_name_of_its_own() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 10);
        for reference in found {
            let target = document.pointer(reference.trim_start_matches('#'));
            assert!(target.is_some(), "{reference}");
        }
        let names: BTreeSet<String> = ROUTES.iter().map(id).collect();
        assert_eq!(names.len(), ROUTES.len());
    }
}
