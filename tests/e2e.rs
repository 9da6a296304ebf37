//! The built binary, as a person types it. Few and black-box: what a pure or simulated test can show stands there.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Project, eventually, free_port, stderr, stdout};

/// A shell service that tells a ledger when it starts and when it was asked to stop; ready once it would tell.
/// It waits without a child: one that is not yet executed would lose the stop signal to the shell's trap.
fn ledgered(name: &str, more: &str) -> String {
    format!(
        r#"
[services.{name}]
command = "echo start {name} >> ledger; trap 'echo stop {name} >> ledger; exit 0' TERM; mkfifo {name}.fifo; exec 3<>{name}.fifo; echo {name} is here; read line <&3"
ready = {{ log = "is here" }}
{more}
"#
    )
}

#[test]
fn up_starts_in_order_shows_the_output_and_ctrl_c_stops_in_reverse_order() {
    let services = [
        ledgered("db", ""),
        ledgered("api", "depends_on = [\"db\"]"),
        ledgered("web", "depends_on = [\"api\"]"),
    ];
    let project = Project::new(&services.concat());
    let mut up = project.up(&[]);
    for name in ["db", "api", "web"] {
        up.wait_for(&format!("{name} is here"));
    }
    eventually("all are ready", || project.ps()["settled"] == true);
    up.signal("INT");
    let status = up.end();
    assert_eq!(status.code(), Some(0), "{}", up.text());
    let ledger: Vec<String> = project.read("ledger").lines().map(str::to_owned).collect();
    assert_eq!(
        ledger,
        ["start db", "start api", "start web", "stop web", "stop api", "stop db"]
    );
    project.assert_nothing_is_left();
}

#[test]
fn sp_01_a_missing_program_is_named_and_the_others_are_unaffected() {
    let project = Project::new(&format!(
        "[services.bad]\ncommand = [\"nosuch-program\"]\n{}",
        ledgered("good", "")
    ));
    let mut up = project.up(&[]);
    up.wait_for("good is here");
    eventually("bad has failed", || project.service("bad")["state"] == "failed");
    let failure = project.service("bad")["failure"].clone();
    assert_eq!(failure["reason"], "command_not_found");
    assert!(
        failure["message"].as_str().unwrap().contains("nosuch-program"),
        "{failure}"
    );
    assert_eq!(project.service("good")["state"], "ready");
    up.signal("TERM");
    up.end();
    project.assert_nothing_is_left();
}

#[test]
fn when_all_have_ended_up_ends_with_one_if_something_failed_and_shows_its_last_lines() {
    let project = Project::new(
        r#"
[services.fine]
type = "oneshot"
command = "echo all good"

[services.broken]
type = "oneshot"
command = "echo the last words; exit 7"
"#,
    );
    let mut up = project.up(&[]);
    let status = up.end();
    assert_eq!(status.code(), Some(1), "{}", up.text());
    assert!(up.text().contains("all good"), "{}", up.text());
    assert!(up.text().contains("exit code 7"), "{}", up.text());
    assert!(
        up.text().matches("the last words").count() >= 2,
        "output and failure:\n{}",
        up.text()
    );
    project.assert_nothing_is_left();
}

#[test]
fn the_code_of_the_essential_service_is_ours_and_128_plus_n_for_a_signal() {
    for (script, code) in [("exit 3", 3), ("kill -KILL $$", 137)] {
        let services = format!(
            "{}\n[services.main]\ncommand = \"{script}\"\nrestart = \"no\"\nessential = true\ndepends_on = [\"side\"]\n",
            ledgered("side", "")
        );
        let project = Project::new(&services);
        let mut up = project.up(&[]);
        assert_eq!(up.end().code(), Some(code), "{script}: {}", up.text());
        assert!(project.read("ledger").contains("stop side"));
        project.assert_nothing_is_left();
    }
}

#[test]
fn a_killed_service_comes_back() {
    let project = Project::new(&ledgered("web", "backoff = { initial = \"10ms\" }"));
    let mut up = project.up(&[]);
    up.wait_for("web is here");
    let pid = project.service("web")["pid"].as_u64().unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid as i32),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    up.wait_for("SIGKILL");
    up.wait_for("web is here");
    let service = project.service("web");
    assert_ne!(service["pid"].as_u64(), Some(pid));
    assert_eq!(service["restarts"], 1);
    assert_eq!(service["last_exit"]["signal"], "SIGKILL");
}

#[test]
fn po_01_a_taken_port_names_its_owner_and_touches_nobody() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let project = Project::new(&format!("[services.web]\ncommand = \"sleep 1000\"\nports = [{port}]\n"));
    let mut up = project.up(&[]);
    let status = up.end();
    assert_eq!(status.code(), Some(1));
    assert!(up.text().contains(&format!("port {port} is in use")), "{}", up.text());
    assert!(up.text().contains(&std::process::id().to_string()), "{}", up.text());
}

