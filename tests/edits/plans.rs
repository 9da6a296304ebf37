//! `plan` is the truth: what it says of an edit is what `up` then tells and what processes then show.

use serde_json::Value;

use crate::common::{Project, free_port, stdout};
use crate::foretold::{self, moves};
use crate::{Running, fixture, stays};

/// Runs once, and is done.
const JOB: &str = "[services.job]\ntype = \"oneshot\"\ncommand = \"echo done\"\n";

fn holds(name: &str, port: u16) -> String {
    let program = fixture::program();
    format!(
        "[services.{name}]\ncommand = [{program:?}, \"hold\", \"{{{{ port }}}}\", \"wait\"]\nports = {{ http = {port} }}\n"
    )
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

/// Plans, does, and compares.
#[track_caller]
fn foretells(running: &mut Running, what: &str) -> Value {
    let plan = running.json(&["plan"]);
    let detailed = running.project.run(&["plan", "--detailed-exitcode"]);
    let before = running.picture();
    running.run(&["up", "-d"]);
    let after = running.picture();
    foretold::came_true(what, &plan, &before, &after);
    let steps = plan["steps"].as_array().unwrap();
    let told: Vec<&Value> = steps.iter().filter(|step| step["step"] != "keep").collect();
    let code = if told.is_empty() { 0 } else { 2 };
    assert_eq!(detailed.status.code(), Some(code), "{what}: {}", stdout(&detailed));
    let generation = plan["generation"].clone();
    // Orders by hand are no definition, and have no such event.
    let is_told = |event: &Value| event["event"] == "config_applied" && event["generation"] == generation;
    if running.ps()["generation"] == generation {
        let applied = running.hear("what was planned to be told", is_told);
        assert_eq!(
            applied["steps"].as_array().unwrap().iter().collect::<Vec<_>>(),
            told,
            "{what}"
        );
    }
    plan
}

/// In words, what stands in the file then, and which services take which step.
type Edit<'a> = (&'a str, String, Vec<(&'a str, &'a str)>);

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
        let end = base[begin + 1..]
            .find("[services.")
            .map_or(base.len(), |at| begin + 1 + at);
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
    let edits: Vec<Edit> = vec![
        ("nothing", base.clone() + "# a comment\n", vec![]),
        (
            "a command",
            edit("sleep 1000\"\nenv_file", "sleep 2000\"\nenv_file"),
            vec![("worker", "restart")],
        ),
        (
            "a oneshot that is done",
            edit("echo done", "echo again"),
            vec![("job", "start")],
        ),
        (
            "a new service",
            base.clone() + &stays("new", "depends_on = [\"db\"]"),
            vec![("new", "start")],
        ),
        ("a removed one", without("after"), vec![("after", "stop")]),
        (
            "who takes others along",
            edit("EDIT = \"0\"", "EDIT = \"1\""),
            vec![("db", "restart"), ("web", "restart")],
        ),
        (
            "a default",
            base.clone() + "[defaults]\nstop_timeout = \"5s\"\n",
            each("live"),
        ),
        (
            "ports that are traded",
            traded,
            vec![("one", "restart"), ("other", "restart")],
        ),
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
        let plan = foretells(&mut running, what);
        assert_eq!(moves(&plan), expected, "{what}");
        running.project.write("services.toml", &base);
        foretells(&mut running, &format!("{what}, taken back"));
    }
    running.project.write("worker.env", "LEVEL=2\n");
    let plan = foretells(&mut running, "an env file");
    assert_eq!(moves(&plan), [("worker", "restart")]);
    running.project.write("more/new.toml", &stays("included", ""));
    let plan = foretells(&mut running, "a file that matches");
    assert_eq!(moves(&plan), [("included", "start")]);
    running.run(&["stop", "api"]);
    // `web` can't do without.
    let plan = foretells(&mut running, "one that was stopped by hand");
    assert_eq!(moves(&plan), [("api", "start"), ("web", "start")]);
    running.down();
}
