//! HR-07 to HR-11: an edit meets a service in the middle of something; changes that cost nothing; names, ports and
//! dependencies that change places.

use std::process::Stdio;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;

use crate::common::{Project, free_port, stderr};
use crate::fixture;
use crate::{Running, stays, step_of, steps};

/// A shell service that enters each start and stop into the ledger. `starting` and `stopping`: what it does meanwhile.
fn entered(name: &str, starting: &str, stopping: &str, keys: &str) -> String {
    format!(
        "[services.{name}]\ncommand = \"echo start $$ >> ledger; trap '{stopping}; echo stop $$ >> ledger; exit 0' TERM; {starting}; \
         exec 3<>hold; echo it is here; read line <&3\"\nready = {{ log = \"is here\" }}\n{keys}\n"
    )
}

/// A project with FIFOs that its services wait at.
fn project(services: &str) -> Project {
    let project = Project::new(services);
    for name in ["hold", "go"] {
        mkfifo(&project.file(name), Mode::S_IRWXU).unwrap();
    }
    project
}

/// Lets one that waits at `go` go on.
fn go(project: &Project) {
    std::fs::write(project.file("go"), "go\n").unwrap();
}

const WAITS: &str = "read x < go";
const NOT: &str = ":";

/// Never two at a time: each start but the first comes after a stop. How many there were.
#[track_caller]
fn lives(running: &Running) -> usize {
    let ledger = running.project.read("ledger");
    let words: Vec<&str> = ledger.lines().filter_map(|line| line.split(' ').next()).collect();
    let alternate = words
        .iter()
        .enumerate()
        .all(|(at, &word)| word == ["start", "stop"][at % 2]);
    assert!(alternate, "{ledger}");
    words.len().div_ceil(2)
}

