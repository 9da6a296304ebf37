//! What is written down agrees with the program: the reference page, the JSON schemas.
//!
//! `RUNNER_BLESS=1 cargo test --test reference` writes the generated files anew.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use regex::Regex;
use runner::api::{schema, wire};
use runner::config::reference;
use runner::logs::Stream;
use runner::reconcile::{Author, Blocker, Cause, Reason, StateName};
use serde_json::{Value, json};

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Holds a committed file against what it should be, or writes it.
fn same(path: &str, wanted: &str) {
    if std::env::var_os("RUNNER_BLESS").is_some() {
        std::fs::write(file(path), wanted).unwrap();
    }
    let committed = std::fs::read_to_string(file(path)).unwrap_or_default();
    assert!(
        committed == wanted,
        "{path} is out of date: RUNNER_BLESS=1 cargo test --test reference"
    );
}

#[test]
fn the_reference_page_is_up_to_date() {
    same("docs/services-toml.md", &reference::page());
}

#[test]
fn the_schema_is_up_to_date() {
    same("docs/schema/services.schema.json", &reference::schema());
}

#[test]
fn the_schemas_of_the_verbs_are_up_to_date() {
    let mut known = vec!["services.schema.json".to_owned()];
    for verb in schema::verbs() {
        let name = format!("{verb}.schema.json");
        same(
            &format!("docs/schema/{name}"),
            &format!("{:#}\n", schema::of_verb(verb).unwrap()),
        );
        known.push(name);
    }
    known.sort();
    let mut there: Vec<String> = std::fs::read_dir(file("docs/schema"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(there, known);
}

#[test]
fn the_description_of_the_api_is_up_to_date() {
    let mut text = serde_json::to_string_pretty(&runner::api::openapi::document()).unwrap();
    text.push('\n');
    same("docs/openapi.json", &text);
}

fn schema(name: &str) -> Value {
    if name == "services" {
        return serde_json::from_str(&reference::schema()).unwrap();
    }
    schema::of_verb(name).unwrap()
}

/// What is wrong with a value by a schema, with the keywords that our schemas use; any other keyword is a failed test.
fn faults(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().unwrap() {
        if keyword == "$ref" {
            let target = root.pointer(rule.as_str().unwrap().strip_prefix('#').unwrap());
            faults(root, target.expect("a reference leads somewhere"), value, at, found);
            continue;
        }
        if let Some(fault) = fault(root, keyword, rule, value, at) {
            found.push(format!("{at}: {fault}"));
        }
        let list = |name: &str| (keyword == name).then(|| value.as_array().into_iter().flatten().enumerate());
        for (index, item) in list("items").into_iter().flatten() {
            faults(root, rule, item, &format!("{at}[{index}]"), found);
        }
        for (index, item) in list("prefixItems").into_iter().flatten() {
            faults(root, &rule[index], item, &format!("{at}[{index}]"), found);
        }
    }
    let additional = schema.get("additionalProperties");
    for (name, member) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        match (schema.get("properties").and_then(|known| known.get(name)), additional) {
            (Some(rule), _) => faults(root, rule, member, &at, found),
            (None, Some(Value::Bool(false))) => found.push(format!("{at}: unknown")),
            (None, None | Some(Value::Bool(true))) => {}
            (None, Some(rule)) => faults(root, rule, member, &at, found),
        }
    }
}

/// Members that no schema speaks of. Readers are told to expect more than is written down, but we write down what there
/// is.
fn strangers(root: &Value, schemas: &[&Value], value: &Value, at: &str, found: &mut Vec<String>) {
    let schemas = parts(root, schemas);
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        let rules: Vec<&Value> = schemas.iter().filter_map(|schema| schema.get("items")).collect();
        strangers(root, &rules, item, &format!("{at}[{index}]"), found);
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        let rules: Vec<&Value> = schemas.iter().filter_map(|schema| rule_of(schema, name)).collect();
        if rules.is_empty() && schemas.iter().any(|schema| schema.get("properties").is_some()) {
            found.push(format!("{at}: not in the schema"));
        }
        strangers(root, &rules, member, &at, found);
    }
}

fn rule_of<'s>(schema: &'s Value, name: &str) -> Option<&'s Value> {
    let named = schema.get("properties").and_then(|known| known.get(name));
    named.or(schema.get("additionalProperties").filter(|rule| rule.is_object()))
}

