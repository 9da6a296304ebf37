//! `doctor`, as it is typed.

#![allow(clippy::unwrap_used)]

mod common;
mod fixture;

use std::path::Path;
use std::process::{Command, Output};

use common::{Project, stderr, stdout};
use serde_json::Value;

const FILE: &str = "[services.web]\ncommand = 'exec sleep 1000'\n";

fn checks(project: &Project) -> (Option<i32>, Vec<Value>) {
    read(&project.run(&["doctor", "--json"]))
}

fn read(output: &Output) -> (Option<i32>, Vec<Value>) {
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), answer["checks"].as_array().unwrap().clone())
}

#[track_caller]
fn of<'c>(checks: &'c [Value], name: &str) -> &'c Value {
    checks
        .iter()
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {checks:#?}"))
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_project_is_examined_and_left_as_it_was() {
    let project = Project::new(FILE);
    let (code, checks) = checks(&project);
    assert_eq!(code, Some(0), "{checks:#?}");
    assert_eq!(of(&checks, "state folder")["status"], "ok");
    let best = runner::sys::machine::Cgroup::Writable { kill: true };
    let stop = if runner::sys::machine::examine().cgroup == best {
        "ok"
    } else {
        "tier"
    };
    assert_eq!(of(&checks, "stop")["status"], stop);
    assert!(of(&checks, "runner")["detail"].as_str().unwrap().starts_with("not up"));
    assert_eq!(entries(project.path()), ["services.toml"]);
    let words = project.run(&["doctor"]);
    assert_eq!(
        stdout(&words).lines().filter(|line| !line.starts_with(' ')).count(),
        checks.len()
    );
    assert_eq!(stderr(&words), "");
    let quiet = stdout(&project.run(&["-q", "doctor"]));
    assert!(!quiet.contains("ok    ") && !quiet.contains("tier  "), "{quiet}");
}

#[test]
fn a_runner_that_is_up_is_told_with_its_number() {
    let project = Project::new(FILE);
    assert!(project.run(&["up", "-d"]).status.success());
    let (code, checks) = checks(&project);
    assert_eq!(code, Some(0));
    let detail = of(&checks, "runner")["detail"].as_str().unwrap();
    let pid: u32 = detail
        .split(['(', ')', ' '])
        .find_map(|word| word.parse().ok())
        .unwrap();
    assert!(project.processes().contains(&pid), "{detail}");
}

#[test]
fn en_07_what_stops_runner_is_bad() {
    let project = Project::new("[project]\nstate_dir = '/proc/self/nowhere'\n[services.web]\ncommand = 'x'\n");
    let (code, checks) = checks(&project);
    assert_eq!(code, Some(1));
    let state = of(&checks, "state folder");
    assert_eq!(state["status"], "bad");
    assert!(state["suggestion"].as_str().unwrap().contains("state_dir"));
}

#[test]
fn en_04_what_a_filter_takes_away_is_told() {
    let project = Project::new(FILE);
    for errno in ["ENOSYS", "EPERM"] {
        let output = Command::new(fixture::program())
            .args([
                "forbid",
                errno,
                "exec",
                env!("CARGO_BIN_EXE_runner"),
                "doctor",
                "--json",
            ])
            .current_dir(project.path())
            .output()
            .unwrap();
        let (code, checks) = read(&output);
        assert_eq!(code, Some(0), "it works all the same");
        for (name, words) in [
            ("identity", "no pidfds"),
            ("group signals", "by number"),
            ("exit codes", "stays unknown"),
            ("starts", "fork, and descriptors are closed one by one"),
            ("seccomp", "a filter is active"),
            ("user", "no_new_privs"),
        ] {
            let check = of(&checks, name);
            assert_eq!(check["status"], "tier", "{errno}: {check}");
            assert!(check["detail"].as_str().unwrap().contains(words), "{errno}: {check}");
        }
    }
}

#[test]
fn without_a_file_it_is_about_the_machine() {
    let project = Project::new(FILE);
    std::fs::remove_file(project.file("services.toml")).unwrap();
    let (code, checks) = checks(&project);
    assert_eq!(code, Some(0));
    assert!(checks.iter().all(|check| check["name"] != "state folder"));
    of(&checks, "inotify");
    // A file that was named has to be there.
    assert_eq!(project.run(&["-f", "nosuch.toml", "doctor"]).status.code(), Some(2));
}

/// What `ls` rests on.
#[test]
fn a_running_project_can_be_found_by_its_runtime_folder() {
    let project = Project::new(FILE);
    let places = || {
        let folders = runner::sys::places::runtime_folders();
        let found = folders
            .iter()
            .filter_map(|folder| runner::sys::places::Place::read(folder));
        found.map(|place| place.dir).collect::<Vec<_>>()
    };
    let dir = std::fs::canonicalize(project.path()).unwrap();
    assert!(!places().contains(&dir));
    assert!(project.run(&["up", "-d"]).status.success());
    assert!(places().contains(&dir));
    assert!(project.run(&["down"]).status.success());
    assert!(!places().contains(&dir));
}
