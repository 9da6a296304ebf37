//! Every route answers as it is documented.

use serde_json::Value;

use crate::common::{Project, eventually};
use crate::raw::{Answer, Running};
use crate::shape::misfit;

const FILE: &str = r#"
[services.web]
command = "echo start >> ledger; echo here; echo oops >&2; exec sleep 1000"
ready = { log = "here" }
depends_on = ["db"]
env = { PASSWORD = "hunter2" }

[services.db]
command = "trap 'echo reloaded >> ledger' HUP; mkfifo db.in; exec 3<>db.in; echo here; while :; do read line <&3; done"
ready = { log = "here" }
labels = ["back"]
reload_signal = "HUP"

[services.many]
command = "exec sleep 1000"
replicas = 1

[services.once]
type = "oneshot"
command = "true"

[services.bad]
command = "nosuch-program"
autostart = false
"#;

struct Documented {
    running: Running,
    paths: Value,
    components: Value,
}

impl Documented {
    fn new(file: &str) -> Documented {
        let running = Running::of(file);
        let document = running.get("/v1/openapi.json").json();
        Documented {
            paths: document["paths"].clone(),
            components: document["components"]["schemas"].clone(),
            running,
        }
    }

    #[track_caller]
    fn assert_fits(&self, name: &str, value: &Value) {
        let wrong = misfit(&self.components[name], value, &self.components);
        assert_eq!(wrong, None, "{name}: {value}");
    }

    /// A refusal is one whatever the route; a success has the shape that the route says, whole or line by line.
    #[track_caller]
    fn check(&self, method: &str, path: &str, answer: &Answer) {
        let operation = &self.paths[path][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {path} is not documented");
        let which = if answer.status < 300 { "2XX" } else { "default" };
        let content = operation["responses"][which]["content"].as_object().unwrap();
        let (kind, content) = content.iter().next().unwrap();
        let reference = content["schema"]["$ref"].as_str();
        let Some(name) = reference.map(|name| name.rsplit('/').next().unwrap()) else {
            return assert_eq!(answer.kind(), kind);
        };
        // `503` of `health` is an answer, no refusal.
        if path == "/v1/health" && answer.status == 503 {
            return self.assert_fits("Health", &answer.json());
        }
        assert_eq!(answer.kind(), kind, "{method} {path}: {answer:?}");
        match kind.as_str() {
            "application/x-ndjson" => {
                for line in answer.text().lines() {
                    self.assert_fits(name, &serde_json::from_str(line).unwrap());
                }
            }
            "text/event-stream" => {
                for line in answer.text().lines().filter_map(|line| line.strip_prefix("data: ")) {
                    self.assert_fits(name, &serde_json::from_str(line).unwrap());
                }
            }
            _ => self.assert_fits(name, &answer.json()),
        }
    }

    /// Asks a documented route, for a service where it needs one.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, service: &str, query: &str, body: &str) -> Answer {
        let target = format!("{}{query}", path.replace("{name}", service));
        let answer = self.running.ask(method, &target, body);
        self.check(method, path, &answer);
        answer
    }
}

#[test]
fn every_documented_route_answers_in_its_shape() {
    let api = Documented::new(FILE);
    let mut asked = 0;
    for (path, methods) in api.paths.as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let (query, body) = match path.as_str() {
                // Each is tried where it may end things.
                "/v1/down" | "/v1/upgrade" => continue,
                // It becomes another protocol, which who does not ask for it is told.
                "/v1/services/{name}/attach" => {
                    let answer = api.running.ask(&method, "/v1/services/db/attach", "");
                    assert_eq!(answer.status, 426, "{answer:?}");
                    continue;
                }
                "/v1/events" => ("?since=0&follow=0", ""),
                "/v1/run" => ("", "{\"name\":\"web\"}"),
                "/v1/kill" => ("", "{\"signal\":\"CONT\",\"names\":[\"db\"]}"),
                "/v1/services/{name}/kill" => ("", "{\"signal\":\"CONT\"}"),
                "/v1/services/{name}/scale" => ("", "{\"replicas\":2}"),
                _ => ("", ""),
            };
            let (service, needed) = match path.ends_with("/scale") {
                true => ("many", body),
                false => ("db", ""),
            };
            let answer = api.ask(&method, path, service, query, body);
            assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
            asked += 1;
            // What was stopped or is on its way is there again for the next.
            let there = api
                .running
                .ask("POST", "/v1/start", "{\"names\":[\"web\",\"db\"],\"wait\":true}");
            assert_eq!(there.json()["outcome"], "done", "after {method} {path}");
            if path.contains("{name}") {
                assert_eq!(
                    api.ask(&method, path, "nosuch", "", needed).status,
                    404,
                    "{method} {path}"
                );
                assert_eq!(
                    api.ask(&method, path, "@nosuch", "", needed).status,
                    404,
                    "{method} {path}"
                );
            }
        }
    }
    assert!(asked > 20, "{asked}");
    let events = api.ask("GET", "/v1/events", "", "?since=0&follow=0", "").text();
    assert!(events.contains("\"event\":\"started\""), "{events}");
    assert!(api.ask("GET", "/v1/logs", "", "", "").text().lines().count() >= 3);
    // A failure and what waits for it have their shapes too.
    assert_eq!(
        api.ask("POST", "/v1/services/{name}/start", "bad", "", "{\"wait\":true}")
            .json()["outcome"],
        "failed"
    );
    assert_eq!(api.ask("GET", "/v1/services", "", "", "").status, 200);
    assert_eq!(api.ask("GET", "/v1/services/{name}/why", "bad", "", "").status, 200);
    assert_eq!(api.ask("GET", "/v1/health", "", "", "").status, 503);
    // And so have errors.
    api.running
        .project
        .write("services.toml", "[services.web]\ncommnad = \"x\"\n");
    assert_eq!(api.ask("GET", "/v1/plan", "", "", "").status, 422);
    assert_eq!(api.ask("POST", "/v1/up", "", "", "{}").status, 422);
    assert_eq!(api.ask("POST", "/v1/run", "", "", "{}").status, 400);
    assert_eq!(
        api.ask("POST", "/v1/services/{name}/stop", "web", "", "{\"names\":[\"db\"]}")
            .status,
        400
    );
    assert_eq!(
        api.ask("POST", "/v1/reload", "", "", "{\"names\":[\"web\"]}").status,
        409
    );
    assert_eq!(api.ask("POST", "/v1/kill", "", "", "{\"names\":[\"bad\"]}").status, 409);
    assert_eq!(
        api.ask(
            "POST",
            "/v1/kill",
            "",
            "",
            "{\"names\":[\"web\"],\"signal\":\"SIGNOSUCH\"}"
        )
        .status,
        400
    );
    assert_eq!(
        api.ask("POST", "/v1/kill", "", "", "{\"names\":[\"web\"],\"signal\":\"0\"}")
            .status,
        400
    );
    assert_eq!(
        api.ask("GET", "/v1/services/{name}", "web", "?reveal=2", "").status,
        400
    );
    let down = api.ask("POST", "/v1/down", "", "", "{\"timeout_ms\":18446744073709551615}");
    assert_eq!(down.status, 202, "{down:?}");
    eventually("it has ended", || api.running.project.processes().is_empty());
}