/// Schemas, and all that they refer to or choose from.
fn parts<'s>(root: &'s Value, schemas: &[&'s Value]) -> Vec<&'s Value> {
    let mut all: Vec<&Value> = schemas.to_vec();
    let mut next = 0;
    while let Some(schema) = all.get(next).copied() {
        next += 1;
        if let Some(Value::String(target)) = schema.get("$ref") {
            all.push(root.pointer(target.strip_prefix('#').unwrap()).unwrap());
        }
        for choice in ["anyOf", "oneOf"] {
            all.extend(schema.get(choice).and_then(Value::as_array).into_iter().flatten());
        }
    }
    all
}

/// What one keyword says about the value itself.
fn fault(root: &Value, keyword: &str, rule: &Value, value: &Value, at: &str) -> Option<String> {
    let fits = |schema: &Value, value: &Value| {
        let mut inner = Vec::new();
        faults(root, schema, value, at, &mut inner);
        inner.is_empty()
    };
    let names = |value: &Value| {
        value
            .as_object()
            .map(|object| object.keys().cloned().collect::<Vec<_>>())
    };
    let length = value.as_array().map(|items| items.len() as u64);
    let good = match keyword {
        "$schema" | "$defs" | "title" | "description" | "properties" | "additionalProperties" | "items" => true,
        "prefixItems" | "format" | "default" => true,
        "type" => match rule {
            Value::Array(types) => types.iter().any(|name| is_type(value, name)),
            name => is_type(value, name),
        },
        "enum" => rule.as_array().unwrap().contains(value),
        "const" => rule == value,
        "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
        "minLength" => value
            .as_str()
            .is_none_or(|text| text.chars().count() as u64 >= rule.as_u64().unwrap()),
        "minItems" => length.is_none_or(|length| length >= rule.as_u64().unwrap()),
        "maxItems" => length.is_none_or(|length| length <= rule.as_u64().unwrap()),
        "pattern" => value
            .as_str()
            .is_none_or(|text| Regex::new(rule.as_str().unwrap()).unwrap().is_match(text)),
        "required" => {
            !value.is_object()
                || rule
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|name| value.get(name.as_str().unwrap()).is_some())
        }
        "anyOf" => rule.as_array().unwrap().iter().any(|choice| fits(choice, value)),
        "oneOf" => {
            rule.as_array()
                .unwrap()
                .iter()
                .filter(|choice| fits(choice, value))
                .count()
                == 1
        }
        "propertyNames" => names(value)
            .unwrap_or_default()
            .iter()
            .all(|name| fits(rule, &json!(name))),
        other => panic!("the schema uses {other}, which this test does not know"),
    };
    (!good).then(|| format!("{keyword} {rule}"))
}

fn is_type(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("no type of JSON: {other}"),
    }
}

#[track_caller]
fn fits(name: &str, value: &Value) {
    let schema = schema(name);
    let mut found = Vec::new();
    faults(&schema, &schema, value, name, &mut found);
    strangers(&schema, &[&schema], value, name, &mut found);
    assert!(found.is_empty(), "{}\n{value:#}", found.join("\n"));
}

fn toml_file(text: &str) -> Value {
    let value: toml::Value = toml::from_str(text).unwrap();
    serde_json::to_value(value).unwrap()
}

#[test]
fn files_that_are_valid_fit_the_schema() {
    for path in ["services.toml", "examples/shop/services.toml"] {
        fits("services", &toml_file(&std::fs::read_to_string(file(path)).unwrap()));
    }
    let page = reference::page();
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    fits("services", &toml_file(example));
    let every_form = r#"
        include = "services.d/*.toml"
        [defaults]
        health = { any = [{ all = [{ tcp = 1 }, { exec = ["x"] }] }] }
        [services.a]
        command = "x"
        health = false
        env_file = [".env", { path = "x", required = false }]
        stop = [["INT", "5s"], ["{{ vars.signal }}", "{{ vars.wait }}"]]
        limits = { nofile = 1, core = "unlimited", cpu = { soft = 1 } }
        log = false
        restart = "{{ vars.restart }}"
        depends_on = { b = { condition = "started", restart = true } }
    "#;
    fits("services", &toml_file(every_form));
}

#[test]
fn files_that_are_wrong_do_not_fit_the_schema() {
    let schema = schema("services");
    for text in [
        "restar = 1",
        "[services.a]\nrestar = 'always'",
        "[services.a]\nrestart = 'sometimes'",
        "[services.a]\nrestart = false",
        "[services.a]\nstop_timeout = 10",
        "[services.a]\nstop_timeout = '10'",
        "[services.a]\nports = ['{{ x }}']",
        "[services.a]\nports = [70000]",
        "[services.a]\ncommand = []",
        "[services.a]\nhealth = { all = [{ htp = '/' }] }",
        "[services.a]\nstop = [['INT']]",
        "[services.'a b']\ncommand = 'x'",
        "[project]\nexit = '{{ x }}'",
        "[env]\nX = []",
    ] {
        let mut found = Vec::new();
        faults(&schema, &schema, &toml_file(text), "file", &mut found);
        assert!(!found.is_empty(), "{text}");
    }
}