#[test]
fn a_second_up_joins_and_its_ctrl_c_leaves_the_project_alone() {
    let project = Project::new(&ledgered("web", ""));
    let mut first = project.up(&[]);
    first.wait_for("web is here");
    let mut second = project.up(&[]);
    second.wait_for("joined");
    eventually("ps answers", || project.service("web")["state"] == "ready");
    second.signal("INT");
    assert_eq!(second.end().code(), Some(0), "{}", second.text());
    assert_eq!(project.service("web")["state"], "ready");
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    assert_eq!(first.end().code(), Some(0));
    assert_eq!(project.read("ledger").lines().count(), 2, "{}", project.read("ledger"));
    project.assert_nothing_is_left();
}

#[test]
fn sg_02_a_second_ctrl_c_kills_what_ignores_the_first() {
    let project = Project::new(
        "[services.deaf]\ncommand = \"trap '' TERM; echo deaf is here; while :; do sleep 1000 & wait $!; done\"\nstop_timeout = \"1h\"\n",
    );
    let mut up = project.up(&[]);
    up.wait_for("deaf is here");
    up.signal("INT");
    up.wait_for("once more to kill");
    eventually("it is stopping", || project.service("deaf")["state"] == "stopping");
    up.signal("INT");
    up.end();
    project.assert_nothing_is_left();
}

#[test]
fn the_starting_client_killed_stops_the_project_gracefully() {
    let project = Project::new(&ledgered("web", ""));
    let mut up = project.up(&[]);
    up.wait_for("web is here");
    up.child.kill().unwrap();
    eventually("nothing is left", || project.processes().is_empty());
    assert_eq!(project.read("ledger"), "start web\nstop web\n");
}

#[test]
fn co_01_a_closed_stdout_stops_the_project_gracefully() {
    let project = Project::new(&ledgered("web", ""));
    let script = format!("{} up | head -1", env!("CARGO_BIN_EXE_runner"));
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(project.path())
        .output()
        .unwrap();
    assert_eq!(stdout(&output).lines().count(), 1);
    eventually("nothing is left", || project.processes().is_empty());
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
}

