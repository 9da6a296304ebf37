//! Whether a value is as a JSON schema says: as much of draft 2020-12 as our own schemas use.

use serde_json::Value;

/// The first thing that does not fit, with its place.
pub fn misfit(schema: &Value, value: &Value, components: &Value) -> Option<String> {
    at("$", schema, value, components, false)
}

/// `is_part`: other schemas of the same value know further fields.
fn at(place: &str, schema: &Value, value: &Value, components: &Value, is_part: bool) -> Option<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        assert!(components[name].is_object(), "no schema {name}");
        if let Some(wrong) = at(place, &components[name], value, components, is_part) {
            return Some(wrong);
        }
    }
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(some) => some.iter().map(|one| one.as_str().unwrap()).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.iter().any(|wanted| is_a(value, wanted)) {
        return Some(format!("{place}: {value} is no {types:?}"));
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        return Some(format!("{place}: {value} is none of {}", schema["enum"]));
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return Some(format!("{place}: {value} is not {}", schema["const"]));
    }
    for word in ["anyOf", "oneOf"] {
        if let Some(all) = schema[word].as_array() {
            let wrong: Vec<_> = all
                .iter()
                .map_while(|one| {
                    at(
                        place,
                        one,
                        value,
                        components,
                        is_part || !schema["properties"].is_null(),
                    )
                })
                .collect();
            if wrong.len() == all.len() {
                return Some(format!("{place}: {value} fits none of {word}: {wrong:?}"));
            }
        }
    }
    match value {
        Value::Object(fields) => {
            for wanted in schema["required"].as_array().into_iter().flatten() {
                if !fields.contains_key(wanted.as_str().unwrap()) {
                    return Some(format!("{place}: no {wanted}"));
                }
            }
            let known = schema["properties"].as_object();
            let is_open = is_part
                || ["additionalProperties", "anyOf", "oneOf", "$ref"]
                    .iter()
                    .any(|word| schema.get(word).is_some());
            fields.iter().find_map(|(key, value)| {
                let place = format!("{place}.{key}");
                match known.and_then(|known| known.get(key)) {
                    Some(schema) => at(&place, schema, value, components, false),
                    None if known.is_some() && !is_open => Some(format!("{place}: not in the schema")),
                    None => at(&place, &schema["additionalProperties"], value, components, false),
                }
            })
        }
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(index, item)| at(&format!("{place}[{index}]"), &schema["items"], item, components, false))
        }
        _ => None,
    }
}

fn is_a(value: &Value, wanted: &str) -> bool {
    match wanted {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("a type of no kind: {other}"),
    }
}

#[test]
fn a_misfit_is_found_at_its_place() {
    let components = serde_json::json!({ "A": {
        "type": "object", "required": ["n"],
        "properties": { "n": { "type": "integer" }, "all": { "type": "array", "items": { "anyOf": [{ "type": "null" }, { "$ref": "#/A" }] } } },
    } });
    let schema = serde_json::json!({ "$ref": "#/components/schemas/A" });
    let check = |value: Value| misfit(&schema, &value, &components);
    assert_eq!(check(serde_json::json!({ "n": 1, "all": [null, { "n": 2 }] })), None);
    for wrong in [
        serde_json::json!({}),
        serde_json::json!({ "n": "1" }),
        serde_json::json!({ "n": 1, "more": 2 }),
        serde_json::json!({ "n": 1, "all": [{}] }),
        serde_json::json!([]),
    ] {
        assert!(check(wrong.clone()).is_some(), "{wrong}");
    }
}
