//! `plan` is the truth: what it says of an edit is what `up` then tells and what processes then show.

use serde_json::Value;

use crate::common::{Project, free_port, stdout};
use crate::{Picture, Running, fixture, stays};

/// Runs once, and is done.
const JOB: &str = "[services.job]\ntype = \"oneshot\"\ncommand = \"echo done\"\n";

fn holds(name: &str, port: u16) -> String {
    let program = fixture::program();
    format!("[services.{name}]\ncommand = [{program:?}, \"hold\", \"{{{{ port }}}}\", \"wait\"]\nports = {{ http = {port} }}\n")
}

/// The file as it is before each edit.
fn base(ports: [u16; 2]) -> String {
    [
        "include = [\"more/*.toml\"]\n".to_owned(),
        stays("db", "env = { EDIT = \"0\" }"),
        stays("api", "depends_on = [\"db\"]"),
        stays("web", "depends_on = { api = \"healthy\", db = { restart = true } }"),
        stays("worker", "env_file = \"worker.env\""),
        JOB.to_owned(),
        stays("after", "depends_on = [\"job\"]"),
        holds("one", ports[0]),
        holds("other", ports[1]),
    ]
    .concat()
}

/// What came of one service, by the two pictures.
fn came_true(step: &Value, before: &Picture, after: &Picture) -> bool {
    let name = step["service"].as_str().unwrap();
    let (was, is) = (before.get(name), after.get(name));
    let runs = |seen: Option<&(Option<u64>, u64)>| seen.map_or(0, |(_, run)| *run);
    let is_another = runs(is) == runs(was) + 1 && is.map(|(pid, _)| pid) != was.map(|(pid, _)| pid);
    match step["step"].as_str().unwrap() {
        "start" => runs(is) == runs(was) + 1 && was.is_none_or(|(pid, _)| pid.is_none()),
        "restart" => is_another && was.is_some_and(|(pid, _)| pid.is_some()),
        "live" | "keep" => is == was,
        "stop" => is.is_none_or(|(pid, _)| pid.is_none()),
        other => panic!("a step `{other}`"),
    }
}

/// Plans, does, and compares. The steps that are more than keeping.
#[track_caller]
fn foretold(running: &mut Running, what: &str) -> Vec<(String, String)> {
    let plan = running.json(&["plan"]);
    let detailed = running.project.run(&["plan", "--detailed-exitcode"]);
    let before = running.picture();
    running.run(&["up", "-d"]);
    let after = running.picture();
    let steps = plan["steps"].as_array().unwrap();
    for step in steps {
        assert!(came_true(step, &before, &after), "{what}: {step}\n{before:?}\n{after:?}");
    }
    let named = |name: &String| steps.iter().any(|step| step["service"] == **name);
    assert!(after.keys().chain(before.keys()).all(named), "{what}: {plan}");
    let moves: Vec<&Value> = steps.iter().filter(|step| step["step"] != "keep").collect();
    let code = if moves.is_empty() { 0 } else { 2 };
    assert_eq!(detailed.status.code(), Some(code), "{what}: {}", stdout(&detailed));
    let generation = plan["generation"].clone();
    // Orders by hand are no definition, and have no such event.
    let is_told = |event: &Value| event["event"] == "config_applied" && event["generation"] == generation;
    if running.ps()["generation"] == generation {
        let applied = running.hear("what was planned to be told", is_told);
        assert_eq!(applied["steps"].as_array().unwrap().iter().collect::<Vec<_>>(), moves, "{what}");
    }
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let moves = moves.into_iter();
    moves.map(|step| (text(&step["service"]), text(&step["step"]))).collect()
}

fn moved(name: &str, step: &str) -> (String, String) {
    (name.to_owned(), step.to_owned())
}