fn service() -> wire::Service {
    let failure = wire::Failure {
        reason: Reason::PortInUse,
        message: "m".into(),
        suggestion: None,
        last_lines: vec!["l".into()],
    };
    wire::Service {
        name: "web".into(),
        state: StateName::Backoff,
        pid: Some(1),
        started_at: Some("2026-01-01T00:00:00Z".into()),
        uptime_s: Some(1.5),
        restarts: 1,
        run: 2,
        ports: IndexMap::from([("http".into(), 3000)]),
        url: None,
        outputs: indexmap::IndexMap::new(),
        cpu_percent: None,
        memory_bytes: None,
        last_exit: Some(wire::Exit::Signal("SIGKILL".into())),
        failure: Some(failure),
        drift: None,
        adopted: false,
        waiting_on: vec![Blocker {
            service: None,
            what: "tcp://x:1 (refused)".into(),
        }],
        note: Some("n".into()),
        since_s: 0.0,
        next_try_s: Some(0.5),
        next_run: Some(wire::NextRun {
            at: "2026-01-01T02:30:00Z".into(),
            in_s: 1500.0,
            clock: "02:30".into(),
        }),
        wanted: true,
        probe_attempts: 3,
    }
}

#[test]
fn json_output_fits_its_schema() {
    let mut ps = wire::Ps {
        project: "p".into(),
        generation: 1,
        settled: true,
        config_error: Some("services.toml:1:1: unknown key `x`".into()),
        services: vec![service()],
    };
    for exit in [wire::Exit::Code(1), wire::Exit::Unknown(true)] {
        ps.services.push(wire::Service {
            last_exit: Some(exit),
            failure: None,
            ..service()
        });
    }
    fits("ps", &serde_json::to_value(&ps).unwrap());
    let step = wire::PlanStep {
        service: "web".into(),
        step: wire::Step::Restart,
        fields: vec!["env.X".into()],
        changes: vec!["health.interval 10s -> 5s".into()],
        because: "b".into(),
    };
    fits(
        "plan",
        &serde_json::to_value(wire::Plan {
            generation: 1,
            steps: vec![step],
        })
        .unwrap(),
    );
    let line = wire::LogLine {
        time: "2026-01-01T00:00:00Z".into(),
        service: "web".into(),
        run: 1,
        stream: Stream::Out,
        line: Some("x".into()),
        line_base64: None,
        continued: false,
        skipped: None,
    };
    fits("logs", &serde_json::to_value(&line).unwrap());
    let bytes = wire::LogLine {
        line: None,
        line_base64: Some("eA==".into()),
        continued: true,
        ..line.clone()
    };
    fits("logs", &serde_json::to_value(bytes).unwrap());
    let gap = wire::LogLine {
        line: None,
        skipped: Some(7),
        ..line
    };
    fits("logs", &serde_json::to_value(gap).unwrap());
}

/// serde lists all variants when it meets one that it does not know.
fn variants<T: serde::de::DeserializeOwned + std::fmt::Debug>() -> Vec<Value> {
    let error = serde_json::from_value::<T>(json!("?")).unwrap_err().to_string();
    let names = error.split('`').skip(3).step_by(2);
    names.map(|name| json!(name)).collect()
}

/// The words that a schema takes, however it lists them.
fn words(root: &Value, schema: &Value) -> Vec<Value> {
    let listed = |schema: &&Value| match (schema.get("enum"), schema.get("const")) {
        (Some(Value::Array(words)), _) => words.clone(),
        (_, Some(word)) => vec![word.clone()],
        _ => Vec::new(),
    };
    parts(root, &[schema]).iter().flat_map(listed).collect()
}

#[test]
fn every_state_reason_and_event_stands_in_the_schema() {
    let ps = schema("ps");
    let listed = |name: &str| words(&ps, &ps["$defs"][name]);
    assert_eq!(listed("StateName"), variants::<StateName>());
    assert_eq!(listed("Reason"), variants::<Reason>());
    let events = schema("events");
    let kinds = parts(&events, &[&events]).into_iter();
    let kinds: Vec<Value> = kinds
        .filter_map(|schema| schema.pointer("/properties/event/const").cloned())
        .collect();
    let error = serde_json::from_value::<wire::EventKind>(json!({ "event": "?" })).unwrap_err();
    let known: Vec<Value> = error
        .to_string()
        .split('`')
        .skip(3)
        .step_by(2)
        .map(|name| json!(name))
        .collect();
    assert_eq!(kinds, known);
}

