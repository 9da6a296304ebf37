//! JSON schemas (draft 2020-12) of the serialised shapes, from their types.

use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

use super::wire;

/// What each verb prints with `--json`; of `events` and `logs` it is one line.
const VERBS: &[(&str, Shape)] = &[
    ("check", of::<wire::Check>()),
    ("doctor", of::<wire::Doctor>()),
    ("events", of::<wire::Event>()),
    ("graph", of::<wire::Graph>()),
    ("import", of::<wire::Imported>()),
    ("init", of::<wire::Imported>()),
    ("inspect", of::<wire::Inspect>()),
    ("kill", of::<wire::Acted>()),
    ("logs", of::<wire::LogLine>()),
    ("ls", of::<wire::Ls>()),
    ("plan", of::<wire::Plan>()),
    ("ps", of::<wire::Ps>()),
    ("reload", of::<wire::Acted>()),
    ("restart", of::<wire::Acted>()),
    ("scale", of::<wire::Acted>()),
    ("start", of::<wire::Acted>()),
    ("stop", of::<wire::Acted>()),
    ("top", of::<wire::Ps>()),
    ("wait", of::<wire::Acted>()),
    ("why", of::<wire::Why>()),
];

/// What the API answers with, besides that.
const ANSWERS: &[Shape] = &[
    of::<wire::DownAnswer>(),
    of::<wire::UpgradeAnswer>(),
    of::<wire::Health>(),
    of::<wire::Project>(),
    of::<wire::Refusal>(),
    of::<wire::RunAnswer>(),
];

/// What it is asked with.
const REQUESTS: &[Shape] = &[
    of::<wire::ActRequest>(),
    of::<wire::ScaleRequest>(),
    of::<wire::DownRequest>(),
    of::<wire::UpgradeRequest>(),
    of::<wire::RunRequest>(),
    of::<wire::UpRequest>(),
];

/// One type.
struct Shape {
    /// As a document of its own.
    document: fn(SchemaGenerator) -> Schema,
    /// By its name, among the generator's definitions.
    part: fn(&mut SchemaGenerator) -> Schema,
}

const fn of<T: JsonSchema>() -> Shape {
    Shape {
        document: |generator| generator.into_root_schema_for::<T>(),
        part: |generator| generator.subschema_for::<T>(),
    }
}

fn generator(contract: Contract, place: &'static str) -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.contract = contract;
        settings.definitions_path = place.into();
    });
    settings.into_generator()
}

/// The verbs that have a schema.
pub fn verbs() -> impl Iterator<Item = &'static str> {
    VERBS.iter().map(|(verb, _)| *verb)
}

/// The schema of what `runner VERB --json` prints.
pub fn of_verb(verb: &str) -> Option<Value> {
    let (_, shape) = VERBS.iter().find(|(known, _)| *known == verb)?;
    let written = (shape.document)(generator(Contract::Serialize, "/$defs"));
    let Value::Object(mut written) = written.to_value() else {
        unreachable!("a schema of a type with fields is an object")
    };
    written.insert("title".into(), format!("runner {verb} --json").into());
    // What it is comes first.
    let first = ["$schema", "title"].map(|name| written.shift_remove_entry(name));
    let document: Map<String, Value> = first.into_iter().flatten().chain(written).collect();
    Some(Value::Object(document))
}

/// Every shape of the API by its name: the member `components.schemas` of an OpenAPI document.
pub fn components() -> Map<String, Value> {
    const PLACE: &str = "/components/schemas";
    let mut answers = generator(Contract::Serialize, PLACE);
    for shape in VERBS.iter().map(|(_, shape)| shape).chain(ANSWERS) {
        (shape.part)(&mut answers);
    }
    // Of what is asked only that has to be there which has no default.
    let mut requests = generator(Contract::Deserialize, PLACE);
    for shape in REQUESTS {
        (shape.part)(&mut requests);
    }
    let mut components = answers.take_definitions(true);
    components.extend(requests.take_definitions(true));
    components
}
