//! What `plan` said of a service, against what processes show afterwards.

use std::collections::BTreeMap;

use serde_json::Value;

/// Who runs, as which process, in which of its runs.
pub type Picture = BTreeMap<String, (Option<u64>, u64)>;

/// Of `ps --json`.
pub fn picture(ps: &Value) -> Picture {
    let services = ps["services"].as_array().unwrap().iter();
    let seen = |service: &Value| {
        let name = service["name"].as_str().unwrap().to_owned();
        (name, (service["pid"].as_u64(), service["run"].as_u64().unwrap()))
    };
    services.map(seen).collect()
}

/// Fails unless each step came true, and everybody has one.
#[track_caller]
pub fn came_true(what: &str, plan: &Value, before: &Picture, after: &Picture) {
    let steps = plan["steps"].as_array().unwrap();
    for step in steps {
        let name = step["service"].as_str().unwrap();
        let happened = happened(step["step"].as_str().unwrap(), before.get(name), after.get(name));
        assert!(happened, "{what}: {step}\n{before:?}\n{after:?}");
    }
    let named = |name: &String| steps.iter().any(|step| step["service"] == **name);
    assert!(after.keys().chain(before.keys()).all(named), "{what}: {plan}");
}

type Seen = (Option<u64>, u64);

fn happened(step: &str, was: Option<&Seen>, is: Option<&Seen>) -> bool {
    let (ran, runs) = (was.map_or(0, |was| was.1), is.map_or(0, |is| is.1));
    let (lived, lives) = (was.and_then(|was| was.0), is.and_then(|is| is.0));
    match step {
        "start" => runs == ran + 1 && lived.is_none(),
        "restart" => runs == ran + 1 && lived.is_some() && lives.is_some() && lives != lived,
        "live" | "keep" => was == is,
        "stop" => lived.is_some() && lives.is_none(),
        other => panic!("a step `{other}`"),
    }
}

/// Those that are more than keeping: service and step.
pub fn moves(plan: &Value) -> Vec<(&str, &str)> {
    let steps = plan["steps"].as_array().unwrap().iter();
    let both = steps.map(|step| (step["service"].as_str().unwrap(), step["step"].as_str().unwrap()));
    both.filter(|(_, step)| *step != "keep").collect()
}