#[test]
fn tw_01_many_ups_at_the_same_instant_give_one_daemon() {
    let project = Project::new(&ledgered("web", ""));
    let mut ups: Vec<_> = (0..8)
        .map(|_| {
            project
                .command(&["up", "-d"])
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for up in &mut ups {
        assert_eq!(up.wait().unwrap().code(), Some(0));
    }
    assert_eq!(project.read("ledger"), "start web\n");
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
}

#[test]
fn logs_show_what_was_written_and_ps_without_a_runner_is_4() {
    let project = Project::new(
        "[services.talk]\ncommand = \"printf 'one\\\\ntwo\\\\n'; echo oops >&2; echo done; exec sleep 1000\"\nready = { log = \"done\" }\n",
    );
    assert_eq!(project.run(&["ps"]).status.code(), Some(4));
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    let logs = project.run(&["logs", "talk", "--no-prefix", "--stream", "out"]);
    assert_eq!(stdout(&logs), "one\ntwo\ndone\n", "{}", stderr(&logs));
    let tail = project.run(&["logs", "--json", "-n", "1", "--stream", "err"]);
    let line: serde_json::Value = serde_json::from_str(stdout(&tail).trim()).unwrap();
    assert_eq!(
        (line["line"].as_str(), line["stream"].as_str()),
        (Some("oops"), Some("err"))
    );
    assert_eq!(project.run(&["logs", "nosuch"]).status.code(), Some(3));
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
}

#[test]
fn a_broken_file_is_refused_with_its_place_and_nothing_starts() {
    let project = Project::new("[services.web]\ncommand = \"sleep 1000\"\nrestar = \"always\"\n");
    for words in [&["check"][..], &["up"]] {
        let output = project.run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(stderr(&output).contains("services.toml:3:1"), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("did you mean `restart`?"),
            "{}",
            stderr(&output)
        );
    }
    project.assert_nothing_is_left();
}

#[test]
fn http_readiness_gates_a_dependent() {
    let port = free_port();
    let project = Project::new(&format!(
        r#"
[services.web]
command = ["python3", "-u", "-c", "import http.server; http.server.test(http.server.SimpleHTTPRequestHandler, port={port}, bind='127.0.0.1')"]
ports = [{port}]
ready = {{ http = "/services.toml" }}

[services.client]
type = "oneshot"
command = ["python3", "-c", "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:{port}/services.toml').status)"]
depends_on = ["web"]
"#
    ));
    let mut up = project.up(&["--exit-code-from", "client"]);
    assert_eq!(up.end().code(), Some(0), "{}", up.text());
    assert!(up.text().contains("200"), "{}", up.text());
    project.assert_nothing_is_left();
}

#[test]
fn logs_stay_when_nothing_runs_and_last_lines_are_of_this_life() {
    let project = Project::new(
        "[services.web]\ncommand = \"echo from the first life; exec sleep 1000\"\nready = { log = \"life\" }\n",
    );
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    let logs = project.run(&["logs", "--no-prefix"]);
    assert_eq!(
        (logs.status.code(), stdout(&logs).as_str()),
        (Some(0), "from the first life\n")
    );
    assert_eq!(project.run(&["logs", "nosuch"]).status.code(), Some(3));
    project.write("services.toml", "[services.web]\ncommand = \"nosuch-program\"\n");
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(1));
    let failure = project.service("web")["failure"].clone();
    assert_eq!(failure["reason"], "command_not_found");
    assert_eq!(failure["last_lines"], serde_json::json!([]), "{failure}");
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
}

#[test]
fn a_label_selects_and_a_wait_that_runs_out_says_who_is_missing() {
    let project = Project::new(
        r#"
[services.web]
command = "sleep 1000"
labels = ["front"]
ready = { file = "never" }

[services.other]
command = "sleep 1000"
"#,
    );
    assert_eq!(project.run(&["up", "-d", "@nosuch"]).status.code(), Some(3));
    let up = project.run(&["up", "-d", "--wait-timeout", "300ms", "@front"]);
    assert_eq!(up.status.code(), Some(124));
    assert!(stderr(&up).contains("web  starting"), "{}", stderr(&up));
    assert_eq!(project.service("other")["state"], "stopped");
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
}

#[test]
fn a_later_up_may_change_when_the_project_ends() {
    let project = Project::new(
        "[services.once]\ncommand = \"read line < gate\"\nrestart = \"no\"\n[services.web]\ncommand = \"sleep 1000\"\n",
    );
    nix::unistd::mkfifo(&project.file("gate"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    assert_eq!(project.run(&["up", "-d", "--exit", "any"]).status.code(), Some(0));
    project.write("gate", "go\n");
    eventually("one has ended, so all end", || project.processes().is_empty());
    project.assert_nothing_is_left();
}

const NEVER: &str = "[services.never]\ncommand = 'exec sleep 1000'\nready = { file = 'go' }\n";

/// `up -d` under way: what it waits for does not come.
fn up_that_waits(project: &Project) -> common::Up {
    let up = project.up(&["-d"]);
    eventually("it waits", || {
        let ps = project.run(&["ps", "--json"]);
        stdout(&ps).contains("\"starting\"")
    });
    up
}

#[test]
fn up_d_has_not_succeeded_where_the_project_ends_instead() {
    // Somebody else stops it.
    let project = Project::new(NEVER);
    let mut up = up_that_waits(&project);
    assert!(project.run(&["down"]).status.success());
    assert_eq!(up.end().code(), Some(1), "{}", up.text());
    assert!(!up.text().contains("all is up"), "{}", up.text());
    // Whoever typed it does.
    let mut up = up_that_waits(&project);
    up.signal("INT");
    assert_eq!(up.end().code(), Some(130), "{}", up.text());
    assert!(!up.text().contains("all is up"), "{}", up.text());
    project.assert_nothing_is_left();
    // What it is all about has ended.
    let essential = "[services.main]\ncommand = 'exit 5'\nessential = true\nrestart = 'no'\n";
    let project = Project::new(&format!("{NEVER}{essential}"));
    let up = project.run(&["up", "-d"]);
    assert_eq!(up.status.code(), Some(5), "{}", stderr(&up));
    assert!(!stderr(&up).contains("all is up"), "{}", stderr(&up));
    // That all has completed is what was asked for.
    let project = Project::new("[project]\nexit = 'all'\n[services.once]\ntype = 'oneshot'\ncommand = 'exit 0'\n");
    let up = project.run(&["up", "-d"]);
    assert_eq!(up.status.code(), Some(0), "{}", stderr(&up));
}

#[test]
fn a_start_of_everything_has_failed_where_something_was_stopped_meanwhile() {
    let project = Project::new(&format!("{NEVER}[services.web]\ncommand = 'exec sleep 1000'\n"));
    assert!(project.run(&["up", "-d", "--no-wait"]).status.success());
    assert!(project.run(&["stop", "web"]).status.success());
    let mut start = project.command(&["start"]);
    let start = start.stdout(std::process::Stdio::piped()).spawn().unwrap();
    eventually("it is started again", || project.service("web")["state"] == "ready");
    assert!(project.run(&["stop", "never"]).status.success());
    let start = start.wait_with_output().unwrap();
    assert_eq!(start.status.code(), Some(1), "{}", stdout(&start));
    // Without it everything is up.
    let wait = project.run(&["wait"]);
    assert_eq!(wait.status.code(), Some(0), "{}", stderr(&wait));
    assert!(project.run(&["down"]).status.success());
}

#[test]
fn where_nothing_starts_by_itself_up_says_so() {
    let project = Project::new("[services.web]\ncommand = 'exec sleep 1000'\nautostart = false\n");
    let up = project.run(&["up", "-d"]);
    assert_eq!(up.status.code(), Some(0), "{}", stderr(&up));
    assert!(stderr(&up).contains("nothing starts by itself"), "{}", stderr(&up));
    assert!(project.run(&["down"]).status.success());
}