/// Ends a project whose service waits at `go` when it is asked to stop.
#[track_caller]
fn down_with_a_word(mut running: Running) {
    let down = running
        .project
        .command(&["down"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    running.hear("the end to begin", |event| event["event"] == "ending");
    go(&running.project);
    let output = down.unwrap().wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    running.is_over();
}

fn edit(n: u32) -> String {
    format!("env = {{ EDIT = \"{n}\" }}")
}

#[test]
fn hr_07_an_edit_while_it_starts() {
    let starts = |n| entered("a", WAITS, NOT, &edit(n));
    let project = project(&starts(0));
    let up = project.run(&["up", "-d", "--no-wait"]);
    assert_eq!(up.status.code(), Some(0));
    let mut running = Running::follow(project, &[]);
    running.hear_of("a", "started");
    running.project.write("services.toml", &starts(1));
    let again = running.hear("another run", |event| event["event"] == "started" && event["run"] == 2);
    go(&running.project);
    running.comes_up();
    assert_eq!(running.picture()["a"], (again["pid"].as_u64(), 2));
    assert_eq!(lives(&running), 2);
    running.down();
}

#[test]
fn hr_07_an_edit_while_it_stops() {
    let stops = |n| entered("a", NOT, WAITS, &edit(n));
    let mut running = Running::of(project(&stops(0)), &[], &[]);
    running.project.write("services.toml", &stops(1));
    running.hear_of("a", "stopping");
    // What it comes back as is what stands in the file then.
    running.project.write("services.toml", &stops(2));
    let applied = running.hear("a second edit", |event| {
        event["event"] == "config_applied" && event["generation"] == 3
    });
    assert_eq!(step_of(&applied["steps"], "a").1, ["env.EDIT"]);
    go(&running.project);
    running.comes_up();
    assert_eq!((running.picture()["a"].1, lives(&running)), (2, 2));
    assert_eq!(running.json(&["inspect", "a"])["definition"]["env"]["EDIT"], "2");
    // Back to what runs: it is being replaced all the same, and comes back once.
    running.project.write("services.toml", &stops(3));
    running.hear_of("a", "stopping");
    running.project.write("services.toml", &stops(2));
    running.hear("the edit back", |event| {
        event["event"] == "config_applied" && event["generation"] == 5
    });
    go(&running.project);
    running.comes_up();
    assert_eq!((running.picture()["a"].1, lives(&running)), (3, 3));
    down_with_a_word(running);
}

#[test]
fn hr_07_an_edit_ends_a_back_off() {
    let crashes = |code: u32| {
        format!(
            "[services.a]\ncommand = \"exit {code}\"\nbackoff = {{ initial = \"1h\", max = \"1h\" }}\n{}",
            stays("b", "")
        )
    };
    let project = Project::new(&crashes(1));
    assert_eq!(project.run(&["up", "-d", "--no-wait"]).status.code(), Some(0));
    let mut running = Running::follow(project, &[]);
    running.hear_of("a", "restarting");
    running.project.write("services.toml", &crashes(2));
    running.hear("another run", |event| event["event"] == "exited" && event["run"] == 2);
    running.hear_of("a", "restarting");
    running
        .project
        .write("services.toml", &(stays("a", "") + &stays("b", "")));
    running.hear("a third run", |event| event["event"] == "ready" && event["run"] == 3);
    assert_eq!(running.picture()["b"].1, 1);
    running.down();
}

#[test]
fn hr_08_what_does_not_concern_the_process_does_not_touch_it() {
    let first = "[services.a]\ncommand = \"exec sleep 1000\"\nenv = { A = \"1\", B = \"2\" }\nstop_signal = \"TERM\"\n\
                 ready = { exec = \"/bin/true\" }\n[services.b]\ncommand = [\"sleep\", \"1000\"]\n";
    let mut running = Running::up(first);
    let before = running.picture();
    let same = [
        // Comments, white space, order of keys and services.
        "# A comment.\n\n[services.b]\ncommand = [ \"sleep\",\n  \"1000\", ]   # here too\n\n[services.a]\nready.exec = \"/bin/true\"\n\
         stop_signal = \"SIGTERM\"\nenv.B = '2'\nenv.A = \"1\"\ncommand = '''exec sleep 1000'''\n",
        // The same, said by other words.
        "[defaults]\nstop_timeout = \"10s\"\n[templates.t]\nready = { exec = [\"/bin/true\"], timeout = \"3000ms\" }\n[env]\n[services.a]\n\
         extends = \"t\"\ncommand = \"exec sleep 1000\"\nenv = { B = \"2\", A = \"1\" }\nstop = [[\"TERM\", \"10s\"]]\nrestart = \"on-failure\"\n\
         [services.b]\ncommand = \"sleep 1000\"\n",
    ];
    for text in same {
        running.save_in_vain(text);
        assert_eq!(running.picture(), before, "{text}");
    }
    let live = [
        ("log = { max_size = \"1MB\", max_files = 2, console = false }", "log"),
        ("restart = \"always\"", "restart"),
        ("max_restarts = 3\nrestart_window = \"10s\"", "max_restarts"),
        ("health = { exec = \"true\", interval = \"1h\" }", "health"),
        ("description = \"free text\"", "description"),
        ("start_timeout = \"5s\"", "start_timeout"),
        ("stop_timeout = \"5s\"", "stop_timeout"),
        ("stop_scope = \"group\"", "stop_scope"),
        ("stop_command = \"true\"", "stop_command"),
        ("reload_signal = \"HUP\"", "reload_signal"),
        ("backoff = { initial = \"1s\" }", "backoff.initial"),
        ("success_exit_codes = [0, 3]", "success_exit_codes"),
        ("labels = [\"x\"]", "labels"),
        ("depends_on = [\"b\"]", "depends_on.b"),
        ("wait_for = [\"file:nowhere\"]", "wait_for"),
        ("essential = true", "essential"),
        ("secrets = [\"A\"]", "secrets"),
    ];
    let base = "[services.a]\ncommand = \"exec sleep 1000\"\nenv = { A = \"1\", B = \"2\" }\nready = { exec = \"/bin/true\" }\n";
    for (keys, field) in live {
        let applied = running.save(&format!(
            "{base}{keys}\n[services.b]\ncommand = [\"sleep\", \"1000\"]\n"
        ));
        let (step, fields) = step_of(&applied["steps"], "a");
        assert_eq!(step, "live", "{applied}");
        assert!(
            fields.iter().any(|found| found.starts_with(field)),
            "{field}: {applied}"
        );
        let after = running.picture();
        assert_eq!(after["a"], before["a"], "{field}");
        assert_eq!(after["b"], before["b"], "{field}");
    }
    running.down();
}

#[test]
fn hr_10_a_renamed_service_is_stopped_and_started_and_never_there_twice() {
    let named = |name| entered("it", NOT, WAITS, "").replace("[services.it]", &format!("[services.{name}]"));
    let mut running = Running::of(project(&named("old")), &[], &[]);
    running.project.write("services.toml", &named("new"));
    running.hear_of("old", "stopping");
    let new = running.service("new");
    assert_eq!((&new["state"], &new["run"]), (&"waiting".into(), &0.into()), "{new}");
    go(&running.project);
    running.comes_up();
    let picture = running.picture();
    assert_eq!(picture.keys().collect::<Vec<_>>(), ["new"]);
    assert_eq!(lives(&running), 2);
    // Each has its own log.
    let log = |name: &str| running.project.read(&format!(".runner/logs/{name}.log"));
    assert_eq!((&*log("old"), &*log("new")), ("it is here\n", "it is here\n"));
    down_with_a_word(running);
}

#[test]
fn hr_11_removed_and_added_again_it_runs_once() {
    let both = entered("a", NOT, NOT, "") + &stays("b", "");
    let mut running = Running::of(project(&both), &[], &[]);
    let before = running.picture();
    running.project.write("services.toml", &stays("b", ""));
    running.project.write("services.toml", &both);
    // At once: as if nothing had been.
    running.save_in_vain(&both);
    assert_eq!(running.picture(), before);
    running.down();
}

#[test]
fn hr_11_added_again_while_it_stops_it_runs_once() {
    let both = entered("a", NOT, WAITS, "") + &stays("b", "");
    let mut running = Running::of(project(&both), &[], &[]);
    let b = running.picture()["b"];
    running.project.write("services.toml", &stays("b", ""));
    running.hear_of("a", "stopping");
    running.project.write("services.toml", &both);
    running.hear("the edit back", |event| {
        event["event"] == "config_applied" && event["generation"] == 3
    });
    go(&running.project);
    running.comes_up();
    assert_eq!((running.picture()["b"], lives(&running)), (b, 2));
    assert_eq!(running.service("a")["state"], "ready");
    down_with_a_word(running);
}

/// Holds the port that it was given.
fn holds(name: &str, port: &str) -> String {
    let program = fixture::program();
    format!(
        "[services.{name}]\ncommand = [{program:?}, \"hold\", \"{{{{ port }}}}\", \"wait\"]\nports = {{ http = {port} }}\n"
    )
}

/// The only one of a service.
fn port(running: &Running, name: &str) -> String {
    let ports = running.service(name)["ports"].as_object().unwrap().clone();
    assert_eq!(ports.len(), 1);
    ports.values().next().unwrap().to_string()
}

#[test]
fn two_services_trade_their_ports_in_one_save() {
    let (one, other) = (free_port().to_string(), free_port().to_string());
    let mut running = Running::up(&(holds("a", &one) + &holds("b", &other) + &stays("c", "")));
    let before = running.picture();
    let applied = running.save(&(holds("a", &other) + &holds("b", &one) + &stays("c", "")));
    assert_eq!(applied["restarts"], 2, "{applied}");
    assert_eq!((port(&running, "a"), port(&running, "b")), (other, one));
    let after = running.picture();
    assert_eq!((after["a"].1, after["b"].1, after["c"]), (2, 2, before["c"]));
    assert!(
        running.heard("failed").is_empty() && running.heard("restarting").is_empty(),
        "{:?}",
        running.seen
    );
    running.down();
}

#[test]
fn an_auto_port_stays_the_same_over_edits_and_is_no_change() {
    let mut running = Running::up(&(holds("a", "\"auto\"") + &stays("b", "")));
    let before = running.picture();
    let port_of_a = port(&running, "a");
    running.save(&(holds("a", "\"auto\"") + &stays("b", &edit(1)) + &holds("c", "\"auto\"")));
    assert_eq!(port(&running, "a"), port_of_a);
    assert_eq!(running.picture()["a"], before["a"]);
    // The same number, written by hand.
    running.save_in_vain(&(holds("a", &port_of_a) + &stays("b", &edit(1)) + &holds("c", "\"auto\"")));
    assert_eq!(running.picture()["a"], before["a"]);
    running.down();
}

#[test]
fn a_dependency_is_turned_round() {
    let needs = |name: &str, on: &str, n: u32| stays(name, &format!("{on}\n{}", edit(n)));
    let mut running = Running::up(&(needs("a", "", 0) + &needs("b", "depends_on = [\"a\"]", 0)));
    let applied = running.save(&(needs("a", "depends_on = [\"b\"]", 1) + &needs("b", "", 1)));
    let both = steps(&applied["steps"]);
    assert_eq!((&*both["a"].0, &*both["b"].0), ("restart", "restart"));
    assert_eq!(
        running.picture().values().map(|(_, run)| run).collect::<Vec<_>>(),
        [&2, &2]
    );
    // Stops go by the old graph, starts by the new one.
    let order = |word: &str| -> Vec<Value> {
        let events = running.heard(word).into_iter();
        events.map(|event| event["service"].clone()).collect()
    };
    assert_eq!(
        (order("stopped"), order("started")),
        (vec!["b".into(), "a".into()], vec!["b".into(), "a".into()])
    );
    running.down();
}
