//! `upgrade`: guardian and daemon are another program afterwards, and no service has noticed.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::PathBuf;

use common::{Project, eventually, stderr};
use serde_json::Value;

const TWO: &str = r#"
[services.one]
command = "exec sleep 1000"

[services.two]
command = ["sh", "-c", "trap 'exit 7' USR1; echo begun; while :; do sleep 0.01; done"]
ready = { log = "begun" }
restart = "no"
"#;

fn project_of(project: &Project) -> Value {
    let socket = places(project).join("api.sock");
    let output = std::process::Command::new("curl")
        .args(["-s", "--unix-socket"])
        .arg(socket)
        .arg("http://localhost/v1/project")
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The runtime folder, as it stands in the lock.
fn places(project: &Project) -> PathBuf {
    let lock: Value = serde_json::from_str(&project.read(".runner/lock")).unwrap();
    lock["runtime_dir"].as_str().unwrap().into()
}

fn number(project: &Value, key: &str) -> u32 {
    u32::try_from(project[key].as_u64().unwrap()).unwrap()
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn pid(project: &Project, name: &str) -> u64 {
    project.service(name)["pid"].as_u64().unwrap()
}

#[test]
fn services_keep_their_parent_and_nothing_piles_up() {
    let project = Project::new(TWO);
    assert!(project.run(&["up", "-d"]).status.success());
    let pids = (pid(&project, "one"), pid(&project, "two"));
    let before = project_of(&project);
    let guardian = number(&before, "pid");
    let mut open = Vec::new();
    for _ in 0..4 {
        let upgrade = project.run(&["upgrade"]);
        assert!(upgrade.status.success(), "{}", stderr(&upgrade));
        let now = project_of(&project);
        assert_eq!(number(&now, "pid"), guardian, "the guardian is the same process");
        assert_ne!(now["daemon_pid"], before["daemon_pid"]);
        assert_eq!((pid(&project, "one"), pid(&project, "two")), pids);
        open.push(descriptors(guardian));
    }
    assert_eq!(open[1..], [open[1]; 3], "descriptors of the guardian: {open:?}");
    // It is still our child: its code is known, whatever the kernel keeps of others.
    assert!(project.run(&["kill", "two", "-s", "USR1"]).status.success());
    let waited = project.run(&["wait", "two", "--for", "failed"]);
    assert!(waited.status.success(), "{}", stderr(&waited));
    assert_eq!(project.service("two")["last_exit"]["code"], 7);
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}

#[test]
fn another_program_takes_over_and_what_makes_no_sense_is_refused() {
    let project = Project::new(TWO);
    assert!(project.run(&["up", "-d"]).status.success());
    let pids = (pid(&project, "one"), pid(&project, "two"));
    let copy = project.file("runner-copy");
    std::fs::copy(env!("CARGO_BIN_EXE_runner"), &copy).unwrap();
    let upgrade = std::process::Command::new(&copy)
        .arg("upgrade")
        .current_dir(project.path())
        .output()
        .unwrap();
    assert!(upgrade.status.success(), "{}", stderr(&upgrade));
    let guardian = number(&project_of(&project), "pid");
    let runs = std::fs::read_link(format!("/proc/{guardian}/exe")).unwrap();
    assert_eq!(runs, std::fs::canonicalize(&copy).unwrap());
    assert_eq!((pid(&project, "one"), pid(&project, "two")), pids);
    for (body, words) in [
        (r#"{"program":"/nosuch","state_version":1}"#, "is no program"),
        (r#"{"program":"/bin/sh","state_version":99}"#, "understands state 99"),
    ] {
        let answer = std::process::Command::new("curl")
            .args([
                "-s",
                "-H",
                "content-type: application/json",
                "-d",
                body,
                "--unix-socket",
            ])
            .arg(places(&project).join("api.sock"))
            .arg("http://localhost/v1/upgrade")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(text.contains(words), "{body}: {text}");
    }
    assert_eq!(number(&project_of(&project), "pid"), guardian);
    assert!(project.run(&["down"]).status.success());
}

#[test]
fn edits_that_wait_are_not_applied_by_an_upgrade() {
    let project = Project::new(TWO);
    assert!(project.run(&["up", "-d", "--no-reload"]).status.success());
    let pids = (pid(&project, "one"), pid(&project, "two"));
    project.write("services.toml", &TWO.replace("sleep 1000", "sleep 1001"));
    eventually("the edit is read", || project.service("one")["drift"].is_string());
    let upgrade = project.run(&["upgrade"]);
    assert_eq!(upgrade.status.code(), Some(1));
    assert!(
        stderr(&upgrade).contains("edits wait") && stderr(&upgrade).contains("runner plan"),
        "{}",
        stderr(&upgrade)
    );
    assert_eq!((pid(&project, "one"), pid(&project, "two")), pids);
    project.write("services.toml", TWO);
    eventually("it is taken back", || project.service("one")["drift"].is_null());
    let upgrade = project.run(&["upgrade"]);
    assert!(upgrade.status.success(), "{}", stderr(&upgrade));
    assert_eq!((pid(&project, "one"), pid(&project, "two")), pids);
    assert!(project.run(&["down"]).status.success());
}

#[test]
fn an_up_in_the_foreground_goes_on_over_the_death_of_each_role_and_over_an_upgrade() {
    let project = Project::new(TWO);
    let mut up = project.up(&[]);
    up.wait_for("begun");
    eventually("both are ready", || project.service("two")["state"] == "ready");
    let pids = (pid(&project, "one"), pid(&project, "two"));
    for role in ["daemon_pid", "pid", "upgrade"] {
        if role == "upgrade" {
            assert!(project.run(&["upgrade"]).status.success());
        } else {
            let victim = number(&project_of(&project), role).to_string();
            let killed = std::process::Command::new("kill").args(["-9", &victim]).status();
            assert!(killed.unwrap().success());
        }
        up.wait_for("another daemon has taken over");
        assert_eq!((pid(&project, "one"), pid(&project, "two")), pids, "after {role}");
    }
    up.signal("INT");
    assert_eq!(up.end().code(), Some(0), "{}", up.text());
    project.assert_nothing_is_left();
}

#[test]
fn followers_miss_nothing_and_hear_nothing_twice() {
    let command = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.005; done";
    let project = Project::new(&format!("[services.web]\ncommand = {command:?}\n"));
    assert!(project.run(&["up", "-d"]).status.success());
    let follow = |words: &[&str]| {
        let file = std::fs::File::create(project.file(words[0])).unwrap();
        project.command(words).stdout(file).spawn().unwrap()
    };
    let mut logs = follow(&["logs", "-f", "--no-prefix", "web"]);
    let mut events = follow(&["events", "-f", "--since", "0", "--json"]);
    let lines = |name: &str| project.read(name).lines().count();
    for role in ["daemon_pid", "pid", "upgrade", "daemon_pid"] {
        let (printed, told) = (lines("logs"), lines("events"));
        if role == "upgrade" {
            assert!(project.run(&["upgrade"]).status.success());
        } else {
            let victim = number(&project_of(&project), role).to_string();
            let killed = std::process::Command::new("kill").args(["-9", &victim]).status();
            assert!(killed.unwrap().success());
        }
        eventually("followers go on", || {
            lines("logs") > printed + 5 && lines("events") > told
        });
    }
    assert!(project.run(&["down"]).status.success());
    assert!(logs.wait().unwrap().success() && events.wait().unwrap().success());
    let printed: Vec<String> = project.read("logs").lines().map(str::to_owned).collect();
    let expected: Vec<String> = (1..=printed.len()).map(|n| format!("line {n}")).collect();
    assert_eq!(printed, expected);
    let cursors: Vec<u64> = project
        .read("events")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["cursor"].as_u64().unwrap())
        .collect();
    assert_eq!(cursors, (1..=cursors.len() as u64).collect::<Vec<_>>());
}
