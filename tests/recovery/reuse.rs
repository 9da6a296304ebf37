//! A PID namespace in which numbers are given as it pleases (`PR-01`), and everything can be signalled (`ST-10`). At every
//! point at which a signal is sent: tests/guardian/reuse.rs.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::common::roles::{Roles, send};
use crate::common::{Project, eventually};
use crate::loss::{events, kill_both, pid, succeed, up};
use crate::namespace::{is_inside, numbered};

#[test]
fn pr_01_a_stranger_with_the_number_of_a_lost_service_is_left_alone() {
    if !is_inside("reuse::pr_01_a_stranger_with_the_number_of_a_lost_service_is_left_alone") {
        return;
    }
    let project = up("[services.web]\ncommand = \"echo start >> ledger; exec sleep 1000\"\n");
    let service = pid(&project, "web");
    kill_both(&Roles::of(&project));
    send(service, Signal::SIGKILL);
    eventually("its number is free", || runner::sys::processes::stat(service).is_none());
    let mut bystander = numbered(service, || {
        Command::new("setsid")
            .args(["sleep", "1000"])
            .current_dir("/")
            .spawn()
            .unwrap()
    });
    assert_eq!(project.run(&["ps"]).status.code(), Some(4), "nobody is there");
    succeed(&project, &["up", "-d"]);
    let exited = |event: &serde_json::Value| event["event"] == "exited" && event["exit"]["unknown"] == true;
    assert!(events(&project).iter().any(exited), "exited, unobserved");
    eventually("one new instance", || project.read("ledger") == "start\nstart\n");
    assert_ne!(pid(&project, "web"), service);
    for words in [&["restart", "web"][..], &["stop", "web"], &["down"]] {
        succeed(&project, words);
        assert_eq!(bystander.try_wait().unwrap(), None, "{words:?}");
    }
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    project.assert_nothing_is_left();
}

#[test]
fn st_10_a_service_that_signals_everything_brings_runner_down_cleanly() {
    if !is_inside("reuse::st_10_a_service_that_signals_everything_brings_runner_down_cleanly") {
        return;
    }
    // It hits this test as well.
    runner::sys::signals::ignore(libc::SIGTERM);
    let project = Project::new(
        "[services.web]\ncommand = \"echo start >> ledger; until test -e go; do sleep 0.01; done; exec kill -TERM -1\"\n\
         [services.other]\ncommand = \"trap 'echo bye >> ledger; exit 0' TERM; while :; do sleep 1000 & wait $!; done\"\n",
    );
    succeed(&project, &["up", "-d"]);
    project.write("go", "");
    eventually("it came down", || project.processes().is_empty());
    assert_eq!(project.read("ledger"), "start\nbye\n");
    std::fs::remove_file(project.file("go")).unwrap();
    succeed(&project, &["up", "-d"]);
    eventually("it is started", || project.read("ledger") == "start\nbye\nstart\n");
    succeed(&project, &["down"]);
    project.assert_nothing_is_left();
}