#[test]
fn what_plan_says_of_an_edit_is_what_happens() {
    let ports = [free_port(), free_port()];
    let base = base(ports);
    let project = Project::new(&base);
    project.write("worker.env", "LEVEL=1\n");
    std::fs::create_dir(project.file("more")).unwrap();
    let mut running = Running::of(project, &[], &["--no-reload"]);
    let without = |name: &str| {
        let begin = base.find(&format!("[services.{name}]")).unwrap();
        let end = base[begin + 1..].find("[services.").map_or(base.len(), |at| begin + 1 + at);
        base[..begin].to_owned() + &base[end..]
    };
    let edit = |from: &str, to: &str| {
        assert!(base.contains(from), "{from}");
        base.replace(from, to)
    };
    let traded = edit(&ports[0].to_string(), "0").replace(&ports[1].to_string(), &ports[0].to_string());
    let traded = traded.replace("http = 0 ", &format!("http = {} ", ports[1]));
    let all = "db api web worker after one other".split(' ');
    let each = |step: &'static str| all.clone().map(move |name| (name, step)).collect::<Vec<_>>();
    // By the file's order; what is removed comes last.
    let edits: Vec<(&str, String, Vec<(&str, &str)>)> = vec![
        ("nothing", base.clone() + "# a comment\n", vec![]),
        ("a command", edit("sleep 1000\"\nenv_file", "sleep 2000\"\nenv_file"), vec![("worker", "restart")]),
        ("a oneshot that is done", edit("echo done", "echo again"), vec![("job", "start")]),
        ("a new service", base.clone() + &stays("new", "depends_on = [\"db\"]"), vec![("new", "start")]),
        ("a removed one", without("after"), vec![("after", "stop")]),
        (
            "who takes others along",
            edit("EDIT = \"0\"", "EDIT = \"1\""),
            vec![("db", "restart"), ("web", "restart")],
        ),
        ("a default", base.clone() + "[defaults]\nstop_timeout = \"5s\"\n", each("live")),
        ("ports that are traded", traded, vec![("one", "restart"), ("other", "restart")]),
        (
            "a dependency",
            edit("[services.worker]\n", "[services.worker]\ndepends_on = [\"db\"]\n"),
            vec![("worker", "live")],
        ),
        (
            "a name",
            without("worker") + &stays("works", "env_file = \"worker.env\""),
            vec![("works", "start"), ("worker", "stop")],
        ),
        (
            "one that others need and that does not start by itself",
            edit("[services.api]\n", "[services.api]\nautostart = false\n"),
            vec![("api", "live")],
        ),
        (
            "one that nobody needs",
            edit("[services.after]\n", "[services.after]\nautostart = false\n"),
            vec![("after", "stop")],
        ),
        (
            "several at once",
            edit("[services.one]\n", "[services.one]\nenv = { A = \"1\" }\n").replace("echo done", "echo more"),
            vec![("job", "start"), ("one", "restart")],
        ),
        ("the environment of all", base.clone() + "[env]\nALL = \"1\"\n", {
            let mut all = each("restart");
            all.insert(4, ("job", "start"));
            all
        }),
    ];
    for (what, text, expected) in edits {
        running.project.write("services.toml", &text);
        let moves = foretold(&mut running, what);
        let moves: Vec<(&str, &str)> = moves.iter().map(|(name, step)| (&**name, &**step)).collect();
        assert_eq!(moves, expected, "{what}");
        running.project.write("services.toml", &base);
        foretold(&mut running, &format!("{what}, taken back"));
    }
    running.project.write("worker.env", "LEVEL=2\n");
    assert_eq!(foretold(&mut running, "an env file"), [moved("worker", "restart")]);
    running.project.write("more/new.toml", &stays("included", ""));
    assert_eq!(foretold(&mut running, "a file that matches"), [moved("included", "start")]);
    running.run(&["stop", "api"]);
    // `web` can't do without.
    let back = [moved("api", "start"), moved("web", "start")];
    assert_eq!(foretold(&mut running, "one that was stopped by hand"), back);
    running.down();
}
