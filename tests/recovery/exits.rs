//! How a service has ended while nobody looked (`CR-05`).

use crate::common::{Project, eventually};
use crate::loss::{Loss, is_gone, lose_while, pid, up};

const ASKS: &str =
    "mkfifo go 2>/dev/null; echo start >> ledger; test $(wc -l < ledger) -gt 1 && exec sleep 1000; read x < go; exit 7";

fn service(restart: &str) -> String {
    format!("[services.web]\ncommand = \"{ASKS}\"\nrestart = \"{restart}\"\nbackoff = {{ initial = \"1ms\" }}\n")
}

/// It ends with 7 while this is lost.
fn end_during(project: &Project, loss: Loss) {
    let before = pid(project, "web");
    lose_while(project, loss, || {
        std::fs::write(project.file("go"), "\n").unwrap();
        eventually("it has ended", || is_gone(before));
    });
}

/// Whether the kernel tells how a process has ended that is no child of who asks.
fn kernel_tells() -> bool {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let held = runner::sys::pidfd::open(child.id()).unwrap();
    child.wait().unwrap();
    runner::sys::pidfd::kept_status(std::os::fd::AsFd::as_fd(&held)).is_some()
}

fn last_exit(project: &Project) -> serde_json::Value {
    project.service("web")["last_exit"].clone()
}

#[test]
fn cr_05_an_exit_while_the_daemon_was_dead_is_known() {
    let project = up(&service("no"));
    end_during(&project, Loss::Daemon);
    eventually("it is told", || project.service("web")["state"] == "failed");
    assert_eq!(last_exit(&project)["code"], 7);
    project.run(&["down"]);
    project.assert_nothing_is_left();
}

#[test]
fn cr_05_an_exit_while_the_guardian_was_dead_is_known_where_the_kernel_tells() {
    let project = up(&service("no"));
    end_during(&project, Loss::Guardian);
    eventually("it is told", || project.service("web")["state"] == "failed");
    match kernel_tells() {
        true => assert_eq!(last_exit(&project)["code"], 7, "{}", project.service("web")),
        false => assert_eq!(last_exit(&project)["unknown"], true),
    }
    project.run(&["down"]);
    project.assert_nothing_is_left();
}

#[test]
fn cr_05_an_exit_that_nobody_saw_is_unknown_and_never_invented() {
    let project = Project::new(&service("no"));
    project.run(&["up", "-d"]);
    let before = pid(&project, "web");
    let roles = crate::common::roles::Roles::of(&project);
    crate::loss::kill_both(&roles);
    std::fs::write(project.file("go"), "\n").unwrap();
    eventually("it has ended", || is_gone(before));
    project.run(&["up", "-d", "--no-wait"]);
    // An `up` asks for it anew.
    eventually("one more was started", || project.read("ledger") == "start\nstart\n");
    assert_eq!(last_exit(&project)["unknown"], true);
    project.run(&["down"]);
    project.assert_nothing_is_left();
}

#[test]
fn cr_05_on_failure_acts_on_what_was_not_seen() {
    for loss in crate::loss::LOSSES {
        let project = up(&service("on-failure"));
        end_during(&project, loss);
        eventually(&format!("{loss:?}: it was started again"), || {
            project.read("ledger") == "start\nstart\n" && project.service("web")["state"] == "ready"
        });
        assert_eq!(project.service("web")["run"], 2, "{loss:?}");
        project.run(&["down"]);
        project.assert_nothing_is_left();
    }
}