/// One event of every shape.
fn events() -> Vec<wire::Event> {
    let failure = || service().failure.unwrap();
    let kinds = [
        wire::EventKind::Waiting { on: vec!["db".into()] },
        wire::EventKind::Started { pid: 1 },
        wire::EventKind::Ready {
            after_s: 0.5,
            probe: None,
        },
        wire::EventKind::Recovered,
        wire::EventKind::Exited {
            exit: wire::Exit::Code(-1),
            after_s: 1.0,
        },
        wire::EventKind::Restarting {
            delay_s: 1.0,
            attempt: 2,
            failure: Some(failure()),
        },
        wire::EventKind::Failed { failure: failure() },
        wire::EventKind::ConfigApplied {
            generation: 1,
            restarts: 0,
            lives: 0,
            starts: 1,
            stops: 0,
            unchanged: 0,
            steps: Vec::new(),
        },
        wire::EventKind::Ended {
            code: 3,
            because: "b".into(),
        },
    ];
    let event = |kind| wire::Event {
        cursor: 1,
        time: "2026-01-01T00:00:00Z".into(),
        service: Some("web".into()),
        run: 1,
        kind,
        cause: Cause::new(Author::User, "runner up"),
    };
    kinds.into_iter().map(event).collect()
}

#[test]
fn events_fit_their_schema_and_what_is_none_does_not() {
    let schema = schema("events");
    let wrong = |value: &Value| {
        let mut found = Vec::new();
        faults(&schema, &schema, value, "event", &mut found);
        assert!(!found.is_empty(), "{value:#}");
    };
    for event in events() {
        let event = serde_json::to_value(event).unwrap();
        fits("events", &event);
        let members = event.as_object().unwrap();
        for name in members.keys() {
            let mut less = members.clone();
            less.shift_remove(name);
            wrong(&Value::Object(less));
            // Nothing that an event holds is a truth value.
            let mut other = members.clone();
            other[name] = json!(true);
            wrong(&Value::Object(other));
        }
        let mut unknown = event.clone();
        unknown["event"] = json!("exploded");
        wrong(&unknown);
        let mut more = event.clone();
        more["cause"]["colour"] = json!("red");
        let mut found = Vec::new();
        strangers(&schema, &[&schema], &more, "event", &mut found);
        assert_eq!(found, ["event.cause.colour: not in the schema"]);
    }
}

#[test]
fn the_api_has_a_component_for_every_shape() {
    let components = schema::components();
    for name in ["Ps", "Event", "LogLine", "Refusal", "UpRequest", "StateName"] {
        assert!(components.contains_key(name), "{name}");
    }
    let text = Value::Object(components.clone()).to_string();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let target = reference.split('"').next().unwrap();
        let name = target.strip_prefix("#/components/schemas/").unwrap();
        assert!(components.contains_key(name), "{target}");
    }
    // A request may leave out what has a default; an answer holds it.
    assert_eq!(components["UpRequest"].get("required"), None);
    let answered = components["Service"]["required"].as_array().unwrap();
    assert!(answered.contains(&json!("waiting_on")));
}

/// The verbs that need no running project, as they are typed.
#[test]
fn json_of_offline_verbs_fits_its_schema() {
    let project = common::Project::new(
        "[services.db]\ncommand = 'x'\n[services.web]\ncommand = 'x'\n\
         depends_on = { db = { condition = 'started', required = false } }\n",
    );
    for verb in ["graph", "plan", "check"] {
        let output = project.run(&[verb, "--json"]);
        assert!(output.status.success(), "{verb}: {}", common::stderr(&output));
        fits(verb, &serde_json::from_slice(&output.stdout).unwrap());
    }
    project.write("services.toml", "[services.web]\ncommand = 'x'\nrestar = 'no'\n");
    let output = project.run(&["check", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    fits("check", &answer);
    let wanted = json!({ "problems": [{
        "file": "services.toml", "line": 3, "column": 1, "severity": "error", "service": "web", "key": "restar",
        "message": "unknown key `restar`", "suggestion": "did you mean `restart`?",
    }] });
    assert_eq!(answer, wanted);
    // It examines what it can of a project whose file is wrong.
    fits(
        "doctor",
        &serde_json::from_slice(&project.run(&["doctor", "--json"]).stdout).unwrap(),
    );
    let output = project.run(&["schema"]);
    assert_eq!(common::stdout(&output), reference::schema());
}