#[test]
fn secrets_are_shown_to_those_alone_who_ask_for_them() {
    let api = Documented::new(FILE);
    let hidden = api.ask("GET", "/v1/services/{name}", "web", "", "").text();
    assert!(hidden.contains("PASSWORD") && !hidden.contains("hunter2"), "{hidden}");
    let shown = api.ask("GET", "/v1/services/{name}", "web", "?reveal=1", "").text();
    assert!(shown.contains("hunter2"));
    api.running.end();
}

#[test]
fn ap_07_no_get_changes_anything() {
    let api = Documented::new(FILE);
    let running = &api.running;
    let picture = || {
        let mut ps = running.get("/v1/services").json();
        for service in ps["services"].as_array_mut().unwrap() {
            let service = service.as_object_mut().unwrap();
            // These go on by themselves.
            for key in ["uptime_s", "since_s", "cpu_percent", "memory_bytes"] {
                service.remove(key);
            }
        }
        let events = running.get("/v1/events?since=0&follow=0").text();
        (
            ps,
            events,
            running.project.read("ledger"),
            running.project.read(".runner/wishes.json"),
        )
    };
    let before = picture();
    for path in api.paths.as_object().unwrap().keys() {
        for query in [
            "",
            "?wait=1",
            "?names=web",
            "?service=web&for=ready",
            "?_method=POST",
            "?follow=0&since=0",
        ] {
            // It would not end.
            if path == "/v1/events" && !query.contains("follow=0") {
                continue;
            }
            let target = format!("{}{query}", path.replace("{name}", "web"));
            let body = "{\"names\":[\"web\"]}";
            running.ask_with("GET", &target, "X-HTTP-Method-Override: POST\r\n", body);
        }
    }
    assert_eq!(picture(), before);
    api.running.end();
}

#[test]
fn what_the_verbs_print_is_as_their_schema_files_say() {
    let project = Project::new(FILE);
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    let printed = |words: &[&str]| {
        let output = project.run(words);
        assert!(output.status.code().is_some_and(|code| code <= 1), "{words:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let mut verbs = vec![
        (vec!["ps"], false),
        (vec!["ls"], false),
        (vec!["plan"], false),
        (vec!["why", "web"], false),
        (vec!["inspect", "web"], false),
        (vec!["check"], false),
        (vec!["graph"], false),
        (vec!["doctor"], false),
        (vec!["events", "--since", "0"], true),
        (vec!["logs"], true),
        (vec!["wait", "web", "--for", "ready"], false),
        (vec!["start", "web"], false),
        (vec!["restart", "web"], false),
        (vec!["reload"], false),
        (vec!["kill", "web", "-s", "CONT"], false),
        (vec!["stop", "web"], false),
    ];
    for (words, by_line) in &mut verbs {
        let verb = words[0];
        words.push("--json");
        let file = format!("{}/docs/schema/{verb}.schema.json", env!("CARGO_MANIFEST_DIR"));
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let text = printed(words);
        let values: Vec<Value> = match by_line {
            true => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            false => vec![serde_json::from_str(&text).unwrap()],
        };
        assert!(!values.is_empty(), "{verb} prints nothing");
        for value in &values {
            assert_eq!(misfit(&schema, value, &schema["$defs"]), None, "{verb}: {value}");
        }
    }
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
}
