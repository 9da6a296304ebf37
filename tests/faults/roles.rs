//! Guardian and daemon of a project, seen from outside; and places that are taken away from under them.

use std::path::Path;
use std::process::Command;

pub use crate::common::roles::{Roles, send};
use crate::common::{Project, eventually, stderr, stdout};

#[test]
fn tw_04_a_deleted_state_folder_brings_no_second_runner() {
    let project = Project::new("[services.web]\ncommand = \"echo start >> ledger; exec sleep 1000\"\n");
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    std::fs::remove_dir_all(project.file(".runner")).unwrap();
    let second = project.run(&["up", "-d"]);
    assert_eq!(second.status.code(), Some(0), "{}", stderr(&second));
    assert!(stderr(&second).contains("joined"), "{}", stderr(&second));
    Roles::of(&project);
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    assert_eq!(project.read("ledger"), "start\n");
    // Without its lock only the services' end can be waited for.
    eventually("the roles are gone", || project.processes().is_empty());
}

#[test]
fn tw_10_an_up_while_everything_is_being_stopped_waits_and_starts_anew() {
    let project = Project::new(
        "[services.slow]\ncommand = \"mkfifo go 2>/dev/null; trap 'echo stopping; read x < go; exit 0' TERM; echo started >> ledger; while :; do sleep 1000 & wait $!; done\"\n\
         ready = { exec = \"test -e ledger\" }\n",
    );
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    let mut down = project.command(&["down"]).spawn().unwrap();
    eventually("it is stopping", || project.service("slow")["state"] == "stopping");
    let mut up = project.command(&["up", "-d"]).spawn().unwrap();
    std::fs::write(project.file("go"), "\n").unwrap();
    assert_eq!(down.wait().unwrap().code(), Some(0));
    assert_eq!(up.wait().unwrap().code(), Some(0));
    assert_eq!(project.service("slow")["state"], "ready");
    assert_eq!(project.read("ledger"), "started\nstarted\n");
    project.run(&["down", "-t", "0s"]);
    project.assert_nothing_is_left();
}

#[test]
fn hr_05_a_project_whose_file_is_gone_is_still_found() {
    let project =
        Project::new("[services.web]\ncommand = \"echo hello; exec sleep 1000\"\nready = { log = \"hello\" }\n");
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    std::fs::remove_file(project.file("services.toml")).unwrap();
    assert_eq!(project.service("web")["state"], "ready");
    assert_eq!(stdout(&project.run(&["logs", "--no-prefix"])), "hello\n");
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
    assert_eq!(project.run(&["ps"]).status.code(), Some(2));
}

#[test]
fn en_02_no_home_no_path_and_a_deleted_working_folder() {
    let project = Project::new("[services.web]\ncommand = [\"/bin/sleep\", \"1000\"]\n");
    let bare = |words: &[&str]| {
        let mut command = project.command(words);
        command.env_clear();
        command.output().unwrap()
    };
    assert_eq!(bare(&["up", "-d"]).status.code(), Some(0));
    let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"";
    let gone = |words: &[&str]| {
        let runner = env!("CARGO_BIN_EXE_runner");
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "sh", runner])
            .args(words)
            .current_dir(project.path());
        command.output().unwrap()
    };
    let place = project.path().to_str().unwrap();
    assert_eq!(gone(&["-C", place, "ps"]).status.code(), Some(0));
    let lost = gone(&["ps"]);
    assert_eq!(lost.status.code(), Some(1));
    assert!(
        stderr(&lost).contains("-C DIR") && !stderr(&lost).contains("panicked"),
        "{}",
        stderr(&lost)
    );
    let file = project.file("services.toml");
    assert_eq!(gone(&["-f", file.to_str().unwrap(), "down"]).status.code(), Some(0));
    project.assert_nothing_is_left();
}

#[test]
fn co_01_words_that_nobody_can_read_change_no_exit_code() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let project = Project::new("[services.web]\ncommand = \"sleep 1000\"\n");
    for (words, code) in [
        (&["ps"][..], 4),
        (&["up", "-d"], 0),
        // What it was asked for got lost.
        (&["check"], 1),
        (&["logs", "nosuch"], 3),
        (&["down"], 0),
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = project.command(words);
        command.stdout(full.try_clone().unwrap()).stderr(full);
        assert_eq!(command.status().unwrap().code(), Some(code), "{words:?}");
    }
    project.assert_nothing_is_left();
}
